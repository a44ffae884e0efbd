//! One network with containers of every engine at once: they reach each other, and each other's published ports, and what
//! one engine does to its own leaves the others alone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hns_testbed::engines::{
    Containerd, Dockerd, EngineRoot, IMAGE, IMAGE_IN_FULL, PAGE, Pod, Podman, Release,
};
use hns_testbed::{Hnsd, Lab, Netns, eventually, needs};
use hns_tests::story_support::docker::fetch as page;
use serde_json::{Value, json};

/// A container, whoever runs it: it serves its page on port 80, and its port on the host leads there.
struct Member {
    engine: &'static str,
    netns: Netns,
    published: u16,
    addresses: Vec<IpAddr>,
    /// Of its endpoint.
    id: String,
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
    stage_with(|_| json!([]))
}

/// The same; `policies` are those of pods, made when the network is there.
fn stage_with(policies: impl FnOnce(&Hnsd) -> Value) -> Stage {
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
        {"type": "hns-cni", "network": "shared", "capabilities": {"portMappings": true}, "policies": policies(&hnsd)}]});
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

    /// Whoever has the endpoint that came last.
    fn newest(&self, engine: &'static str, netns: Netns, published: u16) -> Member {
        let endpoints = self.endpoints();
        let last = endpoints.last().expect("there is one");
        let id = last["ID"].as_str().expect("an endpoint has an ID").to_owned();
        Member { engine, netns, published, addresses: addresses(last), id }
    }

    fn docker(&self, name: &str, published: u16) -> Member {
        self.docker_on("bound", name, published)
    }

    /// `network` is the value of Docker's option.
    fn docker_on(&self, network: &str, name: &str, published: u16) -> Member {
        let port = format!("{published}:80");
        self.docker.run(&["run", "-d", "--name", name, "--network", network, "-p", &port, IMAGE]);
        self.newest("Docker", self.docker.netns(name), published)
    }

    fn podman(&self, name: &str, published: u16) -> Member {
        self.podman_on("bound", name, published)
    }

    /// `network` is the value of podman's option.
    fn podman_on(&self, network: &str, name: &str, published: u16) -> Member {
        let port = format!("{published}:80");
        self.podman.run(&["run", "-d", "--name", name, "--network", network, "-p", &port, IMAGE]);
        self.newest("Podman", self.podman.netns(name), published)
    }

    fn pod(&self, name: &str, published: u16) -> (String, Member) {
        let cri = self.containerd.cri();
        cri.wait_until_network_ready();
        let id = cri.run(&Pod::new(name).publish(published, 80)).expect("the pod runs");
        let member = self.newest("containerd", cri.netns(&id), published);
        (id, member)
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
        self.newest("hnsctl", netns, published)
    }
}

/// The addresses of an endpoint's document.
fn addresses(endpoint: &Value) -> Vec<IpAddr> {
    let configured = endpoint["IpConfigurations"].as_array().expect("a list").iter();
    let address = |c: &Value| c["IpAddress"].as_str().and_then(|text| text.parse().ok());
    configured.map(|c| address(c).expect("an address")).collect()
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

/// The addresses that endpoints of this name get, in the words of a rule.
const FRIEND: [&str; 2] = ["10.77.0.200", "fd00:77::200"];
const FOE: [&str; 2] = ["10.77.0.201", "fd00:77::201"];

/// Somebody else on the network, at addresses that rules know beforehand.
fn visitor(stage: &Stage, name: &str, [v4, v6]: [&str; 2]) -> Netns {
    let netns = stage.host.add_netns(name);
    stage.hnsd.hnsctl(&["namespace", "create", name, "--path", &format!("/run/netns/{name}")]);
    let create = ["endpoint", "create", "--network", "shared", "--name", name, "--namespace", name];
    stage.hnsd.hnsctl(&[&create[..], &["--ip", v4, "--ip", v6]].concat());
    netns
}

/// Who is let in by whom, in both families; at once, since what is dropped takes its time.
#[track_caller]
fn let_in(rows: &[(&Netns, &Member, bool)]) {
    std::thread::scope(|scope| {
        for (from, to, reached) in rows {
            for address in &to.addresses {
                let at = std::net::SocketAddr::new(*address, 80);
                scope.spawn(move || {
                    if *reached {
                        eventually!(within 10 s, page(from, at).map_err(|error| format!("{} at {at}: {error}", to.engine)));
                    } else {
                        assert!(page(from, at).is_err(), "{} let {at} be reached", to.engine);
                    }
                });
            }
        }
    });
}

#[test]
fn a_rule_holds_whichever_engine_its_container_is_of_and_changes_while_it_runs() {
    needs!(root, engines, "busybox", "crun");
    let allow = |remote: [&str; 2]| {
        json!({"Type": "ACL", "Settings": {"Action": "Allow", "Direction": "In", "Protocols": "6", "LocalPorts": "80",
            "RemoteAddresses": remote.join(","), "Priority": 100}})
    };
    let mut stage = stage_with(|_| json!([{"name": "EndpointPolicy", "value": allow(FRIEND)}]));
    let rule = format!("in allow tcp from {} port 80 prio 100", FRIEND.join("+"));
    let (friend, foe) = (visitor(&stage, "friend", FRIEND), visitor(&stage, "foe", FOE));
    let (_, pod) = stage.pod("shop", 8003);
    let members = [
        stage.docker_on(&format!("name=bound,driver-opt=hns.acl={rule}"), "d1", 8001),
        stage.podman_on(&format!("bound:acl={rule}"), "p1", 8002),
        pod,
    ];
    let all = |changed: usize| {
        let row = |(place, member)| {
            let is_changed = place < changed;
            [(&friend, member, !is_changed), (&foe, member, is_changed)]
        };
        members.iter().enumerate().flat_map(row).collect::<Vec<_>>()
    };
    let_in(&all(0));
    // What a rule says of a port is said of the published one, too.
    for member in &members {
        let outside = stage.outside.netns();
        let at = std::net::SocketAddr::new(stage.host.addresses()[0], member.published);
        assert!(page(&outside, at).is_err(), "{}: its published port is open", member.engine);
    }
    for (place, member) in members.iter().enumerate() {
        let request = json!({"ResourceType": "Policy", "RequestType": "Update",
            "Settings": {"Policies": [allow(FOE)]}});
        let path = format!("/v2/endpoints/{}/modify", member.id);
        let changed = stage.hnsd.api().post(&path, &request).expect("the daemon answers").expect_success();
        assert_eq!(changed["ID"], json!(member.id));
        let_in(&all(place + 1));
    }
    stage.hnsd.kill9();
    let_in(&all(members.len()));
    stage.hnsd.start_again();
    let_in(&all(members.len()));
}
