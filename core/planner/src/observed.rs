use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use hns_net::{IfAddr, IfName, Mac, Mtu};

use crate::desired::Forwarding;
use crate::rules::Element;

/// What the host shows of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Namespaces held by a bind mount in our folder.
    pub namespaces: BTreeSet<PathBuf>,
    pub switches: BTreeMap<IfName, ObservedSwitch>,
    pub ports: BTreeMap<IfName, ObservedPort>,
    /// The elements of our table; absent when the table is missing or not whole.
    pub rules: Option<BTreeSet<Element>>,
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
    /// Whether the datapath filters it. The host cannot tell: whoever asks the datapath as well fills it in.
    pub filter: bool,
}
