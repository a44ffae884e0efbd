//! The layers a packet passes, from the container outwards; inwards in the opposite order.
//!
//! Beside them stand two that are no port's: `l2`, which what goes to the wire of an external switch passes last, and `overlay`, the way
//! between the hosts of an overlay, with `wrapping`, what it looks like on the wire.
//!
//! To add one: a file here, its place in [`Layer::ALL`] and in `interpreter`, the header of the same name in `bpf/layers`.

pub mod acl;
pub mod l2;
pub mod meter;
pub mod overlay;
pub mod security;
pub mod wrapping;

use std::fmt;

use hns_abi::Reason;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    Security,
    Acl,
    Meter,
}

impl Layer {
    /// As a packet from the container meets them.
    pub const ALL: [Self; 3] = [Self::Security, Self::Acl, Self::Meter];

    /// The layer that drops for this reason. What is dropped before any layer, for what the port is, is told as the first one's.
    #[must_use]
    pub const fn of(reason: Reason) -> Self {
        match reason {
            Reason::AclOut | Reason::AclIn | Reason::Fragment | Reason::Observed => Self::Acl,
            Reason::MeterOut | Reason::MeterIn => Self::Meter,
            Reason::UnknownPort
            | Reason::Blocked
            | Reason::Malformed
            | Reason::Ethertype
            | Reason::SpoofedMac
            | Reason::SpoofedIp
            | Reason::SpoofedArp
            | Reason::SpoofedNd
            | Reason::RogueRa
            | Reason::RogueDhcp
            | Reason::Quiet
            | Reason::Unruled
            | Reason::Loopback
            | Reason::Confined
            | Reason::Unwired
            | Reason::Unrouted
            | Reason::SpoofedTunnel
            | Reason::UnknownVni
            | Reason::Reflected
            | Reason::Unencrypted => Self::Security,
        }
    }

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Security => "security",
            Self::Acl => "acl",
            Self::Meter => "meter",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
