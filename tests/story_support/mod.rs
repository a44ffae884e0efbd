//! The stage on which the stories of networks play: a host with the daemon, somebody outside, and containers.

pub mod cni;
mod container;
pub mod containerd;
pub mod daemon;
pub mod docker;
mod flood;
pub mod guide;
pub mod live;
mod podman;
pub mod policies;
mod rows;

use std::net::IpAddr;

use hns_testbed::{Answer, Hnsd, HnsdBuilder, Host, Lab, Netns};
use serde_json::{Value, json};

pub use container::Container;
pub use containerd::ContainerdScene;
pub use docker::DockerScene;
pub use flood::{FLOOD, flood};
pub use podman::PodmanScene;
pub use rows::{Proto, Row, Server, Talker, check};

/// A host with the daemon, and another host on its LAN.
pub struct Scene {
    // The daemon ends before its host, and the host before the lab.
    pub hnsd: Hnsd,
    pub host: Host,
    pub outside: Host,
    pub lab: Lab,
}

impl Scene {
    /// A daemon as it is started without any configuration, but for the network `nat`, which these stories do not use.
    ///
    /// # Panics
    /// When the host or the daemon does not start.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        Self::with(|_| {}, |hnsd| hnsd)
    }

    /// The same, with a host that is prepared first and a daemon that is configured.
    ///
    /// # Panics
    /// When the host or the daemon does not start.
    #[must_use]
    #[track_caller]
    pub fn with(prepare: impl FnOnce(&Host), configure: impl FnOnce(HnsdBuilder) -> HnsdBuilder) -> Self {
        let lab = Lab::new();
        let (host, outside) = (lab.host("host"), lab.host("outside"));
        prepare(&host);
        let builder = Hnsd::builder(&host).arg("--default-network").arg("false");
        let hnsd = configure(builder).start();
        Self { hnsd, host, outside, lab }
    }

    /// Makes a dual stack network `10.N.0.0/24`, `fd00:N::/64`; `options` are those of `hnsctl network create`.
    #[track_caller]
    pub fn network(&self, name: &str, number: u8, options: &[&str]) -> Value {
        let (v4, v6) = (format!("10.{number}.0.0/24"), format!("fd00:{number}::/64"));
        let words = [&["network", "create", name, "--subnet", &v4, "--subnet", &v6], options].concat();
        self.hnsd.hnsctl_json(&words)
    }

    /// Makes a namespace in the host and attaches a new endpoint of the same name to it; `options` are those of
    /// `hnsctl endpoint create`.
    #[track_caller]
    pub fn container(&self, network: &str, name: &str, options: &[&str]) -> Container {
        let netns = self.host.add_netns(name);
        self.hnsd.hnsctl(&["namespace", "create", name, "--path", &format!("/run/netns/{name}")]);
        self.endpoint(network, name, name, &netns, options)
    }

    /// One more endpoint in a namespace that the daemon knows already.
    #[track_caller]
    pub fn endpoint(
        &self,
        network: &str,
        name: &str,
        namespace: &str,
        netns: &Netns,
        options: &[&str],
    ) -> Container {
        let words = ["endpoint", "create", "--network", network, "--name", name, "--namespace", namespace];
        let document = self.hnsd.hnsctl_json(&[&words[..], options].concat());
        Container::new(name, netns.clone(), document)
    }

    /// The endpoint's document as it is now.
    #[must_use]
    #[track_caller]
    pub fn inspect(&self, endpoint: &Container) -> Value {
        self.get(&format!("/v2/endpoints/{}", endpoint.id))
    }

    /// What the daemon answers to a GET.
    #[must_use]
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        daemon::get(&self.hnsd, path)
    }

    /// The bridge of a network.
    #[must_use]
    #[track_caller]
    pub fn switch(&self, network: &Value) -> String {
        daemon::switch(&self.hnsd, network)
    }

    /// Sends a Modify of policies.
    #[track_caller]
    pub fn modify_policies(&self, endpoint: &Container, request: &str, policies: &Value) -> Value {
        daemon::modify_policies(&self.hnsd, endpoint, request, policies)
    }

    /// Sends a Modify of a network's policies.
    #[track_caller]
    pub fn modify_network(&self, network: &Value, request: &str, policies: &Value) -> Value {
        self.try_to_modify_network(network, request, policies).expect_success()
    }

    /// The same, which may be refused.
    #[track_caller]
    pub fn try_to_modify_network(&self, network: &Value, request: &str, policies: &Value) -> Answer {
        let document = json!({
            "ResourceType": "Policy", "RequestType": request, "Settings": { "Policies": policies },
        });
        let path = format!("/v2/networks/{}/modify", text(network, "ID"));
        self.hnsd.api().post(&path, &document).expect("the daemon answers")
    }

    /// How many packets of an endpoint were dropped for this reason.
    #[must_use]
    #[track_caller]
    pub fn dropped(&self, endpoint: &str, reason: &str) -> u64 {
        daemon::dropped(&self.hnsd, endpoint, reason)
    }

    /// The host's addresses on the LAN.
    #[must_use]
    pub fn host_addresses(&self) -> [IpAddr; 2] {
        [self.host.v4().into(), self.host.v6().into()]
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

/// A field of a document that must be text.
///
/// # Panics
/// When it is not.
#[must_use]
#[track_caller]
pub fn text(document: &Value, field: &str) -> String {
    document[field].as_str().unwrap_or_else(|| panic!("no text {field} in {document:#}")).to_owned()
}
