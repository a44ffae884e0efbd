//! How the values of options are written. Each error says what was expected.

use std::net::IpAddr;

use hns_hcn::{Bandwidth, Policy, Qos, RemoteSubnetRoute, RuleText};
use hns_net::{Cidr, Guid, IfName, Mac, MacRange, Mtu, VlanId, Vni};
use serde_json::Value;

/// As Go's `strconv.ParseBool` reads it, which is how Docker on Windows does.
pub(super) fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}

/// Of an option that is said or not.
pub(super) fn nothing_but_yes(value: &str) -> Result<bool, String> {
    match value.is_empty() || boolean(value) == Ok(true) {
        true => Ok(true),
        false => Err("said without a value, or not at all".to_owned()),
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

/// Windows makes a team of several; here that is a bond, which has a name.
pub(super) fn adapter(value: &str) -> Result<IfName, String> {
    let name = value.trim().parse().ok().filter(|_| !value.contains(','));
    name.ok_or_else(|| "the name of one adapter, such as eth0 (of several make a bond)".to_owned())
}

pub(super) fn vlan(value: &str) -> Result<VlanId, String> {
    value.parse().map_err(|_| "1 to 4094 (a VLAN)".to_owned())
}

pub(super) fn address(value: &str) -> Result<IpAddr, String> {
    value.parse().map_err(|_| "an IP address".to_owned())
}

pub(super) fn addresses(value: &str) -> Result<Vec<IpAddr>, String> {
    let all: Result<Vec<IpAddr>, _> = value.split(',').map(|one| one.trim().parse()).collect();
    all.map_err(|_| "a list of IP addresses, separated by commas".to_owned())
}

pub(super) fn prefixes(value: &str) -> Result<Vec<Cidr>, String> {
    let all: Result<Vec<Cidr>, _> = value.split(',').map(|one| one.trim().parse()).collect();
    all.map_err(|_| "a list of prefixes such as 10.0.0.0/8, separated by commas".to_owned())
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

pub(super) fn vni(value: &str) -> Result<Vni, String> {
    value.parse().map_err(|_| "1 to 16777215 (a VNI)".to_owned())
}

pub(super) fn vnis(value: &str) -> Result<Vec<Vni>, String> {
    let all: Result<Vec<Vni>, _> = value.split(',').map(|one| one.trim().parse()).collect();
    all.map_err(|_| "a list of VNIs, 1 to 16777215, one for all subnets or one for each".to_owned())
}

pub(super) fn peers(value: &str) -> Result<Vec<RemoteSubnetRoute>, String> {
    let expected = "a list of what other hosts have, with ; between them";
    hns_hcn::peers_of_option(value).map_err(|error| format!("{expected}: {error}"))
}

pub(super) fn port(value: &str) -> Result<u16, String> {
    let port = value.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| "a UDP port: 1 to 65535".to_owned())
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

/// Rules of an endpoint, `RULE[;RULE..]`.
pub(super) fn rules(value: &str) -> Result<Vec<Policy>, String> {
    Ok(rule_texts(value)?.iter().map(RuleText::acl).collect())
}

/// The same of a network.
pub(super) fn network_rules(value: &str) -> Result<Vec<Policy>, String> {
    Ok(rule_texts(value)?.iter().map(RuleText::network_acl).collect())
}

fn rule_texts(value: &str) -> Result<Vec<RuleText>, String> {
    hns_hcn::rules_of_option(value).map_err(|error| format!("a list of rules: {error}"))
}

pub(super) fn rate(value: &str) -> Result<Bandwidth, String> {
    let expected = "a rate: 500kbit, 10mbit or 1gbit, or in bytes 20kB, 5MB or 1GB a second";
    Bandwidth::of_option(value).map_err(|_| expected.to_owned())
}

/// The key of Docker's own type (moby, `libnetwork/types.QosPolicy`), and HCN's.
const MAX_EGRESS: [&str; 2] = ["MaxEgressBandwidth", "MaximumOutgoingBandwidthInBytes"];

/// Docker on Windows hands a list of Go's to its driver; as text it is the JSON of the same.
pub(super) fn qos(value: &str) -> Result<Qos, String> {
    let expected = |problem: &str| {
        format!(
            "the JSON of one limit, such as [{{\"MaxEgressBandwidth\": 1000000}}] (bytes a second){problem}"
        )
    };
    let parsed: Value = serde_json::from_str(value).map_err(|_| expected(""))?;
    let limit = match parsed {
        Value::Array(limits) => <[Value; 1]>::try_from(limits).map_err(|_| expected(""))?[0].take(),
        other => other,
    };
    let Value::Object(mut settings) = limit else { return Err(expected("")) };
    let key = settings.keys().find(|key| key.eq_ignore_ascii_case(MAX_EGRESS[0])).cloned();
    if let Some(rate) = key.and_then(|key| settings.remove(&key))
        && settings.insert(MAX_EGRESS[1].to_owned(), rate).is_some()
    {
        return Err(expected(": both of its keys name the same limit"));
    }
    if settings.get("Type").is_some_and(|kind| kind == "QOS") {
        settings.remove("Type");
    }
    Qos::from_settings(&Value::Object(settings), "").map_err(|error| expected(&format!(": {error}")))
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
    fn limits_are_json_in_the_words_of_docker_or_of_hns() {
        let limit = |bytes_per_second| Bandwidth { bytes_per_second, burst_bytes: None };
        for (value, outgoing) in [
            (r#"[{"MaxEgressBandwidth":1000}]"#, Some(limit(1000))),
            (r#"{"maxegressbandwidth":1000}"#, Some(limit(1000))),
            (r#"[{"Type":"QOS","MaximumOutgoingBandwidthInBytes":7}]"#, Some(limit(7))),
            (r#"[{"MaxEgressBandwidth":0}]"#, None),
        ] {
            assert_eq!(qos(value), Ok(Qos { outgoing, incoming: None }), "{value}");
        }
        for (value, said) in [
            ("x", "the JSON of one limit"),
            ("", "the JSON of one limit"),
            ("1000", "the JSON of one limit"),
            ("[]", "the JSON of one limit"),
            (r#"[{"MaxEgressBandwidth":1},{"MaxEgressBandwidth":2}]"#, "the JSON of one limit"),
            (r#"{"MaxEgressBandwidth":-1}"#, "a whole number"),
            (r#"{"MaxIngressBandwidth":1}"#, "MaxIngressBandwidth"),
            (r#"{"Type":"ACL","MaxEgressBandwidth":1}"#, "Type"),
            (r#"{"MaxEgressBandwidth":1,"MaximumOutgoingBandwidthInBytes":1}"#, "both of its keys"),
        ] {
            let told = qos(value).unwrap_err();
            assert!(told.contains(said), "{value}: {told}");
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
