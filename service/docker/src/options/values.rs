//! How the values of options are written. Each error says what was expected.

use std::net::IpAddr;

use hns_net::{Guid, Mac, MacRange, Mtu};

/// As Go's `strconv.ParseBool` reads it, which is how Docker on Windows does.
pub(super) fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}

pub(super) fn guid(value: &str) -> Result<Guid, String> {
    let bare = value.trim_start_matches('{').trim_end_matches('}');
    bare.parse().map_err(|_| "a GUID, such as 5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11".to_owned())
}

pub(super) fn name(value: &str) -> Result<String, String> {
    let is_name =
        !value.is_empty() && hns_hcn::check_name(value, hns_hcn::ErrorCode::INVALID_NETWORK).is_ok();
    is_name
        .then(|| value.to_owned())
        .ok_or_else(|| "a name: 1 to 256 bytes, none a control character".to_owned())
}

pub(super) fn address(value: &str) -> Result<IpAddr, String> {
    value.parse().map_err(|_| "an IP address".to_owned())
}

pub(super) fn addresses(value: &str) -> Result<Vec<IpAddr>, String> {
    let all: Result<Vec<IpAddr>, _> = value.split(',').map(|one| one.trim().parse()).collect();
    all.map_err(|_| "a list of IP addresses, separated by commas".to_owned())
}

/// `start,end` of a range, and so on in pairs.
pub(super) fn mac_ranges(value: &str) -> Result<Vec<MacRange>, String> {
    let expected =
        || "pairs of MAC addresses, the start and the end of each range, separated by commas".to_owned();
    let macs: Result<Vec<Mac>, _> = value.split(',').map(|one| one.trim().parse()).collect();
    let macs = macs.map_err(|_| expected())?;
    if macs.len() % 2 != 0 {
        return Err(expected());
    }
    macs.chunks(2).map(|pair| MacRange::new(pair[0], pair[1]).ok_or_else(expected)).collect()
}

pub(super) fn mtu(value: &str) -> Result<Mtu, String> {
    let bytes = value.parse::<u64>().ok().and_then(|bytes| Mtu::new(bytes).ok());
    bytes.ok_or_else(|| "an MTU: 576 to 65535 bytes".to_owned())
}

/// A number within bounds, of what `unit` says.
pub(super) fn number(value: &str, least: u32, most: u32, unit: &str) -> Result<u32, String> {
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("{least} to {most} {unit}"))
}

pub(super) fn numbers(value: &str, least: u32, most: u32, unit: &str) -> Result<Vec<u32>, String> {
    value.split(',').map(|one| number(one.trim(), least, most, unit)).collect()
}

/// What an interface's name begins with; a number follows, and the whole has at most 15 bytes.
pub(super) fn interface_prefix(value: &str) -> Result<String, String> {
    let is_prefix = value.len() <= 12
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && value.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
    is_prefix.then(|| value.to_owned()).ok_or_else(|| {
        "the beginning of an interface name: a letter, then letters, digits, - _ and ., at most 12".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_pools_are_pairs() {
        let one = "00-15-5D-52-C0-00,00-15-5D-52-CF-FF";
        assert_eq!(mac_ranges(one).unwrap().len(), 1);
        assert_eq!(mac_ranges(&format!("{one}, 00:15:5d:00:00:00,00:15:5d:00:00:ff")).unwrap().len(), 2);
        for wrong in ["", "00-15-5D-52-C0-00", "00-15-5D-52-CF-FF,00-15-5D-52-C0-00", "a,b"] {
            assert!(mac_ranges(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn booleans_are_those_of_go() {
        assert_eq!(boolean("True"), Ok(true));
        assert_eq!(boolean("0"), Ok(false));
        for wrong in ["", "yes", "tRUE", "2"] {
            assert!(boolean(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn interface_prefixes_leave_room_for_a_number() {
        assert!(interface_prefix("vEthernet").is_ok());
        for wrong in ["", "0eth", "et h", "averylongprefix", "a/b"] {
            assert!(interface_prefix(wrong).is_err(), "{wrong}");
        }
    }
}
