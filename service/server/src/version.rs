use axum::routing::get;
use axum::{Json, Router};
use hns_hcn::HNS_VERSION;
use serde_json::{Value, json};

use crate::api::Api;

pub(crate) fn routes() -> Router<Api> {
    Router::new().route("/version", get(version)).route("/features", get(features))
}

async fn version() -> Json<Value> {
    Json(json!({
        "Major": HNS_VERSION.0,
        "Minor": HNS_VERSION.1,
        "SchemaVersion": { "Major": hns_hcn::SCHEMA.0, "Minor": hns_hcn::SCHEMA.1 },
        "Daemon": env!("CARGO_PKG_VERSION"),
    }))
}

/// What the daemon does, rather than what its version number would promise of Windows.
async fn features() -> Json<Value> {
    Json(json!({
        "API": { "V1": false, "V2": true },
        "NetworkTypes": ["NAT", "Internal", "Private"],
        "EndpointPolicies": ["PortMapping", "InterfaceParameters", "PortName"],
        "IPv6DualStack": true,
        "Slash32EndpointPrefixes": true,
        "DisableHostPort": true,
    }))
}
