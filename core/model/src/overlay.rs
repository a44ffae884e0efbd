//! Overlays: networks whose containers are on several hosts, each of which has prefixes of its own. Documents say which host has which
//! (hcn-api 5.2); nothing is learnt.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hns_hcn::{
    self as hcn, Encryption, ErrorCode, NetworkType, Policy, PolicySettings, RemoteSubnetRoute, router_of,
};
use hns_net::{Cidr, Family, Mac, PublicKey, Vni};

use crate::error::ModelError;
use crate::network::Network;
use crate::overlay_keys::Keys;
use crate::prefix::is_of_hosts;

/// The UDP port of VXLAN (RFC 7348 section 5).
const VXLAN_PORT: u16 = 4789;

/// Windows takes no smaller VNI (OVL-3).
const FIRST_CHOSEN: u32 = 4096;

pub(crate) fn is_overlay(document: &hcn::Network) -> bool {
    document.kind == NetworkType::Overlay
}

/// What this host's part of an overlay is, beside its subnets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    /// Where it ends on this host.
    pub provider: IpAddr,
    /// The MAC address of the router of this host's part.
    pub router: Mac,
    pub udp_port: u16,
    /// Whether small packets may go past the VXLAN device, and the host's firewall with it.
    pub direct: bool,
}

/// Where the tunnels of an overlay end on this host, if its document says it.
#[must_use]
pub fn provider_of(document: &hcn::Network) -> Option<IpAddr> {
    document.policies.iter().find_map(Policy::as_provider).filter(|_| is_overlay(document))
}

/// Whether the host has a port on an overlay: the router of its part is the host then, beyond what other hosts have.
pub(crate) fn is_hosted(document: &hcn::Network) -> bool {
    is_overlay(document) && document.policies.iter().any(|policy| policy.meaning == PolicySettings::HostRoute)
}

/// How what goes from host to host is encrypted, if an overlay asks for it.
#[must_use]
pub fn encryption_of(document: &hcn::Network) -> Option<&Encryption> {
    document.policies.iter().find_map(Policy::as_encryption).filter(|_| is_overlay(document))
}

/// The UDP port of an overlay's tunnel.
#[must_use]
pub fn udp_port_of(document: &hcn::Network) -> u16 {
    document.policies.iter().find_map(Policy::as_vxlan_port).unwrap_or(VXLAN_PORT)
}

fn vnis(document: &hcn::Network) -> impl Iterator<Item = Vni> {
    document.subnets().flat_map(|subnet| &subnet.policies).filter_map(Policy::as_vsid)
}

impl Network {
    /// Of an overlay.
    #[must_use]
    pub fn tunnel(&self) -> Option<Tunnel> {
        let provider = provider_of(&self.document)?;
        let router = self.document.policies.iter().find_map(Policy::as_router)?;
        let direct = self.document.params.direct_tunnel.unwrap_or(true);
        Some(Tunnel { provider, router, udp_port: udp_port_of(&self.document), direct })
    }

    /// Under which VNIs others send to this host's part of an overlay.
    pub fn vnis(&self) -> impl Iterator<Item = Vni> {
        vnis(&self.document)
    }

    /// What this host encrypts an overlay with: by which key others know it, and the UDP port.
    #[must_use]
    pub fn encryption(&self) -> Option<(PublicKey, u16)> {
        let encryption = encryption_of(&self.document)?;
        Some((encryption.public_key?, encryption.udp_port?))
    }

    /// Which host of an overlay has this end of a tunnel: where it is encrypted, an address inside.
    #[must_use]
    pub fn host_of(&self, end: IpAddr) -> IpAddr {
        let inside = |route: &&RemoteSubnetRoute| {
            route.public_key.is_some_and(|key| IpAddr::from(key.inner_address()) == end)
        };
        self.remote_subnets().find(inside).map_or(end, |route| route.provider)
    }

    /// What other hosts have of an overlay.
    pub fn remote_subnets(&self) -> impl Iterator<Item = &RemoteSubnetRoute> {
        self.document.policies.iter().filter_map(Policy::as_remote_subnet)
    }
}

/// Whether a network of this type may have this policy, which is an overlay's.
pub(crate) fn may_have(document: &hcn::Network, policy: &Policy) -> bool {
    let is_ours = matches!(
        policy.meaning,
        PolicySettings::ProviderAddress(_)
            | PolicySettings::Router(_)
            | PolicySettings::VxlanPort(_)
            | PolicySettings::RemoteSubnetRoute(_)
            | PolicySettings::HostRoute
            | PolicySettings::Encryption(_)
            | PolicySettings::Adapter(_)
    );
    is_ours && is_overlay(document)
}

/// Refuses what says one thing twice, and policies of subnets that are none of an overlay's.
pub(crate) fn check(document: &hcn::Network) -> Result<(), ModelError> {
    if !is_overlay(document) {
        return match document.params.direct_tunnel {
            None => Ok(()),
            Some(_) => {
                let problem = "only overlays have tunnels";
                Err(ModelError::network("AdditionalParams.DirectTunnel", problem, ErrorCode::INVALID_NETWORK))
            }
        };
    }
    for (place, subnet) in document.subnets().enumerate() {
        let mut vsids = 0;
        for policy in &subnet.policies {
            vsids += usize::from(policy.as_vsid().is_some());
            if policy.as_vsid().is_none() || vsids > 1 {
                let problem =
                    format!("policy {}: a subnet of an overlay has one VSID and no other", policy.kind);
                let field = format!("Subnets[{place}].Policies");
                return Err(ModelError::network(field, problem, ErrorCode::INVALID_POLICY_TYPE));
            }
        }
    }
    for kind in ["ProviderAddress", "DrMacAddress", "VxlanPort", "Encryption"] {
        if document.policies.iter().filter(|policy| policy.kind == kind).count() > 1 {
            let problem = format!("a second {kind}; an overlay has one on each host");
            return Err(ModelError::network("Policies", problem, ErrorCode::INVALID_POLICY));
        }
    }
    if !document.subnets().any(|subnet| subnet.prefix.is_some_and(|prefix| !prefix.is_default())) {
        let problem = "an overlay needs the prefix that its containers on this host have";
        return Err(ModelError::network("Ipams", problem, ErrorCode::INVALID_SUBNET));
    }
    Ok(())
}

/// Chooses what the document leaves open, and checks what it says of other hosts.
pub(crate) fn complete<'n>(
    document: &mut hcn::Network,
    others: impl Iterator<Item = &'n Network>,
) -> Result<(), ModelError> {
    if !is_overlay(document) {
        return Ok(());
    }
    let Some(provider) = provider_of(document) else {
        let problem = "an overlay needs the address at which its tunnels end on this host";
        return Err(ModelError::network("Policies", problem, ErrorCode::INVALID_POLICY));
    };
    if !document.policies.iter().any(|policy| policy.as_router().is_some()) {
        document.policies.push(Policy::router(router_of(provider)));
    }
    let first = vnis(document).next();
    let chosen = first.unwrap_or_else(|| chosen_vni(&document.name));
    for subnet in document.ipams.iter_mut().flat_map(|ipam| &mut ipam.subnets) {
        if subnet.policies.is_empty() {
            subnet.policies.push(Policy::vsid(chosen));
        }
    }
    let others: Vec<&Network> = others.collect();
    check_vnis(document, others.iter().copied())?;
    if encryption_of(document).is_some_and(|said| said.public_key.is_none() || said.udp_port.is_none()) {
        let problem = "an encrypted overlay needs the key and the UDP port of this host";
        return Err(ModelError::network("Policies", problem, ErrorCode::INVALID_POLICY));
    }
    let policies = std::mem::take(&mut document.policies);
    document.policies = policies.into_iter().map(|policy| completed(policy, chosen)).collect();
    check_routes(document, others.into_iter())
}

/// The VNI of a network of this name: the same on every host, so that two of them agree without a word.
fn chosen_vni(name: &str) -> Vni {
    // FNV-1a.
    let mixed =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let number = FIRST_CHOSEN + mixed % (Vni::MAX + 1 - FIRST_CHOSEN);
    // In range by the line before.
    Vni::new(number.into()).unwrap_or_else(|_| unreachable!("{number}"))
}

fn check_vnis<'n>(
    document: &hcn::Network,
    others: impl Iterator<Item = &'n Network>,
) -> Result<(), ModelError> {
    let mine: BTreeSet<Vni> = vnis(document).collect();
    let meets = |other: &Network| udp_port_of(&other.document) == udp_port_of(document);
    for other in others.filter(|other| is_overlay(&other.document) && meets(other)) {
        if let Some(vni) = other.vnis().find(|vni| mine.contains(vni)) {
            let problem =
                format!("VNI {vni} is network \"{}\"'s; choose another, on each of its hosts", other.name());
            return Err(ModelError::network("Subnets.Policies", problem, ErrorCode::INVALID_POLICY));
        }
    }
    Ok(())
}

/// A route with what follows from the rest.
pub(crate) fn completed(policy: Policy, vni: Vni) -> Policy {
    match policy.meaning {
        PolicySettings::RemoteSubnetRoute(route) if route.vni.is_none() || route.router.is_none() => {
            Policy::remote_subnet(RemoteSubnetRoute {
                vni: route.vni.or(Some(vni)),
                router: route.router.or_else(|| Some(router_of(route.provider))),
                ..route
            })
        }
        _ => policy,
    }
}

/// Refuses routes that say nothing, or two things of one prefix.
pub(crate) fn check_routes<'n>(
    document: &hcn::Network,
    others: impl Iterator<Item = &'n Network>,
) -> Result<(), ModelError> {
    let Some(provider) = provider_of(document) else { return Ok(()) };
    let own: Vec<Cidr> = document.subnets().filter_map(|subnet| subnet.prefix).collect();
    let own_router = document.policies.iter().find_map(Policy::as_router);
    let mut known = BTreeSet::new();
    let mut keys = Keys::of(document, others);
    for (place, policy) in document.policies.iter().enumerate() {
        let Some(route) = policy.as_remote_subnet() else { continue };
        let refuse = |key: &str, problem: String| {
            let field = format!("Policies[{place}].Settings.{key}");
            Err(ModelError::network(field, problem, ErrorCode::INVALID_POLICY))
        };
        let destination = route.destination;
        if !is_of_hosts(destination) {
            let problem = format!("{destination} is not a block of unicast addresses for hosts");
            return refuse("DestinationPrefix", problem);
        }
        if let Some(prefix) = own.iter().find(|prefix| prefix.overlaps(destination)) {
            let problem = format!("{destination} overlaps {prefix}, which this host has itself");
            return refuse("DestinationPrefix", problem);
        }
        if !known.insert(destination) {
            return refuse("DestinationPrefix", format!("{destination} is another host's already"));
        }
        if route.provider == provider {
            let problem = format!("{provider} is this host, which has {destination} not");
            return refuse("ProviderAddress", problem);
        }
        if Family::of(route.provider) != Family::of(provider) {
            let problem = format!(
                "{} is not of the family of {provider}, where tunnels end on this host",
                route.provider
            );
            return refuse("ProviderAddress", problem);
        }
        keys.take(route).or_else(|problem| refuse("PublicKey", problem))?;
        if route.router.is_some() && route.router == own_router {
            return refuse(
                "DistributedRouterMacAddress",
                "this is the router of this host's part".to_owned(),
            );
        }
    }
    Ok(())
}
