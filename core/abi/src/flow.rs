//! Connections, and datagrams in fragments.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Addr, Be16};

/// Seen in the original direction only.
pub const FLOW_NEW: u8 = 0;
/// TCP: SYN+ACK seen.
pub const FLOW_REPLIED: u8 = 1;
/// TCP: handshake done; others: seen in both directions.
pub const FLOW_ESTABLISHED: u8 = 2;
/// TCP: FIN seen one way.
pub const FLOW_CLOSING: u8 = 3;
/// TCP: FIN seen both ways, or RST.
pub const FLOW_CLOSED: u8 = 4;

pub const FLOW_FIN_IN: u16 = 1 << 0;
pub const FLOW_FIN_OUT: u16 = 1 << 1;
/// First seen in its midst.
pub const FLOW_ADOPTED: u16 = 1 << 2;

/// `struct flow_key` of `bpf/lib/abi.h`: a connection, whichever port looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowKey {
    /// [`Port::network`](crate::Port::network).
    pub network: u32,
    /// Of `strays`: [`Port::id`](crate::Port::id); else 0.
    pub port: u32,
    pub protocol: u8,
    pub zero: [u8; 3],
    /// Of both ends, in an order of their own.
    pub addr: [Addr; 2],
    /// Their ports of the transport protocol.
    pub number: [Be16; 2],
}

impl FlowKey {
    /// Of the connection between these ends on a network, and the place of the local one: the order is that of `precedes` in
    /// `bpf/lib/flow.h`.
    #[must_use]
    pub fn between(network: u32, protocol: u8, local: (Addr, Be16), remote: (Addr, Be16)) -> (Self, usize) {
        let place = usize::from(rank(local) > rank(remote));
        let ends = if place == 0 { [local, remote] } else { [remote, local] };
        let (addr, number) = (ends.map(|end| end.0), ends.map(|end| end.1));
        (Self { network, port: 0, protocol, zero: [0; 3], addr, number }, place)
    }
}

fn rank((addr, number): (Addr, Be16)) -> ([u32; 4], u16) {
    let [first, second, third, last] = [0, 4, 8, 12].map(|at| {
        let word = [addr.b[at], addr.b[at + 1], addr.b[at + 2], addr.b[at + 3]];
        u32::from_ne_bytes(word)
    });
    ([last, third, second, first], number.bytes)
}

/// `struct flow_side` of `bpf/lib/abi.h`: what one port remembers of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowSide {
    /// Ns of `CLOCK_MONOTONIC`, of the last packet.
    pub seen: u64,
    /// By direction.
    pub packets: [u64; 2],
    /// [`Port::id`](crate::Port::id); 0: nobody's.
    pub port: u32,
    pub generation: u32,
    /// Of the rule that let it pass; ~0: the fallback.
    pub position: u32,
    /// `enum direction` of the first packet.
    pub origin: u8,
    /// `enum flow_state`.
    pub state: u8,
    /// `enum flow_flag`.
    pub flags: u16,
    /// Type << 8 | code of the first packet.
    pub icmp: u16,
    pub zero: [u16; 3],
}

/// `struct flow` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Flow {
    /// Ns of `CLOCK_MONOTONIC`, of the first packet.
    pub opened: u64,
    /// By the place of its local end in the key.
    pub side: [FlowSide; 2],
}

/// `struct fragment_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FragmentKey {
    pub port: u32,
    /// IPv4: 16 bits, IPv6: 32 bits.
    pub id: u32,
    pub direction: u8,
    pub protocol: u8,
    pub zero: [u8; 2],
    pub source: Addr,
    pub destination: Addr,
}

/// `struct fragment` of `bpf/lib/abi.h`: a datagram whose first fragment may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Fragment {
    pub seen: u64,
    /// [`Port::generation`](crate::Port::generation) of the rules that let it.
    pub generation: u32,
    pub zero: u32,
}
