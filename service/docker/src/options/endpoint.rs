use std::net::IpAddr;

use hns_hcn::{Bandwidth, Policy, Qos};
use hns_net::Mac;
use serde_json::{Map, Value};

use crate::drivers::{DRIVERS, Driver};
use crate::refusal::Refusal;

use super::table::Use::{self, Takes, Unsupported};
use super::table::{Reading, Row, Table};
use super::values;

/// What `docker run` and `docker network connect` say of an endpoint beside its addresses and ports.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct EndpointOptions {
    /// It does not talk to the other endpoints of its network.
    pub isolated: bool,
    pub dns_servers: Vec<IpAddr>,
    /// As Docker sends it beside the interface.
    pub mac: Option<Mac>,
    rules: Vec<Policy>,
    /// As Windows has them.
    qos: Qos,
    bandwidth_in: Option<Bandwidth>,
    bandwidth_out: Option<Bandwidth>,
}

const ALL: [Use; DRIVERS.len()] = [Takes; DRIVERS.len()];
const NAMES: &str =
    "Docker takes no whole name from a plugin; the network's container_iface_prefix is what names begin with";

static TABLE: Table<EndpointOptions> = Table {
    place: "docker network connect --driver-opt",
    // Docker's own options stand beside those of its user, and every version adds some.
    is_ours: |key| {
        !key.contains('.')
            || key.starts_with("hns.")
            || key.contains(".windowsshim.")
            || key.contains(".network.bridge.")
    },
    rows: &[
        Row {
            key: "com.docker.network.windowsshim.disableicc",
            short: "disableicc",
            uses: ALL,
            read: |options, value| {
                options.isolated = values::boolean(value)?;
                Ok(())
            },
        },
        // No resolver of ours answers endpoints of Docker, which has its own.
        Row {
            key: "com.docker.network.windowsshim.disable_dns",
            short: "disable_dns",
            uses: ALL,
            read: |_, value| values::boolean(value).map(drop),
        },
        Row {
            key: "com.docker.endpoint.windowsshim.qospolicies",
            short: "qospolicies",
            uses: ALL,
            read: |options, value| {
                options.qos = values::qos(value)?;
                Ok(())
            },
        },
        Row {
            key: "hns.acl",
            short: "acl",
            uses: ALL,
            read: |options, value| {
                options.rules = values::rules(value)?;
                Ok(())
            },
        },
        Row {
            key: "hns.bandwidth-in",
            short: "bandwidth-in",
            uses: ALL,
            read: |options, value| {
                options.bandwidth_in = Some(values::rate(value)?);
                Ok(())
            },
        },
        Row {
            key: "hns.bandwidth-out",
            short: "bandwidth-out",
            uses: ALL,
            read: |options, value| {
                options.bandwidth_out = Some(values::rate(value)?);
                Ok(())
            },
        },
        Row {
            key: "com.docker.network.endpoint.ifname",
            short: "ifname",
            uses: [Unsupported(NAMES); DRIVERS.len()],
            read: |_, _| Ok(()),
        },
    ],
};

impl EndpointOptions {
    pub fn read(driver: &Driver, all: &Map<String, Value>) -> Result<Self, Refusal> {
        let Reading { mut options, .. } = TABLE.read(driver, all)?;
        options.dns_servers = dns_servers(all)?;
        options.mac = mac(all)?;
        options.settle()?;
        Ok(options)
    }

    /// Refuses options that are each fine and together are not.
    fn settle(&self) -> Result<(), Refusal> {
        let why = "both limit the same direction";
        for (key, own, of_windows) in [
            ("hns.bandwidth-in", self.bandwidth_in, self.qos.incoming),
            ("hns.bandwidth-out", self.bandwidth_out, self.qos.outgoing),
        ] {
            if own.is_some() && of_windows.is_some() {
                return Err(Refusal::OptionsContradict { key, other: "qospolicies", why });
            }
        }
        Ok(())
    }

    /// The endpoint's rules and limits.
    pub fn policies(&self) -> Vec<Policy> {
        let limits = Qos {
            outgoing: self.bandwidth_out.or(self.qos.outgoing),
            incoming: self.bandwidth_in.or(self.qos.incoming),
        };
        let limits = (limits != Qos::default()).then(|| Policy::qos(limits));
        self.rules.iter().cloned().chain(limits).collect()
    }
}

fn dns_servers(all: &Map<String, Value>) -> Result<Vec<IpAddr>, Refusal> {
    const KEY: &str = "com.docker.network.endpoint.dnsservers";
    let listed = all.get(KEY).and_then(Value::as_array).into_iter().flatten();
    let parse = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        let expected = "an IP address".to_owned();
        text.parse().map_err(|_| Refusal::OptionValue { key: KEY.into(), value: text.into(), expected })
    };
    listed.map(parse).collect()
}

/// Go writes the six bytes of an address in base64, which makes eight digits without padding (RFC 4648 section 4).
fn mac(all: &Map<String, Value>) -> Result<Option<Mac>, Refusal> {
    const KEY: &str = "com.docker.network.endpoint.macaddress";
    let Some(text) = all.get(KEY).and_then(Value::as_str).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let sextets: Option<Vec<u64>> = text.bytes().map(sextet).collect();
    let number = sextets.filter(|sextets| sextets.len() == 8);
    let mac = number.map(|sextets| Mac::from_u64(sextets.iter().fold(0, |sum, sextet| sum << 6 | sextet)));
    let wrong = || Refusal::OptionValue {
        key: KEY.to_owned(),
        value: mac.map_or_else(|| text.to_owned(), Mac::colons),
        expected: "the MAC address of one interface".to_owned(),
    };
    mac.filter(|mac| mac.is_unicast()).map(Some).ok_or_else(wrong)
}

fn sextet(digit: u8) -> Option<u64> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::NAT;
    use serde_json::json;

    fn read(options: Value) -> Result<EndpointOptions, String> {
        let Value::Object(options) = options else { panic!("an object") };
        EndpointOptions::read(&NAT, &options).map_err(|refusal| refusal.text())
    }

    #[test]
    fn the_recorded_options_are_read() {
        let options = read(json!({
            "com.docker.network.endpoint.dnsservers": ["9.9.9.9"],
            "com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 99}],
            "com.docker.network.endpoint.macaddress": "AhEiM0RV",
            "com.docker.network.portmap": [],
            "a.b": "c",
        }))
        .unwrap();
        assert_eq!(options.mac, Some("02:11:22:33:44:55".parse().unwrap()));
        assert_eq!(options.dns_servers, ["9.9.9.9".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn each_option_has_its_effect() {
        for key in ["disableicc", "com.docker.network.windowsshim.disableicc"] {
            assert!(read(json!({ key: "true" })).unwrap().isolated, "{key}");
        }
        assert_eq!(read(json!({ "disable_dns": "1" })).unwrap(), EndpointOptions::default());
    }

    #[test]
    fn rules_and_limits_become_policies() {
        for (acl, bandwidth) in [("acl", "bandwidth-in"), ("hns.acl", "hns.bandwidth-in")] {
            let options = read(json!({
                acl: "in allow tcp port 80+443; out allow",
                bandwidth: "8kbit",
                "com.docker.endpoint.windowsshim.qospolicies": "[{\"MaxEgressBandwidth\": 7}]",
            }));
            let policies: Vec<Value> = options.unwrap().policies().iter().map(Policy::to_v2).collect();
            assert_eq!(
                policies,
                [
                    json!({"Type": "ACL", "Settings": {"Action": "Allow", "Direction": "In", "Protocols": "6",
                        "LocalPorts": "80,443", "Priority": 1000}}),
                    json!({"Type": "ACL", "Settings": {"Action": "Allow", "Direction": "Out", "Priority": 1000}}),
                    json!({"Type": "QOS", "Settings": {"MaximumIncomingBandwidthInBytes": 1000,
                        "MaximumOutgoingBandwidthInBytes": 7}}),
                ]
            );
        }
        // As JSON of its own, which other clients of Docker's API may send.
        let limits = read(json!({ "qospolicies": [{ "MaxEgressBandwidth": 7 }] })).unwrap();
        assert_eq!(limits.qos.outgoing.map(|limit| limit.bytes_per_second), Some(7));
        assert_eq!(read(json!({ "bandwidth-out": "1gbit" })).unwrap().policies().len(), 1);
    }

    #[test]
    fn each_option_has_its_refusal() {
        let refused = [
            (json!({ "disableicc": "perhaps" }), "option disableicc: \"perhaps\" is not true or false"),
            (json!({ "disable_dns": "" }), "option disable_dns: \"\" is not true or false"),
            (json!({ "qospolicies": "x" }), "option qospolicies: \"x\" is not the JSON of one limit"),
            (json!({ "hns.acl": "" }), "option hns.acl: \"\" is not a list of rules: a rule begins with"),
            (
                json!({ "acl": "in allow; in blok" }),
                "option acl: \"in allow; in blok\" is not a list of rules: a rule begins",
            ),
            (json!({ "hns.bandwidth-in": "100" }), "option hns.bandwidth-in: \"100\" is not a rate: 500kbit"),
            (json!({ "hns.acls": "in allow" }), "option hns.acls is not known"),
            (
                json!({ "bandwidth-out": "1mbit", "qospolicies": "{\"MaxEgressBandwidth\": 1}" }),
                "option hns.bandwidth-out contradicts qospolicies: both limit the same direction",
            ),
            (json!({ "ifname": "lan0" }), "option ifname is not supported: Docker takes no whole name"),
            (
                json!({ "disableic": "true" }),
                "option disableic is not known; docker network connect --driver-opt",
            ),
            (json!({ "com.docker.network.windowsshim.x": "" }), "takes disableicc, disable_dns"),
            (
                json!({ "com.docker.network.endpoint.macaddress": "////////" }),
                "\"ff:ff:ff:ff:ff:ff\" is not the MAC address of one",
            ),
            (
                json!({ "com.docker.network.endpoint.dnsservers": ["ns"] }),
                "com.docker.network.endpoint.dnsservers: \"ns\" is not an IP address",
            ),
        ];
        for (options, expected) in refused {
            let text = read(options.clone()).unwrap_err();
            assert!(text.contains(expected), "{options}: {text}");
        }
    }
}
