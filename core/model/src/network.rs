use std::collections::BTreeSet;
use std::net::IpAddr;

use hns_hcn::{
    self as hcn, ErrorCode, GatewayMode, IpSubnet, IpamType, NetworkFlags, NetworkType, Route, Subnet,
    SubnetFlags,
};
use hns_net::{Cidr, Family, Guid, IfName, Mtu, Uplink};

use crate::error::ModelError;
use crate::external::{self, Lan};
use crate::ipam::Pool;
use crate::mac_pool::MacPool;
use crate::prefix::{self, is_of_hosts};
use crate::{network_policies, overlay};

/// How many endpoints one bridge of a network takes. A Linux bridge has 1,023 ports, but a broadcast is copied
/// to each of them at once, and a processor's queue holds 1,000 frames (`net.core.netdev_max_backlog`): with
/// more ports the answer that follows the copies, or a copy itself, is lost. With 800, two bridges still get
/// all copies and answers through, one after the other.
pub const PORTS_PER_SEGMENT: u16 = 800;

/// How many bridges a network grows to.
pub const SEGMENTS_MAX: u16 = 29;

/// Key of `AdditionalParams` under which a MAC pool of the server's choice is marked in the record.
const GROWING: &str = "MacPoolChosen";

/// A network: its document with everything chosen, and what its endpoints share.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    pub(crate) id: Guid,
    pub(crate) document: hcn::Network,
    /// One pool a subnet, in the document's order.
    pub(crate) pools: Vec<Pool>,
    /// Addresses of endpoints that no pool gives: those in no subnet, since where the host has none on the LAN nobody knows its prefixes,
    /// and the gateway's own, where the host is the gateway by an endpoint.
    pub(crate) beside: BTreeSet<IpAddr>,
    pub(crate) macs: MacPool,
    pub(crate) endpoints: BTreeSet<Guid>,
    /// How many ports each segment carries.
    pub(crate) segments: Vec<u16>,
    /// Why its LAN does not serve its endpoints, if that is so.
    pub(crate) trouble: Option<String>,
    pub(crate) order: u64,
    /// Whether the bridge is there that it stands for, if it stands for one.
    pub(crate) is_present: bool,
}

/// What a network's creation depends on beside its document: ids, and what stands around it.
pub struct Surroundings<'a> {
    /// Used when the document brings no ID.
    pub id: Guid,
    /// A fresh id at each call, for subnets.
    pub fresh_id: &'a mut dyn FnMut() -> Guid,
    /// The prefixes that the host routes elsewhere (IPAM-7); of a network with an adapter, elsewhere than by that one.
    pub routes: &'a [Cidr],
}

impl Network {
    #[must_use]
    pub fn id(&self) -> Guid {
        self.id
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.document.name
    }

    #[must_use]
    pub fn kind(&self) -> NetworkType {
        self.document.kind
    }

    #[must_use]
    pub fn document(&self) -> &hcn::Network {
        &self.document
    }

    #[must_use]
    pub fn order(&self) -> u64 {
        self.order
    }

    /// Why its LAN does not serve its endpoints, if that is so.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    #[must_use]
    pub fn mtu(&self) -> Mtu {
        self.document.params.mtu.unwrap_or(Mtu::ETHERNET)
    }

    #[must_use]
    pub fn is_persistent(&self) -> bool {
        !self.document.flags.has(NetworkFlags::NON_PERSISTENT)
    }

    /// The bridge of the administrator's that it stands for, if it does.
    #[must_use]
    pub fn adopted(&self) -> Option<&IfName> {
        self.document.params.adopted_bridge.as_ref()
    }

    /// Whether that bridge is there.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.is_present
    }

    /// Why an address of this family is not ours to choose, if it is not: others on the LAN of a bridge have addresses that nobody
    /// has told us.
    pub(crate) fn refuses_choice(&self, family: Family) -> Option<ModelError> {
        let bridge = self.adopted()?.clone();
        let gives_out = self.pools.iter().any(|pool| pool.prefix().family() == family && pool.is_dynamic());
        (!gives_out).then(|| ModelError::AddressNeeded { network: self.name().to_owned(), bridge, family })
    }

    /// The LAN that its containers are on, if they are on one.
    #[must_use]
    pub fn lan(&self) -> Option<Lan> {
        self.uplink().map(Lan::Adapter).or_else(|| self.adopted().cloned().map(Lan::Bridge))
    }

    /// What its switch leads to, of a network on an external switch of ours.
    #[must_use]
    pub fn uplink(&self) -> Option<Uplink> {
        external::uplink_of(&self.document)
    }

    /// The identity of its switch, which on an external one is not the network's alone.
    #[must_use]
    pub fn switch_id(&self) -> Guid {
        self.uplink().map_or(self.id, |uplink| uplink.switch_id())
    }

    /// Whether the host has a port on the switch. On an external one it has none: it is on the LAN by its own adapter.
    #[must_use]
    pub fn has_host_port(&self) -> bool {
        has_host_port(&self.document)
    }

    /// Whether the host translates what its endpoints send beyond it, and what comes to ports that they publish; or routes it.
    #[must_use]
    pub fn has_way_out(&self) -> bool {
        self.kind() == NetworkType::Nat || overlay::is_hosted(&self.document)
    }

    /// Whether its prefixes mean something beyond its own containers: to the host, or on a LAN.
    pub(crate) fn leads_beyond_containers(&self) -> bool {
        self.has_host_port() || self.lan().is_some() || overlay::is_overlay(&self.document)
    }

    /// Whether the LAN gives its endpoints their addresses.
    #[must_use]
    pub fn has_dhcp(&self) -> bool {
        external::has_dhcp(&self.document)
    }

    /// The families of which it does.
    pub fn families_of_lan(&self) -> impl Iterator<Item = Family> {
        let asked = |family: &Family| external::asks_for(&self.document, *family);
        [Family::V4, Family::V6].into_iter().filter(asked)
    }

    pub fn prefixes(&self) -> impl Iterator<Item = Cidr> {
        self.document.subnets().filter_map(|subnet| subnet.prefix)
    }

    #[must_use]
    pub fn has_family(&self, family: Family) -> bool {
        self.prefixes().any(|prefix| prefix.family() == family)
    }

    /// The subnets with the host's address in each.
    pub fn gateways(&self) -> impl Iterator<Item = (Cidr, IpAddr)> {
        self.document.subnets().filter_map(|subnet| Some((subnet.prefix?, subnet.gateway()?)))
    }

    pub fn endpoints(&self) -> impl Iterator<Item = Guid> {
        self.endpoints.iter().copied()
    }

    #[must_use]
    pub fn gateway_mode(&self, family: Family) -> GatewayMode {
        self.document.params.gateway_mode.of(family)
    }

    #[must_use]
    pub fn mac_pool(&self) -> &MacPool {
        &self.macs
    }

    /// Whether the endpoint has the MAC address that its first IP address stands for in the pool.
    #[must_use]
    pub fn is_derived_mac(&self, endpoint: &crate::Endpoint) -> bool {
        let first = endpoint.addresses().next().map(hns_net::IfAddr::address);
        let pool = first.and_then(|first| self.pools.iter().find(|pool| pool.prefix().contains(first)));
        let offset = pool.zip(first).and_then(|(pool, first)| u64::try_from(pool.offset(first)).ok());
        let derived = offset.and_then(|offset| self.macs.ranges().first()?.nth(offset));
        derived.is_some() && derived == endpoint.mac()
    }

    #[must_use]
    pub fn policies(&self) -> &[hcn::Policy] {
        &self.document.policies
    }

    /// The address sets that rules of its endpoints may name.
    pub fn sets(&self) -> impl Iterator<Item = &hcn::SetPolicy> {
        self.policies().iter().filter_map(hcn::Policy::as_set)
    }

    /// How many endpoints are attached to it.
    #[must_use]
    pub fn ports_in_use(&self) -> usize {
        self.segments.iter().map(|ports| usize::from(*ports)).sum()
    }

    /// How many bridges beside the first the network has.
    #[must_use]
    pub fn extra_segments(&self) -> u16 {
        u16::try_from(self.segments.len().saturating_sub(1)).unwrap_or(SEGMENTS_MAX)
    }
}

pub(crate) fn has_host_port(document: &hcn::Network) -> bool {
    !matches!(document.kind, NetworkType::Private)
        && (!overlay::is_overlay(document) || overlay::is_hosted(document))
        && !external::is_external(document)
        && !document.flags.has(NetworkFlags::DISABLE_HOST_PORT)
}

/// Completes a document into a network, or says which field stands in the way. `others` are the networks
/// there are; nothing is changed.
pub(crate) fn complete<'n>(
    mut document: hcn::Network,
    others: impl Iterator<Item = &'n Network> + Clone,
    around: &mut Surroundings<'_>,
) -> Result<Network, ModelError> {
    let id = document.id.unwrap_or(around.id);
    document.id = Some(id);
    if document.name.is_empty() {
        document.name = id.to_string();
    }
    external::choose_source(&mut document);
    check_kind(&document)?;
    choose_families(&mut document)?;
    external::check_switch(&document, others.clone())?;
    let routes = if external::host_is_on(&document) { around.routes } else { &[] };
    choose_prefixes(&mut document, id, &others, routes)?;
    check_prefixes(&document, &others, routes)?;
    choose_gateways(&mut document)?;
    overlay::complete(&mut document, others.clone())?;
    name_subnets(&mut document, around);
    check_params(&document)?;
    let macs = choose_macs(&document, id, &others)?;
    Ok(assemble(id, document, macs))
}

/// The network of a record: everything was chosen when it was made.
pub(crate) fn restore(document: hcn::Network) -> Option<Network> {
    let id = document.id?;
    let mut macs = MacPool::given(document.mac_pool.clone());
    if document.params.others.contains_key(GROWING) {
        macs.set_growing();
    }
    Some(assemble(id, document, macs))
}

pub(crate) fn assemble(id: Guid, mut document: hcn::Network, mut macs: MacPool) -> Network {
    document.mac_pool = macs.ranges().to_vec();
    if macs.is_growing() {
        document.params.others.insert(GROWING.into(), true.into());
    }
    let pools = document.subnets().filter_map(|subnet| pool_of(&document, subnet)).collect();
    if let Some(gateway) = document.mac_pool.first().map(|range| range.start()) {
        // The switch's own address; nobody else holds one yet.
        let _ = macs.claim(gateway, id);
    }
    Network {
        id,
        document,
        pools,
        beside: BTreeSet::new(),
        macs,
        endpoints: BTreeSet::new(),
        segments: vec![0],
        trouble: None,
        order: 0,
        is_present: false,
    }
}

pub(crate) fn pool_of(document: &hcn::Network, subnet: &Subnet) -> Option<Pool> {
    let prefix = subnet.prefix?;
    let within = |range: &&Cidr| prefix.covers(**range);
    let mut ranges: Vec<Cidr> = document.params.ip_range.iter().filter(within).copied().collect();
    let gateway = subnet.gateway().filter(|_| subnet.flags.0 & SubnetFlags::DO_NOT_RESERVE_GATEWAY == 0);
    let reserved = gateway.into_iter().chain(document.params.aux_addresses.values().copied());
    if ranges.is_empty() && document.params.adopted_bridge.is_some() {
        return Some(Pool::of_named(prefix, reserved));
    }
    if ranges.is_empty() {
        ranges = subnet.ip_subnets.iter().map(|block| block.prefix).collect();
    }
    Some(Pool::new(prefix, ranges, reserved))
}

/// Each is an address of the host's and a route, which are set in one message to the kernel.
const SUBNETS_MAX: usize = 64;

fn check_kind(document: &hcn::Network) -> Result<(), ModelError> {
    const AVAILABLE: [NetworkType; 7] = [
        NetworkType::Nat,
        NetworkType::Overlay,
        NetworkType::Transparent,
        NetworkType::L2Bridge,
        NetworkType::L2Tunnel,
        NetworkType::Internal,
        NetworkType::Private,
    ];
    if !AVAILABLE.contains(&document.kind) {
        let problem = format!(
            "{} networks are not available; NAT, Overlay, Transparent, L2Bridge, L2Tunnel, Internal and Private are",
            document.kind.name()
        );
        return Err(ModelError::network("Type", problem, ErrorCode::INVALID_NETWORK_TYPE));
    }
    let subnets = document.subnets().count();
    if subnets > SUBNETS_MAX {
        let problem = format!("{subnets} subnets; a network has {SUBNETS_MAX} at most");
        return Err(ModelError::network("Ipams", problem, ErrorCode::INVALID_SUBNET));
    }
    network_policies::check(document, &[])?;
    external::check(document)?;
    overlay::check(document)?;
    external::check_subnets(document)?;
    let is_asking = |ipam: &hcn::Ipam| ipam.kind == IpamType::Dhcp && !external::has_dhcp(document);
    if let Some(place) = document.ipams.iter().position(is_asking) {
        let problem = format!("{} networks have no DHCP server to ask", document.kind.name());
        return Err(ModelError::network(format!("Ipams[{place}].Type"), problem, ErrorCode::INVALID_NETWORK));
    }
    let needs_host = match document.kind {
        NetworkType::Nat => Some("a NAT network needs its host port, which is the gateway"),
        NetworkType::Transparent | NetworkType::L2Bridge | NetworkType::L2Tunnel => {
            Some("the host is on the LAN by its own adapter, whatever its containers do")
        }
        _ => None,
    };
    if let Some(problem) = needs_host.filter(|_| document.flags.has(NetworkFlags::DISABLE_HOST_PORT)) {
        return Err(ModelError::network("Flags", problem, ErrorCode::INVALID_NETWORK));
    }
    let modes = document.params.gateway_mode;
    let routed = modes.v4 == GatewayMode::Routed || modes.v6 == GatewayMode::Routed;
    if routed && document.kind != NetworkType::Nat && !overlay::is_hosted(document) {
        let problem = format!("{} networks have no way out to route", document.kind.name());
        return Err(ModelError::network("AdditionalParams.GatewayMode", problem, ErrorCode::INVALID_NETWORK));
    }
    Ok(())
}

/// Gives every wanted family a subnet, with the prefix still open where none was named.
fn choose_families(document: &mut hcn::Network) -> Result<(), ModelError> {
    for ipam in &mut document.ipams {
        for subnet in &mut ipam.subnets {
            subnet.prefix = subnet.prefix.filter(|prefix| !prefix.is_default());
        }
    }
    if external::has_dhcp(document) {
        return Ok(());
    }
    let has = |document: &hcn::Network, family| {
        document.subnets().any(|subnet| subnet.prefix.is_some_and(|prefix| prefix.family() == family))
    };
    let open = document.subnets().filter(|subnet| subnet.prefix.is_none()).count();
    let (has_v4, has_v6) = (has(document, Family::V4), has(document, Family::V6));
    let want_v4 = document.params.enable_v4.unwrap_or(has_v4 || !has_v6);
    let want_v6 = document.params.enable_v6.unwrap_or(has_v6);
    for (family, has, wanted, field) in
        [(Family::V4, has_v4, want_v4, "EnableIPv4"), (Family::V6, has_v6, want_v6, "EnableIPv6")]
    {
        if has && !wanted {
            let problem = format!("false, but the document has an {family} subnet");
            return Err(ModelError::network(
                format!("AdditionalParams.{field}"),
                problem,
                ErrorCode::INVALID_NETWORK,
            ));
        }
    }
    if !want_v4 && !want_v6 {
        let problem = "a network needs IPv4, IPv6 or both";
        return Err(ModelError::network("AdditionalParams", problem, ErrorCode::INVALID_NETWORK));
    }
    // An open subnet stands for the first family that is wanted and has none; it keeps its place and flags.
    let lacking = [(want_v4 && !has_v4).then_some(Family::V4), (want_v6 && !has_v6).then_some(Family::V6)];
    let mut lacking: Vec<Family> = lacking.into_iter().flatten().collect();
    if open > lacking.len() {
        let problem = "a second subnet without a prefix; name the prefixes, or leave the list out";
        return Err(ModelError::network("Ipams", problem, ErrorCode::INVALID_SUBNET));
    }
    if document.ipams.is_empty() {
        document.ipams.push(hcn::Ipam::default());
    }
    for ipam in &mut document.ipams {
        for subnet in ipam.subnets.iter_mut().filter(|subnet| subnet.prefix.is_none()) {
            let family = lacking.remove(0);
            subnet.prefix = Some(family.default_route());
        }
    }
    for family in lacking {
        document.ipams[0].subnets.push(Subnet::of_prefix(Some(family.default_route())));
    }
    Ok(())
}

fn choose_prefixes<'n>(
    document: &mut hcn::Network,
    id: Guid,
    others: &(impl Iterator<Item = &'n Network> + Clone),
    routes: &[Cidr],
) -> Result<(), ModelError> {
    let named: Vec<Cidr> =
        document.subnets().filter_map(|subnet| subnet.prefix).filter(|prefix| !prefix.is_default()).collect();
    for ipam in &mut document.ipams {
        for subnet in &mut ipam.subnets {
            let Some(family) = subnet.prefix.filter(|prefix| prefix.is_default()).map(Cidr::family) else {
                continue;
            };
            let theirs = others.clone().flat_map(Network::prefixes);
            let taken: Vec<Cidr> = routes.iter().chain(&named).copied().chain(theirs).collect();
            let free = |candidate: &Cidr| !taken.iter().any(|prefix| prefix.overlaps(*candidate));
            let network = document.name.clone();
            subnet.prefix = Some(
                prefix::candidates(family, id)
                    .find(free)
                    .ok_or(ModelError::NoPrefixLeft { network, family })?,
            );
        }
    }
    Ok(())
}

fn check_prefixes<'n>(
    document: &hcn::Network,
    others: &(impl Iterator<Item = &'n Network> + Clone),
    routes: &[Cidr],
) -> Result<(), ModelError> {
    let network = &document.name;
    let mut seen: Vec<Cidr> = Vec::new();
    for (field, prefix) in fields_of_subnets(document) {
        if !is_of_hosts(prefix) {
            let problem = format!("{prefix} is not a block of unicast addresses for hosts");
            return Err(ModelError::network(field, problem, ErrorCode::INVALID_PREFIX));
        }
        if let Some(other) = seen.iter().find(|other| other.overlaps(prefix)) {
            let problem = format!("{prefix} overlaps {other} of the same network");
            return Err(ModelError::network(field, problem, ErrorCode::INVALID_SUBNET));
        }
        seen.push(prefix);
        for other in others.clone().filter(|other| external::meet(document, &other.document)) {
            if let Some(theirs) = other.prefixes().find(|theirs| theirs.overlaps(prefix)) {
                let (network, holder) = (network.clone(), other.name().to_owned());
                return Err(ModelError::PrefixTaken { network, prefix, other: theirs, holder });
            }
        }
        if let Some(route) = routes.iter().find(|route| route.overlaps(prefix)) {
            return Err(ModelError::PrefixRouted { network: network.clone(), prefix, route: *route });
        }
    }
    Ok(())
}

fn fields_of_subnets(document: &hcn::Network) -> impl Iterator<Item = (String, Cidr)> {
    document.ipams.iter().enumerate().flat_map(|(i, ipam)| {
        ipam.subnets.iter().enumerate().filter_map(move |(s, subnet)| {
            Some((format!("Ipams[{i}].Subnets[{s}].IpAddressPrefix"), subnet.prefix?))
        })
    })
}

fn choose_gateways(document: &mut hcn::Network) -> Result<(), ModelError> {
    let with_default = has_host_port(document) || overlay::is_overlay(document);
    for (i, ipam) in document.ipams.iter_mut().enumerate() {
        for (s, subnet) in ipam.subnets.iter_mut().enumerate() {
            let field = format!("Ipams[{i}].Subnets[{s}].Routes");
            choose_gateway(subnet, with_default, &field)?;
        }
    }
    Ok(())
}

fn choose_gateway(subnet: &mut Subnet, with_default: bool, field: &str) -> Result<(), ModelError> {
    let Some(prefix) = subnet.prefix else { return Ok(()) };
    if let Some(route) = subnet.routes.iter().find(|route| route.destination.family() != prefix.family()) {
        let problem = format!("{} is not of the family of {prefix}", route.destination);
        return Err(ModelError::network(field, problem, ErrorCode::INVALID_SUBNET));
    }
    match subnet.gateway() {
        Some(gateway) if !Pool::is_usable(prefix, gateway) => {
            let problem = format!("gateway {gateway} is not an address that a host in {prefix} can have");
            Err(ModelError::network(field, problem, ErrorCode::INVALID_SUBNET))
        }
        None if with_default => {
            let gateway = Pool::first_usable(prefix);
            let destination = prefix.family().default_route();
            subnet.routes.retain(|route| !route.is_default());
            subnet.routes.insert(0, Route { destination, next_hop: Some(gateway), metric: 0 });
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Gives subnets their ids.
fn name_subnets(document: &mut hcn::Network, around: &mut Surroundings<'_>) {
    for subnet in document.ipams.iter_mut().flat_map(|ipam| &mut ipam.subnets) {
        name_subnet(subnet, around.fresh_id);
    }
}

/// Gives a subnet its id, and the IP subnet that equals it when none is named (hcn-api 3.1).
pub(crate) fn name_subnet(subnet: &mut Subnet, fresh_id: &mut dyn FnMut() -> Guid) {
    subnet.id.get_or_insert_with(&mut *fresh_id);
    if subnet.ip_subnets.is_empty()
        && let Some(prefix) = subnet.prefix
    {
        subnet.ip_subnets.push(IpSubnet { id: None, prefix, flags: 0 });
    }
    for block in &mut subnet.ip_subnets {
        block.id.get_or_insert_with(&mut *fresh_id);
    }
}

pub(crate) fn check_params(document: &hcn::Network) -> Result<(), ModelError> {
    let prefixes: Vec<Cidr> = document.subnets().filter_map(|subnet| subnet.prefix).collect();
    let params = &document.params;
    if let Some(range) = params.ip_range.iter().find(|range| !prefixes.iter().any(|p| p.covers(**range))) {
        let problem = format!("{range} lies in no subnet of the network");
        return Err(ModelError::network("AdditionalParams.IpRange", problem, ErrorCode::INVALID_PREFIX));
    }
    for (name, address) in &params.aux_addresses {
        if !prefixes.iter().any(|prefix| prefix.contains(*address)) {
            let field = format!("AdditionalParams.AuxAddresses.{name}");
            let problem = format!("{address} lies in no subnet of the network");
            return Err(ModelError::network(field, problem, ErrorCode::INVALID_IP));
        }
    }
    for subnet in document.subnets() {
        let outside = |block: &&IpSubnet| subnet.prefix.is_some_and(|prefix| !prefix.covers(block.prefix));
        if let Some(block) = subnet.ip_subnets.iter().find(outside) {
            let problem = format!("{} does not lie within its subnet", block.prefix);
            return Err(ModelError::network(
                "Ipams[0].Subnets.IpSubnets",
                problem,
                ErrorCode::INVALID_IP_SUBNET,
            ));
        }
    }
    let v6 = prefixes.iter().any(|prefix| prefix.family() == Family::V6);
    if v6 && params.mtu.is_some_and(|mtu| mtu < Mtu::IPV6_MIN) {
        let problem = "a network with IPv6 needs at least 1280 (RFC 8200 section 5)";
        return Err(ModelError::network("AdditionalParams.Mtu", problem, ErrorCode::INVALID_NETWORK));
    }
    Ok(())
}

pub(crate) fn choose_macs<'n>(
    document: &hcn::Network,
    id: Guid,
    others: &(impl Iterator<Item = &'n Network> + Clone),
) -> Result<MacPool, ModelError> {
    if document.mac_pool.is_empty() {
        let clashes = |pool: &MacPool| others.clone().any(|other| other.macs.overlaps(pool));
        let mut turn = id;
        for _ in 0..=u8::MAX {
            let pool = MacPool::chosen(turn);
            if !clashes(&pool) {
                return Ok(pool);
            }
            let mut bytes = turn.bytes();
            bytes[0] = bytes[0].wrapping_add(1);
            turn = Guid::from_bytes(bytes);
        }
        return Ok(MacPool::chosen(id));
    }
    let mut pool = MacPool::given(document.mac_pool.clone());
    if document.params.others.contains_key(GROWING) {
        pool.set_growing();
    }
    if others.clone().any(|other| other.macs.overlaps(&pool)) {
        let problem = "a range overlaps the MAC pool of another network";
        return Err(ModelError::network("MacPool", problem, ErrorCode::INVALID_NETWORK));
    }
    Ok(pool)
}
