use hns_hcn as hcn;
use hns_model as model;
use hns_net::{Family, Guid};
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::options::{Mode, NetworkOptions, OverlayOptions};
use crate::refusal::Refusal;
use crate::{ids, marks, wire};

use super::bind::{self, Asked};
use super::subnets::Subnets;

/// Makes the HNS network of a network of Docker, or binds it to the one that its options name.
pub(crate) fn create(call: &Call<'_>, body: &[u8]) -> Result<Value, Refusal> {
    let request: wire::CreateNetwork = wire::read("CreateNetwork", body)?;
    let mut options = NetworkOptions::read(call.driver, &request.options)?;
    let subnets = Subnets::read(&request)?;
    let asked = Asked { docker: &request.network, kind: super::kind_of(call, &options), subnets: &subnets };
    if asked.kind == hcn::NetworkType::Transparent && asked.subnets.named.is_empty() {
        return Err(Refusal::SubnetMissing { driver: call.driver.name });
    }
    if asked.kind == hcn::NetworkType::Overlay && options.bind.is_none() {
        settle_overlay(call, &asked, &mut options)?;
    }
    let id = ids::guid(&request.network)?;
    let _alone = call.bindings.alone();
    if let Some(network) = options.bind {
        bind::bind(call.engine, network, &asked, &options)?;
    } else if !is_made(call, id, &asked)? {
        call.engine.create_network(document(id, &asked, options))?;
    }
    Ok(json!({}))
}

/// Refuses an overlay that other hosts could not be part of.
fn settle_overlay(call: &Call<'_>, asked: &Asked<'_>, options: &mut NetworkOptions) -> Result<(), Refusal> {
    let prefixes = || asked.subnets.named.iter().map(|subnet| subnet.prefix);
    if asked.subnets.named.is_empty() {
        return Err(Refusal::PrefixMissing { driver: call.driver.name });
    }
    // The number follows from the name that HNS has for the network, and Docker tells its own only later.
    if options.overlay.vnis.is_empty() && options.name.is_none() {
        return Err(Refusal::NumberMissing { driver: call.driver.name });
    }
    if !options.overlay.has_vnis_for(prefixes().count()) {
        return Err(Refusal::NumbersDiffer {
            numbers: options.overlay.vnis.len(),
            subnets: prefixes().count(),
        });
    }
    options.overlay.number_peers(prefixes());
    Ok(())
}

/// Whether the network was made already, by a call whose answer Docker did not see.
fn is_made(call: &Call<'_>, id: Guid, asked: &Asked<'_>) -> Result<bool, Refusal> {
    let world = call.engine.world();
    let made = world.network(id).ok().filter(|there| marks::served(there).iter().any(|d| d == asked.docker));
    made.map_or(Ok(false), |network| bind::check(network, asked).map(|()| true))
}

fn document(id: Guid, asked: &Asked<'_>, options: NetworkOptions) -> hcn::Network {
    let kind = asked.kind;
    let mut others = marks::of_made(asked.docker, &options.endpoints);
    others.extend(kept(&options));
    let named = |family| asked.subnets.named.iter().any(|subnet| subnet.prefix.family() == family);
    let wanted = |family, enabled: Option<bool>| {
        let open = asked.subnets.open.contains(&family) || (enabled == Some(true) && !named(family));
        if open { Some(true) } else { enabled.filter(|enabled| !enabled && !named(family)) }
    };
    let params = hcn::NetworkParams {
        mtu: options.mtu,
        ip_range: Vec::new(),
        aux_addresses: asked.subnets.aux.clone(),
        gateway_mode: hcn::GatewayModes {
            v4: gateway_mode(options.mode_v4),
            v6: gateway_mode(options.mode_v6),
        },
        enable_v4: wanted(Family::V4, options.enable_v4),
        enable_v6: wanted(Family::V6, options.enable_v6),
        direct_tunnel: None,
        port: hcn::PortParams::default(),
        adopted_bridge: None,
        others,
    };
    let adapter = options.adapter.into_iter().map(hcn::Policy::adapter);
    let vlan = options.vlan.into_iter().map(hcn::Policy::vlan);
    hcn::Network {
        id: Some(id),
        name: options.name.unwrap_or_else(|| asked.docker.to_owned()),
        owner: Some(marks::OWNER.to_owned()),
        kind,
        flags: hcn::NetworkFlags::default(),
        policies: adapter.chain(vlan).chain(options.overlay.policies()).chain(options.rules).collect(),
        mac_pool: options.mac_pool,
        dns: options.dns,
        ipams: ipams(asked, &options.overlay),
        params,
    }
}

/// What nothing of ours reads yet, kept for whoever will.
fn kept(options: &NetworkOptions) -> Map<String, Value> {
    let mut kept = Map::new();
    if let Some(domain) = options.routing_domain {
        kept.insert("RoutingDomain".into(), json!(domain.to_string()));
    }
    if options.no_gateway_dns {
        kept.insert("DisableGatewayDns".into(), json!(true));
    }
    kept
}

fn gateway_mode(mode: Option<Mode>) -> hcn::GatewayMode {
    match mode {
        Some(Mode::Routed) => hcn::GatewayMode::Routed,
        Some(Mode::Nat | Mode::Isolated) | None => hcn::GatewayMode::Nat,
    }
}

fn ipams(asked: &Asked<'_>, overlay: &OverlayOptions) -> Vec<hcn::Ipam> {
    let has_host = asked.kind != hcn::NetworkType::Private;
    let subnet = |(place, subnet): (usize, &super::subnets::Subnet)| {
        let destination = subnet.prefix.family().default_route();
        let gateway = subnet.gateway.filter(|_| has_host);
        let route = gateway.map(|hop| hcn::Route { destination, next_hop: Some(hop), metric: 0 });
        hcn::Subnet {
            routes: route.into_iter().collect(),
            policies: overlay.of_subnet(place),
            ..hcn::Subnet::of_prefix(Some(subnet.prefix))
        }
    };
    let subnets: Vec<_> = asked.subnets.named.iter().enumerate().map(subnet).collect();
    if subnets.is_empty() { Vec::new() } else { vec![hcn::Ipam { kind: hcn::IpamType::Static, subnets }] }
}

/// The network as it is in the books.
pub(super) fn prefixes(network: &model::Network) -> String {
    let prefixes: Vec<_> = network.prefixes().map(|prefix| prefix.to_string()).collect();
    prefixes.join(", ")
}
