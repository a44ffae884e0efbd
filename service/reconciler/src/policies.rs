use hns_hcn::{self as hcn, EndpointResource, ErrorCode, ModifyRequest, Policy, PortParams, RequestType};
use hns_model::ModelError;
use hns_net::Guid;
use hns_planner::{Desired, Element, Observed, compile_endpoint, plan};
use hns_store::{Durability, Txn};
use std::sync::PoisonError;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::flows;
use crate::locks::Key;
use crate::records;

impl Engine {
    /// HcnModifyEndpoint: policies on a live endpoint (POL-3).
    pub fn modify_endpoint(
        &self,
        id: Guid,
        request: ModifyRequest<EndpointResource>,
    ) -> Result<hcn::Endpoint, EngineError> {
        self.through_a_reload(|| self.try_to_modify_endpoint(id, &request))
    }

    fn try_to_modify_endpoint(
        &self,
        id: Guid,
        request: &ModifyRequest<EndpointResource>,
    ) -> Result<hcn::Endpoint, EngineError> {
        let _pass = self.locks.pass();
        let network = {
            let world = self.world();
            let endpoint = world.endpoint(id)?;
            if endpoint.is_remote() {
                return Err(ModelError::Remote(id).into());
            }
            endpoint.network()
        };
        let lock = self.locks.network(network);
        let _shared = lock.read().unwrap_or_else(PoisonError::into_inner);
        let _held = self.locks.hold(Key::Endpoint(id));
        match &request.resource {
            EndpointResource::Policies(policies) => self.change_policies(id, request.request, policies),
            EndpointResource::PortParams(params) => self.change_port_params(id, request.request, *params),
            // Replays an endpoint's state to its guest; ours is where it should be already.
            EndpointResource::Port if request.request == RequestType::Refresh => {
                Ok(self.world().endpoint(id)?.document())
            }
            EndpointResource::Port => {
                let problem = "a switch port is made by attaching the endpoint to a namespace";
                let source = hcn::DocumentError::new("ResourceType", problem, ErrorCode::REQUEST_UNSUPPORTED);
                Err(ModelError::Document { object: "modify request", source }.into())
            }
        }
    }

    fn change_policies(
        &self,
        id: Guid,
        request: RequestType,
        policies: &[Policy],
    ) -> Result<hcn::Endpoint, EngineError> {
        let before = self.observed_endpoint(id)?;
        let held = self.host_ports(id)?;
        let change = self.world().change_policies(id, request, policies)?;
        let outcome = self.hold_host_ports(id, &held).and_then(|()| self.apply_policies(id, &before));
        let outcome = outcome.inspect_err(|_| {
            self.world().revert_policies(change);
            self.hold_former_host_ports(id, &held);
        });
        let network = self.world().endpoint(id)?.network();
        self.shed_chains_of(network);
        outcome
    }

    fn change_port_params(
        &self,
        id: Guid,
        request: RequestType,
        params: PortParams,
    ) -> Result<hcn::Endpoint, EngineError> {
        let before = self.observed_endpoint(id)?;
        let former = self.world().change_endpoint_port(id, request, params)?;
        self.apply_policies(id, &before).inspect_err(|_| {
            let _ = self.world().change_endpoint_port(id, RequestType::Update, former);
        })
    }

    /// Performs what leads from before the change to what the endpoint asks for now.
    fn apply_policies(&self, id: Guid, before: &Observed) -> Result<hcn::Endpoint, EngineError> {
        let desired = {
            let world = self.world();
            compile_endpoint(world.endpoint(id)?, &world)
        };
        let (gone, come) = difference(&desired, before);
        let done = self.execute(plan(&desired, before).steps)?;
        let endpoint = self.world().endpoint(id)?.clone();
        let record = records::endpoint(&endpoint);
        self.commit(
            Txn::new(Durability::Process).put(records::key(records::ENDPOINTS, id), record),
            format!("endpoint {id}"),
        )?;
        done.keep();
        tracing::info!(endpoint = %id, "its policies were changed");
        // Connections that came in by a mapping that is gone end with it.
        self.background.flush_flows(flows::through(&gone));
        self.background.flush_flows(flows::before(&come));
        Ok(endpoint.document())
    }

    /// The host as it shows this endpoint, if that is in line: its port and elements are those that it asks for. Its policy is
    /// asked of the datapath, so that one that is not in line is put right by the way.
    pub(crate) fn observed_endpoint(&self, id: Guid) -> Result<Observed, EngineError> {
        let desired = {
            let world = self.world();
            compile_endpoint(world.endpoint(id)?, &world)
        };
        let mut observed = Observed::in_line_with(&desired);
        for name in desired.ports.keys() {
            self.observe_policy(name, &mut observed)?;
        }
        Ok(observed)
    }
}

/// The elements that go, and those that come.
fn difference(desired: &Desired, before: &Observed) -> (Vec<Element>, Vec<Element>) {
    let shown = before.rules.clone().unwrap_or_default();
    let gone = shown.difference(&desired.rules).cloned().collect();
    (gone, desired.rules.difference(&shown).cloned().collect())
}
