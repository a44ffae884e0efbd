//! Docker's daemon and ours end and start in every order, politely and not: what runs goes on, nothing is left over.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use hns_testbed::engines::{IMAGE, Release};
use hns_testbed::{Hnsd, Lab, eventually, needs, udp};
use hns_tests::story_support::docker::{fetch, guid};
use hns_tests::story_support::{Container, DockerScene, Scene, text};
use serde_json::{Value, json};

/// How a daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Term,
    Kill,
}
use End::{Kill, Term};

/// Who is down, and in which order they went and came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Hnsd(End),
    Docker(End),
    /// Docker goes first; who comes back first.
    DockerThenHnsd(End, End, First),
    HnsdThenDocker(End, End, First),
}
use Order::{Docker, DockerThenHnsd, HnsdThenDocker};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    HnsdFirst,
    DockerFirst,
}
use First::{DockerFirst, HnsdFirst};

impl Order {
    fn touches_docker(self) -> bool {
        !matches!(self, Self::Hnsd(_))
    }
}

/// As on a host where both are installed: HNS has its network `nat`, so the host forwards before Docker starts, which
/// therefore lets the rest of the firewall be. (A Docker that turns forwarding on itself drops whatever it has no rule
/// for, and has none for some milliseconds of each start.)
fn scene() -> Scene {
    let lab = Lab::new();
    let (host, outside) = (lab.host("host"), lab.host("outside"));
    let hnsd = Hnsd::start(&host);
    Scene { hnsd, host, outside, lab }
}

/// Containers on one network of Docker, an endpoint of nobody's in Docker, and somebody outside who talks to them.
struct Stage {
    stage: DockerScene,
    /// Made by `hnsctl`: none of Docker's affairs is any of its.
    witness: Container,
    live_restore: bool,
}

impl Stage {
    fn new(release: Release, live_restore: bool) -> Self {
        let configure = |docker: hns_testbed::engines::DockerdBuilder| {
            if live_restore { docker.arg("--live-restore") } else { docker }
        };
        let stage = DockerScene::with(scene(), release, configure);
        let network = stage.dual_network("shop", 50, &["--ip-range", "10.50.0.128/25"]);
        let (id, address) = (text(&network, "ID"), "10.50.0.9");
        // Docker tells by its API which addresses are HNS's to give, a moment after the network is made.
        eventually!(stage.hns_network("shop")["AdditionalParams"]["IpRange"].is_array());
        let witness = stage.scene.container(&id, "witness", &["--ip", address, "-p", "5000:53/udp"]);
        stage.web("always", &["--network", "shop", "--restart", "always", "-p", "8080:80"]);
        stage.idle("steady", &["--network", "shop", "-p", "5001:53/udp"]);
        let this = Self { stage, witness, live_restore };
        this.is_whole("at the beginning");
        this
    }

    fn end_hnsd(&mut self, end: End) {
        match end {
            Term => assert!(self.stage.scene.hnsd.terminate().success(), "{}", self.stage.scene.hnsd.log()),
            Kill => self.stage.scene.hnsd.kill9(),
        }
    }

    /// Ends Docker's daemon. Without it a container dies, and where none is to survive, all of them do.
    fn end_docker(&mut self, end: End, doomed: &str) {
        match end {
            Term => drop(self.stage.docker.terminate()),
            Kill => self.stage.docker.kill9(),
        }
        self.stage.scene.host.sh(&format!("kill -9 {doomed} 2>/dev/null || true"));
    }

    fn perform(&mut self, order: Order) {
        let doomed = self.stage.docker.run(&["inspect", "-f", "{{.State.Pid}}", "fleeting"]);
        match order {
            Order::Hnsd(end) => {
                self.end_hnsd(end);
                self.stage.scene.hnsd.start_again();
            }
            Docker(end) => {
                self.end_docker(end, &doomed);
                self.stage.docker.start_again();
            }
            DockerThenHnsd(docker, hnsd, first) => {
                self.end_docker(docker, &doomed);
                self.end_hnsd(hnsd);
                self.start_both(first);
            }
            HnsdThenDocker(hnsd, docker, first) => {
                self.end_hnsd(hnsd);
                self.end_docker(docker, &doomed);
                self.start_both(first);
            }
        }
    }

    fn start_both(&mut self, first: First) {
        let (docker, scene) = (&mut self.stage.docker, &mut self.stage.scene);
        if first == HnsdFirst {
            scene.hnsd.start_again();
            docker.start_again();
            return;
        }
        let host = scene.host.clone();
        std::thread::scope(|threads| {
            threads.spawn(|| docker.start_again());
            eventually!(host.try_sh("pidof dockerd").success());
            scene.hnsd.start_again();
        });
    }

    /// One round: what survives talks all the time, what does not is right afterwards.
    fn round(&mut self, order: Order) {
        self.stage.web("fleeting", &["--network", "shop", "-p", "8081:80"]);
        eventually!(self.serves(8081));
        self.perform(order);
        if order.touches_docker() {
            let state = self.stage.docker.run(&["inspect", "-f", "{{.State.Running}}", "fleeting"]);
            assert_eq!(state, "false", "{order:?}");
            self.is_whole(&format!("after {order:?}"));
            assert!(self.serves(8081).is_err(), "{order:?}: the port of a dead container answers");
            self.stage.docker.run(&["start", "fleeting"]);
        }
        eventually!(self.serves(8081));
        self.stage.remove(&["fleeting"]);
        if order.touches_docker() && !self.live_restore {
            self.stage.docker.run(&["start", "steady"]);
        }
        self.is_whole(&format!("at the end of {order:?}"));
    }

    fn serves(&self, port: u16) -> std::io::Result<()> {
        fetch(&self.stage.scene.outside.netns(), SocketAddr::new(self.stage.scene.host.v4().into(), port))
    }

    fn is_whole(&self, when: &str) {
        eventually!(
            self.difference().map_err(|what| format!("{when}: {what}\n{}", self.stage.scene.hnsd.log()))
        );
        eventually!(self.serves(8080));
    }

    fn difference(&self) -> Result<(), String> {
        difference(&self.stage, &["witness"])
    }
}

fn same<T: std::fmt::Debug + PartialEq>(what: &str, shown: &T, expected: &T) -> Result<(), String> {
    if shown == expected { Ok(()) } else { Err(format!("{what}: {shown:?}, not {expected:?}")) }
}

/// What differs between the books of Docker, those of HNS, and the host. `others` are endpoints that Docker must not know.
fn difference(stage: &DockerScene, others: &[&str]) -> Result<(), String> {
    let endpoints = stage.endpoints();
    let running = stage.docker.run(&["ps", "-q", "--no-trunc"]);
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut addresses: BTreeSet<String> = BTreeSet::new();
    for container in running.lines() {
        let shown = stage.docker.try_run(&["inspect", container]);
        if !shown.success() {
            return Err(format!("{container} went meanwhile"));
        }
        let networks = shown.json()[0]["NetworkSettings"]["Networks"].clone();
        for network in networks.as_object().unwrap().values() {
            known.insert(guid(&text(network, "EndpointID")));
            addresses.insert(text(network, "IPAddress"));
        }
    }
    let is_other = |endpoint: &&Value| others.iter().any(|name| endpoint["Name"] == *name);
    let dockers = || endpoints.iter().filter(|endpoint| !is_other(endpoint));
    same("endpoints", &dockers().map(|endpoint| text(endpoint, "ID")).collect(), &known)?;
    let held = dockers().map(|endpoint| text(&endpoint["IpConfigurations"][0], "IpAddress")).collect();
    same("addresses", &held, &addresses)?;
    let host = &stage.scene.host;
    let links: Vec<String> =
        host.links().into_iter().filter(|name| name.starts_with("hnv") || name.starts_with("hnc")).collect();
    let mut ports: Vec<String> =
        endpoints.iter().map(|endpoint| text(&endpoint["Health"]["Extra"], "Port")).collect();
    ports.sort();
    same("links", &links, &ports)?;
    let mappings = |endpoint: &Value| endpoint["Policies"].as_array().unwrap().len();
    let mapped: usize = endpoints.iter().map(mappings).sum();
    let rules: Value = serde_json::from_str(&host.sh("nft -j list map inet hns publish4")).unwrap();
    let rules = rules["nftables"].as_array().unwrap().iter().find_map(|one| one.get("map")).unwrap();
    same("mappings", &rules["elem"].as_array().map_or(0, Vec::len), &mapped)
}

/// Waits until Docker, HNS and the host agree. What Docker knows nothing of is collected once it cannot be about to ask
/// for it any more.
#[track_caller]
fn collected(stage: &DockerScene, when: &str) {
    hns_testbed::until(Duration::from_secs(40), "what is left over is collected", || {
        difference(stage, &[]).map_err(|what| format!("{when}: {what}\n{}", stage.scene.hnsd.log()))
    });
}

/// One call of a plugin's method, and the body of the answer.
fn call(socket: &Path, method: &str, body: &Value) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let body = body.to_string();
    let head = format!(
        "POST /{method} HTTP/1.1\r\nHost:\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn plugins_answer_while_the_host_is_still_being_repaired() {
    needs!(root, engines, "nft", "ip");
    let lab = Lab::new();
    let host = lab.host("host");
    let mut hnsd = Hnsd::start(&host);
    let nat = hnsd.hnsctl_json(&["network", "inspect", "nat"])["ID"].clone();
    let mut api = hnsd.api();
    for number in 0..10 {
        let name = format!("crowd{number}");
        let _kept_by_its_name = host.add_netns(&name);
        let document = json!({"Name": name, "AdditionalParams": {"Path": format!("/run/netns/{name}")}});
        let namespace = api.post("/v2/namespaces", &document).unwrap().id();
        for _ in 0..30 {
            let document = json!({"HostComputeNetwork": nat, "HostComputeNamespace": namespace});
            let _id = api.post("/v2/endpoints", &document).unwrap().id();
        }
    }
    hnsd.kill9();
    // All of it is to be made again, which takes longer than an answer.
    host.sh("ip -o link | grep -o 'hnv[0-9a-f]*' | sort -u | sed 's/^/link delete /' | ip -batch -; ip link delete hns$(ip -o link show type bridge | grep -o 'hns[0-9a-f]*' | head -1 | cut -c4-)");
    let folder = host.path("/run/docker/plugins");
    for name in ["nat", "hns"] {
        std::fs::remove_file(folder.join(format!("{name}.sock"))).unwrap();
    }
    let log = hnsd.log_file().to_owned();
    let socket = folder.join("nat.sock");
    let (activated, asked) = std::thread::scope(|threads| {
        let starting = threads.spawn(|| hnsd.start_again());
        let activated = eventually!(call(&socket, "Plugin.Activate", &Value::Null));
        let early = !starting.is_finished();
        let pool = json!({"AddressSpace": "hns", "Pool": "10.90.0.0/24", "Options": {}, "V6": false});
        let asked = call(&folder.join("hns.sock"), "IpamDriver.RequestPool", &pool).unwrap();
        starting.join().unwrap();
        ((activated, early), asked)
    });
    assert!(activated.0.contains("NetworkDriver"), "{}", activated.0);
    assert!(activated.1, "answered only once everything was repaired; {}", log.display());
    // What takes the engine waits for it, and is done then.
    assert!(asked.contains("10.90.0.0/24"), "{asked}");
    assert_eq!(hnsd.api().get("/v2/endpoints").unwrap().expect_success().as_array().unwrap().len(), 300);
}

/// Nearly all of it is Docker's own patience: it asks a plugin that is down for fifteen seconds, call by call.
#[test]
fn docker_waits_for_a_daemon_that_comes_back_and_is_collected_behind_if_not() {
    needs!(root, engines, "nft");
    let lab = Lab::new();
    let (host, outside) = (lab.host("host"), lab.host("outside"));
    // Docker is there first: it finds our drivers when they come.
    let root = hns_testbed::engines::EngineRoot::new(&host, Release::Newest);
    let docker = hns_testbed::engines::Dockerd::builder_in(&root).start();
    let hnsd = Hnsd::start(&host);
    let mut stage = DockerScene { docker, scene: Scene { hnsd, host, outside, lab } };
    stage.dual_network("shop", 50, &[]);
    stage.web("gone", &["--network", "shop", "-p", "8080:80"]);
    stage.web("here", &["--network", "shop", "-p", "8081:80"]);
    stage.scene.hnsd.kill9();

    // Docker asks for 15 seconds; who comes back meanwhile has missed nothing.
    let mut late = stage.docker.root().spawn(&[
        "docker",
        "run",
        "-d",
        "--name",
        "late",
        "--network",
        "shop",
        "-p",
        "8082:80",
        IMAGE,
    ]);
    eventually!(stage.docker.log().contains("retrying in"));
    stage.scene.hnsd.start_again();
    let ended = eventually!(late.ended());
    assert!(ended.success(), "{}", late.output());
    eventually!(difference(&stage, &[]));

    // Who does not is not told again: the container goes, and its endpoint is collected.
    stage.scene.hnsd.terminate();
    let mut removal = stage.docker.root().spawn(&["docker", "rm", "-f", "gone"]);
    let ended =
        hns_testbed::until(Duration::from_secs(60), "docker rm gives up on the plugin", || removal.ended());
    assert!(ended.success(), "{}", removal.output());
    stage.scene.hnsd.start_again();
    collected(&stage, "after Docker gave up");
    let outside = stage.scene.outside.netns();
    let at = |port: u16| SocketAddr::new(stage.scene.host.v4().into(), port);
    assert!(fetch(&outside, at(8080)).is_err(), "the port of a container that is gone answers");
    for port in [8081, 8082] {
        eventually!(fetch(&outside, at(port)));
    }
    stage.web("next", &["--network", "shop", "-p", "8080:80"]);
    eventually!(fetch(&outside, at(8080)));
}

/// Containers come and go while the daemons are killed amid the calls, at random moments.
#[test]
fn kills_amid_random_calls_leave_nothing() {
    needs!(root, engines, "nft");
    const ROUNDS: u32 = 14;
    let seed = std::process::id();
    let mut stage = DockerScene::with(scene(), Release::Newest, |docker| docker.arg("--live-restore"));
    stage.dual_network("shop", 50, &[]);
    stage.web("stays", &["--network", "shop", "-p", "8080:80"]);
    let mut random = u64::from(seed) | 1;
    for round in 0..ROUNDS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let name = format!("brief{round}");
        let words = format!(
            "docker run -d --name {name} --network shop -p 8081:80 {IMAGE} >/dev/null; docker rm -f {name} >/dev/null"
        );
        let mut calls = stage.docker.root().spawn(&["sh", "-c", &words]);
        let moment = Instant::now() + Duration::from_millis(random % 700);
        while Instant::now() < moment {
            std::thread::yield_now();
        }
        stage.scene.hnsd.kill9();
        let both = round % 3 == 2;
        if both {
            stage.docker.kill9();
        }
        stage.scene.hnsd.start_again();
        if both {
            stage.docker.start_again();
        }
        hns_testbed::until(Duration::from_secs(40), "the calls end", || calls.ended());
        let _gone_already = stage.docker.try_run(&["rm", "-f", &name]);
        collected(&stage, &format!("seed {seed}, round {round}"));
    }
    let outside = stage.scene.outside.netns();
    let at = |port: u16| SocketAddr::new(stage.scene.host.v4().into(), port);
    eventually!(fetch(&outside, at(8080)));
    assert!(fetch(&outside, at(8081)).is_err());
    stage.web("after", &["--network", "shop", "-p", "8081:80"]);
    eventually!(fetch(&outside, at(8081)));
    assert_eq!(stage.endpoints().len(), 2);
}

/// Stories with streams, which must lose nothing, have the machine to themselves.
mod alone {
    use super::*;

    /// Goes through orders of ends and starts while somebody outside talks to what must not notice.
    fn story(release: Release, live_restore: bool, orders: &[Order]) {
        let mut stage = Stage::new(release, live_restore);
        let outside = stage.stage.scene.outside.netns();
        let host = stage.stage.scene.host.clone();
        let at = |port: u16| (host.v4(), port);
        let _witness = udp::Echo::serve(&stage.witness.netns, "0.0.0.0:53");
        let mut streams = vec![("the witness", udp::Stream::start(&outside, at(5000), 500))];
        let _steady = live_restore.then(|| {
            let echo = udp::Echo::serve(&stage.stage.docker.netns("steady"), "0.0.0.0:53");
            streams.push(("a container", udp::Stream::start(&outside, at(5001), 500)));
            echo
        });
        for order in orders {
            stage.round(*order);
        }
        for (who, stream) in streams {
            let report = stream.stop();
            assert!(report.sent > 1000, "{who}: {report:?}");
            assert_eq!(report.lost, 0, "{who}: {report:?}\n{}", stage.stage.scene.hnsd.log());
        }
    }

    #[test]
    fn containers_that_outlive_docker_notice_nothing() {
        needs!(root, engines, "nft");
        let orders = [
            Order::Hnsd(Term),
            Order::Hnsd(Kill),
            Docker(Term),
            Docker(Kill),
            DockerThenHnsd(Term, Kill, HnsdFirst),
            DockerThenHnsd(Kill, Term, DockerFirst),
            HnsdThenDocker(Term, Kill, DockerFirst),
            HnsdThenDocker(Kill, Term, HnsdFirst),
            HnsdThenDocker(Kill, Kill, HnsdFirst),
        ];
        story(Release::Newest, true, &orders);
    }

    #[test]
    fn containers_that_end_with_docker_leave_nothing() {
        needs!(root, engines, "nft");
        let orders = [
            Order::Hnsd(Kill),
            Docker(Term),
            Docker(Kill),
            DockerThenHnsd(Term, Term, DockerFirst),
            DockerThenHnsd(Kill, Kill, HnsdFirst),
            HnsdThenDocker(Kill, Kill, DockerFirst),
        ];
        story(Release::Newest, false, &orders);
    }

    #[test]
    fn the_oldest_docker_and_hnsd_end_and_start_as_well() {
        needs!(root, engines, "nft");
        let orders = [Docker(Kill), Order::Hnsd(Kill), DockerThenHnsd(Term, Kill, DockerFirst)];
        story(Release::Oldest, true, &orders);
    }

    #[test]
    fn containers_that_end_with_the_oldest_docker_leave_nothing() {
        needs!(root, engines, "nft");
        story(Release::Oldest, false, &[Docker(Kill), HnsdThenDocker(Kill, Kill, HnsdFirst), Docker(Term)]);
    }
}
