//! Connections that somebody watches, and what is seen of their packets at ports.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Addr, Be16, EVENT_HEADER};

/// How many events a processor sends at most.
pub const SIGHTINGS_PER_SECOND: u32 = 4096;

/// What layer acl of a port was asked about a packet.
pub const ASKED_NOTHING: u8 = 0;
pub const ASKED_RULES: u8 = 1;
/// Of a connection that the port knows.
pub const ASKED_KNOWN: u8 = 2;
/// An ICMP error about such a one.
pub const ASKED_RELATED: u8 = 3;
/// A later fragment.
pub const ASKED_FRAGMENT: u8 = 4;

/// It is dropped.
pub const ONWARD_NOWHERE: u8 = 0;
/// The port's own.
pub const ONWARD_CONTAINER: u8 = 1;
/// Another one of its network, by the short way.
pub const ONWARD_PORT: u8 = 2;
/// Into the bridge.
pub const ONWARD_SWITCH: u8 = 3;
/// By the adapter of an external switch.
pub const ONWARD_HOST: u8 = 4;
pub const ONWARD_WIRE: u8 = 5;
/// To another host of the overlay.
pub const ONWARD_TUNNEL: u8 = 6;
/// Back to the container: the overlay's router answers.
pub const ONWARD_ANSWER: u8 = 7;

/// `struct watch` of `bpf/lib/abi.h`: a connection, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Watch {
    /// [`Addr::NONE`]: any.
    pub source: Addr,
    pub destination: Addr,
    /// 0: any.
    pub source_port: Be16,
    pub destination_port: Be16,
    /// 0: any.
    pub protocol: u8,
    pub zero: [u8; 3],
}

/// `struct sighting` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sighting {
    /// Ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    pub port: u32,
    pub ifindex: u32,
    /// The places of `watches` that say it, as bits.
    pub watches: u32,
    /// `ONWARD_PORT`: ifindex of that one.
    pub target: u32,
    /// Of a drop.
    pub reason: u16,
    pub direction: u8,
    pub onward: u8,
    /// The rest of the line counts with it alone.
    pub asked: u8,
    /// Whose rules were, or had been, asked.
    pub by: u8,
    /// Of a known connection.
    pub state: u8,
    pub zero: u8,
    pub ruleset: u32,
    /// ~0: the fallback.
    pub position: u32,
    /// Of a rule that is only watched and would have blocked; ~0: none.
    pub observed: u32,
    /// How many were not sent by this processor since the last one that was.
    pub missed: u32,
    /// Of the packet.
    pub length: u32,
    /// Bytes in `header`.
    pub captured: u32,
    pub header: [u8; EVENT_HEADER],
}
