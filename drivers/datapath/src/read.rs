//! From the values of maps to what is shown of them.

use hns_abi::{Direction, FLOW_ADOPTED, FlowKey, FlowSide, Reason};
use hns_net::Guid;
use hns_vfp::tables::Tables;

use crate::policy::Policy;
use crate::{
    Asked, DropEvent, Flow, FlowState, Onward, Packet, Question, RuleName, Sighting, Tuple, clock, packet,
};

/// In the place of a position: no rule but the fallback.
const FALLBACK: u32 = u32::MAX;

/// What a map that is one per processor counted on all of them.
pub(crate) fn counted(value: &[u8]) -> u64 {
    value.as_chunks().0.iter().map(|count| u64::from_ne_bytes(*count)).sum()
}

pub(crate) const fn state_of(number: u8) -> FlowState {
    match number {
        hns_abi::FLOW_NEW => FlowState::New,
        hns_abi::FLOW_REPLIED => FlowState::Replied,
        hns_abi::FLOW_ESTABLISHED => FlowState::Established,
        hns_abi::FLOW_CLOSING => FlowState::Closing,
        _ => FlowState::Closed,
    }
}

pub(crate) const fn direction_of(number: u16) -> Direction {
    if number == Direction::Out as u16 { Direction::Out } else { Direction::In }
}

pub(crate) fn rule(tables: &Tables, ruleset: u32, position: u32) -> Option<RuleName> {
    if ruleset == 0 || position == FALLBACK {
        return None;
    }
    tables.rule_at(ruleset, position).map(RuleName::from)
}

/// What the port of `record` knows of a connection, by its side of the entry.
pub(crate) fn flow(
    endpoint: Guid,
    record: &hns_abi::Port,
    (key, place): (&FlowKey, usize),
    side: &FlowSide,
    tables: &Tables,
) -> Flow {
    let origin = direction_of(side.origin.into());
    // Positions of an older generation may have been given to other rules.
    let current = side.generation == record.generation;
    let end = |place: usize| (key.addr[place].ip(), key.number[place].get());
    Flow {
        endpoint,
        protocol: key.protocol,
        tuple: Tuple { local: end(place), remote: end(1 - place) },
        origin,
        state: state_of(side.state),
        adopted: side.flags & FLOW_ADOPTED != 0,
        packets: side.packets,
        idle: clock::since(side.seen),
        rule: if current { rule(tables, record.ruleset[origin.index()], side.position) } else { None },
    }
}

/// What is to be told of a drop.
pub(crate) fn dropped(event: &hns_abi::DropEvent, reason: Reason, policy: &Policy) -> DropEvent {
    DropEvent {
        at: clock::wall(event.time),
        endpoint: policy.endpoints.get(&event.port).copied(),
        ifindex: event.ifindex,
        direction: direction_of(event.direction),
        reason,
        rule: rule(&policy.tables, event.ruleset, event.position),
        length: event.length,
        packet: captured(&event.header, event.captured),
    }
}

/// What is to be told of a watched packet; nothing of ports that are gone, and of a reason that this daemon does not know.
pub(crate) fn sighting(event: &hns_abi::Sighting, policy: &Policy) -> Option<Sighting> {
    let port = policy.port_at(event.ifindex).filter(|port| {
        let owner = policy.endpoints.get(&event.port);
        owner == Some(&port.endpoint)
    })?;
    let onward = match event.onward {
        hns_abi::ONWARD_NOWHERE => Onward::Dropped(Reason::from_number(event.reason)?),
        hns_abi::ONWARD_CONTAINER => Onward::Container,
        hns_abi::ONWARD_PORT => Onward::Port(policy.port_at(event.target).map(|port| port.endpoint)),
        hns_abi::ONWARD_HOST => Onward::Host,
        hns_abi::ONWARD_WIRE => Onward::Wire,
        hns_abi::ONWARD_TUNNEL => {
            let to = captured(&event.header, event.captured).destination;
            let route = to.and_then(|to| policy.tables.route_to(port.network, to));
            Onward::Tunnel(route.map(|route| route.provider))
        }
        hns_abi::ONWARD_ANSWER => Onward::Answer,
        _ => Onward::Switch,
    };
    let asked = asked(event, &policy.tables);
    let observed = asked.as_ref().and_then(|_| rule(&policy.tables, event.ruleset, event.observed));
    Some(Sighting {
        at: clock::wall(event.time),
        endpoint: port.endpoint,
        network: port.network,
        direction: direction_of(event.direction.into()),
        asked,
        observed,
        onward,
        length: event.length,
        packet: captured(&event.header, event.captured),
        missed: event.missed,
    })
}

fn asked(event: &hns_abi::Sighting, tables: &Tables) -> Option<Asked> {
    let question = match event.asked {
        hns_abi::ASKED_RULES => Question::Rules,
        hns_abi::ASKED_KNOWN => Question::Known(state_of(event.state)),
        hns_abi::ASKED_RELATED => Question::Related,
        hns_abi::ASKED_FRAGMENT => Question::Fragment,
        _ => return None,
    };
    let rule =
        if question == Question::Fragment { None } else { rule(tables, event.ruleset, event.position) };
    Some(Asked { question, by: direction_of(event.by.into()), rule })
}

fn captured(header: &[u8], length: u32) -> Packet {
    let length = usize::try_from(length).unwrap_or_default().min(header.len());
    packet::read(&header[..length])
}
