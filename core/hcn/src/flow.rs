use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value, json};

use crate::code::ErrorCode;
use crate::drops::{PortOwner, RuleName, direction_from};
use crate::fields::{DocumentError, Fields};
use crate::policy::RuleDirection;
use crate::protocol::IpProtocol;

const CODE: ErrorCode = ErrorCode::INVALID_PARAMETER;

/// A connection that a switch port tracks: a member of the answer of `GET /v2/flows` (ours).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    pub owner: PortOwner,
    pub protocol: IpProtocol,
    /// As the endpoint sees it.
    pub sides: Sides,
    /// Of the first packet.
    pub direction: RuleDirection,
    /// `new`, `replied`, `established`, `closing` or `closed`.
    pub state: String,
    /// First seen in its midst.
    pub adopted: bool,
    pub packets_in: u64,
    pub packets_out: u64,
    /// Since the last packet.
    pub idle_seconds: u64,
    /// What let it pass. Absent: no rule but the default, or the rules have changed since.
    pub rule: Option<RuleName>,
}

/// Both ends of a connection. Of ICMP echo both ports are the identifier; of protocols without ports they are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides {
    pub local: (IpAddr, u16),
    pub remote: (IpAddr, u16),
}

impl Sides {
    fn from_fields(fields: &mut Fields<'_>) -> Result<Self, DocumentError> {
        let (no_local, no_remote) = (fields.error("Local", "missing"), fields.error("Remote", "missing"));
        let local = fields.parsed(&["Local"], CODE)?.ok_or(no_local)?;
        let remote = fields.parsed(&["Remote"], CODE)?.ok_or(no_remote)?;
        let mut port = |name| Ok(fields.number_u16(&[name])?.unwrap_or_default());
        Ok(Self { local: (local, port("LocalPort")?), remote: (remote, port("RemotePort")?) })
    }

    fn write(self, out: &mut Map<String, Value>) {
        out.insert("Local".into(), json!(self.local.0.to_string()));
        out.insert("LocalPort".into(), json!(self.local.1));
        out.insert("Remote".into(), json!(self.remote.0.to_string()));
        out.insert("RemotePort".into(), json!(self.remote.1));
    }

    /// `10.7.0.2:40000`, or `[2001:db8::1]:53`; without a port the address.
    #[must_use]
    pub fn local(&self) -> String {
        word(self.local)
    }

    #[must_use]
    pub fn remote(&self) -> String {
        word(self.remote)
    }
}

fn word((address, port): (IpAddr, u16)) -> String {
    if port == 0 { address.to_string() } else { SocketAddr::new(address, port).to_string() }
}

impl fmt::Display for Sides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.local(), self.remote())
    }
}

impl Flow {
    /// Fields that a newer daemon adds are passed over.
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(document, "", CODE)?;
        let (no_owner, no_protocol) =
            (fields.error("Endpoint", "missing"), fields.error("Protocol", "missing"));
        Ok(Self {
            owner: PortOwner::from_fields(&mut fields)?.ok_or(no_owner)?,
            protocol: fields.parsed(&["Protocol"], CODE)?.ok_or(no_protocol)?,
            sides: Sides::from_fields(&mut fields)?,
            direction: direction_from(&mut fields)?,
            state: fields.text(&["State"])?.unwrap_or_default(),
            adopted: fields.flag(&["Adopted"])?.unwrap_or_default(),
            packets_in: fields.number(&["PacketsIn"], u64::MAX)?.unwrap_or_default(),
            packets_out: fields.number(&["PacketsOut"], u64::MAX)?.unwrap_or_default(),
            idle_seconds: fields.number(&["IdleSeconds"], u64::MAX)?.unwrap_or_default(),
            rule: fields.object(&["Rule"])?.map(RuleName::from_fields).transpose()?,
        })
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let mut out = Map::new();
        PortOwner::write(Some(&self.owner), &mut out);
        out.insert("Protocol".into(), json!(self.protocol.to_string()));
        self.sides.write(&mut out);
        out.insert("Direction".into(), json!(self.direction.name()));
        out.insert("State".into(), json!(self.state));
        out.insert("Adopted".into(), json!(self.adopted));
        out.insert("PacketsIn".into(), json!(self.packets_in));
        out.insert("PacketsOut".into(), json!(self.packets_out));
        out.insert("IdleSeconds".into(), json!(self.idle_seconds));
        out.insert("Rule".into(), json!(self.rule.as_ref().map(RuleName::to_v2)));
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_read_as_it_is_written() {
        let local = ("10.7.0.2".parse().expect("an address"), 40000);
        let owner = PortOwner {
            endpoint: "1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44".parse().expect("a GUID"),
            name: String::new(),
            network: "blue".to_owned(),
        };
        let flow = Flow {
            owner,
            protocol: IpProtocol(6),
            sides: Sides { local, remote: ("10.7.0.3".parse().expect("an address"), 80) },
            direction: RuleDirection::Out,
            state: "established".to_owned(),
            adopted: false,
            packets_in: 9,
            packets_out: 12,
            idle_seconds: 3,
            rule: None,
        };
        let portless = Sides { local, remote: ("fd00::3".parse().expect("an address"), 0) };
        assert_eq!(portless.to_string(), "10.7.0.2:40000 fd00::3");
        let adopted = Flow { sides: portless, adopted: true, ..flow.clone() };
        for flow in [flow, adopted] {
            assert_eq!(Flow::from_v2(&flow.to_v2()), Ok(flow));
        }
    }
}
