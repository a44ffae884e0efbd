use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hns_abi::{Direction, Reason};
use hns_datapath::Datapath;
use hns_hcn::{Notification, NotificationType};
use hns_host::{BridgeNetfilter, Host, LinkStats, NamespaceIdentity};
use hns_model::World;
use hns_net::{Cidr, Guid, IfName};
use hns_planner::{Layout, Observed, Step};
use hns_resolver::Resolver;
use hns_store::{Revision, Store, Txn};
use hns_wireguard::Wireguard;

use crate::agenda::Renewals;
use crate::background::Background;
use crate::error::EngineError;
use crate::events::{EventStream, Events, EventsError};
use crate::locks::Locks;
use crate::rounds::Repairs;

/// What the configuration says of the engine.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Where our namespaces are held.
    pub namespaces: PathBuf,
    pub default_network: DefaultNetwork,
    pub bridge_netfilter: BridgeNetfilter,
    /// Identifies the boot of the host: records of an earlier one speak of namespaces that are gone.
    pub boot_id: String,
}

/// The network `nat` that the first start makes (NAT-2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefaultNetwork {
    Suppressed,
    /// With these prefixes; none: 172.16.0.0/16 or the next free one.
    Made(Vec<Cidr>),
}

/// The objects of this host and all that is done with them. See the crate's documentation.
pub struct Engine {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) datapath: Arc<dyn Datapath>,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) wireguard: Arc<dyn Wireguard>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) settings: EngineSettings,
    pub(crate) layout: Layout,
    pub(crate) locks: Locks,
    pub(crate) events: Events,
    pub(crate) background: Background,
    /// Which namespace each path led to when it was given to us.
    pub(crate) identities: Mutex<HashMap<Guid, NamespaceIdentity>>,
    /// Ports whose link is gone and whose sandbox was still there.
    pub(crate) bereft: Mutex<BTreeSet<IfName>>,
    pub(crate) repairs: Repairs,
    pub(crate) renewals: Renewals,
    /// Held while the chains of our table come or go.
    pub(crate) chains: Mutex<()>,
    world: Mutex<World>,
    commits: AtomicU64,
    /// How many drops of the host's own firewall published ports obey.
    pub(crate) host_drops: AtomicUsize,
}

/// After how many commits the store is checkpointed behind the requests: well before SQLite would do it
/// by itself inside a commit, which then takes tens of milliseconds.
const COMMITS_PER_CHECKPOINT: u64 = 128;

impl Engine {
    pub(crate) fn new(
        host: Arc<dyn Host>,
        datapath: Arc<dyn Datapath>,
        resolver: Arc<dyn Resolver>,
        wireguard: Arc<dyn Wireguard>,
        store: Arc<dyn Store>,
        settings: EngineSettings,
    ) -> Result<Self, EngineError> {
        let revision = store.revision().map_err(store_error("read", "the store"))?;
        Ok(Self {
            host,
            datapath,
            resolver,
            wireguard,
            store,
            layout: Layout { namespaces: settings.namespaces.clone() },
            settings,
            locks: Locks::default(),
            events: Events::new(revision.as_u64()),
            background: Background::new(),
            identities: Mutex::default(),
            bereft: Mutex::default(),
            repairs: Repairs::default(),
            renewals: Renewals::default(),
            chains: Mutex::default(),
            world: Mutex::default(),
            commits: AtomicU64::new(0),
            host_drops: AtomicUsize::new(0),
        })
    }

    /// The objects, for as long as no kernel call is made.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stream_events(&self, from: Option<u64>) -> Result<EventStream, EventsError> {
        self.events.stream(from)
    }

    /// What an endpoint's port has carried; nothing while it is not attached.
    pub fn endpoint_stats(&self, id: Guid) -> Result<LinkStats, EngineError> {
        let port = match self.world().endpoint(id)?.attachment() {
            Some(attachment) => attachment.port.clone(),
            None => return Ok(LinkStats::default()),
        };
        let operation = || format!("cannot read the counters of endpoint {id}");
        let mut stats = self.host.stats(&port).map_err(EngineError::host(operation))?;
        // The link does not know what its filters have dropped.
        for count in self.drops()?.into_iter().filter(|count| count.endpoint == Some(id)) {
            match count.direction {
                _ if count.reason == Reason::Observed => {}
                Direction::In => stats.dropped_received += count.packets,
                Direction::Out => stats.dropped_sent += count.packets,
            }
        }
        Ok(stats)
    }

    /// Ends the threads behind the requests and moves the records to their file.
    pub fn stop(&self) {
        self.background.stop();
        let _alone = self.locks.close();
        if let Err(error) = self.store.checkpoint() {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store was not checkpointed");
        }
    }

    pub(crate) fn commit(&self, txn: Txn, object: impl ToString) -> Result<Revision, EngineError> {
        if self.commits.fetch_add(1, Ordering::Relaxed) % COMMITS_PER_CHECKPOINT == COMMITS_PER_CHECKPOINT - 1
        {
            self.background.checkpoint();
        }
        self.store.commit(txn).map_err(|source| EngineError::Store {
            operation: "write",
            object: object.to_string(),
            source,
        })
    }

    pub(crate) fn notify(&self, kind: NotificationType, id: Guid, network: Option<Guid>) {
        self.events.send(Notification { kind, id, network });
    }

    /// Performs steps that make an object unreachable. The object is gone whatever happens here; what
    /// the host keeps of it is a leftover for the repair.
    pub(crate) fn take_down(&self, steps: Vec<Step>) {
        let mut reap = false;
        for step in steps {
            reap |= crate::execute::leaves_links(&step);
            if let Err(error) = self.execute_one(&step) {
                tracing::warn!(error = &error as &dyn std::error::Error, "will be repaired");
                self.background.repair_everything("something could not be undone");
            }
        }
        if reap {
            self.background.reap();
        }
    }
}

pub(crate) fn store_error(
    operation: &'static str,
    object: &'static str,
) -> impl Fn(hns_store::StoreError) -> EngineError {
    move |source| EngineError::Store { operation, object: object.to_owned(), source }
}

/// The part of the host that a fresh object sees: nothing of its own, and a table to add to.
pub(crate) fn blank_slate() -> Observed {
    Observed { rules: Some(BTreeSet::new()), ..Observed::default() }
}

pub(crate) fn fresh_id() -> Guid {
    Guid::from_bytes(*uuid::Uuid::new_v4().as_bytes())
}
