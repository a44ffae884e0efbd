//! Load balancers and what they lead to.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Addr, Be16};

/// Only the destination is rewritten: the client's port does both ways.
pub const SERVICE_DSR: u32 = 1 << 0;
/// For endpoints of the network only.
pub const SERVICE_ILB: u32 = 1 << 1;
/// For the host as well.
pub const SERVICE_LOCAL_ROUTED: u32 = 1 << 2;
pub const SERVICE_USE_MUX: u32 = 1 << 3;
/// The destination address stays the VIP; only MAC and port change.
pub const SERVICE_PRESERVE_DIP: u32 = 1 << 4;
/// By source IP and protocol.
pub const SERVICE_AFFINITY_PROTOCOL: u32 = 1 << 5;
/// By source IP.
pub const SERVICE_AFFINITY: u32 = 1 << 6;

pub const BACKEND_DRAINING: u16 = 1;

/// `struct service_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ServiceKey {
    pub scope: u32,
    pub protocol: u8,
    pub zero: u8,
    pub port: Be16,
    pub vip: Addr,
}

/// `struct service` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Service {
    pub id: u32,
    /// `enum service_flag`.
    pub flags: u32,
    /// First entry in `choices`.
    pub table: u32,
    /// How many: the size of the Maglev table; 0: no backend.
    pub choices: u32,
    pub affinity_seconds: u32,
    /// 0: as it came.
    pub internal_port: Be16,
    pub zero: u16,
    /// [`Addr::NONE`] when absent.
    pub source_vip: Addr,
}

/// `struct backend` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Backend {
    pub addr: Addr,
    /// Zero: the frame keeps its destination, the gateway.
    pub mac: [u8; 6],
    /// [`BACKEND_DRAINING`].
    pub flags: u16,
}

/// `struct affinity_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AffinityKey {
    pub service: u32,
    /// 0 when any.
    pub protocol: u32,
    pub client: Addr,
}

/// `struct affinity` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Affinity {
    pub seen: u64,
    pub backend: u32,
    pub zero: u32,
}
