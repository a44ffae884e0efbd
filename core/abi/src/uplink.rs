//! Where external switches meet their adapters.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// No MAC address but the adapter's is on its wire.
pub const UPLINK_ONE_MAC: u16 = 1;
/// With [`UPLINK_ONE_MAC`]: what goes out comes back, and is let in then alone.
pub const UPLINK_REFLECTED: u16 = 2;

/// `struct uplink_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UplinkKey {
    pub ifindex: u32,
    /// 0: none, and of the bridge's port.
    pub vlan: u32,
}

/// `struct uplink` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Uplink {
    /// The number of the adapter's link.
    pub adapter: u32,
    /// 0: none.
    pub vlan: u32,
    /// The number of the bridge's port that stands for the wire.
    pub port: u32,
    /// The daemon's number of the switch, as in [`Port::network`](crate::Port).
    pub network: u32,
    /// The adapter's, which is the host's on that LAN.
    pub mac: [u8; 6],
    /// [`UPLINK_ONE_MAC`], [`UPLINK_REFLECTED`].
    pub flags: u16,
}
