use std::fmt;

use crate::{Guid, IfName, VlanId};

/// What an external switch leads to: an adapter of the host, and on it the frames of one VLAN, or those without a tag.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Uplink {
    pub adapter: IfName,
    pub vlan: Option<VlanId>,
    pub mode: UplinkMode,
}

/// How containers show on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum UplinkMode {
    /// Each under its own MAC address.
    Stations,
    /// All under the adapter's.
    OneMac,
    /// As [`UplinkMode::OneMac`], and whatever they send goes to the wire, for each other and for the host as well: what is there sends
    /// it back.
    Reflected,
}

impl UplinkMode {
    /// Whether no MAC address but the adapter's is on the wire.
    #[must_use]
    pub const fn has_one_mac(self) -> bool {
        matches!(self, Self::OneMac | Self::Reflected)
    }
}

impl Uplink {
    /// The identity of its switch, the same on every run, whatever its mode.
    #[must_use]
    pub fn switch_id(&self) -> Guid {
        let vlan = self.vlan.map_or(0, VlanId::number).to_be_bytes();
        Guid::of(self.adapter.as_str().bytes().chain(vlan))
    }
}

impl fmt::Display for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vlan {
            Some(vlan) => write!(f, "VLAN {vlan} of adapter {}", self.adapter),
            None => write!(f, "adapter {}", self.adapter),
        }
    }
}
