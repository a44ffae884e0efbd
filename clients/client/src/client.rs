use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use serde_json::Value;

use crate::connection::Connections;
use crate::error::ClientError;
use crate::events::Events;

/// How long an answer may take. The slowest request, deleting a network with a thousand endpoints, takes seconds.
pub const REQUEST_PATIENCE: Duration = Duration::from_secs(120);

/// Speaks to one daemon. Share it: requests at the same time use connections of their own, and those are kept open.
#[derive(Debug)]
pub struct Client {
    connections: Connections,
}

impl Client {
    /// A client of the daemon that listens on `socket`. Connects with the first request.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { connections: Connections::new(socket.into()) }
    }

    pub fn socket(&self) -> &Path {
        self.connections.socket()
    }

    /// Performs a request without a body. `path` begins with `/` and may have a query.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.request("GET", path, None).await
    }

    /// The list that is at `path`.
    pub(crate) async fn array(&self, path: &str) -> Result<Vec<Value>, ClientError> {
        match self.get(path).await? {
            Value::Array(documents) => Ok(documents),
            other => Ok(vec![other]),
        }
    }

    pub async fn post(&self, path: &str, document: Option<&Value>) -> Result<Value, ClientError> {
        self.request("POST", path, document).await
    }

    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.request("DELETE", path, None).await
    }

    /// Follows the daemon's notifications: those after revision `from`, or those that happen from now on.
    pub async fn events(&self, from: Option<u64>) -> Result<Events, ClientError> {
        let path = from.map_or("/v2/events".to_owned(), |from| format!("/v2/events?from={from}"));
        self.follow("GET", path, None).await
    }

    /// Asks for an answer that does not end.
    pub(crate) async fn follow(
        &self,
        method: &'static str,
        path: String,
        document: Option<&Value>,
    ) -> Result<Events, ClientError> {
        let request = request(method, &path, document)?;
        let (response, connection) = self.connections.send(request).await?;
        let status = response.status();
        let events = Events::new(method, path, response.into_body(), connection);
        if status.is_success() {
            Ok(events)
        } else {
            Err(ClientError::from_answer(status.as_u16(), &events.into_rest().await?))
        }
    }

    async fn request(
        &self,
        method: &str,
        path: &str,
        document: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let request = request(method, path, document)?;
        tokio::time::timeout(REQUEST_PATIENCE, self.answer(request)).await.unwrap_or_else(|_| {
            Err(ClientError::Silent {
                method: method.to_owned(),
                path: path.to_owned(),
                patience: REQUEST_PATIENCE,
            })
        })
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Value, ClientError> {
        let (method, path) = (request.method().to_string(), request.uri().to_string());
        let (response, connection) = self.connections.send(request).await?;
        let status = response.status();
        let body = match response.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(source) => return Err(ClientError::Interrupted { method, path, source }),
        };
        self.connections.keep(connection);
        if !status.is_success() {
            return Err(ClientError::from_answer(status.as_u16(), &body));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|source| ClientError::NotJson { method, path, source })
    }
}

fn request(method: &str, path: &str, document: Option<&Value>) -> Result<Request<Full<Bytes>>, ClientError> {
    let body = document.map_or_else(Bytes::new, |document| Bytes::from(document.to_string()));
    Request::builder()
        .method(method)
        .uri(path)
        // HTTP/1.1 wants a host; on a unix socket any will do.
        .header(HOST, "hns")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|source| ClientError::Path { path: path.to_owned(), source })
}
