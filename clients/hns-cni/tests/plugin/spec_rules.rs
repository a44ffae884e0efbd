//! The rules of the CNI specification for what a plugin prints, each version's own.

use std::net::IpAddr;

use serde_json::{Map, Value};

/// Which keys an object may have and must have.
struct Shape {
    required: &'static [&'static str],
    optional: &'static [&'static str],
}

fn shaped<'v>(value: &'v Value, place: &str, shape: &Shape) -> Result<&'v Map<String, Value>, String> {
    let Value::Object(fields) = value else { return Err(format!("{place} is no object: {value}")) };
    for key in shape.required {
        if !fields.contains_key(*key) {
            return Err(format!("{place} has no {key}"));
        }
    }
    for key in fields.keys() {
        let known = shape.required.iter().chain(shape.optional).any(|known| known == key);
        if !known {
            return Err(format!("{place}.{key} is not a key of this version"));
        }
    }
    Ok(fields)
}

fn members<'v>(fields: &'v Map<String, Value>, key: &str) -> Result<&'v [Value], String> {
    match fields.get(key) {
        None => Ok(&[]),
        Some(Value::Array(members)) => Ok(members),
        Some(other) => Err(format!("{key} is no list: {other}")),
    }
}

fn text<'v>(fields: &'v Map<String, Value>, key: &str) -> Result<&'v str, String> {
    fields.get(key).and_then(Value::as_str).ok_or_else(|| format!("{key} is no text"))
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text} is no address"))
}

/// An address with the length of its prefix.
fn cidr(text: &str) -> Result<IpAddr, String> {
    let (host, length) = text.split_once('/').ok_or_else(|| format!("{text} has no prefix length"))?;
    let host = address(host)?;
    let most = if host.is_ipv4() { 32 } else { 128 };
    match length.parse::<u8>() {
        Ok(length) if length <= most => Ok(host),
        _ => Err(format!("{text} has no valid prefix length")),
    }
}

fn mac(text: &str) -> Result<(), String> {
    let octets: Vec<&str> = text.split(':').collect();
    let hex = |octet: &&str| octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
    if octets.len() == 6 && octets.iter().all(hex) { Ok(()) } else { Err(format!("{text} is no MAC")) }
}

/// Judges the result of an ADD by a configuration of `version`.
pub fn result(document: &Value, version: &str) -> Result<(), String> {
    let families = ["0.1.0", "0.2.0"].contains(&version);
    let shape = if families {
        Shape { required: &["cniVersion"], optional: &["ip4", "ip6", "dns"] }
    } else {
        Shape { required: &["cniVersion", "interfaces", "ips"], optional: &["routes", "dns"] }
    };
    let fields = shaped(document, "result", &shape)?;
    if text(fields, "cniVersion")? != version {
        return Err(format!("the result is of another version than {version}"));
    }
    if let Some(found) = fields.get("dns") {
        dns(found)?;
    }
    if families {
        return ["ip4", "ip6"].iter().filter_map(|key| fields.get(*key)).try_for_each(family);
    }
    let interfaces = members(fields, "interfaces")?;
    for interface in interfaces {
        self::interface(interface, version)?;
    }
    if !interfaces.iter().any(|interface| interface["sandbox"].as_str().is_some_and(|path| !path.is_empty()))
    {
        return Err("no interface is in a container".to_owned());
    }
    for ip in members(fields, "ips")? {
        self::ip(ip, version, interfaces)?;
    }
    members(fields, "routes")?.iter().try_for_each(|route| self::route(route, version))
}

fn interface(value: &Value, version: &str) -> Result<(), String> {
    let optional: &[&str] = if version == "1.1.0" {
        &["mac", "sandbox", "mtu", "socketPath", "pciID"]
    } else {
        &["mac", "sandbox"]
    };
    let fields = shaped(value, "interfaces[]", &Shape { required: &["name"], optional })?;
    let name = text(fields, "name")?;
    if name.is_empty() || name.len() > 15 {
        return Err(format!("{name} is no interface name"));
    }
    if fields.contains_key("mac") {
        mac(text(fields, "mac")?)?;
    }
    match fields.get("mtu") {
        Some(mtu) if mtu.as_u64().is_none_or(|mtu| mtu < 68) => Err(format!("mtu is {mtu}")),
        _ => Ok(()),
    }
}

fn ip(value: &Value, version: &str, interfaces: &[Value]) -> Result<(), String> {
    let with_family = ["0.3.0", "0.3.1", "0.4.0"].contains(&version);
    let required: &[&str] = if with_family { &["version", "address"] } else { &["address"] };
    let fields = shaped(value, "ips[]", &Shape { required, optional: &["gateway", "interface"] })?;
    let host = cidr(text(fields, "address")?)?;
    if with_family && text(fields, "version")? != if host.is_ipv4() { "4" } else { "6" } {
        return Err(format!("the version of {host} is wrong"));
    }
    if fields.contains_key("gateway") && address(text(fields, "gateway")?)?.is_ipv4() != host.is_ipv4() {
        return Err(format!("the gateway of {host} is of the other family"));
    }
    match fields.get("interface") {
        None => Ok(()),
        Some(place) => {
            let place = place.as_u64().and_then(|place| interfaces.get(usize::try_from(place).ok()?));
            let inside = place.and_then(|interface| interface["sandbox"].as_str());
            inside.map(drop).ok_or_else(|| format!("{host} is on no interface of the container"))
        }
    }
}

fn family(value: &Value) -> Result<(), String> {
    let fields = shaped(value, "ip4/ip6", &Shape { required: &["ip"], optional: &["gateway", "routes"] })?;
    cidr(text(fields, "ip")?)?;
    if fields.contains_key("gateway") {
        address(text(fields, "gateway")?)?;
    }
    members(fields, "routes")?.iter().try_for_each(|route| self::route(route, "0.2.0"))
}

fn route(value: &Value, version: &str) -> Result<(), String> {
    let optional: &[&str] =
        if version == "1.1.0" { &["gw", "mtu", "advmss", "priority", "table", "scope"] } else { &["gw"] };
    let fields = shaped(value, "routes[]", &Shape { required: &["dst"], optional })?;
    let destination = cidr(text(fields, "dst")?)?;
    if fields.contains_key("gw") && address(text(fields, "gw")?)?.is_ipv4() != destination.is_ipv4() {
        return Err(format!("the gateway to {destination} is of the other family"));
    }
    Ok(())
}

fn dns(value: &Value) -> Result<(), String> {
    let optional = &["nameservers", "domain", "search", "options"];
    let fields = shaped(value, "dns", &Shape { required: &[], optional })?;
    members(fields, "nameservers")?
        .iter()
        .try_for_each(|server| address(server.as_str().unwrap_or_default()).map(drop))?;
    for key in ["search", "options"] {
        if !members(fields, key)?.iter().all(Value::is_string) {
            return Err(format!("dns.{key} has a member that is no text"));
        }
    }
    Ok(())
}

/// Judges an error document.
pub fn error(document: &Value) -> Result<(), String> {
    let shape = Shape { required: &["cniVersion", "code", "msg"], optional: &["details"] };
    let fields = shaped(document, "error", &shape)?;
    // 1 to 7, 11, 50 and 51 have a meaning; the rest up to 99 is the specification's.
    let code = fields["code"].as_u64().ok_or("code is no number")?;
    if !matches!(code, 1..=7 | 11 | 50 | 51 | 100..=999) {
        return Err(format!("code {code} has no meaning"));
    }
    if text(fields, "msg")?.is_empty() {
        return Err("the message is empty".to_owned());
    }
    fields.get("details").map_or(Ok(()), |_| text(fields, "details").map(drop))
}

/// Judges the answer to VERSION.
pub fn versions(document: &Value) -> Result<(), String> {
    let shape = Shape { required: &["cniVersion", "supportedVersions"], optional: &[] };
    let fields = shaped(document, "version", &shape)?;
    text(fields, "cniVersion")?;
    let supported = members(fields, "supportedVersions")?;
    let all = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
    match all.iter().find(|version| !supported.iter().any(|known| known == *version)) {
        None => Ok(()),
        Some(version) => Err(format!("{version} is not supported")),
    }
}

/// The rules themselves: each refuses what it is there for.
#[test]
fn the_rules_refuse_what_is_wrong() {
    let good = serde_json::json!({"cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "mac": "00:15:5d:0a:00:05", "sandbox": "/run/netns/x"}],
        "ips": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1", "interface": 0}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}], "dns": {}});
    result(&good, "1.0.0").unwrap();
    let wrong: [(&str, Value, &str); 9] = [
        ("/cniVersion", "0.4.0".into(), "another version"),
        ("/interfaces/0/name", "".into(), "no interface name"),
        ("/interfaces/0/mac", "00-15".into(), "no MAC"),
        ("/interfaces/0/sandbox", "".into(), "no interface is in a container"),
        ("/ips/0/address", "10.1.0.5".into(), "no prefix length"),
        ("/ips/0/gateway", "fd00::1".into(), "other family"),
        ("/ips/0/interface", 1.into(), "no interface of the container"),
        ("/routes/0/gw", "fd00::1".into(), "other family"),
        ("/dns", serde_json::json!({"servers": []}), "not a key"),
    ];
    for (pointer, value, said) in wrong {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        let verdict = result(&bad, "1.0.0").unwrap_err();
        assert!(verdict.contains(said), "{pointer}: {verdict}");
    }
    assert!(result(&good, "0.4.0").is_err());
    let error_of = |code: u64| serde_json::json!({"cniVersion": "1.0.0", "code": code, "msg": "no"});
    assert!(error(&error_of(7)).is_ok() && error(&error_of(42)).is_err() && error(&error_of(0)).is_err());
}
