//! A published port is in use, for every program and every engine.

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hns_testbed::engines::{IMAGE, Podman};
use hns_testbed::{Netns, eventually, needs, tcp};
use hns_tests::story_support::docker::fetch;
use hns_tests::story_support::{DockerScene, Scene, Server, text};
use serde_json::Value;

/// As a program of the host binds it.
fn bind(netns: &Netns, at: &str) -> io::Result<()> {
    let at: SocketAddr = at.parse().expect("an address");
    netns.enter(move || std::net::TcpListener::bind(at).map(drop))
}

#[track_caller]
fn is_in_use(netns: &Netns, at: &str) {
    let error = bind(netns, at).expect_err("a published port is not free");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{at}");
}

#[test]
fn a_published_port_is_in_use_until_its_endpoint_is_gone() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    scene.network("own", 8, &["--gateway-mode", "routed"]);
    let host = scene.host.netns();
    let web = scene.container(
        "blue",
        "web",
        &["-p", "8080:80", "-p", "127.0.0.1:8081:80", "-p", "8090-8092:8090-8092/udp"],
    );
    scene.container("own", "routed", &["-p", "8070:80"]);
    for at in ["0.0.0.0:8080", "127.0.0.1:8080", "[::1]:8080", "127.0.0.1:8081"] {
        is_in_use(&host, at);
    }
    for at in ["[::1]:8081", "127.0.0.2:8081", "0.0.0.0:8082", "0.0.0.0:8070", "0.0.0.0:8090"] {
        bind(&host, at).unwrap_or_else(|error| panic!("{at}: {error}"));
    }
    // It is seen where operators look, and the container is served as ever.
    assert!(scene.host.sh("ss -Hltnp 'sport = :8080'").contains("hnsd"));
    let _server = Server::serve(&web.netns, &web.addresses(), 80);
    for host in scene.host_addresses() {
        eventually!(tcp::ask(&scene.outside.netns(), (host, 8080)).is_ok());
    }
    scene.hnsd.hnsctl(&["policy", "rm", "web", "-p", "127.0.0.1:8081:80"]);
    bind(&host, "127.0.0.1:8081").expect("it is published no more");
    is_in_use(&host, "0.0.0.0:8080");
    scene.hnsd.hnsctl(&["endpoint", "rm", "web"]);
    bind(&host, "[::]:8080").expect("it is free again");
}

#[test]
fn what_was_taken_while_the_daemon_was_away_is_told() {
    needs!(root, "nft", "socat");
    let mut scene = Scene::new();
    scene.network("blue", 7, &[]);
    let web = scene.container("blue", "web", &["-p", "8080:80"]);
    let other = scene.container("blue", "other", &["-p", "8081:80"]);
    let _server = Server::serve(&web.netns, &web.addresses(), 80);
    let outside = scene.outside.netns();
    let host: IpAddr = scene.host.v4().into();
    eventually!(tcp::ask(&outside, (host, 8080)).is_ok());
    assert!(scene.hnsd.terminate().success());
    let taker = scene.host.spawn(&["socat", "TCP-LISTEN:8080,fork,reuseaddr", "SYSTEM:true"]);
    eventually!(scene.host.sh("ss -Hltn sport = :8080").contains("8080"));
    scene.hnsd.start_again();
    // The mapping comes first; the endpoint and the doctor say who would get nothing.
    eventually!(tcp::ask(&outside, (host, 8080)).is_ok());
    let shown = scene.inspect(&web);
    let why = text(&shown["Health"]["Data"], "LastError");
    assert!(why.contains("8080/tcp") && why.contains("socat"), "{why}");
    assert_eq!(scene.inspect(&other)["State"], 3);
    let findings: Vec<Value> =
        serde_json::from_str(&scene.hnsd.try_hnsctl(&["doctor", "-o", "json"]).stdout).expect("JSON");
    assert!(
        findings.iter().any(|finding| finding["Check"] == "host-ports" && finding["Level"] == "Warn"),
        "{findings:#?}"
    );
    drop(taker);
    eventually!(!scene.host.sh("ss -Hltn sport = :8080").contains("8080"));
    // Any full look at the host takes it back.
    scene.host.sh("nft flush ruleset");
    eventually!(scene.inspect(&web)["Health"]["Data"].is_null());
    is_in_use(&scene.host.netns(), "0.0.0.0:8080");
}

#[test]
fn engines_are_told_that_a_published_port_is_in_use() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.network("blue", &[]);
    stage.web("web", &["--network", "blue", "-p", "8111:80"]);
    let said = stage.docker.try_run(&["run", "--rm", "-p", "8111:80", IMAGE, "true"]).expect_failure();
    assert!(said.contains("address already in use"), "{said}");
    let podman = Podman::new(&stage.scene.host);
    let said = podman.try_run(&["run", "--rm", "-p", "8111:80", IMAGE, "true"]).expect_failure();
    assert!(said.contains("address already in use"), "{said}");
    let outside = stage.scene.outside.netns();
    let at = |host: Ipv4Addr| (host, 8111).into();
    eventually!(fetch(&outside, at(stage.scene.host.v4())));
}

/// Two thousand published ports are held again by a daemon that starts.
#[test]
fn two_thousand_ports_are_held_again_at_a_start() {
    needs!(root, "nft");
    let mut scene = Scene::new();
    scene.network("blue", 7, &[]);
    let mut ports = String::new();
    for first in (20_000..22_000).step_by(100) {
        write!(ports, "{first}-{}:{first}-{} ", first + 99, first + 99).expect("text");
    }
    let options: Vec<&str> = ports.split_whitespace().flat_map(|port| ["-p", port]).collect();
    scene.container("blue", "web", &options);
    scene.hnsd.restart();
    for at in ["0.0.0.0:20000", "[::1]:21042", "127.0.0.1:21999"] {
        is_in_use(&scene.host.netns(), at);
    }
}
