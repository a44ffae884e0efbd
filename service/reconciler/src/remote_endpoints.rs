//! Remote endpoints: records of containers on other hosts, to which the programs of an overlay lead.

use std::sync::{Arc, PoisonError};

use hns_hcn as hcn;
use hns_model::{Endpoint, ModelError, World};
use hns_net::Guid;
use hns_planner::{Step, overlay_of};
use hns_store::{Durability, Txn};

use crate::engine::{Engine, fresh_id};
use crate::error::EngineError;
use crate::locks::Key;
use crate::records;

impl Engine {
    /// Makes containers of other hosts known on one network, all of them or none; once they are, the programs lead to them.
    pub fn create_remote_endpoints(
        &self,
        documents: Vec<hcn::Endpoint>,
    ) -> Result<Vec<hcn::Endpoint>, EngineError> {
        let network = hns_model::network_of_remotes(&documents)?;
        let _pass = self.locks.pass();
        let lock = network.map(|network| self.locks.network(network));
        let _alone = lock.as_ref().map(|lock| lock.write().unwrap_or_else(PoisonError::into_inner));
        let (reserved, lead) = self.change_known(network, |world| reserve_all(world, documents))?;
        let created = self.execute(lead.into_iter().collect()).and_then(|done| {
            let created = self.record_all(&reserved)?;
            done.keep();
            Ok(created)
        });
        if created.is_err() {
            // Reserved above and shown to nobody since.
            let mut world = self.world();
            reserved.iter().for_each(|id| _ = world.forget_endpoint(*id));
        }
        created
    }

    /// In one step, after which they exist for everyone.
    fn record_all(&self, endpoints: &[Guid]) -> Result<Vec<hcn::Endpoint>, EngineError> {
        let mut txn = Txn::new(Durability::Process);
        for id in endpoints {
            let world = self.world();
            txn = txn.put(records::key(records::ENDPOINTS, *id), records::endpoint(world.endpoint(*id)?));
        }
        self.commit(txn, format!("{} remote endpoints", endpoints.len()))?;
        let mut world = self.world();
        let settle = |id: &Guid| {
            world.settle_endpoint(*id)?;
            Ok(world.endpoint(*id)?.document())
        };
        endpoints.iter().map(settle).collect()
    }

    /// Deletes a remote endpoint; nothing leads to it any more when this returns.
    pub(crate) fn delete_remote_endpoint(&self, endpoint: &Endpoint) -> Result<(), EngineError> {
        let (id, network) = (endpoint.id(), endpoint.network());
        let lock = self.locks.network(network);
        let _alone = lock.write().unwrap_or_else(PoisonError::into_inner);
        let _held = self.locks.hold(Key::Endpoint(id));
        self.settled_endpoint(id)?;
        let txn = Txn::new(Durability::Process).delete(records::key(records::ENDPOINTS, id));
        self.commit(txn, format!("endpoint {id}"))?;
        let (_, lead) = self.change_known(Some(network), |world| world.forget_endpoint(id))?;
        self.take_down(lead.into_iter().collect());
        Ok(())
    }

    /// Changes the world, and says what the programs are to know then of a network whose lock is held.
    fn change_known<T>(
        &self,
        network: Option<Guid>,
        change: impl FnOnce(&mut World) -> Result<T, ModelError>,
    ) -> Result<(T, Option<Step>), ModelError> {
        let mut world = self.world();
        let known = |world: &World| {
            let network = network.and_then(|network| world.network(network).ok())?;
            overlay_of(network, world).map(|overlay| (network.id(), Arc::new(overlay)))
        };
        let before = known(&world);
        let changed = change(&mut world)?;
        let after = known(&world).filter(|after| before.as_ref() != Some(after));
        let step = after.map(|(network, overlay)| Step::SetOverlay {
            network,
            overlay: Some(overlay),
            before: before.map(|(_, before)| before),
        });
        Ok((changed, step))
    }
}

/// Each of them, or none.
fn reserve_all(world: &mut World, documents: Vec<hcn::Endpoint>) -> Result<Vec<Guid>, ModelError> {
    let mut reserved = Vec::with_capacity(documents.len());
    for document in documents {
        match world.reserve_endpoint(document, fresh_id()) {
            Ok(id) => reserved.push(id),
            Err(error) => {
                reserved.into_iter().try_for_each(|id| world.forget_endpoint(id).map(drop))?;
                return Err(error);
            }
        }
    }
    Ok(reserved)
}
