use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use hns_hcn::ErrorCode;
use hns_reconciler::{Engine, EngineError, HostThreads};
use tokio_util::sync::CancellationToken;

use crate::access::{self, Access};
use crate::answer::Refusal;

/// The largest document: a network with thousands of policies fits.
const BODY_MAX: usize = 4 << 20;

/// What every request has at hand.
#[derive(Clone)]
pub struct Api {
    pub engine: Arc<Engine>,
    pub threads: HostThreads,
    pub access: Access,
    /// Ends the streams when the daemon stops.
    pub stopping: CancellationToken,
}

impl Api {
    /// Performs an operation that changes the host, on a thread that may.
    pub(crate) async fn perform<T, F>(&self, operation: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&Engine) -> Result<T, EngineError> + Send + 'static,
    {
        let engine = Arc::clone(&self.engine);
        Ok(self.threads.run(move || operation(&engine)).await?)
    }
}

/// Every route of the daemon.
pub fn router(api: Api) -> Router {
    Router::new()
        .nest("/v2", v2())
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(api.clone(), access::authorise))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(api)
}

fn v2() -> Router<Api> {
    Router::new()
        .merge(crate::networks::routes())
        .merge(crate::endpoints::routes())
        .merge(crate::inside::routes())
        .merge(crate::namespaces::routes())
        .merge(crate::events::routes())
        .merge(crate::version::routes())
        .merge(crate::doctor::routes())
        .merge(crate::explain::routes())
}

async fn no_such_path(uri: axum::http::Uri) -> Refusal {
    let hint = "the resources are networks, endpoints, namespaces, events, version, features, doctor, flows, drops and trace under /v2";
    Refusal::new(ErrorCode::INVALID_PARAMETER, format!("there is no {}", uri.path()))
        .with_status(axum::http::StatusCode::NOT_FOUND)
        .with_hint(hint)
}

async fn no_such_method(method: axum::http::Method, uri: axum::http::Uri) -> Refusal {
    Refusal::new(ErrorCode::INVALID_PARAMETER, format!("{} does not take {method}", uri.path()))
        .with_status(axum::http::StatusCode::METHOD_NOT_ALLOWED)
}
