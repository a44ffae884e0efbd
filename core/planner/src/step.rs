use std::net::IpAddr;
use std::sync::Arc;

use hns_net::{Guid, IfName, Mac, Uplink};
use hns_vfp::Port as Policy;
use hns_vfp::model::{Overlay, Sets};

use crate::desired::{Forwarding, NamespaceSpec, Port, Station, Switch, Target, TunnelDevice};
use crate::rules::Element;

/// One thing to do to the host. Every step is idempotent: doing it again on a host that already shows
/// its result succeeds and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Let the host forward these families, keeping its own router discovery alive (V6-3).
    Forward(Forwarding),
    /// Load the table's empty sets, with its chains or without, replacing whatever stands under its name.
    LoadTable {
        chains: bool,
    },
    /// Add the chains to a table that has its sets and elements.
    AddChains,
    /// Take the chains out of the table. The host is closed to switches that no element names all the same.
    RemoveChains,
    MakeNamespace(NamespaceSpec),
    RemoveNamespace(NamespaceSpec),
    /// Make the bridge, its segments, addresses and settings; or bring an existing one in line.
    MakeSwitch(Switch),
    RemoveSwitch {
        name: IfName,
    },
    /// Join an external switch to its adapter. It is the datapath that does this.
    JoinAdapter {
        switch: IfName,
        uplink: Uplink,
    },
    /// It is the datapath that does this.
    LeaveAdapter {
        switch: IfName,
    },
    /// Make this VXLAN device, or bring it in line.
    MakeTunnel {
        device: TunnelDevice,
    },
    RemoveTunnel {
        device: TunnelDevice,
    },
    /// Let the programs know this of an overlay, or nothing any more. It is the datapath that does this.
    SetOverlay {
        network: Guid,
        overlay: Option<Arc<Overlay>>,
        before: Option<Arc<Overlay>>,
    },
    /// Let the adapter take in what is for this station.
    AddStation(Station),
    RemoveStation(Station),
    /// Make the veth with its far end already in the target, address it, plug it in. The host end stays down.
    PlugPort(Port),
    /// Bring an existing host end in line: plugged into its bridge, forwarding. It is down afterwards, whatever it was.
    ReplugPort(Port),
    /// Give the port its filter, or another policy. It is the datapath that does this.
    FilterPort {
        name: IfName,
        policy: Arc<Policy>,
        /// What the filter held the port to before; absent: it had none.
        before: Option<Arc<Policy>>,
    },
    /// Give a network other address sets, which the rules of its ports name. It is the datapath that does this.
    SetSets {
        network: Guid,
        sets: Arc<Sets>,
        /// Those of before; empty: none.
        before: Arc<Sets>,
    },
    /// Raise the host end of a port that has its filter. From here on it carries frames, and its far end, `interface` in
    /// `target`, has a carrier.
    OpenPort {
        name: IfName,
        target: Target,
        interface: IfName,
    },
    /// Give the vNIC other addresses and routes, in its container, instead of those of `before`.
    AddressPort {
        port: Port,
        before: Port,
    },
    /// Stop the port at once and hand its link to the reaper.
    UnplugPort {
        name: IfName,
    },
    /// In one netlink transaction.
    AddElements(Vec<Element>),
    RemoveElements(Vec<Element>),
}

impl Step {
    /// The port that this step is about, if it is about one.
    #[must_use]
    pub const fn port(&self) -> Option<&IfName> {
        match self {
            Self::PlugPort(port) | Self::ReplugPort(port) | Self::AddressPort { port, .. } => {
                Some(&port.name)
            }
            Self::FilterPort { name, .. } | Self::OpenPort { name, .. } | Self::UnplugPort { name } => {
                Some(name)
            }
            Self::Forward(_)
            | Self::LoadTable { .. }
            | Self::AddChains
            | Self::RemoveChains
            | Self::MakeNamespace(_)
            | Self::RemoveNamespace(_)
            | Self::MakeSwitch(_)
            | Self::RemoveSwitch { .. }
            | Self::JoinAdapter { .. }
            | Self::LeaveAdapter { .. }
            | Self::MakeTunnel { .. }
            | Self::RemoveTunnel { .. }
            | Self::SetOverlay { .. }
            | Self::AddStation(_)
            | Self::RemoveStation(_)
            | Self::SetSets { .. }
            | Self::AddElements(_)
            | Self::RemoveElements(_) => None,
        }
    }

    /// The step that takes this one back, if anything is left to take back.
    #[must_use]
    pub fn undo(&self) -> Option<Self> {
        match self {
            Self::MakeNamespace(spec) => Some(Self::RemoveNamespace(spec.clone())),
            Self::MakeSwitch(switch) => Some(Self::RemoveSwitch { name: switch.name.clone() }),
            Self::JoinAdapter { switch, .. } => Some(Self::LeaveAdapter { switch: switch.clone() }),
            Self::MakeTunnel { device } => Some(Self::RemoveTunnel { device: *device }),
            Self::SetOverlay { network, overlay, before } => {
                Some(Self::SetOverlay { network: *network, overlay: before.clone(), before: overlay.clone() })
            }
            Self::AddStation(station) => Some(Self::RemoveStation(station.clone())),
            Self::PlugPort(port) => Some(Self::UnplugPort { name: port.name.clone() }),
            Self::AddElements(elements) => Some(Self::RemoveElements(elements.clone())),
            Self::RemoveElements(elements) => Some(Self::AddElements(elements.clone())),
            Self::FilterPort { name, policy, before } => before.clone().map(|before| Self::FilterPort {
                name: name.clone(),
                policy: before,
                before: Some(Arc::clone(policy)),
            }),
            Self::AddressPort { port, before } => {
                Some(Self::AddressPort { port: before.clone(), before: port.clone() })
            }
            Self::SetSets { network, sets, before } => {
                Some(Self::SetSets { network: *network, sets: Arc::clone(before), before: Arc::clone(sets) })
            }
            Self::Forward(_)
            | Self::LoadTable { .. }
            | Self::AddChains
            | Self::RemoveChains
            | Self::RemoveNamespace(_)
            | Self::RemoveSwitch { .. }
            | Self::LeaveAdapter { .. }
            | Self::RemoveTunnel { .. }
            | Self::RemoveStation(_)
            | Self::ReplugPort(_)
            | Self::OpenPort { .. }
            | Self::UnplugPort { .. } => None,
        }
    }
}

/// Tell the neighbours on a switch which MAC an address now has: gratuitous ARP (RFC 5227) or an
/// unsolicited neighbour advertisement (RFC 4861 section 7.2.6), sent from the switch's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The switch, or of an external one whose wire sends everything back the port that stands for that.
    pub link: IfName,
    pub mac: Mac,
    pub addresses: Vec<IpAddr>,
}
