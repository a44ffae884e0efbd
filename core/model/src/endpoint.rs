use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hns_hcn::{
    self as hcn, EndpointFlags, ErrorCode, GatewayMode, NetworkType, PolicySettings, Route, RuleDirection,
};
use hns_net::{Cidr, Family, Guid, IfAddr, IfName, Mac, Mtu};

use crate::dhcp::{LanLease, LeaseKind};
use crate::error::ModelError;
use crate::network::Network;
use crate::outbound;
use crate::overlay::provider_of;
use crate::remote;

/// HNS's endpoint states (hcn-api 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointState {
    Created = 1,
    Attached = 2,
    AttachedSharing = 3,
    Detached = 4,
    Degraded = 5,
}

/// An endpoint: its document with everything chosen, and where it is plugged in.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    pub(crate) id: Guid,
    pub(crate) network: Guid,
    pub(crate) document: hcn::Endpoint,
    pub(crate) attachment: Option<Attachment>,
    /// How often it was attached; names its port, so that a port's name is never used twice.
    pub(crate) attachments: u32,
    /// Whether its creation is complete: until then it holds addresses but is shown to nobody.
    pub(crate) settled: bool,
    /// Why the host does not show what is asked for, if it does not.
    pub(crate) trouble: Option<String>,
    pub(crate) contest: Option<String>,
    /// What it has from the LAN, on a network whose addresses come from there.
    pub(crate) leases: BTreeMap<LeaseKind, LanLease>,
    /// Why it has no such lease, or will have none soon.
    pub(crate) lease_trouble: BTreeMap<LeaseKind, String>,
    pub(crate) order: u64,
}

/// Where an endpoint is plugged in, and under which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub seat: Seat,
    /// The vNIC's name where it is made.
    pub interface: IfName,
    /// The switch port: the name of the host end.
    pub port: IfName,
    /// Which of the network's bridges carries it.
    pub segment: u16,
}

/// Who has the vNIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seat {
    /// A namespace, in which it is made.
    Namespace {
        id: Guid,
        /// How many joined the namespace before it.
        order: u32,
    },
    /// An engine that moves it by itself into the sandbox behind this path, and sets it up there (Docker).
    Sandbox(PathBuf),
}

impl Attachment {
    /// The namespace it is in; none for one that an engine moves by itself.
    #[must_use]
    pub fn namespace(&self) -> Option<Guid> {
        match self.seat {
            Seat::Namespace { id, .. } => Some(id),
            Seat::Sandbox(_) => None,
        }
    }

    /// How many joined the namespace before it.
    #[must_use]
    pub fn order(&self) -> u32 {
        match self.seat {
            Seat::Namespace { order, .. } => order,
            Seat::Sandbox(_) => 0,
        }
    }

    /// The sandbox of the engine that moves it.
    #[must_use]
    pub fn sandbox(&self) -> Option<&Path> {
        match &self.seat {
            Seat::Namespace { .. } => None,
            Seat::Sandbox(path) => Some(path),
        }
    }
}

impl Endpoint {
    #[must_use]
    pub fn id(&self) -> Guid {
        self.id
    }

    #[must_use]
    pub fn network(&self) -> Guid {
        self.network
    }

    #[must_use]
    pub fn attachment(&self) -> Option<&Attachment> {
        self.attachment.as_ref()
    }

    #[must_use]
    pub fn attachments(&self) -> u32 {
        self.attachments
    }

    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    #[must_use]
    pub fn order(&self) -> u64 {
        self.order
    }

    /// Its own, apart from what all endpoints of the host suffer from ([`World::trouble_of`]).
    ///
    /// [`World::trouble_of`]: crate::World::trouble_of
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Why one of its host ports is somebody else's as well.
    #[must_use]
    pub fn contest(&self) -> Option<&str> {
        self.contest.as_deref()
    }

    /// The document with its namespace, as it is answered and stored.
    #[must_use]
    pub fn document(&self) -> hcn::Endpoint {
        let mut document = self.document.clone();
        document.namespace = self.attachment.as_ref().and_then(Attachment::namespace);
        document
    }

    /// As it is when all is well.
    pub(crate) fn state(&self) -> EndpointState {
        match (&self.attachment, self.attachments) {
            (Some(attachment), _) => match attachment.seat {
                Seat::Namespace { .. } => EndpointState::AttachedSharing,
                Seat::Sandbox(_) => EndpointState::Attached,
            },
            (None, 0) => EndpointState::Created,
            (None, _) => EndpointState::Detached,
        }
    }

    #[must_use]
    pub fn mac(&self) -> Option<Mac> {
        self.document.mac
    }

    pub fn addresses(&self) -> impl Iterator<Item = IfAddr> {
        self.document.addresses.iter().filter_map(|configured| {
            let address = configured.address?;
            let whole = Family::of(address).bits();
            IfAddr::new(address, configured.prefix_length.unwrap_or(whole)).ok()
        })
    }

    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.document.routes
    }

    #[must_use]
    pub fn gateway_priority(&self) -> i32 {
        self.document.params.gateway_priority
    }

    #[must_use]
    pub fn has_flag(&self, flag: u32) -> bool {
        self.document.flags.has(flag)
    }

    /// The MTU of its own, if a policy sets one.
    #[must_use]
    pub fn mtu(&self) -> Option<Mtu> {
        self.document.policies.iter().find_map(|policy| match policy.meaning {
            PolicySettings::InterfaceParameters { mtu } => Some(mtu),
            _ => None,
        })
    }

    #[must_use]
    pub fn policies(&self) -> &[hcn::Policy] {
        &self.document.policies
    }

    /// How its policies have the source of what it sends translated.
    pub fn outbound_nats(&self) -> impl Iterator<Item = &hcn::OutboundNat> {
        self.document.policies.iter().filter_map(|policy| match &policy.meaning {
            PolicySettings::OutboundNat(nat) => Some(nat),
            _ => None,
        })
    }

    pub fn port_mappings(&self) -> impl Iterator<Item = &hcn::PortMapping> {
        self.document.policies.iter().filter_map(hcn::Policy::as_port_mapping)
    }
}

/// Both are set in one message to the kernel.
const ADDRESSES_MAX: usize = 64;
const ROUTES_MAX: usize = 256;

/// Refuses what an endpoint of this network cannot have, before anything is taken.
pub(crate) fn check(document: &hcn::Endpoint, network: &Network) -> Result<(), ModelError> {
    let unsupported = [(4, "EnableMirroring"), (32, "EnableDhcp")];
    for (flag, name) in unsupported {
        if document.flags.has(flag) {
            let problem = format!("{name} is not available on {} networks", network.kind().name());
            return Err(ModelError::endpoint("Flags", problem, ErrorCode::REQUEST_UNSUPPORTED));
        }
    }
    if remote::is_remote(document) {
        return remote::check(document, network);
    }
    if document.flags.has(EndpointFlags::DISABLE_ICC) && !network.leads_beyond_containers() {
        let problem = "an endpoint that talks to no other needs a host on its network, or a LAN, to talk to";
        return Err(ModelError::endpoint("Flags", problem, ErrorCode::REQUEST_UNSUPPORTED));
    }
    check_policies(document, network)?;
    for (field, count, most) in [
        ("IpConfigurations", document.addresses.len(), ADDRESSES_MAX),
        ("Routes", document.routes.len(), ROUTES_MAX),
    ] {
        if count > most {
            let problem = format!("{count} entries; an endpoint has {most} at most");
            return Err(ModelError::endpoint(field, problem, ErrorCode::INVALID_ENDPOINT));
        }
    }
    if network.has_dhcp() && !document.addresses.is_empty() {
        let problem = format!("network \"{}\" takes its addresses from the LAN", network.name());
        return Err(ModelError::endpoint("IpConfigurations", problem, ErrorCode::INVALID_IP));
    }
    for (place, configured) in document.addresses.iter().enumerate() {
        let Some(address) = configured.address else { continue };
        let field = |key: &str| format!("IpConfigurations[{place}].{key}");
        if document.addresses[..place].iter().any(|other| other.address == Some(address)) {
            let problem = format!("{address} is named twice");
            return Err(ModelError::endpoint(field("IpAddress"), problem, ErrorCode::INVALID_IP));
        }
        let Some(prefix) = network.prefixes().find(|prefix| prefix.contains(address)) else {
            match (network.adopted(), configured.prefix_length) {
                // The host need not have an address on the LAN that would tell its prefix.
                (Some(_), Some(_)) => continue,
                (Some(bridge), None) => {
                    let problem =
                        format!("the host has no address on bridge {bridge} that tells it for {address}");
                    return Err(ModelError::endpoint(field("PrefixLength"), problem, ErrorCode::INVALID_IP));
                }
                _ => return Err(ModelError::NoSubnet { network: network.name().to_owned(), address }),
            }
        };
        if configured.prefix_length.is_some_and(|length| length < prefix.length()) {
            let problem = format!("shorter than the subnet's own, {}", prefix.length());
            return Err(ModelError::endpoint(field("PrefixLength"), problem, ErrorCode::INVALID_IP));
        }
    }
    for (place, route) in document.routes.iter().enumerate() {
        let Some(hop) = route.next_hop else { continue };
        if !network.prefixes().chain(own_prefixes(document)).any(|prefix| prefix.contains(hop)) {
            let problem = format!("{hop} lies in no subnet of network \"{}\"", network.name());
            return Err(ModelError::endpoint(
                format!("Routes[{place}].NextHop"),
                problem,
                ErrorCode::INVALID_ENDPOINT,
            ));
        }
    }
    Ok(())
}

/// The prefixes of the addresses that say theirs.
fn own_prefixes(document: &hcn::Endpoint) -> impl Iterator<Item = Cidr> {
    document.addresses.iter().filter_map(|configured| {
        let address = IfAddr::new(configured.address?, configured.prefix_length?).ok()?;
        Some(address.prefix())
    })
}

/// Which policies an endpoint of this network may have.
pub(crate) fn check_policies(document: &hcn::Endpoint, network: &Network) -> Result<(), ModelError> {
    if remote::is_remote(document) {
        return remote::check_policies(&document.policies, network);
    }
    check_size(&document.policies, &network.document.policies)?;
    let sets: BTreeSet<&str> = network.sets().map(|set| set.id.as_str()).collect();
    let (mut parameters, mut limits) = (0, 0);
    for (place, policy) in document.policies.iter().enumerate() {
        let field = format!("Policies[{place}].Type");
        match policy.kind {
            "PortMapping" if network.has_way_out() => check_mapping(policy, network, place)?,
            "PortMapping" => {
                let problem =
                    format!("a port cannot be published from a network of type {}", network.kind().name());
                return Err(ModelError::endpoint(field, problem, ErrorCode::MAPPING_NOT_SUPPORTED));
            }
            "ACL" | "TierAcl" => check_rules(policy, &sets, network, place)?,
            "QOS" if limits > 0 => {
                let problem = "a second QOS; an endpoint has one";
                return Err(ModelError::endpoint(field, problem, ErrorCode::INVALID_POLICY));
            }
            "QOS" => limits += 1,
            "InterfaceParameters" if parameters > 0 => {
                let problem = "a second InterfaceParameters";
                return Err(ModelError::endpoint(
                    field,
                    problem,
                    ErrorCode::INTERFACEPARAMETERS_ALREADY_APPLIED,
                ));
            }
            "InterfaceParameters" => {
                parameters += 1;
                check_mtu(policy, network, place)?;
            }
            "PortName" | "L2Driver" => {}
            "ProviderAddress" if provider_of(&network.document).is_some() => {
                check_provider(policy, network, place)?;
            }
            // Without settings it is what a NAT network does by itself.
            "OutBoundNAT" if network.has_way_out() || network.kind() == NetworkType::L2Bridge => {
                outbound::check(policy, place)?;
            }
            kind @ ("NetworkACL" | "SetPolicy") => {
                let problem = format!("a {kind} is a network's");
                return Err(ModelError::endpoint(field, problem, ErrorCode::INVALID_POLICY_TYPE));
            }
            kind => {
                let problem = format!("{kind} is not supported on {} networks", network.kind().name());
                return Err(ModelError::endpoint(field, problem, ErrorCode::REQUEST_UNSUPPORTED));
            }
        }
    }
    Ok(())
}

/// An endpoint is on this host, unless it is a remote one.
fn check_provider(policy: &hcn::Policy, network: &Network, place: usize) -> Result<(), ModelError> {
    let (said, own) = (policy.as_provider(), provider_of(&network.document));
    let Some(said) = said.filter(|_| said != own) else { return Ok(()) };
    let own = own.map(|own| format!(", which is {own}")).unwrap_or_default();
    let problem = format!("{said} is not this host{own}; an endpoint of another has the flag RemoteEndpoint");
    let field = format!("Policies[{place}].Settings.ProviderAddress");
    Err(ModelError::endpoint(field, problem, ErrorCode::INVALID_POLICY))
}

/// What the programs of a port can hold, by direction.
pub(crate) fn check_size(own: &[hcn::Policy], networks: &[hcn::Policy]) -> Result<(), ModelError> {
    for direction in [RuleDirection::In, RuleDirection::Out] {
        let rules = own.iter().chain(networks).map(|policy| match &policy.meaning {
            PolicySettings::Acl(acl) | PolicySettings::NetworkAcl(acl) if acl.direction == direction => 1,
            PolicySettings::TierAcl(tier) if tier.direction == direction => tier.rules.len(),
            _ => 0,
        });
        let is_tier = |policy: &&hcn::Policy| matches!(&policy.meaning, PolicySettings::TierAcl(tier) if tier.direction == direction);
        // One tier is made of the rules of the type Host.
        let tiers = 1 + own.iter().filter(is_tier).count();
        let watched: usize = own.iter().chain(networks).map(|policy| watched(policy, direction)).sum();
        for (count, most, what) in [
            (rules.sum(), hns_abi::RULES_MAX, "rules"),
            (tiers + watched, hns_abi::TIERS_MAX, "tiers and rules that are not enforced"),
        ] {
            if count > most {
                let problem = format!("{count} {what} of one direction; a port holds {most} at most");
                return Err(ModelError::endpoint("Policies", problem, ErrorCode::INVALID_POLICY));
            }
        }
    }
    Ok(())
}

/// How many of its rules are only watched.
fn watched(policy: &hcn::Policy, direction: RuleDirection) -> usize {
    match &policy.meaning {
        PolicySettings::Acl(acl) | PolicySettings::NetworkAcl(acl) => {
            usize::from(acl.direction == direction && !acl.enforce)
        }
        PolicySettings::TierAcl(tier) if tier.direction == direction => {
            tier.rules.iter().filter(|rule| !rule.enforce).count()
        }
        _ => 0,
    }
}

/// The sets that rules name are those of the network.
fn check_rules(
    policy: &hcn::Policy,
    sets: &BTreeSet<&str>,
    network: &Network,
    place: usize,
) -> Result<(), ModelError> {
    check_sides(policy, place, "endpoint")?;
    let Some(unknown) = policy.named_sets().find(|id| !sets.contains(id)) else { return Ok(()) };
    let problem =
        format!("\"{unknown}\" is neither an address nor an address set of network \"{}\"", network.name());
    Err(ModelError::endpoint(format!("Policies[{place}].Settings"), problem, ErrorCode::INVALID_POLICY))
}

/// With sets the local field is the source and the remote one the destination, with addresses they are the endpoint's side and
/// the other's (hcn-api 5.6). Of what comes in a rule with one of each says the same side twice and the other never.
pub(crate) fn check_sides(
    policy: &hcn::Policy,
    place: usize,
    object: &'static str,
) -> Result<(), ModelError> {
    let is_split = |rule: &hcn::RuleMatch| {
        let sides = [&rule.local, &rule.remote];
        let names = |is: fn(&hcn::Addresses) -> bool| sides.into_iter().any(is);
        names(|side| matches!(side, hcn::Addresses::Sets(_)))
            && names(|side| matches!(side, hcn::Addresses::Prefixes(_)))
    };
    if policy.rule_direction() != Some(RuleDirection::In) || !policy.rule_matches().any(is_split) {
        return Ok(());
    }
    let problem = "a rule of what comes in names sets on one side and addresses on the other, which both speak of \
        the same end: make a set of the addresses";
    let field = format!("Policies[{place}].Settings");
    let source = hcn::DocumentError::new(field, problem, ErrorCode::INVALID_POLICY);
    Err(ModelError::Document { object, source })
}

fn check_mtu(policy: &hcn::Policy, network: &Network, place: usize) -> Result<(), ModelError> {
    match policy.meaning {
        PolicySettings::InterfaceParameters { mtu }
            if mtu < Mtu::IPV6_MIN && network.has_family(Family::V6) =>
        {
            let problem = "an endpoint with IPv6 needs at least 1280 (RFC 8200 section 5)";
            let field = format!("Policies[{place}].Settings.Mtu");
            Err(ModelError::endpoint(field, problem, ErrorCode::INVALID_POLICY))
        }
        _ => Ok(()),
    }
}

fn check_mapping(policy: &hcn::Policy, network: &Network, place: usize) -> Result<(), ModelError> {
    let Some(mapping) = policy.as_port_mapping() else { return Ok(()) };
    let refuse = |field, problem| {
        let field = format!("Policies[{place}].Settings.{field}");
        Err(ModelError::endpoint(field, problem, ErrorCode::INVALID_POLICY))
    };
    let covered = [Family::V4, Family::V6].into_iter().any(|f| mapping.covers(f) && network.has_family(f));
    if !covered {
        let field = if mapping.address.is_some() { "VIP" } else { "Flags" };
        let network = network.name();
        return refuse(
            field,
            format!("network \"{network}\" has no subnet of the family this mapping is for"),
        );
    }
    let vip = mapping.address.filter(|address| !address.is_unspecified());
    match vip.map(Family::of).filter(|family| network.gateway_mode(*family) == GatewayMode::Routed) {
        // It would be reached by whoever reaches the endpoint.
        Some(family) => refuse(
            "VIP",
            format!(
                "network \"{}\" is routed for {family}: its ports are opened at the endpoint's own address, not at one of the host",
                network.name()
            ),
        ),
        None => Ok(()),
    }
}
