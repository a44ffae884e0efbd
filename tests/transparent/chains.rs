//! A host whose networks are all on its LAN has no rule of ours on the way of what it sends and receives. The chains come before the
//! first network that needs them and go behind the last, and nothing is open meanwhile.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use hns_testbed::raw::{self, Injector, Link};
use hns_testbed::{Barrage, Hnsd, Host, Lab, Netns, eventually, needs};
use hns_tests::story_support::text;
use serde_json::{Value, json};

use crate::stage::{ON_THE_LAN, Stage, container, network, switch};

const ROUNDS: usize = 12;
/// Where the streams go; nothing else does.
const PORT: u16 = 9;
/// Frames to it are for the next bridge alone, which leaves them to its port.
const SLOW_PROTOCOLS: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 2];
/// A container of the network `blue`.
const INNER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);

/// The hooks that chains of ours are at, of what belongs to no bridge.
fn hooks(host: &Host) -> Vec<String> {
    let shown = host.sh("nft list ruleset inet");
    let ours = shown.split("table ").filter(|table| table.starts_with("inet hns "));
    let lines = ours.flat_map(str::lines);
    let mut hooks: Vec<String> = lines
        .filter_map(|line| line.split_once(" hook "))
        .map(|(_, rest)| rest.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    hooks.sort();
    hooks.dedup();
    hooks
}

const ALL_HOOKS: [&str; 5] = ["forward", "input", "output", "postrouting", "prerouting"];

/// Whether the bridge's table stands in for the chains.
fn is_alone(host: &Host) -> bool {
    host.try_sh("nft list chain bridge hns to_host | grep -q private_drops").success()
}

fn blue(stage: &Stage) -> Value {
    network(&stage.here, "blue", &["--type", "nat", "--subnet", "10.7.0.0/24"])
}

fn problems(hnsd: &Hnsd) -> Vec<Value> {
    let said = hnsd.try_hnsctl(&["doctor", "-o", "json"]).stdout;
    let findings: Vec<Value> = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let of_ours = |finding: &Value| finding["Check"] == "repair" || finding["Check"] == "foreign-rules";
    findings.into_iter().filter(|finding| of_ours(finding) && finding["Level"] != "Ok").collect()
}

#[test]
fn the_chains_are_there_for_those_who_need_them() {
    needs!(root, "nft", "ping");
    let mut stage = Stage::bare();
    assert_eq!(hooks(stage.here.host()), [""; 0]);
    network(&stage.here, "corp", &ON_THE_LAN);
    let web = container(&stage.here, "web", 101);
    eventually!(stage.client.ping(web.v4()) && stage.here.host().ping(web.v6()));
    // Nor does anything else of ours make the kernel follow the host's connections.
    assert!(stage.here.host().ping(stage.client.v4()));
    assert_eq!(stage.here.host().sh("cat /proc/sys/net/netfilter/nf_conntrack_count").trim(), "0");
    for _ in 0..3 {
        assert_eq!(hooks(stage.here.host()), [""; 0]);
        assert!(is_alone(stage.here.host()));
        stage.here.host().sh("nft flush ruleset");
        eventually!(is_alone(stage.here.host()));
        assert_eq!(hooks(stage.here.host()), [""; 0]);
        stage
            .here
            .host()
            .sh("nft add chain inet hns prerouting '{ type filter hook prerouting priority 0; }'");
        eventually!(hooks(stage.here.host()).is_empty());
        eventually!(problems(&stage.here).is_empty());

        blue(&stage);
        assert_eq!(hooks(stage.here.host()), ALL_HOOKS);
        network(&stage.here, "green", &["--type", "private", "--subnet", "10.8.0.0/24"]);
        stage.here.hnsctl(&["network", "rm", "blue"]);
        assert_eq!(hooks(stage.here.host()), ALL_HOOKS, "another one needs them");
        assert!(!is_alone(stage.here.host()));
        stage.here.host().sh("nft flush ruleset");
        eventually!(hooks(stage.here.host()) == ALL_HOOKS);
        stage.here.restart();
        assert_eq!(hooks(stage.here.host()), ALL_HOOKS);
        eventually!(problems(&stage.here).is_empty());
        stage.here.hnsctl(&["network", "rm", "green"]);
    }
    stage.here.restart();
    assert_eq!(hooks(stage.here.host()), [""; 0]);
    // What a daemon left that was killed before it took them away.
    blue(&stage);
    stage.here.kill9();
    stage.here.host().sh("nft add chain inet hns theirs");
    stage.here.start_again();
    assert_eq!(hooks(stage.here.host()), ALL_HOOKS);
}

/// A bridge that leads to the LAN needs them once a port of ours is on it.
#[test]
fn a_port_on_a_bridge_of_the_administrators_brings_the_chains() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.host("here");
    host.bridge_adapter("CORP");
    let hnsd = Hnsd::builder(&host).arg("--default-network").arg("false").start();
    assert_eq!(hooks(&host), [""; 0]);
    let ends: [fn(&Hnsd); 2] = [
        |hnsd| drop(hnsd.hnsctl(&["endpoint", "detach", "web"])),
        |hnsd| drop(hnsd.hnsctl(&["endpoint", "rm", "web"])),
    ];
    for (round, end) in ends.into_iter().enumerate() {
        let address = format!("198.18.0.{}", 101 + round);
        let namespace = format!("web{round}");
        let _netns = host.add_netns(&namespace);
        hnsd.hnsctl(&["namespace", "create", &namespace, "--path", &format!("/run/netns/{namespace}")]);
        let words = ["endpoint", "create", "--network", "CORP", "--name", "web", "--namespace", &namespace];
        hnsd.hnsctl(&[&words[..], &["--ip", &address]].concat());
        assert_eq!(hooks(&host), ALL_HOOKS);
        end(&hnsd);
        assert_eq!(hooks(&host), [""; 0]);
        let _gone = hnsd.try_hnsctl(&["endpoint", "rm", "web"]);
    }
}

/// A network that cannot be made leaves nothing.
#[test]
fn a_network_that_fails_leaves_no_chains() {
    needs!(root, "nft");
    let stage = Stage::new();
    let host = stage.here.host();
    let made = blue(&stage);
    let switch = switch(&stage.here, &made);
    stage.here.hnsctl(&["network", "rm", "blue"]);
    let again = |stage: &Stage| {
        let document = json!({ "ID": text(&made, "ID"), "Name": "blue", "Type": "NAT" });
        stage.here.api().post("/v2/networks", &document).expect("the daemon answers")
    };
    // Its chains are there before the name turns out to be taken.
    host.sh(&format!("ip link add {switch} type veth peer name other"));
    assert_ne!(again(&stage).status, 200);
    assert_eq!(hooks(host), [""; 0]);
    assert!(is_alone(host));
    host.sh(&format!("ip link delete {switch}"));
    // Nor is there a network without its chains.
    host.sh("cp $(command -v nft) /run/nft-that-works; mount --bind /bin/false $(command -v nft)");
    assert_ne!(again(&stage).status, 200);
    host.sh("umount -l $(command -v nft)");
    assert!(!host.links().contains(&switch));
    let _made = again(&stage).expect_success();
    assert_eq!(hooks(host), ALL_HOOKS);
}

/// Behind all rules of ours, at the host itself.
fn ear(host: &Host) {
    host.sh(&format!(
        "nft 'table inet ear {{ counter heard {{ }}; counter by_adapter {{ }}; chain ear {{
             type filter hook input priority 500;
             iifname \"hn*\" udp dport {PORT} counter name heard;
             iifname \"eth0\" udp dport {PORT} counter name by_adapter; }}; }}'"
    ));
}

fn count(netns: &Netns, counter: &str) -> u64 {
    let output = netns.command("nft").args(["list", "counter", "inet", "ear", counter]).output();
    let said = String::from_utf8_lossy(&output.expect("nft runs").stdout).into_owned();
    let mut words = said.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

/// A namespace that has an ear before it is on the network `blue`.
fn inner(stage: &Stage, round: usize) -> Netns {
    let name = format!("inner{round}");
    let netns = stage.here.host().add_netns(&name);
    let table = format!(
        "table inet ear {{ counter heard {{ }}; chain ear {{
             type filter hook prerouting priority -500; udp dport {PORT} counter name heard; }}; }}"
    );
    assert!(netns.command("nft").arg(table).status().expect("nft runs").success());
    stage.here.hnsctl(&["namespace", "create", &name, "--path", &format!("/run/netns/{name}")]);
    let at = INNER.to_string();
    let words =
        ["endpoint", "create", "--network", "blue", "--name", &name, "--namespace", &name, "--ip", &at];
    stage.here.hnsctl(&words);
    netns
}

/// Somebody on the LAN who sends to a container of the network that comes and goes; and a container on the LAN who sends to its
/// host by what a bridge hands to its own device, and by what it leaves to its port.
#[test]
fn nothing_is_open_while_chains_come_and_go() {
    needs!(root, "nft");
    let mut stage = Stage::new();
    let web = container(&stage.here, "web", 101);
    let (here, client) = (stage.here.host().netns(), stage.client.netns());
    ear(stage.here.host());
    let mut frames = Vec::new();
    for (from, to) in web.addresses().into_iter().zip(stage.here.host().addresses()) {
        let packet = raw::udp((from, 4000), (to, PORT), b"HNSshut");
        for group in [raw::EVERYBODY, SLOW_PROTOCOLS] {
            let link = Link { to: group, from: raw::mac_of(&web.netns, "eth0") };
            frames.push((Injector::open(&web.netns, "eth0"), link.packet(&packet)));
        }
    }
    let link = Link { to: raw::mac_of(&here, "eth0"), from: raw::mac_of(&client, "eth0") };
    let packet = raw::udp((stage.client.v4().into(), 4000), (INNER.into(), PORT), b"HNSshut");
    frames.push((Injector::open(&client, "eth0"), link.packet(&packet)));
    let frames: Vec<_> = frames.iter().map(|(injector, frame)| (injector, &frame[..])).collect();

    Barrage::during(&frames, |barrage| {
        for round in 0..ROUNDS {
            blue(&stage);
            let inner = inner(&stage, round);
            barrage.go_on(barrage.sent(), 20);
            assert_eq!(count(&inner, "heard"), 0, "round {round}");
            // It would be heard.
            eventually!({
                here.enter(|| knock(INNER.into()));
                count(&inner, "heard") > 0
            });
            stage.here.hnsctl(&["network", "rm", "--force", "blue"]);
            barrage.go_on(barrage.sent(), 20);
        }
    });
    assert_eq!(count(&here, "heard"), 0);
    assert!(count(&here, "by_adapter") > 0, "what is for everybody is for the host as well");

    // What is heard where nothing closes.
    stage.here.kill9();
    stage.here.host().sh("nft flush chain bridge hns to_host");
    Barrage::during(&frames, |barrage| barrage.go_on(0, 20));
    eventually!(count(&here, "heard") > 0);
}

fn knock(to: IpAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    let _sent = socket.send_to(b"HNSknock", (to, PORT));
}
