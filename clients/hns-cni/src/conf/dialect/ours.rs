//! `hns-cni`, with the specification's own keys and those that meta plugins such as flannel write for `bridge`.

use hns_hcn::NetworkType;

use super::{Dialect, Stands, harmless, refused};

pub(super) const DIALECT: Dialect = Dialect {
    types: &[("hns-cni", Stands::For(NetworkType::Nat))],
    keys: &[
        // The runtime's, for itself.
        harmless("capabilities"),
        harmless("cniVersions"),
        harmless("disableCheck"),
        harmless("disableGC"),
        harmless("loadOnlyInlinedPlugins"),
        // Given by the runtime to other verbs than the one at hand.
        harmless("cni.dev/valid-attachments"),
        harmless("cni.dev/attachments"),
        // Of `bridge`, and always so here.
        harmless("isGateway"),
        harmless("hairpinMode"),
        harmless("forceAddress"),
        harmless("enabledad"),
        refused("bridge", "HNS names its switches itself; the network is named by \"network\""),
        refused("promiscMode", "a port of a network receives what is meant for it"),
        refused("macspoofchk", "spoof protection comes with the policy engine"),
        refused("vlanTrunk", "an endpoint is in one VLAN, that of its network"),
        refused("portIsolation", "endpoints of a network reach each other"),
        refused("disableContainerInterface", "the interface is what an endpoint is for"),
        refused("plugins", "this is a list of configurations; a runtime passes one of them"),
    ],
    flags: &[],
};
