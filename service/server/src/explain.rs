//! What happened to packets: drops, connections, counters of rules.

mod drops;
mod flows;
mod rules;
mod words;

use axum::Router;
use axum::routing::get;

use crate::api::Api;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/drops", get(drops::drops))
        .route("/flows", get(flows::flows))
        .route("/endpoints/{id}/rules", get(rules::rules))
}
