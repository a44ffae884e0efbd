//! Every option of networks and endpoints through a real Docker, under its whole name and under its short one: what
//! shows that it is honoured, and how it is refused.

use std::net::{IpAddr, SocketAddr};

use hns_testbed::{Netns, eventually, needs, tcp};
use hns_tests::story_support::DockerScene;
use hns_tests::story_support::docker::{cannot_fetch, fetch};
use serde_json::{Value, json};

const GUID: &str = "5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11";

/// What shows that an option was honoured: in the document of a network, or of an endpoint on it.
enum Shows {
    Network(fn(&Value) -> bool),
    Endpoint(fn(&Value) -> bool),
    /// In the traffic of containers; a test of its own tells.
    Wire,
    /// Docker does it, or nobody does on Linux, and the option does no harm.
    Taken,
    /// It is refused, whatever its value.
    Never,
}

struct Row {
    names: &'static [&'static str],
    /// One that is honoured, or of an option that is refused always, one that would be honoured elsewhere.
    value: &'static str,
    shows: Shows,
    /// A value that is refused, and how.
    refused: (&'static str, &'static str),
}

const fn row(
    names: &'static [&'static str],
    value: &'static str,
    shows: Shows,
    refused: (&'static str, &'static str),
) -> Row {
    Row { names, value, shows, refused }
}

const fn never(names: &'static [&'static str], value: &'static str, why: &'static str) -> Row {
    row(names, value, Shows::Never, (value, why))
}

const POLICIES: &str = "is not supported: it needs the policy engine";
const ENDPOINT: &str = "an endpoint's option: say it to docker run";
const BOOLEAN: &str = "is not true or false";

const NETWORK: &[Row] = &[
    row(
        &["com.docker.network.windowsshim.networkname", "networkname"],
        "corp",
        Shows::Network(|network| network["Name"] == "corp"),
        ("", "is not a name"),
    ),
    // Bindings have a test of their own.
    row(
        &["com.docker.network.windowsshim.hnsid", "hnsid"],
        GUID,
        Shows::Wire,
        (GUID, "there is no HNS network 5B1C5A0E"),
    ),
    row(
        &["com.docker.network.windowsshim.hnsowned", "hnsowned"],
        "true",
        Shows::Wire,
        ("true", "contradicts the missing hnsid"),
    ),
    never(
        &["com.docker.network.windowsshim.interface", "interface"],
        "eth0",
        "has no meaning on nat networks: it has no adapter",
    ),
    never(
        &["com.docker.network.windowsshim.vlanid", "vlanid"],
        "100",
        "has no meaning on nat networks: its frames",
    ),
    never(&["com.docker.network.windowsshim.vsid", "vsid"], "5000", "has no meaning on nat networks: only"),
    never(
        &["com.docker.network.driver.overlay.vxlanid_list", "vxlanid_list"],
        "4096",
        "has no meaning on nat networks: only",
    ),
    never(&["encrypted"], "", "has no meaning on nat networks: only"),
    never(&["hns.peers", "peers"], "10.4.2.0/24=192.0.2.2", "has no meaning on nat networks: only"),
    never(&["hns.provider", "provider"], "192.0.2.1", "has no meaning on nat networks: only"),
    never(&["hns.host-route", "host-route"], "true", "has no meaning on nat networks: only"),
    never(&["hns.vxlan-port", "vxlan-port"], "4789", "has no meaning on nat networks: only"),
    never(&["hns.bandwidth-in", "bandwidth-in"], "1mbit", ENDPOINT),
    never(&["hns.bandwidth-out", "bandwidth-out"], "1mbit", ENDPOINT),
    row(
        &["hns.acl", "acl"],
        "in block tcp from 10.9.9.9 port 22; in allow; out allow",
        Shows::Network(|network| {
            let kinds: Vec<_> =
                network["Policies"].as_array().into_iter().flatten().map(|policy| &policy["Type"]).collect();
            kinds == ["NetworkACL"; 3]
        }),
        ("in allow;in blok", "is not a list of rules: a rule begins"),
    ),
    row(
        &["com.docker.network.windowsshim.dnsservers", "dnsservers"],
        "9.9.9.9,fd00::53",
        Shows::Network(|network| network["Dns"]["ServerList"] == json!(["9.9.9.9", "fd00::53"])),
        ("9.9.9.9;1.1.1.1", "is not a list of IP addresses"),
    ),
    row(
        &["com.docker.network.windowsshim.dnssuffix", "dnssuffix"],
        "corp.example",
        Shows::Network(|network| network["Dns"]["Domain"] == "corp.example"),
        ("", "is not a name"),
    ),
    row(
        &["com.docker.network.windowsshim.macpool", "macpool"],
        "00-15-5D-52-C0-00,00-15-5D-52-C0-0F",
        Shows::Endpoint(|endpoint| {
            endpoint["MacAddress"].as_str().is_some_and(|mac| mac.starts_with("00-15-5D-52-C0-0"))
        }),
        ("00-15-5D-52-C0-00", "is not pairs of MAC addresses"),
    ),
    row(
        &["com.docker.network.windowsshim.enable_outboundnat", "enable_outboundnat"],
        "true",
        Shows::Endpoint(|endpoint| endpoint["Policies"][0]["Type"] == "OutBoundNAT"),
        ("on", BOOLEAN),
    ),
    row(
        &["com.docker.network.windowsshim.outboundnat_exceptions", "outboundnat_exceptions"],
        "10.99.0.0/16",
        Shows::Endpoint(|endpoint| {
            endpoint["Policies"][0]["Settings"] == serde_json::json!({"Exceptions": ["10.99.0.0/16"]})
        }),
        ("10.0.0.0", "is not a list of prefixes"),
    ),
    row(
        &["com.docker.network.windowsshim.disable_gatewaydns", "disable_gatewaydns"],
        "true",
        Shows::Network(|network| network["AdditionalParams"]["DisableGatewayDns"] == true),
        ("2", BOOLEAN),
    ),
    row(
        &["com.docker.network.windowsshim.routingdomain", "routingdomain"],
        GUID,
        Shows::Network(|network| network["AdditionalParams"]["RoutingDomain"] == GUID),
        ("red", "is not a GUID"),
    ),
    never(
        &["com.docker.network.windowsshim.sourcemac", "sourcemac"],
        "00-15-5D-52-C0-00",
        "has no meaning on nat networks: its packets",
    ),
    row(&["com.docker.network.driver.mtu", "mtu"], "1400", Shows::Wire, ("300", "is not an MTU")),
    row(
        &["com.docker.network.internal", "internal"],
        "true",
        Shows::Network(|network| network["Type"] == "Internal"),
        ("maybe", BOOLEAN),
    ),
    row(
        &["com.docker.network.enable_ipv4", "enable_ipv4"],
        "true",
        Shows::Endpoint(|endpoint| families(endpoint) == (1, 0)),
        ("maybe", ""),
    ),
    row(
        &["com.docker.network.enable_ipv6", "enable_ipv6"],
        "true",
        Shows::Endpoint(|endpoint| families(endpoint) == (1, 1)),
        ("maybe", ""),
    ),
    row(
        &["com.docker.network.container_iface_prefix", "container_iface_prefix"],
        "lan",
        Shows::Wire,
        ("a/b", "is not the beginning of an interface name"),
    ),
    never(&["com.docker.network.gateway", "gateway"], "10.50.0.1", "say it with --gateway"),
    never(&["com.docker.network.host_ipv4", "host_ipv4"], "192.0.2.1", POLICIES),
    never(&["com.docker.network.host_ipv6", "host_ipv6"], "2001:db8::1", POLICIES),
    row(
        &["com.docker.network.advertise_addr_nmsgs", "advertise_addr_nmsgs"],
        "3",
        Shows::Taken,
        ("4", " 0 to 3"),
    ),
    row(
        &["com.docker.network.advertise_addr_ms", "advertise_addr_ms"],
        "100",
        Shows::Taken,
        ("10", " 100 to 2000"),
    ),
    never(&["com.docker.network.portmap", "portmap"], "80", ENDPOINT),
    never(&["com.docker.network.endpoint.exposedports", "exposedports"], "80", ENDPOINT),
    never(&["com.docker.network.endpoint.macaddress", "macaddress"], "00-15-5D-52-C0-00", ENDPOINT),
    never(&["com.docker.network.endpoint.dnsservers"], "9.9.9.9", "the network's own is dnsservers"),
    never(&["com.docker.network.endpoint.sysctls", "sysctls"], "net.ipv4.conf.IFNAME.forwarding=1", ENDPOINT),
    never(&["com.docker.network.endpoint.ifname", "ifname"], "lan0", ENDPOINT),
    never(&["com.docker.network.bridge.name"], "br0", "HNS names its switches itself"),
    row(
        &["com.docker.network.bridge.enable_ip_masquerade", "enable_ip_masquerade"],
        "false",
        Shows::Wire,
        ("no", BOOLEAN),
    ),
    row(&["com.docker.network.bridge.enable_icc", "enable_icc"], "false", Shows::Wire, ("no", BOOLEAN)),
    row(
        &["com.docker.network.bridge.host_binding_ipv4", "host_binding_ipv4"],
        "127.0.0.1",
        Shows::Wire,
        ("lo", "is not an IP address"),
    ),
    never(
        &["com.docker.network.bridge.inhibit_ipv4"],
        "true",
        "has no meaning on nat networks: the host's address",
    ),
    row(
        &["com.docker.network.bridge.gateway_mode_ipv4", "gateway_mode_ipv4"],
        "routed",
        Shows::Wire,
        ("nat-unprotected", "ports that are not published stay closed"),
    ),
    row(
        &["com.docker.network.bridge.gateway_mode_ipv6", "gateway_mode_ipv6"],
        "routed",
        Shows::Wire,
        ("bridge", "is not nat, routed or isolated"),
    ),
    never(
        &["com.docker.network.bridge.trusted_host_interfaces", "trusted_host_interfaces"],
        "eth0",
        POLICIES,
    ),
    never(&["com.docker.network.bridge.default_bridge"], "true", "Docker's default bridge is Docker's own"),
];

/// How many addresses of each family an endpoint has.
fn families(endpoint: &Value) -> (usize, usize) {
    let all = endpoint["IpConfigurations"].as_array().expect("an endpoint lists its addresses");
    let v4 =
        all.iter().filter(|one| one["IpAddress"].as_str().is_some_and(|text| text.contains('.'))).count();
    (v4, all.len() - v4)
}

fn option(name: &str, value: &str) -> String {
    if name == "encrypted" { name.to_owned() } else { format!("{name}={value}") }
}

#[test]
fn every_option_that_is_honoured_shows() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    for row in NETWORK {
        for name in row.names {
            let given = option(name, row.value);
            match row.shows {
                Shows::Wire | Shows::Never => continue,
                Shows::Taken => drop(stage.network("n", &["-o", &given])),
                Shows::Network(shows) => {
                    let network = stage.network("n", &["-o", &given]);
                    assert!(shows(&network), "{given}: {network:#}");
                }
                Shows::Endpoint(shows) => {
                    let _network = stage.network("n", &["-o", &given]);
                    stage.idle("box", &["--network", "n"]);
                    let endpoint = stage.endpoint("box", "n");
                    assert!(shows(&endpoint), "{given}: {endpoint:#}");
                    stage.remove(&["box"]);
                }
            }
            stage.docker.run(&["network", "rm", "n"]);
        }
    }
}

#[test]
fn every_option_is_refused_by_its_name_where_it_must_be() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    for row in NETWORK {
        for name in row.names {
            let (value, why) = row.refused;
            let given = option(name, value);
            let said = stage.docker.try_run(&["network", "create", "-d", "nat", "-o", &given, "n"]);
            let said = said.expect_failure();
            let shortest = row.names.last().expect("an option has a name");
            assert!(said.contains(shortest) && said.contains(why), "{given}: {said}");
        }
    }
    let unknown = ["vlan", "com.docker.network.windowsshim.dnsserver", "com.docker.network.bridge.mtu"];
    for name in unknown {
        let given = format!("{name}=1");
        let said = stage.docker.try_run(&["network", "create", "-d", "nat", "-o", &given, "n"]);
        let said = said.expect_failure();
        assert!(
            said.contains(&format!("option {name} is not known; docker network create -o of nat")),
            "{said}"
        );
        // Each that has an effect is among the valid ones, and no other is.
        for row in NETWORK {
            let shortest = row.names.last().expect("an option has a name");
            let is_listed = said.split([' ', ',', '\n']).any(|word| word == *shortest);
            assert_eq!(is_listed, !matches!(row.shows, Shows::Never), "{shortest}: {said}");
        }
    }
    let twice = ["-o", "mtu=1400", "-o", "com.docker.network.driver.mtu=1500"];
    assert!(stage.refused_network(&twice).contains("is given twice"), "mtu");
    assert_eq!(stage.hns_networks(), Vec::<String>::new());
    assert_eq!(stage.docker.run(&["network", "ls", "-q", "--filter", "driver=nat"]), "");
    // What is meant for others is theirs.
    stage.network("n", &["-o", "com.example.mtu=1"]);
}

#[test]
fn links_in_containers_are_as_the_network_says() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    for (mtu, prefix) in [
        ("com.docker.network.driver.mtu", "com.docker.network.container_iface_prefix"),
        ("mtu", "container_iface_prefix"),
    ] {
        let (mtu, prefix) = (option(mtu, "1400"), option(prefix, "lan"));
        stage.network("n", &["-o", &mtu, "-o", &prefix]);
        assert_eq!(stage.once(&["--network", "n"], "cat /sys/class/net/lan0/mtu"), "1400");
        stage.docker.run(&["network", "rm", "n"]);
    }
}

#[test]
fn neighbours_do_not_talk_where_they_must_not() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    for name in ["com.docker.network.bridge.enable_icc", "enable_icc"] {
        stage.network("n", &["--ipv6", "-o", &option(name, "false")]);
        stage.idle("one", &["--network", "n"]);
        stage.web("two", &["--network", "n", "-p", "8080:80"]);
        let one = stage.docker.netns("one");
        for (two, host) in stage.addresses("two", "n").into_iter().zip(stage.scene.host_addresses()) {
            eventually!(fetch(&stage.scene.host.netns(), (two, 80).into()));
            cannot_fetch(&[(one.clone(), (two, 80).into())]);
            eventually!(fetch(&stage.scene.outside.netns(), (host, 8080).into()));
        }
        stage.remove(&["one", "two"]);
        stage.docker.run(&["network", "rm", "n"]);
    }
    // Two endpoints that do not, on a network where others do.
    stage.network("n", &["--ipv6"]);
    for name in ["all", "others"] {
        stage.web(name, &["--network", "n"]);
    }
    for (name, option) in
        [("one", "com.docker.network.windowsshim.disableicc=true"), ("two", "disableicc=true")]
    {
        stage.web(name, &["--network", &format!("name=n,driver-opt={option}")]);
    }
    let (all, others) = (stage.docker.netns("all"), stage.addresses("others", "n"));
    for address in others {
        eventually!(fetch(&all, (address, 80).into()));
    }
    let mut closed = Vec::new();
    for (from, to) in [("one", "two"), ("two", "one"), ("one", "all"), ("all", "two")] {
        let from = stage.docker.netns(from);
        closed.extend(stage.addresses(to, "n").into_iter().map(|to| (from.clone(), (to, 80).into())));
    }
    cannot_fetch(&closed);
}

#[test]
fn ports_without_an_address_are_published_where_the_network_says() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    let (host, outside) = (stage.scene.host.v4(), stage.scene.outside.netns());
    for name in ["com.docker.network.bridge.host_binding_ipv4", "host_binding_ipv4"] {
        stage.network("n", &["-o", &option(name, "127.0.0.1")]);
        stage.web("web", &["--network", "n", "-p", "8080:80", "-p", &format!("{host}:8081:80")]);
        eventually!(fetch(&stage.scene.host.netns(), ([127, 0, 0, 1], 8080).into()));
        assert!(fetch(&outside, (host, 8080).into()).is_err(), "{name}");
        eventually!(fetch(&outside, (host, 8081).into()));
        stage.remove(&["web"]);
        stage.docker.run(&["network", "rm", "n"]);
    }
}

/// The address as which a container is seen on the LAN, by IPv4 and IPv6.
fn seen_as(stage: &DockerScene, from: &Netns) -> Vec<IpAddr> {
    let ask = |to: IpAddr| eventually!(tcp::ask(from, (to, 7))).ip();
    stage.scene.outside.addresses().into_iter().map(ask).collect()
}

#[test]
fn the_gateway_mode_decides_as_whom_containers_are_seen() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    let scene = &stage.scene;
    let _echo = scene.outside.addresses().map(|ip| tcp::Echo::serve(&scene.outside.netns(), (ip, 7)));
    let (host4, host6) = (scene.host.v4(), scene.host.v6());
    scene
        .outside
        .sh(&format!("ip route add 10.50.0.0/24 via {host4}; ip -6 route add fd00:50::/64 via {host6}"));
    let [nat4, nat6] = scene.host_addresses();
    // By option: whether each family is translated.
    for (name, value, translated) in [
        ("com.docker.network.bridge.gateway_mode_ipv4", "routed", (false, true)),
        ("gateway_mode_ipv4", "routed", (false, true)),
        ("com.docker.network.bridge.gateway_mode_ipv6", "routed", (true, false)),
        ("gateway_mode_ipv6", "routed", (true, false)),
        ("com.docker.network.bridge.enable_ip_masquerade", "false", (false, false)),
        ("enable_ip_masquerade", "0", (false, false)),
        ("enable_ip_masquerade", "true", (true, true)),
    ] {
        let _network = stage.dual_network("n", 50, &["-o", &option(name, value)]);
        stage.web("web", &["--network", "n", "-p", "8080:80"]);
        let own = stage.addresses("web", "n");
        let expected = [if translated.0 { nat4 } else { own[0] }, if translated.1 { nat6 } else { own[1] }];
        assert_eq!(seen_as(&stage, &stage.docker.netns("web")), expected, "{name}={value}");
        // Published at the host's address where it is translated, at the container's own where it is not.
        for ((own, host), translated) in own.into_iter().zip([nat4, nat6]).zip([translated.0, translated.1]) {
            let at: SocketAddr = if translated { (host, 8080).into() } else { (own, 80).into() };
            eventually!(fetch(&scene.outside.netns(), at));
        }
        stage.remove(&["web"]);
        stage.docker.run(&["network", "rm", "n"]);
    }
}

#[test]
fn a_network_of_docker_can_be_one_that_exists() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    let made = stage.scene.hnsd.hnsctl_json(&[
        "network",
        "create",
        "lan",
        "--subnet",
        "10.60.0.0/24",
        "--type",
        "internal",
    ]);
    let id = made["ID"].as_str().expect("a network has an id");
    let member = stage.scene.container("lan", "member", &[]);
    for (bind, owned) in [
        ("com.docker.network.windowsshim.hnsid", "com.docker.network.windowsshim.hnsowned"),
        ("hnsid", "hnsowned"),
    ] {
        let bind = option(bind, id);
        let subnet =
            ["--internal", "--subnet", "10.60.0.0/24", "--ipam-driver", "hns", "--ipam-opt", "network=lan"];
        let words = [
            &["network", "create", "-d", "nat", "-o", &bind, "-o", &option(owned, "true")],
            &subnet[..],
            &["bound"],
        ];
        stage.docker.run(&words.concat());
        assert_eq!(stage.hns_networks(), [id]);
        stage.web("web", &["--network", "bound"]);
        let address = stage.addresses("web", "bound")[0];
        assert_ne!(address, IpAddr::from(member.v4()));
        eventually!(fetch(&member.netns, (address, 80).into()));
        let elsewhere = stage.docker.try_run(&[
            "network",
            "create",
            "-d",
            "nat",
            "--internal",
            "-o",
            &bind,
            "--subnet",
            "10.61.0.0/24",
            "other",
        ]);
        assert!(elsewhere.expect_failure().contains("has the subnets 10.60.0.0/24"), "{bind}");
        stage.remove(&["web"]);
        stage.docker.run(&["network", "prune", "-f"]);
        assert_eq!(stage.hns_networks(), [id], "{owned}");
    }
}

#[test]
fn options_of_endpoints_are_honoured_or_refused() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.network("n", &[]);
    for (name, value, why) in [
        ("com.docker.network.windowsshim.disableicc", "perhaps", BOOLEAN),
        ("disableicc", "perhaps", BOOLEAN),
        ("com.docker.network.windowsshim.disable_dns", "perhaps", BOOLEAN),
        ("disable_dns", "perhaps", BOOLEAN),
        ("com.docker.endpoint.windowsshim.qospolicies", "x", "is not the JSON of one limit"),
        ("qospolicies", "x", "is not the JSON of one limit"),
        ("hns.acl", "in allow;in blok", "is not a list of rules: a rule begins with"),
        ("acl", "in allow from 10.0.0.300", "is not an address or a prefix"),
        ("hns.bandwidth-in", "fast", "is not a rate"),
        ("bandwidth-out", "0mbit", "is not a rate"),
        ("hns.acls", "in allow", "is not known"),
        (
            "disableic",
            "true",
            "docker network connect --driver-opt of nat networks takes disableicc, disable_dns",
        ),
        ("com.docker.network.windowsshim.vlanid", "1", "is not known"),
    ] {
        let given = format!("name=n,driver-opt={name}={value}");
        let said = stage.refused_container(&["--network", &given]);
        assert!(said.contains(name) && said.contains(why), "{said}");
    }
    // Docker's own resolver answers, whatever we think of it.
    for name in ["com.docker.network.windowsshim.disable_dns", "disable_dns"] {
        let given = format!("name=n,driver-opt={name}=true");
        assert!(stage.once(&["--network", &given], "cat /etc/resolv.conf").contains("127.0.0.11"), "{name}");
    }
    // Docker's own: the setting of the link, whose name Docker puts in.
    let given =
        "name=n,\"driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1\"";
    assert_eq!(stage.once(&["--network", given], "cat /proc/sys/net/ipv4/conf/eth0/log_martians"), "1");
    stage.idle("box", &[]);
    let said = stage.docker.try_run(&["network", "connect", "--driver-opt", "qospolicies=x", "n", "box"]);
    assert!(said.expect_failure().contains("is not the JSON of one limit"));
    stage.docker.run(&["network", "connect", "--driver-opt", "disableicc=true", "n", "box"]);
    assert_eq!(stage.endpoint("box", "n")["Flags"], 2);
}
