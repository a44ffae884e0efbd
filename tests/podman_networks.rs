//! Podman's networks as networks of HNS: made, shown, bound, shared, removed; every option's effect and its refusal.

use std::net::IpAddr;
use std::path::Path;

use hns_testbed::{eventually, needs, tcp};
use hns_tests::story_support::{PodmanScene, guide, text};
use serde_json::json;

#[test]
fn a_network_is_made_shown_and_removed() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    let shown = stage.network(&["--label", "a=b", "web"]);
    assert!(stage.podman.run(&["network", "ls"]).contains("web"));
    let made = stage.scene.get("/v2/networks")[0].clone();
    let subnet = &made["Ipams"][0]["Subnets"][0];
    assert_eq!(
        (&made["Name"], &made["Type"], &made["Owner"]),
        (&json!("web"), &json!("NAT"), &json!("podman"))
    );
    assert_eq!(made["AdditionalParams"]["Podman"]["Labels"], json!({"a": "b"}));
    assert_eq!(shown["subnets"][0]["subnet"], subnet["IpAddressPrefix"]);
    assert_eq!(shown["subnets"][0]["gateway"], subnet["Routes"][0]["NextHop"]);
    assert_eq!(shown["network_interface"], made["Health"]["Extra"]["Switch"]);
    assert_eq!(shown["ipam_options"], json!({"driver": "none"}));

    // Podman tells nobody: the next create, or a prune, sees it.
    stage.podman.run(&["network", "rm", "web"]);
    stage.network(&["other"]);
    assert_eq!(stage.hns_networks(), ["other"]);
    stage.network(&["web"]);
    stage.podman.run(&["network", "rm", "web"]);
    let said = stage.podman.root().run(&["/usr/local/libexec/netavark/hns-netavark", "prune"]);
    assert!(said.starts_with("network ") && said.trim_end().ends_with(" web"), "{said}");
    assert_eq!(stage.hns_networks(), ["other"]);
}

#[test]
fn a_network_that_hns_lost_is_made_again_for_its_next_container() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    let shown =
        stage.network(&["--subnet", "10.66.0.0/24", "--ip-range", "10.66.0.128/25", "-o", "mtu=1400", "web"]);
    stage.scene.hnsd.hnsctl(&["network", "rm", "web"]);
    stage.container("c1", &["--network", "web"]);
    let made = stage.scene.get("/v2/networks")[0].clone();
    assert_eq!(text(&made, "ID").replace('-', "").to_lowercase(), text(&shown, "id")[..32]);
    assert_eq!(made["AdditionalParams"]["Mtu"], 1400);
    assert_eq!(stage.v4("c1", "web"), "10.66.0.129".parse::<IpAddr>().expect("it is one"));
}

#[test]
fn subnets_families_and_ranges_are_as_asked() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    let both =
        ["--subnet", "10.66.0.0/24", "--gateway", "10.66.0.254", "--ip-range", "10.66.0.20-10.66.0.30"];
    let shown = stage.network(&[&both[..], &["--subnet", "fd00:66::/64", "hn"]].concat());
    assert_eq!(shown["subnets"][0]["gateway"], "10.66.0.254");
    assert_eq!(shown["subnets"][0]["lease_range"], json!({"start_ip": "10.66.0.20", "end_ip": "10.66.0.30"}));
    assert_eq!(shown["ipv6_enabled"], true);
    stage.container("c1", &["--network", "hn"]);
    let member = stage.membership("c1", "hn");
    assert_eq!((&member["IPAddress"], &member["IPPrefixLen"]), (&json!("10.66.0.20"), &json!(24)));
    assert_eq!((&member["Gateway"], &member["IPv6Gateway"]), (&json!("10.66.0.254"), &json!("fd00:66::1")));
    assert!(text(&member, "GlobalIPv6Address").starts_with("fd00:66::"), "{member}");
    assert_eq!(
        stage.podman.exec("c1", "ip -4 route | grep default || true"),
        "default via 10.66.0.254 dev eth0  metric 20000"
    );

    let dual = stage.network(&["--ipv6", "dual"]);
    assert_eq!(dual["subnets"].as_array().map(Vec::len), Some(2), "{dual}");
    let only_v6 = stage.network(&["--subnet", "fd00:67::/64", "six"]);
    assert_eq!(only_v6["subnets"].as_array().map(Vec::len), Some(1), "{only_v6}");
    stage.container("c2", &["--network", "six"]);
    assert_eq!(stage.membership("c2", "six")["IPAddress"], "");

    let two = ["--subnet", "10.70.0.0/30", "--subnet", "10.71.0.0/24", "two"];
    stage.network(&two);
    stage.container("c3", &["--network", "two"]);
    stage.container("c4", &["--network", "two"]);
    let in_second = stage.membership("c4", "two");
    assert_eq!((&in_second["IPAddress"], &in_second["Gateway"]), (&json!("10.71.0.2"), &json!("10.71.0.1")));
}

#[test]
fn options_have_their_effect() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    let options = [
        "-o",
        "mtu=1400",
        "-o",
        "com.docker.network.windowsshim.dnsservers=192.0.2.53,192.0.2.54",
        "-o",
        "dnssuffix=corp.example",
        "-o",
        "networkname=HNS Lan",
        "-o",
        "gateway_mode=routed",
        "-o",
        "metric=77",
        "-o",
        "macpool=00-15-5D-77-00-00,00-15-5D-77-0F-FF",
        "-o",
        "isolate=true",
        "-o",
        "type=NAT",
        "--dns",
        "192.0.2.52",
        "--subnet",
        "10.66.0.0/24",
        "--route",
        "10.99.0.0/16,10.66.0.9",
        "hn",
    ];
    stage.network(&options);
    assert_eq!(stage.hns_networks(), ["HNS Lan"]);
    let netns = stage.container("c1", &["--network", "hn", "--dns-option", "ndots:5"]);
    let resolver = stage.podman.exec("c1", "cat /etc/resolv.conf");
    let expected = "search corp.example\nnameserver 192.0.2.52\nnameserver 192.0.2.53\nnameserver 192.0.2.54\noptions ndots:5";
    assert_eq!(resolver, expected);
    assert_eq!(stage.podman.exec("c1", "cat /sys/class/net/eth0/mtu"), "1400");
    assert!(text(&stage.membership("c1", "hn"), "MacAddress").starts_with("00:15:5d:77:"));
    let routes = stage.podman.exec("c1", "ip -4 route");
    assert!(routes.contains("default via 10.66.0.1 dev eth0  metric 77"), "{routes}");
    assert!(routes.contains("10.99.0.0/16 via 10.66.0.9 dev eth0"), "{routes}");
    // Routed: the container is seen under its own address by who has a route to it.
    let outside = stage.scene.outside.netns();
    stage.scene.outside.run(&[
        "ip",
        "route",
        "add",
        "10.66.0.0/24",
        "via",
        &stage.scene.host.v4().to_string(),
    ]);
    let _server = tcp::Echo::serve(&outside, "0.0.0.0:80");
    let to = (stage.scene.outside.v4(), 80);
    eventually!(within 5 s, tcp::ask(&netns, to).is_ok_and(|seen| seen.ip() == stage.v4("c1", "hn")));

    stage.network(&["-o", "no_default_route=true", "aside"]);
    stage.container("c2", &["--network", "aside:mtu=1300,disableicc=true,gateway_priority=5"]);
    assert_eq!(stage.podman.exec("c2", "ip -4 route | grep default || true"), "");
    assert_eq!(stage.podman.exec("c2", "cat /sys/class/net/eth0/mtu"), "1300");
    let endpoint = stage.endpoints("c2").remove(0);
    assert_eq!(
        (&endpoint["Flags"], &endpoint["AdditionalParams"]["GatewayPriority"]),
        (&json!(2), &json!(5))
    );
}

#[test]
fn what_cannot_be_honoured_is_refused_with_a_sentence() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    stage.scene.network("lan", 80, &[]);
    for (options, problem) in [
        (
            &["-o", "bond=7", "hn"][..],
            "network \"hn\": there is no option bond; known are type, network, networkname, interface",
        ),
        (&["-o", "type=bridge", "hn"], "option type=bridge: no network type; write nat, internal, private"),
        (&["-o", "type=transparent", "hn"], "a network of the type Transparent needs an adapter"),
        (&["-o", "type=l2bridge", "hn"], "a network of the type L2Bridge needs an adapter"),
        (&["-o", "type=l2tunnel", "hn"], "a network of the type L2Tunnel needs an adapter"),
        (&["-o", "type=nat", "--internal", "hn"], "such a network has a way out; leave one of them out"),
        (&["-o", "mtu=99", "hn"], "option mtu=99: 99 is not an MTU: 576 to 65535 bytes"),
        (&["-o", "mtu=600", "--ipv6", "hn"], "a network with IPv6 needs at least 1280"),
        (&["-o", "dnsservers=dns.example", "hn"], "option dnsservers=dns.example: invalid IP address"),
        (&["-o", "macpool=00-15-5D-01-00-00", "hn"], "MAC addresses come in pairs"),
        (&["-o", "gateway_mode=isolated", "hn"], "no gateway mode; write nat or routed"),
        (&["-o", "gateway_mode=routed", "--internal", "hn"], "have no way out to route"),
        (&["-o", "isolate=false", "hn"], "networks of HNS are always isolated"),
        (&["-o", "metric=0", "hn"], "not a route metric"),
        (&["-o", "mtu=1400", "-o", "com.docker.network.driver.mtu=1400", "hn"], "says already"),
        (&["-o", "network=nowhere", "hn"], "HNS does not have \"nowhere\""),
        (
            &["-o", "network=lan", "--subnet", "10.66.0.0/24", "hn"],
            "--subnet cannot be chosen for the HNS network \"lan\"",
        ),
        (&["--ipam-driver", "dhcp", "hn"], "--ipam-driver dhcp: addresses come from HNS"),
        (&["--interface-name", "br7", "hn"], "--interface-name br7: HNS names its switches by itself"),
        (
            &["--subnet", "10.80.0.0/25", "hn"],
            "prefix 10.80.0.0/25 of network \"hn\" overlaps 10.80.0.0/24 of network \"lan\"",
        ),
        (&["lan"], "a network named \"lan\" exists already"),
    ] {
        let said = stage.refused_network(options);
        assert!(said.contains(problem), "{options:?}: {said}");
    }
    assert!(stage.refused_network(&["lan"]).contains("to use that one, pass `-o network=NAME`"));
    assert_eq!(stage.hns_networks(), ["lan"]);
    assert_eq!(stage.podman.run(&["network", "ls", "-q"]), "podman");

    stage.network(&["--subnet", "10.66.0.0/24", "hn"]);
    for (options, problem) in [
        (
            &["--network", "hn:vlan=7"][..],
            "there is no option vlan; known are gateway_priority, mtu, disableicc",
        ),
        (&["--network", "hn:gateway_priority=100"], "not a priority, -99 to 99"),
        (&["--network", "hn:ip=10.67.0.9"], "network \"hn\" has no subnet that holds 10.67.0.9"),
        (&["--network", "hn:ip=10.66.0.1"], "10.66.0.1"),
        (&["--network", "hn:ip6=fd00::9"], "network \"hn\" has no subnet that holds fd00::9"),
    ] {
        let said = stage.refused_container(options);
        assert!(said.contains(problem), "{options:?}: {said}");
    }
    assert_eq!(stage.scene.get("/v2/endpoints"), json!([]));
}

#[test]
fn internal_and_private_networks_lead_nowhere() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    let shown = stage.network(&["--internal", "inside"]);
    assert_eq!(shown["internal"], true);
    let netns = stage.container("c1", &["--network", "inside", "-p", "8080:80", "--cap-add", "NET_ADMIN"]);
    let peer = stage.container("c2", &["--network", "inside"]);
    assert_eq!(stage.podman.exec("c1", "ip route | grep default || true"), "");
    let _server = tcp::Echo::serve(&netns, "0.0.0.0:80");
    let at = stage.v4("c1", "inside");
    eventually!(within 2 s, tcp::ask(&peer, (at, 80)));
    eventually!(within 2 s, tcp::ask(&stage.scene.host.netns(), (at, 80)));
    assert!(tcp::ask(&stage.scene.outside.netns(), (stage.scene.host.v4(), 8080)).is_err());
    stage.podman.exec("c1", "ip route add default dev eth0");
    assert!(!netns.ping(stage.scene.outside.v4()));

    let private = stage.network(&["-o", "type=private", "alone"]);
    assert_eq!(private["internal"], true);
    let netns = stage.container("c3", &["--network", "alone"]);
    let _server = tcp::Echo::serve(&netns, "0.0.0.0:80");
    let peer = stage.container("c4", &["--network", "alone"]);
    eventually!(within 2 s, tcp::ask(&peer, (stage.v4("c3", "alone"), 80)));
    assert!(tcp::ask(&stage.scene.host.netns(), (stage.v4("c3", "alone"), 80)).is_err());
}

#[test]
fn a_network_of_hns_is_used_by_podman_and_others_with_one_book_of_addresses() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    let lan = stage.scene.network("lan", 80, &[]);
    let shown = stage.network(&["-o", "network=lan", "shared"]);
    assert_eq!(shown["subnets"][0]["subnet"], "10.80.0.0/24");
    let ours = stage.scene.container("lan", "one", &[]);
    let podmans = stage.container("c1", &["--network", "shared"]);
    let another = stage.scene.container("lan", "two", &[]);
    stage.container("c2", &["--network", "shared"]);
    let mut addresses = vec![
        IpAddr::from(ours.v4()),
        another.v4().into(),
        stage.v4("c1", "shared"),
        stage.v4("c2", "shared"),
    ];
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 4, "{addresses:?}");
    let _server = tcp::Echo::serve(&podmans, "0.0.0.0:80");
    eventually!(within 2 s, tcp::ask(&ours.netns, (stage.v4("c1", "shared"), 80)));

    let said = stage.refused_container(&["--network", &format!("shared:ip={}", ours.v4())]);
    assert!(
        said.contains(&format!("address {} of network \"lan\" is", ours.v4())) && said.contains("one"),
        "{said}"
    );

    // By its GUID too; and none of this makes the network podman's.
    let by_guid = format!("com.docker.network.windowsshim.hnsid={}", text(&lan, "ID"));
    stage.network(&["-o", &by_guid, "guid"]);
    stage.container("c3", &["--network", "guid"]);
    stage.podman.run(&["rm", "-f", "-t", "0", "c1", "c2", "c3"]);
    stage.podman.run(&["network", "rm", "shared", "guid"]);
    stage.network(&["other"]);
    assert_eq!(stage.hns_networks(), ["lan", "other"]);
}

#[test]
fn podmans_own_book_of_addresses_works_for_who_wants_it() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    let shown = stage.network(&["--ipam-driver", "host-local", "--subnet", "10.66.0.0/24", "own"]);
    assert_eq!(shown["ipam_options"], json!({"driver": "host-local"}));
    // HNS gives the address that podman would give first; podman gets a refusal, never the same address.
    let taken = stage.scene.container("own", "one", &[]);
    assert_eq!(taken.v4().to_string(), "10.66.0.2");
    let said = stage.refused_container(&["--network", "own"]);
    assert!(said.contains("address 10.66.0.2 of network \"own\" is"), "{said}");
    stage.container("c1", &["--network", "own"]);
    assert_eq!(stage.v4("c1", "own").to_string(), "10.66.0.3");
}

#[test]
fn the_daemon_that_is_not_there_is_named() {
    needs!(root, engines);
    let mut stage = PodmanScene::new();
    stage.network(&["web"]);
    let status = stage.scene.hnsd.terminate();
    assert!(status.success());
    let said = stage.refused_network(&["other"]);
    assert!(
        said.contains("network \"other\": HNS cannot make it: cannot reach the daemon on /run/hns/hns.sock"),
        "{said}"
    );
    assert!(stage.refused_container(&["--network", "web"]).contains("is hnsd running?"));
    stage.scene.hnsd.start_again();
    stage.container("c1", &["--network", "web"]);
}

#[test]
fn the_guide_is_followed_word_by_word() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    let root = stage.podman.root();
    root.sh("ln -s /usr/local/libexec/netavark /usr/libexec/netavark; ln -s busybox /usr/bin/wget");
    let run = |command: &str| {
        let script = format!("export PODMAN_IGNORE_CGROUPSV1_WARNING=1; {command}");
        root.try_run(&["sh", "-ec", &script])
    };
    guide::follow("podman.md", run, |path, text| root.write(path, text));
}

#[test]
fn the_quadlet_makes_its_network_and_its_container() {
    needs!(root, engines, "busybox");
    let stage = PodmanScene::new();
    let root = stage.podman.root();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/podman");
    for file in ["web.network", "web.container"] {
        let text = std::fs::read_to_string(examples.join(file)).expect("the example is there");
        root.write(&format!("/etc/containers/systemd/{file}"), &text);
    }
    let units = root.run(&["/usr/libexec/podman/quadlet", "-dryrun"]);
    let starts: Vec<&str> = units.lines().filter_map(|line| line.strip_prefix("ExecStart=")).collect();
    let unit =
        |word: &str| starts.iter().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{units}"));
    // Without what only systemd can give, a control group and a socket, and its way to write a space.
    let run = ["--cgroups=split", "--sdnotify=conmon"]
        .iter()
        .fold(unit(" run ").replace("\\x20", " "), |line, word| line.replace(word, ""));
    for command in [unit("network create"), run.as_str()] {
        root.sh(&format!("export PODMAN_IGNORE_CGROUPSV1_WARNING=1; {command}"));
    }
    assert_eq!(stage.v4("web", "web").to_string(), "10.66.0.80");
    let page = format!("http://{}:8080/", stage.scene.host.v4());
    let fetch = || {
        let output =
            stage.scene.outside.netns().command("busybox").args(["wget", "-q", "-O", "-", &page]).output();
        output.expect("busybox is one of the programs that ./x installs").stdout
    };
    eventually!(within 5 s, fetch() == b"hello\n");
}

/// Podman's containers on a bridge of the administrator's, which is a network of HNS by itself.
#[test]
fn a_bridge_of_the_administrators_is_used_by_podman() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    stage.scene.host.bridge_adapter("CORP");
    eventually!(stage.hns_networks() == ["CORP"]);
    stage.network(&["-o", "network=CORP", "corp"]);
    let said = stage.refused_container(&["--network", "corp"]);
    assert!(said.contains("addresses are free on its LAN"), "{said}");
    let place = "corp:ip=198.18.0.170,ip=fd00:198:18::170";
    let web = stage.container("web", &["--network", place]);
    assert_eq!(stage.v4("web", "corp"), "198.18.0.170".parse::<IpAddr>().expect("it is one"));
    let _server = tcp::Echo::serve(&web, "[::]:80");
    for to in ["198.18.0.170", "fd00:198:18::170"] {
        let to = std::net::SocketAddr::new(to.parse().expect("it is one"), 80);
        eventually!(tcp::ask(&stage.scene.outside.netns(), to));
        eventually!(tcp::ask(&stage.scene.host.netns(), to));
    }
    stage.podman.run(&["rm", "-f", "-t", "0", "web"]);
    stage.podman.run(&["network", "rm", "corp"]);
    assert_eq!(stage.hns_networks(), ["CORP"]);
}
