use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hns_reconciler::{Engine, HostThreads};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::call::{Bindings, Call, Method, network_method};
use crate::drivers::Driver;
use crate::ipam;
use crate::refusal::Refusal;

/// What Docker asks for in `Accept`.
const CONTENT_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// The largest body: a container with tens of thousands of published ports fits.
const BODY_MAX: usize = 4 << 20;

/// How long a call waits for the engine: less than the 30 seconds after which Docker gives up, so that its user
/// reads our sentence.
const ENGINE_WAIT: Duration = Duration::from_secs(25);

/// What the plugins serve from.
#[derive(Clone)]
pub struct Front {
    /// None until the engine is ready. Docker calls a plugin as soon as it starts itself, and forgets one that does
    /// not answer, so the sockets are there before.
    pub engine: watch::Receiver<Option<Arc<Engine>>>,
    pub threads: HostThreads,
    /// Ends the service.
    pub stopping: CancellationToken,
    /// What calls and the mirror decide one at a time.
    pub(crate) bindings: Arc<Bindings>,
}

impl Front {
    #[must_use]
    pub fn new(
        engine: watch::Receiver<Option<Arc<Engine>>>,
        threads: HostThreads,
        stopping: CancellationToken,
    ) -> Self {
        Self { engine, threads, stopping, bindings: Arc::default() }
    }
}

/// Which plugin a socket is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plugin {
    Network(&'static Driver),
    Ipam,
}

#[derive(Clone)]
struct Served {
    plugin: Plugin,
    front: Front,
}

/// The routers of all plugins, which share what must be decided by one call at a time.
pub(crate) struct Routers {
    front: Front,
}

impl Routers {
    pub fn new(front: Front) -> Self {
        Self { front }
    }

    pub fn of(&self, plugin: Plugin) -> Router {
        let served = Served { plugin, front: self.front.clone() };
        // The method is the path; verb, host and content type say nothing, and older versions leave them out.
        Router::new().fallback(answer).layer(DefaultBodyLimit::max(BODY_MAX)).with_state(served)
    }
}

async fn answer(State(served): State<Served>, uri: Uri, body: Result<Bytes, BytesRejection>) -> Response {
    let name = uri.path().trim_start_matches('/').to_owned();
    let method = match served.plugin {
        Plugin::Network(_) => network_method(&name),
        Plugin::Ipam => ipam::method(&name),
    };
    let Some(method) = method else { return render(StatusCode::NOT_FOUND, &unknown(&name)) };
    let outcome = match (method, body) {
        (Method::Fixed(value), _) => Ok(value),
        (Method::Engine(perform), Ok(body)) => served.perform(perform, body).await,
        (Method::Engine(_), Err(error)) => return error.into_response(),
    };
    match outcome {
        Ok(value) => render(StatusCode::OK, &value),
        Err(refusal) => {
            let text = refusal.text();
            if refusal.is_internal() {
                tracing::error!(method = name, "{text}");
            } else {
                tracing::info!(method = name, "refused: {text}");
            }
            let field = match served.plugin {
                Plugin::Network(_) => "Err",
                Plugin::Ipam => "Error",
            };
            render(StatusCode::OK, &json!({ field: text }))
        }
    }
}

fn unknown(name: &str) -> Value {
    json!({ "Err": format!("there is no method {name}") })
}

fn render(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], value.to_string()).into_response()
}

impl Served {
    /// Performs a call on a thread that may change the host. It runs to its end even when Docker hangs up.
    async fn perform(
        &self,
        perform: fn(&Call<'_>, &[u8]) -> Result<Value, Refusal>,
        body: Bytes,
    ) -> Result<Value, Refusal> {
        let engine = self.engine().await?;
        let (plugin, bindings) = (self.plugin, Arc::clone(&self.front.bindings));
        let job = move || {
            let driver = match plugin {
                Plugin::Network(driver) => driver,
                Plugin::Ipam => &crate::drivers::NAT,
            };
            Ok(perform(&Call { engine: &engine, driver, bindings: &bindings }, &body))
        };
        self.front.threads.run(job).await?
    }

    async fn engine(&self) -> Result<Arc<Engine>, Refusal> {
        let mut engine = self.front.engine.clone();
        let wait = tokio::time::timeout(ENGINE_WAIT, engine.wait_for(Option::is_some));
        let ready = tokio::select! {
            ready = wait => ready,
            () = self.front.stopping.cancelled() => return Err(Refusal::Stopping),
        };
        match ready {
            Ok(Ok(engine)) => engine.clone().ok_or(Refusal::Starting),
            Ok(Err(_)) => Err(Refusal::Stopping),
            Err(_) => Err(Refusal::Starting),
        }
    }
}
