//! The client against an inline server that answers from a table, over a real unix socket.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hns_client::{Client, ClientError, Kind, PolicyRequest};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;

const WEB: &str = "1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44";
const OTHER: &str = "1F0E0000-6C1B-4C57-93C6-2D8C7A5B3E44";

/// A server that remembers what it was asked.
struct Server {
    _directory: TempDir,
    socket: PathBuf,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: fn(&str) -> (u16, String)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("hns.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let connections: Arc<AtomicUsize> = Arc::default();
        let (log, count) = (Arc::clone(&asked), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let log = Arc::clone(&log);
                let service = service_fn(move |request| serve(request, Arc::clone(&log), answer));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { _directory: directory, socket, asked, connections }
    }

    fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
    }
}

async fn serve(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<(String, Value)>>>,
    answer: fn(&str) -> (u16, String),
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let line = format!("{} {}", request.method(), request.uri());
    let body = request.into_body().collect().await?.to_bytes();
    log.lock().unwrap().push((line.clone(), serde_json::from_slice(&body).unwrap_or(Value::Null)));
    let (status, text) = answer(&line);
    Ok(Response::builder().status(status).body(Full::from(text)).unwrap())
}

fn two_endpoints(line: &str) -> (u16, String) {
    let all = json!([{"ID": WEB, "Name": "web"}, {"ID": OTHER, "Name": "db"}]);
    match line {
        "GET /v2/endpoints" => (200, all.to_string()),
        _ if line.contains("%22web%5C%22") => (200, json!([all[0]]).to_string()),
        _ if line.starts_with("GET /v2/endpoints?query=") => (200, "[]".to_owned()),
        _ if line == format!("GET /v2/endpoints/{WEB}") => (200, all[0].to_string()),
        _ => (204, String::new()),
    }
}

#[tokio::test]
async fn requests_in_turn_share_one_connection() {
    let server = Server::start(two_endpoints);
    let client = server.client();
    for _ in 0..5 {
        client.endpoints().await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 1);
    assert_eq!(client.delete("/v2/endpoints/x").await.unwrap(), Value::Null);
}

#[tokio::test]
async fn requests_at_the_same_time_do_not_wait_for_each_other() {
    let server = Server::start(two_endpoints);
    let client = Arc::new(server.client());
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.endpoints().await.unwrap().len() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 2);
    }
}

#[tokio::test]
async fn an_object_is_found_by_id_by_name_and_by_the_beginning_of_its_id() {
    let server = Server::start(two_endpoints);
    let client = server.client();
    for reference in [WEB, &WEB.to_lowercase(), "web", "1f0e7", "1F0E7F52-6C"] {
        assert_eq!(client.endpoint(reference).await.unwrap()["ID"], WEB, "{reference}");
    }
    assert_eq!(client.find_id(Kind::Endpoint, "db2").await.unwrap_err().code(), Some(0x803B_0002));
    let ambiguous = client.endpoint("1f0e").await.unwrap_err();
    assert!(matches!(&ambiguous, ClientError::Ambiguous { ids, .. } if ids == &[WEB, OTHER]), "{ambiguous}");
    let too_short = client.endpoint("1f").await.unwrap_err();
    assert!(matches!(too_short, ClientError::NotFound { .. }), "{too_short}");
}

#[tokio::test]
async fn a_full_id_costs_no_lookup() {
    let server = Server::start(two_endpoints);
    assert_eq!(server.client().find_id(Kind::Endpoint, &WEB.to_lowercase()).await.unwrap(), WEB);
    assert_eq!(server.asked(), [""; 0]);
}

#[tokio::test]
async fn changes_are_the_modify_documents_of_hcn() {
    let server = Server::start(two_endpoints);
    let client = server.client();
    client.attach("E", "N").await.unwrap();
    client.detach("E", "N").await.unwrap();
    let policy = json!({"Type": "PortMapping", "Settings": {}});
    client.modify_policies("E", PolicyRequest::Remove, std::slice::from_ref(&policy)).await.unwrap();
    let rule = json!({"Type": "NetworkACL", "Settings": {}});
    client.modify_network_policies("W", PolicyRequest::Update, std::slice::from_ref(&rule)).await.unwrap();
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(
        asked,
        [
            (
                "POST /v2/namespaces/N/modify".to_owned(),
                json!({"ResourceType": "Endpoint", "RequestType": "Add", "Settings": {"EndpointId": "E"}})
            ),
            (
                "POST /v2/namespaces/N/modify".to_owned(),
                json!({"ResourceType": "Endpoint", "RequestType": "Remove", "Settings": {"EndpointId": "E"}})
            ),
            (
                "POST /v2/endpoints/E/modify".to_owned(),
                json!({"ResourceType": "Policy", "RequestType": "Remove", "Settings": {"Policies": [policy]}})
            ),
            (
                "POST /v2/networks/W/modify".to_owned(),
                json!({"ResourceType": "Policy", "RequestType": "Update", "Settings": {"Policies": [rule]}})
            ),
        ]
    );
}

#[tokio::test]
async fn a_refusal_carries_the_daemons_sentence_code_and_hint() {
    let server = Server::start(|line| {
        if line.ends_with("plain") {
            return (500, "out of order".to_owned());
        }
        let document = json!({"Success": false, "Error": "port 8080 is taken by endpoint web",
            "ErrorCode": 0x803B_0013_u32, "Hint": "choose another port"});
        (409, document.to_string())
    });
    let client = server.client();
    let refused = client.create_endpoint(&json!({})).await.unwrap_err();
    assert_eq!(refused.to_string(), "port 8080 is taken by endpoint web");
    assert_eq!((refused.code(), refused.hint()), (Some(0x803B_0013), Some("choose another port".to_owned())));
    assert!(matches!(refused, ClientError::Refused { status: 409, .. }));

    let plain = client.get("/plain").await.unwrap_err();
    assert_eq!(plain.to_string(), "out of order");
    let events = client.events(Some(7)).await.unwrap_err();
    assert!(matches!(events, ClientError::Refused { status: 409, .. }));
}

#[tokio::test]
async fn nobody_on_the_socket_is_unreachable() {
    let directory = tempfile::tempdir().unwrap();
    let client = Client::new(directory.path().join("none.sock"));
    let error = client.networks().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(error.hint().unwrap().contains("hnsd"));
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_named() {
    let server = Server::start(|_| (200, "<html>".to_owned()));
    let error = server.client().networks().await.unwrap_err();
    assert!(matches!(error, ClientError::NotJson { .. }), "{error}");
}

#[tokio::test]
async fn events_are_lines_however_they_are_cut() {
    let server = Server::start(|line| {
        assert_eq!(line, "GET /v2/events?from=41");
        (200, "{\"Revision\":42}\n\n{\"Revision\":43}\n{\"Revision\":44}".to_owned())
    });
    let client = server.client();
    let mut events = client.events(Some(41)).await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        seen.push(event["Revision"].as_u64().unwrap());
    }
    assert_eq!(seen, [42, 43, 44]);
}

#[tokio::test]
async fn a_restarted_daemon_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("hns.sock");
    let client = Client::new(&socket);
    for _ in 0..3 {
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|request| serve(request, Arc::default(), |_| (200, "[]".to_owned())));
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
        });
        client.networks().await.unwrap();
        client.networks().await.unwrap();
        daemon.abort();
        assert!(daemon.await.unwrap_err().is_cancelled());
        std::fs::remove_file(&socket).unwrap();
    }
}
