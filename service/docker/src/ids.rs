use hns_net::Guid;

use crate::refusal::Refusal;

/// The GUID of the HNS object that stands for an object of Docker: the first 32 of its 64 hexadecimal digits. So no
/// table is needed to find one by the other, and none can be lost.
pub(crate) fn guid(id: &str) -> Result<Guid, Refusal> {
    let number = id.get(..32).filter(|head| head.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let number = number.and_then(|head| u128::from_str_radix(head, 16).ok());
    number.map(|number| Guid::from_bytes(number.to_be_bytes())).ok_or_else(|| Refusal::Id(id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_id_becomes_its_first_half() {
        let id = "895fd36fa483c1d2e3f405162738495a6b7c8d9eafb0c1d2e3f4051627384950";
        assert_eq!(guid(id).unwrap().to_string(), "895FD36F-A483-C1D2-E3F4-05162738495A");
    }

    #[test]
    fn what_is_no_docker_id_is_refused_by_name() {
        for id in ["", "895fd36f", "x95fd36fa483c1d2e3f405162738495a", "+95fd36fa483c1d2e3f405162738495a"] {
            let refusal = guid(id).unwrap_err().to_string();
            assert!(refusal.contains(&format!("\"{id}\"")), "{refusal}");
        }
    }
}
