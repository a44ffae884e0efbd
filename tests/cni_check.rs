//! CHECK looks inside the container and compares the whole of `prevResult`; it changes nothing there.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

use hns_testbed::needs;
use hns_tests::story_support::Scene;
use hns_tests::story_support::cni::CniRuntime;
use serde_json::{Value, json};

/// A container `c1` of both families, with a route and name servers of its own.
struct Stage {
    scene: Scene,
    cni: CniRuntime,
    told: Value,
}

impl Stage {
    fn new() -> Self {
        Self::with("1.1.0", &[])
    }

    /// With further plugins behind ours.
    fn with(version: &str, behind: &[Value]) -> Self {
        let scene = Scene::new();
        let _netns = scene.host.add_netns("c1");
        let mut plugins = vec![json!({"type": "hns-cni", "subnets": ["10.7.0.0/24", "fd00:7::/64"],
            "dns": {"nameservers": ["192.0.2.53"], "search": ["seven.test"]},
            "additionalRoutes": [{"dst": "10.9.0.0/16", "gw": "10.7.0.1", "priority": 7}]})];
        plugins.extend_from_slice(behind);
        let list = json!({"cniVersion": version, "name": "web", "plugins": plugins});
        let cni = CniRuntime::new(&scene.host, scene.hnsd.socket(), &list);
        let told = cni.add("c1", &json!({})).granted();
        Self { scene, cni, told }
    }

    /// Runs commands in the container.
    fn inside(&self, commands: &str) -> String {
        self.scene.host.sh(&format!("ip netns exec c1 sh -ec '{commands}'"))
    }

    /// All that `ip` shows of the container's network, but for what passes by itself.
    fn state(&self) -> String {
        self.inside("ip -o link show; ip -o addr show; ip route show table all; ip -6 route show table all")
            .lines()
            .filter(|line| !line.starts_with("multicast ff00"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[track_caller]
    fn refuses(&self, told: &Value, said: &str) {
        let refused = self.cni.check("c1", told);
        assert_eq!(refused.code(), 101, "{said}: {}", refused.message());
        assert!(refused.message().contains(said), "{said}: {}", refused.message());
    }
}

const DEFAULT_V4: &str = "ip route add default via 10.7.0.1 metric 20000";
const DEFAULT_V6: &str = "ip route add default via fd00:7::1 metric 20000";
const ROUTE: &str = "ip route add 10.9.0.0/16 via 10.7.0.1 metric 7";
const ADDRESS_V4: &str = "ip addr add 10.7.0.2/24 brd + dev eth0";
const ADDRESS_V6: &str = "ip addr add fd00:7::2/64 nodad dev eth0";
const UP: &str = "ip link set eth0 up";

/// What is done in the container, what CHECK says of it, and what undoes it. A link that goes down loses its routes, and its
/// addresses of IPv6.
const DAMAGES: [(&str, &str, &[&str]); 16] = [
    ("ip addr del 10.7.0.2/24 dev eth0", "address 10.7.0.2/24 is missing", &[ADDRESS_V4, DEFAULT_V4, ROUTE]),
    ("ip -4 addr flush dev eth0", "route default via 10.7.0.1 is missing", &[ADDRESS_V4, DEFAULT_V4, ROUTE]),
    (
        "ip -6 addr flush dev eth0 scope global; ip -6 route del default",
        "address fd00:7::2/64 is missing; route default via fd00:7::1 is missing",
        &[ADDRESS_V6, DEFAULT_V6],
    ),
    (
        "ip addr del 10.7.0.2/24 dev eth0; ip addr add 10.7.0.2/16 dev eth0",
        "address 10.7.0.2 has prefix length 16, not 24",
        &["ip addr del 10.7.0.2/16 dev eth0", ADDRESS_V4, DEFAULT_V4, ROUTE],
    ),
    ("ip route del default", "route default via 10.7.0.1 is missing", &[DEFAULT_V4]),
    ("ip -6 route del default", "route default via fd00:7::1 is missing", &[DEFAULT_V6]),
    ("ip route del 10.9.0.0/16", "route 10.9.0.0/16 via 10.7.0.1 is missing", &[ROUTE]),
    (
        "ip route del default; ip route add default via 10.7.0.9 metric 20000",
        "route default via 10.7.0.1 is missing: it leads via 10.7.0.9",
        &["ip route del default", DEFAULT_V4],
    ),
    (
        "ip route del default; ip route add default via 10.7.0.1 metric 5",
        "route default via 10.7.0.1 has metric 5, not 20000",
        &["ip route del default", DEFAULT_V4],
    ),
    ("ip link set eth0 down", "eth0 is down", &[UP, ADDRESS_V6, DEFAULT_V6, DEFAULT_V4, ROUTE]),
    (
        "ip link set eth0 down; ip link set eth0 name eth9; ip link set eth9 up",
        "eth0 is called eth9",
        &["ip link set eth9 down; ip link set eth9 name eth0", UP, ADDRESS_V6, DEFAULT_V6, DEFAULT_V4, ROUTE],
    ),
    (
        "ip link set eth0 down; ip link set eth0 name eth9; ip link add eth0 type veth peer name eth1",
        "eth0 is called eth9",
        &["ip link del eth0; ip link set eth9 name eth0", UP, ADDRESS_V6, DEFAULT_V6, DEFAULT_V4, ROUTE],
    ),
    ("ip link set eth0 arp off", "eth0 has ARP off", &["ip link set eth0 arp on"]),
    ("ip link set eth0 mtu 1400", "eth0 has MTU 1400, not 1500", &["ip link set eth0 mtu 1500"]),
    (
        "ip link set eth0 address 02:00:00:00:00:99",
        "eth0 has MAC address 02:00:00:00:00:99, not",
        &["ip link set eth0 address MAC"],
    ),
    // What is there beside is the owner's own.
    (
        "ip link add eth7 type veth peer name eth8; ip addr add 10.99.0.1/24 dev eth0; \
         ip route add 10.98.0.0/16 via 10.7.0.1; ip route add default via 10.7.0.9 metric 1; \
         ip -6 route append default via fd00:7::9 metric 20000",
        "",
        &[
            "ip -6 route del default via fd00:7::9",
            "ip link del eth7; ip addr del 10.99.0.1/24 dev eth0; ip route del 10.98.0.0/16",
            "ip route del default metric 1",
        ],
    ),
];

#[test]
fn each_damage_inside_is_found_by_name_and_healed_by_whoever_did_it() {
    needs!(root, "nft");
    let stage = Stage::new();
    stage.cni.check("c1", &stage.told).granted();
    for (damage, said, undo) in DAMAGES {
        stage.inside(damage);
        let before = stage.state();
        if said.is_empty() {
            stage.cni.check("c1", &stage.told).granted();
        } else {
            stage.refuses(&stage.told, said);
        }
        // Neither CHECK nor the daemon lays hands on it.
        assert_eq!(stage.state(), before, "{damage}");
        let mac = stage.told["interfaces"][1]["mac"].as_str().unwrap();
        stage.inside(&undo.join("; ").replace("MAC", mac));
        let healed = stage.cni.check("c1", &stage.told);
        assert!(healed.success, "{damage}: {:#}\n{}", healed.document, stage.state());
    }
}

#[test]
fn an_interface_that_was_moved_away_is_missed() {
    needs!(root, "nft");
    let stage = Stage::new();
    let _other = stage.scene.host.add_netns("other");
    stage.inside("ip link add eth5 type veth peer name eth6");
    stage.scene.host.sh("ip -n c1 link set eth0 netns other");
    stage.refuses(&stage.told, "eth0 is not in its namespace");
    stage.inside("ip link set eth5 name eth0");
    stage.refuses(&stage.told, "what has this name there is another interface");
}

#[test]
fn each_field_of_the_result_before_must_be_the_endpoints() {
    needs!(root, "nft");
    let stage = Stage::new();
    let _other = stage.scene.host.add_netns("other");
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 16] = [
        (|told| told["interfaces"][1]["name"] = json!("eth7"), "prevResult does not name it"),
        (
            |told| told["interfaces"][1]["sandbox"] = json!("/run/netns/other"),
            "interfaces[1].sandbox is /run/netns/other, not /run/netns/c1",
        ),
        (
            |told| told["interfaces"][1]["mac"] = json!("02:00:00:00:00:99"),
            "interfaces[1].mac is 02:00:00:00:00:99, not ",
        ),
        (|told| told["interfaces"][1]["mtu"] = json!(1400), "interfaces[1].mtu is 1400, not 1500"),
        (|told| told["interfaces"][0]["name"] = json!("veth1"), "interfaces does not name hnv"),
        (|told| told["ips"][0]["address"] = json!("10.7.0.99/24"), "ips does not name 10.7.0.2/24"),
        (|told| told["ips"][0]["address"] = json!("10.7.0.2/16"), "ips does not name 10.7.0.2/24"),
        (|told| told["ips"][0]["gateway"] = json!("10.7.0.9"), "ips[0].gateway is 10.7.0.9, not 10.7.0.1"),
        (|told| told["ips"][1]["gateway"] = json!("fd00:7::9"), "ips[1].gateway is fd00:7::9, not fd00:7::1"),
        (|told| told["ips"][0]["interface"] = json!(0), "ips[0].interface is 0, not 1"),
        (|told| told["routes"] = json!([]), "routes does not name 0.0.0.0/0 via 10.7.0.1"),
        (|told| told["routes"] = json!([{"dst": "::/0"}]), "routes does not name ::/0 via fd00:7::1"),
        (|told| set_routes(told, "gw", &json!("10.7.0.9")), "routes does not name 10.9.0.0/16 via 10.7.0.1"),
        (|told| set_routes(told, "priority", &json!(9)), "priority is 9, not 7"),
        (|told| told["dns"]["nameservers"] = json!([]), "dns.nameservers does not name 192.0.2.53"),
        (|told| told["dns"]["search"] = json!(["x"]), "dns.search does not name seven.test"),
    ];
    let before = stage.state();
    for (change, said) in cases {
        let mut altered = stage.told.clone();
        change(&mut altered);
        stage.refuses(&altered, said);
    }
    stage.cni.check("c1", &stage.told).granted();
    assert_eq!(stage.state(), before);
}

fn set_routes(told: &mut Value, key: &str, value: &Value) {
    told["routes"].as_array_mut().unwrap().iter_mut().for_each(|route| route[key] = value.clone());
}

#[test]
fn what_tuning_changed_and_told_of_is_its_own() {
    needs!(root, "nft", "/usr/lib/cni/tuning");
    // Its MTU cannot be said in results of this version.
    let tuning = json!({"type": "tuning", "mac": "02:00:00:00:00:55", "mtu": 1400});
    let stage = Stage::with("1.0.0", &[tuning]);
    assert_eq!(stage.told["interfaces"][1]["mac"], "02:00:00:00:00:55");
    let seen = stage.scene.get("/v2/endpoints")[0]["ID"].as_str().unwrap().to_owned();
    let differences = stage.scene.get(&format!("/v2/endpoints/{seen}/check"))["Differences"].clone();
    assert_eq!(differences[0]["Property"], "MacAddress", "{differences}");
    assert_eq!(differences[1]["Property"], "Mtu", "{differences}");
    stage.cni.check("c1", &stage.told).granted();
    stage.inside("ip link set eth0 address 02:00:00:00:00:56");
    stage.refuses(&stage.told, "eth0 has MAC address 02:00:00:00:00:56");
}

#[test]
fn the_operator_is_told_what_check_finds() {
    needs!(root, "nft");
    let stage = Stage::new();
    let hnsd = &stage.scene.hnsd;
    let inside = || {
        let said = hnsd.try_hnsctl(&["doctor", "-o", "json"]).stdout;
        let findings: Vec<Value> = serde_json::from_str(&said).unwrap();
        let mut details = findings.into_iter().filter(|finding| finding["Check"] == "inside");
        (details.next().unwrap()["Detail"].clone(), details.next())
    };
    assert!(hnsd.try_hnsctl(&["endpoint", "check", "c1_web"]).success());
    assert_eq!(inside(), (json!("looked into 1 of 1 containers"), None));
    stage.inside("ip link set eth0 mtu 1400; ip addr del fd00:7::2/64 dev eth0");
    let checked = hnsd.try_hnsctl(&["endpoint", "check", "c1_web"]);
    assert!(!checked.success() && checked.stdout.contains("eth0 has MTU 1400, not 1500"), "{checked}");
    assert!(checked.stdout.contains("address fd00:7::2/64 is missing"), "{checked}");
    let (_, found) = inside();
    let found = found.unwrap();
    assert_eq!(found["Level"], "Warn");
    assert!(found["Detail"].as_str().unwrap().contains("eth0 has MTU 1400, not 1500"), "{found}");
    // The endpoint itself is well, as far as it is HNS's.
    assert_eq!(stage.scene.get("/v2/endpoints")[0]["State"], 3);
}
