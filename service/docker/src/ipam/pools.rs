use hns_model::{Network, PoolId, PoolWish};
use hns_net::{Cidr, Family};
use serde_json::{Value, json};

use crate::call::Call;
use crate::refusal::Refusal;
use crate::wire;

/// `--ipam-opt network=NAME`: the pool is a subnet of that HNS network, so that its containers and those of other
/// engines never get one address.
const NETWORK: &str = "network";

/// Opens a pool. Docker asks again for each of its pools when it starts, and must get the same id.
pub(super) fn request(call: &Call<'_>, body: &[u8]) -> Result<Value, Refusal> {
    let request: wire::RequestPool = wire::read("RequestPool", body)?;
    let wish = wish(&request)?;
    check_subnet(call, &wish)?;
    let id = call.engine.open_pool(&wish)?;
    Ok(json!({ "PoolID": id.to_string(), "Pool": id.prefix.to_string(), "Data": {} }))
}

/// When its user named no subnet, Docker asks again and again until it is given one that the host has no route to
/// (seen in 20.10 and 28.5), which a subnet of a network that exists never is.
fn check_subnet(call: &Call<'_>, wish: &PoolWish) -> Result<(), Refusal> {
    let (None, Some(reference)) = (wish.prefix, &wish.network) else { return Ok(()) };
    let world = call.engine.world();
    let id = reference.parse().ok();
    let is_meant = |network: &&Network| network.name() == reference || Some(network.id()) == id;
    let Some(network) = world.networks().find(is_meant) else { return Ok(()) };
    let subnets = network.prefixes().filter(|prefix| prefix.family() == wish.family);
    let subnets: Vec<_> = subnets.map(|prefix| prefix.to_string()).collect();
    if subnets.is_empty() {
        return Ok(());
    }
    Err(Refusal::SubnetUnnamed { network: reference.clone(), subnets: subnets.join(" or ") })
}

fn wish(request: &wire::RequestPool) -> Result<PoolWish, Refusal> {
    let mut network = None;
    for (key, value) in &request.options {
        match key.as_str() {
            NETWORK if value.is_empty() => {
                let expected = "the name or the id of an HNS network".to_owned();
                return Err(Refusal::OptionValue { key: key.clone(), value: value.clone(), expected });
            }
            NETWORK => network = Some(value.clone()),
            // Whoever else is meant, Docker itself included.
            other if other.contains('.') => {}
            _ => return Err(Refusal::IpamOptionUnknown { key: key.clone(), valid: NETWORK }),
        }
    }
    let family = if request.v6 { Family::V6 } else { Family::V4 };
    let prefix = prefix("Pool", &request.pool, family)?;
    let range = match prefix_or_none("SubPool", &request.sub_pool, family)? {
        Some(range) if prefix.is_some_and(|prefix| !prefix.covers(range)) => {
            let expected = "a part of the subnet";
            return Err(Refusal::Field { field: "SubPool", value: request.sub_pool.clone(), expected });
        }
        // All of the subnet is no part of it.
        range => range.filter(|range| Some(*range) != prefix),
    };
    Ok(PoolWish { family, prefix, range, network })
}

fn prefix(field: &'static str, value: &str, family: Family) -> Result<Option<Cidr>, Refusal> {
    Ok(prefix_or_none(field, value, family)?.filter(|prefix| !prefix.is_default()))
}

fn prefix_or_none(field: &'static str, value: &str, family: Family) -> Result<Option<Cidr>, Refusal> {
    if value.is_empty() {
        return Ok(None);
    }
    let expected = if family == Family::V4 { "an IPv4 prefix" } else { "an IPv6 prefix" };
    let prefix = value.parse().ok().filter(|prefix: &Cidr| prefix.family() == family);
    prefix.map(Some).ok_or_else(|| Refusal::Field { field, value: value.to_owned(), expected })
}

/// Closes a pool. Docker never asks twice, whatever the answer, so what is not there is closed.
pub(super) fn release(call: &Call<'_>, body: &[u8]) -> Result<Value, Refusal> {
    let request: wire::ReleasePool = wire::read("ReleasePool", body)?;
    if let Ok(id) = request.pool.parse::<PoolId>() {
        call.engine.close_pool(&id)?;
    }
    Ok(json!({}))
}
