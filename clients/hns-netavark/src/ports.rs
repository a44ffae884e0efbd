//! The published ports of a container that is on several networks.
//!
//! Netavark tells each of a container's networks all of its ports, in any order; a port of the host leads to one
//! endpoint. It is the one with the container's default route, or answers would leave by another network.

use hns_client::{Kind, PolicyRequest};
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::document::{self, MARK};
use crate::error::{Doing, PluginError};
use crate::podman::Container;

/// Settles between the container's endpoints which of them has the ports. False when another container has them.
/// Without the ports in `document` its endpoint is not the one.
pub async fn settle(
    daemon: &Daemon,
    container: &Container,
    document: &mut Value,
) -> Result<bool, PluginError> {
    let siblings = siblings(daemon, container).await?;
    let Some(holder) = siblings.iter().find(|sibling| !port_policies(sibling).is_empty()) else {
        return Ok(false);
    };
    if rank(document) > rank(holder) {
        let policies = port_policies(holder);
        daemon.modify(id(holder), PolicyRequest::Remove, &policies, moving(container)).await?;
    } else if let Some(policies) = document.get_mut("Policies").and_then(Value::as_array_mut) {
        policies.retain(|policy| !is_port_mapping(policy));
    }
    Ok(true)
}

/// Gives the ports of an endpoint that is gone to another of its container, the one with the default route first.
pub async fn hand_over(daemon: &Daemon, container: &Container) -> Result<(), PluginError> {
    let mut siblings = siblings(daemon, container).await?;
    if siblings.iter().any(|sibling| !port_policies(sibling).is_empty()) {
        return Ok(());
    }
    siblings.sort_by_key(|sibling| std::cmp::Reverse(rank(sibling)));
    let policies = document::port_mappings(container)?;
    let mut outcome = Ok(());
    for sibling in &siblings {
        match daemon.modify(id(sibling), PolicyRequest::Add, &policies, moving(container)).await {
            Ok(_) => return Ok(()),
            // Networks without a way out publish nothing.
            Err(error) if error.code() == Some(hns_hcn::ErrorCode::MAPPING_NOT_SUPPORTED) => {}
            // It leaves too, as all do when the container stops.
            Err(error) if error.is_not_found() => {}
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}

/// The other endpoints of the container.
async fn siblings(daemon: &Daemon, container: &Container) -> Result<Vec<Value>, PluginError> {
    let own = container.endpoint_guid().to_string();
    let filter = json!({"Name": container.name()});
    let mut found = daemon.list_where(Kind::Endpoint, &filter, moving(container)).await?;
    found.retain(|endpoint| {
        let mark = &endpoint["AdditionalParams"][MARK];
        mark["ContainerId"] == json!(container.container_id) && !id(endpoint).eq_ignore_ascii_case(&own)
    });
    Ok(found)
}

/// Whether it can have the default route, and how much it is meant to.
fn rank(endpoint: &Value) -> (bool, i64) {
    let routes = endpoint.get("Routes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let refused = routes.iter().any(|route| matches!(route["NextHop"].as_str(), Some("0.0.0.0" | "::")));
    (!refused, endpoint["AdditionalParams"]["GatewayPriority"].as_i64().unwrap_or_default())
}

fn port_policies(endpoint: &Value) -> Vec<Value> {
    let policies = endpoint.get("Policies").and_then(Value::as_array);
    policies.into_iter().flatten().filter(|policy| is_port_mapping(policy)).cloned().collect()
}

fn is_port_mapping(policy: &Value) -> bool {
    policy["Type"] == json!("PortMapping")
}

fn id(endpoint: &Value) -> &str {
    endpoint.get("ID").and_then(Value::as_str).unwrap_or_default()
}

fn moving(container: &Container) -> Doing {
    Doing::MovePorts { container: container.name().to_owned() }
}
