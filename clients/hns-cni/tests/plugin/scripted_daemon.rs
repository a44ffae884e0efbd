//! A daemon that answers from a script, over a real unix socket, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

pub const MAC: &str = "00-15-5D-0A-00-05";
pub const NETWORK: &str = "11111111-1111-1111-1111-111111111111";
pub const NAMESPACE: &str = "22222222-2222-2222-2222-222222222222";

/// Answers a line such as `DELETE /v2/endpoints/ID` and its body with a status and a document.
pub type Script = dyn Fn(&str, &Value) -> (u16, Value) + Send + Sync;

/// The lines it was asked, each with its body.
type Log = Arc<Mutex<Vec<(String, Value)>>>;

pub struct Daemon {
    folder: TempDir,
    log: Log,
}

impl Daemon {
    pub fn start(script: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A file stands for the container's namespace: the plugin only looks whether it is there.
        std::fs::write(folder.path().join("netns"), "").unwrap();
        let listener = UnixListener::bind(folder.path().join("hns.sock")).unwrap();
        let log = Log::default();
        let (script, asked): (Arc<Script>, Log) = (Arc::new(script), Arc::clone(&log));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (script, asked) = (Arc::clone(&script), Arc::clone(&asked));
                thread::spawn(move || serve(stream, &*script, &asked));
            }
        });
        Self { folder, log }
    }

    /// One that grants every endpoint and knows the networks it is asked for.
    pub fn generous() -> Self {
        Self::start(granted)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("hns.sock")
    }

    pub fn namespace(&self) -> PathBuf {
        self.folder.path().join("netns")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn asked(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
    }

    /// The body of the only create.
    pub fn created(&self) -> Value {
        let log = self.log.lock().unwrap();
        let mut creates = log.iter().filter(|(line, _)| line == "POST /v2/endpoints");
        let (_, body) = creates.next().unwrap();
        assert!(creates.next().is_none(), "more than one request for an ADD");
        body.clone()
    }
}

/// Reads requests of HTTP/1.1 as far as the client writes them, until it closes the connection.
fn serve(stream: UnixStream, script: &Script, log: &Log) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let line = line.rsplit_once(' ')?.0.to_owned();
        log.lock().unwrap().push((line.clone(), body.clone()));
        let (status, answer) = script(&line, &body);
        let text = if answer.is_null() { String::new() } else { answer.to_string() };
        let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        writer.write_all(answer.as_bytes()).ok()?;
    }
}

/// What the daemon says to a request that it grants.
pub fn granted(line: &str, body: &Value) -> (u16, Value) {
    match line {
        "POST /v2/endpoints" => (201, endpoint(body)),
        "GET /v2/version" => (200, json!({"Version": "0.1.0"})),
        _ if line.starts_with("GET") => (200, json!([])),
        _ => (204, Value::Null),
    }
}

/// The document that a create is answered with: what was asked, completed.
pub fn endpoint(asked: &Value) -> Value {
    let mut made = asked.clone();
    let mut network = asked["HostComputeNetwork"].clone();
    network["ID"] = json!(NETWORK);
    if network["Ipams"].is_null() {
        let routes = json!([{"NextHop": "172.16.0.1", "DestinationPrefix": "0.0.0.0/0"}]);
        let subnets = json!([{"IpAddressPrefix": "172.16.0.0/16", "Routes": routes}]);
        network["Ipams"] = json!([{"Type": "Static", "Subnets": subnets}]);
    }
    made["HostComputeNetwork"] = network;
    made["HostComputeNamespace"]["ID"] = json!(NAMESPACE);
    if made["IpConfigurations"].as_array().unwrap().is_empty() {
        made["IpConfigurations"] = json!([{"IpAddress": "172.16.0.5", "PrefixLength": 16}]);
    }
    for configured in made["IpConfigurations"].as_array_mut().unwrap() {
        if configured["PrefixLength"].is_null() {
            configured["PrefixLength"] = json!(24);
        }
    }
    if made["Routes"].as_array().unwrap().is_empty() {
        made["Routes"] = json!([{"NextHop": "172.16.0.1", "DestinationPrefix": "0.0.0.0/0", "Metric": 0}]);
    }
    if made["MacAddress"].is_null() {
        made["MacAddress"] = json!(MAC);
    }
    made["State"] = json!(3);
    let interface = &asked["AdditionalParams"]["InterfaceName"];
    made["Health"] = json!({"Data": null, "Extra": {"Interface": interface, "Port": "hnv0123456789ab"}});
    made
}

/// The same endpoint as a query shows it: its network and namespace by their ids.
pub fn queried(made: &Value) -> Value {
    let mut shown = made.clone();
    shown["HostComputeNetwork"] = json!(NETWORK);
    shown["HostComputeNamespace"] = json!(NAMESPACE);
    shown
}
