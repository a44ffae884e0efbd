//! What people do with networks of Docker: create, run, publish, look up, connect, disconnect, restart, remove.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hns_testbed::engines::Release;
use hns_testbed::{eventually, needs, tcp};
use hns_tests::story_support::docker::{NameServer, cannot_fetch, fetch};
use hns_tests::story_support::{DockerScene, text};
use serde_json::json;

const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// The page at a port of the host: from the LAN, from the host itself, and from the host at localhost.
#[track_caller]
fn is_published(stage: &DockerScene, port: u16) {
    for address in stage.scene.host_addresses() {
        let to = SocketAddr::new(address, port);
        eventually!(fetch(&stage.scene.outside.netns(), to));
        eventually!(fetch(&stage.scene.host.netns(), to));
    }
    for address in LOCALHOST {
        eventually!(fetch(&stage.scene.host.netns(), SocketAddr::new(address, port)));
    }
}

#[track_caller]
fn is_closed(stage: &DockerScene, port: u16) {
    let outside = stage.scene.outside.netns();
    cannot_fetch(&stage.scene.host_addresses().map(|address| (outside.clone(), (address, port).into())));
}

/// Create, inspect, run, publish, disconnect, connect, restart, remove: what both releases must do alike.
fn a_network_lives_and_dies(release: Release) {
    let stage = DockerScene::new(release);
    let docker = &stage.docker;
    let made = stage.dual_network("blue", 50, &["--label", "a=b"]);
    let shown = docker.json(&["network", "inspect", "blue"])[0].clone();
    assert_eq!((&shown["Name"], &shown["Driver"]), (&json!("blue"), &json!("nat")));
    assert_eq!((&shown["Scope"], &shown["Labels"]), (&json!("local"), &json!({ "a": "b" })));
    assert_eq!((&made["Type"], &made["Owner"]), (&json!("NAT"), &json!("docker")));
    for number in [0, 1] {
        let subnet = &made["Ipams"][0]["Subnets"][number];
        assert_eq!(shown["IPAM"]["Config"][number]["Subnet"], subnet["IpAddressPrefix"]);
    }

    stage.web("web", &["--network", "blue", "-p", "8080:80"]);
    stage.idle("client", &["--network", "blue", "--ip", "10.50.0.77", "--ip6", "fd00:50::77"]);
    is_published(&stage, 8080);
    let web = stage.addresses("web", "blue");
    assert_eq!(web.len(), 2, "{web:?}");
    for address in &web {
        eventually!(fetch(&stage.scene.host.netns(), (*address, 80).into()));
    }
    assert_eq!(docker.exec("client", "wget -q -O - http://web/"), "a page of a container");
    docker.exec("client", "ping -c1 -W2 web");
    docker.exec("web", "ping -c1 -W2 10.50.0.77; ping -c1 -W2 fd00:50::77");
    for address in stage.scene.outside.addresses() {
        assert!(docker.netns("client").ping(address), "{address}");
    }

    docker.run(&["network", "disconnect", "blue", "web"]);
    is_closed(&stage, 8080);
    assert!(!docker.exec("web", "ip -o addr").contains("eth"), "a link stayed in the container");
    docker.run(&["network", "connect", "blue", "web"]);
    is_published(&stage, 8080);
    assert_eq!(docker.exec("client", "wget -q -O - http://web/"), "a page of a container");

    let refused = docker.try_run(&["network", "rm", "blue"]).expect_failure();
    assert!(refused.contains("active endpoints"), "{refused}");
    let before = stage.addresses("client", "blue");
    docker.run(&["restart", "client"]);
    assert_eq!(stage.addresses("client", "blue"), before);
    docker.run(&["stop", "web"]);
    is_closed(&stage, 8080);
    docker.run(&["start", "web"]);
    is_published(&stage, 8080);
    assert_eq!(docker.exec("client", "wget -q -O - http://web/"), "a page of a container");

    stage.remove(&["web", "client"]);
    assert_eq!(stage.endpoints(), Vec::<serde_json::Value>::new());
    is_closed(&stage, 8080);
    docker.run(&["network", "rm", "blue"]);
    assert_eq!(stage.hns_networks(), Vec::<String>::new());
    // The reaper takes links some milliseconds later.
    eventually!(!stage.scene.host.links().iter().any(|link| link.starts_with("hn")));
}

#[test]
fn a_network_of_the_newest_docker_lives_and_dies() {
    needs!(root, engines);
    a_network_lives_and_dies(Release::Newest);
}

#[test]
fn a_network_of_the_oldest_docker_lives_and_dies() {
    needs!(root, engines);
    a_network_lives_and_dies(Release::Oldest);
}

#[test]
fn an_internal_network_has_the_host_unless_it_is_isolated() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    let internal = stage.network("inside", &["--internal"]);
    let isolated = stage.network("alone", &["--internal", "-o", "gateway_mode_ipv4=isolated"]);
    assert_eq!((&internal["Type"], &isolated["Type"]), (&json!("Internal"), &json!("Private")));
    let listed =
        stage.docker.run(&["network", "ls", "--filter", "driver=nat", "--format", "{{.Name}} {{.Scope}}"]);
    assert_eq!(listed, "alone local\ninside local");
}

#[test]
fn three_containers_know_each_other_by_name() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.network("blue", &["--ipv6"]);
    let names = ["one", "two", "three"];
    stage.idle("one", &["--network", "blue"]);
    stage.idle("two", &["--network", "blue", "--network-alias", "second"]);
    stage.idle("three", &["--network", "blue"]);
    for from in names {
        for to in names {
            for (address, family) in stage.addresses(to, "blue").into_iter().zip(["-4", "-6"]) {
                let said = stage.docker.exec(from, &format!("ping {family} -c1 -W2 {to}"));
                assert!(said.contains(&format!("({address})")), "{from} -> {to}: {said}");
            }
        }
    }
    let shown = stage.docker.json(&["network", "inspect", "blue"])[0]["Containers"].clone();
    let mut listed: Vec<String> =
        shown.as_object().expect("it is an object").values().map(|one| text(one, "Name")).collect();
    listed.sort();
    assert_eq!(listed, ["one", "three", "two"]);
    assert_eq!(shown.as_object().expect("it is an object").len(), stage.endpoints().len());

    // Aliases, and names of addresses.
    let two = stage.addresses("two", "blue")[0];
    assert!(stage.docker.exec("one", "ping -4 -c1 -W2 second").contains(&two.to_string()));
    assert!(stage.docker.exec("one", &format!("nslookup {two}")).contains("two.blue"));
}

#[test]
fn names_of_outside_come_from_the_server_that_is_named() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    let scene = &stage.scene;
    let away = Ipv4Addr::new(203, 0, 113, 7);
    let server = NameServer::serve(&scene.outside.netns(), scene.outside.v4().into(), away);
    stage.network("blue", &[]);
    let dns = scene.outside.v4().to_string();
    stage.idle("peer", &["--network", "blue"]);
    let lookup = "ping -c1 -W2 peer; nslookup www.example.net. | grep -A1 Name:";
    let said = stage.once(&["--network", "blue", "--dns", &dns], lookup);
    assert!(said.contains("1 packets received") && said.contains("203.0.113.7"), "{said}");
    let asked = server.asked();
    assert!(asked.contains(&"www.example.net".to_owned()), "{asked:?}");
    // The names of containers are nobody's business.
    assert!(!asked.iter().any(|name| name.contains("peer")), "{asked:?}");
}

#[test]
fn two_networks_meet_at_published_ports_alone() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.network("blue", &["--ipv6"]);
    stage.network("green", &["--ipv6"]);
    stage.web("web", &["--network", "blue", "-p", "8080:80"]);
    stage.idle("near", &["--network", "blue"]);
    stage.idle("far", &["--network", "green"]);
    let (near, far) = (stage.docker.netns("near"), stage.docker.netns("far"));
    let web = stage.addresses("web", "blue");
    for address in &web {
        eventually!(fetch(&near, (*address, 80).into()));
        eventually!(near.ping(*address));
        assert!(!far.ping(*address), "{address}");
    }
    cannot_fetch(&[web[0], web[1]].map(|address| (far.clone(), (address, 80).into())));
    for address in stage.addresses("far", "green") {
        assert!(!near.ping(address), "{address}");
    }
    assert!(!stage.docker.try_run(&["exec", "far", "nslookup", "web."]).success(), "names are the network's");
    for address in stage.scene.host_addresses() {
        for from in [&near, &far, &stage.docker.netns("web")] {
            eventually!(fetch(from, (address, 8080).into()));
        }
    }
    // One in both networks reaches both, and joins nothing.
    stage.docker.run(&["network", "connect", "green", "near"]);
    for address in stage.addresses("far", "green").into_iter().chain(web.iter().copied()) {
        eventually!(near.ping(address));
    }
    assert!(web.iter().all(|address| !far.ping(*address)));
}

fn published_ports_follow_the_gateway_role(release: Release) {
    let stage = DockerScene::new(release);
    // The second name comes later in the alphabet, by which Docker chooses among equals.
    stage.dual_network("alpha", 50, &[]);
    stage.dual_network("beta", 51, &[]);
    stage.web("web", &["--network", "alpha", "-p", "8080:80", "-p", "9000-9002:81-83", "-p", "9010-9012:80"]);
    is_published(&stage, 8080);
    stage.docker.run(&["network", "connect", "beta", "web"]);
    let ports =
        |network: &str| stage.endpoint("web", network)["Policies"].as_array().expect("it is a list").len();
    assert_eq!((ports("alpha"), ports("beta")), (3, 0));
    let web = stage.docker.netns("web");
    let before = stage.docker.exec("web", "ip route | grep default");
    assert!(before.contains(&gateway(&stage, "web", "alpha")), "{before}");

    stage.docker.run(&["network", "disconnect", "alpha", "web"]);
    assert_eq!(ports("beta"), 3);
    is_published(&stage, 8080);
    is_published(&stage, 9010);
    assert!(stage.scene.outside.addresses().into_iter().all(|address| web.ping(address)));
    // Older versions know no priorities, and go by the alphabet again.
    let priority: &[&str] = if release == Release::Newest { &["--gw-priority", "1"] } else { &[] };
    stage.docker.run(&[&["network", "connect"], priority, &["alpha", "web"]].concat());
    assert_eq!((ports("alpha"), ports("beta")), (3, 0));
    is_published(&stage, 8080);
    let after = stage.docker.exec("web", "ip route | grep default");
    assert!(after.contains(&gateway(&stage, "web", "alpha")), "{after}");
}

#[test]
fn published_ports_follow_the_gateway_role_of_the_newest_docker() {
    needs!(root, engines);
    published_ports_follow_the_gateway_role(Release::Newest);
}

#[test]
fn published_ports_follow_the_gateway_role_of_the_oldest_docker() {
    needs!(root, engines);
    published_ports_follow_the_gateway_role(Release::Oldest);
}

fn gateway(stage: &DockerScene, container: &str, network: &str) -> String {
    text(&stage.membership(container, network), "Gateway")
}

#[test]
fn a_host_port_belongs_to_one_container() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.network("blue", &["--ipv6"]);
    stage.network("green", &[]);
    stage.web("web", &["--network", "blue", "-p", "8080:80"]);
    for network in ["blue", "green"] {
        let said = stage.refused_container(&["--network", network, "-p", "8080:80"]);
        assert!(said.contains("8080"), "{said}");
        let said = stage.refused_container(&["--network", network, "-p", "8079-8081:80-82"]);
        assert!(said.contains("8080"), "{said}");
    }
    is_published(&stage, 8080);
    // A process of the host is as good a holder.
    let _holder = tcp::Echo::serve(&stage.scene.host.netns(), "0.0.0.0:8090");
    let said = stage.refused_container(&["--network", "blue", "-p", "8090:80"]);
    assert!(said.contains("8090"), "{said}");
    // The other protocol, another address, and the port once it is free, are all right.
    stage.web("other", &["--network", "blue", "-p", "8080:80/udp", "-p", "8091:80"]);
    stage.remove(&["web"]);
    stage.web("next", &["--network", "green", "-p", "8080:80"]);
    eventually!(fetch(&stage.scene.outside.netns(), (stage.scene.host.v4(), 8080).into()));
}

#[test]
fn a_routed_network_publishes_at_no_address_of_the_host() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.network("own", &["-o", "gateway_mode_ipv4=routed"]);
    let said = stage.refused_container(&["--network", "own", "-p", "127.0.0.1:8080:80"]);
    assert!(said.contains("own address, not at one of the host"), "{said}");
    stage.web("web", &["--network", "own", "-p", "8080:80"]);
}

#[test]
fn networks_without_containers_are_pruned_with_what_hns_has_of_them() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    let used = stage.network("used", &[]);
    stage.network("unused", &[]);
    stage.network("inside", &["--internal"]);
    stage.idle("user", &["--network", "used"]);
    let pruned = stage.docker.run(&["network", "prune", "-f"]);
    assert!(pruned.contains("unused") && pruned.contains("inside"), "{pruned}");
    assert_eq!(stage.hns_networks(), [text(&used, "ID")]);
    stage.remove(&["user"]);
    stage.docker.run(&["network", "rm", "used"]);
    assert_eq!(stage.hns_networks(), Vec::<String>::new());
}

/// Counts what a host is sent, but for the chatter of neighbours.
const COUNT: &str = "nft -f - <<'END'
table inet count {
    chain in {
        type filter hook prerouting priority raw;
        icmp type echo-request counter
        icmpv6 type echo-request counter
        meta l4proto { tcp, udp, sctp } counter
    }
}
END";

#[test]
fn nothing_leaves_an_internal_network() {
    needs!(root, engines, "nft");
    let stage = DockerScene::newest();
    let scene = &stage.scene;
    let server = NameServer::serve(&scene.outside.netns(), scene.outside.v4().into(), Ipv4Addr::LOCALHOST);
    let made = stage.network("inside", &["--internal", "--ipv6"]);
    let dns = scene.outside.v4().to_string();
    let more = ["--network", "inside", "--cap-add", "NET_ADMIN", "--dns", &dns];
    stage.web("web", &[&more[..], &["-p", "8080:80"]].concat());
    stage.idle("peer", &more);
    assert_eq!(stage.docker.exec("peer", "wget -q -O - http://web/"), "a page of a container");
    assert_eq!(stage.docker.exec("web", "{ ip route; ip -6 route; } | grep default || true"), "");
    is_closed(&stage, 8080);
    assert_eq!(stage.endpoint("web", "inside")["Policies"], json!([]));
    let web = stage.docker.netns("web");
    for address in stage.addresses("web", "inside") {
        eventually!(scene.host.ping(address));
    }
    scene.outside.sh(COUNT);
    let counted = || scene.outside.sh("nft list table inet count | grep -o 'packets [0-9]*'");
    let none = counted();
    let leaves_nothing = || {
        for address in scene.outside.addresses() {
            assert!(!web.ping(address) && tcp::ask(&web, (address, 80)).is_err(), "{address}");
        }
        let asked = stage.docker.try_run(&["exec", "web", "nslookup", "-timeout=1", "www.example.net."]);
        assert!(!asked.success(), "{asked}");
    };
    leaves_nothing();
    // A way out that the container takes by itself is none.
    let switch = text(&made["Health"]["Extra"], "Switch");
    let host_side = scene.host.sh(&format!("ip -br addr show {switch}"));
    let gateways: Vec<&str> =
        host_side.split_whitespace().filter_map(|word| word.split_once('/')).map(|(ip, _)| ip).collect();
    let (v4, v6) = (gateways[0], gateways[1]);
    stage.docker.exec("web", &format!("ip route add default via {v4}; ip -6 route add default via {v6}"));
    leaves_nothing();
    assert_eq!(server.asked(), Vec::<String>::new());
    assert_eq!(counted(), none);
    // The count is of what comes from that host.
    assert!(scene.outside.addresses().into_iter().all(|address| scene.host.ping(address)));
    assert_ne!(counted(), none);
}

#[test]
fn nobody_but_its_containers_is_on_an_isolated_network() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    let isolated = ["gateway_mode_ipv4=isolated", "gateway_mode_ipv6=isolated"];
    stage.network("alone", &["--internal", "--ipv6", "-o", isolated[0], "-o", isolated[1]]);
    stage.web("web", &["--network", "alone"]);
    stage.idle("peer", &["--network", "alone"]);
    let peer = stage.docker.netns("peer");
    for address in stage.addresses("web", "alone") {
        eventually!(fetch(&peer, (address, 80).into()));
        assert!(!stage.scene.host.ping(address), "{address}");
    }
    let addresses = stage.scene.host.sh("ip -o addr");
    assert!(!addresses.contains(" hns") && !addresses.contains(" hnv"), "{addresses}");
    // With an address of the subnet, too. The device has no IPv6 to give it one of.
    let own = stage.scene.host.links().into_iter().find(|link| link.starts_with("hns")).expect("its switch");
    let web =
        stage.addresses("web", "alone").into_iter().find(std::net::IpAddr::is_ipv4).expect("one of each");
    let near = match web {
        std::net::IpAddr::V4(address) => std::net::Ipv4Addr::from_bits(address.to_bits() ^ 0x40),
        std::net::IpAddr::V6(address) => panic!("{address}"),
    };
    stage.scene.host.sh(&format!("ip addr add {near}/24 dev {own}"));
    assert!(!stage.scene.host.ping(web), "{web} from {near}");
}
