//! Containers of two Dockers on two hosts.

use std::net::{IpAddr, SocketAddr};

use hns_testbed::engines::{Dockerd, DockerdBuilder, IMAGE, Release};
use hns_testbed::raw::Capture;
use hns_testbed::{FAR_V4, Hnsd, Netns, eventually, needs};
use hns_tests::story_support::docker::{fetch, guid};
use serde_json::Value;

use crate::stage::{Stage, container, introduce, key_of, overlay, prefixes};

struct Dockers {
    // They end before the daemons that serve them.
    here: Dockerd,
    there: Dockerd,
    stage: Stage,
}

impl Dockers {
    fn new(release: Release, configure: impl Fn(DockerdBuilder) -> DockerdBuilder) -> Self {
        let stage = Stage::bare();
        let [here, there] =
            [&stage.here, &stage.there].map(|hnsd| configure(Dockerd::builder(hnsd.host(), release)).start());
        Self { here, there, stage }
    }

    /// With `blue` on both hosts, each knowing the other.
    fn with_blue(release: Release, configure: impl Fn(DockerdBuilder) -> DockerdBuilder) -> Self {
        let dockers = Self::new(release, configure);
        let [here, there] = [&dockers.stage.here, &dockers.stage.there].map(|hnsd| hnsd.host().v4().into());
        dockers.blue_here(&[&peers(2, there)]);
        let options = ["-o".to_owned(), peers(1, here)];
        create(&dockers.there, 2, &options.iter().map(String::as_str).collect::<Vec<_>>());
        dockers
    }

    fn blue_here(&self, peers: &[&str]) -> String {
        create(&self.here, 1, &peers.iter().flat_map(|peers| ["-o", *peers]).collect::<Vec<_>>())
    }
}

/// What host `number` has of `blue`, as an option says it.
fn peers(number: u8, host: IpAddr) -> String {
    format!("hns.peers={}", prefixes(number).map(|prefix| format!("{prefix}={host}")).join(";"))
}

/// `docker network create -d hns-overlay` of host `own`'s part of `blue`; gives its id.
#[track_caller]
fn create(docker: &Dockerd, own: u8, options: &[&str]) -> String {
    let [v4, v6] = prefixes(own);
    let gateways = [format!("10.244.{own}.1"), format!("fd00:244:{own}::1")];
    let subnets =
        ["--ipv6", "--subnet", &v4, "--gateway", &gateways[0], "--subnet", &v6, "--gateway", &gateways[1]];
    let windows = [
        "-o",
        "com.docker.network.driver.overlay.vxlanid_list=4097",
        "-o",
        "com.docker.network.windowsshim.interface=eth0",
    ];
    let words = [&["network", "create", "-d", "hns-overlay"], &subnets[..], &windows, options, &["blue"]];
    docker.run(&words.concat())
}

/// A container on `blue` that serves its page.
#[track_caller]
fn web(docker: &Dockerd, name: &str, options: &[&str]) -> (Netns, Vec<IpAddr>) {
    docker.run(&[&["run", "-d", "--name", name, "--network", "blue"], options, &[IMAGE]].concat());
    (docker.netns(name), addresses(docker, name))
}

/// IPv4 first.
#[track_caller]
fn addresses(docker: &Dockerd, container: &str) -> Vec<IpAddr> {
    let shown = docker.json(&["inspect", container])[0]["NetworkSettings"]["Networks"]["blue"].clone();
    let of = |field: &str| shown[field].as_str().unwrap_or_default().parse().ok();
    let all: Vec<IpAddr> = ["IPAddress", "GlobalIPv6Address"].into_iter().filter_map(of).collect();
    assert_eq!(all.len(), 2, "{shown:#}");
    all
}

#[track_caller]
fn reaches(from: &Netns, to: &[IpAddr]) {
    for address in to {
        eventually!(fetch(from, SocketAddr::new(*address, 80)));
    }
}

fn networks(hnsd: &Hnsd) -> Vec<Value> {
    let all = hnsd.api().get("/v2/networks").expect("the daemon answers").expect_success();
    all.as_array().cloned().unwrap_or_default()
}

#[track_caller]
fn nothing_is_left(hnsd: &Hnsd) {
    assert_eq!(networks(hnsd), Vec::<Value>::new());
    eventually!(!hnsd.host().links().iter().any(|link| link.starts_with("hn")));
}

fn listed(docker: &Dockerd) -> String {
    let format = "{{.Name}} {{.Driver}} {{.Scope}}";
    docker.run(&["network", "ls", "--filter", "driver=hns-overlay", "--format", format])
}

fn two_hosts(release: Release) {
    let dockers = Dockers::with_blue(release, |docker| docker);
    let (here, there) = (&dockers.here, &dockers.there);
    let (web_here, at_here) = web(here, "web", &["--ip", "10.244.1.20", "--ip6", "fd00:244:1::20"]);
    assert_eq!(
        at_here,
        ["10.244.1.20", "fd00:244:1::20"].map(|ip| ip.parse::<IpAddr>().expect("an address"))
    );
    let (web_there, at_there) = web(there, "web", &[]);
    let (near, at_near) = web(here, "near", &[]);
    reaches(&web_here, &at_there);
    reaches(&web_there, &at_here);
    reaches(&near, &at_there);
    reaches(&near, &at_here);
    reaches(&web_there, &at_near);
    let shown = here.exec("web", "ip -4 route show default; ip -6 route show default");
    assert!(shown.contains("via 10.244.1.1") && shown.contains("via fd00:244:1::1"), "{shown}");
    assert!(here.exec("web", "ip -o link show eth0").contains(" mtu 1450 "));

    // The same book of addresses for containers of HNS.
    let hnsd = &dockers.stage.there;
    eventually!(networks(hnsd).iter().any(|network| network["Name"] == "blue"));
    let own = container(hnsd, "blue", "own", 2, 77);
    reaches(&own.netns, &at_here);
    reaches(&own.netns, &at_there);
    for to in own.addresses() {
        eventually!(web_here.ping(to));
    }
    hnsd.hnsctl(&["endpoint", "rm", "own"]);

    // Without a way from outside nothing is published, and a container that asks for it is not half-started.
    let words = ["run", "--rm", "--network", "blue", "-p", "8080:80", IMAGE, "true"];
    let said = here.try_run(&words).expect_failure();
    assert!(said.contains("Overlay"), "{said}");
    let said = here.try_run(&["network", "rm", "blue"]).expect_failure();
    assert!(said.contains("active endpoints"), "{said}");
    for (docker, containers) in [(here, &["web", "near"][..]), (there, &["web"])] {
        docker.run(&[&["rm", "-f"], containers].concat());
        docker.run(&["network", "rm", "blue"]);
    }
    nothing_is_left(&dockers.stage.here);
    nothing_is_left(&dockers.stage.there);
}

#[test]
fn containers_of_two_dockers_reach_each_other() {
    needs!(root, engines);
    two_hosts(Release::Newest);
}

#[test]
fn containers_of_two_of_the_oldest_dockers_reach_each_other() {
    needs!(root, engines);
    two_hosts(Release::Oldest);
}

/// Nothing between the hosts shows a page that was fetched across.
#[test]
fn docker_makes_an_encrypted_overlay() {
    needs!(root, engines);
    let dockers = Dockers::new(Release::Newest, |docker| docker);
    for (docker, own) in [(&dockers.here, 1), (&dockers.there, 2)] {
        create(docker, own, &["--opt", "encrypted"]);
    }
    let stage = &dockers.stage;
    // By its id: its name becomes Docker's some time later, since Docker tells a plugin none.
    let id = |hnsd: &Hnsd| networks(hnsd)[0]["ID"].as_str().expect("it has one").to_owned();
    let hosts = [(&stage.here, &stage.there, 2), (&stage.there, &stage.here, 1)];
    for (hnsd, other, number) in hosts {
        let key = key_of(other, &id(other)).expect("it is encrypted");
        introduce(hnsd, &id(hnsd), number, other.host().v4().into(), &key);
    }
    let wire = Capture::open(&stage.lab.router().netns());
    let (web_here, at_here) = web(&dockers.here, "web", &[]);
    let (web_there, at_there) = web(&dockers.there, "web", &[]);
    reaches(&web_here, &at_there);
    reaches(&web_there, &at_here);
    let frames = wire.take();
    let port =
        |number: u16| frames.iter().filter(|frame| frame.get(36..38) == Some(&number.to_be_bytes())).count();
    assert!(port(14789) > 10 && port(4789) == 0, "{} and {}", port(14789), port(4789));
}

#[test]
fn docker_makes_no_overlay_that_cannot_be_as_it_is_asked_for() {
    needs!(root, engines);
    let stage = Stage::bare();
    let docker = Dockerd::start(stage.here.host(), Release::Newest);
    let subnet = ["--subnet", "10.244.1.0/24"];
    for (options, said) in [
        (&["-o", "encrypted=false", "-o", "vxlanid_list=4097"][..], "said without a value, or not at all"),
        (
            &["--opt", "encrypted", "-o", "networkname=blue", "-o", "hns.peers=10.244.2.0/24=198.18.0.99"],
            "the key of host 198.18.0.99 is absent",
        ),
        (&[], "need a number that is the same on all their hosts"),
        (&["-o", "vxlanid_list=4097", "--internal"], "option --internal has no meaning on hns-overlay"),
        (&["-o", "vxlanid_list=4097", "-o", "interface=eth9"], "no adapter eth9"),
    ] {
        let words = [&["network", "create", "-d", "hns-overlay"], &subnet[..], options, &["blue"]].concat();
        let told = docker.try_run(&words).expect_failure();
        assert!(told.contains(said), "{told}");
        assert_eq!(networks(&stage.here), Vec::<Value>::new());
        assert!(!docker.try_run(&["network", "inspect", "blue"]).success(), "{options:?}");
    }
}

/// `blue hns-overlay local`: as Windows shows what HNS has.
#[test]
fn an_overlay_that_hnsctl_made_stands_in_dockers_list() {
    needs!(root, engines);
    let dockers = Dockers::new(Release::Newest, |docker| docker);
    let [here, there] = [&dockers.stage.here, &dockers.stage.there];
    overlay(here, "blue", 1, &[(2, there.host().v4().into())]);
    overlay(there, "blue", 2, &[(1, here.host().v4().into())]);
    for docker in [&dockers.here, &dockers.there] {
        eventually!(listed(docker) == "blue hns-overlay local");
    }
    let own = container(here, "blue", "own", 1, 50);
    let (web_here, at_here) = web(&dockers.here, "web", &[]);
    let (web_there, at_there) = web(&dockers.there, "web", &[]);
    assert!(at_here.iter().chain(&at_there).all(|address| !own.addresses().contains(address)));
    reaches(&web_here, &at_there);
    reaches(&web_there, &at_here);
    reaches(&own.netns, &at_there);
    for docker in [&dockers.here, &dockers.there] {
        docker.run(&["rm", "-f", "web"]);
    }
    // Gone from HNS, it is gone from Docker.
    for (hnsd, docker) in [(here, &dockers.here), (there, &dockers.there)] {
        hnsd.hnsctl(&["network", "rm", "--force", "blue"]);
        eventually!(listed(docker).is_empty());
        nothing_is_left(hnsd);
    }
}

#[test]
fn a_peer_is_added_while_containers_of_docker_run() {
    needs!(root, engines);
    let dockers = Dockers::new(Release::Newest, |docker| docker);
    let id = dockers.blue_here(&[]);
    let [here, there] = [&dockers.stage.here, &dockers.stage.there];
    create(&dockers.there, 2, &["-o", &peers(1, here.host().v4().into())]);
    let (web_here, at_here) = web(&dockers.here, "web", &[]);
    let (web_there, at_there) = web(&dockers.there, "web", &[]);
    for (from, to) in [(&web_here, &at_there), (&web_there, &at_here)] {
        assert!(to.iter().all(|address| fetch(from, SocketAddr::new(*address, 80)).is_err()));
    }
    let added = prefixes(2).map(|prefix| format!("{prefix}={}", there.host().v4()));
    here.hnsctl(&["network", "peer", "add", &guid(&id), &added[0], &added[1]]);
    reaches(&web_here, &at_there);
    reaches(&web_there, &at_here);
    here.hnsctl(&["network", "peer", "rm", &guid(&id), &prefixes(2)[0]]);
    assert!(fetch(&web_here, SocketAddr::new(at_there[0], 80)).is_err());
    reaches(&web_here, &at_there[1..]);
}

/// By the host, which is on the network where that is asked for.
#[test]
fn ports_of_containers_are_published_where_the_host_is_on_the_overlay() {
    needs!(root, engines);
    for release in [Release::Newest, Release::Oldest] {
        let stage = Stage::bare();
        let docker = Dockerd::start(stage.here.host(), release);
        create(&docker, 1, &["-o", "hns.host-route=true"]);
        let (web, at) = web(&docker, "web", &["-p", "8080:80"]);
        let host = stage.here.host();
        reaches(&host.netns(), &at);
        for own in host.addresses() {
            for from in [&host.netns(), &stage.client.netns()] {
                eventually!(fetch(from, SocketAddr::new(own, 8080)));
            }
        }
        eventually!(web.ping(FAR_V4));
        docker.run(&["rm", "-f", "web"]);
        docker.run(&["network", "rm", "blue"]);
        nothing_is_left(&stage.here);
    }
}

/// On an overlay and on a network with a way out, which gives it its default route.
#[test]
fn a_container_on_two_networks_reaches_the_other_hosts_and_the_outside() {
    needs!(root, engines);
    for release in [Release::Newest, Release::Oldest] {
        let dockers = Dockers::with_blue(release, |docker| docker);
        // Of two with the same families, the first by its name gives the default route, where nothing else is said.
        let subnets = ["--ipv6", "--subnet", "10.50.0.0/24", "--subnet", "fd00:50::/64"];
        dockers.here.run(&[&["network", "create", "-d", "nat"], &subnets[..], &["away"]].concat());
        let (web_here, at_here) = web(&dockers.here, "web", &[]);
        let (web_there, at_there) = web(&dockers.there, "web", &[]);
        dockers.here.run(&["network", "connect", "away", "web"]);
        let shown = dockers.here.exec("web", "ip -4 route show default");
        assert!(shown.contains("via 10.50.0.1"), "{shown}");
        reaches(&web_here, &at_there);
        reaches(&web_there, &at_here);
        eventually!(web_here.ping(dockers.stage.client.v4()));
        dockers.here.run(&["network", "disconnect", "away", "web"]);
        reaches(&web_here, &at_there);
        dockers.here.run(&["network", "connect", "away", "web"]);
        dockers.here.run(&["network", "disconnect", "blue", "web"]);
        let shown = dockers.here.exec("web", "ip -4 route show");
        assert!(!shown.contains("10.244."), "{shown}");
        eventually!(web_here.ping(dockers.stage.client.v4()));
    }
}

/// A connection that lasts sees neither of them end.
#[test]
fn a_restart_of_either_daemon_interrupts_nothing() {
    needs!(root, engines);
    let mut dockers = Dockers::with_blue(Release::Newest, |docker| docker.arg("--live-restore"));
    let (web_here, _) = web(&dockers.here, "web", &["--restart", "always"]);
    let (web_there, at_there) = web(&dockers.there, "web", &[]);
    reaches(&web_here, &at_there);
    dockers.here.run(&["exec", "-d", "web", "sh", "-c", &format!("ping {} > /tmp/pings", at_there[0])]);
    let seen = |dockers: &Dockers| {
        let pings = dockers.here.try_run(&["exec", "web", "cat", "/tmp/pings"]).stdout;
        pings
            .lines()
            .filter_map(|line| line.split("seq=").nth(1)?.split(' ').next()?.parse().ok())
            .collect::<Vec<u32>>()
    };
    eventually!(seen(&dockers).len() > 1);
    dockers.stage.here.kill9();
    dockers.stage.here.start_again();
    dockers.stage.there.restart();
    dockers.there.restart();
    dockers.here.restart();
    let before = seen(&dockers).len();
    eventually!(seen(&dockers).len() > before + 1);
    let pings = seen(&dockers);
    assert!(pings.windows(2).all(|pair| pair[1] == pair[0] + 1), "{pings:?}");
    // Both daemons still know it all: a container more, and one that goes.
    let (late, at_late) = web(&dockers.there, "late", &[]);
    reaches(&web_here, &at_late);
    reaches(&late, &addresses(&dockers.here, "web"));
    reaches(&web_there, &addresses(&dockers.here, "web"));
    // A Docker that ends takes its containers along, and makes them anew.
    dockers.here.run(&["restart", "-t", "0", "web"]);
    reaches(&web_there, &addresses(&dockers.here, "web"));
    dockers.here.run(&["rm", "-f", "web"]);
    dockers.there.run(&["rm", "-f", "web", "late"]);
    for (docker, hnsd) in [(&dockers.here, &dockers.stage.here), (&dockers.there, &dockers.stage.there)] {
        docker.run(&["network", "rm", "blue"]);
        nothing_is_left(hnsd);
    }
}
