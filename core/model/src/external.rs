//! Networks on an external switch: containers on a LAN of the host's, beside the host. Such a switch belongs to an adapter and a
//! VLAN, and networks share it.

use std::fmt;

use hns_hcn::{self as hcn, ErrorCode, IpamType, NetworkFlags, NetworkType, Policy};
use hns_net::{Family, IfName, Uplink, UplinkMode, VlanId};

use crate::error::ModelError;
use crate::network::{self, Network};
use crate::overlay;

/// How containers are on a LAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lan {
    /// By a switch of ours, which shares an adapter with the host.
    Adapter(Uplink),
    /// By a bridge of the administrator's.
    Bridge(IfName),
}

impl fmt::Display for Lan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adapter(uplink) => uplink.fmt(f),
            Self::Bridge(name) => write!(f, "bridge {name}"),
        }
    }
}

pub(crate) const fn is_external(document: &hcn::Network) -> bool {
    mode_of(document.kind).is_some()
}

/// How endpoints of an external switch's networks show on its LAN.
const fn mode_of(kind: NetworkType) -> Option<UplinkMode> {
    match kind {
        NetworkType::Transparent => Some(UplinkMode::Stations),
        NetworkType::L2Bridge => Some(UplinkMode::OneMac),
        NetworkType::L2Tunnel => Some(UplinkMode::Reflected),
        _ => None,
    }
}

/// What the switch of such a network leads to.
#[must_use]
pub fn uplink_of(document: &hcn::Network) -> Option<Uplink> {
    let mode = mode_of(document.kind)?;
    let adapter = document.policies.iter().find_map(Policy::as_adapter)?;
    Some(Uplink { adapter: adapter.clone(), vlan: vlans(document).next(), mode })
}

/// A VLAN of the network is that of each of its subnets.
fn vlans(document: &hcn::Network) -> impl Iterator<Item = VlanId> {
    let of_subnets = document.subnets().flat_map(|subnet| &subnet.policies);
    document.policies.iter().chain(of_subnets).filter_map(Policy::as_vlan)
}

/// Whether the host itself is where the endpoints are, so that their prefixes are its own, too. It is in no VLAN of its adapter.
pub(crate) fn host_is_on(document: &hcn::Network) -> bool {
    network::has_host_port(document) || uplink_of(document).is_some_and(|uplink| uplink.vlan.is_none())
}

/// Whether two networks cannot have one prefix: on one switch, or both beside the host. Two LANs of the host may have the
/// same one, if its administrator lives with that.
pub(crate) fn meet(one: &hcn::Network, other: &hcn::Network) -> bool {
    match (uplink_of(one), uplink_of(other)) {
        (Some(one), Some(other)) => one.switch_id() == other.switch_id(),
        _ => host_is_on(one) && host_is_on(other),
    }
}

/// Refuses policies of subnets, and adapters and VLANs that do not go together.
pub(crate) fn check(document: &hcn::Network) -> Result<(), ModelError> {
    if document.params.adopted_bridge.is_some() {
        let problem = "is the server's to say: a bridge that leads to a LAN is a network by itself";
        let field = "AdditionalParams.AdoptedBridge";
        return Err(ModelError::network(field, problem, ErrorCode::INVALID_NETWORK));
    }
    let of_subnets = || document.subnets().flat_map(|subnet| &subnet.policies);
    let of_overlay = overlay::is_overlay(document);
    let is_refused = |policy: &&Policy| !of_overlay && (policy.as_vlan().is_none() || !is_external(document));
    if let Some(policy) = of_subnets().find(is_refused) {
        let problem = format!("policy {} is not supported on {} networks", policy.kind, document.kind.name());
        return Err(ModelError::network("Policies", problem, ErrorCode::INVALID_POLICY_TYPE));
    }
    if !is_external(document) {
        return Ok(());
    }
    let refuse = |problem: String| Err(ModelError::network("Policies", problem, ErrorCode::INVALID_POLICY));
    let mut adapters = document.policies.iter().filter_map(Policy::as_adapter);
    let Some(adapter) = adapters.next() else {
        let kind = document.kind.name();
        return refuse(format!(
            "a network of the type {kind} needs an adapter: the policy NetAdapterName with NetworkAdapterName"
        ));
    };
    if let Some(second) = adapters.next() {
        return refuse(format!("a second adapter, {second}, beside {adapter}; a network has one"));
    }
    let mut vlans = vlans(document);
    if let Some(first) = vlans.next()
        && let Some(other) = vlans.find(|other| *other != first)
    {
        return refuse(format!("VLAN {other} beside {first}; make a network for each"));
    }
    Ok(())
}

/// A network on a LAN that names no prefix of it takes its addresses from the LAN's server (TRN-3).
pub(crate) fn choose_source(document: &mut hcn::Network) {
    let is_named = document.subnets().any(|subnet| subnet.prefix.is_some_and(|prefix| !prefix.is_default()));
    if document.kind != NetworkType::Transparent || is_named {
        return;
    }
    if document.ipams.is_empty() {
        document.ipams.push(hcn::Ipam::default());
    }
    for ipam in &mut document.ipams {
        ipam.kind = IpamType::Dhcp;
        ipam.subnets.iter_mut().for_each(|subnet| subnet.prefix = None);
    }
}

/// Whether its addresses come from the LAN.
pub(crate) fn has_dhcp(document: &hcn::Network) -> bool {
    let is_asking = document.ipams.iter().any(|ipam| ipam.kind == IpamType::Dhcp);
    is_asking && document.kind == NetworkType::Transparent && uplink_of(document).is_some()
}

/// Whether the LAN is asked for addresses of this family: IPv4 unless that is not wanted, IPv6 if it is.
pub(crate) fn asks_for(document: &hcn::Network, family: Family) -> bool {
    let is_wanted = match family {
        Family::V4 => document.params.enable_v4 != Some(false),
        Family::V6 => document.params.enable_v6 == Some(true),
    };
    has_dhcp(document) && is_wanted
}

/// Refuses subnets beside the server of the LAN, which names them, and those that are left open without it.
pub(crate) fn check_subnets(document: &hcn::Network) -> Result<(), ModelError> {
    if !is_external(document) {
        return Ok(());
    }
    let refuse = |problem: &str| Err(ModelError::network("Ipams", problem, ErrorCode::INVALID_SUBNET));
    let named = |family| {
        let prefixes = document.subnets().filter_map(|subnet| subnet.prefix);
        prefixes.filter(|prefix| !prefix.is_default()).any(|prefix| prefix.family() == family)
    };
    let wanted = [(Family::V4, document.params.enable_v4), (Family::V6, document.params.enable_v6)];
    let missing = wanted.into_iter().find(|(family, wanted)| *wanted == Some(true) && !named(*family));
    let open = document.subnets().any(|subnet| subnet.prefix.is_none_or(hns_net::Cidr::is_default));
    if !has_dhcp(document) {
        return match () {
            () if !named(Family::V4) && !named(Family::V6) => refuse("name the LAN's prefix in a subnet"),
            () if open || missing.is_some() => {
                refuse("a subnet without a prefix beside one that names the LAN's: name each of them")
            }
            () => Ok(()),
        };
    }
    let params = &document.params;
    match () {
        () if named(Family::V4) || named(Family::V6) => refuse(
            "a prefix beside the LAN's DHCP server, which names it: leave the subnets out, or the server",
        ),
        () if document.subnets().any(|subnet| !subnet.routes.is_empty()) => {
            refuse("a route beside the LAN's DHCP server, which names them")
        }
        () if params.enable_v4 == Some(false) && params.enable_v6 != Some(true) => {
            refuse("no family to ask the LAN for: EnableIPv4 is false, and EnableIPv6 is not true")
        }
        () => Ok(()),
    }
}

/// Refuses a switch that another network does not share, or that this one does not.
pub(crate) fn check_switch<'n>(
    document: &hcn::Network,
    mut others: impl Iterator<Item = &'n Network>,
) -> Result<(), ModelError> {
    let Some(uplink) = uplink_of(document) else { return Ok(()) };
    let wants_alone = |document: &hcn::Network| document.flags.has(NetworkFlags::ISOLATE_SWITCH);
    let is_of_another_type = |other: &Network| other.kind() != document.kind;
    let stands_against = |other: &&Network| {
        let on_it = other.uplink().is_some_and(|theirs| theirs.switch_id() == uplink.switch_id());
        on_it && (wants_alone(document) || wants_alone(other.document()) || is_of_another_type(other))
    };
    let Some(other) = others.find(stands_against) else { return Ok(()) };
    let (network, holder) = (document.name.clone(), other.name().to_owned());
    if is_of_another_type(other) {
        let kind = other.kind().name();
        return Err(ModelError::SwitchOfAnotherType { network, uplink, holder, kind });
    }
    Err(ModelError::SwitchShared { network, uplink, holder })
}
