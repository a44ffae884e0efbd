use std::path::Path;

use hns_client::Kind;
use hns_hcn::ErrorCode;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::document;
use crate::error::{Doing, PluginError};
use crate::podman::Container;
use crate::{leftovers, ports, status, warn};

/// How often a container's request is repeated after what stood in its way was removed: an older self, a dead
/// container's port or address, and the same ports on another of its networks.
const TRIES_MAX: usize = 4;

/// Puts a container on a network: one request, unless something stands in the way that may be removed.
pub async fn setup(daemon: &Daemon, netns: &Path, container: &Container) -> Result<Value, PluginError> {
    let mut document = document::endpoint(container, netns)?;
    if container.network.internal && !container.port_mappings.is_empty() {
        warn(&format!("network {:?} is internal: no port is published through it", container.network.name));
    }
    let mut tries = 1;
    let endpoint = loop {
        match daemon.create(Kind::Endpoint, &document, joining(container)).await {
            Err(error) if tries < TRIES_MAX && make_way(daemon, container, &mut document, &error).await? => {
                tries += 1;
            }
            outcome => break outcome?,
        }
    };
    status::of_endpoint(container, &endpoint)
}

/// Removes what the request met, if that is podman's own; false when it is not.
async fn make_way(
    daemon: &Daemon,
    container: &Container,
    document: &mut Value,
    refusal: &PluginError,
) -> Result<bool, PluginError> {
    match refusal.code() {
        // The container is still there from before a crash: its namespace is a new one.
        Some(ErrorCode::NETWORK_ALREADY_EXISTS) => {
            let id = container.endpoint_guid().to_string();
            daemon.remove(Kind::Endpoint, &id, joining(container)).await
        }
        Some(ErrorCode::PORT_ALREADY_EXISTS) => {
            if ports::settle(daemon, container, document).await? {
                return Ok(true);
            }
            Ok(!leftovers::remove_dead_endpoints(daemon).await?.is_empty())
        }
        Some(ErrorCode::ADDR_INVALID_OR_RESERVED) => {
            Ok(!leftovers::remove_dead_endpoints(daemon).await?.is_empty())
        }
        _ => Ok(false),
    }
}

fn joining(container: &Container) -> Doing {
    Doing::Connect { container: container.name().to_owned(), network: container.network.name.clone() }
}
