//! Does what was planned: in Docker by its API, in HNS by the engine, on the threads that may change the host.

use std::collections::BTreeSet;
use std::sync::Arc;

use hns_hcn::ErrorCode;
use hns_model::{EndpointAmendment, ModelError, NetworkAmendment};
use hns_net::{Cidr, Guid};
use hns_reconciler::{Engine, EngineError};
use serde_json::{Value, json};

use super::api::{Api, ApiError};
use super::plan::Deed;
use super::replay;
use super::session::SessionError;
use super::view::{DockerNetwork, ENGINE};
use crate::call::Call;
use crate::drivers::NAT;
use crate::front::Front;
use crate::network;
use crate::refusal::Refusal;

#[derive(Debug, thiserror::Error)]
pub(super) enum DeedError {
    #[error("network \"{name}\" is not shown in Docker")]
    Show { name: String, source: ApiError },
    #[error(
        "network \"{name}\" is gone or has other subnets, and Docker keeps its own of that name; tried again when a container leaves it"
    )]
    Remove { name: String, source: ApiError },
    #[error("network \"{name}\" of Docker is not in HNS: {}", refusal.text())]
    Remake { name: String, refusal: Refusal },
    #[error("what Docker deleted is still in HNS: {}", refusal.text())]
    Forget { refusal: Refusal },
    #[error("network {network} keeps its name and range")]
    Amend { network: Guid, source: EngineError },
    #[error("endpoint {endpoint} keeps its name")]
    Name { endpoint: Guid, source: EngineError },
    #[error("endpoint {endpoint}, whose container is gone, was not deleted")]
    Collect { endpoint: Guid, source: EngineError },
}

/// What was said already, so that what stays as it is, is said once.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeSet<String>);

/// How many sentences are remembered; then all may be said again.
const SAID_MAX: usize = 1024;

impl Said {
    /// Whether this is news.
    pub fn is_new(&mut self, text: String) -> bool {
        if self.0.len() >= SAID_MAX {
            self.0.clear();
        }
        self.0.insert(text)
    }

    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// Says why there is no mirror, unless that passes by itself.
    pub fn complain(&mut self, error: &SessionError) {
        if error.is_lasting() && self.is_new(chain(error)) {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the networks of Docker are not mirrored"
            );
        }
    }
}

/// Both sides.
#[derive(Clone)]
pub(super) struct Sides {
    pub front: Front,
    pub engine: Arc<Engine>,
    pub api: Api,
}

impl Sides {
    /// Does everything that can be done; what fails is said, and stands in nobody's way.
    pub async fn execute(&self, deeds: Vec<Deed>, said: &mut Said) {
        for deed in deeds {
            if let Deed::Leave { network, name, why } = &deed {
                if said.is_new(format!("{deed:?}")) {
                    tracing::info!(%network, name, "not shown in Docker: {why}");
                }
                continue;
            }
            if let Err(error) = self.perform(deed).await {
                let error = &error as &dyn std::error::Error;
                if said.is_new(chain(error)) {
                    tracing::warn!(error, "the networks of Docker and HNS differ");
                }
            }
        }
    }

    async fn perform(&self, deed: Deed) -> Result<(), DeedError> {
        match deed {
            Deed::Show { network, driver } => {
                let shown = self.api.show(&network, driver).await;
                shown.map_err(|source| DeedError::Show { name: network.name.clone(), source })?;
                tracing::info!(network = %network.id, name = network.name, "shown in Docker");
                Ok(())
            }
            Deed::Remove { docker, name } => {
                let removed = self.api.remove(&docker).await;
                removed.map_err(|source| DeedError::Remove { name: name.clone(), source })?;
                tracing::info!(name, "removed from Docker: its HNS network is gone, or has other subnets");
                Ok(())
            }
            Deed::Remake(network) => self.remake(network).await,
            Deed::Amend { network, name, range, engine } => {
                let amended = self.host(move |host| amend(host, network, name, range, engine)).await;
                amended.map_err(|source| DeedError::Amend { network, source })
            }
            Deed::Name { endpoint, name } => {
                let amendment = EndpointAmendment { name: Some(name), params: Vec::new() };
                let named = self.host(move |host| host.amend_endpoint(endpoint, amendment).map(drop)).await;
                unless_gone(named).map_err(|source| DeedError::Name { endpoint, source })
            }
            Deed::Collect { endpoint } => {
                let collected = unless_gone(self.host(move |host| host.collect_endpoint(endpoint)).await);
                collected.map_err(|source| DeedError::Collect { endpoint, source })
            }
            Deed::Forget { docker } => {
                let body = json!({ "NetworkID": docker });
                let forgotten = self.call(network::delete, body, NAT.name).await;
                forgotten.map_err(|refusal| DeedError::Forget { refusal })?;
                tracing::info!(docker, "forgotten: Docker deleted the network while nobody listened");
                Ok(())
            }
            Deed::Leave { .. } => Ok(()),
        }
    }

    async fn remake(&self, lost: DockerNetwork) -> Result<(), DeedError> {
        let made = self.call(network::create, replay::create_network(&lost), &lost.driver).await;
        made.map_err(|refusal| DeedError::Remake { name: lost.name.clone(), refusal })?;
        tracing::info!(name = lost.name, "made again as Docker has it: it was lost");
        Ok(())
    }

    /// Performs a method as if Docker called it.
    async fn call(
        &self,
        method: fn(&Call<'_>, &[u8]) -> Result<Value, Refusal>,
        body: Value,
        driver: &str,
    ) -> Result<(), Refusal> {
        let bindings = Arc::clone(&self.front.bindings);
        let driver = crate::drivers::DRIVERS.into_iter().find(|known| known.name == driver).unwrap_or(&NAT);
        let body = body.to_string();
        let job = move |engine: &Engine| {
            Ok(method(&Call { engine, driver, bindings: &bindings }, body.as_bytes()).map(drop))
        };
        self.host(job).await?
    }

    async fn host<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let engine = Arc::clone(&self.engine);
        self.front.threads.run(move || work(&engine)).await
    }
}

/// An error with its causes, to tell whether it was said before.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// What is gone meanwhile needs nothing any more.
fn unless_gone(outcome: Result<(), EngineError>) -> Result<(), EngineError> {
    match outcome {
        Err(error) if error.code() == ErrorCode::ENDPOINT_NOT_FOUND => Ok(()),
        outcome => outcome,
    }
}

fn amend(
    engine: &Engine,
    network: Guid,
    name: Option<String>,
    range: Option<Vec<Cidr>>,
    docker: Option<String>,
) -> Result<(), EngineError> {
    let params = docker.map(|id| (ENGINE.to_owned(), Some(json!(id)))).into_iter().collect();
    let amendment = NetworkAmendment { name, ip_range: range, params, ..NetworkAmendment::default() };
    match engine.amend_network(network, amendment.clone()) {
        // Another one has the name, and it was there first.
        Err(EngineError::Model(error @ ModelError::NetworkNameTaken { .. })) => {
            let rest = NetworkAmendment { name: None, ..amendment };
            engine.amend_network(network, rest)?;
            Err(error.into())
        }
        Err(error) if error.code() == ErrorCode::NETWORK_NOT_FOUND => Ok(()),
        outcome => outcome.map(drop),
    }
}
