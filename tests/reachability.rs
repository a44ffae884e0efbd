//! Who reaches a published port, by which address, and as whom the server sees it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hns_testbed::{FAR_V4, FAR_V6, Netns, eventually, needs, sctp, tcp, udp};
use hns_tests::story_support::daemon::modify_policies;
use hns_tests::story_support::{Container, Proto, Row, Scene, Server, Talker, check};
use serde_json::json;

const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// How a port is published, and with which host ports (the second, where there is one, ends a range).
const EVERYWHERE: [u16; 5] = [8080, 8100, 8110, 8200, 8203];
const AT_HOST: [u16; 5] = [8081, 8300, 8310, 8400, 8403];
const AT_LOCALHOST: [u16; 5] = [8082, 8500, 8510, 8600, 8603];

/// Two networks, a server with every kind of mapping, and everybody who could want to reach it.
struct Street {
    scene: Scene,
    web: Container,
    /// On the server's network.
    neighbour: Container,
    /// On another network.
    stranger: Container,
    _servers: Vec<Server>,
}

impl Street {
    fn new(scene: Scene) -> Self {
        scene.network("blue", 7, &[]);
        scene.network("green", 8, &[]);
        let (v4, v6) = (scene.host.v4(), scene.host.v6());
        let mut ports = Vec::new();
        for proto in ["tcp", "udp", "sctp"] {
            ports.extend(
                ["8080:80", "8100-8110:8100-8110", "8200-8203:80-83"].map(|p| format!("{p}/{proto}")),
            );
            for (at, ports_there) in [
                (v4.to_string(), ["8081:80", "8300-8310:8300-8310", "8400-8403:80-83"]),
                (format!("[{v6}]"), ["8081:80", "8300-8310:8300-8310", "8400-8403:80-83"]),
                ("127.0.0.1".to_owned(), ["8082:80", "8500-8510:8500-8510", "8600-8603:80-83"]),
                ("[::1]".to_owned(), ["8082:80", "8500-8510:8500-8510", "8600-8603:80-83"]),
            ] {
                ports.extend(ports_there.map(|p| format!("{at}:{p}/{proto}")));
            }
        }
        let options: Vec<&str> = ports.iter().flat_map(|port| ["-p", port.as_str()]).collect();
        let web = scene.container("blue", "web", &options);
        let neighbour = scene.container("blue", "neighbour", &[]);
        let stranger = scene.container("green", "stranger", &[]);
        // The first and the last port of each range have a server, so that a wrong shift finds none.
        let kept = [8100, 8110, 8300, 8310, 8500, 8510];
        let served = [80, 83].into_iter().chain(kept);
        let servers = served.map(|port| Server::serve(&web.netns, &web.addresses(), port)).collect();
        Self { scene, web, neighbour, stranger, _servers: servers }
    }

    /// The address of the server's network's gateway.
    fn gateway(like: IpAddr) -> IpAddr {
        if like.is_ipv4() { [10, 7, 0, 1].into() } else { "fd00:7::1".parse().expect("an address") }
    }

    fn outside(&self, like: IpAddr) -> IpAddr {
        if like.is_ipv4() { self.scene.outside.v4().into() } else { self.scene.outside.v6().into() }
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let (host, outside) = (self.scene.host.netns(), self.scene.outside.netns());
        let mut row = |from: &Netns, who, to: IpAddr, ports: &[u16], seen: Option<IpAddr>| {
            for (proto, port) in
                Proto::ALL.into_iter().flat_map(|proto| ports.iter().map(move |p| (proto, *p)))
            {
                rows.push(Row { from: from.clone(), who, proto, to: SocketAddr::new(to, port), seen });
            }
        };
        for (to, localhost) in self.scene.host_addresses().into_iter().zip(LOCALHOST) {
            let gateway = Self::gateway(to);
            let public = [EVERYWHERE, AT_HOST].concat();
            for (from, who, seen) in [
                (&outside, "outside", self.outside(to)),
                (&host, "the host", to),
                (&self.neighbour.netns, "a neighbour", gateway),
                (&self.web.netns, "the container itself", gateway),
                (&self.stranger.netns, "another network", self.stranger.like(to)),
            ] {
                row(from, who, to, &public, Some(seen));
                row(from, who, to, &AT_LOCALHOST[..2], None);
            }
            row(&host, "the host by a gateway", gateway, &EVERYWHERE, Some(gateway));
            row(&host, "the host by a gateway", gateway, &AT_HOST[..2], None);
            row(
                &self.stranger.netns,
                "another network by a gateway",
                gateway,
                &EVERYWHERE[..2],
                Some(self.stranger.like(to)),
            );
            row(
                &host,
                "the host by localhost",
                localhost,
                &[EVERYWHERE, AT_LOCALHOST].concat(),
                Some(gateway),
            );
            row(&host, "the host by localhost", localhost, &AT_HOST[..2], None);
            // Inside a shifted range, where nobody serves the port it is shifted to, and beside every range.
            row(&outside, "outside", to, &[8201, 8204, 8099, 8111], None);
        }
        rows
    }
}

#[test]
fn every_mapping_is_reached_exactly_from_where_it_should_be() {
    needs!(root, "nft");
    let street = Street::new(Scene::new());
    check(&street.rows());
}

#[test]
fn the_same_holds_while_bridged_frames_pass_the_ip_rules() {
    needs!(root, "nft");
    let street = Street::new(Scene::with(
        |host| {
            host.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1");
        },
        |hnsd| hnsd.arg("--bridge-netfilter").arg("keep"),
    ));
    // The kernel's br_netfilter drops the answers to the host's ::1.
    let mut rows = street.rows();
    rows.retain(|row| row.to.ip() != LOCALHOST[1]);
    check(&rows);
    assert_eq!(street.scene.host.sh("cat /proc/sys/net/bridge/bridge-nf-call-iptables").trim(), "1");
}

#[test]
fn a_port_of_localhost_stays_closed_for_whoever_routes_localhost_to_us() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let web = scene.container("blue", "web", &["-p", "127.0.0.1:8082:80", "-p", "[::1]:8082:80"]);
    let _server = Server::serve(&web.netns, &web.addresses(), 80);
    let host = scene.host.netns();
    let _own = (tcp::Echo::serve(&host, "127.0.0.1:9000"), tcp::Echo::serve(&host, "[::1]:9000"));
    eventually!(tcp::ask(&host, "127.0.0.1:8082"));
    eventually!(tcp::ask(&host, "[::1]:8082"));
    // Counts what really arrives, before anybody can drop it.
    scene.host.sh(
        "nft 'add table inet probe; add chain inet probe pre { type filter hook prerouting priority -500; };
         add rule inet probe pre iifname != lo ip daddr 127.0.0.1 counter;
         add rule inet probe pre iifname != lo ip6 daddr ::1 counter'",
    );
    let mac = scene.host.sh("cat /sys/class/net/eth0/address");
    let stranger = |by4: &str, by6: &str, dev: &str| {
        format!(
            "sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.{dev}.route_localnet=1
             ip addr flush dev lo
             ip route add 127.0.0.1/32 via {by4} dev {dev}
             ip -6 route add ::1/128 via {by6} dev {dev}"
        )
    };
    let (v4, v6) = (scene.host.v4().to_string(), scene.host.v6().to_string());
    scene.outside.sh(&format!("ip neigh replace {v4} lladdr {} dev eth0", mac.trim()));
    scene.outside.sh(&stranger(&v4, &v6, "eth0"));
    scene.host.sh(&format!("ip netns exec web sh -ec '{}'", stranger("10.7.0.1", "fd00:7::1", "eth0")));
    let mut rows = Vec::new();
    for (from, who) in [(scene.outside.netns(), "the LAN"), (web.netns.clone(), "the container")] {
        for (to, proto, port) in [
            (LOCALHOST[0], Proto::Tcp, 8082),
            (LOCALHOST[0], Proto::Udp, 8082),
            (LOCALHOST[0], Proto::Sctp, 8082),
            (LOCALHOST[0], Proto::Tcp, 9000),
            (LOCALHOST[1], Proto::Tcp, 8082),
            (LOCALHOST[1], Proto::Tcp, 9000),
        ] {
            rows.push(Row { from: from.clone(), who, proto, to: SocketAddr::new(to, port), seen: None });
        }
    }
    check(&rows);
    let counted = scene.host.sh("nft list table inet probe");
    assert!(
        counted.contains("ip daddr 127.0.0.1 counter packets")
            && !counted.contains("127.0.0.1 counter packets 0"),
        "{counted}"
    );
    // A host that routes localhost everywhere, as some engines ask for, opens its own services by that, not ours.
    scene.host.sh("sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.eth0.route_localnet=1");
    let ours: Vec<Row> =
        rows.into_iter().filter(|row| row.to.port() == 8082 || row.who == "the container").collect();
    check(&ours);
}

#[test]
fn containers_reach_the_outside_with_the_hosts_address() {
    needs!(root, "nft", "ping");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let app = scene.container("blue", "app", &[]);
    let far: [IpAddr; 2] = [FAR_V4.into(), FAR_V6.into()];
    let _far = Server::serve(&scene.lab.router().netns(), &far, 80);
    let _lan = Server::serve(&scene.outside.netns(), &scene.outside.addresses(), 80);
    let mut rows = Vec::new();
    for (place, own) in scene.host_addresses().into_iter().enumerate() {
        for to in [far[place], scene.outside.addresses()[place]] {
            for proto in Proto::ALL {
                let to = SocketAddr::new(to, 80);
                rows.push(Row { from: app.netns.clone(), who: "a container", proto, to, seen: Some(own) });
            }
            // Nobody out there has a route to the container: only a translated echo request is answered.
            eventually!(app.netns.ping(to));
        }
        let gateway = Street::gateway(own);
        eventually!(app.netns.ping(gateway));
        eventually!(scene.host.ping(app.like(own)));
    }
    let host = scene.host.netns();
    let _own = Server::serve(&app.netns, &app.addresses(), 80);
    for to in app.addresses() {
        for proto in Proto::ALL {
            let seen = Some(Street::gateway(to));
            rows.push(Row { from: host.clone(), who: "the host", proto, to: SocketAddr::new(to, 80), seen });
        }
    }
    check(&rows);
}

#[test]
fn a_route_to_a_container_opens_nothing() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let web = scene.container("blue", "web", &["-p", "8080:80"]);
    let _server = Server::serve(&web.netns, &web.addresses(), 80);
    add_routes(&scene);
    let outside = scene.outside.netns();
    let row = |proto, to, seen| Row { from: outside.clone(), who: "the LAN", proto, to, seen };
    let mut rows = Vec::new();
    for (to, own) in web.addresses().into_iter().zip(scene.outside.addresses()) {
        rows.extend(Proto::ALL.map(|proto| row(proto, SocketAddr::new(to, 80), None)));
        let host = if to.is_ipv4() { scene.host_addresses()[0] } else { scene.host_addresses()[1] };
        rows.push(row(Proto::Tcp, SocketAddr::new(host, 8080), Some(own)));
        assert!(!outside.ping(to), "{to}");
    }
    check(&rows);
}

/// Gives the outside host routes to the containers of the network with number 7.
fn add_routes(scene: &Scene) {
    scene.outside.sh(&format!(
        "ip route add 10.7.0.0/24 via {}; ip -6 route add fd00:7::/64 via {}",
        scene.host.v4(),
        scene.host.v6()
    ));
}

#[test]
fn a_routed_network_opens_its_published_ports_at_the_containers_own_address() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &["--gateway-mode", "routed"]);
    let ports = ["-p", "8080:80", "-p", "8080:80/udp", "-p", "8080:80/sctp", "-p", "8100-8110:8100-8110"];
    let web = scene.container("blue", "web", &ports);
    let own = web.addresses();
    let _servers = [80, 81, 8100, 8110, 8111].map(|port| Server::serve(&web.netns, &own, port));
    let _lan = Server::serve(&scene.outside.netns(), &scene.outside.addresses(), 80);
    add_routes(&scene);
    let (outside, inside) = (scene.outside.netns(), web.netns.clone());
    let mut rows = Vec::new();
    for (to, client) in own.into_iter().zip(scene.outside.addresses()) {
        let mut row = |from: &Netns, who, proto, ip, port, seen| {
            rows.push(Row { from: from.clone(), who, proto, to: SocketAddr::new(ip, port), seen });
        };
        for proto in Proto::ALL {
            row(&outside, "the LAN", proto, to, 80, Some(client));
            row(&outside, "the LAN", proto, to, 81, None);
            row(&inside, "the container", proto, client, 80, Some(to));
        }
        row(&outside, "the LAN", Proto::Tcp, to, 8100, Some(client));
        row(&outside, "the LAN", Proto::Tcp, to, 8110, Some(client));
        row(&outside, "the LAN", Proto::Tcp, to, 8111, None);
        row(&outside, "the LAN", Proto::Udp, to, 8100, None);
        let host = if to.is_ipv4() { scene.host_addresses()[0] } else { scene.host_addresses()[1] };
        row(&outside, "the LAN, at the host", Proto::Tcp, host, 8080, None);
        assert!(!outside.ping(to), "{to}");
        eventually!(inside.ping(client));
    }
    check(&rows);
}

#[test]
fn families_can_have_different_gateway_modes() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &["--gateway-mode", "routed:6"]);
    let web = scene.container("blue", "web", &["-p", "8080:80"]);
    let _server = Server::serve(&web.netns, &web.addresses(), 80);
    let _lan = Server::serve(&scene.outside.netns(), &scene.outside.addresses(), 80);
    add_routes(&scene);
    let [v4, v6]: [IpAddr; 2] = [scene.outside.v4().into(), scene.outside.v6().into()];
    let row = |from: &Netns, to, port, seen| {
        let to = SocketAddr::new(to, port);
        Row { from: from.clone(), who: "somebody", proto: Proto::Tcp, to, seen }
    };
    let [host4, host6] = scene.host_addresses();
    let outside = scene.outside.netns();
    check(&[
        row(&outside, host4, 8080, Some(v4)),
        row(&outside, web.v4().into(), 80, None),
        row(&web.netns, v4, 80, Some(host4)),
        row(&outside, host6, 8080, None),
        row(&outside, web.v6().into(), 80, Some(v6)),
        row(&web.netns, v6, 80, Some(web.v6().into())),
    ]);
}

#[test]
fn one_port_of_two_addresses_leads_to_two_containers() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.host.sh("ip addr add 198.18.0.201/24 dev eth0; ip addr add fd00:198:18::201/64 dev eth0 nodad");
    scene.network("blue", 7, &[]);
    let first = ["-p", "198.18.0.1:8080:80", "-p", "[fd00:198:18::1]:8080:80"];
    let second = ["-p", "198.18.0.201:8080:81", "-p", "[fd00:198:18::201]:8080:81"];
    let one = scene.container("blue", "one", &first);
    let two = scene.container("blue", "two", &second);
    let servers = [(&one, 80), (&two, 81)].map(|(c, port)| Server::serve(&c.netns, &c.addresses(), port));
    // Every address but those two: of the host, a third one, and localhost.
    scene.host.sh("ip addr add 198.18.0.202/24 dev eth0");
    let outside = scene.outside.netns();
    let seen = |to: IpAddr| scene.outside.addresses().into_iter().find(|ip| ip.is_ipv4() == to.is_ipv4());
    let row = |to: &str, reached: bool| {
        let to: IpAddr = to.parse().expect("an address");
        let seen = seen(to).filter(|_| reached);
        Row { from: outside.clone(), who: "outside", proto: Proto::Tcp, to: SocketAddr::new(to, 8080), seen }
    };
    let mut rows = vec![row("198.18.0.202", false)];
    rows.extend(["198.18.0.1", "198.18.0.201", "fd00:198:18::1", "fd00:198:18::201"].map(|to| row(to, true)));
    check(&rows);
    drop(servers);
    // Only the first has a server now, so the two are really two.
    let _one = Server::serve(&one.netns, &one.addresses(), 80);
    check(&[row("198.18.0.1", true), row("198.18.0.201", false)]);
    check(&[row("fd00:198:18::1", true), row("fd00:198:18::201", false)]);
}

#[test]
fn a_host_port_that_was_left_open_is_chosen_and_reported() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let web = scene.container("blue", "web", &["-p", "80", "-p", "0:80/udp", "-p", "0:80-83"]);
    let _server = Server::serve(&web.netns, &web.addresses(), 80);
    let shown = scene.inspect(&web);
    let policies = shown["Policies"].as_array().unwrap();
    assert_eq!(policies.len(), 3, "{shown:#}");
    for policy in policies {
        let port = u16::try_from(policy["Settings"]["ExternalPort"].as_u64().unwrap()).unwrap();
        assert!(port >= 1024, "{policy}");
        for host in scene.host_addresses() {
            let to = SocketAddr::new(host, port);
            let proto = if policy["Settings"]["Protocol"] == json!(17) { Proto::Udp } else { Proto::Tcp };
            let seen = scene.outside.addresses().into_iter().find(|ip| ip.is_ipv4() == host.is_ipv4());
            check(&[Row { from: scene.outside.netns(), who: "outside", proto, to, seen }]);
        }
    }
}

#[test]
fn mappings_come_and_go_while_other_connections_live() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let web = scene.container("blue", "web", &["-p", "8080:80"]);
    let _server = Server::serve(&web.netns, &web.addresses(), 80);
    let _lan = Server::serve(&scene.outside.netns(), &scene.outside.addresses(), 80);
    let outside = scene.outside.netns();
    for (host, client) in scene.host_addresses().into_iter().zip(scene.outside.addresses()) {
        let mut kept = eventually!(tcp::Conversation::open(&outside, (host, 8080)));
        let mut outbound = eventually!(tcp::Conversation::open(&web.netns, (client, 80)));
        assert!(tcp::ask(&outside, (host, 9090)).is_err());
        scene.hnsd.hnsctl(&[
            "policy",
            "add",
            "web",
            "-p",
            "9090:80",
            "-p",
            "9091:80/udp",
            "-p",
            "9092:80/sctp",
        ]);
        assert_eq!(eventually!(tcp::ask(&outside, (host, 9090))).ip(), client);
        assert_eq!(eventually!(udp::ask(&outside, (host, 9091))).ip(), client);
        eventually!(sctp::ask(&outside, (host, 9092)));
        let mut ending = eventually!(tcp::Conversation::open(&outside, (host, 9090)));
        ending.say("before").unwrap();
        scene.hnsd.hnsctl(&[
            "policy",
            "rm",
            "web",
            "-p",
            "9090:80",
            "-p",
            "9091:80/udp",
            "-p",
            "9092:80/sctp",
        ]);
        assert!(tcp::ask(&outside, (host, 9090)).is_err());
        assert!(udp::ask(&outside, (host, 9091)).is_err());
        assert!(sctp::ask(&outside, (host, 9092)).is_err());
        eventually!(within 3 s, ending.say("after").is_err());
        kept.say("still there").unwrap();
        outbound.say("still there").unwrap();
        kept.say("and still").unwrap();
    }
}

#[test]
fn a_client_that_was_already_sending_gets_through_when_the_port_opens() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let web = scene.container("blue", "web", &[]);
    let _server = Server::serve(&web.netns, &web.addresses(), 80);
    let talkers =
        scene.host_addresses().map(|host| Talker::open(&scene.outside.netns(), SocketAddr::new(host, 8080)));
    // The host remembers that it has nobody to give this to, as long as they do not fall silent.
    assert!(talkers.iter().all(|talker| talker.say().is_err()));
    scene.hnsd.hnsctl(&["policy", "add", "web", "-p", "8080:80/udp"]);
    for talker in talkers {
        eventually!(talker.say());
    }
}

/// Stories that measure time or count every packet.
mod alone {
    use super::*;

    #[test]
    fn changes_of_mappings_cost_other_traffic_no_packet() {
        needs!(root, "nft");
        let scene = Scene::new();
        scene.network("blue", 7, &[]);
        let web = scene.container("blue", "web", &["-p", "8080:80", "-p", "8080:80/udp"]);
        let _server = Server::serve(&web.netns, &web.addresses(), 80);
        let _lan = Server::serve(&scene.outside.netns(), &scene.outside.addresses(), 80);
        let outside = scene.outside.netns();
        for (host, client) in scene.host_addresses().into_iter().zip(scene.outside.addresses()) {
            eventually!(udp::ask(&outside, (host, 8080)));
            let inbound = udp::Stream::start(&outside, (host, 8080), 1000);
            let outbound = udp::Stream::start(&web.netns, (client, 80), 1000);
            let mut talk = eventually!(tcp::Conversation::open(&outside, (host, 8080)));
            let done = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&done);
            // Always one of the two is speaking.
            let talker = std::thread::spawn(move || {
                while !flag.load(Ordering::Acquire) {
                    talk.say("on and on")?;
                }
                talk.say("the end")
            });
            for _ in 0..10 {
                scene.hnsd.hnsctl(&["policy", "add", "web", "-p", "9090:80", "-p", "9090:80/udp"]);
                scene.hnsd.hnsctl(&["policy", "rm", "web", "-p", "9090:80", "-p", "9090:80/udp"]);
            }
            done.store(true, Ordering::Release);
            talker.join().unwrap().unwrap();
            for report in [inbound.stop(), outbound.stop()] {
                assert_eq!(report.lost, 0, "{report:?}");
            }
        }
    }
}

/// As on every network with a way out; where a family is routed, its policy says who meets the host's address instead.
#[test]
fn a_policy_says_whom_a_container_meets_by_its_own_address() {
    needs!(root, "nft", "ping");
    let scene = Scene::new();
    let client = scene.lab.host("client");
    let via = scene.host.addresses();
    for (number, mode) in [(7, "nat"), (8, "routed")] {
        let name = format!("net{number}");
        let subnet = format!("10.{number}.0.0/24");
        let document = json!({"Name": name, "Type": "NAT", "AdditionalParams": {"GatewayMode": mode},
            "Ipams": [{"Subnets": [{"IpAddressPrefix": subnet}]}]});
        let _made =
            scene.hnsd.api().post("/v2/networks", &document).expect("the daemon answers").expect_success();
        let web = scene.container(&name, &format!("web{number}"), &[]);
        client.sh(&format!("ip route add {subnet} via {}", via[0]));
        let at = IpAddr::from(client.v4());
        let _server = tcp::Echo::serve(&client.netns(), (at, 80));
        let seen = || tcp::ask(&web.netns, (at, 80)).map(|seen| seen.ip());
        let unsaid = if mode == "nat" { via[0] } else { web.v4().into() };
        eventually!(seen().is_ok_and(|seen| seen == unsaid));
        let kept = json!([{"Type": "OutBoundNAT", "Settings": {"Exceptions": [format!("{at}/32")]}}]);
        let _changed = modify_policies(&scene.hnsd, &web, "Update", &kept);
        eventually!(seen().is_ok_and(|seen| seen == IpAddr::from(web.v4())));
        let narrow = json!([{"Type": "OutBoundNAT", "Settings": {"Destinations": [format!("{at}/32")]}}]);
        let _changed = modify_policies(&scene.hnsd, &web, "Update", &narrow);
        eventually!(seen().is_ok_and(|seen| seen == via[0]));
    }
}
