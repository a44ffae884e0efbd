//! Containers of CNI and Podman on the LAN.

use std::net::{IpAddr, SocketAddr};

use hns_testbed::{Netns, eventually, needs, tcp};
use hns_tests::story_support::cni::CniRuntime;
use hns_tests::story_support::{PodmanScene, Scene};
use serde_json::{Value, json};

const PLACE: [&str; 2] = ["198.18.0.201", "fd00:198:18::201"];

fn place() -> [IpAddr; 2] {
    PLACE.map(|ip| ip.parse().expect("an address"))
}

/// Who is on the LAN, and the host, reach it at its own addresses; so does it them.
fn is_on_the_lan(scene: &Scene, container: &Netns) {
    let _servers = place().map(|address| tcp::Echo::serve(container, (address, 80)));
    for from in [scene.outside.netns(), scene.host.netns(), scene.lab.router().netns()] {
        for to in place() {
            eventually!(tcp::ask(&from, SocketAddr::new(to, 80)));
        }
    }
    for to in [scene.outside.addresses(), scene.host.addresses()].concat() {
        assert!(container.ping(to), "{to}");
    }
}

#[test]
fn a_container_of_cni_is_on_the_lan() {
    needs!(root, "nft", "ping");
    on_the_lan_by_cni(&json!({"type": "hns-cni", "networkType": "transparent"}));
}

/// As win-bridge's configurations name it.
#[test]
fn a_container_of_cni_is_on_the_lan_under_the_hosts_mac_address() {
    needs!(root, "nft", "ping");
    on_the_lan_by_cni(&json!({"type": "hns-cni", "networkType": "L2Bridge"}));
}

/// The switch of the LAN sends back what comes from the host.
fn reflect(scene: &Scene) {
    let [.., number] = scene.host.v4().octets();
    scene.lab.router().sh(&format!("bridge link set dev p{number} hairpin on"));
}

#[test]
fn a_container_of_cni_is_on_the_lan_and_sends_all_to_its_switch() {
    needs!(root, "nft", "ping");
    on_the_lan_by_cni(&json!({"type": "hns-cni", "networkType": "l2tunnel"}));
}

fn on_the_lan_by_cni(plugin: &Value) {
    let scene = Scene::new();
    reflect(&scene);
    let netns = scene.host.add_netns("web");
    let list = |adapter: &str| {
        let mut plugin = plugin.clone();
        plugin["master"] = json!(adapter);
        plugin["capabilities"] = json!({"ips": true});
        plugin["ipam"] = json!({"ranges": [
            [{"subnet": "198.18.0.0/24", "gateway": "198.18.0.254"}],
            [{"subnet": "fd00:198:18::/64", "gateway": "fd00:198:18::fe"}]]});
        json!({"cniVersion": "1.0.0", "name": "corp", "plugins": [plugin]})
    };
    let wishes = json!({"ips": PLACE});
    let runtime = |adapter| CniRuntime::new(&scene.host, scene.hnsd.socket(), &list(adapter));
    let said = runtime("eth9").add("web", &wishes);
    assert!(said.message().contains("there is no adapter eth9"), "{}", said.message());
    let told = runtime("eth0").add("web", &wishes).granted();
    is_on_the_lan(&scene, &netns);
    runtime("eth0").check("web", &told).granted();
    runtime("eth0").del("web", &told).granted();
    scene.hnsd.hnsctl(&["network", "rm", "corp"]);
    eventually!(!scene.host.links().iter().any(|link| link.starts_with("hnw")));
}

#[test]
fn a_container_of_podman_is_on_the_lan() {
    needs!(root, engines);
    on_the_lan_by_podman("transparent");
}

#[test]
fn a_container_of_podman_is_on_the_lan_under_the_hosts_mac_address() {
    needs!(root, engines);
    on_the_lan_by_podman("l2bridge");
}

#[test]
fn a_container_of_podman_is_on_the_lan_and_sends_all_to_its_switch() {
    needs!(root, engines);
    on_the_lan_by_podman("l2tunnel");
}

fn on_the_lan_by_podman(kind: &str) {
    let option = format!("type={kind}");
    let stage = PodmanScene::new();
    reflect(&stage.scene);
    let lan = ["--subnet", "198.18.0.0/24", "--gateway", "198.18.0.254", "--subnet", "fd00:198:18::/64"];
    let gateway = ["--gateway", "fd00:198:18::fe"];
    let typed = ["-o", &option, "-o", "interface=eth0"];
    let said = stage.refused_network(&[&typed[..2], &lan, &gateway, &["corp"]].concat());
    assert!(said.contains("needs an adapter"), "{said}");
    stage.network(&[&typed[..], &lan, &gateway, &["corp"]].concat());
    let at = format!("corp:ip={},ip6={}", PLACE[0], PLACE[1]);
    let web = stage.container("web", &["--network", &at]);
    is_on_the_lan(&stage.scene, &web);
    let said = stage.refused_container(&["--network", "corp", "-p", "8080:80"]);
    assert!(said.to_lowercase().contains(kind), "{said}");
    stage.podman.run(&["rm", "-f", "-t", "0", "web"]);
    stage.podman.run(&["network", "rm", "corp"]);
    // In a VLAN of that adapter, with the same prefix.
    stage.network(&[&typed[..], &["-o", "vlan=7"], &lan[..4], &["seven"]].concat());
    let made = stage.scene.get("/v2/networks");
    let seven = made.as_array().into_iter().flatten().find(|network| network["Name"] == "seven");
    let policies = &seven.expect("it was made")["Policies"];
    assert!(policies.to_string().contains("\"IsolationId\":7"), "{policies}");
}
