use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use hns_net::{PortRange, PortRangeError, Transport, TransportError};
use serde_json::{Map, Value, json};

/// A published port as `-p` takes it: `[HOSTIP:]HOST[-END]:CTR[-END][/proto]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortSpec {
    /// Absent: all addresses of the host.
    pub address: Option<IpAddr>,
    /// Absent: the daemon chooses and reports.
    pub host: Option<PortRange>,
    pub container: PortRange,
    /// Absent: TCP and UDP.
    pub transport: Option<Transport>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortSpecError {
    #[error("{0}")]
    Ports(#[from] PortRangeError),
    #[error("{0}")]
    Transport(#[from] TransportError),
    #[error("{text:?} is not an address of the host; write 127.0.0.1:8080:80 or [::1]:8080:80")]
    Address { text: String },
    #[error("an IPv6 address stands in brackets: [{address}]:8080:80")]
    Brackets { address: Ipv6Addr },
    #[error("{host} and {container} are not equally many ports")]
    Lengths { host: PortRange, container: PortRange },
    #[error("the endpoint's port is missing; write 8080:80")]
    NoContainerPort,
    #[error("too many colons; write [HOSTIP:]HOST:CTR[/proto]")]
    Colons,
}

impl FromStr for PortSpec {
    type Err = PortSpecError;

    fn from_str(text: &str) -> Result<Self, PortSpecError> {
        let (rest, transport) = match text.rsplit_once('/') {
            None => (text, Some(Transport::Tcp)),
            Some((rest, "tcp+udp" | "udp+tcp")) => (rest, None),
            Some((rest, proto)) => (rest, Some(proto.parse()?)),
        };
        let (address, ports) = split_address(rest)?;
        let (host, container) = match ports.rsplit_once(':') {
            Some((host, container)) => (host, container),
            None => ("", ports),
        };
        if host.contains(':') {
            return Err(PortSpecError::Colons);
        }
        if container.is_empty() {
            return Err(PortSpecError::NoContainerPort);
        }
        let container: PortRange = container.parse()?;
        let host = match host {
            "" | "0" => None,
            host => Some(host.parse::<PortRange>()?),
        };
        match host {
            Some(host) if host.count() != container.count() => {
                Err(PortSpecError::Lengths { host, container })
            }
            _ => Ok(Self { address, host, container, transport }),
        }
    }
}

/// Splits the host's address off: `[v6]:rest`, `v4:host:container`, or no address at all.
fn split_address(text: &str) -> Result<(Option<IpAddr>, &str), PortSpecError> {
    let address_error = |text: &str| PortSpecError::Address { text: text.to_owned() };
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once("]:").ok_or_else(|| address_error(text))?;
        let address: Ipv6Addr = address.parse().map_err(|_| address_error(address))?;
        return Ok((Some(address.into()), rest));
    }
    match text.matches(':').count() {
        0 | 1 => Ok((None, text)),
        2 => {
            // Two colons are there, so the first split cannot fail.
            let (address, rest) = text.split_once(':').unwrap_or(("", text));
            let address = address.parse().map_err(|_| address_error(address))?;
            Ok((Some(address), rest))
        }
        _ => {
            Err(bare_ipv6(text).map_or(PortSpecError::Colons, |address| PortSpecError::Brackets { address }))
        }
    }
}

/// The address somebody meant who left the brackets out.
fn bare_ipv6(text: &str) -> Option<Ipv6Addr> {
    let (rest, _) = text.rsplit_once(':')?;
    rest.rsplit_once(':').and_then(|(address, _)| address.parse().ok())
}

impl PortSpec {
    /// The policy that asks the daemon for this mapping.
    pub fn to_policy(self) -> Value {
        let mut settings = Map::new();
        if let Some(transport) = self.transport {
            settings.insert("Protocol".into(), json!(transport.number()));
        }
        settings.insert("InternalPort".into(), json!(self.container.start()));
        settings.insert("ExternalPort".into(), json!(self.host.map_or(0, PortRange::start)));
        if !self.container.is_single() {
            settings.insert("PortCount".into(), json!(self.container.count()));
        }
        if let Some(address) = self.address {
            settings.insert("VIP".into(), json!(address.to_string()));
        }
        json!({"Type": "PortMapping", "Settings": settings})
    }

    /// The mapping that a policy asks for, if it is a port mapping.
    pub fn of_policy(policy: &Value) -> Option<Self> {
        if !policy.get("Type")?.as_str()?.eq_ignore_ascii_case("PortMapping") {
            return None;
        }
        let settings = policy.get("Settings")?;
        let port = |key: &str| settings.get(key).and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
        let count = port("PortCount").unwrap_or(1);
        let protocol = settings.get("Protocol").and_then(Value::as_u64);
        Some(Self {
            address: settings.get("VIP").and_then(Value::as_str).and_then(|vip| vip.parse().ok()),
            host: port("ExternalPort").and_then(|start| PortRange::with_count(start, count).ok()),
            container: PortRange::with_count(port("InternalPort")?, count).ok()?,
            transport: protocol.and_then(|number| Transport::from_number(number).ok()),
        })
    }

    /// Whether `self`, as an operator names it, means `found`: a port of the daemon's choice need not be repeated.
    pub fn means(&self, found: &Self) -> bool {
        let host_agrees = self.host.is_none() || self.host == found.host;
        host_agrees
            && (self.address, self.container, self.transport)
                == (found.address, found.container, found.transport)
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            None => {}
        }
        match self.host {
            Some(host) => write!(f, "{host}:")?,
            None => f.write_str("0:")?,
        }
        write!(f, "{}/", self.container)?;
        match self.transport {
            Some(transport) => transport.fmt(f),
            None => f.write_str("tcp+udp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_shown_again() {
        let cases = [
            ("8080:80", "8080:80/tcp"),
            ("8080:80/tcp", "8080:80/tcp"),
            ("5353:53/udp", "5353:53/udp"),
            ("9:9/SCTP", "9:9/sctp"),
            ("53:53/tcp+udp", "53:53/tcp+udp"),
            ("80", "0:80/tcp"),
            (":80", "0:80/tcp"),
            ("0:80", "0:80/tcp"),
            ("8000-8010:80-90", "8000-8010:80-90/tcp"),
            ("80-90", "0:80-90/tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
            ("127.0.0.1::80", "127.0.0.1:0:80/tcp"),
            ("0.0.0.0:8080:80/udp", "0.0.0.0:8080:80/udp"),
            ("[::1]:8080:80", "[::1]:8080:80/tcp"),
            ("[::1]:80", "[::1]:0:80/tcp"),
            ("[2001:DB8::1]:8000-8001:80-81/udp", "[2001:db8::1]:8000-8001:80-81/udp"),
            ("[::]:65535:65535", "[::]:65535:65535/tcp"),
        ];
        for (text, shown) in cases {
            let spec: PortSpec = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(spec.to_string(), shown, "{text}");
            assert_eq!(shown.parse(), Ok(spec), "{shown} is read back");
            assert_eq!(PortSpec::of_policy(&spec.to_policy()), Some(spec), "{text} survives its document");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_form_that_can() {
        let cases = [
            ("", "the endpoint's port is missing; write 8080:80"),
            ("8080:", "the endpoint's port is missing; write 8080:80"),
            (
                "localhost:8080:80",
                "\"localhost\" is not an address of the host; write 127.0.0.1:8080:80 or [::1]:8080:80",
            ),
            ("::1:8080:80", "an IPv6 address stands in brackets: [::1]:8080:80"),
            (
                "[::1]8080:80",
                "\"[::1]8080:80\" is not an address of the host; write 127.0.0.1:8080:80 or [::1]:8080:80",
            ),
            (
                "[127.0.0.1]:8080:80",
                "\"127.0.0.1\" is not an address of the host; write 127.0.0.1:8080:80 or [::1]:8080:80",
            ),
            ("1:2:3:4", "too many colons; write [HOSTIP:]HOST:CTR[/proto]"),
            ("[::1]:1:2:3", "too many colons; write [HOSTIP:]HOST:CTR[/proto]"),
            ("8000-8010:80", "8000-8010 and 80 are not equally many ports"),
            ("8000-8010:80-91", "8000-8010 and 80-91 are not equally many ports"),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<PortSpec>().map_err(|e| e.to_string()), Err(error.to_owned()), "{text}");
        }
        for text in
            ["8080:0", "8080:65536", "x:80", "80:x", "90-80:1-11", "8080:80/icmp", "8080:80/", "-1:80", " 80"]
        {
            assert!(text.parse::<PortSpec>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_mapping_is_an_hcn_policy() {
        let policy =
            |text: &str| text.parse::<PortSpec>().expect("the test's own text").to_policy().to_string();
        assert_eq!(
            policy("127.0.0.1:8000-8010:80-90"),
            r#"{"Type":"PortMapping","Settings":{"Protocol":6,"InternalPort":80,"ExternalPort":8000,"PortCount":11,"VIP":"127.0.0.1"}}"#
        );
        assert_eq!(
            policy("80/udp"),
            r#"{"Type":"PortMapping","Settings":{"Protocol":17,"InternalPort":80,"ExternalPort":0}}"#
        );
        assert_eq!(
            policy("53:53/tcp+udp"),
            r#"{"Type":"PortMapping","Settings":{"InternalPort":53,"ExternalPort":53}}"#
        );
    }

    #[test]
    fn a_chosen_port_need_not_be_repeated_to_name_a_mapping() {
        let spec = |text: &str| text.parse::<PortSpec>().expect("the test's own text");
        assert!(spec("80").means(&spec("49152:80")));
        assert!(spec("8080:80").means(&spec("8080:80")));
        assert!(!spec("8081:80").means(&spec("8080:80")));
        assert!(!spec("80/udp").means(&spec("8080:80")));
        assert!(!spec("80").means(&spec("127.0.0.1:8080:80")));
    }
}
