//! Bridges of the administrator's that lead to a LAN: each is a network by itself, for as long as it is there or used. They are
//! looked at, and never changed.

use hns_hcn::NotificationType;
use hns_host::{Finding, Level};
use hns_model::{ModelError, Network};
use hns_net::Guid;
use hns_store::{Durability, Txn};

use crate::engine::{Engine, store_error};
use crate::error::EngineError;
use crate::records;

impl Engine {
    /// Whether the bridges are other ones than the networks that stand for them.
    pub(crate) fn is_behind_bridges(&self) -> bool {
        match self.host.bridges() {
            Ok(seen) => self.world().is_behind(&seen),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the bridges are not known");
                // The next look at everything, which is soon then, looks at them as well.
                self.repairs.failed();
                false
            }
        }
    }

    /// Takes over which bridges there are; says how many networks it was not done with. Every request is kept out meanwhile.
    pub(crate) fn follow_bridges(&self) -> Result<usize, EngineError> {
        let operation = || "cannot see which bridges lead to a LAN".to_owned();
        let seen = self.host.bridges().map_err(EngineError::host(operation))?;
        let followed = self.world().follow_bridges(&seen);
        for id in followed.appeared {
            self.say(id, "a bridge leads to a LAN: it is a network");
            self.notify(NotificationType::NetworkCreate, id, None);
        }
        let mut stuck = 0;
        for id in followed.changed {
            self.say(id, "the bridge of a network has changed");
            if let Err(error) = self.record_again(id) {
                tracing::warn!(network = %id, error = &error as &dyn std::error::Error, "its record is of before");
                stuck += 1;
            }
        }
        // There is no notification of a change: whoever shows networks to others hears of it as of a new one.
        for id in followed.renumbered {
            self.notify(NotificationType::NetworkCreate, id, None);
        }
        for id in followed.idle {
            if let Err(error) = self.leave_bridge(id) {
                tracing::warn!(network = %id, error = &error as &dyn std::error::Error, "it stays in the books");
                stuck += 1;
            }
        }
        Ok(stuck)
    }

    /// Brings the record of a network up to date, if it has one.
    fn record_again(&self, id: Guid) -> Result<(), EngineError> {
        let key = records::key(records::NETWORKS, id);
        let operation = store_error("read", "an adopted network");
        if self.store.get(&key).map_err(operation)?.is_none() {
            return Ok(());
        }
        let value = records::network(self.world().network(id)?);
        self.commit(Txn::new(Durability::Process).put(key, value), format!("network {id}")).map(drop)
    }

    /// Takes a network out of the books whose bridge is gone.
    fn leave_bridge(&self, id: Guid) -> Result<(), EngineError> {
        self.say(id, "the bridge of a network is gone, and nothing was on it");
        let txn = Txn::new(Durability::Power).delete(records::key(records::NETWORKS, id));
        self.commit(txn, format!("network {id}"))?;
        self.world().forget_network(id)?;
        self.locks.forget_network(id);
        self.notify(NotificationType::NetworkDelete, id, None);
        Ok(())
    }

    fn say(&self, network: Guid, what: &str) {
        let world = self.world();
        let name = world.network(network).map(Network::name).unwrap_or_default();
        tracing::info!(%network, name, "{what}");
    }

    /// Refuses to delete what is the administrator's. The network of a bridge that is gone is ours alone.
    pub(crate) fn refuse_adopted(&self, id: Guid) -> Result<(), ModelError> {
        let world = self.world();
        let network = world.network(id)?;
        match network.adopted().filter(|_| network.is_present()) {
            Some(bridge) => {
                Err(ModelError::NotOurs { network: network.name().to_owned(), bridge: bridge.clone() })
            }
            None => Ok(()),
        }
    }

    /// Adds the record of an adopted network to that of its endpoint, which the next start finds even if the bridge comes later.
    pub(crate) fn with_adopted(&self, id: Guid, txn: Txn) -> Result<Txn, EngineError> {
        let world = self.world();
        let network = world.network(id)?;
        let is_adopted = network.adopted().is_some();
        let record = || (records::key(records::NETWORKS, id), records::network(network));
        Ok(if is_adopted {
            let (key, value) = record();
            txn.put(key, value)
        } else {
            txn
        })
    }

    /// The last endpoint has left a network whose bridge is gone.
    pub(crate) fn leave_lost_bridge(&self, id: Guid) {
        let is_leaving = self.world().network(id).is_ok_and(Network::is_leaving);
        if is_leaving {
            self.background.repair_everything("the bridge of a network is gone");
        }
    }

    /// The bridges that another network keeps from being one, and the networks whose bridge is gone.
    pub(crate) fn diagnose_bridges(&self) -> Vec<Finding> {
        let world = self.world();
        let missed = world.missed_bridges().map(|(bridge, holder)| Finding {
            check: "bridges",
            level: Level::Warn,
            detail: format!("bridge {bridge} leads to a LAN, but network {holder} has its name"),
            hint: Some(format!("give that network another name, and containers can be on {bridge}")),
        });
        let lost = world.networks().filter(|network| !network.is_present()).filter_map(|network| {
            let bridge = network.adopted()?;
            Some(Finding {
                check: "bridges",
                level: Level::Problem,
                detail: format!(
                    "bridge {bridge} is gone, or leads to no LAN any more; endpoints or rules are on its network"
                ),
                hint: Some("make it again, and endpoints are plugged in by themselves; or delete the network".to_owned()),
            })
        });
        missed.chain(lost).collect()
    }
}
