use hns_hcn::{self as hcn, EndpointResource, ErrorCode, ModifyRequest, Policy, RequestType};
use hns_model::ModelError;
use hns_net::Guid;
use hns_planner::{Element, Step};
use hns_store::{Durability, Txn};
use std::collections::BTreeSet;
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
        let _pass = self.locks.pass();
        let network = self.world().endpoint(id)?.network();
        let lock = self.locks.network(network);
        let _shared = lock.read().unwrap_or_else(PoisonError::into_inner);
        let _held = self.locks.hold(Key::Endpoint(id));
        match request.resource {
            EndpointResource::Policies(policies) => self.change_policies(id, request.request, &policies),
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
        let before = self.elements_of(id)?;
        let change = self.world().change_policies(id, request, policies)?;
        match self.apply_policies(id, &before) {
            Ok(document) => Ok(document),
            Err(error) => {
                self.world().revert_policies(change);
                self.filter_again(id);
                Err(error)
            }
        }
    }

    fn apply_policies(&self, id: Guid, before: &BTreeSet<Element>) -> Result<hcn::Endpoint, EngineError> {
        let after = self.elements_of(id)?;
        if after.difference(before).next().is_some() {
            self.check_host_ports(id)?;
        }
        let gone: Vec<Element> = before.difference(&after).cloned().collect();
        let come: Vec<Element> = after.difference(before).cloned().collect();
        let mut steps = Vec::new();
        if !gone.is_empty() {
            steps.push(Step::RemoveElements(gone.clone()));
        }
        if !come.is_empty() {
            steps.push(Step::AddElements(come.clone()));
        }
        steps.extend(self.filter_step(id)?);
        let done = self.execute(steps)?;
        let endpoint = self.world().endpoint(id)?.clone();
        let record = records::endpoint(&endpoint);
        self.commit(
            Txn::new(Durability::Process).put(records::key(records::ENDPOINTS, id), record),
            format!("endpoint {id}"),
        )?;
        done.keep();
        // Connections that came in by a mapping that is gone end with it.
        self.background.flush_flows(flows::through(&gone));
        self.background.flush_flows(flows::before(&come));
        Ok(endpoint.document())
    }

    fn elements_of(&self, id: Guid) -> Result<BTreeSet<Element>, EngineError> {
        let world = self.world();
        let endpoint = world.endpoint(id)?;
        Ok(self.desired_endpoint(endpoint, &world).rules)
    }
}
