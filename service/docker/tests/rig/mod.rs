//! An engine on a host in memory behind the real sockets, and Docker's side of them.

#![allow(dead_code, reason = "each test program uses a part of the rig")]
#![expect(clippy::unwrap_used, reason = "a rig that cannot be built fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use hns_datapath::FakeDatapath;
use hns_docker::{Front, Sockets};
use hns_host::{BridgeNetfilter, FakeHost};
use hns_model::{Endpoint, Network};
use hns_net::Guid;
use hns_reconciler::{DefaultNetwork, Engine, EngineSettings, HostThreads};
use hns_resolver::FakeResolver;
use hns_server::Limits;
use hns_store::{MemoryStore, Store};
use hns_wireguard::FakeWireguard;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub struct Rig {
    pub host: FakeHost,
    pub engine: Arc<Engine>,
    pub ready: watch::Sender<Option<Arc<Engine>>>,
    pub folder: TempDir,
    pub front: Front,
    pub runtime: Runtime,
    stopping: CancellationToken,
}

/// An answer as it came.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

impl Rig {
    pub fn new() -> Self {
        let rig = Self::starting();
        rig.ready.send(Some(Arc::clone(&rig.engine))).unwrap();
        rig
    }

    /// The sockets are there and the engine is not yet.
    pub fn starting() -> Self {
        let (host, store) = (FakeHost::new(), Arc::new(MemoryStore::new()) as Arc<dyn Store>);
        let settings = EngineSettings {
            namespaces: PathBuf::from("/run/hns/netns"),
            default_network: DefaultNetwork::Suppressed,
            bridge_netfilter: BridgeNetfilter::Auto,
            boot_id: "boot".to_owned(),
        };
        let engine = Engine::start(
            Arc::new(host.clone()),
            Arc::new(FakeDatapath::new()),
            Arc::new(FakeResolver::new()),
            Arc::new(FakeWireguard::new()),
            store,
            settings,
        )
        .unwrap();
        let runtime = Runtime::new().unwrap();
        let folder = TempDir::new().unwrap();
        let (ready, engine_ready) = watch::channel(None);
        let stopping = CancellationToken::new();
        let threads = HostThreads::start(4).unwrap();
        let front = Front::new(engine_ready, threads, stopping.clone());
        let sockets = runtime.block_on(Sockets::bind(folder.path())).unwrap();
        runtime.spawn(hns_docker::serve(sockets, front.clone(), Limits::of_root(1024)));
        Self { host, engine, ready, folder, front, runtime, stopping }
    }

    pub fn socket(&self, driver: &str) -> PathBuf {
        self.folder.path().join(format!("{driver}.sock"))
    }

    /// Sends a call as dockerd 20.10 does, with an empty Host and without a content type.
    pub fn send(&self, driver: &str, method: &str, body: &str) -> Answer {
        let mut stream = UnixStream::connect(self.socket(driver)).unwrap();
        stream.write_all(request(method, body).as_bytes()).unwrap();
        read_answer(&mut BufReader::new(stream))
    }

    /// A call's answer, refusal or not.
    pub fn answer(&self, driver: &str, method: &str, body: &Value) -> Value {
        let answer = self.send(driver, method, &body.to_string());
        assert_eq!(answer.status, 200, "{method}: {}", answer.body);
        answer.body
    }

    /// A call to the network driver `nat` that must succeed.
    #[track_caller]
    pub fn nat(&self, method: &str, body: &Value) -> Value {
        let answer = self.answer("nat", &format!("NetworkDriver.{method}"), body);
        assert_eq!(answer["Err"], Value::Null, "{method} {body}");
        answer
    }

    /// What a call to the network driver `nat` that must fail says.
    #[track_caller]
    pub fn refusal(&self, method: &str, body: &Value) -> String {
        let answer = self.answer("nat", &format!("NetworkDriver.{method}"), body);
        answer["Err"].as_str().unwrap_or_else(|| panic!("{method} {body} was answered {answer}")).to_owned()
    }

    /// A call to the IPAM driver that must succeed.
    #[track_caller]
    pub fn ipam(&self, method: &str, body: &Value) -> Value {
        let answer = self.answer("hns", &format!("IpamDriver.{method}"), body);
        assert_eq!(answer["Error"], Value::Null, "{method} {body}");
        answer
    }

    /// Makes a network with the subnet that Docker's IPAM chose, and these options of its user.
    #[track_caller]
    pub fn network(&self, docker: &str, number: u8, options: &Value) -> Network {
        self.nat("CreateNetwork", &network_body(docker, number, options));
        self.find_network(docker).unwrap()
    }

    pub fn find_network(&self, docker: &str) -> Option<Network> {
        self.engine.world().network(guid(docker)).ok().cloned()
    }

    #[track_caller]
    pub fn endpoint(&self, network: &str, endpoint: &str, address: &str) -> Endpoint {
        self.nat("CreateEndpoint", &endpoint_body(network, endpoint, address));
        self.find_endpoint(endpoint).unwrap()
    }

    pub fn find_endpoint(&self, docker: &str) -> Option<Endpoint> {
        self.engine.world().endpoint(guid(docker)).ok().cloned()
    }

    /// The published ports of an endpoint: protocol, host address, host ports, container's port.
    pub fn published(&self, endpoint: &str) -> Vec<String> {
        let endpoint = self.find_endpoint(endpoint).unwrap();
        let show = |mapping: &hns_hcn::PortMapping| {
            let at = mapping.address.map_or_else(|| "*".to_owned(), |address| address.to_string());
            let ports = mapping.external.unwrap();
            format!("{} {at} {ports} -> {}", mapping.transport.unwrap(), mapping.internal)
        };
        endpoint.port_mappings().map(show).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

pub fn request(method: &str, body: &str) -> String {
    format!(
        "POST /{method} HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\n\
         Accept: application/vnd.docker.plugins.v1.2+json\r\nAccept-Encoding: gzip\r\n\r\n{body}",
        body.len()
    )
}

pub fn read_answer(reader: &mut BufReader<UnixStream>) -> Answer {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "the connection ended after {head:?}");
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.to_ascii_lowercase();
    let length = length.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Answer { status, head, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
}

/// An id of Docker that is told from others by its first digit.
pub fn id(digit: char) -> String {
    std::iter::repeat_n(digit, 64).collect()
}

pub fn guid(docker: &str) -> Guid {
    Guid::from_bytes(u128::from_str_radix(&docker[..32], 16).unwrap().to_be_bytes())
}

pub fn network_body(docker: &str, number: u8, options: &Value) -> Value {
    json!({
        "NetworkID": docker,
        "Options": {
            "com.docker.network.enable_ipv4": true,
            "com.docker.network.enable_ipv6": false,
            "com.docker.network.generic": options,
        },
        "IPv4Data": [{
            "AddressSpace": "LocalDefault",
            "Pool": format!("10.{number}.0.0/24"),
            "Gateway": format!("10.{number}.0.1/24"),
        }],
        "IPv6Data": [],
    })
}

pub fn endpoint_body(network: &str, endpoint: &str, address: &str) -> Value {
    json!({
        "NetworkID": network,
        "EndpointID": endpoint,
        "Interface": { "Address": address, "AddressIPv6": "", "MacAddress": "" },
        "Options": {
            "com.docker.network.endpoint.exposedports": [],
            "com.docker.network.portmap": [],
        },
    })
}

pub fn of_endpoint(network: &str, endpoint: &str) -> Value {
    json!({ "NetworkID": network, "EndpointID": endpoint })
}
