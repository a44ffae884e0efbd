//! Pods, by the Container Runtime Interface (`runtime.v1` of Kubernetes' cri-api): gRPC over containerd's socket.
//!
//! A call is one HTTP/2 exchange: a message behind five bytes (not compressed, its length), and a status in the trailers.

mod call;
mod messages;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use self::call::unary;
pub use self::messages::{DnsConfig, PortMapping};
use self::messages::{
    LinuxPodSandboxConfig, Nothing, PodSandboxConfig, PodSandboxMetadata, PodSandboxStatusRequest,
    PodSandboxStatusResponse, RunPodSandboxRequest, SandboxId, StatusResponse,
};
use super::EngineRoot;
use crate::Netns;

/// What a runtime, or the way to it, said instead of an answer.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// The runtime refused: a code of gRPC and its words.
    #[error("{call}: status {code}: {message}")]
    Refused {
        /// The method.
        call: &'static str,
        /// The number of gRPC's status.
        code: u32,
        /// The runtime's words.
        message: String,
    },
    /// The socket cannot be reached.
    #[error("{call}: connect to {path}")]
    Connect {
        /// The method.
        call: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke, or does not speak HTTP/2.
    #[error("{call}: HTTP/2 exchange")]
    Exchange {
        /// The method.
        call: &'static str,
        /// Why.
        source: h2::Error,
    },
    /// The answer is no message of the expected kind.
    #[error("{call}: read the answer")]
    Answer {
        /// The method.
        call: &'static str,
        /// Why.
        source: prost::DecodeError,
    },
}

/// A pod to be run, as kubelet would describe it.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace in Kubernetes.
    pub namespace: String,
    /// Its number in Kubernetes.
    pub uid: String,
    /// What is published on the host.
    pub ports: Vec<PortMapping>,
    /// What its resolver file says; absent: what the host's says.
    pub dns: Option<DnsConfig>,
    /// Notes for plugins, as `kubernetes.io/ingress-bandwidth`.
    pub annotations: HashMap<String, String>,
}

impl Pod {
    /// A pod `default/NAME` without published ports.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            uid: format!("uid-of-{name}"),
            ports: Vec::new(),
            dns: None,
            annotations: HashMap::new(),
        }
    }

    /// Publishes a TCP port of the pod on the host.
    #[must_use]
    pub fn publish(self, host_port: u16, container_port: u16) -> Self {
        self.publish_at("", PortMapping::TCP, host_port, container_port)
    }

    /// Publishes a port of any protocol on one address of the host, or on all when `host_ip` is empty.
    #[must_use]
    pub fn publish_at(mut self, host_ip: &str, protocol: i32, host_port: u16, container_port: u16) -> Self {
        self.ports.push(PortMapping {
            protocol,
            container_port: container_port.into(),
            host_port: host_port.into(),
            host_ip: host_ip.to_owned(),
        });
        self
    }
}

/// A way to a runtime's pods. A pod of the bed's image serves its page, without any further container.
#[derive(Debug, Clone)]
pub struct Cri {
    root: EngineRoot,
    socket: PathBuf,
}

impl Cri {
    pub(super) fn new(root: EngineRoot, socket: PathBuf) -> Self {
        Self { root, socket }
    }

    /// Waits until the runtime has found a network configuration.
    ///
    /// # Panics
    /// When it does not within ten seconds; with what it says of itself.
    #[track_caller]
    pub fn wait_until_network_ready(&self) {
        crate::until(Duration::from_secs(10), "NetworkReady", || match self.network_ready() {
            Ok((true, _)) => Ok(()),
            Ok((false, words)) => Err(words),
            Err(error) => Err(error.to_string()),
        });
    }

    /// Whether the runtime takes its network for ready, which kubelet makes the node's readiness; and its words.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub fn network_ready(&self) -> Result<(bool, String), CriError> {
        let answer: StatusResponse = unary(&self.socket, "Status", &Nothing {})?;
        let conditions = answer.status.unwrap_or_default().conditions;
        let network = conditions.into_iter().find(|condition| condition.kind == "NetworkReady");
        Ok(network.map_or_else(
            || (false, "no word about the network".to_owned()),
            |network| (network.status, network.message),
        ))
    }

    /// Makes a pod with its network and gives its id.
    ///
    /// # Errors
    /// When the runtime, or a network plugin, refuses.
    pub fn run(&self, pod: &Pod) -> Result<String, CriError> {
        let metadata = PodSandboxMetadata {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            namespace: pod.namespace.clone(),
            attempt: 0,
        };
        let config = PodSandboxConfig {
            metadata: Some(metadata),
            hostname: pod.name.clone(),
            log_directory: "/tmp".to_owned(),
            dns_config: pod.dns.clone(),
            port_mappings: pod.ports.clone(),
            annotations: pod.annotations.clone(),
            linux: Some(LinuxPodSandboxConfig { cgroup_parent: "/pods".to_owned() }),
        };
        let answer: SandboxId =
            unary(&self.socket, "RunPodSandbox", &RunPodSandboxRequest { config: Some(config) })?;
        Ok(answer.id)
    }

    /// Ends a pod and takes its network down; the pod is still known.
    ///
    /// # Errors
    /// When the runtime, or a network plugin, refuses.
    pub fn stop(&self, id: &str) -> Result<(), CriError> {
        unary(&self.socket, "StopPodSandbox", &SandboxId { id: id.to_owned() }).map(|Nothing {}| ())
    }

    /// Forgets a pod, after ending it where that is still to do.
    ///
    /// # Errors
    /// When the runtime, or a network plugin, refuses.
    pub fn remove(&self, id: &str) -> Result<(), CriError> {
        unary(&self.socket, "RemovePodSandbox", &SandboxId { id: id.to_owned() }).map(|Nothing {}| ())
    }

    /// The addresses of a pod, the first one first.
    ///
    /// # Errors
    /// When the runtime does not know it.
    pub fn addresses(&self, id: &str) -> Result<Vec<String>, CriError> {
        let network = self.status(id)?.status.unwrap_or_default().network.unwrap_or_default();
        let more = network.additional_ips.into_iter().map(|address| address.ip);
        Ok([network.ip].into_iter().chain(more).filter(|address| !address.is_empty()).collect())
    }

    /// What containerd tells of a pod beyond the interface: its process, its runtime's specification, the CNI result.
    ///
    /// # Errors
    /// When the runtime does not know it.
    pub fn info(&self, id: &str) -> Result<Value, CriError> {
        let info: HashMap<String, String> = self.status(id)?.info;
        Ok(info.get("info").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
    }

    /// The network namespace of a running pod.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    #[track_caller]
    pub fn netns(&self, id: &str) -> Netns {
        let info = self.info(id).expect("the pod is known");
        let pid = info["pid"].as_u64().filter(|pid| *pid != 0);
        self.root.netns_of(pid.unwrap_or_else(|| panic!("the pod {id} does not run: {info}")))
    }

    fn status(&self, id: &str) -> Result<PodSandboxStatusResponse, CriError> {
        let request = PodSandboxStatusRequest { id: id.to_owned(), verbose: true };
        unary(&self.socket, "PodSandboxStatus", &request)
    }
}
