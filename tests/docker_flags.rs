//! Every flag of `docker network create`, `docker run` and `docker network connect` that touches a network: what shows
//! that it is honoured, and how it is refused, by Docker or by us.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hns_testbed::engines::IMAGE;
use hns_testbed::{eventually, needs, sctp, udp};
use hns_tests::story_support::docker::{NameServer, cannot_fetch, fetch};
use hns_tests::story_support::{DockerScene, text};
use serde_json::{Value, json};

fn inspect(stage: &DockerScene, network: &str) -> Value {
    stage.docker.json(&["network", "inspect", network])[0].clone()
}

#[test]
fn flags_of_networks_show() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    let docker = &stage.docker;
    let subnets = ["--subnet", "10.50.0.0/24", "--ipv6", "--subnet", "fd00:50::/64"];
    let gateways = ["--gateway", "10.50.0.254", "--gateway", "fd00:50::ffff"];
    let more = [
        "--ip-range",
        "10.50.0.128/25",
        "--aux-address",
        "router=10.50.0.128",
        "--attachable",
        "--scope",
        "local",
    ];
    let made = stage.network("full", &[&subnets[..], &gateways, &more, &["--label", "team=red"]].concat());
    let of = |number: usize| &made["Ipams"][0]["Subnets"][number];
    let hops = [0, 1].map(|number| text(&of(number)["Routes"][0], "NextHop"));
    assert_eq!(hops, ["10.50.0.254", "fd00:50::ffff"]);
    assert_eq!(made["AdditionalParams"]["AuxAddresses"], json!({ "router": "10.50.0.128" }));
    let shown = inspect(&stage, "full");
    let ipam = &shown["IPAM"]["Config"][0];
    assert_eq!(ipam["IPRange"], "10.50.0.128/25");
    assert_eq!(ipam["AuxiliaryAddresses"], json!({ "router": "10.50.0.128" }));
    assert_eq!((&shown["Attachable"], &shown["Scope"]), (&json!(true), &json!("local")));
    assert_eq!(docker.run(&["network", "ls", "--filter", "label=team=red", "--format", "{{.Name}}"]), "full");
    let said = stage.once(&["--network", "full"], "ip -4 -o addr show eth0; ip route; ip -6 route");
    for wanted in ["10.50.0.129/24", "default via 10.50.0.254", "default via fd00:50::ffff"] {
        assert!(said.contains(wanted), "{said}");
    }

    let addresses = |network: &str| stage.once(&["--network", network], "ip -o addr show eth0 scope global");
    stage.network("six", &["--ipv4=false", "--ipv6"]);
    let said = addresses("six");
    assert!(said.contains("inet6 fd") && !said.contains("inet "), "{said}");
    let internal = stage.network("inside", &["--internal"]);
    assert_eq!(
        (&internal["Type"], &inspect(&stage, "inside")["Internal"]),
        (&json!("Internal"), &json!(true))
    );
    for driver in ["default", "null", "hns"] {
        let name = format!("by-{driver}");
        let made = stage.network(&name, &["--ipam-driver", driver]);
        let prefix = text(&made["Ipams"][0]["Subnets"][0], "IpAddressPrefix");
        let said = addresses(&name);
        let begin = prefix.split('.').take(2).collect::<Vec<_>>().join(".");
        assert!(
            prefix.starts_with("172.") && said.contains(&format!("inet {begin}.")),
            "{driver}: {prefix}: {said}"
        );
    }

    docker.run(&[
        "network",
        "create",
        "--config-only",
        "--subnet",
        "10.77.0.0/24",
        "--label",
        "a=b",
        "recipe",
    ]);
    stage.network("cooked", &["--config-from", "recipe"]);
    assert!(addresses("cooked").contains("inet 10.77.0.2/24"));
    assert_eq!(inspect(&stage, "recipe")["ConfigOnly"], true);
}

#[test]
fn networks_that_cannot_be_are_refused() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.scene.hnsd.hnsctl(&[
        "network",
        "create",
        "taken",
        "--subnet",
        "10.90.0.0/24",
        "--type",
        "internal",
    ]);
    stage.network("first", &["--subnet", "10.50.0.0/24"]);
    for (flags, why) in [
        (&["--subnet", "10.50.0.0/25"][..], "Pool overlaps with other one"),
        (&["--subnet", "10.90.0.0/16"], "overlaps 10.90.0.0/24 of network \"taken\""),
        (&["--subnet", "198.18.0.0/24"], "overlaps the host's route to 198.18.0.0/24"),
        (&["--subnet", "10.51.0.1"], "invalid CIDR"),
        (&["--subnet", "10.51.0.0/24", "--gateway", "10.52.0.1"], "no matching subnet for gateway"),
        (&["--subnet", "10.51.0.0/24", "--ip-range", "10.52.0.0/25"], "no matching subnet for range"),
        (&["--subnet", "10.51.0.0/24", "--aux-address", "a=10.52.0.1"], "no matching subnet for aux-address"),
        (&["--subnet", "10.51.0.0/24", "--aux-address", "a=10.51.0.1"], "already in use"),
        (&["--ipv4=false"], "a network needs IPv4, IPv6 or both"),
        (
            &["--ipam-driver", "hns", "--ipam-opt", "lease=1"],
            "--ipam-opt lease is not known; the IPAM driver hns takes network",
        ),
        (&["--ipam-driver", "hns", "--ipam-opt", "network=nobody", "--subnet", "10.51.0.0/24"], "nobody"),
        (&["--opt", "encrypted"], "encrypted has no meaning on nat networks"),
        (&["--scope", "swarm"], "swarm is not active"),
        (&["--ingress"], "Ingress network can only be global scope network"),
        (&["--config-from", "nobody"], "configuration network \"nobody\" does not exist"),
        (&["--config-only", "--internal"], "configuration network can only contain network specific fields"),
        (&["--label", "=b"], "empty name"),
    ] {
        let said = stage.refused_network(flags);
        assert!(said.contains(why), "{flags:?}: {said}");
    }
    let said = stage.docker.try_run(&["network", "create", "-d", "nat", "first"]).expect_failure();
    assert!(said.contains("already exists"), "{said}");
}

#[test]
fn addresses_are_those_that_were_asked_for() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.dual_network("blue", 50, &[]);
    stage.dual_network("green", 51, &[]);
    let fixed = ["--ip", "10.50.0.77", "--ip6", "fd00:50::77", "--mac-address", "02:11:22:33:44:55"];
    stage.web("web", &[&["--network", "blue", "--link-local-ip", "169.254.34.68"], &fixed[..]].concat());
    let endpoint = stage.endpoint("web", "blue");
    let addresses = [0, 1].map(|number| text(&endpoint["IpConfigurations"][number], "IpAddress"));
    assert_eq!(addresses, ["10.50.0.77", "fd00:50::77"]);
    assert_eq!(endpoint["MacAddress"], "02-11-22-33-44-55");
    assert_eq!(stage.addresses("web", "blue").map_to_text(), ["10.50.0.77", "fd00:50::77"]);
    let shown = stage.docker.exec("web", "ip addr show eth0");
    for wanted in ["02:11:22:33:44:55", "10.50.0.77/24", "fd00:50::77/64", "169.254.34.68/16"] {
        assert!(shown.contains(wanted), "{shown}");
    }
    stage.docker.run(&["network", "connect", "--ip", "10.51.0.88", "--ip6", "fd00:51::88", "green", "web"]);
    assert_eq!(stage.addresses("web", "green").map_to_text(), ["10.51.0.88", "fd00:51::88"]);
    for (flags, why) in [
        (["--ip", "10.50.0.77"], "Address already in use"),
        (["--ip6", "fd00:50::77"], "Address already in use"),
        (["--ip", "10.50.0.1"], "Address already in use"),
        (["--ip", "10.52.0.1"], "no configured subnet or ip-range contain"),
        (["--ip6", "fd00:52::1"], "no configured subnet or ip-range contain"),
        (["--mac-address", "02:11:22:33:44:55"], "02-11-22-33-44-55"),
        (["--mac-address", "03:11:22:33:44:55"], "is not the MAC address of one interface"),
        (["--mac-address", "somebody"], "not a valid mac address"),
        (["--link-local-ip", "10.0.0.1"], "invalid link local IP address"),
    ] {
        let said = stage.refused_container(&[&["--network", "blue"], &flags[..]].concat());
        assert!(said.contains(why), "{flags:?}: {said}");
    }
    let said = stage.refused_container(&["--network", "nobody"]);
    assert!(said.contains("network nobody not found"), "{said}");
    // Free again with the container.
    stage.remove(&["web"]);
    stage.web("next", &[&["--network", "blue"], &fixed[..]].concat());
    eventually!(fetch(&stage.scene.host.netns(), (Ipv4Addr::new(10, 50, 0, 77), 80).into()));
}

/// Addresses as text.
trait MapToText {
    fn map_to_text(&self) -> Vec<String>;
}

impl MapToText for Vec<IpAddr> {
    fn map_to_text(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
}

/// The ports of the host that an endpoint has, with the container's port of each.
fn mappings(endpoint: &Value) -> Vec<(String, u64, u64)> {
    let policies = endpoint["Policies"].as_array().expect("an endpoint lists its policies");
    let number = |policy: &Value, field: &str| policy["Settings"][field].as_u64().unwrap_or(0);
    let transport = |policy: &Value| match number(policy, "Protocol") {
        6 => "tcp",
        17 => "udp",
        132 => "sctp",
        _ => "?",
    };
    let all = policies.iter().filter(|policy| policy["Type"] == "PortMapping");
    all.map(|one| (transport(one).to_owned(), number(one, "InternalPort"), number(one, "ExternalPort")))
        .collect()
}

#[test]
fn every_form_of_publishing_reaches_its_container() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    let scene = &stage.scene;
    let (host4, host6) = (scene.host.v4(), scene.host.v6());
    stage.network("blue", &["--ipv6"]);
    let at_host = format!("{host4}:8082:80");
    let at_host6 = format!("[{host6}]:8083:80");
    let forms = [
        "8080:80",
        "127.0.0.1:8081:80",
        &at_host,
        &at_host6,
        "[::1]:8084:80",
        "0.0.0.0:8085:80",
        "[::]:8086:80",
        "8100-8102:80-82",
        "8200-8210:80",
        "80",
        "127.0.0.1::80",
        "8053:53/udp",
        "8087:87/sctp",
        "8088:80/tcp",
    ];
    let publish: Vec<&str> = forms.iter().flat_map(|form| ["-p", form]).collect();
    stage.web("web", &[&["--network", "blue"], &publish[..]].concat());
    let web = stage.docker.netns("web");
    let _datagrams = udp::Echo::serve(&web, "[::]:53");
    let _associations: Vec<_> = stage
        .addresses("web", "blue")
        .into_iter()
        .map(|address| sctp::Responder::serve(&web, (address, 87)))
        .collect();
    let all = mappings(&stage.endpoint("web", "blue"));
    let chosen: Vec<u16> = all
        .iter()
        .filter(|(transport, internal, external)| transport == "tcp" && *internal == 80 && *external > 8300)
        .map(|(_, _, external)| u16::try_from(*external).expect("a port is a port"))
        .collect();
    assert_eq!(chosen.len(), 2, "two ports were ours to choose: {all:?}");

    let (outside, host) = (scene.outside.netns(), scene.host.netns());
    let (localhost4, localhost6): (IpAddr, IpAddr) =
        ([127, 0, 0, 1].into(), "::1".parse().expect("it is one"));
    let everywhere = [8080, 8100, 8200, 8088];
    for port in everywhere {
        for address in scene.host_addresses() {
            eventually!(fetch(&outside, (address, port).into()));
            eventually!(fetch(&host, (address, port).into()));
        }
        eventually!(fetch(&host, (localhost4, port).into()));
        eventually!(fetch(&host, (localhost6, port).into()));
    }
    for (from, address, port) in [
        (&host, localhost4, 8081),
        (&outside, host4.into(), 8082),
        (&outside, host6.into(), 8083),
        (&host, localhost6, 8084),
        (&outside, host4.into(), 8085),
        (&outside, host6.into(), 8086),
    ] {
        eventually!(fetch(from, (address, port).into()));
    }
    // One of the two that were ours is for everybody, the other for the host alone.
    let open = |port: &u16| fetch(&outside, (host4, *port).into()).is_ok();
    assert_eq!(chosen.iter().filter(|port| open(port)).count(), 1);
    assert!(chosen.iter().all(|port| fetch(&host, (localhost4, *port).into()).is_ok()));
    let closed = [
        (host4.into(), 8081),
        (host6.into(), 8081),
        (host6.into(), 8082),
        (host4.into(), 8083),
        (host6.into(), 8084),
        (host6.into(), 8085),
        (host4.into(), 8086),
        (host4.into(), 8201),
        (host4.into(), 8103),
    ];
    cannot_fetch(&closed.map(|to: (IpAddr, u16)| (outside.clone(), SocketAddr::from(to))));
    for address in scene.host_addresses() {
        eventually!(udp::ask(&outside, (address, 8053)));
        eventually!(sctp::ask(&outside, (address, 8087)));
    }
}

#[test]
fn exposed_ports_are_published_all_at_once_and_wrong_ones_not_at_all() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.network("blue", &[]);
    stage.web("web", &["--network", "blue", "-P", "--expose", "80-81", "--expose", "53/udp"]);
    let mut all = mappings(&stage.endpoint("web", "blue"));
    all.sort();
    let inside: Vec<_> = all.iter().map(|(transport, internal, _)| (transport.as_str(), *internal)).collect();
    assert_eq!(inside, [("tcp", 80), ("tcp", 81), ("udp", 53)]);
    let port = u16::try_from(all[0].2).expect("a port is a port");
    eventually!(fetch(&stage.scene.outside.netns(), (stage.scene.host.v4(), port).into()));
    // Exposed and not published: known, and closed.
    stage.web("shy", &["--network", "blue", "--expose", "80", "-p", "8300-8301:81-82"]);
    assert_eq!(mappings(&stage.endpoint("shy", "blue")).len(), 2 - 1, "a run is one mapping");
    for (flags, why) in [
        (["-p", "8300:80"], "8300"),
        (["-p", "8300-8301:80"], "8301"),
        (["-p", "8400-8401:80-82"], "Invalid ranges"),
        (["-p", "99999:80"], "Invalid hostPort"),
        (["-p", "nobody:8080:80"], "nvalid"),
        (["-p", "8080:80/icmp"], "Invalid proto"),
        (["--expose", "http"], "invalid range format for --expose"),
    ] {
        let said = stage.refused_container(&[&["--network", "blue"], &flags[..]].concat());
        assert!(said.contains(why), "{flags:?}: {said}");
    }
}

#[test]
fn names_are_as_the_flags_say() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    let scene = &stage.scene;
    stage.network("blue", &[]);
    stage.idle("first", &["--network", "blue", "--hostname", "one.example", "--network-alias", "other"]);
    let first = stage.addresses("first", "blue")[0];
    assert_eq!(stage.docker.exec("first", "hostname"), "one.example");
    assert!(stage.docker.exec("first", "cat /etc/hosts").contains(&format!("{first}\tone.example one")));
    let flags = ["--network", "blue", "--link", "first:linked", "--add-host", "printer:192.0.2.9"];
    let said = stage
        .once(&flags, "for name in first other linked; do ping -c1 -W2 $name; done; grep printer /etc/hosts");
    assert_eq!(said.matches(&format!("({first})")).count(), 3, "{said}");
    assert!(said.contains("192.0.2.9\tprinter"), "{said}");
    stage.docker.run(&["network", "create", "-d", "nat", "green"]);
    stage.docker.run(&["network", "connect", "--alias", "there", "green", "first"]);
    assert!(stage.once(&["--network", "green"], "ping -c1 -W2 there").contains("1 packets received"));

    // T-DNO-1: the resolver's file, and what the options do.
    let server =
        NameServer::serve(&scene.outside.netns(), scene.outside.v4().into(), Ipv4Addr::new(203, 0, 113, 7));
    let dns = scene.outside.v4().to_string();
    for (option, first_asked) in [("--dns-option", "www.net.corp.example"), ("--dns-opt", "www.net")] {
        let dots = if option == "--dns-option" { "ndots:2" } else { "ndots:1" };
        let flags = [
            "--network",
            "blue",
            "--dns",
            &dns,
            "--dns-search",
            "corp.example",
            option,
            dots,
            option,
            "timeout:1",
        ];
        let file = stage.once(&flags, "ping -c1 -W1 www.net >/dev/null 2>&1 || true; cat /etc/resolv.conf");
        let wanted = [
            "nameserver 127.0.0.11",
            "search corp.example",
            dots,
            "timeout:1",
            &format!("ExtServers: [{dns}]"),
        ];
        assert!(wanted.iter().all(|word| file.contains(word)), "{file}");
        assert_eq!(server.asked().first().map(String::as_str), Some(first_asked), "{dots}");
    }
    for (flags, why) in [
        (["--network=blue", "--dns=nobody"], "IP address is not correctly formatted"),
        (["--network=blue", "--dns-search=a..b"], "is not a valid domain"),
        (["--network=blue", "--add-host=nobody"], "bad format for add-host"),
        (["--network=bridge", "--network-alias=x"], "only supported for user-defined networks"),
        (["--network=container:first", "--hostname=x"], "conflicting options: hostname"),
        (["--network=container:first", "--publish=80:80"], "conflicting options: port publishing"),
        (["--network=container:nobody", "--rm"], "No such container: nobody"),
        (["--network=name=blue,gw-priority=high", "--rm"], "invalid gw-priority"),
    ] {
        let said = stage.refused_container(&flags);
        assert!(said.contains(why), "{flags:?}: {said}");
    }
}

#[test]
fn a_container_can_share_anothers_network() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.network("blue", &[]);
    stage.idle("pause", &["--network", "blue", "-p", "8080:80"]);
    let address = stage.addresses("pause", "blue")[0];
    stage.docker.run(&["run", "-d", "--name", "web", "--network", "container:pause", IMAGE]);
    assert!(stage.docker.exec("web", "ip -4 -o addr show eth0").contains(&address.to_string()));
    eventually!(fetch(&stage.scene.outside.netns(), (stage.scene.host.v4(), 8080).into()));
    assert_eq!(stage.endpoints().len(), 1);
}

#[test]
fn the_gateway_is_that_of_the_network_with_the_highest_priority() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.network("alpha", &[]);
    stage.network("beta", &[]);
    let both =
        ["--network", "name=alpha,gw-priority=1", "--network", "name=beta,gw-priority=2", "-p", "8080:80"];
    stage.web("web", &both);
    let has_role = |network: &str| {
        let gateway = text(&stage.membership("web", network), "Gateway");
        let routes = stage.docker.exec("web", "ip route");
        let published = mappings(&stage.endpoint("web", network)).len() == 1;
        (routes.contains(&format!("default via {gateway} ")), published)
    };
    assert_eq!((has_role("alpha"), has_role("beta")), ((false, false), (true, true)));
    stage.network("gamma", &[]);
    stage.docker.run(&["network", "connect", "--gw-priority", "3", "gamma", "web"]);
    assert_eq!((has_role("beta"), has_role("gamma")), ((false, false), (true, true)));
    eventually!(fetch(&stage.scene.outside.netns(), (stage.scene.host.v4(), 8080).into()));
    let said = stage.docker.try_run(&["network", "connect", "--gw-priority", "high", "gamma", "web"]);
    assert!(said.expect_failure().contains("invalid argument \"high\""));
    stage.docker.run(&["network", "disconnect", "gamma", "web"]);
    assert_eq!(has_role("beta"), (true, true));
    eventually!(fetch(&stage.scene.outside.netns(), (stage.scene.host.v4(), 8080).into()));
}
