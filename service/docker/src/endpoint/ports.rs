//! Published ports: from Docker's bindings to mappings of the engine.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_hcn as hcn;
use hns_net::{PortRange, Transport};
use serde_json::{Value, json};

use crate::marks;
use crate::refusal::Refusal;
use crate::wire::PortBinding;

/// A port of a container, or a run of them, and where on the host Docker's user wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    pub transport: Transport,
    pub internal: PortRange,
    /// Absent: every address of the host; the unspecified one of a family: every address of that family.
    pub address: Option<IpAddr>,
    pub external: External,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum External {
    Any,
    /// As many as there are ports of the container.
    These(PortRange),
    OneOf(PortRange),
}

impl Wish {
    fn read(binding: &PortBinding, default: Option<IpAddr>) -> Result<Self, Refusal> {
        let wrong = |field, value: String, expected| Refusal::Field { field, value, expected };
        let transport = Transport::from_number(binding.proto).map_err(|_| {
            wrong("Proto", binding.proto.to_string(), "a protocol with ports: TCP 6, UDP 17 or SCTP 132")
        })?;
        let expected = "a port, 1 to 65535";
        let internal =
            PortRange::single(binding.port).map_err(|_| wrong("Port", binding.port.to_string(), expected))?;
        let address = match binding.host_ip.as_str() {
            "" => default,
            text => Some(text.parse().map_err(|_| wrong("HostIP", text.to_owned(), "an IP address"))?),
        };
        let external = match (PortRange::single(binding.host_port), binding.host_port_end) {
            (Err(_), _) => External::Any,
            (Ok(one), end) if end <= binding.host_port => External::These(one),
            (Ok(one), end) => PortRange::new(one.start(), end).map_or(External::These(one), External::OneOf),
        };
        Ok(Self { transport, internal, address, external })
    }

    /// The same for every address of the host, if `other` is this for the other family.
    fn join_families(&self, other: &Self) -> Option<Self> {
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let both =
            matches!((self.address?, other.address?), (a, b) if (a, b) == (v4, v6) || (a, b) == (v6, v4));
        let joined = Self { address: None, ..*self };
        (both && joined == Self { address: None, ..*other }).then_some(joined)
    }

    /// Both as one, if `next` continues this: a run of a thousand ports is one mapping.
    fn join_run(&self, next: &Self) -> Option<Self> {
        let (External::These(mine), External::These(theirs)) = (self.external, next.external) else {
            return None;
        };
        let follows = |a: PortRange, b: PortRange| a.end().checked_add(1) == Some(b.start());
        let same = self.transport == next.transport && self.address == next.address;
        if !same || !follows(mine, theirs) || !follows(self.internal, next.internal) {
            return None;
        }
        let external = External::These(PortRange::new(mine.start(), theirs.end()).ok()?);
        let internal = PortRange::new(self.internal.start(), next.internal.end()).ok()?;
        Some(Self { external, internal, ..*self })
    }

    /// The policy for it, at these ports of the host; marked, so that it is known again.
    pub fn policy(&self, external: Option<PortRange>) -> hcn::Policy {
        let mut policy = hcn::Policy::port_mapping(hcn::PortMapping {
            transport: Some(self.transport),
            internal: self.internal,
            external,
            address: self.address,
            flags: hcn::NatFlags::default(),
        });
        policy.settings.insert(marks::ENDPOINT.to_owned(), json!(self.to_string()));
        policy
    }
}

/// The wish behind a mapping that Docker's user asked for; none for one that an operator added.
pub(super) fn wish_of(policy: &hcn::Policy) -> Option<&str> {
    policy.as_port_mapping().and_then(|_| policy.settings.get(marks::ENDPOINT)).and_then(Value::as_str)
}

/// As a mapping is marked with it: the same wish is the same text.
impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} at ", self.internal, self.transport)?;
        match self.address {
            Some(address) => write!(f, "{address}")?,
            None => f.write_str("*")?,
        }
        match self.external {
            External::Any => f.write_str(" port any"),
            External::These(ports) => write!(f, " port {ports}"),
            External::OneOf(ports) => write!(f, " port one of {ports}"),
        }
    }
}

/// What Docker's bindings ask for, in as few mappings as can be. `default`: where ports are published for which no
/// address is named.
pub(super) fn wishes(bindings: &[PortBinding], default: Option<IpAddr>) -> Result<Vec<Wish>, Refusal> {
    let mut wishes: Vec<Wish> = Vec::with_capacity(bindings.len());
    for binding in bindings {
        let wish = Wish::read(binding, default)?;
        if let Some(place) =
            wishes.iter().position(|other| *other == wish || wish.join_families(other).is_some())
        {
            wishes[place] = wish.join_families(&wishes[place]).unwrap_or(wish);
        } else {
            wishes.push(wish);
        }
    }
    let first = |wish: &Wish| match wish.external {
        External::These(ports) => ports.start(),
        External::Any | External::OneOf(_) => 0,
    };
    wishes.sort_by_key(|wish| (wish.transport, wish.address, first(wish), wish.internal));
    let mut joined: Vec<Wish> = Vec::with_capacity(wishes.len());
    for wish in wishes {
        match joined.last_mut() {
            Some(last) if last.join_run(&wish).is_some() => *last = last.join_run(&wish).unwrap_or(wish),
            _ => joined.push(wish),
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bindings: Value) -> Result<Vec<String>, String> {
        let bindings: Vec<PortBinding> = serde_json::from_value(bindings).unwrap();
        let wishes = wishes(&bindings, None).map_err(|refusal| refusal.text())?;
        Ok(wishes.iter().map(ToString::to_string).collect())
    }

    fn binding(port: u16, address: &str, first: u16, last: u16) -> Value {
        json!({ "Proto": 6, "IP": "", "Port": port, "HostIP": address, "HostPort": first, "HostPortEnd": last })
    }

    #[test]
    fn every_form_of_publishing_is_read() {
        let cases = [
            (binding(80, "", 8081, 8081), "80/tcp at * port 8081"),
            (binding(80, "127.0.0.1", 8081, 8081), "80/tcp at 127.0.0.1 port 8081"),
            (binding(80, "0.0.0.0", 8081, 0), "80/tcp at 0.0.0.0 port 8081"),
            (binding(80, "::", 8081, 8081), "80/tcp at :: port 8081"),
            (binding(80, "", 0, 0), "80/tcp at * port any"),
            (binding(80, "", 8000, 8010), "80/tcp at * port one of 8000-8010"),
            (json!({ "Proto": 132, "Port": 9, "HostPort": 9 }), "9/sctp at * port 9"),
        ];
        for (binding, expected) in cases {
            assert_eq!(read(json!([binding])).unwrap(), [expected], "{binding}");
        }
    }

    #[test]
    fn a_run_of_ports_is_one_mapping() {
        let run: Vec<Value> = (0..1000).map(|n| binding(9000 + n, "", 8000 + n, 8000 + n)).collect();
        assert_eq!(read(json!(run)).unwrap(), ["9000-9999/tcp at * port 8000-8999"]);
        let crossed = json!([binding(80, "", 8001, 8001), binding(81, "", 8000, 8000)]);
        assert_eq!(read(crossed).unwrap(), ["81/tcp at * port 8000", "80/tcp at * port 8001"]);
    }

    #[test]
    fn both_families_named_are_every_address() {
        let both = json!([binding(80, "0.0.0.0", 0, 0), binding(80, "::", 0, 0)]);
        assert_eq!(read(both).unwrap(), ["80/tcp at * port any"]);
        let twice = json!([binding(80, "", 80, 80), binding(80, "", 80, 80)]);
        assert_eq!(read(twice).unwrap(), ["80/tcp at * port 80"]);
    }

    #[test]
    fn what_is_no_binding_is_refused_by_name() {
        let cases = [
            (json!({ "Proto": 1, "Port": 80 }), "Proto \"1\" is not a protocol with ports"),
            (binding(0, "", 80, 80), "Port \"0\" is not a port"),
            (binding(80, "lo", 80, 80), "HostIP \"lo\" is not an IP address"),
        ];
        for (binding, expected) in cases {
            let text = read(json!([binding])).unwrap_err();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn the_default_address_is_for_ports_without_one() {
        let bindings: Vec<PortBinding> =
            serde_json::from_value(json!([binding(80, "", 80, 80), binding(81, "::1", 81, 81)])).unwrap();
        let wishes = wishes(&bindings, Some("127.0.0.1".parse().unwrap())).unwrap();
        let texts: Vec<_> = wishes.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["80/tcp at 127.0.0.1 port 80", "81/tcp at ::1 port 81"]);
    }
}
