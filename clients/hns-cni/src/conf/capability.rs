//! `runtimeConfig` and `args`: what the runtime says about one container (CNI's conventions document).

use std::net::IpAddr;

use hns_hcn::Dns;
use hns_net::{Mac, PortRange, Transport};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::object::{Found, Object};

use super::addressing::{Requested, Subnet};
use super::bandwidth;

/// Capabilities that ask for what an endpoint cannot do.
const REFUSED: [(&str, &str); 2] = [
    ("deviceID", "HNS makes virtual interfaces; none of them is a device"),
    ("infinibandGUID", "HNS makes Ethernet interfaces"),
];

/// Capabilities that tell, and ask for nothing.
const TOLD: [&str; 1] = ["cgroupPath"];

#[derive(Debug, Default, PartialEq)]
pub(super) struct Wishes {
    /// Port mappings, as policies of the endpoint.
    pub ports: Vec<Value>,
    /// Limits of its bandwidth, as a policy of the endpoint.
    pub limits: Option<Value>,
    pub dns: Dns,
    pub addresses: Vec<Requested>,
    pub mac: Option<Mac>,
    /// Replace the ranges of the configuration.
    pub ranges: Vec<Subnet>,
    /// What is kept beside the endpoint for others to read: names of the container, labels.
    pub marks: Map<String, Value>,
}

impl Wishes {
    /// Reads both places; `runtimeConfig` counts more.
    pub fn take(conf: &mut Object<'_>) -> Result<Self, Failure> {
        let mut wishes = Self::default();
        if let Some(mut args) = conf.object("args")?
            && let Some(cni) = args.object("cni")?
        {
            wishes.read_args(cni)?;
        }
        if let Some(runtime) = conf.object("runtimeConfig")? {
            wishes.read_runtime(runtime)?;
        }
        Ok(wishes)
    }

    /// What is unknown here is for others, the conventions say.
    fn read_args(&mut self, mut cni: Object<'_>) -> Result<(), Failure> {
        self.addresses = cni.parsed_list("ips")?;
        self.mac = cni.parsed("mac")?;
        if let Some(labels) = cni.take("labels") {
            self.marks.insert("Labels".to_owned(), labels.value.clone());
        }
        Ok(())
    }

    fn read_runtime(&mut self, mut runtime: Object<'_>) -> Result<(), Failure> {
        for found in runtime.list("portMappings")? {
            self.ports.extend(port_mapping(&found)?);
        }
        if let Some(limits) = runtime.object("bandwidth")? {
            self.limits = bandwidth::policy(limits)?;
        }
        if let Some(mut dns) = runtime.object("dns")? {
            self.dns = Dns {
                domain: None,
                search: dns.parsed_list("searches")?,
                servers: dns.parsed_list("servers")?,
                options: dns.parsed_list("options")?,
            };
            dns.finish("the capability has servers, searches and options")?;
        }
        let addresses = runtime.parsed_list("ips")?;
        if !addresses.is_empty() {
            self.addresses = addresses;
        }
        self.mac = runtime.parsed("mac")?.or(self.mac);
        if let Some(found) = runtime.take("ipRanges") {
            self.ranges = Subnet::of_ranges(&found)?;
        }
        let aliases: Vec<String> = runtime.parsed_list("aliases")?;
        if !aliases.is_empty() {
            self.marks.insert("Aliases".to_owned(), json!(aliases));
        }
        for (name, why) in REFUSED {
            if let Some(found) = runtime.take(name).filter(asks) {
                return Err(found.unsupported(why));
            }
        }
        for name in TOLD {
            runtime.take(name);
        }
        runtime.finish("hns-cni has no such capability")
    }
}

/// Whether the value asks for something: runtimes fill in zeroes for limits that nobody set.
fn asks(found: &Found<'_>) -> bool {
    match found.value {
        Value::Object(fields) => {
            fields.values().any(|value| !Found { path: String::new(), key: "", value }.is_empty())
        }
        _ => !found.is_empty(),
    }
}

/// One port mapping, or nothing when its host port is 0: then the container's port is only told of, as the reference
/// plugin `portmap` has it.
fn port_mapping(found: &Found<'_>) -> Result<Option<Value>, Failure> {
    let mut mapping = Object::of(found)?;
    let host = port(&mut mapping, "hostPort")?;
    let container = port(&mut mapping, "containerPort")?;
    let transport: Transport = mapping.parsed("protocol")?.unwrap_or(Transport::Tcp);
    let address: Option<IpAddr> = mapping.parsed("hostIP")?;
    mapping.finish("a port mapping has hostPort, containerPort, protocol and hostIP")?;
    let Some(host) = host else { return Ok(None) };
    let container = container.ok_or_else(|| {
        Failure::invalid(
            format!("{}.containerPort", found.path),
            "a published port needs the container's port",
        )
    })?;
    let mut settings = Map::new();
    settings.insert("Protocol".to_owned(), transport.number().into());
    settings.insert("InternalPort".to_owned(), container.start().into());
    settings.insert("ExternalPort".to_owned(), host.start().into());
    if let Some(address) = address {
        settings.insert("VIP".to_owned(), address.to_string().into());
    }
    Ok(Some(json!({"Type": "PortMapping", "Settings": settings})))
}

fn port(mapping: &mut Object<'_>, key: &str) -> Result<Option<PortRange>, Failure> {
    let Some(number) = mapping.number(key)?.filter(|number| *number != 0) else { return Ok(None) };
    let port = u16::try_from(number).map_err(|_| mapping.invalid(key, format!("{number} is no port")))?;
    PortRange::single(port).map(Some).map_err(|error| mapping.invalid(key, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(conf: &Value) -> Result<Wishes, Failure> {
        Wishes::take(&mut Object::of(&Found { path: String::new(), key: "", value: conf }).unwrap())
    }

    fn mapped(mapping: &Value) -> Result<Vec<Value>, Failure> {
        read(&json!({"runtimeConfig": {"portMappings": [mapping]}})).map(|wishes| wishes.ports)
    }

    #[test]
    fn port_mappings_become_policies() {
        let cases = [
            (
                json!({"hostPort": 8080, "containerPort": 80}),
                json!({"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}),
            ),
            (
                json!({"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "127.0.0.1"}),
                json!({"Protocol": 17, "InternalPort": 5353, "ExternalPort": 53, "VIP": "127.0.0.1"}),
            ),
            (
                json!({"hostPort": 1, "containerPort": 2, "protocol": "sctp", "hostIP": ""}),
                json!({"Protocol": 132, "InternalPort": 2, "ExternalPort": 1}),
            ),
        ];
        for (mapping, settings) in cases {
            let policy = json!({"Type": "PortMapping", "Settings": settings});
            assert_eq!(mapped(&mapping).unwrap(), [policy]);
        }
        assert!(mapped(&json!({"hostPort": 0, "containerPort": 80})).unwrap().is_empty());
        assert!(mapped(&json!({"containerPort": 80})).unwrap().is_empty());
    }

    #[test]
    fn a_port_mapping_that_makes_no_sense_is_refused_by_its_place() {
        for (mapping, said) in [
            (json!({"hostPort": 80}), "containerPort: a published port needs"),
            (json!({"hostPort": 80, "containerPort": 0}), "containerPort: a published port needs"),
            (json!({"hostPort": 65536, "containerPort": 1}), "hostPort: 65536 is no port"),
            (json!({"hostPort": -1, "containerPort": 1}), "hostPort: expected a whole number"),
            (json!({"hostPort": 1, "containerPort": 1, "protocol": "icmp"}), "protocol: \"icmp\""),
            (json!({"hostPort": 1, "containerPort": 1, "hostIP": "lo"}), "hostIP: \"lo\""),
        ] {
            let failure = mapped(&mapping).unwrap_err();
            assert_eq!(failure.code(), 7);
            let said = format!("runtimeConfig.portMappings[0].{said}");
            assert!(failure.to_string().starts_with(&said), "{failure}");
        }
    }

    #[test]
    fn what_the_runtime_says_counts_more_than_args() {
        let wishes = read(&json!({
            "args": {"cni": {"ips": ["10.1.0.4"], "mac": "02:00:00:00:00:04",
                "labels": [{"key": "app", "value": "web"}], "other": 1}, "elsewhere": {}},
            "runtimeConfig": {"ips": ["10.1.0.5/24", "fd00::5"], "mac": "02:00:00:00:00:05",
                "aliases": ["web"], "cgroupPath": "/x",
                "dns": {"servers": ["192.0.2.53"], "searches": ["lab.test"], "options": ["ndots:5"]}}}))
        .unwrap();
        assert_eq!(wishes.addresses, ["10.1.0.5/24".parse().unwrap(), "fd00::5".parse().unwrap()]);
        assert_eq!(wishes.mac, Some("02:00:00:00:00:05".parse().unwrap()));
        assert_eq!(wishes.dns.options, ["ndots:5"]);
        let marks = json!({"Labels": [{"key": "app", "value": "web"}], "Aliases": ["web"]});
        assert_eq!(Value::from(wishes.marks), marks);
    }

    #[test]
    fn devices_are_refused_when_they_are_asked_for() {
        for harmless in
            [json!({"bandwidth": null}), json!({"bandwidth": {"ingressRate": 0}}), json!({"deviceID": ""})]
        {
            assert_eq!(read(&json!({"runtimeConfig": harmless})).unwrap(), Wishes::default());
        }
        assert_eq!(read(&json!({"runtimeConfig": {"deviceID": "0000:05:00.0"}})).unwrap_err().code(), 2);
        assert_eq!(read(&json!({"runtimeConfig": {"sorcery": {}}})).unwrap_err().code(), 2);
    }
}
