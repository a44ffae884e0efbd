use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::words;
use crate::answer::Refusal;
use crate::api::Api;
use crate::body;

/// The rules of an endpoint's port in the order in which they are asked, with how often each decided.
pub(super) async fn rules(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let id = body::guid(&id)?;
    let counts = api.perform(move |engine| engine.rule_counters(id)).await?;
    let render = |count: hns_datapath::RuleCount| {
        let mut rule = words::rule(&count.rule).to_v2();
        rule["Direction"] = json!(words::direction(count.direction).name());
        rule["Packets"] = json!(count.packets);
        rule
    };
    Ok(Json(counts.into_iter().map(render).collect()))
}
