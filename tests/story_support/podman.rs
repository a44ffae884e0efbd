use std::net::IpAddr;

use hns_testbed::Netns;
use hns_testbed::engines::{IMAGE, Podman};
use serde_json::Value;

use super::Scene;

/// Where podman of the test bed looks for plugins first.
const PLUGIN: &str = "/usr/local/libexec/netavark/hns-netavark";

/// A host with the daemon at its usual socket, and podman with our plugin.
pub struct PodmanScene {
    pub podman: Podman,
    pub scene: Scene,
}

impl PodmanScene {
    /// # Panics
    /// When something of it does not start.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        let scene = Scene::new();
        let socket = scene.hnsd.socket();
        scene.host.sh(&format!("mkdir -p /run/hns && ln -s {} /run/hns/hns.sock", socket.display()));
        let podman = Podman::new(&scene.host);
        podman.root().install("hns-netavark", PLUGIN);
        podman.root().install("hnsctl", "/usr/local/bin/hnsctl");
        Self { podman, scene }
    }

    /// `podman network create -d hns-netavark`, with options; the last is the name.
    #[track_caller]
    pub fn network(&self, options: &[&str]) -> Value {
        self.podman.run(&[&["network", "create", "-d", "hns-netavark"], options].concat());
        let name = options.last().expect("the last option is the name");
        self.podman.json(&["network", "inspect", name])[0].clone()
    }

    /// What podman says when it must not make a network.
    #[track_caller]
    pub fn refused_network(&self, options: &[&str]) -> String {
        self.podman
            .try_run(&[&["network", "create", "-d", "hns-netavark"], options].concat())
            .expect_failure()
    }

    /// Starts a container that sleeps.
    #[track_caller]
    pub fn container(&self, name: &str, options: &[&str]) -> Netns {
        let words = ["run", "-d", "--name", name];
        self.podman.run(&[&words, options, &[IMAGE, "sleep", "1000"]].concat());
        self.podman.netns(name)
    }

    /// What podman says when it must not start a container.
    #[track_caller]
    pub fn refused_container(&self, options: &[&str]) -> String {
        let words = ["run", "--rm"];
        self.podman.try_run(&[&words, options, &[IMAGE, "true"]].concat()).expect_failure()
    }

    /// What podman shows of a container on a network.
    #[must_use]
    #[track_caller]
    pub fn membership(&self, container: &str, network: &str) -> Value {
        self.podman.json(&["inspect", container])[0]["NetworkSettings"]["Networks"][network].clone()
    }

    /// The container's IPv4 address on a network, as podman shows it.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    #[track_caller]
    pub fn v4(&self, container: &str, network: &str) -> IpAddr {
        super::text(&self.membership(container, network), "IPAddress")
            .parse()
            .expect("an address is an address")
    }

    /// The container's endpoints in HNS.
    #[must_use]
    #[track_caller]
    pub fn endpoints(&self, container: &str) -> Vec<Value> {
        let all = self.scene.get("/v2/endpoints");
        let all = all.as_array().expect("endpoints are a list");
        all.iter().filter(|endpoint| endpoint["Name"] == container).cloned().collect()
    }

    /// The names of the networks in HNS.
    #[must_use]
    #[track_caller]
    pub fn hns_networks(&self) -> Vec<String> {
        let all = self.scene.get("/v2/networks");
        all.as_array()
            .expect("networks are a list")
            .iter()
            .map(|network| super::text(network, "Name"))
            .collect()
    }
}

impl Default for PodmanScene {
    fn default() -> Self {
        Self::new()
    }
}
