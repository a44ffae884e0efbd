use hns_hcn::{EndpointResource, ErrorCode, ModifyRequest, Policy, RequestType};
use hns_model::ModelError;
use hns_net::{Guid, PortRange, Transport};
use hns_reconciler::EngineError;
use serde_json::{Value, json};

use crate::call::Call;
use crate::marks::{self, EndpointDefaults};
use crate::refusal::Refusal;
use crate::{ids, wire};

use super::ports::{self, External, Wish};

/// How often another port of the engine's choice is tried when a process of the host has taken the last one.
const CHOICES_MAX: usize = 16;

/// Publishes the ports of an endpoint that became its container's gateway. What Docker had published before makes
/// way; what an operator published stays.
pub(crate) fn publish(call: &Call<'_>, body: &[u8]) -> Result<Value, Refusal> {
    let request: wire::Program = wire::read("ProgramExternalConnectivity", body)?;
    let id = ids::guid(&request.endpoint)?;
    let (mut wishes, stale) = {
        let world = call.engine.world();
        let endpoint = world.endpoint(id).map_err(|_| Refusal::EndpointUnknown(request.endpoint.clone()))?;
        let network = marks::network(&world, &request.network)?;
        let default = EndpointDefaults::of(network, &request.network).host_address;
        let mut wishes = ports::wishes(&request.options.ports, default)?;
        let mut stale = Vec::new();
        for policy in endpoint.document().policies {
            let Some(text) = ports::wish_of(&policy) else { continue };
            match wishes.iter().position(|wish| wish.to_string() == text) {
                Some(granted) => drop(wishes.swap_remove(granted)),
                None => stale.push(policy),
            }
        }
        (wishes, stale)
    };
    remove(call, id, stale)?;
    wishes.sort_by_key(|wish| (wish.transport, wish.internal));
    add(call, id, &wishes)?;
    Ok(json!({}))
}

/// Takes back what Docker had published of an endpoint.
pub(crate) fn withdraw(call: &Call<'_>, body: &[u8]) -> Result<Value, Refusal> {
    let request: wire::OfEndpoint = wire::read("RevokeExternalConnectivity", body)?;
    let id = ids::guid(&request.endpoint)?;
    let policies = match call.engine.world().endpoint(id) {
        Ok(endpoint) => endpoint.document().policies,
        // Gone with all that it had published.
        Err(_) => return Ok(json!({})),
    };
    remove(call, id, policies.into_iter().filter(|policy| ports::wish_of(policy).is_some()).collect())?;
    Ok(json!({}))
}

fn remove(call: &Call<'_>, id: Guid, policies: Vec<Policy>) -> Result<(), EngineError> {
    if policies.is_empty() {
        return Ok(());
    }
    match modify(call, id, RequestType::Remove, policies) {
        // Somebody else was faster.
        Err(error)
            if [ErrorCode::POLICY_NOT_FOUND, ErrorCode::ENDPOINT_NOT_FOUND].contains(&error.code()) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

fn modify(call: &Call<'_>, id: Guid, request: RequestType, policies: Vec<Policy>) -> Result<(), EngineError> {
    let resource = EndpointResource::Policies(policies);
    call.engine.modify_endpoint(id, ModifyRequest { request, resource }).map(drop)
}

/// Adds all mappings or none. Where Docker's user left a choice, the next port is tried until one is free.
fn add(call: &Call<'_>, id: Guid, wishes: &[Wish]) -> Result<(), Refusal> {
    if wishes.is_empty() {
        return Ok(());
    }
    let mut tries: Vec<Try> = wishes.iter().map(Try::first).collect();
    let mut choices = 0;
    loop {
        let policies = tries.iter().map(|one| one.wish.policy(one.external)).collect();
        let error = match modify(call, id, RequestType::Add, policies) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let EngineError::Model(ModelError::PortTaken { ports, transport, .. }) = &error else {
            return Err(error.into());
        };
        // Mappings are taken in order: of two that want the same port, the later one makes way.
        let chooser = tries.iter_mut().rev().find(|one| one.is_chosen_among(*ports, *transport));
        match chooser {
            Some(chooser) => chooser.advance(error)?,
            None if wishes.iter().any(|wish| wish.external == External::Any) && choices < CHOICES_MAX => {
                choices += 1;
            }
            None => return Err(error.into()),
        }
    }
}

/// A wish with the ports of the host that are tried for it.
struct Try<'w> {
    wish: &'w Wish,
    /// None: the engine chooses.
    external: Option<PortRange>,
}

impl<'w> Try<'w> {
    fn first(wish: &'w Wish) -> Self {
        let external = match wish.external {
            External::Any => None,
            External::These(ports) => Some(ports),
            External::OneOf(ports) => PortRange::single(ports.start()).ok(),
        };
        Self { wish, external }
    }

    fn is_chosen_among(&self, taken: PortRange, transport: Transport) -> bool {
        matches!(self.wish.external, External::OneOf(_))
            && self.wish.transport == transport
            && self.external.is_some_and(|external| external.overlaps(taken))
    }

    /// On to the next port of the range; past its end, `error` says who has the last one.
    fn advance(&mut self, error: EngineError) -> Result<(), Refusal> {
        let (External::OneOf(range), Some(last)) = (self.wish.external, self.external) else {
            return Err(error.into());
        };
        let next = last.end().checked_add(1).filter(|next| *next <= range.end());
        match next.and_then(|next| PortRange::single(next).ok()) {
            Some(next) => self.external = Some(next),
            None => {
                let transport = self.wish.transport;
                return Err(Refusal::NoPortOfRange { ports: range, transport, source: error });
            }
        }
        Ok(())
    }
}
