use hns_hcn::NetworkType;
use hns_model::Network;
use hns_net::Guid;
use hns_reconciler::Engine;

use crate::marks;
use crate::options::NetworkOptions;
use crate::refusal::Refusal;

use super::subnets::Subnets;

/// What Docker says that a network is.
pub(super) struct Asked<'a> {
    /// Its id.
    pub docker: &'a str,
    pub kind: NetworkType,
    pub subnets: &'a Subnets,
}

/// Lets an HNS network that exists serve a network of Docker.
pub(super) fn bind(
    engine: &Engine,
    id: Guid,
    asked: &Asked<'_>,
    options: &NetworkOptions,
) -> Result<(), Refusal> {
    let amendment = {
        let world = engine.world();
        let network = world.network(id).map_err(|_| Refusal::BindMissing(id))?;
        check(network, asked)?;
        if let Some(name) = options.name.as_ref().filter(|name| *name != network.name()) {
            return Err(differs(network, format!("the name \"{}\"", network.name()), format!("\"{name}\"")));
        }
        marks::binding(network, asked.docker, &options.endpoints)
    };
    engine.amend_network(id, amendment)?;
    Ok(())
}

/// Refuses when Docker means another network: of another type, or with subnets or gateways that this one has not.
pub(super) fn check(network: &Network, asked: &Asked<'_>) -> Result<(), Refusal> {
    let kind = network.kind();
    // A network that HNS calls private is an internal one to Docker, which the host is not on.
    let is_same = kind == asked.kind || (kind == NetworkType::Private && asked.kind == NetworkType::Internal);
    if !is_same {
        let name = network.name().to_owned();
        return Err(Refusal::BindType { name, found: kind.name(), wanted: asked.kind.name() });
    }
    for subnet in &asked.subnets.named {
        if !network.prefixes().any(|prefix| prefix == subnet.prefix) {
            let found = format!("the subnets {}", super::create::prefixes(network));
            return Err(differs(network, found, subnet.prefix.to_string()));
        }
        let gateway =
            network.gateways().find(|(prefix, _)| *prefix == subnet.prefix).map(|(_, gateway)| gateway);
        if let (Some(gateway), Some(wanted)) = (gateway, subnet.gateway)
            && gateway != wanted
        {
            return Err(differs(network, format!("the gateway {gateway}"), wanted.to_string()));
        }
    }
    for family in &asked.subnets.open {
        if !network.has_family(*family) {
            let found = format!("the subnets {}", super::create::prefixes(network));
            return Err(differs(network, found, family.to_string()));
        }
    }
    Ok(())
}

fn differs(network: &Network, found: String, wanted: String) -> Refusal {
    Refusal::BindDiffers { name: network.name().to_owned(), found, wanted }
}
