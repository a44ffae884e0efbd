//! From the values of maps to what is shown of them.

use hns_abi::{Direction, FLOW_ADOPTED, FlowKey, FlowSide};
use hns_net::Guid;
use hns_vfp::tables::Tables;

use crate::{Flow, FlowState, RuleName, Tuple, clock};

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
