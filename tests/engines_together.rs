//! One network with containers of every engine at once: they reach each other, and each other's published ports, and what
//! one engine does to its own leaves the others alone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hns_testbed::engines::{
    Containerd, Dockerd, EngineRoot, IMAGE, IMAGE_IN_FULL, PAGE, Pod, Podman, Release,
};
use hns_testbed::{Hnsd, Lab, Netns, eventually, needs};
use serde_json::{Value, json};

/// A container, whoever runs it: it serves its page on port 80, and its port on the host leads there.
struct Member {
    engine: &'static str,
    netns: Netns,
    published: u16,
    addresses: Vec<IpAddr>,
}

struct Stage {
    docker: Dockerd,
    podman: Podman,
    containerd: Containerd,
    hnsd: Hnsd,
    host: hns_testbed::Host,
    outside: hns_testbed::Host,
    _lab: Lab,
}

/// All engines in one root, on a network that `hnsctl` makes.
fn stage() -> Stage {
    let lab = Lab::new();
    let (host, outside) = (lab.host("a"), lab.host("outside"));
    let hnsd = Hnsd::builder(&host).arg("--default-network").arg("false").start();
    host.sh(&format!("mkdir -p /run/hns && ln -s {} /run/hns/hns.sock", hnsd.socket().display()));
    let shared = hnsd.hnsctl_json(&[
        "network",
        "create",
        "shared",
        "--subnet",
        "10.77.0.0/24",
        "--subnet",
        "fd00:77::/64",
    ]);
    let id = shared["ID"].as_str().expect("a network has an ID");

    let root = EngineRoot::new(&host, Release::Newest);
    root.install("hns-cni", "/opt/cni/bin/hns-cni");
    root.install("hns-netavark", "/usr/local/libexec/netavark/hns-netavark");
    let list = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [
        {"type": "hns-cni", "network": "shared", "capabilities": {"portMappings": true}}]});
    root.write("/etc/cni/net.d/10-hns.conflist", &list.to_string());
    let docker = Dockerd::builder_in(&root).start();
    let ipam = format!("network={id}");
    let hnsid = format!("com.docker.network.windowsshim.hnsid={id}");
    // The mirror may have brought it to Docker already, under its own name; another one serves as well.
    docker.run(&[
        "network",
        "create",
        "-d",
        "nat",
        "--ipv6",
        "--ipam-driver",
        "hns",
        "--ipam-opt",
        &ipam,
        "-o",
        &hnsid,
        "--subnet",
        "10.77.0.0/24",
        "--subnet",
        "fd00:77::/64",
        "bound",
    ]);
    let podman = Podman::new_in(&root);
    podman.run(&["network", "create", "-d", "hns-netavark", "-o", "network=shared", "bound"]);
    let containerd = Containerd::start_in(&root);
    Stage { docker, podman, containerd, hnsd, host, outside, _lab: lab }
}

impl Stage {
    fn endpoints(&self) -> Vec<Value> {
        let all = self.hnsd.api().get("/v2/endpoints").expect("the daemon answers").expect_success();
        all.as_array().expect("endpoints are a list").clone()
    }

    /// The addresses of the endpoint that came last.
    fn newest(&self) -> Vec<IpAddr> {
        let endpoints = self.endpoints();
        let last = endpoints.last().expect("there is one");
        let configured = last["IpConfigurations"].as_array().expect("a list").iter();
        let address = |c: &Value| c["IpAddress"].as_str().and_then(|text| text.parse().ok());
        configured.map(|c| address(c).expect("an address")).collect()
    }

    fn docker(&self, name: &str, published: u16) -> Member {
        let port = format!("{published}:80");
        self.docker.run(&["run", "-d", "--name", name, "--network", "bound", "-p", &port, IMAGE]);
        let netns = self.docker.netns(name);
        Member { engine: "Docker", netns, published, addresses: self.newest() }
    }

    fn podman(&self, name: &str, published: u16) -> Member {
        let port = format!("{published}:80");
        self.podman.run(&["run", "-d", "--name", name, "--network", "bound", "-p", &port, IMAGE]);
        let netns = self.podman.netns(name);
        Member { engine: "Podman", netns, published, addresses: self.newest() }
    }

    fn pod(&self, name: &str, published: u16) -> (String, Member) {
        let cri = self.containerd.cri();
        cri.wait_until_network_ready();
        let id = cri.run(&Pod::new(name).publish(published, 80)).expect("the pod runs");
        let netns = cri.netns(&id);
        (id, Member { engine: "containerd", netns, published, addresses: self.newest() })
    }

    fn hnsctl(&self, name: &str, published: u16) -> Member {
        let image = self.host.folder().join("image.tar");
        std::fs::copy(self.docker.root().path("/image.tar"), &image).expect("every root has the image");
        let image = image.display().to_string();
        let port = format!("{published}:80");
        self.hnsd.hnsctl(&["run", "-d", "--name", name, "--network", "shared", "-p", &port, &image]);
        let endpoints = self.endpoints();
        let namespace = endpoints.last().expect("there is one")["HostComputeNamespace"].clone();
        let path = format!("/v2/namespaces/{}", namespace.as_str().expect("an id"));
        let namespace = self.hnsd.api().get(&path).expect("the daemon answers").expect_success();
        let netns = self.host.netns_at(namespace["AdditionalParams"]["Path"].as_str().expect("a path"));
        Member { engine: "hnsctl", netns, published, addresses: self.newest() }
    }
}

fn fetch(from: &Netns, address: IpAddr, port: u16) -> bool {
    let at = std::net::SocketAddr::new(address, port);
    let output = from.command("busybox").args(["wget", "-q", "-O", "-", &format!("http://{at}/")]).output();
    let output = output.expect("busybox is one of the programs that ./x installs");
    output.status.success() && output.stdout == PAGE.as_bytes()
}

#[track_caller]
fn everyone_reaches_everyone(stage: &Stage, members: &[Member]) {
    for from in members {
        for to in members {
            for address in &to.addresses {
                eventually!(within 5 s, fetch(&from.netns, *address, 80).then_some(()).ok_or_else(|| {
                    format!("{} -> {} at {address}", from.engine, to.engine)
                }));
            }
            for address in stage.host.addresses() {
                eventually!(within 5 s, fetch(&from.netns, address, to.published).then_some(()).ok_or_else(|| {
                    format!("{} -> {}'s port at {address}", from.engine, to.engine)
                }));
            }
        }
    }
    for to in members {
        for address in stage.host.addresses() {
            assert!(fetch(&stage.outside.netns(), address, to.published), "outside -> {}'s port", to.engine);
        }
    }
}

#[test]
fn containers_of_every_engine_share_a_network() {
    needs!(root, engines, "busybox", "crun");
    let mut stage = stage();
    let (pod, containerd) = stage.pod("shop", 8003);
    let mut members =
        vec![stage.docker("d1", 8001), stage.podman("p1", 8002), containerd, stage.hnsctl("h1", 8004)];
    // The engines have address books of their own, and still nobody has an address twice.
    stage.docker("d2", 8011);
    stage.podman("p2", 8012);
    let all: Vec<String> = stage
        .endpoints()
        .iter()
        .flat_map(|endpoint| endpoint["IpConfigurations"].as_array().cloned().unwrap_or_default())
        .map(|configured| configured["IpAddress"].to_string())
        .collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 12, "{all:?}");
    assert_eq!(all.len(), 12, "{all:?}");
    everyone_reaches_everyone(&stage, &members);
    // Nobody takes the network from under them by mistake.
    let said = stage.hnsd.try_hnsctl(&["network", "rm", "shared"]).expect_failure();
    assert!(["6 endpoints", "d1", "p1", "h1"].iter().all(|word| said.contains(word)), "{said}");

    // What one engine takes away is gone for all, and the others stay; so does everything over a killed daemon.
    stage.containerd.cri().remove(&pod).expect("the pod goes");
    let gone = members.remove(2);
    stage.docker.run(&["rm", "-f", "d2"]);
    stage.podman.run(&["rm", "-f", "-t", "0", "p2"]);
    stage.hnsd.kill9();
    everyone_reaches_everyone(&stage, &members);
    stage.hnsd.start_again();
    assert_eq!(stage.endpoints().len(), 3);
    everyone_reaches_everyone(&stage, &members);
    assert!(!fetch(&members[0].netns, stage.host.addresses()[0], gone.published));

    stage.docker.run(&["rm", "-f", "d1"]);
    stage.podman.run(&["rm", "-f", "-t", "0", "p1"]);
    stage.hnsd.hnsctl(&["stop", "h1"]);
    assert_eq!(stage.endpoints().len(), 0);
}

#[test]
fn a_port_that_one_engine_has_is_refused_to_the_others_by_its_holders_name() {
    needs!(root, engines, "busybox", "crun");
    let stage = stage();
    stage.hnsctl("holder", 8001);
    let publish = ["-p", "8001:80"];
    let docker = stage
        .docker
        .try_run(&[&["run", "-d", "--name", "d1", "--network", "bound"], &publish[..], &[IMAGE]].concat());
    let podman = stage
        .podman
        .try_run(&[&["run", "-d", "--name", "p1", "--network", "bound"], &publish[..], &[IMAGE]].concat());
    stage.containerd.cri().wait_until_network_ready();
    let pod = stage
        .containerd
        .cri()
        .run(&Pod::new("shop").publish(8001, 80))
        .map(drop)
        .expect_err("the port is taken");
    for said in [docker.expect_failure(), pod.to_string()] {
        assert!(said.contains("8001") && said.contains("holder"), "{said}");
    }
    // Podman binds it first, and is told by the kernel.
    let said = podman.expect_failure();
    assert!(said.contains("8001") && said.contains("address already in use"), "{said}");
    assert_eq!(stage.endpoints().len(), 1, "nothing half-made stays");
    // By `ctr` as well, which asks for no ports.
    stage.containerd.ctr(&["run", "-d", "--cni", IMAGE_IN_FULL, "web"]);
    assert_eq!(stage.endpoints().len(), 2);
}
