//! What packets would meet now, as a switch of the interpreter's.

use std::collections::BTreeMap;
use std::sync::Arc;

use hns_abi::{
    Addr, Be16, Direction, FLOW_ADOPTED, FLOW_FIN_IN, FLOW_FIN_OUT, FlowKey, FlowSide, Map, Meter, MeterKey,
};
use hns_net::Guid;
use hns_vfp::Switch;
use hns_vfp::flow::{self, Tuple};
use hns_vfp::interpreter::{Epoch, Memory};
use hns_vfp::layers::acl::{Cause, Facts};
use hns_vfp::model::{Devices, Overlay, Port, Sets, Switchboard};
use hns_vfp::tables::cause_at;
use zerocopy::{FromBytes, IntoBytes};

use crate::load::Loaded;
use crate::read::{direction_of, state_of};
use crate::{DatapathError, FlowState, clock};

/// A copy of what packets would meet now. Those that are tried out on it change nothing but the copy.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub switch: Switch,
    /// Ns, by the clock of the programs.
    pub now: u64,
}

/// Which connections a trial is about, by the number of a port and both ends: said when the ports are known.
pub type Wanted<'a> = dyn Fn(&Switchboard) -> Vec<(u32, Tuple)> + 'a;

/// A port as it is programmed.
pub(crate) struct Programmed {
    pub ifindex: u32,
    pub port: Arc<Port>,
    pub record: hns_abi::Port,
}

/// Reads what the programs remember. Rules may change meanwhile: what was remembered under others than those of `ports` is then
/// judged by these, as after such a change.
pub(crate) fn take(
    loaded: &Loaded,
    ports: &[Programmed],
    sets: BTreeMap<Guid, Arc<Sets>>,
    overlays: BTreeMap<Guid, (Devices, Arc<Overlay>)>,
    wanted: &Wanted<'_>,
) -> Result<Snapshot, DatapathError> {
    let mut board = Switchboard { sets, overlays, ..Switchboard::default() };
    board.ports.extend(ports.iter().map(|one| (one.ifindex, Port::clone(&one.port))));
    let epochs = ports.iter().map(|one| (one.ifindex, epoch(&one.record))).collect();
    let mut memory = Memory::default();
    let records: BTreeMap<u32, &Programmed> = ports.iter().map(|one| (one.ifindex, one)).collect();
    for (ifindex, tuple) in wanted(&board) {
        let Some(port) = records.get(&ifindex) else { continue };
        if let Some(flow) = flow(loaded, port, &tuple)? {
            memory.insert_flow(ifindex, tuple, flow);
        }
        for direction in [Direction::In, Direction::Out] {
            if let Some(arrival) = arrival(loaded, port, direction)? {
                memory.insert_arrival(ifindex, direction, arrival);
            }
        }
    }
    Ok(Snapshot { switch: Switch::resumed(board, epochs, memory), now: clock::now() })
}

const fn epoch(record: &hns_abi::Port) -> Epoch {
    Epoch { generation: record.generation, adopt_until: record.adopt_until }
}

fn flow(loaded: &Loaded, port: &Programmed, tuple: &Tuple) -> Result<Option<flow::Flow>, DatapathError> {
    let end = |address, number| (Addr::from(address), Be16::new(number));
    let (local, remote) = (end(tuple.local, tuple.local_port), end(tuple.remote, tuple.remote_port));
    let (key, place) = FlowKey::between(port.record.network, tuple.protocol, local, remote);
    let own = |flow: hns_abi::Flow| Some(flow.side[place]).filter(|side| side.port == port.record.id);
    let mut shared = entry(loaded, Map::Established, &key)?;
    if shared.is_none() {
        shared = entry(loaded, Map::Embryonic, &key)?;
    }
    let mut side = shared.and_then(own);
    if side.is_none() {
        side = entry(loaded, Map::Strays, &FlowKey { port: port.record.id, ..key })?.and_then(own);
    }
    Ok(side.map(|side| remembered(&port.port, &port.record, tuple, &side)))
}

fn entry(loaded: &Loaded, map: Map, key: &FlowKey) -> Result<Option<hns_abi::Flow>, DatapathError> {
    let value = read(loaded, map, key.as_bytes())?;
    Ok(value.and_then(|value| hns_abi::Flow::read_from_bytes(&value).ok()))
}

fn remembered(port: &Port, record: &hns_abi::Port, tuple: &Tuple, side: &FlowSide) -> flow::Flow {
    let origin = direction_of(side.origin.into());
    let [kind, code] = side.icmp.to_be_bytes();
    // Positions of other generations were those of other rules; nobody asks for them.
    let current = side.generation == record.generation;
    let cause = cause_at(&port.acl[origin.index()], side.position).filter(|_| current);
    let mut fins = [false; 2];
    fins[Direction::In.index()] = side.flags & FLOW_FIN_IN != 0;
    fins[Direction::Out.index()] = side.flags & FLOW_FIN_OUT != 0;
    flow::Flow {
        seen: side.seen,
        packets: side.packets,
        generation: side.generation,
        origin,
        state: state(state_of(side.state)),
        fins,
        facts: Facts::of_tuple(tuple, (kind, code)),
        cause: cause.unwrap_or(Cause::Fallback),
        adopted: side.flags & FLOW_ADOPTED != 0,
    }
}

fn arrival(loaded: &Loaded, port: &Programmed, direction: Direction) -> Result<Option<u64>, DatapathError> {
    if port.port.meters[direction.index()].is_none() {
        return Ok(None);
    }
    let key = MeterKey { port: port.record.id, direction: direction as u32 };
    let value = read(loaded, Map::Meters, key.as_bytes())?;
    Ok(value.and_then(|value| Meter::read_from_bytes(&value).ok()).map(|meter| meter.arrival))
}

fn read(loaded: &Loaded, map: Map, key: &[u8]) -> Result<Option<Vec<u8>>, DatapathError> {
    let failed = |source| DatapathError::Map { operation: "read", map: map.name(), source };
    loaded.map(map).get(key).map_err(failed)
}

pub(crate) const fn state(shown: FlowState) -> flow::State {
    match shown {
        FlowState::New => flow::State::New,
        FlowState::Replied => flow::State::Replied,
        FlowState::Established => flow::State::Established,
        FlowState::Closing => flow::State::Closing,
        FlowState::Closed => flow::State::Closed,
    }
}

/// The snapshot of a datapath in memory, whose connections are those it was told of.
pub(crate) fn of_memory(board: Switchboard, flows: &[crate::Flow], wanted: &Wanted<'_>) -> Snapshot {
    let now = clock::now();
    let mut memory = Memory::default();
    for (ifindex, tuple) in wanted(&board) {
        let Some(port) = board.ports.get(&ifindex) else { continue };
        if let Some(told) = flows.iter().find(|told| is_of(told, port, &tuple)) {
            memory.insert_flow(ifindex, tuple, told_flow(told, port, board.sets_of(port), &tuple, now));
        }
    }
    Snapshot { switch: Switch::resumed(board, BTreeMap::new(), memory), now }
}

fn is_of(told: &crate::Flow, port: &Port, tuple: &Tuple) -> bool {
    told.endpoint == port.endpoint
        && told.protocol == tuple.protocol
        && told.tuple.local == (tuple.local, tuple.local_port)
        && told.tuple.remote == (tuple.remote, tuple.remote_port)
}

fn told_flow(told: &crate::Flow, port: &Port, sets: &Sets, tuple: &Tuple, now: u64) -> flow::Flow {
    let facts = Facts::of_tuple(tuple, (0, 0));
    let cause = port.acl[told.origin.index()].decide(&facts, sets).cause;
    let idle = u64::try_from(told.idle.as_nanos()).unwrap_or(u64::MAX);
    flow::Flow {
        packets: told.packets,
        state: state(told.state),
        adopted: told.adopted,
        ..flow::Flow::opened(facts, told.origin, 0, cause, now.saturating_sub(idle))
    }
}
