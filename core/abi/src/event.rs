//! What the programs tell the daemon.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a dropped packet that come with its event.
pub const EVENT_HEADER: usize = 96;
/// How many events a processor sends at most; the counters miss nothing.
pub const EVENTS_PER_SECOND: u32 = 512;

/// `struct drop_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DropKey {
    pub port: u32,
    pub reason: u16,
    pub direction: u16,
}

/// `struct drop_event` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DropEvent {
    /// Ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    pub port: u32,
    pub ifindex: u32,
    pub reason: u16,
    pub direction: u16,
    pub ruleset: u32,
    /// ~0: the fallback.
    pub position: u32,
    /// Of the packet.
    pub length: u32,
    /// Bytes in `header`.
    pub captured: u32,
    pub zero: u32,
    pub header: [u8; EVENT_HEADER],
}

pub const CB_REASON: usize = 0;
/// Ifindex of a redirect, 0: to the stack or the bridge.
pub const CB_TARGET: usize = 1;
pub const CB_RULESET: usize = 2;
pub const CB_POSITION: usize = 3;
/// Of a redirect to an adapter: who is behind it.
pub const CB_BEYOND: usize = 4;

pub const BEYOND_WIRE: u32 = 1;
pub const BEYOND_HOST: u32 = 2;
pub const BEYOND_BOTH: u32 = 3;
