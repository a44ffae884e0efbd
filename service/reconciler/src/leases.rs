use std::net::IpAddr;

use hns_model::{Endpoint, LeasePurpose, Network, PoolId, PoolWish};
use hns_net::{Guid, IfAddr};
use hns_store::{Durability, Record, Txn};

use crate::engine::{Engine, fresh_id};
use crate::error::EngineError;
use crate::locks::Key;
use crate::records::{self, Reader};

impl Engine {
    /// Opens a pool of addresses for an engine's IPAM (IPAM-4).
    pub fn open_pool(&self, wish: &PoolWish) -> Result<PoolId, EngineError> {
        let operation = || "cannot read the host's routes".to_owned();
        let routes = self.host.routes(None).map_err(EngineError::host(operation))?;
        let _pass = self.locks.pass();
        let _alone = self.locks.hold(Key::Leases);
        let id = self.world().open_pool(wish, fresh_id(), &routes)?;
        self.record_leases(&id)?;
        Ok(id)
    }

    /// Closes a pool; while containers hold addresses of it, it stays open.
    pub fn close_pool(&self, id: &PoolId) -> Result<(), EngineError> {
        let _pass = self.locks.pass();
        let _alone = self.locks.hold(Key::Leases);
        self.world().close_pool(id);
        self.record_leases(id)
    }

    /// Leases an address: this one, or a free one of the pool's range.
    pub fn lease_address(
        &self,
        id: &PoolId,
        wanted: Option<IpAddr>,
        purpose: LeasePurpose,
    ) -> Result<IfAddr, EngineError> {
        let _pass = self.locks.pass();
        let _alone = self.locks.hold(Key::Leases);
        let network = self.world().network_of_pool(id).map(Network::id);
        if let Some(network) = network {
            self.look_at_hosts_own(network)?;
        }
        let leased = self.world().lease(id, wanted, purpose)?;
        if let Err(error) = self.record_leases(id) {
            self.world().end_lease(id, leased.address());
            return Err(error);
        }
        Ok(leased)
    }

    /// Ends a lease; one that is not there has ended.
    pub fn end_lease(&self, id: &PoolId, address: IpAddr) -> Result<(), EngineError> {
        let _pass = self.locks.pass();
        let _alone = self.locks.hold(Key::Leases);
        self.world().end_lease(id, address);
        self.record_leases(id)
    }

    /// Deletes an endpoint whose container is gone, with the leases that its engine will not give back. The leases go
    /// first: what they hold is the endpoint's until it is gone itself, and nobody gets it meanwhile.
    pub fn collect_endpoint(&self, id: Guid) -> Result<(), EngineError> {
        self.end_leases_of(&self.settled_endpoint(id)?)?;
        self.delete_endpoint(id)?;
        tracing::info!(endpoint = %id, "deleted: its container is gone");
        Ok(())
    }

    /// Whatever locks of the endpoint are held.
    pub(crate) fn end_leases_of(&self, endpoint: &Endpoint) -> Result<(), EngineError> {
        let _alone = self.locks.hold(Key::Leases);
        let leases = self.world().leases_of(endpoint);
        for (pool, address) in leases {
            self.world().end_lease(&pool, address);
            self.record_leases(&pool)?;
        }
        Ok(())
    }

    fn record_leases(&self, id: &PoolId) -> Result<(), EngineError> {
        let key = format!("{}{id}", records::LEASES);
        let record = self.world().lease_book(id).map(records::leases);
        let txn = match record {
            Some(record) => Txn::new(Durability::Process).put(key, record),
            None => Txn::new(Durability::Process).delete(key),
        };
        self.commit(txn, format!("pool {id}")).map(drop)
    }

    pub(crate) fn restore_leases(&self, record: &Record) -> Result<(), EngineError> {
        let leases = Reader::new(&record.key, &record.value)?.leases()?;
        let id: PoolId = record.key.trim_start_matches(records::LEASES).parse()?;
        self.world().restore_leases(&id, leases);
        Ok(())
    }
}
