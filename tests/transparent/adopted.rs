//! A bridge of the administrator's that leads to the LAN is a network by itself. Containers on it are on the LAN, and it is never
//! changed.

use std::net::IpAddr;

use hns_testbed::{Hnsd, Host, Lab, eventually, needs};
use hns_tests::story_support::policies::acl;
use hns_tests::story_support::{Container, Proto, Row, Server, check, text};
use serde_json::{Value, json};

use crate::host::Traffic;
use crate::stage::{Party, container_at, dropped, rules};

/// `here`, whose administrator has put its adapter into his bridge `CORP`; `client`, on the LAN.
struct Stage {
    here: Hnsd,
    client: Host,
    lab: Lab,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new();
        let [here, client] = ["here", "client"].map(|name| lab.host(name));
        here.bridge_adapter("CORP");
        let here = Hnsd::builder(&here).arg("--default-network").arg("false").start();
        Self { here, client, lab }
    }

    fn host(&self) -> &Host {
        self.here.host()
    }

    fn container(&self, name: &str, number: u8) -> Container {
        let addresses = [format!("198.18.0.{number}"), format!("fd00:198:18::{number}")];
        container_at(&self.here, "CORP", name, &addresses)
    }

    fn parties(&self, containers: &[(&'static str, &Container)]) -> Vec<Party> {
        let router = self.lab.router().netns();
        let gateways = crate::stage::Stage::gateways();
        let mut parties = vec![
            Party::host("here", self.host()),
            Party::host("client", &self.client),
            Party { name: "router", netns: router, addresses: gateways },
        ];
        parties.extend(containers.iter().map(|(name, container)| Party::container(name, container)));
        parties
    }
}

fn named(hnsd: &Hnsd) -> Vec<(String, String)> {
    let listed = hnsd.hnsctl_json(&["network", "ls"]);
    let row = |network: &Value| (text(network, "Name"), text(network, "Type"));
    listed.as_array().into_iter().flatten().map(row).collect()
}

fn is_listed(hnsd: &Hnsd) -> bool {
    named(hnsd).contains(&("CORP".to_owned(), "Transparent".to_owned()))
}

/// What the bridge shows of itself. What it has learned of stations comes and goes with the traffic, and timers run.
fn looks(host: &Host) -> Vec<String> {
    let shown = host.sh(
        "ip -o -d link show dev CORP; ip -o -d link show dev eth0; ip -o link show master CORP; ip -o addr
         ip route show table all; ip -6 route show table all; bridge fdb show br CORP | grep permanent | sort
         bridge vlan show; bridge mdb show | grep -v 'grp ff' | sort
         for f in /proc/sys/net/ipv[46]/conf/CORP/* /proc/sys/net/ipv[46]/conf/eth0/*; do
             [ -r $f ] && echo $f $(cat $f 2>/dev/null); done
         for f in $(find /sys/class/net/CORP/bridge /sys/class/net/eth0/brport -type f -perm -444 | sort); do
             case $f in *timer*) ;; *) echo $f $(cat $f 2>/dev/null);; esac; done; true",
    );
    let is_time =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let without_times = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_timer =
            |place: usize| place > 0 && words[place - 1].ends_with("_timer") && is_time(words[place]);
        let kept = (0..words.len()).filter(|place| !is_timer(*place)).map(|place| words[place]);
        kept.collect::<Vec<_>>().join(" ")
    };
    shown.lines().map(without_times).collect()
}

/// The lines that only one of the two has.
fn differences<'a>(one: &'a [String], other: &'a [String]) -> Vec<&'a String> {
    let missing = one.iter().filter(|line| !other.contains(line));
    missing.chain(other.iter().filter(|line| !one.contains(line))).collect()
}

#[test]
fn a_bridge_with_an_adapter_is_a_network_by_itself() {
    needs!(root, "nft");
    let stage = Stage::new();
    let network = stage.here.hnsctl_json(&["network", "inspect", "CORP"]);
    assert_eq!(text(&network, "Type"), "Transparent");
    assert_eq!(network["AdditionalParams"]["AdoptedBridge"], json!("CORP"));
    let prefixes: Vec<String> = network["Ipams"][0]["Subnets"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|subnet| text(subnet, "IpAddressPrefix"))
        .collect();
    assert_eq!(prefixes, ["198.18.0.0/24", "fd00:198:18::/64"]);
    // Nobody made it, and nobody removes it.
    for words in [&["network", "rm", "CORP"][..], &["network", "rm", "--force", "CORP"]] {
        let said = stage.here.try_hnsctl(words).expect_failure();
        assert!(said.contains("bridge CORP") && said.contains("administrator"), "{said}");
    }
    let adapter = ["network", "create", "x", "-t", "transparent", "--interface", "eth0"];
    let said =
        stage.here.try_hnsctl(&[&adapter[..], &["--subnet", "198.18.0.0/24"]].concat()).expect_failure();
    assert!(said.contains("belongs to the bridge CORP, which is a network by itself"), "{said}");
    let twice = ["network", "create", "CORP", "-t", "internal"];
    let said = stage.here.try_hnsctl(&twice).expect_failure();
    assert!(said.contains("a network named \"CORP\" exists already"), "{said}");
    let document = json!({"Name": "y", "Type": "Internal", "AdditionalParams": {"AdoptedBridge": "CORP"}});
    let answer = stage.here.api().post("/v2/networks", &document).expect("the daemon answers");
    assert!(format!("{answer:?}").contains("AdditionalParams.AdoptedBridge"), "{answer:?}");
    // What comes and goes while we look.
    let host = stage.host();
    host.sh("ip link set eth0 nomaster");
    eventually!(!is_listed(&stage.here));
    host.sh("ip link set eth0 master CORP");
    eventually!(is_listed(&stage.here));
    let again = stage.here.hnsctl_json(&["network", "inspect", "CORP"]);
    assert_eq!(text(&again, "ID"), text(&network, "ID"));
    host.sh("ip link delete CORP");
    eventually!(!is_listed(&stage.here));
    // One of a program, and one with nothing but machines on it, are none.
    let _far = host.add_netns("far");
    host.sh("ip link add virbr0 type bridge; ip link set eth0 master virbr0
             ip link add inner type bridge; ip link add veth1 type veth peer name eth0 netns far
             ip link add tap0 type veth peer name tap1; ip link set veth1 master inner; ip link set tap0 master inner
             ip link add lab type bridge; ip link add enp9s0 type veth peer name eth1 netns far
             ip link set enp9s0 master lab");
    eventually!(named(&stage.here) == [("lab".to_owned(), "Transparent".to_owned())]);
}

#[test]
fn the_bridge_is_as_it_was_when_its_containers_are_gone() {
    needs!(root, "nft");
    let stage = Stage::new();
    assert!(stage.host().ping(stage.client.v4()) && stage.host().ping(stage.client.v6()));
    let before = looks(stage.host());
    for round in 0..2 {
        let web = stage.container(&format!("web{round}"), 101);
        eventually!(web.netns.ping(stage.client.v4()) && stage.client.ping(web.v6()));
        // While it is there: the bridge's own station and size are the administrator's.
        let with_it = looks(stage.host());
        let changed = differences(&before, &with_it);
        assert!(changed.iter().all(|line| line.contains(": hnv") || line.contains("dev hnv")), "{changed:?}");
        stage.here.hnsctl(&["endpoint", "rm", &format!("web{round}")]);
    }
    eventually!(!stage.host().links().iter().any(|link| link.starts_with("hn")));
    let after = looks(stage.host());
    assert_eq!(differences(&before, &after), Vec::<&String>::new());
}

#[test]
fn containers_on_it_the_host_and_the_lan_reach_each_other() {
    needs!(root, "nft", "ping");
    let stage = Stage::new();
    let web = stage.container("web", 101);
    let db = stage.container("db", 102);
    let parties = stage.parties(&[("web", &web), ("db", &db)]);
    crate::all_reach_all(&parties);
    // Rules hold: TCP for one of them, and nothing for the others.
    let _servers: Vec<Server> =
        parties.iter().map(|party| Server::serve(&party.netns, &party.addresses, 80)).collect();
    let to_web = |party: &Party, proto, may: bool| {
        let pairs = web.addresses().into_iter().zip(party.addresses.clone());
        let row = |(to, seen): (IpAddr, IpAddr)| {
            let (from, who, seen) = (party.netns.clone(), party.name, may.then_some(seen));
            Row { from, who, proto, to: (to, 80).into(), seen }
        };
        pairs.map(row).collect::<Vec<Row>>()
    };
    for chosen in parties.iter().filter(|party| party.name != "web") {
        let their = chosen.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let only = json!({"Protocols": "6", "RemoteAddresses": their});
        rules(&stage.here, &web, &json!([acl("Allow", "In", 100, &only)]));
        let others = parties.iter().filter(|party| party.name != "web");
        let rows = others.flat_map(|party| {
            let tcp = to_web(party, Proto::Tcp, party.name == chosen.name);
            tcp.into_iter().chain(to_web(party, Proto::Udp, false))
        });
        check(&rows.collect::<Vec<_>>());
    }
    assert!(dropped(&stage.here, &web, "acl-in") > 10);
    rules(&stage.here, &web, &json!([]));
    // A container that speaks for another is heard by nobody.
    db.netns.command("ip").args(["addr", "add", "198.18.0.77/24", "dev", "eth0"]).status().expect("ip runs");
    let forged =
        db.netns.command("ping").args(["-n", "-c1", "-W1", "-I", "198.18.0.77", "198.18.0.1"]).output();
    assert!(!forged.expect("ping runs").status.success());
    assert!(dropped(&stage.here, &db, "spoofed-ip") + dropped(&stage.here, &db, "spoofed-arp") > 0);
}

fn health(hnsd: &Hnsd, container: &Container) -> String {
    let path = format!("/v2/endpoints/{}", container.id);
    hnsd.api().get(&path).expect("the daemon answers").expect_success()["Health"].to_string()
}

#[test]
fn containers_come_back_with_their_bridge() {
    needs!(root, "nft", "ping");
    let mut stage = Stage::new();
    let web = stage.container("web", 101);
    let db = stage.container("db", 102);
    let reaches = |stage: &Stage| {
        let lan = web.netns.ping(stage.client.v4()) && stage.client.ping(web.v6());
        lan && stage.host().ping(db.v4()) && web.netns.ping(db.v6())
    };
    eventually!(reaches(&stage));
    for round in 0..2 {
        stage.host().sh("ip link delete CORP");
        eventually!(health(&stage.here, &web).contains("CORP"));
        assert!(!web.netns.ping(stage.client.v4()));
        let network = stage.here.hnsctl_json(&["network", "inspect", "CORP"]);
        assert!(network["Health"].to_string().contains("bridge CORP is gone"), "{network}");
        let examined = stage.here.try_hnsctl(&["doctor"]);
        assert!(format!("{examined:?}").contains("bridge CORP is gone"), "{examined:?}");
        if round == 1 {
            // A daemon that starts without it waits for it.
            stage.here.kill9();
            stage.here.start_again();
            assert!(stage.here.hnsctl(&["network", "ls"]).contains("CORP"));
        }
        stage.host().bridge_adapter("CORP");
        eventually!(within 10 s, reaches(&stage));
        eventually!(!health(&stage.here, &web).contains("CORP"));
    }
    // The network of a bridge that is gone is ours to remove, and goes with its last endpoint as well.
    stage.host().sh("ip link delete CORP");
    eventually!(health(&stage.here, &web).contains("CORP"));
    for name in ["web", "db"] {
        stage.here.hnsctl(&["endpoint", "rm", name]);
    }
    eventually!(!is_listed(&stage.here));
    eventually!(!stage.host().links().iter().any(|link| link.starts_with("hn")));
}

#[test]
fn a_daemon_that_is_killed_interrupts_nobody_on_a_bridge() {
    needs!(root, "nft");
    let mut stage = Stage::new();
    let web = stage.container("web", 101);
    let (here, client) = (stage.host().netns(), stage.client.netns());
    let traffic = Traffic::between(&[
        ("client to web", &client, &web.netns, web.v4().into()),
        ("host to web6", &here, &web.netns, web.v6().into()),
        ("web to client", &web.netns, &client, stage.client.v4().into()),
    ]);
    let id = text(&stage.here.hnsctl_json(&["network", "inspect", "CORP"]), "ID");
    for _ in 0..3 {
        stage.here.kill9();
        stage.here.start_again();
    }
    stage.here.restart();
    traffic.all_came_back();
    assert_eq!(text(&stage.here.hnsctl_json(&["network", "inspect", "CORP"]), "ID"), id);
}

/// It talks to the host, to the LAN and to other machines on the bridge, and to no other container of ours.
#[test]
fn a_quiet_container_on_a_bridge_talks_to_the_lan() {
    needs!(root, "nft", "ping");
    let stage = Stage::new();
    let web = stage.container("web", 101);
    let netns = stage.host().add_netns("quiet");
    stage.here.hnsctl(&["namespace", "create", "quiet", "--path", "/run/netns/quiet"]);
    let words = ["endpoint", "create", "--network", "CORP", "--name", "quiet", "--namespace", "quiet"];
    let place = ["--ip", "198.18.0.102", "--ip", "fd00:198:18::102", "--disable-icc"];
    let quiet = Container::new("quiet", netns, stage.here.hnsctl_json(&[&words[..], &place].concat()));
    let vm = stage.host().add_netns("vm");
    stage.host().sh("ip link add vnet0 type veth peer name eth0 netns vm; ip link set vnet0 master CORP up
         ip -n vm addr add 198.18.0.150/24 dev eth0; ip -n vm addr add fd00:198:18::150/64 dev eth0 nodad
         ip -n vm link set eth0 up");
    let addresses: Vec<IpAddr> =
        vec![[198, 18, 0, 150].into(), [0xfd00, 0x198, 0x18, 0, 0, 0, 0, 0x150].into()];
    let mut parties = stage.parties(&[("quiet", &quiet)]);
    parties.push(Party { name: "vm", netns: vm, addresses });
    crate::all_reach_all(&parties);
    for (from, to) in [(&web, &quiet), (&quiet, &web)] {
        assert!(!from.netns.ping(to.v4()) && !from.netns.ping(to.v6()), "{} reaches {}", from.name, to.name);
    }
}

#[test]
fn addresses_on_the_lan_are_the_administrators_to_name() {
    needs!(root, "nft", "ping");
    let stage = Stage::new();
    let said = stage.here.try_hnsctl(&["endpoint", "create", "--network", "CORP"]).expect_failure();
    assert!(said.contains("IPv4 addresses are free on its LAN") && said.contains("--ip"), "{said}");
    let said = stage.here.try_hnsctl(&["endpoint", "create", "--network", "CORP", "--ip", "198.18.0.1"]);
    assert!(said.expect_failure().contains("198.18.0.1"));
    // A bridge on which the host has no address.
    stage
        .host()
        .sh("ip addr flush dev CORP; ip link set CORP down; ip link set CORP name BARE; ip link set BARE up");
    eventually!(named(&stage.here) == [("BARE".to_owned(), "Transparent".to_owned())]);
    let network = stage.here.hnsctl_json(&["network", "inspect", "BARE"]);
    let netns = stage.host().add_netns("web");
    stage.here.hnsctl(&["namespace", "create", "web", "--path", "/run/netns/web"]);
    let endpoint = |length: Value| {
        let document = json!({
            "HostComputeNetwork": network["ID"],
            "IpConfigurations": [{"IpAddress": "198.18.0.101", "PrefixLength": length}],
            "Routes": [{"DestinationPrefix": "0.0.0.0/0", "NextHop": "198.18.0.254"}],
        });
        stage.here.api().post("/v2/endpoints", &document).expect("the daemon answers")
    };
    assert!(format!("{:?}", endpoint(Value::Null)).contains("PrefixLength"));
    let made = endpoint(json!(24)).expect_success();
    stage.here.hnsctl(&["endpoint", "attach", &text(&made, "ID"), "web"]);
    eventually!(netns.ping(stage.client.v4()) && netns.ping(hns_testbed::FAR_V4));
}
