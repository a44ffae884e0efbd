use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hns_testbed::engines::{Containerd, Cri, EngineRoot, IMAGE_IN_FULL, Pod, Release};
use hns_testbed::{Netns, eventually};
use serde_json::{Value, json};

use super::{Scene, docker::fetch, text};

/// A host with the daemon at its usual socket, and containerd with our plugin among the reference ones.
pub struct ContainerdScene {
    // containerd ends before the daemon that serves it.
    pub containerd: Containerd,
    pub scene: Scene,
}

/// A pod that runs.
#[derive(Debug, Clone)]
pub struct RunningPod {
    /// containerd's number for it.
    pub id: String,
    pub netns: Netns,
    pub addresses: Vec<IpAddr>,
}

impl ContainerdScene {
    /// With a network configuration, as it stands in `/etc/cni/net.d`.
    ///
    /// # Panics
    /// When something of it does not start.
    #[must_use]
    #[track_caller]
    pub fn new(release: Release, list: &Value) -> Self {
        let scene = Scene::new();
        let socket = scene.hnsd.socket();
        scene.host.sh(&format!("mkdir -p /run/hns && ln -s {} /run/hns/hns.sock", socket.display()));
        let root = EngineRoot::new(&scene.host, release);
        root.install("hns-cni", "/opt/cni/bin/hns-cni");
        root.install("hnsctl", "/usr/local/bin/hnsctl");
        root.write("/etc/cni/net.d/10-hns.conflist", &list.to_string());
        let containerd = Containerd::start_in(&root);
        Self { containerd, scene }
    }

    /// Replaces the network configuration; `ctr` reads it anew each time, pods see it a moment later.
    #[track_caller]
    pub fn configure(&self, list: &Value) {
        self.containerd.root().write("/etc/cni/net.d/10-hns.conflist", &list.to_string());
    }

    /// containerd's pods, once it has found its network.
    #[must_use]
    #[track_caller]
    pub fn cri(&self) -> Cri {
        let cri = self.containerd.cri();
        cri.wait_until_network_ready();
        cri
    }

    /// Runs a pod that serves its page on port 80.
    #[track_caller]
    pub fn pod(&self, pod: &Pod) -> RunningPod {
        let cri = self.cri();
        let id = cri.run(pod).unwrap_or_else(|error| {
            panic!("{}: {error}\nhnsd said:\n{}", pod.name, self.scene.hnsd.log());
        });
        let addresses = cri.addresses(&id).expect("the pod is known");
        let addresses = addresses.iter().map(|text| text.parse().expect("an address is one")).collect();
        RunningPod { netns: cri.netns(&id), id, addresses }
    }

    /// `ctr run -d --cni`; the container serves its page on port 80.
    #[track_caller]
    pub fn container(&self, name: &str) -> Netns {
        self.containerd.ctr(&["run", "-d", "--cni", IMAGE_IN_FULL, name]);
        self.netns(name)
    }

    /// The network namespace of a container that `ctr` started.
    #[must_use]
    #[track_caller]
    pub fn netns(&self, name: &str) -> Netns {
        let tasks = self.containerd.ctr(&["task", "ls"]);
        let words = tasks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let pid = words.into_iter().find(|words| words.first() == Some(&name)).map(|words| words[1]);
        let pid = pid.unwrap_or_else(|| panic!("no task {name} in\n{tasks}"));
        self.scene.host.netns_at(format!("/proc/{pid}/ns/net"))
    }

    /// Ends and forgets a container that `ctr` started in the background.
    #[track_caller]
    pub fn remove(&self, name: &str) {
        self.containerd.ctr(&["task", "kill", "-s", "9", name]);
        eventually!(self.containerd.ctr(&["task", "ls"]).contains("STOPPED"));
        // It tells of the exit code, 137, by one of its own.
        drop(self.containerd.try_ctr(&["task", "rm", name]));
        self.containerd.ctr(&["container", "rm", name]);
    }

    /// All endpoints of HNS.
    #[must_use]
    #[track_caller]
    pub fn endpoints(&self) -> Vec<Value> {
        self.scene.get("/v2/endpoints").as_array().expect("endpoints are a list").clone()
    }

    /// The endpoint of a container, by the id that containerd gave to the plugin.
    #[must_use]
    #[track_caller]
    pub fn endpoint(&self, container: &str) -> Value {
        let all = self.endpoints();
        let of = |endpoint: &&Value| endpoint["AdditionalParams"]["Cni"]["ContainerId"] == container;
        let found = all.iter().find(of).cloned();
        found.unwrap_or_else(|| panic!("no endpoint of {container} in {all:#?}"))
    }

    /// That nothing of any container is left: no endpoint, no taken namespace, no port on the host.
    #[track_caller]
    pub fn nothing_is_left(&self) {
        assert_eq!(self.endpoints(), [json!(null); 0]);
        // A container that died before its DEL is noticed beside it.
        eventually!(match self.scene.get("/v2/namespaces") {
            left if left == json!([]) => Ok(()),
            left => Err(left),
        });
        let ports = || self.scene.host.links().into_iter().filter(|link| link.starts_with("hnv"));
        eventually!(match ports().collect::<Vec<_>>() {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        });
    }
}

/// The addresses of an endpoint's document, IPv4 first.
///
/// # Panics
/// When one is none.
#[must_use]
#[track_caller]
pub fn addresses(endpoint: &Value) -> Vec<IpAddr> {
    let configured = endpoint["IpConfigurations"].as_array().expect("a list").iter();
    configured.map(|one| text(one, "IpAddress").parse().expect("an address is one")).collect()
}

/// Waits until a page is served at a port of each address.
#[track_caller]
pub fn serves(from: &Netns, addresses: &[IpAddr], port: u16) {
    for address in addresses {
        let to = SocketAddr::new(*address, port);
        hns_testbed::until(Duration::from_secs(10), &format!("a page at {to}"), || fetch(from, to));
    }
}
