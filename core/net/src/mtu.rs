use std::fmt;

/// The largest packet of a link, in bytes.
///
/// At least 576 (RFC 791: what every IPv4 host takes) and at most 65,535. A network with IPv6 needs 1,280
/// (RFC 8200 section 5), which the network checks, since only it knows its families.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mtu(u16);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an MTU: 576 to 65535 bytes")]
pub struct MtuError(u64);

impl Mtu {
    pub const ETHERNET: Self = Self(1500);
    pub const IPV6_MIN: Self = Self(1280);
    pub const MAX: Self = Self(u16::MAX);

    pub fn new(bytes: u64) -> Result<Self, MtuError> {
        match u16::try_from(bytes) {
            Ok(small) if small >= 576 => Ok(Self(small)),
            _ => Err(MtuError(bytes)),
        }
    }

    #[must_use]
    pub const fn bytes(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
