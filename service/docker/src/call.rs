use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hns_net::Guid;
use hns_reconciler::Engine;
use serde_json::{Value, json};

use crate::drivers::Driver;
use crate::refusal::Refusal;
use crate::{endpoint, network};

/// What one call works with.
pub(crate) struct Call<'a> {
    pub engine: &'a Engine,
    pub driver: &'static Driver,
    pub bindings: &'a Bindings,
}

/// Which Docker networks an HNS network serves is read, changed and written back by one call at a time.
#[derive(Default)]
pub(crate) struct Bindings {
    alone: Mutex<()>,
    departing: Mutex<Departing>,
}

/// By the id of a network that Docker deletes by itself: the HNS network that it showed, where that one stays.
pub(crate) type Departing = BTreeMap<String, Option<Guid>>;

/// How many networks Docker deletes at a time at most, as far as it matters.
const DEPARTING_MAX: usize = 1024;

impl Bindings {
    pub fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Docker is about to delete this network of its own, and whoever mirrors must not do so as well.
    pub fn depart(&self, docker: &str, shown: Option<Guid>) {
        let mut departing = self.departing.lock().unwrap_or_else(PoisonError::into_inner);
        departing.insert(docker.to_owned(), shown);
        if departing.len() > DEPARTING_MAX {
            departing.pop_first();
        }
    }

    /// The networks that Docker deletes by itself.
    pub fn departing(&self) -> MutexGuard<'_, Departing> {
        self.departing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a method is performed.
pub(crate) enum Method {
    /// By an answer that is always the same, before the engine is ready too.
    Fixed(Value),
    /// On a thread that may change the host.
    Engine(fn(&Call<'_>, &[u8]) -> Result<Value, Refusal>),
}

/// The method of a network driver with this name; none when there is no such method.
pub(crate) fn network_method(name: &str) -> Option<Method> {
    Some(match name {
        "Plugin.Activate" => Method::Fixed(json!({ "Implements": ["NetworkDriver"] })),
        "NetworkDriver.GetCapabilities" => {
            Method::Fixed(json!({ "Scope": "local", "ConnectivityScope": "local", "GwAllocChecker": true }))
        }
        "NetworkDriver.GwAllocCheck" => Method::Engine(network::check_gateways),
        "NetworkDriver.CreateNetwork" => Method::Engine(network::create),
        "NetworkDriver.DeleteNetwork" => Method::Engine(network::delete),
        "NetworkDriver.AllocateNetwork" => Method::Engine(network::allocate),
        "NetworkDriver.FreeNetwork" => Method::Fixed(json!({})),
        "NetworkDriver.CreateEndpoint" => Method::Engine(endpoint::create),
        "NetworkDriver.DeleteEndpoint" => Method::Engine(endpoint::delete),
        // Docker shows none of it; older versions do not start a container without an answer.
        "NetworkDriver.EndpointOperInfo" => Method::Fixed(json!({ "Value": {} })),
        "NetworkDriver.Join" => Method::Engine(endpoint::join),
        "NetworkDriver.Leave" => Method::Engine(endpoint::leave),
        "NetworkDriver.ProgramExternalConnectivity" => Method::Engine(endpoint::publish),
        "NetworkDriver.RevokeExternalConnectivity" => Method::Engine(endpoint::withdraw),
        // Other nodes of a cluster, of which local networks know nothing.
        "NetworkDriver.DiscoverNew" | "NetworkDriver.DiscoverDelete" => Method::Fixed(json!({})),
        _ => return None,
    })
}
