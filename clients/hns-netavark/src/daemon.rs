use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hns_client::{Client, ClientError, Kind};
use hns_hcn::ErrorCode;
use serde_json::Value;

use crate::error::{Doing, PluginError};

/// How long a daemon may be away, as it is while it restarts. Podman forgets a container whose teardown fails, so a
/// call at that moment must not be lost.
const RESTART_PATIENCE: Duration = Duration::from_secs(2);
const RESTART_POLL: Duration = Duration::from_millis(20);

/// Which failures a request is repeated after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeatable {
    /// Those that show that it was not heard.
    Unheard,
    /// Also those that leave open whether it was: done twice it does what it does once. Objects have ids of our
    /// choice, and a second creation meets the first.
    Always,
}

/// The daemon as the verbs see it.
#[derive(Debug)]
pub struct Daemon {
    client: Client,
}

impl Daemon {
    pub fn at(socket: PathBuf) -> Self {
        Self { client: Client::new(socket) }
    }

    pub async fn create(&self, kind: Kind, document: &Value, doing: Doing) -> Result<Value, PluginError> {
        self.patiently(Repeatable::Always, doing, async || self.client.create(kind, document).await).await
    }

    /// By id, name or beginning of an id.
    pub async fn find(&self, kind: Kind, reference: &str, doing: Doing) -> Result<Value, PluginError> {
        self.patiently(Repeatable::Always, doing, async || self.client.find(kind, reference).await).await
    }

    pub async fn list(&self, kind: Kind, doing: Doing) -> Result<Vec<Value>, PluginError> {
        self.patiently(Repeatable::Always, doing, async || self.client.list(kind).await).await
    }

    pub async fn list_where(
        &self,
        kind: Kind,
        filter: &Value,
        doing: Doing,
    ) -> Result<Vec<Value>, PluginError> {
        self.patiently(Repeatable::Always, doing, async || self.client.list_where(kind, filter).await).await
    }

    /// Whether there was something to remove.
    pub async fn remove(&self, kind: Kind, id: &str, doing: Doing) -> Result<bool, PluginError> {
        match self.patiently(Repeatable::Always, doing, async || self.client.remove(kind, id).await).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Changes policies of an endpoint.
    pub async fn modify(
        &self,
        endpoint: &str,
        request: hns_client::PolicyRequest,
        policies: &[Value],
        doing: Doing,
    ) -> Result<Value, PluginError> {
        let change = async || self.client.modify_policies(endpoint, request, policies).await;
        self.patiently(Repeatable::Unheard, doing, change).await
    }

    /// Repeats a request for as long as a restart of the daemon may take.
    async fn patiently<T>(
        &self,
        repeatable: Repeatable,
        doing: Doing,
        request: impl AsyncFn() -> Result<T, ClientError>,
    ) -> Result<T, PluginError> {
        let begin = Instant::now();
        loop {
            match request().await {
                Err(error) if restarts(&error, repeatable) && begin.elapsed() < RESTART_PATIENCE => {
                    tokio::time::sleep(RESTART_POLL).await;
                }
                outcome => return outcome.map_err(|source| PluginError::Daemon { doing, source }),
            }
        }
    }
}

/// Whether an error is one that a daemon gives while it restarts.
fn restarts(error: &ClientError, repeatable: Repeatable) -> bool {
    match error {
        // A socket that is not there, or that a daemon which is gone left behind.
        ClientError::Unreachable { source, .. } => {
            matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
        }
        ClientError::Interrupted { .. } => repeatable == Repeatable::Always,
        ClientError::Refused { code, .. } => *code == ErrorCode::MANAGER_STOPPED.0,
        _ => false,
    }
}
