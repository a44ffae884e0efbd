//! Docker's containers on the LAN.

use std::net::{IpAddr, SocketAddr};

use hns_testbed::engines::Release;
use hns_testbed::{eventually, needs};
use hns_tests::story_support::docker::fetch;
use hns_tests::story_support::{DockerScene, Scene};
use serde_json::json;

use crate::stage::ON_THE_LAN;

const LAN: [&str; 9] = [
    "--ipv6",
    "--subnet",
    "198.18.0.0/24",
    "--gateway",
    "198.18.0.254",
    "--subnet",
    "fd00:198:18::/64",
    "--gateway",
    "fd00:198:18::fe",
];

fn a_container_on_the_lan(release: Release, driver: &str, kind: &str) {
    let stage = DockerScene::new(release);
    let scene: &Scene = &stage.scene;
    let [.., number] = scene.host.v4().octets();
    scene.lab.router().sh(&format!("bridge link set dev p{number} hairpin on"));
    let create = |options: &[&str]| {
        let words = [&["network", "create", "-d", driver], options, &LAN, &["CORP"]].concat();
        stage.docker.try_run(&words)
    };
    assert!(create(&[]).expect_failure().contains("needs an adapter"));
    assert!(create(&["-o", "interface=eth9"]).expect_failure().contains("there is no adapter eth9"));
    let _id = create(&["-o", "com.docker.network.windowsshim.interface=eth0"]).expect_success();
    assert_eq!(stage.hns_network("CORP")["Type"], json!(kind));
    let place = ["--network", "CORP", "--ip", "198.18.0.201", "--ip6", "fd00:198:18::201"];
    stage.web("web", &place);
    let addresses = stage.addresses("web", "CORP");
    assert_eq!(
        addresses,
        ["198.18.0.201", "fd00:198:18::201"].map(|ip| ip.parse::<IpAddr>().expect("an address"))
    );
    for from in [scene.outside.netns(), scene.host.netns(), scene.lab.router().netns()] {
        for to in &addresses {
            eventually!(fetch(&from, SocketAddr::new(*to, 80)));
        }
    }
    // To the LAN, to the host, and beyond the router.
    let script = "ping -c1 -W5 198.18.0.2 && ping -c1 -W5 198.18.0.1 && ping -c1 -W5 198.51.100.1 && ping -6 -c1 -W5 fd00:198:51::1";
    stage.docker.run(&["exec", "web", "sh", "-ec", script]);
    let said = stage.refused_container(&[
        "--network",
        "CORP",
        "--ip",
        "198.18.0.203",
        "--ip6",
        "fd00:198:18::203",
        "-p",
        "8080:80",
    ]);
    assert!(said.contains(kind), "{said}");
    // A container that is restarted has the same place on the LAN.
    stage.docker.run(&["restart", "-t", "0", "web"]);
    eventually!(fetch(&scene.outside.netns(), SocketAddr::new(addresses[0], 80)));
    stage.remove(&["web"]);
    stage.docker.run(&["network", "rm", "CORP"]);
    eventually!(!scene.host.links().iter().any(|link| link.starts_with("hn")));
}

#[test]
fn a_container_of_docker_is_on_the_lan() {
    needs!(root, engines);
    a_container_on_the_lan(Release::Newest, "transparent", "Transparent");
}

#[test]
fn a_container_of_the_oldest_docker_is_on_the_lan() {
    needs!(root, engines);
    a_container_on_the_lan(Release::Oldest, "transparent", "Transparent");
}

#[test]
fn a_container_of_docker_is_on_the_lan_under_the_hosts_mac_address() {
    needs!(root, engines);
    a_container_on_the_lan(Release::Newest, "l2bridge", "L2Bridge");
}

#[test]
fn a_container_of_docker_is_on_the_lan_and_sends_all_to_its_switch() {
    needs!(root, engines);
    a_container_on_the_lan(Release::Newest, "l2tunnel", "L2Tunnel");
}

fn listed(stage: &DockerScene) -> String {
    let format = "{{.Name}} {{.Driver}} {{.Scope}}";
    stage.docker.run(&["network", "ls", "--filter", "driver=transparent", "--format", format])
}

/// Those of the hosts are the first ones of the LAN.
#[test]
fn our_ipam_gives_docker_no_address_of_the_host() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    let place = ["-o", "interface=eth0", "--ipam-driver", "hns", "--subnet", "198.18.0.0/24"];
    let gateway = ["--gateway", "198.18.0.254", "corp"];
    stage.docker.run(&[&["network", "create", "-d", "transparent"], &place[..], &gateway].concat());
    stage.web("web", &["--network", "corp"]);
    let addresses = stage.addresses("web", "corp");
    assert!(!addresses.is_empty());
    assert!(stage.scene.host.addresses().iter().all(|own| !addresses.contains(own)), "{addresses:?}");
}

/// `CORP transparent local` in `docker network ls`.
#[test]
fn a_network_that_hnsctl_made_stands_in_dockers_list() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.scene.hnsd.hnsctl(&[&["network", "create", "CORP"], &ON_THE_LAN[..]].concat());
    let listed = || listed(&stage);
    eventually!(listed() == "CORP transparent local");
    stage.web("web", &["--network", "CORP", "--ip", "198.18.0.202", "--ip6", "fd00:198:18::202"]);
    for to in stage.addresses("web", "CORP") {
        eventually!(fetch(&stage.scene.outside.netns(), SocketAddr::new(to, 80)));
    }
    stage.remove(&["web"]);
    stage.scene.hnsd.hnsctl(&["network", "rm", "--force", "CORP"]);
    eventually!(listed().is_empty());
}

/// Nobody made it: it stands there while the bridge does, and as long as a container is on it.
#[test]
fn a_bridge_of_the_administrators_stands_in_dockers_list() {
    needs!(root, engines);
    on_a_bridge(Release::Newest);
}

#[test]
fn a_bridge_of_the_administrators_stands_in_the_oldest_dockers_list() {
    needs!(root, engines);
    on_a_bridge(Release::Oldest);
}

fn on_a_bridge(release: Release) {
    let stage = DockerScene::new(release);
    let host = &stage.scene.host;
    host.bridge_adapter("CORP");
    eventually!(listed(&stage) == "CORP transparent local");
    // The host's addresses may come later than the bridge, and change while nobody is on it.
    // It is away for a moment while it is shown anew.
    let format = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
    let subnets = || stage.docker.try_run(&["network", "inspect", "--format", format, "CORP"]).stdout;
    host.sh("ip addr add 10.99.0.1/24 dev CORP");
    eventually!(listed(&stage) == "CORP transparent local" && subnets().contains("10.99.0.0/24"));
    host.sh("ip addr delete 10.99.0.1/24 dev CORP");
    eventually!(subnets().contains("198.18.0.0/24") && !subnets().contains("10.99.0.0/24"));
    eventually!(listed(&stage) == "CORP transparent local");
    let said = stage.refused_container(&["--network", "CORP"]);
    assert!(said.contains("IPv4 addresses are free on its LAN"), "{said}");
    stage.web("web", &["--network", "CORP", "--ip", "198.18.0.202"]);
    let reaches = |to: IpAddr| {
        let to = SocketAddr::new(to, 80);
        fetch(&stage.scene.outside.netns(), to).is_ok() && fetch(&host.netns(), to).is_ok()
    };
    for to in stage.addresses("web", "CORP") {
        eventually!(reaches(to));
    }
    let script = "ping -c1 -W5 198.18.0.2 && ping -c1 -W5 198.18.0.1 && ping -6 -c1 -W5 fd00:198:18::fe";
    stage.docker.run(&["exec", "web", "sh", "-ec", script]);
    // A container keeps the network, and is on the LAN again when the bridge is there again.
    host.sh("ip link delete CORP");
    eventually!(!reaches([198, 18, 0, 202].into()));
    assert_eq!(listed(&stage), "CORP transparent local");
    host.bridge_adapter("CORP");
    eventually!(within 10 s, reaches([198, 18, 0, 202].into()));
    stage.remove(&["web"]);
    host.sh("ip link delete CORP");
    eventually!(listed(&stage).is_empty());
}
