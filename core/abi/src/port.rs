//! Ports, and which addresses and MACs are theirs.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Addr;

pub const PORT_BLOCKED: u32 = 1 << 0;
/// Source MAC, IP, ARP and ND must be the endpoint's.
pub const PORT_GUARD_SPOOF: u32 = 1 << 1;
pub const PORT_GUARD_RA: u32 = 1 << 2;
pub const PORT_GUARD_DHCP: u32 = 1 << 3;
/// Has rules: its connections are tracked.
pub const PORT_STATEFUL: u32 = 1 << 4;
/// DisableInterComputeCommunication: talks to no other port of its network.
pub const PORT_QUIET: u32 = 1 << 5;
/// Captured, or its vNIC is in our own namespace: no `bpf_redirect_peer`.
pub const PORT_PLAIN_REDIRECT: u32 = 1 << 6;
pub const PORT_METER_IN: u32 = 1 << 7;
pub const PORT_METER_OUT: u32 = 1 << 8;
/// Beyond [`Port::own`]: in `addresses`.
pub const PORT_MORE_ADDRESSES: u32 = 1 << 9;
/// On a switch with a host port: what the host forwards to it must have passed the host's rules.
pub const PORT_RULED: u32 = 1 << 10;
/// On a network without a way out: it speaks to known addresses of its network only.
pub const PORT_CONFINED: u32 = 1 << 11;
/// On an external switch: what is for no port of it goes to the adapter.
pub const PORT_EXTERNAL: u32 = 1 << 12;
/// On an overlay: what is for no port of this host goes into the tunnel.
pub const PORT_OVERLAY: u32 = 1 << 15;
/// The host routes for it: what comes for its addresses by the one MAC is the host's to forward.
pub const PORT_BEHIND_HOST4: u32 = 1 << 13;
/// The same of IPv6, but for addresses of the link.
pub const PORT_BEHIND_HOST6: u32 = 1 << 14;
/// On an external switch whose wire sends everything back: all that leaves it goes there.
pub const PORT_REFLECTED: u32 = 1 << 16;
/// The owner of an address in `addresses` that the host has on the network.
pub const OWNER_HOST: u32 = 0;
/// The owner of an address at which an overlay's own router answers.
pub const OWNER_ROUTER: u32 = u32::MAX;
/// In the number of a network in `addresses`: the host's own addresses there, where it shares its MAC with containers.
pub const OF_THE_HOST: u32 = 0x8000_0000;
/// A port with none of these takes what comes, unread.
pub const PORT_READS_IN: u32 = PORT_BLOCKED | PORT_STATEFUL | PORT_QUIET | PORT_METER_IN;
/// How many of its addresses a port's record holds itself.
pub const PORT_OWN_ADDRESSES: usize = 4;

/// `struct port` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Port {
    /// The daemon's number of this port, never given twice while the maps live.
    pub id: u32,
    /// Of the host end.
    pub ifindex: u32,
    /// The daemon's number of its network.
    pub network: u32,
    /// Raised with every change of policy.
    pub generation: u32,
    /// `enum port_flag`.
    pub flags: u32,
    pub zero: u32,
    /// By direction; 0: no rules, `fallback` decides.
    pub ruleset: [u32; 2],
    /// By direction: `enum action` when no rule matches.
    pub fallback: [u8; 2],
    pub mac: [u8; 6],
    /// Ns of `CLOCK_MONOTONIC`: until then TCP connections that are older than the rules are taken over.
    pub adopt_until: u64,
    /// [`Addr::NONE`] when absent.
    pub own: [Addr; PORT_OWN_ADDRESSES],
}

/// `struct address_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddressKey {
    pub network: u32,
    pub addr: Addr,
}

/// `struct station_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StationKey {
    pub network: u32,
    pub mac: [u8; 6],
    pub zero: u16,
}
