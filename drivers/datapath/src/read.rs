//! From the values of maps to what is shown of them.

use hns_abi::{Addr, Be16, Direction, FLOW_ADOPTED, FlowKey};
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

fn ends((local, local_port): (Addr, Be16), (remote, remote_port): (Addr, Be16)) -> Tuple {
    Tuple { local: (local.ip(), local_port.get()), remote: (remote.ip(), remote_port.get()) }
}

/// `record`: of the flow's port.
pub(crate) fn flow(
    endpoint: Guid,
    record: &hns_abi::Port,
    key: &FlowKey,
    value: &hns_abi::Flow,
    tables: &Tables,
) -> Flow {
    let origin = direction_of(value.origin.into());
    // Positions of an older generation may have been given to other rules.
    let current = value.generation == record.generation;
    Flow {
        endpoint,
        protocol: key.protocol,
        tuple: ends((key.local, key.local_port), (key.remote, key.remote_port)),
        origin,
        state: state_of(value.state),
        adopted: value.flags & FLOW_ADOPTED != 0,
        packets: value.packets,
        idle: clock::since(value.seen),
        rule: if current { rule(tables, record.ruleset[origin.index()], value.position) } else { None },
    }
}
