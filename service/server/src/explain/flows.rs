use axum::Json;
use axum::extract::{RawQuery, State};
use hns_datapath::{Flow, FlowFilter};
use hns_hcn::ErrorCode;
use serde_json::{Value, json};

use super::words;
use crate::answer::Refusal;
use crate::api::Api;
use crate::body;

/// The connections that ports track: `?endpoint=GUID`, `?address=IP`, `?protocol=NUMBER`, `?limit=N`.
pub(super) async fn flows(State(api): State<Api>, RawQuery(raw): RawQuery) -> Result<Json<Value>, Refusal> {
    let filter = filter(raw.as_deref().unwrap_or_default())?;
    let flows = api.perform(move |engine| engine.flows(&filter)).await?;
    Ok(Json(flows.iter().map(view).collect()))
}

fn filter(raw: &str) -> Result<FlowFilter, Refusal> {
    let mut filter = FlowFilter::default();
    for (name, value) in body::pairs(raw) {
        let wrong = |expected: &str| {
            let text = format!("parameter {name}={value}: expected {expected}");
            Refusal::new(ErrorCode::INVALID_PARAMETER, text)
        };
        match name.as_str() {
            "endpoint" => filter.endpoint = Some(body::guid(&value)?),
            "address" => filter.address = Some(value.parse().map_err(|_| wrong("an IP address"))?),
            "protocol" => filter.protocol = Some(value.parse().map_err(|_| wrong("an IP protocol number"))?),
            "limit" => filter.limit = Some(value.parse().map_err(|_| wrong("a whole number"))?),
            _ => return Err(wrong("endpoint, address, protocol or limit")),
        }
    }
    Ok(filter)
}

pub(super) fn view(flow: &Flow) -> Value {
    json!({
        "Endpoint": flow.endpoint.to_string(),
        "Protocol": flow.protocol,
        "Local": flow.tuple.local.0.to_string(),
        "LocalPort": flow.tuple.local.1,
        "Remote": flow.tuple.remote.0.to_string(),
        "RemotePort": flow.tuple.remote.1,
        "Direction": words::direction(flow.origin),
        "State": flow.state.word(),
        "Adopted": flow.adopted,
        "PacketsIn": flow.packets[hns_abi::Direction::In.index()],
        "PacketsOut": flow.packets[hns_abi::Direction::Out.index()],
        "IdleSeconds": flow.idle.as_secs(),
        "Rule": flow.rule.as_ref().map(words::rule),
    })
}
