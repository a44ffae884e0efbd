//! What the daemon and the eBPF programs share: the keys and values of the maps, the reasons of drops.
//!
//! The same structs stand in `bpf/lib/abi.h`; a test of `drivers/datapath` compares size and offset of every field with the
//! BTF of the built object. Nothing here has hidden padding, which `zerocopy` checks when this is compiled: keys are compared
//! byte by byte.

#![allow(clippy::struct_field_names, reason = "the names are those of the header")]

mod addr;
mod be;
mod event;
mod flow;
pub mod layout;
mod map;
mod meter;
mod overlay;
mod port;
mod reason;
mod rules;
mod uplink;
mod watch;

pub use addr::Addr;
pub use be::Be16;
pub use event::*;
pub use flow::*;
pub use map::*;
pub use meter::*;
pub use overlay::*;
pub use port::*;
pub use reason::Reason;
pub use rules::*;
pub use uplink::*;
pub use watch::*;

/// Set in `skb->mark` of a packet that a port's program let out into the bridge.
pub const MARK_PASSED: u32 = 0x2000_0000;

/// Set in `skb->mark` of a packet that the host's own rules (`table inet hns`) let in to a switch, or that the host sends there itself.
pub const MARK_RULED: u32 = 0x4000_0000;

/// Set in `skb->mark` of a packet that our programs send to an adapter, in either direction, and cleared by the adapter's.
pub const MARK_WIRED: u32 = 0x1000_0000;

/// Written into `skb->priority` of a packet that a port's program let in to its container: the class of the gate
/// (`drivers/datapath/src/gate.rs`) in which it passes.
pub const PRIORITY_PASSED: u32 = 0x0467_0001;

/// How a packet runs relative to the endpoint: HCN's Direction. The number is the index of arrays "by direction".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Direction {
    /// To the endpoint.
    In = 0,
    /// From it.
    Out = 1,
}

impl Direction {
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}
