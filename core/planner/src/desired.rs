use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hns_net::{Cidr, Guid, IfAddr, IfName, Mac, Mtu, Uplink};
use hns_vfp::Port as Policy;
use hns_vfp::model::{Overlay, Sets};

use crate::rules::Element;

/// Everything the host should show, or the part of it that belongs to one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    pub namespaces: BTreeMap<PathBuf, NamespaceSpec>,
    pub switches: BTreeMap<IfName, Switch>,
    pub ports: BTreeMap<IfName, Port>,
    /// What each port's filter holds its endpoint to.
    pub policies: BTreeMap<IfName, Arc<Policy>>,
    /// The address sets that policies name, by network; a network without any is not among them.
    pub sets: BTreeMap<Guid, Arc<Sets>>,
    /// What this host's programs know of each overlay.
    pub overlays: BTreeMap<Guid, Arc<Overlay>>,
    /// The VXLAN devices, which all overlays of a UDP port share that are encrypted, or that are not.
    pub tunnels: BTreeSet<TunnelDevice>,
    /// What adapters take in for containers beside the host.
    pub stations: BTreeSet<Station>,
    /// The elements of our table's sets and maps.
    pub rules: BTreeSet<Element>,
    /// Whether our table has its chains, which every packet of the host passes: only while there is something that they serve.
    /// Absent where this is a part that they do not depend on.
    pub chains: Option<bool>,
    pub forwarding: Forwarding,
}

/// Which families the host must forward for us. Turning one off again is never ours to do: others may
/// have come to rely on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forwarding {
    pub v4: bool,
    pub v6: bool,
}

/// A network namespace that we make and own, held by a bind mount at its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceSpec {
    pub path: PathBuf,
}

/// A MAC address that an adapter takes in although it is not its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Station {
    pub adapter: IfName,
    pub mac: Mac,
}

/// A virtual switch: a Linux bridge, and further bridges joined to it when it outgrows one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    pub name: IfName,
    pub mac: Mac,
    pub mtu: Mtu,
    /// Shown by `ip link` as the alias, so that an operator sees which network it is.
    pub alias: String,
    /// The host's addresses on the switch: the gateways.
    pub gateways: BTreeSet<IfAddr>,
    /// Bridges beside the first; a Linux bridge takes 1,023 ports. See [`Switch::segment_name`].
    pub extra_segments: u16,
    /// Whether the host has a port on it: the first bridge's own device. Without one (type Private) that device has
    /// no address, answers no ARP and forwards nothing, as those of the further segments.
    pub hosted: bool,
    /// Whether ports on it may be published on the host's loopback addresses, which needs
    /// `route_localnet` (IPv4) and a `local ::1` route on the bridge (IPv6).
    pub loopback: bool,
    /// Of an external switch: what it leads to. One port of its bridge stands for that; see [`Switch::uplink_port`].
    pub uplink: Option<Uplink>,
}

impl Switch {
    /// The port of an external switch's bridge that stands for the wire: `hnw` and the digits of the switch.
    #[must_use]
    pub fn uplink_port(switch: &IfName) -> Option<IfName> {
        format!("hnw{}", switch.as_str().strip_prefix("hns")?).parse().ok()
    }

    /// Segment 0 is the bridge itself. The others are `NAME.1`, `NAME.2`, ...
    #[must_use]
    pub fn segment_name(switch: &IfName, segment: u16) -> Option<IfName> {
        if segment == 0 { Some(switch.clone()) } else { format!("{switch}.{segment}").parse().ok() }
    }
}

/// The VXLAN device of a UDP port: of overlays in clear (`hnx4789`), or of encrypted ones (`hne4789`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TunnelDevice {
    pub udp_port: u16,
    pub encrypted: bool,
}

impl TunnelDevice {
    #[must_use]
    pub fn name(self) -> IfName {
        let name = format!("{}{}", if self.encrypted { "hne" } else { "hnx" }, self.udp_port);
        name.parse().unwrap_or_else(|_| unreachable!("three letters and a number make an interface name"))
    }

    /// The device with this name, if it is a name of one.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let (encrypted, number) = name
            .strip_prefix("hne")
            .map(|number| (true, number))
            .or_else(|| Some((false, name.strip_prefix("hnx")?)))?;
        Some(Self { udp_port: number.parse().ok()?, encrypted })
    }

    /// By which an overlay sends, and takes what is for it.
    #[must_use]
    pub const fn of(overlay: &Overlay) -> Self {
        Self { udp_port: overlay.udp_port, encrypted: overlay.encryption.is_some() }
    }

    /// By which what is for an encrypted overlay would come in clear.
    #[must_use]
    pub fn refused_by(overlay: &Overlay) -> Option<Self> {
        overlay.encryption.as_ref().map(|_| Self { udp_port: overlay.udp_port, encrypted: false })
    }
}

/// Into which namespace the container end of a port goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The host's own namespace (an endpoint of the host itself).
    Host,
    /// The namespace this path names, such as `/run/netns/x` or `/proc/1234/ns/net`.
    Path(PathBuf),
    /// An engine that finds the vNIC in the host's own namespace, moves it by itself and sets it up there.
    Engine,
}

/// A switch port: a veth whose host end is a bridge port and whose other end is the vNIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The host end.
    pub name: IfName,
    /// The bridge (segment) it is plugged into.
    pub bridge: IfName,
    pub target: Target,
    /// The vNIC's name in the target.
    pub interface: IfName,
    pub mac: Mac,
    pub mtu: Mtu,
    pub addresses: Vec<IfAddr>,
    pub routes: Vec<Route>,
    /// When an address is no longer its own, in seconds since the host's boot: one of a lease that ends. The kernel takes it away then,
    /// whoever is there to renew it or not.
    pub until: BTreeMap<IpAddr, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub destination: Cidr,
    /// Absent: on-link.
    pub via: Option<IpAddr>,
    /// Linux's priority: lower wins.
    pub metric: u32,
}
