use std::sync::PoisonError;

use hns_hcn as hcn;
use hns_model::{EndpointAmendment, NetworkAmendment};
use hns_net::Guid;
use hns_store::{Durability, Txn};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::locks::Key;
use crate::records;

impl Engine {
    /// Changes what a network is called and marked with, and where its dynamic addresses come from.
    pub fn amend_network(&self, id: Guid, amendment: NetworkAmendment) -> Result<hcn::Network, EngineError> {
        let _pass = self.locks.pass();
        let _creation = self.locks.creation();
        let lock = self.locks.network(id);
        let _alone = lock.write().unwrap_or_else(PoisonError::into_inner);
        let (before, network) = {
            let mut world = self.world();
            let before = world.amend_network(id, amendment)?;
            (before, world.network(id)?.clone())
        };
        let txn =
            Txn::new(Durability::Power).put(records::key(records::NETWORKS, id), records::network(&network));
        if let Err(error) = self.commit(txn, format!("network \"{}\"", network.name())) {
            self.world().restore_amended(before);
            return Err(error);
        }
        Ok(network.document().clone())
    }

    /// Changes what an endpoint is called and marked with.
    pub fn amend_endpoint(
        &self,
        id: Guid,
        amendment: EndpointAmendment,
    ) -> Result<hcn::Endpoint, EngineError> {
        let _pass = self.locks.pass();
        let _held = self.locks.hold(Key::Endpoint(id));
        self.settled_endpoint(id)?;
        let (before, endpoint) = {
            let mut world = self.world();
            let before = world.amend_endpoint(id, amendment)?;
            (before, world.endpoint(id)?.clone())
        };
        let record = records::endpoint(&endpoint);
        let txn = Txn::new(Durability::Process).put(records::key(records::ENDPOINTS, id), record);
        if let Err(error) = self.commit(txn, format!("endpoint {id}")) {
            // The names and keys it had were fine a moment ago.
            let _ = self.world().amend_endpoint(id, before);
            return Err(error);
        }
        Ok(endpoint.document())
    }
}
