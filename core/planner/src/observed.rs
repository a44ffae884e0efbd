use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use hns_net::{Guid, IfAddr, IfName, Mac, Mtu, Uplink};
use hns_vfp::Port as Policy;
use hns_vfp::model::{Overlay, Sets};

use crate::desired::{Desired, Forwarding, Port, Station, TunnelDevice};
use crate::rules::Element;

/// What the host shows of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Namespaces held by a bind mount in our folder.
    pub namespaces: BTreeSet<PathBuf>,
    pub switches: BTreeMap<IfName, ObservedSwitch>,
    pub ports: BTreeMap<IfName, ObservedPort>,
    /// What the filters at these ports hold them to. A port without a filter, or with one that could not be programmed, is
    /// not among them. The host cannot tell: whoever asks the datapath as well fills it in.
    pub policies: BTreeMap<IfName, Arc<Policy>>,
    /// The address sets that the datapath holds, as `policies`.
    pub sets: BTreeMap<Guid, Arc<Sets>>,
    /// The external switches that the datapath has joined to their adapters, as `policies`.
    pub uplinks: BTreeMap<IfName, Uplink>,
    /// What the datapath's programs know of overlays, as `policies`.
    pub overlays: BTreeMap<Guid, Arc<Overlay>>,
    /// The VXLAN devices, and whether they are as they should be.
    pub tunnels: BTreeMap<TunnelDevice, bool>,
    /// Of ours.
    pub stations: BTreeSet<Station>,
    /// The elements of our table; absent when the table is missing or not whole.
    pub rules: Option<BTreeSet<Element>>,
    /// Whether the table has its chains.
    pub chains: bool,
    pub forwarding: Forwarding,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedSwitch {
    pub up: bool,
    pub mac: Mac,
    pub mtu: Mtu,
    pub gateways: BTreeSet<IfAddr>,
    /// The extra segments that are there, up, and joined to the first.
    pub segments: BTreeSet<u16>,
    pub loopback: bool,
    /// Whether a port that stands for the wire is there, up, and as it should be.
    pub wired: bool,
    /// Whether its first bridge's own device answers ARP or has IPv6, as only the host's port may.
    pub answers: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedPort {
    /// The bridge it is plugged into, if any.
    pub bridge: Option<IfName>,
    pub up: bool,
    /// Whether the bridge forwards for this port (false once it was unplugged and waits for the reaper).
    pub forwards: bool,
}

impl Observed {
    /// A host that shows what is asked for, but for the filters of its ports.
    #[must_use]
    pub fn in_line_with(desired: &Desired) -> Self {
        let shown =
            |port: &Port| ObservedPort { bridge: Some(port.bridge.clone()), up: true, forwards: true };
        Self {
            ports: desired.ports.iter().map(|(name, port)| (name.clone(), shown(port))).collect(),
            rules: Some(desired.rules.clone()),
            chains: desired.chains == Some(true),
            tunnels: desired.tunnels.iter().map(|device| (*device, true)).collect(),
            ..Self::default()
        }
    }

    /// Those that somebody may use: one that does not forward was unplugged.
    pub fn ports_in_use(&self) -> impl Iterator<Item = &IfName> {
        self.ports.iter().filter(|(_, port)| port.forwards).map(|(name, _)| name)
    }
}
