//! Podman's containers on networks of HNS: ports, fixed addresses, several networks, restarts, and a daemon that dies.

use std::net::{IpAddr, SocketAddr};

use hns_testbed::{Netns, eventually, needs, sctp, tcp, udp};
use hns_tests::story_support::{PodmanScene, text};
use serde_json::json;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address is an address")
}

/// Whether a TCP server behind this address answers.
fn answers(from: &Netns, to: impl Into<SocketAddr>) -> bool {
    tcp::ask(from, to.into()).is_ok()
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    stage.network(&["--ipv6", "web"]);
    let ports = [
        "-p",
        "8080:80",
        "-p",
        "8081-8083:81-83",
        "-p",
        "5353:53/udp",
        "-p",
        "127.0.0.1:9090:80",
        "-p",
        "9899:99/sctp",
    ];
    let netns = stage.container("c1", &[&["--network", "web"], &ports[..]].concat());
    let _servers: Vec<_> = [80, 81, 83].map(|port| tcp::Echo::serve(&netns, ("::", port))).into();
    let _udp = udp::Echo::serve(&netns, "[::]:53");
    let _sctp = sctp::Responder::serve(&netns, (stage.v4("c1", "web"), 99));
    let (host, outside) = (stage.scene.host.netns(), stage.scene.outside.netns());
    for address in stage.scene.host_addresses() {
        for port in [8080, 8081, 8083] {
            eventually!(within 5 s, answers(&outside, (address, port)));
        }
        eventually!(within 5 s, udp::ask(&outside, (address, 5353)));
        assert!(!answers(&outside, (address, 9090)), "it is published on 127.0.0.1 alone");
        assert!(!answers(&outside, (address, 8082)), "nobody listens behind it");
    }
    eventually!(within 5 s, sctp::ask(&outside, (stage.scene.host.v4(), 9899)));
    for to in ["127.0.0.1:8080", "[::1]:8080", "127.0.0.1:9090"] {
        eventually!(within 5 s, tcp::ask(&host, to));
    }
    let shown = stage.podman.run(&["port", "c1"]);
    assert!(
        shown.contains("80/tcp -> 0.0.0.0:8080") && shown.contains("80/tcp -> 127.0.0.1:9090"),
        "{shown}"
    );

    // A port that somebody has is refused, an endpoint of HNS or a program of the host: podman binds it, and is told by the kernel.
    stage.scene.network("lan", 80, &[]);
    stage.scene.container("lan", "one", &["-p", "7070:80"]);
    let said = stage.refused_container(&["--network", "web", "-p", "7070:80"]);
    assert!(said.contains("7070") && said.contains("address already in use"), "{said}");
    let _listener = tcp::Echo::serve(&host, "0.0.0.0:6060");
    assert!(
        stage.refused_container(&["--network", "web", "-p", "6060:80"]).contains("address already in use")
    );

    stage.podman.run(&["rm", "-f", "-t", "0", "c1"]);
    assert!(!answers(&outside, (IpAddr::from(stage.scene.host.v4()), 8080)));
    stage.container("c2", &["--network", "web", "-p", "8080:80"]);
}

#[test]
fn fixed_addresses_are_given_refused_and_given_back() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    stage.network(&["--subnet", "10.66.0.0/24", "--subnet", "fd00:66::/64", "hn"]);
    let fixed = "hn:ip=10.66.0.150,ip6=fd00:66::150,mac=02:11:22:33:44:66,alias=zz,interface_name=lan7";
    let netns = stage.container("c1", &["--network", fixed]);
    let member = stage.membership("c1", "hn");
    assert_eq!(
        (&member["IPAddress"], &member["GlobalIPv6Address"]),
        (&json!("10.66.0.150"), &json!("fd00:66::150"))
    );
    assert_eq!(member["MacAddress"], "02:11:22:33:44:66");
    let inside = stage.podman.exec("c1", "cat /sys/class/net/lan7/address; ip addr show dev lan7");
    for word in ["02:11:22:33:44:66", "10.66.0.150/24", "fd00:66::150/64"] {
        assert!(inside.contains(word), "{inside}");
    }
    let endpoint = stage.endpoints("c1").remove(0);
    assert_eq!(endpoint["AdditionalParams"]["Podman"]["Aliases"][0], "zz");
    let peer = stage.container("c2", &["--network", "hn:ip=10.66.0.151"]);
    let _server = tcp::Echo::serve(&netns, ("::", 80));
    for address in ["10.66.0.150", "fd00:66::150"] {
        eventually!(within 2 s, tcp::ask(&peer, (ip(address), 80)));
    }
    for taken in ["10.66.0.150", "fd00:66::150"] {
        let key = if taken.contains(':') { "ip6" } else { "ip" };
        let said = stage.refused_container(&["--network", &format!("hn:{key}={taken}")]);
        assert!(said.contains(&format!("address {taken} of network \"hn\" is in use")), "{said}");
    }
    assert_eq!(stage.podman.run(&["ps", "-q"]).lines().count(), 2);
    stage.podman.run(&["rm", "-f", "-t", "0", "c1"]);
    stage.container("c3", &["--network", fixed]);
}

#[test]
fn a_container_on_two_networks_has_its_ports_where_its_default_route_is() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    let gateway = |name: &str| {
        stage.podman.exec(name, "ip -4 route | grep default | sort -k7 -n | head -1 | cut -d' ' -f3")
    };
    stage.network(&["--subnet", "10.61.0.0/24", "front"]);
    stage.network(&["--subnet", "10.62.0.0/24", "back"]);
    // Podman has no order of networks but that of their interfaces.
    let networks = ["--network", "front:interface_name=eth0", "--network", "back:interface_name=eth1"];
    let netns = stage.container("c1", &[&networks[..], &["-p", "8080:80"]].concat());
    let _server = tcp::Echo::serve(&netns, "0.0.0.0:80");
    let published = SocketAddr::from((stage.scene.host.v4(), 8080));
    let outside = stage.scene.outside.netns();
    let has_ports = |network: &str| {
        let all = stage.endpoints("c1");
        let one = all.iter().find(|e| e["AdditionalParams"]["Podman"]["NetworkName"] == network);
        one.is_some_and(|endpoint| endpoint["Policies"] != json!([]))
    };
    eventually!(within 5 s, answers(&outside, published));
    assert_eq!(gateway("c1"), "10.61.0.1");
    assert!(has_ports("front") && !has_ports("back"));

    stage.podman.run(&["network", "disconnect", "front", "c1"]);
    assert!(has_ports("back"));
    // The link of the first goes some milliseconds after its traffic.
    eventually!(within 2 s, gateway("c1") == "10.62.0.1");
    eventually!(within 5 s, answers(&outside, published));

    stage.podman.run(&["network", "connect", "front", "c1"]);
    // Podman gives it the name that is free, eth0, which makes it the first again.
    assert!(has_ports("front") && !has_ports("back"));
    assert_eq!(gateway("c1"), "10.61.0.1");
    eventually!(within 5 s, answers(&outside, published));
    stage.podman.run(&["network", "disconnect", "front", "c1"]);
    stage.network(&["--subnet", "10.63.0.0/24", "--internal", "inside"]);
    stage.podman.run(&["network", "connect", "inside", "c1"]);
    stage.podman.run(&["restart", "-t", "0", "c1"]);
    let netns = stage.podman.netns("c1");
    let _server = tcp::Echo::serve(&netns, "0.0.0.0:80");
    assert!(has_ports("back"), "an internal network publishes nothing, whatever its place");
    eventually!(within 5 s, answers(&outside, published));

    stage.container("c2", &["--network", "front", "--network", "back:gateway_priority=9", "-p", "8181:80"]);
    assert_eq!(gateway("c2"), "10.62.0.1");
    stage.podman.run(&["rm", "-f", "-t", "0", "-a"]);
    assert_eq!(stage.scene.get("/v2/endpoints"), json!([]));
    assert_eq!(stage.scene.get("/v2/namespaces"), json!([]));
}

#[test]
fn networks_come_and_go_while_another_carries_traffic() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    stage.network(&["front"]);
    stage.network(&["back"]);
    let netns = stage.container("c1", &["--network", "front", "-p", "8080:80"]);
    let _server = tcp::Echo::serve(&netns, "0.0.0.0:80");
    let to = SocketAddr::from((stage.scene.host.v4(), 8080));
    eventually!(within 5 s, answers(&stage.scene.outside.netns(), to));
    let mut talk = tcp::Conversation::open(&stage.scene.outside.netns(), to).expect("it has just answered");
    let before = stage.scene.host.links();
    for round in 0..10 {
        stage.podman.run(&["network", "connect", "back", "c1"]);
        talk.say(&format!("connected {round}")).expect("the first network is not disturbed");
        stage.podman.run(&["network", "disconnect", "back", "c1"]);
        talk.say(&format!("disconnected {round}")).expect("the first network is not disturbed");
    }
    eventually!(within 5 s, stage.scene.host.links() == before);
    assert_eq!(stage.endpoints("c1").len(), 1);
}

#[test]
fn a_restart_of_a_container_keeps_what_it_was_given() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    stage.network(&["--subnet", "10.66.0.0/24", "hn"]);
    stage.container("c1", &["--network", "hn:ip=10.66.0.150", "-p", "8080:80"]);
    let id = text(&stage.endpoints("c1")[0], "ID");
    for words in [&["restart", "-t", "0", "c1"][..], &["network", "reload", "c1"], &["kill", "c1"]] {
        stage.podman.run(words);
        if words[0] == "kill" {
            eventually!(within 5 s, stage.endpoints("c1").is_empty());
            stage.podman.run(&["start", "c1"]);
        }
        let netns = stage.podman.netns("c1");
        let _server = tcp::Echo::serve(&netns, "0.0.0.0:80");
        assert_eq!(stage.v4("c1", "hn"), ip("10.66.0.150"));
        let endpoints = stage.endpoints("c1");
        assert!(endpoints.len() == 1 && text(&endpoints[0], "ID") == id, "the same endpoint, alone");
        let to = SocketAddr::from((stage.scene.host.v4(), 8080));
        eventually!(within 5 s, answers(&stage.scene.outside.netns(), to));
    }
}

#[test]
fn a_daemon_that_is_killed_disturbs_nobody_and_forgets_nothing() {
    needs!(root, engines);
    let mut stage = PodmanScene::new();
    stage.network(&["--subnet", "10.66.0.0/24", "hn"]);
    let netns = stage.container("c1", &["--network", "hn:ip=10.66.0.10", "-p", "8080:80"]);
    stage.container("c2", &["--network", "hn:ip=10.66.0.11", "-p", "8181:80"]);
    let _server = tcp::Echo::serve(&netns, "0.0.0.0:80");
    let to = SocketAddr::from((stage.scene.host.v4(), 8080));
    let outside = stage.scene.outside.netns();
    eventually!(within 5 s, answers(&outside, to));
    let mut talk = tcp::Conversation::open(&outside, to).expect("it has just answered");

    stage.scene.hnsd.kill9();
    talk.say("while it is dead").expect("traffic goes on without the daemon");
    // Podman removes a container whose teardown reaches nobody; what HNS still has of it is in nobody's way later.
    drop(stage.podman.try_run(&["rm", "-f", "-t", "0", "c2"]));
    stage.scene.hnsd.start_again();
    talk.say("after it came back").expect("traffic goes on through a restart");
    stage.container("c3", &["--network", "hn:ip=10.66.0.11", "-p", "8181:80"]);
    assert_eq!(stage.endpoints("c2"), Vec::<serde_json::Value>::new());

    // A daemon that comes back while podman waits for it is not missed.
    stage.scene.hnsd.kill9();
    let waiting = std::thread::scope(|scope| {
        let podman = &stage.podman;
        let waiting = scope.spawn(|| {
            podman.try_run(&["run", "-d", "--name", "c4", "--network", "hn", "busybox", "sleep", "99"])
        });
        let hnsd = &mut stage.scene.hnsd;
        hnsd.start_again();
        waiting.join().expect("podman runs")
    });
    assert!(waiting.success(), "{waiting}");
    talk.say("after all").expect("traffic goes on");
}
