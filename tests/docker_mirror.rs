//! The networks of Docker and of HNS are the same: what either makes, names or deletes, the other shows.

use std::net::{IpAddr, Ipv4Addr};

use hns_testbed::engines::{Dockerd, Release};
use hns_testbed::{Hnsd, Lab, eventually, needs};
use hns_tests::story_support::docker::guid;
use hns_tests::story_support::{DockerScene, Scene, text};
use serde_json::{Value, json};

/// A host on which both start with nothing but their defaults.
fn with_default_network(release: Release) -> DockerScene {
    let lab = Lab::new();
    let (host, outside) = (lab.host("host"), lab.host("outside"));
    let hnsd = Hnsd::start(&host);
    DockerScene::with(Scene { hnsd, host, outside, lab }, release, |docker| docker)
}

/// The names of the networks that Docker shows with our driver.
fn shown(docker: &Dockerd) -> Vec<String> {
    let listed = docker.run(&["network", "ls", "--filter", "driver=nat", "--format", "{{.Name}}"]);
    let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn hns_networks(stage: &DockerScene) -> Vec<Value> {
    stage.scene.get("/v2/networks").as_array().expect("networks are a list").clone()
}

fn hns_names(stage: &DockerScene) -> Vec<String> {
    let mut names: Vec<_> = hns_networks(stage).iter().map(|network| text(network, "Name")).collect();
    names.sort();
    names
}

fn names_of_endpoints(stage: &DockerScene) -> Vec<String> {
    let mut names: Vec<_> = stage.endpoints().iter().map(|endpoint| text(endpoint, "Name")).collect();
    names.sort();
    names
}

fn v4(stage: &DockerScene, container: &str, network: &str) -> Ipv4Addr {
    match stage.addresses(container, network)[0] {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address}"),
    }
}

fn hns_networks_are_docker_networks(release: Release) {
    let stage = with_default_network(release);
    let (docker, hnsctl) = (&stage.docker, |words: &[&str]| stage.scene.hnsd.hnsctl(words));
    eventually!(shown(docker) == ["nat"]);
    stage.idle("one", &["--network", "nat", "-p", "8080:80"]);
    let other = stage.scene.container("nat", "other", &[]);
    stage.idle("two", &["--network", "nat"]);
    let mut addresses = vec![v4(&stage, "one", "nat"), other.v4(), v4(&stage, "two", "nat")];
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 3, "an address was given twice: {addresses:?}");
    docker.exec("one", &format!("ping -c1 -W2 {}", other.v4()));
    docker.exec("one", "ping -c1 -W2 two");

    // Both ends of the list show the one that is made later, and none that only the host sees.
    hnsctl(&["network", "create", "inside", "--type", "internal"]);
    hnsctl(&["network", "create", "apart", "--type", "private"]);
    hnsctl(&["network", "create", "late", "--subnet", "10.60.0.0/24", "--subnet", "fd00:60::/64"]);
    eventually!(shown(docker) == ["late", "nat"]);
    let config = docker.json(&["network", "inspect", "late"])[0].clone();
    assert_eq!((&config["EnableIPv6"], &config["IPAM"]["Driver"]), (&json!(true), &json!("hns")));
    stage.idle("three", &["--network", "late"]);
    let third = stage.addresses("three", "late");
    assert_eq!(third.len(), 2, "{third:?}");
    assert_eq!(stage.endpoint("three", "late")["HostComputeNetwork"], hns_network(&stage, "late")["ID"]);

    // It goes from Docker with its last container.
    hnsctl(&["network", "rm", "--force", "late"]);
    docker.run(&["rm", "-f", "three"]);
    eventually!(shown(docker) == ["nat"]);
    // What HNS has made is not Docker's to prune: it comes back at once.
    docker.run(&["rm", "-f", "one", "two"]);
    assert!(docker.run(&["network", "prune", "-f"]).contains("nat"));
    eventually!(shown(docker) == ["nat"]);
    hnsctl(&["network", "create", "brief"]);
    eventually!(shown(docker) == ["brief", "nat"]);
    hnsctl(&["network", "rm", "brief"]);
    eventually!(shown(docker) == ["nat"]);
}

fn hns_network(stage: &DockerScene, name: &str) -> Value {
    let found = hns_networks(stage).into_iter().find(|network| network["Name"] == name);
    found.unwrap_or_else(|| panic!("HNS has no network {name}"))
}

#[test]
fn hns_networks_are_networks_of_the_newest_docker() {
    needs!(root, engines);
    hns_networks_are_docker_networks(Release::Newest);
}

#[test]
fn hns_networks_are_networks_of_the_oldest_docker() {
    needs!(root, engines);
    hns_networks_are_docker_networks(Release::Oldest);
}

#[test]
fn a_network_without_ipv4_is_shown_where_docker_makes_such_networks() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.scene.hnsd.hnsctl(&["network", "create", "six", "--subnet", "fd00:61::/64"]);
    eventually!(shown(&stage.docker) == ["six"]);
    stage.idle("one", &["--network", "six"]);
    assert_eq!(stage.addresses("one", "six").len(), 1);

    let stage = DockerScene::new(Release::Oldest);
    stage.scene.hnsd.hnsctl(&["network", "create", "six", "--subnet", "fd00:61::/64"]);
    eventually!(stage.scene.hnsd.log().contains("this Docker makes no networks without IPv4"));
    assert_eq!(shown(&stage.docker), Vec::<String>::new());
}

#[test]
fn what_the_user_removes_from_docker_stays_away_until_docker_starts_again() {
    needs!(root, engines);
    let mut stage = with_default_network(Release::Newest);
    eventually!(shown(&stage.docker) == ["nat"]);
    stage.docker.run(&["network", "rm", "nat"]);
    stage.scene.hnsd.hnsctl(&["network", "create", "next"]);
    eventually!(shown(&stage.docker) == ["next"]);
    assert_eq!(hns_names(&stage), ["nat", "next"]);
    // A name that Docker has given away is Docker's.
    stage.docker.run(&["network", "create", "taken"]);
    stage.scene.hnsd.hnsctl(&["network", "create", "taken"]);
    eventually!(stage.scene.hnsd.log().contains("Docker has another network of this name"));
    stage.docker.restart();
    eventually!(shown(&stage.docker) == ["nat", "next"]);
}

fn docker_networks_are_hns_networks(release: Release) {
    let stage = DockerScene::new(release);
    let docker = &stage.docker;
    let blue = text(&stage.dual_network("blue", 50, &[]), "ID");
    stage.network("green", &["--subnet", "10.51.0.0/24", "--ip-range", "10.51.0.128/25"]);
    stage.network("red", &["-o", "networkname=crimson"]);
    eventually!(hns_names(&stage) == ["blue", "crimson", "green"]);
    assert_eq!(text(&hns_network(&stage, "blue"), "ID"), blue);

    // Who joins by another way never gets an address that Docker is about to give away.
    stage.idle("one", &["--network", "blue"]);
    let other = stage.scene.container("blue", "other", &[]);
    assert_eq!((v4(&stage, "one", "blue"), other.v4()), ([10, 50, 0, 2].into(), [10, 50, 0, 128].into()));
    stage.idle("two", &["--network", "blue"]);
    docker.exec("two", &format!("ping -c1 -W2 {}; ping -6 -c1 -W2 {}", other.v4(), other.v6()));
    stage.idle("three", &["--network", "green"]);
    let more = stage.scene.container("green", "more", &[]);
    assert_eq!((v4(&stage, "three", "green"), more.v4()), ([10, 51, 0, 129].into(), [10, 51, 0, 1].into()));

    eventually!(names_of_endpoints(&stage) == ["more", "one", "other", "three", "two"]);
    docker.run(&["rename", "one", "first"]);
    docker.run(&["network", "connect", "red", "two"]);
    eventually!(names_of_endpoints(&stage) == ["first", "more", "other", "three", "two", "two"]);

    stage.scene.hnsd.hnsctl(&["network", "rm", "--force", "green"]);
    stage.remove(&["three"]);
    eventually!(shown(docker) == ["blue", "red"]);
    stage.remove(&["two"]);
    docker.run(&["network", "rm", "red"]);
    eventually!(hns_names(&stage) == ["blue"]);
}

#[test]
fn networks_of_the_newest_docker_are_hns_networks() {
    needs!(root, engines);
    docker_networks_are_hns_networks(Release::Newest);
}

#[test]
fn networks_of_the_oldest_docker_are_hns_networks() {
    needs!(root, engines);
    docker_networks_are_hns_networks(Release::Oldest);
}

#[test]
fn what_a_killed_docker_leaves_behind_is_collected() {
    needs!(root, engines);
    let mut stage = with_default_network(Release::Newest);
    eventually!(shown(&stage.docker) == ["nat"]);
    stage.network("blue", &["--subnet", "10.50.0.0/24"]);
    stage.web("one", &["--network", "blue", "-p", "8080:80"]);
    stage.web("two", &["--network", "nat", "-p", "8081:80"]);
    eventually!(names_of_endpoints(&stage) == ["one", "two"]);
    let held = v4(&stage, "two", "nat").to_string();
    stage.docker.kill9();
    stage.docker.start_again();
    eventually!(within 30 s, stage.endpoints().is_empty());
    // Addresses and ports are free again, also those that our IPAM had leased.
    stage.web("three", &["--network", "blue", "--ip", "10.50.0.2", "-p", "8080:80"]);
    stage.web("four", &["--network", "nat", "--ip", &held, "-p", "8081:80"]);
    eventually!(names_of_endpoints(&stage) == ["four", "three"]);
}

#[test]
fn networks_that_hns_lost_are_made_again_from_docker() {
    needs!(root, engines);
    let mut stage = with_default_network(Release::Newest);
    let options = ["--aux-address", "printer=10.50.0.9", "--gateway", "10.50.0.254"];
    let blue = stage.dual_network("blue", 50, &options);
    eventually!(shown(&stage.docker) == ["blue", "nat"]);
    let before = hns_network(&stage, "blue");
    stage.scene.hnsd.kill9();
    std::fs::remove_dir_all(stage.scene.hnsd.state_dir()).unwrap();
    stage.scene.hnsd.start_again_with("--forget");
    eventually!(hns_names(&stage) == ["blue", "nat"]);
    let after = hns_network(&stage, "blue");
    assert_eq!(after["ID"], blue["ID"]);
    for field in ["IpRange", "AuxAddresses", "DockerNetworks", "DockerEngine"] {
        let (after, before) = (&after["AdditionalParams"][field], &before["AdditionalParams"][field]);
        assert_eq!(after, before, "{field}");
    }
    stage.idle("one", &["--network", "blue"]);
    assert_eq!(stage.addresses("one", "blue").len(), 2);
    stage.docker.exec("one", "ping -c1 -W2 10.50.0.254");
    // The default network is another one now.
    let nat = text(&hns_network(&stage, "nat"), "ID");
    let bound = || stage.docker.json(&["network", "inspect", "nat"])[0]["Options"].to_string().contains(&nat);
    eventually!(bound());
    stage.idle("two", &["--network", "nat"]);
    assert_eq!(
        guid(&text(&stage.membership("two", "nat"), "EndpointID")),
        text(&stage.endpoint("two", "nat"), "ID")
    );
}

/// Docker comes back to containers that went on without it, and they keep everything.
fn live_containers_outlive_docker(release: Release) {
    let configure = |docker: hns_testbed::engines::DockerdBuilder| docker.arg("--live-restore");
    let mut stage = DockerScene::with(Scene::new(), release, configure);
    stage.network("blue", &["--subnet", "10.50.0.0/24"]);
    stage.web("one", &["--network", "blue", "-p", "8080:80"]);
    stage.idle("two", &["--network", "blue"]);
    eventually!(names_of_endpoints(&stage) == ["one", "two"]);
    let before = stage.endpoints();
    stage.docker.kill9();
    stage.docker.start_again();
    // It is connected when a network that is made now is shown.
    stage.scene.hnsd.hnsctl(&["network", "create", "late"]);
    eventually!(shown(&stage.docker) == ["blue", "late"]);
    assert_eq!(stage.endpoints(), before);
    stage.docker.exec("two", "ping -c1 -W2 10.50.0.2");
    stage.remove(&["one", "two"]);
    eventually!(stage.endpoints().is_empty());
}

#[test]
fn live_containers_outlive_the_newest_docker() {
    needs!(root, engines);
    live_containers_outlive_docker(Release::Newest);
}

#[test]
fn live_containers_outlive_the_oldest_docker() {
    needs!(root, engines);
    live_containers_outlive_docker(Release::Oldest);
}
