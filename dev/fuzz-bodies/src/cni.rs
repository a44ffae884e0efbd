use hns_cni::{Conf, Outline, decode};

/// Configurations of the CNI plugin, of whichever dialect: reading never panics.
pub fn cni(input: &[u8]) {
    let Ok(document) = decode(input) else { return };
    let Ok(outline) = Outline::read(document) else { return };
    let _refused_or_not = Conf::read(&outline, "IgnoreUnknown=1;K8S_POD_NAME=web");
}
