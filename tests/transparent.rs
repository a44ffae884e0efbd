//! Containers on the LAN of their host, by an adapter that the host goes on to use: who reaches whom, what everybody hears, what
//! rules hold, and that the host notices nothing.

#[path = "transparent/adapter.rs"]
mod adapter;
#[path = "transparent/adopted.rs"]
mod adopted;
#[path = "transparent/advertised.rs"]
mod advertised;
#[path = "transparent/chains.rs"]
mod chains;
#[path = "transparent/docker.rs"]
mod docker;
#[path = "transparent/doors.rs"]
mod doors;
#[path = "transparent/everybody.rs"]
mod everybody;
#[path = "transparent/filtered.rs"]
mod filtered;
#[path = "transparent/guide.rs"]
mod guide;
#[path = "transparent/host.rs"]
mod host;
#[path = "transparent/l2bridge.rs"]
mod l2bridge;
#[path = "transparent/l2bridge_routed.rs"]
mod l2bridge_routed;
#[path = "transparent/l2tunnel.rs"]
mod l2tunnel;
#[path = "transparent/leases.rs"]
mod leases;
#[path = "transparent/managed.rs"]
mod managed;
#[path = "transparent/many_leases.rs"]
mod many_leases;
#[path = "transparent/stage.rs"]
mod stage;
#[path = "transparent/vlan.rs"]
mod vlan;

use std::net::IpAddr;

use hns_testbed::{FAR_V4, FAR_V6, eventually, needs, tcp};
use hns_tests::story_support::live::{Live, at};
use hns_tests::story_support::policies::acl;
use hns_tests::story_support::{Container, Proto, Row, Server, check};
use serde_json::json;

use stage::{ON_THE_LAN, Party, Stage, container, dropped, network, rules};

/// Everybody asks everybody.
fn all_reach_all(parties: &[Party]) {
    let _servers: Vec<Server> =
        parties.iter().map(|party| Server::serve(&party.netns, &party.addresses, 80)).collect();
    let mut rows = Vec::new();
    for from in parties {
        for to in parties.iter().filter(|to| to.name != from.name) {
            for (to, seen) in to.addresses.iter().zip(&from.addresses) {
                for proto in Proto::ALL {
                    let (who, to) = (from.name, (*to, 80).into());
                    rows.push(Row { from: from.netns.clone(), who, proto, to, seen: Some(*seen) });
                }
            }
        }
    }
    check(&rows);
}

/// Two containers here, one there, their hosts, a client and the router reach each other, and the containers what is beyond it.
fn meets_its_lan(stage: &Stage, web: &Container, db: &Container, far: &Container) {
    let router = stage.lab.router();
    all_reach_all(&[
        Party::container("web", web),
        Party::container("db", db),
        Party::container("far", far),
        Party::host("here", stage.here.host()),
        Party::host("there", stage.there.host()),
        Party::host("client", &stage.client),
        Party { name: "router", netns: router.netns(), addresses: Stage::gateways() },
    ]);
    // Beyond the router, under the container's own address.
    for to in [IpAddr::from(FAR_V4), FAR_V6.into()] {
        let server = tcp::Echo::serve(&router.netns(), (to, 80));
        for container in [web, far] {
            let seen = tcp::ask(&container.netns, server.address()).expect("the router answers");
            assert_eq!(seen.ip(), container.like(to), "{}", container.name);
        }
    }
}

#[test]
fn containers_the_lan_and_both_hosts_reach_each_other() {
    needs!(root, "nft", "ping");
    let stage = Stage::new();
    let web = container(&stage.here, "web", 101);
    let db = container(&stage.here, "db", 102);
    let far = container(&stage.there, "far", 103);
    meets_its_lan(&stage, &web, &db, &far);
}

#[test]
fn rules_hold_whoever_comes() {
    needs!(root, "nft");
    let stage = Stage::new();
    let web = container(&stage.here, "web", 101);
    let db = container(&stage.here, "db", 102);
    let far = container(&stage.there, "far", 103);
    let parties = [
        Party::container("db", &db),
        Party::container("far", &far),
        Party::host("here", stage.here.host()),
        Party::host("client", &stage.client),
    ];
    let everybody = |party: &Party| Server::serve(&party.netns, &party.addresses, 80);
    let web_too = Party::container("web", &web);
    let _servers: Vec<Server> = parties.iter().chain([&web_too]).map(everybody).collect();
    let asks = |from: &Party, to: &Party, may: bool| {
        let pairs: Vec<_> = to.addresses.iter().copied().zip(from.addresses.iter().copied()).collect();
        let row = |(proto, (to, seen)): (Proto, (IpAddr, IpAddr))| {
            let (who, to, seen) = (from.name, (to, 80).into(), may.then_some(seen));
            Row { from: from.netns.clone(), who, proto, to, seen }
        };
        let pairs = [Proto::Tcp, Proto::Udp]
            .into_iter()
            .flat_map(|proto| pairs.clone().into_iter().map(move |pair| (proto, pair)));
        pairs.map(row).collect::<Vec<Row>>()
    };
    for chosen in &parties {
        let their = chosen.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let before = dropped(&stage.here, &web, "acl-in");
        // TCP for one of them, and nothing for the others.
        let only = json!({"Protocols": "6", "RemoteAddresses": their});
        rules(&stage.here, &web, &json!([acl("Allow", "In", 100, &only)]));
        let mut rows = Vec::new();
        for party in &parties {
            rows.extend(asks(party, &web_too, party.name == chosen.name));
            rows.extend(asks(&web_too, party, false));
        }
        rows.iter_mut().filter(|row| row.proto == Proto::Udp).for_each(|row| row.seen = None);
        check(&rows);
        assert!(dropped(&stage.here, &web, "acl-in") > before + 10, "{}", chosen.name);
        // Out to one of them; its answers come in.
        rules(&stage.here, &web, &json!([acl("Allow", "Out", 100, &json!({"RemoteAddresses": their}))]));
        let out = parties.iter().flat_map(|party| asks(&web_too, party, party.name == chosen.name));
        check(&out.collect::<Vec<_>>());
    }
    rules(&stage.here, &web, &json!([]));
    check(&parties.iter().flat_map(|party| asks(party, &web_too, true)).collect::<Vec<_>>());
    // A container that speaks for another is heard by nobody, wherever the other is.
    db.netns.command("ip").args(["addr", "add", "198.18.0.77/24", "dev", "eth0"]).status().expect("ip runs");
    let forged =
        db.netns.command("ping").args(["-n", "-c1", "-W1", "-I", "198.18.0.77", "198.18.0.1"]).output();
    assert!(!forged.expect("ping runs").status.success());
    assert!(dropped(&stage.here, &db, "spoofed-ip") + dropped(&stage.here, &db, "spoofed-arp") > 0);
}

/// It talks to the LAN and to the host, and to no other container here.
#[test]
fn a_container_that_talks_to_no_other_talks_to_the_lan() {
    needs!(root, "nft", "ping");
    talks_to_the_lan_alone(&Stage::new());
}

fn talks_to_the_lan_alone(stage: &Stage) {
    let web = container(&stage.here, "web", 101);
    let netns = stage.here.host().add_netns("quiet");
    stage.here.hnsctl(&["namespace", "create", "quiet", "--path", "/run/netns/quiet"]);
    let words = ["endpoint", "create", "--network", "corp", "--name", "quiet", "--namespace", "quiet"];
    let place = ["--ip", "198.18.0.102", "--ip", "fd00:198:18::102", "--disable-icc"];
    let quiet = Container::new("quiet", netns, stage.here.hnsctl_json(&[&words[..], &place].concat()));
    let far = container(&stage.there, "far", 103);
    all_reach_all(&[
        Party::container("quiet", &quiet),
        Party::host("here", stage.here.host()),
        Party::host("client", &stage.client),
        Party::container("far", &far),
    ]);
    for (from, to) in [(&web, &quiet), (&quiet, &web)] {
        for ip in to.addresses() {
            assert!(!from.netns.ping(ip), "{} reaches {}", from.name, to.name);
            // Not even when it knows the station.
            let mac = to.mac().map(|octet| format!("{octet:02x}")).join(":");
            let ip = ip.to_string();
            let words = ["neigh", "replace", &ip, "lladdr", &mac, "dev", "eth0"];
            assert!(from.netns.command("ip").args(words).status().expect("ip runs").success());
            assert!(
                !from.netns.ping(ip.parse::<IpAddr>().expect("it was one")),
                "{} reaches {}",
                from.name,
                to.name
            );
        }
    }
    assert!(web.netns.ping(far.v4()) && web.netns.ping(far.v6()));
}

#[test]
fn networks_share_a_switch_and_the_last_one_takes_it_along() {
    needs!(root, "nft");
    let stage = Stage::new();
    let more = ["--type", "transparent", "--interface", "eth0", "--subnet", "198.18.1.0/24"];
    let lab = network(&stage.here, "lab", &more);
    let corp = stage.here.hnsctl_json(&["network", "inspect", "corp"]);
    let switch = stage::switch(&stage.here, &lab);
    assert_eq!(stage::switch(&stage.here, &corp), switch);
    let web = container(&stage.here, "web", 101);
    let other = stage::container_at(&stage.here, "lab", "other", &["198.18.1.5".to_owned()]);
    // Of one switch: they meet without a router, as soon as they want to.
    for (from, to) in [(&web, "198.18.1.0/24"), (&other, "198.18.0.0/24")] {
        let added = from.netns.command("ip").args(["route", "add", to, "dev", "eth0"]).status();
        assert!(added.expect("ip runs").success());
    }
    eventually!(web.netns.ping(other.v4()) && other.netns.ping(web.v4()));
    stage.here.hnsctl(&["network", "rm", "--force", "lab"]);
    assert!(stage.here.host().links().contains(&switch));
    assert!(web.netns.ping(stage.client.v4()) && stage.client.ping(web.v4()));
    stage.here.hnsctl(&["network", "rm", "--force", "corp"]);
    eventually!(!stage.here.host().links().iter().any(|link| link.starts_with("hn")));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    needs!(root, "nft");
    let stage = Stage::bare();
    stage.here.host().sh(
        "ip link add br0 type bridge; ip link add in0 type veth peer name out0; ip link set in0 master br0",
    );
    let with = |adapter: &'static str, more: &[&'static str]| {
        let words = ["network", "create", "x", "--type", "transparent", "--interface", adapter];
        stage.here.try_hnsctl(&[&words[..], more].concat()).expect_failure()
    };
    let subnet = ["--subnet", "198.18.0.0/24"];
    for (adapter, words) in [
        ("eth7", ["there is no adapter eth7", "ADAPTER_NOT_FOUND"]),
        ("lo", ["lo cannot be shared", "no Ethernet adapter"]),
        ("br0", ["br0 cannot be shared", "is a bridge"]),
        ("in0", ["in0 cannot be shared", "belongs to the bridge br0"]),
    ] {
        let said = with(adapter, &subnet);
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    for (more, word) in [
        (&["--dhcp", "--subnet", "198.18.0.0/24"][..], "cannot be used with"),
        (&["--subnet", "198.18.0.0/24", "--ipv6"], "a subnet without a prefix"),
        (&["--subnet", "198.18.0.0/24", "--mtu", "9000"], "AdditionalParams.Mtu: 9000"),
        (&["--subnet", "198.18.0.0/24", "--gateway-mode", "routed"], "GatewayMode"),
        (&["--subnet", "198.18.0.0/24", "--vlan", "4095"], "1 to 4094"),
    ] {
        let said = with("eth0", more);
        assert!(said.contains(word), "{more:?}: {said}");
    }
    stage.here.host().sh(
        "ip link add via0 type veth peer name via1; ip addr add 10.77.0.1/16 dev via0; ip link set via0 up",
    );
    let said = with("eth0", &["--subnet", "10.77.3.0/24"]);
    assert!(said.contains("10.77.3.0/24") && said.contains("10.77.0.0/16"), "{said}");
    let document = json!({"Name": "x", "Type": "Transparent",
        "Ipams": [{"Subnets": [{"IpAddressPrefix": "198.18.0.0/24"}]}]});
    let answer = stage.here.api().post("/v2/networks", &document).expect("the daemon answers");
    assert!(format!("{answer:?}").contains("needs an adapter"), "{answer:?}");
    network(&stage.here, "corp", &ON_THE_LAN);
    let said = with("eth0", &subnet);
    assert!(
        said.contains("overlaps 198.18.0.0/24 of network \\\"corp\\\"")
            || said.contains("of network \"corp\""),
        "{said}"
    );
    let said =
        stage.here.try_hnsctl(&["network", "create", "nat", "--subnet", "198.18.0.0/25"]).expect_failure();
    assert!(said.contains("corp"), "{said}");
    let map = ["endpoint", "create", "--network", "corp", "--publish", "8080:80"];
    let said = stage.here.try_hnsctl(&map).expect_failure();
    assert!(said.contains("Transparent"), "{said}");
    let web = container(&stage.here, "web", 101);
    let trace = ["trace", "--from", "web", "--to", "198.18.0.3"];
    let said = stage.here.try_hnsctl(&trace).expect_failure();
    assert!(said.contains("not traced yet") && said.contains("adapter eth0"), "{said}");
    stage.here.hnsctl(&["endpoint", "detach", "web"]);
    stage.here.hnsctl(&["namespace", "create", "own", "--host-default"]);
    let said = stage.here.try_hnsctl(&["endpoint", "attach", "web", "own"]).expect_failure();
    assert!(said.contains("the host itself is on adapter eth0 already"), "{said}");
    assert!(!web.netns.ping(stage.client.v4()));
    // Nothing of all this is left.
    stage.here.hnsctl(&["network", "rm", "--force", "corp"]);
    eventually!(!stage.here.host().links().iter().any(|link| link.starts_with("hn")));
}

#[test]
fn packets_are_followed_to_the_wire_and_to_the_host() {
    needs!(root, "nft", "bpftool", "ping");
    let stage = Stage::new();
    let web = container(&stage.here, "web", 101);
    let live = Live::start(&stage.here, &["--from", "web", "--protocol", "icmp"]);
    let others = [("Wire", stage.client.addresses()), ("Host", stage.here.host().addresses())];
    for (onward, other) in others.into_iter().flat_map(|(onward, all)| all.map(|other| (onward, other))) {
        eventually!(web.netns.ping(other));
        let went = [("/Packet/Destination", json!(other.to_string())), ("/Onward", json!(onward))];
        live.sees(&at(&web, "Out", &went));
        let came = [("/Packet/Source", json!(other.to_string())), ("/Onward", json!("Container"))];
        live.sees(&at(&web, "In", &came));
    }
    live.interrupt();
}
