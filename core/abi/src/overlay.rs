//! Networks whose containers are on several hosts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Addr;

/// How exactly `heard` tells when, in ns.
pub const HEARD_EVERY: u64 = 1_000_000_000;

/// The host has a port on it, with its router's MAC: what is for nobody else is for the host.
pub const OVERLAY_HOSTED: u16 = 1;
/// Small packets go past the VXLAN device.
pub const OVERLAY_DIRECT: u16 = 1 << 1;

/// A route leads to one endpoint, on one link with those of this host: each knows the other's MAC address.
pub const ROUTE_ON_LINK: u16 = 1;

/// UDP ports that packets of tunnels come from (RFC 7348 section 5): from the first up to, and without, the second.
pub const TUNNEL_SOURCES: u16 = 49_152;
pub const TUNNEL_SOURCES_END: u16 = 65_535;

/// `struct overlay` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Overlay {
    /// The number of the VXLAN device's link.
    pub tunnel: u32,
    /// The MAC address of the router of this host's part.
    pub router: [u8; 6],
    /// [`OVERLAY_HOSTED`] and [`OVERLAY_DIRECT`].
    pub flags: u16,
    /// Where the tunnel ends on this host.
    pub provider: Addr,
    /// In the network's byte order.
    pub udp_port: [u8; 2],
    pub zero: u16,
}

/// `struct tunnel_end` of `bpf/lib/abi.h`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TunnelEnd {
    /// Of this host, in the network's byte order, as the port.
    pub provider: [u8; 4],
    pub udp_port: [u8; 2],
    pub zero: u16,
}

/// `struct vni_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VniKey {
    pub tunnel: u32,
    pub vni: u32,
}

/// `struct route_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RouteKey {
    /// Counts from `network`.
    pub prefixlen: u32,
    pub network: u32,
    pub addr: Addr,
}

/// `struct route` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Route {
    /// Where the tunnel ends on the host that has the prefix.
    pub provider: Addr,
    pub vni: u32,
    /// The MAC address of that host's router, or of the endpoint.
    pub station: [u8; 6],
    /// [`ROUTE_ON_LINK`].
    pub flags: u16,
}
