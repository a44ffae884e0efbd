//! Answers of `GET /v2/drops` (ours): what switch ports dropped, counted and packet by packet.

use std::fmt;

use hns_net::Guid;
use serde_json::{Map, Value, json};

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};
use crate::packet::PacketWords;
use crate::policy::{RuleAction, RuleDirection};
use crate::timestamp::Timestamp;

const CODE: ErrorCode = ErrorCode::INVALID_PARAMETER;

/// The endpoint at a port, with the names that people know it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOwner {
    pub endpoint: Guid,
    /// Empty: it has none.
    pub name: String,
    /// Name of its network.
    pub network: String,
}

/// How many packets of one port were dropped for one reason since the datapath began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropCount {
    /// Absent: the port is not one of ours, or is gone.
    pub owner: Option<PortOwner>,
    pub direction: RuleDirection,
    /// One of the words of `docs/reference/drops.md`.
    pub reason: String,
    pub packets: u64,
}

/// One packet that was dropped: a line of `?follow=true`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedPacket {
    pub time: Timestamp,
    /// Absent: the port is not one of ours, or is gone.
    pub owner: Option<PortOwner>,
    pub direction: RuleDirection,
    pub reason: String,
    /// The rule that blocked it. Absent: no rule but the default, or not the rules' doing.
    pub rule: Option<RuleName>,
    /// Bytes of the frame.
    pub length: u32,
    pub packet: PacketWords,
    /// How many were left out since the line before, because they came faster than they were read.
    pub missed: u64,
}

/// A rule that decided on a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleName {
    /// The policy's `Id`, a free label; empty when it has none.
    pub id: String,
    pub origin: RuleOrigin,
    pub priority: u16,
    pub action: RuleAction,
    /// Whether it does what it says; otherwise it is only watched.
    pub enforce: bool,
}

/// The type of the policy that a rule came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleOrigin {
    Endpoint,
    Network,
    Tier,
}

const ORIGINS: &[(&str, u64, RuleOrigin)] = &[
    ("ACL", 0, RuleOrigin::Endpoint),
    ("NetworkACL", 1, RuleOrigin::Network),
    ("TierAcl", 2, RuleOrigin::Tier),
];

/// The name of a value in its table.
pub(crate) fn name_in<T: Copy + PartialEq>(table: &[(&'static str, u64, T)], value: T) -> &'static str {
    table.iter().find(|(.., known)| *known == value).map_or("", |(name, ..)| name)
}

pub(crate) fn direction_from(fields: &mut Fields<'_>) -> Result<RuleDirection, DocumentError> {
    let absent = fields.error("Direction", "missing");
    fields.choice(&["Direction"], RuleDirection::TABLE, CODE)?.ok_or(absent)
}

impl RuleDirection {
    /// HCN's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_in(Self::TABLE, self)
    }
}

impl RuleAction {
    /// HCN's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_in(Self::TABLE, self)
    }
}

impl PortOwner {
    pub(crate) fn from_fields(fields: &mut Fields<'_>) -> Result<Option<Self>, DocumentError> {
        let endpoint = fields.parsed(&["Endpoint"], ErrorCode::GUID_CONVERSION_FAILURE)?;
        let name = fields.text(&["EndpointName"])?.unwrap_or_default();
        let network = fields.text(&["NetworkName"])?.unwrap_or_default();
        Ok(endpoint.map(|endpoint| Self { endpoint, name, network }))
    }

    pub(crate) fn write(owner: Option<&Self>, out: &mut Map<String, Value>) {
        out.insert("Endpoint".into(), json!(owner.map(|owner| owner.endpoint.to_string())));
        out.insert("EndpointName".into(), json!(owner.map(|owner| &owner.name)));
        out.insert("NetworkName".into(), json!(owner.map(|owner| &owner.network)));
    }
}

impl RuleName {
    pub(crate) fn from_fields(mut fields: Fields<'_>) -> Result<Self, DocumentError> {
        Self::read(&mut fields)
    }

    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Self, DocumentError> {
        let (no_origin, no_action) = (fields.error("Origin", "missing"), fields.error("Action", "missing"));
        Ok(Self {
            id: fields.text(&["Id"])?.unwrap_or_default(),
            origin: fields.choice(&["Origin"], ORIGINS, CODE)?.ok_or(no_origin)?,
            priority: fields.number_u16(&["Priority"])?.unwrap_or_default(),
            action: fields.choice(&["Action"], RuleAction::TABLE, CODE)?.ok_or(no_action)?,
            enforce: fields.flag(&["Enforce"])?.unwrap_or(true),
        })
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let mut out = json!({
            "Id": self.id,
            "Origin": name_in(ORIGINS, self.origin),
            "Priority": self.priority,
            "Action": self.action.name(),
        });
        if !self.enforce {
            out["Enforce"] = json!(false);
        }
        out
    }
}

/// `ACL 100 Block no-foe`.
impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (origin, action) = (name_in(ORIGINS, self.origin), self.action.name());
        let watched = if self.enforce { "" } else { " (observed)" };
        write!(f, "{origin} {} {action}{watched}", self.priority)?;
        if self.id.is_empty() { Ok(()) } else { write!(f, " {}", self.id) }
    }
}

impl DropCount {
    /// Fields that a newer daemon adds are passed over.
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(document, "", CODE)?;
        Ok(Self {
            owner: PortOwner::from_fields(&mut fields)?,
            direction: direction_from(&mut fields)?,
            reason: fields.text(&["Reason"])?.unwrap_or_default(),
            packets: fields.number(&["Packets"], u64::MAX)?.unwrap_or_default(),
        })
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let mut out = Map::new();
        PortOwner::write(self.owner.as_ref(), &mut out);
        out.insert("Direction".into(), json!(self.direction.name()));
        out.insert("Reason".into(), json!(self.reason));
        out.insert("Packets".into(), json!(self.packets));
        Value::Object(out)
    }
}

impl DroppedPacket {
    /// Fields that a newer daemon adds are passed over.
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(document, "", CODE)?;
        let no_time = fields.error("Time", "missing");
        Ok(Self {
            time: fields.parsed(&["Time"], CODE)?.ok_or(no_time)?,
            owner: PortOwner::from_fields(&mut fields)?,
            direction: direction_from(&mut fields)?,
            reason: fields.text(&["Reason"])?.unwrap_or_default(),
            rule: fields.object(&["Rule"])?.map(RuleName::from_fields).transpose()?,
            length: fields.number_u32(&["Length"])?.unwrap_or_default(),
            packet: match fields.object(&["Packet"])? {
                Some(packet) => PacketWords::from_fields(packet)?,
                None => PacketWords::default(),
            },
            missed: fields.number(&["Missed"], u64::MAX)?.unwrap_or_default(),
        })
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let mut out = Map::new();
        out.insert("Time".into(), json!(self.time.to_string()));
        PortOwner::write(self.owner.as_ref(), &mut out);
        out.insert("Direction".into(), json!(self.direction.name()));
        out.insert("Reason".into(), json!(self.reason));
        out.insert("Rule".into(), json!(self.rule.as_ref().map(RuleName::to_v2)));
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
    use hns_net::Mac;

    use super::*;
    use crate::protocol::{EtherType, IpProtocol};

    fn owner() -> Option<PortOwner> {
        let endpoint = "1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44".parse().expect("a GUID");
        Some(PortOwner { endpoint, name: "web".to_owned(), network: "blue".to_owned() })
    }

    fn dropped() -> DroppedPacket {
        DroppedPacket {
            time: Timestamp::from_unix_ms(1_767_323_045_678),
            owner: owner(),
            direction: RuleDirection::Out,
            reason: "spoofed-ip".to_owned(),
            rule: None,
            length: 75,
            packet: PacketWords {
                source_mac: "02-15-5D-00-00-01".parse().ok(),
                destination_mac: "02-15-5D-00-00-02".parse().ok(),
                ethertype: Some(EtherType(0x0800)),
                source: "10.7.0.99".parse().ok(),
                destination: "10.7.0.2".parse().ok(),
                protocol: Some(IpProtocol(17)),
                source_port: Some(4000),
                destination_port: Some(9),
                tcp_flags: None,
                icmp: None,
            },
            missed: 0,
        }
    }

    #[test]
    fn answers_are_read_as_they_are_written() {
        let gone =
            DropCount { owner: None, direction: RuleDirection::In, reason: "acl-in".to_owned(), packets: 7 };
        for count in [DropCount { owner: owner(), ..gone.clone() }, gone] {
            assert_eq!(DropCount::from_v2(&count.to_v2()), Ok(count));
        }
        let rule = RuleName {
            id: "no-web".to_owned(),
            origin: RuleOrigin::Tier,
            priority: 200,
            action: RuleAction::Block,
            enforce: false,
        };
        let blocked = DroppedPacket { rule: Some(rule), missed: 3, ..dropped() };
        // To everybody, from a group: no interface has such addresses, and frames do.
        let (source_mac, destination_mac) =
            (Some(Mac::new([1, 0, 0x5e, 0, 0, 1])), Some(Mac::new([0xff; 6])));
        let to_all = PacketWords { source_mac, destination_mac, ..PacketWords::default() };
        let to_all = DroppedPacket { packet: to_all, ..dropped() };
        let unread = DroppedPacket {
            owner: None,
            packet: PacketWords { icmp: Some((8, 0)), ..PacketWords::default() },
            ..dropped()
        };
        let tcp = ["none", "syn", "syn,ack", "fin,syn,rst,psh,ack,urg,ece,cwr"].map(|flags| {
            let tcp_flags = Some(flags.parse().expect(flags));
            DroppedPacket { packet: PacketWords { tcp_flags, ..dropped().packet }, ..dropped() }
        });
        for packet in [dropped(), blocked, unread, to_all].into_iter().chain(tcp) {
            assert_eq!(DroppedPacket::from_v2(&packet.to_v2()), Ok(packet));
        }
    }

    #[test]
    fn a_dropped_packet_is_told_in_words() {
        let document = dropped().to_v2();
        assert_eq!(document["Time"], "2026-01-02T03:04:05.678Z");
        assert_eq!(
            document["Packet"].to_string(),
            r#"{"SourceMac":"02-15-5D-00-00-01","DestinationMac":"02-15-5D-00-00-02","EtherType":"ipv4","Source":"10.7.0.99","SourcePort":4000,"Destination":"10.7.0.2","DestinationPort":9,"Protocol":"udp"}"#
        );
        let mut packet = dropped().packet;
        assert_eq!(packet.to_string(), "udp 10.7.0.99:4000 -> 10.7.0.2:9");
        (packet.protocol, packet.source_port, packet.destination_port) = (None, None, None);
        packet.ethertype = Some(EtherType::ARP);
        assert_eq!(packet.to_string(), "arp 10.7.0.99 -> 10.7.0.2");
        packet.source = None;
        assert_eq!(packet.to_string(), "arp 02-15-5D-00-00-01 -> 02-15-5D-00-00-02");
        assert_eq!(PacketWords::default().to_string(), "frame ? -> ?");
    }

    #[test]
    fn what_a_newer_daemon_adds_is_passed_over_and_what_is_wrong_is_named() {
        let mut document = dropped().to_v2();
        document["Weather"] = json!("rain");
        document["Packet"]["Color"] = json!("red");
        assert_eq!(DroppedPacket::from_v2(&document), Ok(dropped()));
        document["Packet"]["Source"] = json!("nowhere");
        let wrong = DroppedPacket::from_v2(&document).expect_err("not an address");
        assert_eq!(wrong.field, "Packet.Source");
        for mac in ["", "02-15-5D-00-00", "02-15-5D-00-00-01-02", "0g-15-5D-00-00-01", "2-15-5D-00-00-01"] {
            document["Packet"] = json!({"SourceMac": mac});
            let read = DroppedPacket::from_v2(&document).map_err(|wrong| wrong.field);
            assert!(mac.is_empty() || read == Err("Packet.SourceMac".to_owned()), "{mac}");
        }
        assert_eq!(DropCount::from_v2(&json!({})).expect_err("no direction").field, "Direction");
    }
}
