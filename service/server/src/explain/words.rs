//! The datapath's reports in the documents' words.

use std::time::{SystemTime, UNIX_EPOCH};

use hns_abi::Direction;
use hns_datapath::{FlowState, Packet, Tuple};
use hns_hcn::{
    EtherType, IpProtocol, PacketWords, PortOwner, RuleAction, RuleDirection, RuleName, RuleOrigin, Sides,
    TcpFlags, Timestamp,
};
use hns_model::World;
use hns_net::Guid;
use hns_vfp::flow::State;
use hns_vfp::model::{Action, Origin};

/// Whose port it is; nothing for an endpoint that was removed a moment ago.
pub(super) fn owner(world: &World, endpoint: Guid) -> Option<PortOwner> {
    let endpoint = world.endpoint(endpoint).ok()?;
    let network = world.network(endpoint.network()).ok()?;
    Some(PortOwner {
        endpoint: endpoint.id(),
        name: endpoint.document().name.clone(),
        network: network.document().name.clone(),
    })
}

pub(super) const fn direction(direction: Direction) -> RuleDirection {
    match direction {
        Direction::In => RuleDirection::In,
        Direction::Out => RuleDirection::Out,
    }
}

pub(super) fn rule(rule: &hns_datapath::RuleName) -> RuleName {
    RuleName {
        id: rule.id.clone(),
        origin: match rule.origin {
            Origin::Endpoint => RuleOrigin::Endpoint,
            Origin::Network => RuleOrigin::Network,
            Origin::Tier => RuleOrigin::Tier,
        },
        priority: rule.priority,
        action: match rule.action {
            Action::Block | Action::Observe => RuleAction::Block,
            Action::Allow => RuleAction::Allow,
            Action::Pass => RuleAction::Pass,
        },
        enforce: rule.action != Action::Observe,
    }
}

pub(super) fn time(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn packet(packet: &Packet) -> PacketWords {
    PacketWords {
        source_mac: packet.source_mac,
        destination_mac: packet.destination_mac,
        ethertype: packet.ethertype.map(EtherType),
        source: packet.source,
        destination: packet.destination,
        protocol: packet.protocol.map(IpProtocol),
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        tcp_flags: packet.tcp_flags.map(TcpFlags),
        icmp: packet.icmp,
    }
}

pub(super) const fn state(state: State) -> &'static str {
    match state {
        State::New => FlowState::New.word(),
        State::Replied => FlowState::Replied.word(),
        State::Established => FlowState::Established.word(),
        State::Closing => FlowState::Closing.word(),
        State::Closed => FlowState::Closed.word(),
    }
}

pub(super) const fn sides(tuple: &Tuple) -> Sides {
    Sides { local: tuple.local, remote: tuple.remote }
}
