//! A container's whole way onto a network in one request, as its runtime asks for it: the network is found or made,
//! the namespace taken into the books, the endpoint created in both.

use std::path::PathBuf;
use std::sync::PoisonError;

use hns_hcn as hcn;
use hns_model::{ModelError, NamespaceOrigin, Network};
use hns_net::Guid;
use hns_store::Txn;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::locks::Key;
use crate::records;

/// How often a network or a namespace is looked up again that somebody else made or removed in between.
const TRIES_MAX: usize = 8;

/// A network that an endpoint is to be on.
#[derive(Debug, Clone, PartialEq)]
pub enum WantedNetwork {
    /// One that exists, by its id or else by its name.
    Named { id: Option<Guid>, name: String },
    /// One like this: found by its id or name, or made.
    Like(Box<hcn::Network>),
}

/// An endpoint with the objects around it.
#[derive(Debug, Clone, PartialEq)]
pub struct Admission {
    /// Its network, unless the endpoint's document says its id.
    pub network: Option<WantedNetwork>,
    /// Its namespace, by path or process, unless the endpoint's document says its id.
    pub namespace: Option<hcn::Namespace>,
    pub endpoint: hcn::Endpoint,
}

impl Engine {
    /// Creates an endpoint with what it needs around it. What was made for it goes again when that fails.
    pub fn admit_endpoint(&self, admission: Admission) -> Result<hcn::Endpoint, EngineError> {
        for tries in 1.. {
            match self.try_to_admit(&admission) {
                // Whoever had made it failed, and took it back just now.
                Err(EngineError::Model(ModelError::NetworkNotFound(_)))
                    if tries < TRIES_MAX && matches!(admission.network, Some(WantedNetwork::Like(_))) => {}
                outcome => return outcome,
            }
        }
        unreachable!("the last try returns what came of it")
    }

    fn try_to_admit(&self, admission: &Admission) -> Result<hcn::Endpoint, EngineError> {
        let mut endpoint = admission.endpoint.clone();
        let mut made = None;
        if let Some(wanted) = &admission.network {
            let (id, fresh) = self.find_or_make_network(wanted)?;
            endpoint.network = Some(id);
            made = fresh.then_some(id);
        }
        let outcome = match &admission.namespace {
            Some(namespace) => self.create_in_given(endpoint, namespace),
            None => self.create_endpoint(endpoint),
        };
        if let (Err(_), Some(id)) = (&outcome, made)
            && let Err(error) = self.delete_idle_network(id)
        {
            tracing::warn!(network = %id, error = &error as &dyn std::error::Error, "it stays, unused");
        }
        outcome
    }

    /// The network, and whether it was made for this.
    fn find_or_make_network(&self, wanted: &WantedNetwork) -> Result<(Guid, bool), EngineError> {
        let (id, name) = match wanted {
            WantedNetwork::Named { id, name } => (*id, name),
            WantedNetwork::Like(document) => (document.id, &document.name),
        };
        for _ in 0..TRIES_MAX {
            let found = {
                let world = self.world();
                let by_id = id.and_then(|id| world.network(id).ok());
                let found = by_id.or_else(|| world.networks().find(|network| network.name() == name));
                found.map(|network| check_likeness(network, wanted).map(|()| network.id())).transpose()?
            };
            match (found, wanted) {
                (Some(id), _) => return Ok((id, false)),
                (None, WantedNetwork::Named { id: Some(id), .. }) => {
                    return Err(ModelError::NetworkNotFound(*id).into());
                }
                (None, WantedNetwork::Named { id: None, name }) => {
                    return Err(ModelError::NoNetworkNamed(name.clone()).into());
                }
                (None, WantedNetwork::Like(document)) => match self.create_network(*document.clone()) {
                    Ok(made) => {
                        if let Some(id) = made.id {
                            return Ok((id, true));
                        }
                    }
                    // Another container of the same network was faster.
                    Err(EngineError::Model(ModelError::NetworkNameTaken { .. } | ModelError::IdTaken(_))) => {
                    }
                    Err(error) => return Err(error),
                },
            }
        }
        Err(ModelError::NoNetworkNamed(name.clone()).into())
    }

    fn create_in_given(
        &self,
        endpoint: hcn::Endpoint,
        namespace: &hcn::Namespace,
    ) -> Result<hcn::Endpoint, EngineError> {
        for tries in 1.. {
            let id = self.find_or_lend_namespace(namespace)?;
            let outcome = self.create_endpoint(hcn::Endpoint { namespace: Some(id), ..endpoint.clone() });
            match outcome {
                // It went out of the books with its last endpoint just now.
                Err(EngineError::Model(ModelError::NamespaceNotFound(_))) if tries < TRIES_MAX => {}
                Err(error) => {
                    self.release_lent(id);
                    return Err(error);
                }
                made => return made,
            }
        }
        unreachable!("the last try returns what came of it")
    }

    fn find_or_lend_namespace(&self, wanted: &hcn::Namespace) -> Result<Guid, EngineError> {
        let by_process = wanted.params.pid.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
        let path = by_process.or_else(|| wanted.params.path.clone());
        if let Some(path) = &path {
            let there = self.world().namespace_at(path).map(hns_model::Namespace::id);
            match there {
                Some(id) if !self.is_lost(id) => return Ok(id),
                Some(id) => self.delete_namespace(id)?,
                None => {}
            }
        }
        // Its ID is ours to choose: one that it had with another daemon leads to that daemon's place.
        match self.lend_namespace(hcn::Namespace { id: None, ..wanted.clone() }) {
            Err(EngineError::Model(ModelError::NamespaceTaken { holder, .. })) => Ok(holder),
            other => other,
        }
    }

    /// Adds the record of a namespace that was lent to that of its endpoint: one is nothing without the other.
    pub(crate) fn with_lent(&self, id: Guid, txn: Txn) -> Result<Txn, EngineError> {
        let namespace = self.world().namespace(id)?.clone();
        if namespace.origin() != NamespaceOrigin::Lent {
            return Ok(txn);
        }
        let identity = self.identities.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied();
        Ok(txn.put(records::key(records::NAMESPACES, id), records::namespace(&namespace, identity)))
    }

    /// Takes a namespace that was lent for its endpoints out of the books when it has none any more.
    pub(crate) fn release_lent(&self, id: Guid) {
        let _held = self.locks.hold(Key::Namespace(id));
        self.release_lent_held(id);
    }

    /// As [`Engine::release_lent`], with the namespace's lock held or every request kept out.
    pub(crate) fn release_lent_held(&self, id: Guid) {
        let idle = {
            let world = self.world();
            let namespace = world.namespace(id);
            namespace.is_ok_and(|n| n.origin() == NamespaceOrigin::Lent && n.members().next().is_none())
        };
        if idle && let Err(error) = self.remove_namespace(id) {
            tracing::warn!(namespace = %id, error = &error as &dyn std::error::Error, "it stays in the books");
        }
    }

    fn delete_idle_network(&self, id: Guid) -> Result<(), EngineError> {
        let _pass = self.locks.pass();
        let lock = self.locks.network(id);
        let _alone = lock.write().unwrap_or_else(PoisonError::into_inner);
        let idle = self.world().network(id).is_ok_and(|network| network.endpoints().next().is_none());
        if idle { self.remove_network(id) } else { Ok(()) }
    }
}

/// Whether a network that exists is the one asked for; the error names the difference.
fn check_likeness(network: &Network, wanted: &WantedNetwork) -> Result<(), ModelError> {
    let WantedNetwork::Like(document) = wanted else { return Ok(()) };
    let differs = |field: &str, problem: String| {
        let source = hcn::DocumentError::new(field, problem, hcn::ErrorCode::INVALID_NETWORK);
        Err(ModelError::Document { object: "network", source })
    };
    if network.kind() != document.kind {
        let (name, there, asked) = (network.name(), network.kind().name(), document.kind.name());
        return differs("Type", format!("network \"{name}\" exists and is of type {there}, not {asked}"));
    }
    if hns_model::encryption_of(document).is_some() && network.encryption().is_none() {
        let problem = format!("network \"{}\" exists and is not encrypted", network.name());
        return differs("Policies", problem);
    }
    let missing = document
        .subnets()
        .filter_map(|subnet| subnet.prefix)
        .find(|prefix| !prefix.is_default() && !network.prefixes().any(|there| there == *prefix));
    if let Some(prefix) = missing {
        let there: Vec<String> = network.prefixes().map(|prefix| prefix.to_string()).collect();
        let (name, there) = (network.name(), there.join(", "));
        return differs("Ipams", format!("network \"{name}\" exists with {there}, without {prefix}"));
    }
    Ok(())
}
