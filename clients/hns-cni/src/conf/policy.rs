//! Policies as Windows configurations carry them, in the shapes of both HNS generations, turned into HCN's.

use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::object::{Found, Object};

/// A policy type of the first HNS generation: its name now, and the settings that are named otherwise now.
struct Renamed {
    old: &'static str,
    new: &'static str,
    settings: &'static [(&'static str, &'static str)],
}

const RENAMED: &[Renamed] = &[
    Renamed { old: "NAT", new: "PortMapping", settings: &[] },
    Renamed {
        old: "OutBoundNAT",
        new: "OutBoundNAT",
        settings: &[("ExceptionList", "Exceptions"), ("VIP", "VirtualIP")],
    },
    Renamed { old: "ROUTE", new: "SDNRoute", settings: &[] },
    Renamed { old: "SDNROUTE", new: "SDNRoute", settings: &[] },
    Renamed { old: "PA", new: "ProviderAddress", settings: &[("PA", "ProviderAddress")] },
    // The rules of both generations have the same names of settings; v1's single ones are HCN's as well.
    Renamed { old: "ACL", new: "ACL", settings: &[] },
    Renamed { old: "QOS", new: "QOS", settings: &[] },
    Renamed { old: "VLAN", new: "VLAN", settings: &[("VLAN", "IsolationId")] },
    Renamed { old: "VSID", new: "VSID", settings: &[("VSID", "IsolationId")] },
    Renamed { old: "PROXY", new: "L4Proxy", settings: &[] },
];

/// The transport protocols of a NAT policy, which the first generation wrote as names.
const PROTOCOLS: [(&str, u8); 3] = [("TCP", 6), ("UDP", 17), ("SCTP", 132)];

/// The policies of a configuration, by the object they are for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Policies {
    pub endpoint: Vec<Value>,
    pub network: Vec<Value>,
}

impl Policies {
    /// Takes a list of `{"name":"EndpointPolicy","value":{..}}`: `policies` of win-bridge, `AdditionalArgs` of
    /// Microsoft's plugins.
    pub fn extend(&mut self, list: &[Found<'_>]) -> Result<(), Failure> {
        for found in list {
            let mut pair = Object::of(found)?;
            let name = pair.take("name").ok_or_else(|| pair.invalid("name", "missing"))?;
            let value = pair.take("value").ok_or_else(|| pair.invalid("value", "missing"))?;
            pair.finish("a policy has a name and a value")?;
            let target = match name.value.as_str() {
                Some(text) if text.eq_ignore_ascii_case("EndpointPolicy") => &mut self.endpoint,
                Some(text) if text.eq_ignore_ascii_case("NetworkPolicy") => &mut self.network,
                _ => return Err(name.unsupported("known are EndpointPolicy and NetworkPolicy")),
            };
            target.push(translated(&value)?);
        }
        Ok(())
    }

    /// Takes a list of bare endpoint policies: `HcnPolicyArgs` of an older win-bridge.
    pub fn extend_bare(&mut self, list: &[Found<'_>]) -> Result<(), Failure> {
        for found in list {
            self.endpoint.push(translated(found)?);
        }
        Ok(())
    }
}

/// The policy in HCN's shape, `{"Type", "Settings"}`. Whether it can be honoured is for the daemon to say.
fn translated(found: &Found<'_>) -> Result<Value, Failure> {
    let mut policy = Object::of(found)?;
    let kind = policy.text("Type")?.ok_or_else(|| policy.invalid("Type", "a policy needs a type"))?;
    let mut settings = Map::new();
    let inner = policy.take("Settings");
    let flat: Vec<Found<'_>> = policy.rest().collect();
    let given = match &inner {
        Some(inner) => Object::of(inner)?.rest().chain(flat).collect(),
        None => flat,
    };
    let renamed = RENAMED.iter().find(|row| row.old.eq_ignore_ascii_case(kind));
    for setting in given {
        let key = setting.key;
        let rename = |row: &Renamed| row.settings.iter().find(|(old, _)| old.eq_ignore_ascii_case(key));
        let key = renamed.and_then(rename).map_or(key, |(_, new)| *new);
        settings.insert(key.to_owned(), modern(key, &setting));
    }
    let kind = renamed.map_or(kind, |row| row.new);
    Ok(serde_json::json!({"Type": kind, "Settings": settings}))
}

/// The first priority of the rules of port mappings; Microsoft's configurations end with rules for everything at 2000.
const PORT_RULES: usize = 1000;

/// Whether the policy is a rule of the switch, as rules are that do not say (hcn-api 5.5).
pub(super) fn is_switch_rule(policy: &Value) -> bool {
    let is_host = |value: &Value| {
        value.as_u64() == Some(0) || value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("Host"))
    };
    let settings = policy["Settings"].as_object().into_iter().flatten();
    policy["Type"] == "ACL"
        && !settings.filter(|(key, _)| key.eq_ignore_ascii_case("RuleType")).any(|(_, value)| is_host(value))
}

/// A rule for each port mapping of the runtime's that lets its packets in: `allowAclPortMapping`.
pub(super) fn port_rules(ports: &[Value]) -> Vec<Value> {
    let rule = |(place, mapping): (usize, &Value)| {
        let settings = &mapping["Settings"];
        serde_json::json!({"Type": "ACL", "Settings": {
            "Action": "Allow", "Direction": "In", "Priority": PORT_RULES + place,
            "Protocols": settings["Protocol"].to_string(), "LocalPorts": settings["InternalPort"].to_string()}})
    };
    ports.iter().enumerate().map(rule).collect()
}

fn modern(key: &str, setting: &Found<'_>) -> Value {
    let number = setting.value.as_str().and_then(|text| {
        PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| *number)
    });
    match number {
        Some(number) if key.eq_ignore_ascii_case("Protocol") => number.into(),
        _ => setting.value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn translate(list: &Value) -> Result<Policies, Failure> {
        let mut policies = Policies::default();
        policies.extend(&Found { path: "policies".to_owned(), key: "policies", value: list }.list()?)?;
        Ok(policies)
    }

    #[test]
    fn policies_of_both_generations_become_the_same() {
        let cases = [
            (
                json!({"Type": "NAT", "Protocol": "tcp", "InternalPort": 80, "ExternalPort": 8080}),
                json!({"Type": "PortMapping",
                    "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}}),
            ),
            (
                json!({"Type": "OutBoundNAT", "ExceptionList": ["10.0.0.0/8"]}),
                json!({"Type": "OutBoundNAT", "Settings": {"Exceptions": ["10.0.0.0/8"]}}),
            ),
            (
                json!({"Type": "OutBoundNAT", "Settings": {"Exceptions": ["10.0.0.0/8"]}}),
                json!({"Type": "OutBoundNAT", "Settings": {"Exceptions": ["10.0.0.0/8"]}}),
            ),
            (
                json!({"Type": "ROUTE", "DestinationPrefix": "10.0.0.0/8", "NeedEncap": true}),
                json!({"Type": "SDNRoute",
                    "Settings": {"DestinationPrefix": "10.0.0.0/8", "NeedEncap": true}}),
            ),
            (
                json!({"Type": "PA", "PA": "198.51.100.2"}),
                json!({"Type": "ProviderAddress", "Settings": {"ProviderAddress": "198.51.100.2"}}),
            ),
            // As felix writes it, the fields of both kinds side by side.
            (
                json!({"Type": "ACL", "Id": "API0", "Protocol": 256, "Protocols": "", "Action": "Block",
                    "Direction": "In", "LocalAddresses": "", "RemoteAddresses": "10.9.0.0/16",
                    "LocalPorts": "", "RemotePorts": "", "RuleType": "Switch", "Priority": 65500}),
                json!({"Type": "ACL", "Settings": {"Id": "API0", "Protocol": 256, "Protocols": "",
                    "Action": "Block", "Direction": "In", "LocalAddresses": "",
                    "RemoteAddresses": "10.9.0.0/16", "LocalPorts": "", "RemotePorts": "",
                    "RuleType": "Switch", "Priority": 65500}}),
            ),
            (
                json!({"Type": "acl", "Protocol": "tcp", "LocalPort": 80, "Action": "Allow", "Direction": "In"}),
                json!({"Type": "ACL", "Settings":
                    {"Protocol": 6, "LocalPort": 80, "Action": "Allow", "Direction": "In"}}),
            ),
            (
                json!({"Type": "qos", "MaximumOutgoingBandwidthInBytes": 1000}),
                json!({"Type": "QOS", "Settings": {"MaximumOutgoingBandwidthInBytes": 1000}}),
            ),
            (
                json!({"Type": "TierAcl", "Settings": {"Direction": "In", "Order": 1, "TierAclRules":
                    [{"TierAclRuleAction": "Pass", "Priority": 7}]}}),
                json!({"Type": "TierAcl", "Settings": {"Direction": "In", "Order": 1, "TierAclRules":
                    [{"TierAclRuleAction": "Pass", "Priority": 7}]}}),
            ),
            (json!({"Type": "L2Driver"}), json!({"Type": "L2Driver", "Settings": {}})),
        ];
        for (old, new) in cases {
            let policies = translate(&json!([{"name": "EndpointPolicy", "value": old}])).unwrap();
            assert_eq!(policies, Policies { endpoint: vec![new], network: vec![] });
        }
    }

    #[test]
    fn policies_go_to_the_object_they_name() {
        let list = json!([
            {"Name": "NetworkPolicy", "Value": {"Type": "VLAN", "VLAN": 7}},
            {"Name": "EndpointPolicy", "Value": {"Type": "QOS", "MaximumOutgoingBandwidthInBytes": 1}}]);
        let policies = translate(&list).unwrap();
        assert_eq!(policies.network, [json!({"Type": "VLAN", "Settings": {"IsolationId": 7}})]);
        assert_eq!(policies.endpoint.len(), 1);
    }

    #[test]
    fn what_is_no_policy_is_refused_by_its_place() {
        for (list, code, said) in [
            (json!([{"name": "LoopbackPolicy", "value": {}}]), 2, "policies[0].name"),
            (json!([{"value": {}}]), 7, "policies[0].name: missing"),
            (json!([{"name": "EndpointPolicy", "value": {"x": 1}}]), 7, "policies[0].value.Type"),
            (json!([{"name": "EndpointPolicy", "value": 7}]), 7, "policies[0].value: expected an object"),
        ] {
            let failure = translate(&list).unwrap_err();
            assert_eq!(failure.code(), code, "{failure}");
            assert!(failure.to_string().starts_with(said), "{failure}");
        }
    }
}
