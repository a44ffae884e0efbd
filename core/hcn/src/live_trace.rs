//! `POST /v2/trace?follow=true` (ours): which connections are watched, and the lines of its answer.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::code::ErrorCode;
use crate::drops::{PortOwner, RuleName, name_in};
use crate::fields::{DocumentError, Fields};
use crate::packet::PacketWords;
use crate::protocol::IpProtocol;
use crate::timestamp::Timestamp;
use crate::trace::{TraceEnd, TraceStep, anybody, end, port_number};

const CODE: ErrorCode = ErrorCode::INVALID_PARAMETER;

/// Connections between two ends, whichever of them began. What is absent is any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveTraceRequest {
    pub from: TraceEnd,
    pub to: TraceEnd,
    pub protocol: Option<IpProtocol>,
    /// Of `from`.
    pub source_port: Option<u16>,
    /// Of `to`.
    pub port: Option<u16>,
}

/// A packet at one port, and what became of it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPacket {
    pub time: Timestamp,
    /// What the port did: of all layers that passed it, the one that had rules or a connection to go by.
    pub step: TraceStep,
    /// A rule that is only watched, and would have blocked it.
    pub observed: Option<RuleName>,
    /// Absent: it was dropped.
    pub onward: Option<Onward>,
    /// Of [`Onward::Port`].
    /// Of a packet to another host of an overlay: where its tunnels end.
    pub host: Option<IpAddr>,
    pub receiver: Option<PortOwner>,
    /// Bytes of the frame.
    pub length: u32,
    pub packet: PacketWords,
    /// How many were left out since the line before, because they came too fast.
    pub missed: u64,
}

/// Where a packet went from a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onward {
    /// To the endpoint itself.
    Container,
    /// Straight to another port of the network.
    Port,
    /// Into the network's bridge: for the host, for whom it routes, or for everybody.
    Switch,
    /// To the host, by the adapter that the network shares with it.
    Host,
    /// Out by that adapter.
    Wire,
    /// To another host of an overlay.
    Tunnel,
    /// Back to the endpoint: the overlay's router answers it.
    Answer,
}

const ONWARD: &[(&str, u64, Onward)] = &[
    ("Container", 0, Onward::Container),
    ("Port", 1, Onward::Port),
    ("Switch", 2, Onward::Switch),
    ("Host", 3, Onward::Host),
    ("Wire", 4, Onward::Wire),
    ("Tunnel", 5, Onward::Tunnel),
    ("Answer", 6, Onward::Answer),
];

impl LiveTraceRequest {
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(document, "", CODE)?;
        let (from, _) = end(&mut fields, "From", false)?;
        let (to, port) = anybody(&mut fields, "To", true)?.unwrap_or_default();
        let request = Self {
            from,
            to,
            protocol: fields.parsed(&["Protocol"], CODE)?,
            source_port: port_number(&mut fields, "SourcePort")?,
            port,
        };
        fields.finish()?;
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), DocumentError> {
        let Some(protocol) = self.protocol.filter(|protocol| !protocol.has_ports()) else { return Ok(()) };
        let given = [("To.Port", self.port), ("SourcePort", self.source_port)];
        match given.into_iter().find(|(_, port)| port.is_some()) {
            Some((field, _)) => Err(DocumentError::new(field, format!("{protocol} has no ports"), CODE)),
            None => Ok(()),
        }
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let mut to = self.to.to_v2();
        if let Some(port) = self.port {
            to["Port"] = json!(port);
        }
        let mut out = Map::new();
        out.insert("From".into(), self.from.to_v2());
        out.insert("To".into(), to);
        if let Some(protocol) = self.protocol {
            out.insert("Protocol".into(), json!(protocol.to_string()));
        }
        if let Some(port) = self.source_port {
            out.insert("SourcePort".into(), json!(port));
        }
        Value::Object(out)
    }
}

impl SeenPacket {
    /// Fields that a newer daemon adds are passed over.
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(document, "", CODE)?;
        let no_time = fields.error("Time", "missing");
        let receiver = fields.object(&["Receiver"])?;
        Ok(Self {
            time: fields.parsed(&["Time"], CODE)?.ok_or(no_time)?,
            step: TraceStep::from_fields(&mut fields)?,
            observed: fields.object(&["Observed"])?.map(RuleName::from_fields).transpose()?,
            onward: fields.choice(&["Onward"], ONWARD, CODE)?,
            host: fields.parsed(&["Host"], CODE)?,
            receiver: receiver.map(|mut owner| PortOwner::from_fields(&mut owner)).transpose()?.flatten(),
            length: fields.number_u32(&["Length"])?.unwrap_or_default(),
            packet: fields
                .object(&["Packet"])?
                .map(PacketWords::from_fields)
                .transpose()?
                .unwrap_or_default(),
            missed: fields.number(&["Missed"], u64::MAX)?.unwrap_or_default(),
        })
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let mut out = Map::new();
        out.insert("Time".into(), json!(self.time.to_string()));
        self.step.write(&mut out);
        out.insert("Observed".into(), json!(self.observed.as_ref().map(RuleName::to_v2)));
        out.insert("Onward".into(), json!(self.onward.map(|onward| name_in(ONWARD, onward))));
        let receiver = self.receiver.as_ref().map(|owner| {
            let mut out = Map::new();
            PortOwner::write(Some(owner), &mut out);
            out
        });
        out.insert("Receiver".into(), json!(receiver));
        if let Some(host) = self.host {
            out.insert("Host".into(), json!(host));
        }
        out.insert("Length".into(), json!(self.length));
        out.insert("Packet".into(), self.packet.to_v2());
        if self.missed > 0 {
            out.insert("Missed".into(), json!(self.missed));
        }
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drops::RuleOrigin;
    use crate::policy::{RuleAction, RuleDirection};
    use crate::trace::TraceResult;

    const WEB: &str = "1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44";

    fn read(document: &Value) -> Result<LiveTraceRequest, String> {
        LiveTraceRequest::from_v2(document).map_err(|wrong| wrong.field)
    }

    #[test]
    fn a_request_is_read_as_it_is_written() {
        let all = read(&json!({"From": {"Endpoint": WEB}})).expect("it is whole");
        assert_eq!((all.to, all.protocol, all.port), (TraceEnd::default(), None, None));
        let some =
            json!({"from": {"address": "2001:db8::1"}, "to": {"Endpoint": WEB, "port": 80}, "SourcePort": 9});
        let some = read(&some).expect("it is whole");
        let tcp = LiveTraceRequest { protocol: Some(IpProtocol::TCP), ..some.clone() };
        let anywhere = read(&json!({"From": {"Endpoint": WEB}, "To": {"Port": 53}})).expect("it is whole");
        assert_eq!((anywhere.to, anywhere.port), (TraceEnd::default(), Some(53)));
        for request in [all, some, tcp, anywhere] {
            assert_eq!(read(&request.to_v2()), Ok(request));
        }
    }

    #[test]
    fn what_no_packet_can_be_is_refused_by_the_field() {
        let web = json!({"Endpoint": WEB});
        let cases = [
            (json!({"To": web}), "From"),
            (json!({"From": {}}), "From"),
            (json!({"From": web, "To": {"Port": 0}}), "To.Port"),
            (json!({"From": web, "To": {"Port": 80}, "Protocol": "icmp"}), "To.Port"),
            (json!({"From": web, "SourcePort": 80, "Protocol": "gre"}), "SourcePort"),
            (json!({"From": web, "To": {"Address": "web"}}), "To.Address"),
            (json!({"From": web, "IcmpType": 8}), "IcmpType"),
        ];
        for (document, field) in cases {
            assert_eq!(read(&document), Err(field.to_owned()), "{document}");
        }
    }

    #[test]
    fn a_line_is_read_as_it_is_written() {
        let owner = |name: &str| PortOwner {
            endpoint: WEB.parse().expect("a GUID"),
            name: name.to_owned(),
            network: "blue".to_owned(),
        };
        let rule = RuleName {
            id: "no-foe".to_owned(),
            origin: RuleOrigin::Endpoint,
            priority: 100,
            action: RuleAction::Block,
            enforce: true,
        };
        let step = TraceStep {
            owner: owner("web"),
            direction: RuleDirection::In,
            layer: "acl".to_owned(),
            result: TraceResult::Dropped,
            rules_of: Some(RuleDirection::In),
            rule: Some(rule.clone()),
            state: None,
            reason: Some("acl-in".to_owned()),
        };
        let dropped = SeenPacket {
            time: Timestamp::from_unix_ms(1_767_323_045_678),
            step,
            observed: None,
            onward: None,
            host: None,
            receiver: None,
            length: 74,
            packet: PacketWords { source: "10.0.0.2".parse().ok(), ..PacketWords::default() },
            missed: 3,
        };
        let passed = TraceStep {
            direction: RuleDirection::Out,
            result: TraceResult::Known,
            state: Some("established".to_owned()),
            reason: None,
            ..dropped.step.clone()
        };
        let observed = Some(RuleName { enforce: false, ..rule });
        let (onward, receiver) = (Some(Onward::Port), Some(owner("db")));
        let passed = SeenPacket { step: passed, observed, onward, receiver, missed: 0, ..dropped.clone() };
        for seen in [dropped, passed] {
            assert_eq!(SeenPacket::from_v2(&seen.to_v2()), Ok(seen));
        }
    }
}
