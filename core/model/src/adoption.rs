//! Adoption: a bridge of the administrator's that leads to a LAN is a network, under its own name and without anybody having made
//! it. It is never changed; what is of ours on it are ports.
//!
//! ```text
//!   the host's bridges ──► is_external_switch ──► World::follow_bridges ──► networks that appear, change, go
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hns_hcn::{self as hcn, Ipam, NetworkFlags, NetworkType, Route, Subnet};
use hns_net::{Cidr, Family, Guid, IfAddr, IfName, Mac, Mtu};

use crate::mac_pool::MacPool;
use crate::network::{self, Network};
use crate::world::World;

/// A bridge that is not ours, as the host shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    pub name: IfName,
    pub mac: Mac,
    pub mtu: Mtu,
    /// The host's own on it, but for link-local ones.
    pub addresses: BTreeSet<IfAddr>,
    /// To whom the host's default routes lead by it.
    pub routers: BTreeSet<IpAddr>,
    /// Its ports, but for ours.
    pub ports: BTreeMap<IfName, Device>,
}

/// What the port of a bridge is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// A link that no software has made: it has no kind. So are the ports of a switch chip.
    Hardware,
    Bond,
    Team,
    Veth {
        /// Whether its other end is in another namespace.
        leads_elsewhere: bool,
    },
    /// A VLAN, or another link that goes by a lower one of this namespace.
    On {
        lower: IfName,
        device: Box<Device>,
    },
    Other,
}

impl Device {
    /// Whether a bridge with this port leads to a LAN. A host that is a container has a veth for an adapter, which bears the name
    /// of one; those of containers have a bridge for a host, and other names.
    #[must_use]
    pub fn is_physical(&self, name: &IfName) -> bool {
        match self {
            Self::Hardware | Self::Bond | Self::Team => true,
            Self::Veth { leads_elsewhere } => {
                *leads_elsewhere && ADAPTERS.iter().any(|begin| name.as_str().starts_with(begin))
            }
            Self::On { lower, device } => device.is_physical(lower),
            Self::Other => false,
        }
    }
}

/// How the names of Ethernet adapters begin: the kernel's and those of systemd.
const ADAPTERS: [&str; 2] = ["eth", "en"];

/// The bridges of programs that have networks of their own, and what numbers them or is theirs to add.
const OF_PROGRAMS: [(&str, Rest); 15] = [
    ("docker0", Rest::Nothing),
    ("docker_gwbridge", Rest::Nothing),
    ("br-", Rest::TwelveHex),
    ("virbr", Rest::Anything),
    ("incusbr", Rest::Anything),
    ("lxdbr", Rest::Anything),
    ("lxcbr", Rest::Anything),
    ("podman", Rest::Anything),
    ("cni-podman", Rest::Anything),
    ("nerdctl", Rest::Anything),
    ("cni0", Rest::Nothing),
    ("cbr0", Rest::Nothing),
    ("kube-bridge", Rest::Nothing),
    ("weave", Rest::Nothing),
    ("hns", Rest::Anything),
];

#[derive(Clone, Copy)]
enum Rest {
    Nothing,
    TwelveHex,
    Anything,
}

impl Rest {
    fn fits(self, rest: &str) -> bool {
        match self {
            Self::Nothing => rest.is_empty(),
            Self::TwelveHex => rest.len() == 12 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()),
            Self::Anything => true,
        }
    }
}

/// Whether a bridge of this name belongs to a program that has networks of its own, or to us.
#[must_use]
pub fn is_of_a_program(bridge: &str) -> bool {
    OF_PROGRAMS.iter().any(|(begin, rest)| bridge.strip_prefix(begin).is_some_and(|r| rest.fits(r)))
}

/// Whether a bridge is an external switch of the administrator's.
#[must_use]
pub fn is_external_switch(bridge: &Bridge) -> bool {
    !is_of_a_program(bridge.name.as_str())
        && bridge.ports.iter().any(|(name, device)| device.is_physical(name))
}

/// The identity of an adopted network: its bridge is known by its name, to whoever configures the host and after each restart.
#[must_use]
pub fn network_id(bridge: &IfName) -> Guid {
    Guid::of("bridge ".bytes().chain(bridge.as_str().bytes()))
}

/// What is drawn by chance for this bridge, once and for all: on another host of its LAN it is something else, even if a bridge there
/// bears the same name.
fn chance(bridge: &Bridge) -> Guid {
    // What comes last in this hash reaches a few of its bits.
    const REST: [u8; 16] = [0; 16];
    Guid::of(bridge.mac.octets().into_iter().chain(bridge.name.as_str().bytes()).chain(REST))
}

/// What became of the networks that stand for bridges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followed {
    pub appeared: Vec<Guid>,
    /// Has another MTU, or its bridge is back; or other prefixes or routers.
    pub changed: Vec<Guid>,
    /// Those of them that have other prefixes or routers.
    pub renumbered: Vec<Guid>,
    /// Its bridge is gone, and nothing is on it. It is in the books until it is forgotten.
    pub idle: Vec<Guid>,
}

/// How the host's bridges differ from the networks that stand for them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference<'b> {
    new: Vec<&'b Bridge>,
    changed: Vec<&'b Bridge>,
    missed: BTreeMap<IfName, Guid>,
    /// The networks whose bridges are there no longer.
    lost: Vec<Guid>,
    /// Those whose bridges are not there and that nothing is on.
    idle: Vec<Guid>,
}

impl Network {
    /// Whether it stands for a bridge that is gone, and nothing is on it: it goes with the next look at the bridges.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.adopted().is_some() && !self.is_present && !self.is_used()
    }

    /// Whether anybody has put something on it that is not to go with its bridge: endpoints, or rules for those to come.
    fn is_used(&self) -> bool {
        let document = &self.document;
        let is_bare = document.policies.is_empty() && document.dns == hcn::Dns::default();
        !self.endpoints.is_empty() || !is_bare || document.params.port != hcn::PortParams::default()
    }
}

impl World {
    /// Whether the bridges of the administrator's are other ones than the networks that stand for them.
    #[must_use]
    pub fn is_behind(&self, seen: &[Bridge]) -> bool {
        let unchanged = Difference { missed: self.missed_bridges.clone(), ..Difference::default() };
        self.difference(seen) != unchanged
    }

    /// Takes over which bridges of the administrator's there are.
    pub fn follow_bridges(&mut self, seen: &[Bridge]) -> Followed {
        let difference = self.difference(seen);
        let ids = |bridges: &[&Bridge]| bridges.iter().map(|bridge| network_id(&bridge.name)).collect();
        let (appeared, changed) = (ids(&difference.new), ids(&difference.changed));
        let mut renumbered = Vec::new();
        difference.new.into_iter().for_each(|bridge| self.adopt(bridge));
        for bridge in difference.changed {
            renumbered.extend(self.follow_bridge(bridge));
        }
        for id in difference.lost {
            if let Ok(network) = self.network_mut(id) {
                network.is_present = false;
            }
        }
        self.missed_bridges = difference.missed;
        Followed { appeared, changed, renumbered, idle: difference.idle }
    }

    fn difference<'b>(&self, seen: &'b [Bridge]) -> Difference<'b> {
        let mut difference = Difference::default();
        let mut there = BTreeSet::new();
        for bridge in seen.iter().filter(|bridge| is_external_switch(bridge)) {
            let id = network_id(&bridge.name);
            there.insert(id);
            if let Ok(network) = self.network(id) {
                if !network.is_present || described(network, bridge) != network.document {
                    difference.changed.push(bridge);
                }
            } else if let Some(holder) = self.networks().find(|other| other.name() == bridge.name.as_str()) {
                difference.missed.insert(bridge.name.clone(), holder.id());
            } else {
                difference.new.push(bridge);
            }
        }
        for network in self.networks().filter(|network| network.adopted().is_some()) {
            if there.contains(&network.id) {
                continue;
            }
            if network.is_present {
                difference.lost.push(network.id);
            }
            if !network.is_used() {
                difference.idle.push(network.id);
            }
        }
        difference
    }

    /// The bridges that would be networks if another network had not their name, and which one has it.
    pub fn missed_bridges(&self) -> impl Iterator<Item = (&IfName, Guid)> {
        self.missed_bridges.iter().map(|(bridge, holder)| (bridge, *holder))
    }

    fn adopt(&mut self, bridge: &Bridge) {
        let id = network_id(&bridge.name);
        let mut document = hcn::Network {
            id: Some(id),
            name: bridge.name.to_string(),
            owner: None,
            kind: NetworkType::Transparent,
            flags: NetworkFlags::default(),
            policies: Vec::new(),
            mac_pool: Vec::new(),
            dns: hcn::Dns::default(),
            ipams: Vec::new(),
            params: hcn::NetworkParams {
                adopted_bridge: Some(bridge.name.clone()),
                ..hcn::NetworkParams::default()
            },
        };
        describe(&mut document, bridge);
        let macs = network::choose_macs(&document, chance(bridge), &self.networks.values())
            .unwrap_or_else(|_| MacPool::chosen(chance(bridge)));
        let network = Network { is_present: true, ..network::assemble(id, document, macs) };
        self.insert_network(network);
    }

    /// Brings a network in line with its bridge; says which it is if it has other subnets by that.
    fn follow_bridge(&mut self, bridge: &Bridge) -> Option<Guid> {
        let before = self.network(network_id(&bridge.name)).ok()?;
        let document = described(before, bridge);
        let renumbered = (document.ipams != before.document.ipams).then_some(before.id);
        let mut after = Network { document, is_present: true, ..before.clone() };
        self.refill_pools(&mut after);
        let id = after.id;
        self.networks.insert(id, after);
        renumbered
    }

    /// Pools of the network's subnets, with what its endpoints and engines hold.
    fn refill_pools(&self, network: &mut Network) {
        let document = &network.document;
        network.pools = document.subnets().filter_map(|subnet| network::pool_of(document, subnet)).collect();
        self.take_over_leases(network);
        network.beside.clear();
        for endpoint in network.endpoints.iter().filter_map(|id| self.endpoint(*id).ok()) {
            for address in endpoint.addresses().map(IfAddr::address) {
                match network.pools.iter_mut().find(|pool| pool.prefix().contains(address)) {
                    // The host may have taken it for itself meanwhile: it is the endpoint's all the same.
                    Some(pool) => _ = pool.claim(address),
                    None => _ = network.beside.insert(address),
                }
            }
        }
    }
}

fn described(network: &Network, bridge: &Bridge) -> hcn::Network {
    let mut document = network.document.clone();
    describe(&mut document, bridge);
    document
}

/// What the bridge says of its network. Without an address, the prefixes stay that it had before: addresses come and go.
fn describe(document: &mut hcn::Network, bridge: &Bridge) {
    document.params.mtu = Some(bridge.mtu);
    let prefixes = prefixes(bridge);
    if prefixes.is_empty() {
        return;
    }
    let hosts = bridge.addresses.iter().map(|address| address.address());
    document.params.aux_addresses =
        hosts.enumerate().map(|(place, address)| (format!("host{place}"), address)).collect();
    let blocks = prefixes.iter().filter(|prefix| prefix.family() == Family::V6);
    document.params.ip_range = blocks
        .filter_map(|prefix| {
            let mut former = document.params.ip_range.iter().copied();
            former.find(|block| prefix.covers(*block)).or_else(|| block_of(*prefix, chance(bridge)))
        })
        .collect();
    let former: Vec<Subnet> = document.subnets().cloned().collect();
    let subnet = |prefix: Cidr| {
        let same = former.iter().find(|subnet| subnet.prefix == Some(prefix)).cloned();
        let mut subnet = same.unwrap_or_else(|| Subnet::of_prefix(Some(prefix)));
        let destination = prefix.family().default_route();
        let router = bridge.routers.iter().find(|router| prefix.contains(**router));
        let route = router.map(|router| Route { destination, next_hop: Some(*router), metric: 0 });
        subnet.routes = route.into_iter().collect();
        network::name_subnet(&mut subnet, &mut ids_of(bridge, prefix));
        subnet
    };
    let subnets = prefixes.into_iter().map(subnet).collect();
    document.ipams = vec![Ipam { subnets, ..Ipam::default() }];
}

/// Ids of what a subnet consists of, which are the same after each restart.
fn ids_of(bridge: &Bridge, prefix: Cidr) -> impl FnMut() -> Guid + '_ {
    let mut number = 0;
    move || {
        number += 1;
        Guid::of(format!("bridge {} {prefix} {number}", bridge.name).into_bytes())
    }
}

/// A block of 65,536 addresses that nobody else on the LAN has, as far as chance goes: in a prefix of IPv4 there is none.
fn block_of(prefix: Cidr, chance: Guid) -> Option<Cidr> {
    const BLOCK: u8 = 112;
    const LONGEST: u8 = 80;
    let IpAddr::V6(network) = prefix.network() else { return None };
    let hosts = u128::MAX.checked_shr(prefix.length().into()).filter(|_| prefix.length() <= LONGEST)?;
    let address = u128::from(network) | (u128::from_be_bytes(chance.bytes()) & hosts);
    Some(IfAddr::new(IpAddr::V6(address.into()), BLOCK).ok()?.prefix())
}

/// The prefixes of the LAN: those of the host's addresses on it that say more than that address.
fn prefixes(bridge: &Bridge) -> Vec<Cidr> {
    let mut all: Vec<Cidr> = bridge
        .addresses
        .iter()
        .filter(|address| address.length() < address.family().bits())
        .map(|address| address.prefix())
        .collect();
    all.sort_by_key(|prefix| (prefix.family(), prefix.length(), *prefix));
    let mut kept: Vec<Cidr> = Vec::new();
    for prefix in all {
        if !kept.iter().any(|wider| wider.overlaps(prefix)) {
            kept.push(prefix);
        }
    }
    kept
}

#[cfg(test)]
mod tests;
