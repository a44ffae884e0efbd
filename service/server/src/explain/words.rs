use std::time::{Duration, UNIX_EPOCH};

use hns_abi::Direction;
use hns_datapath::{Packet, RuleName};
use hns_vfp::model::{Action, Origin};
use serde_json::{Value, json};

/// HCN's word for a direction.
pub(super) const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "In",
        Direction::Out => "Out",
    }
}

pub(super) const fn action(action: Action) -> &'static str {
    match action {
        Action::Block => "Block",
        Action::Allow => "Allow",
        Action::Pass => "Pass",
    }
}

/// The policy type that a rule came from.
pub(super) const fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Endpoint => "ACL",
        Origin::Network => "NetworkACL",
        Origin::Tier => "TierAcl",
    }
}

pub(super) fn rule(rule: &RuleName) -> Value {
    json!({
        "Id": rule.id,
        "Origin": origin(rule.origin),
        "Priority": rule.priority,
        "Action": action(rule.action),
    })
}

/// Seconds since 1970 with milliseconds, as text; clients sort by it.
pub(super) fn time(at: std::time::SystemTime) -> f64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    // Three digits are what a person reads; more would be noise.
    (since.as_secs_f64() * 1000.0).round() / 1000.0
}

/// A protocol by the name people know it by.
pub(super) fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        2 => "igmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}

/// A packet in one line, as far as its first bytes tell: `tcp 10.0.0.2:4000 -> 10.0.0.3:80`.
pub(super) fn packet(packet: &Packet) -> String {
    let side = |address: Option<std::net::IpAddr>, port: Option<u16>, mac: Option<hns_net::Mac>| match (
        address, port,
    ) {
        (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
        (Some(address), None) => address.to_string(),
        (None, _) => mac.map_or_else(|| "?".to_owned(), |mac| mac.to_string()),
    };
    let from = side(packet.source, packet.source_port, packet.source_mac);
    let to = side(packet.destination, packet.destination_port, packet.destination_mac);
    let kind = match (packet.protocol, packet.ethertype) {
        (Some(number), _) => protocol(number),
        (None, Some(0x0806)) => "arp".to_owned(),
        (None, Some(number)) => format!("ethertype {number:#06x}"),
        (None, None) => "frame".to_owned(),
    };
    let icmp = packet.icmp.map(|(kind, code)| format!(" type {kind} code {code}")).unwrap_or_default();
    format!("{kind}{icmp} {from} -> {to}")
}
