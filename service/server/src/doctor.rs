use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use hns_host::Level;
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::api::Api;

pub(crate) fn routes() -> Router<Api> {
    Router::new().route("/doctor", get(doctor))
}

async fn doctor(State(api): State<Api>) -> Result<Json<Value>, Refusal> {
    let findings = api.perform(hns_reconciler::Engine::diagnose).await?;
    let render = |finding: hns_host::Finding| {
        let level = match finding.level {
            Level::Ok => "Ok",
            Level::Warn => "Warn",
            Level::Problem => "Problem",
        };
        json!({ "Check": finding.check, "Level": level, "Detail": finding.detail, "Hint": finding.hint })
    };
    Ok(Json(findings.into_iter().map(render).collect()))
}
