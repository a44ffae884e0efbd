use std::collections::BTreeMap;
use std::net::IpAddr;

use hns_abi::Direction;

use crate::flow::{Flow, Tuple};
use crate::packet::Ip;

/// Ns that the judgement on a first fragment holds for the others: a datagram's reassembly time (RFC 8200 section 4.5).
pub const FRAGMENTS_LAST: u64 = 60_000_000_000;

/// What the ports of a host remember.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// By port and the tuple that the endpoint sees.
    pub(crate) flows: BTreeMap<(u32, Tuple), Flow>,
    pub(crate) fragments: BTreeMap<FragmentKey, FragmentMemo>,
    pub(crate) arrivals: BTreeMap<(u32, Direction), u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FragmentKey {
    ifindex: u32,
    direction: Direction,
    id: u32,
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
}

/// A first fragment that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FragmentMemo {
    pub seen: u64,
    /// Of the rules that let it.
    pub generation: u32,
}

impl Memory {
    pub fn flows(&self) -> impl Iterator<Item = (u32, &Tuple, &Flow)> {
        self.flows.iter().map(|((ifindex, tuple), flow)| (*ifindex, tuple, flow))
    }

    /// Remembers a connection that the kernel's table holds, for a trace on live state.
    pub fn insert_flow(&mut self, ifindex: u32, tuple: Tuple, flow: Flow) {
        self.flows.insert((ifindex, tuple), flow);
    }

    /// Until when, in ns, the bucket of a port is in debt.
    pub fn insert_arrival(&mut self, ifindex: u32, direction: Direction, arrival: u64) {
        self.arrivals.insert((ifindex, direction), arrival);
    }

    pub(crate) fn forget_flow(&mut self, ifindex: u32, tuple: Tuple) {
        self.flows.remove(&(ifindex, tuple));
    }

    pub(crate) fn forget_port(&mut self, ifindex: u32) {
        self.flows.retain(|(port, _), _| *port != ifindex);
        self.fragments.retain(|key, _| key.ifindex != ifindex);
        self.arrivals.retain(|(port, _), _| *port != ifindex);
    }

    pub(crate) fn arrival(&mut self, ifindex: u32, direction: Direction) -> &mut u64 {
        self.arrivals.entry((ifindex, direction)).or_default()
    }
}

impl FragmentKey {
    /// Nothing for a whole packet.
    pub fn of(ip: &Ip, ifindex: u32, direction: Direction) -> Option<Self> {
        let id = ip.fragment?.id;
        let (source, destination) = (ip.source, ip.destination);
        Some(Self { ifindex, direction, id, protocol: ip.protocol, source, destination })
    }
}
