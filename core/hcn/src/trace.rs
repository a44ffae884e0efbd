//! `POST /v2/trace` (ours): what would become of a packet, and its answer.

use std::net::IpAddr;

use hns_net::Guid;
use serde_json::{Map, Value, json};

use crate::code::ErrorCode;
use crate::drops::{PortOwner, RuleName, direction_from, name_in};
use crate::fields::{DocumentError, Fields};
use crate::packet::PacketWords;
use crate::policy::RuleDirection;
use crate::protocol::IpProtocol;

const CODE: ErrorCode = ErrorCode::INVALID_PARAMETER;

/// A packet that nobody has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceRequest {
    pub from: TraceEnd,
    pub to: TraceEnd,
    pub protocol: IpProtocol,
    /// Absent: one is chosen, where the protocol has ports.
    pub source_port: Option<u16>,
    /// Of protocols with ports, and of no others.
    pub port: Option<u16>,
    /// Type and code. Absent: of ICMP an echo request.
    pub icmp: Option<(u8, u8)>,
}

/// Who sends or receives it: an endpoint, an address, or an endpoint by one address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TraceEnd {
    pub endpoint: Option<Guid>,
    pub address: Option<IpAddr>,
}

/// What would become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    pub verdict: TraceVerdict,
    /// Of a dropped one: a word of `docs/reference/drops.md`, or the counter of `docs/reference/nftables.md`.
    pub reason: Option<String>,
    pub packet: PacketWords,
    /// In the order in which it meets them.
    pub steps: Vec<TraceStep>,
    /// Of a delivered one.
    pub receiver: Option<PortOwner>,
    /// What there is to say of the way beyond the ports.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceVerdict {
    /// An endpoint receives it.
    Delivered,
    /// It leaves the ports; the host, or a whole network, has it.
    Passed,
    Dropped,
    /// The endpoint would not send it: there is no route, or nobody answers for its next hop.
    Unsent,
}

/// What one layer of one port would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceStep {
    pub owner: PortOwner,
    pub direction: RuleDirection,
    /// `security`, `acl` or `meter`.
    pub layer: String,
    pub result: TraceResult,
    /// Whose rules were asked, where they were.
    pub rules_of: Option<RuleDirection>,
    /// The rule that decided. Absent, where rules were asked: the default.
    pub rule: Option<RuleName>,
    /// Of a known connection.
    pub state: Option<String>,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceResult {
    Passed,
    /// By the rules.
    Allowed,
    /// By the rules, if they were all enforced, it would be dropped.
    Observed,
    /// As part of a connection that the port knows.
    Known,
    Dropped,
}

const VERDICTS: &[(&str, u64, TraceVerdict)] = &[
    ("Delivered", 0, TraceVerdict::Delivered),
    ("Passed", 1, TraceVerdict::Passed),
    ("Dropped", 2, TraceVerdict::Dropped),
    ("Unsent", 3, TraceVerdict::Unsent),
];

const RESULTS: &[(&str, u64, TraceResult)] = &[
    ("Passed", 0, TraceResult::Passed),
    ("Allowed", 1, TraceResult::Allowed),
    ("Known", 2, TraceResult::Known),
    ("Dropped", 3, TraceResult::Dropped),
    ("Observed", 4, TraceResult::Observed),
];

impl TraceRequest {
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(document, "", CODE)?;
        let (from, _) = end(&mut fields, "From", false)?;
        let (to, port) = end(&mut fields, "To", true)?;
        let default = if port.is_some() { IpProtocol::TCP } else { IpProtocol::ICMP };
        let request = Self {
            from,
            to,
            protocol: fields.parsed(&["Protocol"], CODE)?.unwrap_or(default),
            source_port: port_number(&mut fields, "SourcePort")?,
            port,
            icmp: icmp(&mut fields)?,
        };
        fields.finish()?;
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), DocumentError> {
        let wrong = |field: &str, problem: String| Err(DocumentError::new(field, problem, CODE));
        let protocol = self.protocol;
        match (protocol.has_ports(), self.port, self.source_port) {
            (true, None, _) => return wrong("To.Port", format!("missing, and {protocol} has ports")),
            (false, Some(_), _) => return wrong("To.Port", format!("{protocol} has no ports")),
            (false, None, Some(_)) => return wrong("SourcePort", format!("{protocol} has no ports")),
            _ => {}
        }
        if self.icmp.is_some() && !protocol.is_icmp() {
            return wrong("IcmpType", format!("{protocol} has no types; icmp and icmpv6 have"));
        }
        Ok(())
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let mut to = self.to.to_v2();
        let mut out = Map::new();
        if let Some(port) = self.port {
            to["Port"] = json!(port);
        }
        out.insert("From".into(), self.from.to_v2());
        out.insert("To".into(), to);
        out.insert("Protocol".into(), json!(self.protocol.to_string()));
        if let Some(port) = self.source_port {
            out.insert("SourcePort".into(), json!(port));
        }
        if let Some((kind, code)) = self.icmp {
            out.insert("IcmpType".into(), json!(kind));
            out.insert("IcmpCode".into(), json!(code));
        }
        Value::Object(out)
    }
}

impl TraceEnd {
    pub(crate) fn to_v2(self) -> Value {
        let mut out = Map::new();
        if let Some(endpoint) = self.endpoint {
            out.insert("Endpoint".into(), json!(endpoint.to_string()));
        }
        if let Some(address) = self.address {
            out.insert("Address".into(), json!(address.to_string()));
        }
        Value::Object(out)
    }
}

/// One end, and its port where it has a place for one.
pub(crate) fn end(
    fields: &mut Fields<'_>,
    name: &'static str,
    with_port: bool,
) -> Result<(TraceEnd, Option<u16>), DocumentError> {
    let missing = fields.error(name, "missing");
    let (end, port) = anybody(fields, name, with_port)?.ok_or(missing)?;
    if end == TraceEnd::default() {
        return Err(fields.error(name, "expected an Endpoint, an Address, or both"));
    }
    Ok((end, port))
}

/// An end that may be left open.
pub(crate) fn anybody(
    fields: &mut Fields<'_>,
    name: &'static str,
    with_port: bool,
) -> Result<Option<(TraceEnd, Option<u16>)>, DocumentError> {
    let Some(mut inner) = fields.object(&[name])? else { return Ok(None) };
    let end = TraceEnd {
        endpoint: inner.parsed(&["Endpoint"], ErrorCode::GUID_CONVERSION_FAILURE)?,
        address: inner.parsed(&["Address"], ErrorCode::INVALID_IP)?,
    };
    let port = if with_port { port_number(&mut inner, "Port")? } else { None };
    inner.finish()?;
    Ok(Some((end, port)))
}

pub(crate) fn port_number(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<u16>, DocumentError> {
    match fields.number_u16(&[name])? {
        Some(0) => Err(fields.error(name, "expected a port from 1 to 65535, found 0")),
        port => Ok(port),
    }
}

fn icmp(fields: &mut Fields<'_>) -> Result<Option<(u8, u8)>, DocumentError> {
    let mut byte = |name| {
        let number = fields.number(&[name], u8::MAX.into())?;
        Ok(number.and_then(|number| u8::try_from(number).ok()))
    };
    match (byte("IcmpType")?, byte("IcmpCode")?) {
        (None, Some(_)) => Err(fields.error("IcmpType", "missing, where there is an IcmpCode")),
        (kind, code) => Ok(kind.map(|kind| (kind, code.unwrap_or_default()))),
    }
}

impl Trace {
    /// Fields that a newer daemon adds are passed over.
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(document, "", CODE)?;
        let no_verdict = fields.error("Verdict", "missing");
        let mut steps = Vec::new();
        for found in fields.list(&["Steps"])? {
            steps.push(TraceStep::from_fields(&mut Fields::of(found.value, found.path, CODE)?)?);
        }
        let notes = fields.list(&["Notes"])?;
        let receiver = fields.object(&["Receiver"])?;
        Ok(Self {
            verdict: fields.choice(&["Verdict"], VERDICTS, CODE)?.ok_or(no_verdict)?,
            reason: fields.text(&["Reason"])?,
            packet: fields
                .object(&["Packet"])?
                .map(PacketWords::from_fields)
                .transpose()?
                .unwrap_or_default(),
            steps,
            receiver: receiver.map(|mut owner| PortOwner::from_fields(&mut owner)).transpose()?.flatten(),
            notes: notes.iter().filter_map(|note| note.value.as_str().map(str::to_owned)).collect(),
        })
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let receiver = self.receiver.as_ref().map(|owner| {
            let mut out = Map::new();
            PortOwner::write(Some(owner), &mut out);
            out
        });
        json!({
            "Verdict": name_in(VERDICTS, self.verdict),
            "Reason": self.reason,
            "Packet": self.packet.to_v2(),
            "Steps": self.steps.iter().map(TraceStep::to_v2).collect::<Vec<_>>(),
            "Receiver": receiver,
            "Notes": self.notes,
        })
    }
}

impl TraceStep {
    pub(crate) fn from_fields(fields: &mut Fields<'_>) -> Result<Self, DocumentError> {
        let (no_owner, no_result) = (fields.error("Endpoint", "missing"), fields.error("Result", "missing"));
        Ok(Self {
            owner: PortOwner::from_fields(fields)?.ok_or(no_owner)?,
            direction: direction_from(fields)?,
            layer: fields.text(&["Layer"])?.unwrap_or_default(),
            result: fields.choice(&["Result"], RESULTS, CODE)?.ok_or(no_result)?,
            rules_of: fields.choice(&["RulesOf"], RuleDirection::TABLE, CODE)?,
            rule: fields.object(&["Rule"])?.map(RuleName::from_fields).transpose()?,
            state: fields.text(&["State"])?,
            reason: fields.text(&["Reason"])?,
        })
    }

    fn to_v2(&self) -> Value {
        let mut out = Map::new();
        self.write(&mut out);
        Value::Object(out)
    }

    pub(crate) fn write(&self, out: &mut Map<String, Value>) {
        PortOwner::write(Some(&self.owner), out);
        out.insert("Direction".into(), json!(self.direction.name()));
        out.insert("Layer".into(), json!(self.layer));
        out.insert("Result".into(), json!(name_in(RESULTS, self.result)));
        out.insert("RulesOf".into(), json!(self.rules_of.map(RuleDirection::name)));
        out.insert("Rule".into(), json!(self.rule.as_ref().map(RuleName::to_v2)));
        out.insert("State".into(), json!(self.state));
        out.insert("Reason".into(), json!(self.reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drops::RuleOrigin;
    use crate::policy::RuleAction;

    const WEB: &str = "1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44";

    fn read(document: &Value) -> Result<TraceRequest, (String, String)> {
        TraceRequest::from_v2(document).map_err(|wrong| (wrong.field, wrong.problem))
    }

    #[test]
    fn a_request_is_read_as_it_is_written() {
        let tcp = json!({"From": {"Endpoint": WEB}, "To": {"Address": "10.0.0.3", "Port": 80}});
        let tcp = read(&tcp).expect("it is whole");
        assert_eq!((tcp.protocol, tcp.port, tcp.source_port), (IpProtocol::TCP, Some(80), None));
        let echo = json!({"from": {"address": "2001:db8::1"}, "TO": {"Endpoint": WEB}});
        let echo = read(&echo).expect("it is whole");
        assert_eq!((echo.protocol, echo.icmp), (IpProtocol::ICMP, None));
        let udp = TraceRequest { protocol: IpProtocol(17), source_port: Some(53), ..tcp.clone() };
        let error = TraceRequest { icmp: Some((3, 4)), ..echo.clone() };
        let lie = TraceEnd { address: "10.0.0.9".parse().ok(), ..tcp.from };
        let lie = TraceRequest { from: lie, ..tcp.clone() };
        for request in [tcp, echo, udp, error, lie] {
            assert_eq!(read(&request.to_v2()), Ok(request));
        }
    }

    #[test]
    fn what_a_packet_cannot_be_is_refused_by_the_field() {
        let (web, there) = (json!({"Endpoint": WEB}), json!({"Address": "10.0.0.3"}));
        let there_80 = json!({"Address": "10.0.0.3", "Port": 80});
        let cases = [
            (json!({"To": there}), "From"),
            (json!({"From": web}), "To"),
            (json!({"From": {}, "To": there}), "From"),
            (json!({"From": {"Endpoint": "web"}, "To": there}), "From.Endpoint"),
            (json!({"From": web, "To": {"Address": "web"}}), "To.Address"),
            (json!({"From": web, "To": {"Address": "10.0.0.3", "Port": 0}}), "To.Port"),
            (json!({"From": {"Endpoint": WEB, "Port": 1}, "To": there}), "From.Port"),
            (json!({"From": web, "To": there, "Protocol": "udp"}), "To.Port"),
            (json!({"From": web, "To": there_80, "Protocol": "icmp"}), "To.Port"),
            (json!({"From": web, "To": there, "SourcePort": 9}), "SourcePort"),
            (json!({"From": web, "To": there_80, "IcmpType": 8}), "IcmpType"),
            (json!({"From": web, "To": there, "IcmpType": 256}), "IcmpType"),
            (json!({"From": web, "To": there, "IcmpCode": 1}), "IcmpType"),
            (json!({"From": web, "To": there, "Protocol": "tcpp"}), "Protocol"),
            (json!({"From": web, "To": there, "Vlan": 4}), "Vlan"),
        ];
        for (document, field) in cases {
            assert_eq!(read(&document).map_err(|(field, _)| field), Err(field.to_owned()), "{document}");
        }
    }

    #[test]
    fn an_answer_is_read_as_it_is_written() {
        let owner = PortOwner {
            endpoint: WEB.parse().expect("a GUID"),
            name: "web".to_owned(),
            network: "blue".to_owned(),
        };
        let rule = RuleName {
            id: "no-foe".to_owned(),
            origin: RuleOrigin::Endpoint,
            priority: 100,
            action: RuleAction::Block,
            enforce: true,
        };
        let passed = TraceStep {
            owner: owner.clone(),
            direction: RuleDirection::Out,
            layer: "security".to_owned(),
            result: TraceResult::Passed,
            rules_of: None,
            rule: None,
            state: None,
            reason: None,
        };
        let known = TraceStep {
            layer: "acl".to_owned(),
            result: TraceResult::Known,
            rules_of: Some(RuleDirection::Out),
            state: Some("established".to_owned()),
            ..passed.clone()
        };
        let dropped = TraceStep {
            direction: RuleDirection::In,
            result: TraceResult::Dropped,
            rules_of: Some(RuleDirection::In),
            rule: Some(rule),
            state: None,
            reason: Some("acl-in".to_owned()),
            ..known.clone()
        };
        let refused = Trace {
            verdict: TraceVerdict::Dropped,
            reason: Some("acl-in".to_owned()),
            packet: PacketWords { source: "10.0.0.2".parse().ok(), ..PacketWords::default() },
            steps: vec![passed, known, dropped],
            receiver: None,
            notes: vec!["a note".to_owned()],
        };
        let taken = Trace {
            verdict: TraceVerdict::Delivered,
            reason: None,
            steps: Vec::new(),
            receiver: Some(owner),
            notes: Vec::new(),
            ..refused.clone()
        };
        for trace in [refused, taken] {
            assert_eq!(Trace::from_v2(&trace.to_v2()), Ok(trace));
        }
    }
}
