use std::net::{IpAddr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An address as the maps hold it: 16 bytes in network order, IPv4 as `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct Addr {
    pub b: [u8; 16],
}

impl Addr {
    /// `::`, which stands for "absent".
    pub const NONE: Self = Self { b: [0; 16] };

    #[must_use]
    pub fn ip(self) -> IpAddr {
        Ipv6Addr::from(self.b).to_canonical()
    }
}

impl From<IpAddr> for Addr {
    fn from(address: IpAddr) -> Self {
        let wide = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { b: wide.octets() }
    }
}
