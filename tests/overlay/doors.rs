//! Containers of CNI and Podman on two hosts. Which host has what is said by `hnsctl`, as on networks of its own.

use std::net::IpAddr;
use std::os::unix::fs::symlink;

use hns_testbed::engines::{IMAGE, Podman};
use hns_testbed::{Hnsd, Netns, eventually, needs, program, tcp};
use hns_tests::story_support::cni::CniRuntime;
use serde_json::{Value, json};

use crate::stage::{Stage, container, key_of, prefixes};

/// A container's place on host `own`.
fn place(own: u8) -> [IpAddr; 2] {
    [format!("10.244.{own}.20"), format!("fd00:244:{own}::20")].map(|ip| ip.parse().expect("an address"))
}

/// Says on each host what the other has of `blue`.
fn meet(stage: &Stage) {
    for (hnsd, other, number) in [(&stage.here, &stage.there, 2), (&stage.there, &stage.here, 1)] {
        let key = key_of(other, "blue").map(|key| format!(",key={key}")).unwrap_or_default();
        let peers = prefixes(number).map(|prefix| format!("{prefix}={}{key}", other.host().v4()));
        hnsd.hnsctl(&["network", "peer", "add", "blue", &peers[0], &peers[1]]);
    }
}

/// The containers at `place(1)` and `place(2)`, and one of `hnsctl` beside the second.
fn all_reach_each_other(stage: &Stage, web: &Netns, far: &Netns) {
    let own = container(&stage.there, "blue", "own", 2, 77);
    let _servers: Vec<tcp::Echo> = [(web, 1), (far, 2)]
        .into_iter()
        .flat_map(|(netns, number)| place(number).map(|address| tcp::Echo::serve(netns, (address, 80))))
        .collect();
    for (from, number) in [(web, 2), (far, 1), (&own.netns, 1), (&own.netns, 2)] {
        for to in place(number) {
            eventually!(tcp::ask(from, (to, 80)));
        }
    }
    stage.there.hnsctl(&["endpoint", "rm", "own"]);
}

fn nothing_is_left(hnsd: &Hnsd) {
    eventually!(!hnsd.host().links().iter().any(|link| link.starts_with("hn")));
}

#[test]
fn containers_of_cni_on_two_hosts_reach_each_other() {
    needs!(root, "nft");
    by_cni(&json!({"type": "hns-cni", "networkType": "overlay", "master": "eth0"}));
}

/// Under the name of the plugin for Windows.
#[test]
fn a_configuration_of_win_overlay_makes_an_overlay() {
    needs!(root, "nft");
    by_cni(&json!({"type": "win-overlay"}));
}

/// A network in clear does not stand for it.
#[test]
fn containers_of_cni_are_on_an_encrypted_overlay() {
    needs!(root, "nft");
    let method = json!({"Type": "Encryption", "EncryptionMethodType": "WireGuard"});
    let plugin = json!({"type": "hns-cni", "networkType": "overlay", "master": "eth0",
        "policies": [{"name": "NetworkPolicy", "value": method}]});
    by_cni(&plugin);
    let stage = Stage::bare();
    stage.here.hnsctl(&["network", "create", "blue", "-t", "overlay", "--subnet", &prefixes(1)[0]]);
    let _web = stage.here.host().add_netns("web");
    let mut plugin = plugin;
    plugin["ipam"] = json!({"ranges": [[{"subnet": prefixes(1)[0]}]]});
    let list = json!({"cniVersion": "1.0.0", "name": "blue", "plugins": [plugin]});
    let runtime = CniRuntime::new(stage.here.host(), stage.here.socket(), &list);
    let refused = runtime.add("web", &json!({})).message();
    assert!(refused.to_string().contains("exists and is not encrypted"), "{refused}");
}

fn by_cni(plugin: &Value) {
    let stage = Stage::bare();
    let runtime = |hnsd: &Hnsd, own: u8| {
        let [v4, v6] = prefixes(own);
        let mut plugin = plugin.clone();
        plugin["capabilities"] = json!({"ips": true});
        plugin["ipam"] = json!({"ranges": [[{"subnet": v4}], [{"subnet": v6}]]});
        let list = json!({"cniVersion": "1.0.0", "name": "blue", "plugins": [plugin]});
        CniRuntime::new(hnsd.host(), hnsd.socket(), &list).plugins_in(stage.lab.folder())
    };
    symlink(program("hns-cni"), stage.lab.folder().join("win-overlay")).expect("a link can be made");
    let [web, far] =
        [(&stage.here, "web"), (&stage.there, "far")].map(|(hnsd, name)| hnsd.host().add_netns(name));
    let [here, there] = [runtime(&stage.here, 1), runtime(&stage.there, 2)];
    let told_here = here.add("web", &json!({"ips": place(1)})).granted();
    let told_there = there.add("far", &json!({"ips": place(2)})).granted();
    meet(&stage);
    all_reach_each_other(&stage, &web, &far);
    here.check("web", &told_here).granted();
    here.del("web", &told_here).granted();
    there.del("far", &told_there).granted();
    for hnsd in [&stage.here, &stage.there] {
        hnsd.hnsctl(&["network", "rm", "blue"]);
        nothing_is_left(hnsd);
    }
}

/// Podman with our plugin, which looks for the daemon at its usual socket.
fn podman(hnsd: &Hnsd) -> Podman {
    let socket = hnsd.socket();
    hnsd.host().sh(&format!("mkdir -p /run/hns && ln -s {} /run/hns/hns.sock", socket.display()));
    let podman = Podman::new(hnsd.host());
    podman.root().install("hns-netavark", "/usr/local/libexec/netavark/hns-netavark");
    podman
}

#[test]
fn containers_of_podman_on_two_hosts_reach_each_other() {
    needs!(root, engines);
    by_podman(&[]);
}

#[test]
fn containers_of_podman_are_on_an_encrypted_overlay() {
    needs!(root, engines);
    by_podman(&["-o", "encrypted=true"]);
}

fn by_podman(options: &[&str]) {
    let stage = Stage::bare();
    let podmen = [podman(&stage.here), podman(&stage.there)];
    for (podman, own) in podmen.iter().zip([1, 2]) {
        let [v4, v6] = prefixes(own);
        let create =
            ["network", "create", "-d", "hns-netavark", "-o", "type=overlay", "-o", "interface=eth0"];
        podman.run(&[&create[..], options, &["--subnet", &v4, "--subnet", &v6, "blue"]].concat());
    }
    let [web, far] = [1, 2].map(|own: u8| {
        let (podman, name) = (&podmen[usize::from(own) - 1], if own == 1 { "web" } else { "far" });
        let [v4, v6] = place(own);
        let at = format!("blue:ip={v4},ip6={v6}");
        podman.run(&["run", "-d", "--name", name, "--network", &at, IMAGE, "sleep", "1000"]);
        podman.netns(name)
    });
    meet(&stage);
    all_reach_each_other(&stage, &web, &far);
    let publish = ["run", "--rm", "--network", "blue", "-p", "8080:80", IMAGE, "true"];
    let said = podmen[0].try_run(&publish).expect_failure();
    assert!(said.contains("Overlay"), "{said}");
    for (podman, name) in podmen.iter().zip(["web", "far"]) {
        podman.run(&["rm", "-f", "-t", "0", name]);
        podman.run(&["network", "rm", "blue"]);
    }
    // Podman tells its plugin of no network that goes.
    for hnsd in [&stage.here, &stage.there] {
        hnsd.hnsctl(&["network", "rm", "blue"]);
        nothing_is_left(hnsd);
    }
}
