//! As much of Docker's API as the mirror asks for, from a script.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// What Docker has, and what it was asked for.
#[derive(Default)]
pub struct Content {
    pub component: &'static str,
    /// As `docker network inspect` shows them, by id.
    pub networks: BTreeMap<String, Value>,
    pub containers: BTreeMap<String, Value>,
    /// What removals are refused with.
    pub refusal: Option<&'static str>,
    /// Creations and removals, as verb, path and body.
    pub changes: Vec<(String, String, Value)>,
    listeners: Vec<UnboundedSender<Bytes>>,
    versions: usize,
}

pub struct FakeDocker {
    pub content: Arc<Mutex<Content>>,
    socket: PathBuf,
    runtime: Handle,
    serving: Option<JoinHandle<()>>,
}

impl FakeDocker {
    /// Not started yet.
    pub fn new(socket: &Path, runtime: &Handle) -> Self {
        let content = Content { component: "Engine", ..Content::default() };
        let content = Arc::new(Mutex::new(content));
        Self { content, socket: socket.to_owned(), runtime: runtime.clone(), serving: None }
    }

    pub fn start(&mut self) {
        let _entered = self.runtime.enter();
        let listener = UnixListener::bind(&self.socket).unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&self.content));
        self.serving = Some(self.runtime.spawn(async move { axum::serve(listener, router).await.unwrap() }));
    }

    /// Ends as a killed daemon does: nobody listens, the file stays, and every event stream breaks off.
    pub fn kill(&mut self) {
        let serving = self.serving.take().unwrap();
        serving.abort();
        let _ended = self.runtime.block_on(serving);
        self.content.lock().unwrap().listeners.clear();
    }

    /// Every event stream breaks off, and the socket goes on listening: the daemon behind it was restarted, and systemd
    /// holds the socket.
    pub fn hang_up(&self) {
        self.content.lock().unwrap().listeners.clear();
    }

    /// The containers on a network, as `docker network inspect` shows them.
    pub fn attach(&self, network: &str, containers: &Value) {
        self.content.lock().unwrap().networks.get_mut(network).unwrap()["Containers"] = containers.clone();
    }

    pub fn start_again(&mut self) {
        std::fs::remove_file(&self.socket).unwrap();
        self.start();
    }

    pub fn network(&self, id: &str, name: &str, more: &Value) {
        let mut network = json!({
            "Id": id, "Name": name, "Driver": "nat", "Scope": "local", "EnableIPv4": true, "EnableIPv6": false,
            "Internal": false, "Options": {}, "Containers": {}, "Created": "2026-01-01T00:00:00.0Z",
            "IPAM": { "Driver": "default", "Options": null, "Config": [] },
        });
        for (key, value) in more.as_object().unwrap() {
            network[key] = value.clone();
        }
        self.content.lock().unwrap().networks.insert(id.to_owned(), network);
    }

    pub fn tell(&self, kind: &str, action: &str, id: &str, attributes: &Value) {
        let event = json!({
            "Type": kind, "Action": action, "Actor": { "ID": id, "Attributes": attributes }, "scope": "local",
            "time": 1, "timeNano": 1,
        });
        let line = Bytes::from(format!("{event}\n"));
        self.content.lock().unwrap().listeners.retain(|listener| listener.send(line.clone()).is_ok());
    }

    /// How many listen to the events now.
    pub fn listeners(&self) -> usize {
        self.content.lock().unwrap().listeners.iter().filter(|listener| !listener.is_closed()).count()
    }

    /// Whether somebody asked what it is.
    pub fn was_asked(&self) -> bool {
        self.content.lock().unwrap().versions > 1
    }

    pub fn changes(&self) -> Vec<(String, String, Value)> {
        self.content.lock().unwrap().changes.clone()
    }
}

struct Lines(UnboundedReceiver<Bytes>);

impl Stream for Lines {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|line| line.map(Ok))
    }
}

async fn answer(State(content): State<Arc<Mutex<Content>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path();
    // The version is the first word of most paths.
    let words: Vec<&str> =
        path.split('/').filter(|word| !word.is_empty() && !word.starts_with("v1.")).collect();
    let mut content = content.lock().unwrap();
    match (&parts.method, words.as_slice()) {
        (&Method::GET, ["version"]) => {
            content.versions += 1;
            let component = json!({ "Name": content.component, "Version": "28" });
            render(&json!({ "ApiVersion": "1.51", "Components": [component] }))
        }
        (&Method::GET, ["info"]) => render(&json!({ "ID": "this" })),
        (&Method::GET, ["events"]) => {
            let (listener, lines) = unbounded_channel();
            content.listeners.push(listener);
            Body::from_stream(Lines(lines)).into_response()
        }
        (&Method::GET, ["networks"]) => render(&Value::Array(content.networks.values().cloned().collect())),
        (&Method::GET, ["networks", id]) => found(content.networks.get(*id)),
        (&Method::GET, ["containers", id, "json"]) => found(content.containers.get(*id)),
        (method, words) => {
            let body = serde_json::from_slice(&body).unwrap_or_default();
            content.changes.push((method.to_string(), words.join("/"), body));
            change(&mut content, method, words)
        }
    }
}

fn change(content: &mut Content, method: &Method, words: &[&str]) -> Response {
    match (method, words) {
        (&Method::POST, ["networks", "create"]) => {
            (StatusCode::CREATED, json!({ "Id": "0", "Warning": "" }).to_string()).into_response()
        }
        (&Method::DELETE, ["networks", id]) => match content.refusal {
            Some(why) => (StatusCode::FORBIDDEN, json!({ "message": why }).to_string()).into_response(),
            None => {
                content.networks.remove(*id);
                StatusCode::NO_CONTENT.into_response()
            }
        },
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn render(value: &Value) -> Response {
    value.to_string().into_response()
}

fn found(value: Option<&Value>) -> Response {
    value.map_or_else(
        || (StatusCode::NOT_FOUND, json!({ "message": "no such thing" }).to_string()).into_response(),
        render,
    )
}
