use hns_hcn::ErrorCode;
use hns_model::{Network, World};
use hns_net::Guid;
use hns_reconciler::EngineError;
use serde_json::{Value, json};

use crate::call::Call;
use crate::refusal::Refusal;
use crate::{marks, wire};

/// Deletes the HNS network that was made for a network of Docker; one that was there before only serves it no longer.
/// Docker never asks twice, whatever the answer, so what is not there is deleted.
pub(crate) fn delete(call: &Call<'_>, body: &[u8]) -> Result<Value, Refusal> {
    let request: wire::OfNetwork = wire::read("DeleteNetwork", body)?;
    let docker = &request.network;
    let shown = {
        let world = call.engine.world();
        let stays = marks::find_network(&world, docker).filter(|there| !marks::is_made_for(there, docker));
        stays.map(Network::id)
    };
    call.bindings.depart(docker, shown);
    let _alone = call.bindings.alone();
    let (id, unbinding) = {
        let world = call.engine.world();
        let Some(network) = marks::find_network(&world, docker) else { return Ok(json!({})) };
        let is_ours_alone =
            marks::is_made_for(network, docker) && !is_used_by_others(&world, network, docker);
        (network.id(), (!is_ours_alone).then(|| marks::unbinding(network, docker)))
    };
    let outcome = match unbinding {
        Some(unbinding) => {
            delete_endpoints(call, id, docker)?;
            call.engine.amend_network(id, unbinding).map(drop)
        }
        None => call.engine.delete_network(id),
    };
    match outcome {
        Err(error) if error.code() != ErrorCode::NETWORK_NOT_FOUND => Err(error.into()),
        _ => Ok(json!({})),
    }
}

/// Whether others than this network of Docker would lose their endpoints with it.
fn is_used_by_others(world: &World, network: &Network, docker: &str) -> bool {
    let others_docker = marks::served(network).iter().any(|id| id != docker);
    // A container of another host loses nothing with a record of it.
    let members = network.endpoints().filter_map(|id| world.endpoint(id).ok());
    let mut members = members.filter(|endpoint| !endpoint.is_remote());
    others_docker || members.any(|endpoint| marks::docker_network(endpoint).as_deref() != Some(docker))
}

/// Docker has no endpoints on a network that it deletes: what is left of them leaked when it was killed.
fn delete_endpoints(call: &Call<'_>, network: Guid, docker: &str) -> Result<(), EngineError> {
    let leaked: Vec<Guid> = {
        let world = call.engine.world();
        let members = world.network(network).map(|network| network.endpoints().collect::<Vec<_>>());
        let is_leaked = |id: &Guid| {
            let endpoint = world.endpoint(*id).ok().filter(|endpoint| endpoint.is_settled());
            endpoint.is_some_and(|endpoint| marks::docker_network(endpoint).as_deref() == Some(docker))
        };
        members.unwrap_or_default().into_iter().filter(is_leaked).collect()
    };
    for id in leaked {
        match call.engine.delete_endpoint(id) {
            Err(error) if error.code() != ErrorCode::ENDPOINT_NOT_FOUND => return Err(error),
            _ => tracing::info!(endpoint = %id, "deleted: its Docker network is gone"),
        }
    }
    Ok(())
}
