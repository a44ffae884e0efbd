//! What is asked of a switch port, in the datapath's own terms: no documents, no maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hns_abi::Direction;
use hns_net::{Cidr, Family, Guid, Mac, PortRange, PublicKey, UplinkMode, VlanId, Vni};

/// A switch port with the policies of its endpoint and of its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub endpoint: Guid,
    pub network: Guid,
    pub mac: Mac,
    pub addresses: Vec<IpAddr>,
    pub guards: Guards,
    /// Set when the policy could not be programmed: nothing passes.
    pub blocked: bool,
    /// DisableInterComputeCommunication: talks to no other port of its network.
    pub quiet: bool,
    /// Its vNIC is in the host's own namespace, or a capture runs: no short way into the namespace.
    pub plain_redirect: bool,
    /// Its switch, if that is an external one: networks share it, so that all their ports are neighbours, and what is for none of them
    /// goes to the adapter.
    pub external: Option<Guid>,
    /// The wire of its external switch sends everything back: whatever leaves the port goes there.
    pub reflected: bool,
    /// On an overlay: what is for no port of this host goes to its router, and into the tunnel.
    pub overlay: bool,
    /// By family, IPv4 first: the host routes for it, and what comes for it by the one MAC address of the wire is the host's to forward.
    pub behind_host: [bool; 2],
    /// What the host sends to it or forwards must have passed the host's rules.
    pub ruled: bool,
    /// On a network without a way out: the addresses that the host has there, and the broadcast ones. What leaves the port for the host
    /// goes to one of them, or to another port of the network.
    pub confined: Option<Vec<IpAddr>>,
    /// By [`Direction::index`].
    pub acl: [Acl; 2],
    /// By [`Direction::index`].
    pub meters: [Option<Rate>; 2],
}

impl Port {
    /// Among whose stations it is.
    #[must_use]
    pub fn switch(&self) -> Guid {
        self.external.unwrap_or(self.network)
    }

    /// Whether what comes from the wire for this address of it is the host's to forward. Nobody routes addresses of the link.
    #[must_use]
    pub fn is_behind_host(&self, address: IpAddr) -> bool {
        let [v4, v6] = self.behind_host;
        match address {
            IpAddr::V4(_) => v4,
            IpAddr::V6(address) => v6 && !address.is_unicast_link_local(),
        }
    }

    /// Whether a rule of it names an address set.
    #[must_use]
    pub fn names_sets(&self) -> bool {
        self.acl.iter().flat_map(Acl::all_rules).any(|rule| rule.matches.sets().next().is_some())
    }
}

/// What the security layer holds a container to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guards {
    /// Source MAC and IP, ARP and neighbour discovery must be the endpoint's.
    pub spoofing: bool,
    /// No router advertisements and redirects from containers (RFC 6105).
    pub router_advertisements: bool,
    /// No DHCP server's messages from containers.
    pub dhcp_servers: bool,
}

impl Guards {
    pub const ALL: Self = Self { spoofing: true, router_advertisements: true, dhcp_servers: true };
    pub const NONE: Self = Self { spoofing: false, router_advertisements: false, dhcp_servers: false };
}

/// The rules of one direction: tiers in their order, then the ordinary rules, then the fallback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// By ascending `Order`.
    pub tiers: Vec<Tier>,
    /// By ascending priority; of equals Block before Allow (hcn-api 5.5).
    pub rules: Vec<Rule>,
    pub fallback: Verdict,
}

impl Acl {
    /// All rules, in the order in which they are asked.
    pub fn all_rules(&self) -> impl Iterator<Item = &Rule> {
        self.tiers.iter().flat_map(|tier| &tier.rules).chain(&self.rules)
    }

    #[must_use]
    pub const fn open() -> Self {
        Self { tiers: Vec::new(), rules: Vec::new(), fallback: Verdict::Allow }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tiers.is_empty() && self.rules.is_empty()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Block,
    Allow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Block,
    Allow,
    /// Of a tier: the next tier decides.
    Pass,
    /// Would block, and is only watched: what comes after decides.
    Observe,
}

/// A tier: its first matching rule decides; without one the next tier does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    pub name: String,
    pub order: u16,
    /// By ascending priority.
    pub rules: Vec<Rule>,
}

/// Which policy a rule came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    Endpoint,
    Network,
    Tier,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The policy's `Id`, a free label; empty when it has none.
    pub id: String,
    pub origin: Origin,
    pub priority: u16,
    pub action: Action,
    pub matches: Match,
}

/// The condition of a rule; an empty list stands for "any". Local is the endpoint's side in both directions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    pub protocols: Vec<u8>,
    pub local: Addresses,
    pub remote: Addresses,
    pub local_ports: Vec<PortRange>,
    pub remote_ports: Vec<PortRange>,
    /// Of ICMP and ICMPv6.
    pub icmp: Vec<IcmpType>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IcmpType {
    pub kind: u8,
    /// Absent: all codes.
    pub code: Option<u8>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Addresses {
    #[default]
    Any,
    /// In one of them.
    Prefixes(Vec<Cidr>),
    /// In all of these sets of the port's network, by id (hcn-api 5.6). One that the network does not have is empty.
    Sets(Vec<String>),
}

impl Addresses {
    #[must_use]
    pub fn sets(&self) -> &[String] {
        match self {
            Self::Sets(ids) => ids,
            Self::Any | Self::Prefixes(_) => &[],
        }
    }
}

impl Match {
    /// The ids of the sets that it names.
    pub fn sets(&self) -> impl Iterator<Item = &String> {
        self.local.sets().iter().chain(self.remote.sets())
    }
}

/// The address sets of a network by id, nested ones resolved. Rules name them, so that a change of a set changes no rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sets(BTreeMap<String, Arc<[Cidr]>>);

impl Sets {
    #[must_use]
    pub fn new(sets: impl IntoIterator<Item = (String, Vec<Cidr>)>) -> Self {
        let sorted = |mut members: Vec<Cidr>| {
            members.sort_unstable();
            members.dedup();
            members.into()
        };
        Self(sets.into_iter().map(|(id, members)| (id, sorted(members))).collect())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &[Cidr])> {
        self.0.iter().map(|(id, members)| (id, &**members))
    }

    /// In order; none of a set that is not there.
    #[must_use]
    pub fn members(&self, id: &str) -> &[Cidr] {
        self.0.get(id).map_or(&[], |members| members)
    }

    /// The ids of sets that have other members in `other`.
    #[must_use]
    pub fn changed<'s>(&'s self, other: &'s Self) -> BTreeSet<&'s str> {
        let ids = self.0.keys().chain(other.0.keys()).map(String::as_str);
        ids.filter(|id| self.members(id) != other.members(id)).collect()
    }

    /// These and, under other ids, those of `other`.
    #[must_use]
    pub fn with_those_of(&self, other: &Self) -> Self {
        let mut sets = other.0.clone();
        sets.extend(self.0.iter().map(|(id, members)| (id.clone(), Arc::clone(members))));
        Self(sets)
    }
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub bytes_per_second: u64,
    pub burst_bytes: u64,
}

/// Where an external switch meets its adapter, in numbers of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub adapter: u32,
    pub vlan: Option<VlanId>,
    /// The adapter's own address, which is the host's on that LAN.
    pub mac: Mac,
    /// The bridge's port that stands for the wire.
    pub port: u32,
    /// How its ports show on the wire: layer l2.
    pub mode: UplinkMode,
}

/// A network whose containers are on several hosts, as this one knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The MAC address of the router of this host's part, which is nowhere but in the programs.
    pub router: Mac,
    /// Where its tunnels end on this host.
    pub provider: IpAddr,
    /// At which of its addresses the router answers.
    pub gateways: BTreeSet<IpAddr>,
    /// Under which VNIs others send to this host's part.
    pub vnis: BTreeSet<Vni>,
    /// The host has a port on it, with the router's MAC address: what is for nobody else is for the host.
    pub hosted: bool,
    /// The UDP port of the tunnel.
    pub udp_port: u16,
    /// Small packets go past the VXLAN device where they can, which is the same to everybody but the host's firewall.
    pub direct: bool,
    /// What goes from host to host is encrypted: all provider addresses here are those inside of that.
    pub encryption: Option<Encryption>,
    /// What other hosts have of it.
    pub routes: BTreeMap<Cidr, Route>,
}

/// Between whom what an overlay sends is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// Where it ends on this host.
    pub provider: IpAddr,
    /// Where it ends on the others.
    pub peers: BTreeMap<PublicKey, IpAddr>,
}

/// The VXLAN devices of an overlay, by the numbers of their links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Devices {
    pub tunnel: u32,
    /// Of an encrypted overlay: by which it would come in clear.
    pub clear: Option<u32>,
}

/// The host that has a prefix of an overlay, or a single endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub provider: IpAddr,
    pub vni: Vni,
    /// For whom a frame to there is: the host's router, or the endpoint.
    pub station: Mac,
    /// It is an endpoint on one link with those of this host: each knows the other's MAC address.
    pub on_link: bool,
}

/// What the longest prefix has that contains an address.
#[must_use]
pub fn longest<T>(prefixes: &BTreeMap<Cidr, T>, address: IpAddr) -> Option<&T> {
    let lengths = (0..=Family::of(address).bits()).rev();
    lengths.filter_map(|length| prefixes.get(&Cidr::new(address, length).ok()?)).next()
}

/// All that policies ask of the ports of one host: what the interpreter and the tables are made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Switchboard {
    /// By the number of the host end's link.
    pub ports: BTreeMap<u32, Port>,
    /// By network.
    pub sets: BTreeMap<Guid, Arc<Sets>>,
    /// By external switch.
    pub uplinks: BTreeMap<Guid, Place>,
    /// By external switch: the addresses that the host itself has there.
    pub hosts_own: BTreeMap<Guid, BTreeSet<IpAddr>>,
    /// By network.
    pub overlays: BTreeMap<Guid, (Devices, Arc<Overlay>)>,
}

/// Of a network without any.
static NO_SETS: Sets = Sets(BTreeMap::new());

impl Switchboard {
    /// The sets that the rules of this port name.
    #[must_use]
    pub fn sets_of(&self, port: &Port) -> &Sets {
        self.sets.get(&port.network).map_or(&NO_SETS, |sets| sets)
    }
}

/// By direction.
#[must_use]
pub fn both(inward: Acl, outward: Acl) -> [Acl; 2] {
    let mut acl = [Acl::open(), Acl::open()];
    acl[Direction::In.index()] = inward;
    acl[Direction::Out.index()] = outward;
    acl
}
