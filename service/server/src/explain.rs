//! What happened to packets: drops, connections, counters of rules; and what would.

mod drops;
mod flows;
mod lines;
mod live;
mod rules;
mod trace;
mod words;

use axum::Router;
use axum::routing::{get, post};

use crate::api::Api;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/drops", get(drops::drops))
        .route("/flows", get(flows::flows))
        .route("/trace", post(trace::trace))
        .route("/endpoints/{id}/rules", get(rules::rules))
}
