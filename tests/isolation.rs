//! Who does not reach whom: networks among each other, networks without a way out, endpoints that keep to themselves.

use std::net::{IpAddr, SocketAddr};

use hns_testbed::{FAR_V4, FAR_V6, Netns, eventually, needs, raw, tcp};
use hns_tests::story_support::{Container, Proto, Row, Scene, Server, check};

/// Rows for every protocol and family, from one container to another's own port 80; `seen` says whether it is reached.
fn direct(from: &Container, who: &'static str, to: &Container, reached: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for to in to.addresses() {
        for proto in Proto::ALL {
            let seen = reached.then(|| from.like(to));
            rows.push(Row { from: from.netns.clone(), who, proto, to: SocketAddr::new(to, 80), seen });
        }
    }
    rows
}

/// Asks for echoes at all addresses at once, since those that must not come take a second each.
#[track_caller]
fn check_pings(pings: &[(&Netns, IpAddr, bool)]) {
    std::thread::scope(|scope| {
        for (from, to, expected) in pings {
            scope.spawn(move || {
                if *expected {
                    eventually!(from.ping(*to));
                } else {
                    assert!(!from.ping(*to), "ping {to}");
                }
            });
        }
    });
}

fn far(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { FAR_V4.into() } else { FAR_V6.into() }
}

/// Has the router of the LAN count what comes to it with an address of network 7.
fn count_leaks(scene: &Scene) {
    scene.lab.router().sh(
        "nft 'add table inet probe; add counter inet probe leaked; add chain inet probe pre { type filter hook prerouting priority -500; };
         add rule inet probe pre ip saddr 10.7.0.0/24 counter name leaked; add rule inet probe pre ip6 saddr fd00:7::/64 counter name leaked'",
    );
}

#[track_caller]
fn nothing_leaked(scene: &Scene) {
    let counted = scene.lab.router().sh("nft list counter inet probe leaked");
    assert!(counted.contains("packets 0"), "{counted}");
}

#[test]
fn two_nat_networks_meet_only_at_published_ports() {
    needs!(root, "nft", "ping");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    scene.network("green", 8, &[]);
    let web = scene.container("blue", "web", &["-p", "8080:80", "-p", "8080:80/udp", "-p", "8080:80/sctp"]);
    let app = scene.container("green", "app", &[]);
    let _servers = [&web, &app].map(|c| Server::serve(&c.netns, &c.addresses(), 80));
    let mut rows = direct(&app, "app", &web, false);
    rows.extend(direct(&web, "web", &app, false));
    for to in scene.host_addresses() {
        for proto in Proto::ALL {
            let (from, seen) = (app.netns.clone(), Some(app.like(to)));
            rows.push(Row { from, who: "app", proto, to: SocketAddr::new(to, 8080), seen });
        }
    }
    check(&rows);
    let pings = web.addresses().into_iter().map(|to| (&app.netns, to, false));
    check_pings(
        &pings.chain(app.addresses().into_iter().map(|to| (&web.netns, to, false))).collect::<Vec<_>>(),
    );
}

#[test]
fn members_of_a_network_reach_each_other() {
    needs!(root, "nft", "ping");
    for options in [&[][..], &["--type", "internal"], &["--type", "private"]] {
        let scene = Scene::new();
        scene.network("blue", 7, options);
        let (one, two) = (scene.container("blue", "one", &[]), scene.container("blue", "two", &[]));
        let _server = Server::serve(&two.netns, &two.addresses(), 80);
        check(&direct(&one, "one", &two, true));
        check_pings(&two.addresses().into_iter().map(|to| (&one.netns, to, true)).collect::<Vec<_>>());
    }
}

#[test]
fn nothing_leaves_an_internal_network() {
    needs!(root, "nft", "ping");
    let scene = Scene::new();
    scene.network("quiet", 7, &["--type", "internal"]);
    scene.network("nat", 8, &[]);
    let inside = scene.container("quiet", "inside", &[]);
    let other = scene.container("nat", "other", &["-p", "8080:80"]);
    let _servers = [&inside, &other].map(|c| Server::serve(&c.netns, &c.addresses(), 80));
    let _far = Server::serve(&scene.lab.router().netns(), &[FAR_V4.into(), FAR_V6.into()], 80);
    for family in ["-4", "-6"] {
        let routes = scene.host.sh(&format!("ip {family} -n inside route show default"));
        assert_eq!(routes, "", "T-INT-1");
    }
    // T-INT-4: a default route made by hand does not help; and nobody gets in by a route of his own.
    scene.host.sh("ip -n inside route add default via 10.7.0.1
         ip -n inside -6 route add default via fd00:7::1");
    scene.outside.sh(&format!(
        "ip route add 10.7.0.0/24 via {}; ip -6 route add fd00:7::/64 via {}",
        scene.host.v4(),
        scene.host.v6()
    ));
    count_leaks(&scene);
    let mut rows = direct(&inside, "inside", &other, false);
    rows.extend(direct(&other, "other", &inside, false));
    let mut pings = Vec::new();
    for to in inside.addresses() {
        for proto in Proto::ALL {
            let (leaver, intruder) = (inside.netns.clone(), scene.outside.netns());
            rows.push(Row {
                from: leaver,
                who: "inside",
                proto,
                to: SocketAddr::new(far(to), 80),
                seen: None,
            });
            rows.push(Row { from: intruder, who: "the LAN", proto, to: SocketAddr::new(to, 80), seen: None });
            let seen = Some(if to.is_ipv4() { [10, 7, 0, 1].into() } else { "fd00:7::1".parse().unwrap() });
            let (from, to) = (scene.host.netns(), SocketAddr::new(to, 80));
            rows.push(Row { from, who: "the host", proto, to, seen });
        }
        let host = scene.host_addresses()[usize::from(to.is_ipv6())];
        let (from, to8080) = (inside.netns.clone(), SocketAddr::new(host, 8080));
        rows.push(Row {
            from,
            who: "inside, a published port of another network",
            proto: Proto::Tcp,
            to: to8080,
            seen: None,
        });
        pings.push((inside.netns.clone(), far(to), false));
        pings.push((inside.netns.clone(), other.like(to), false));
        pings.push((scene.host.netns(), to, true));
    }
    check(&rows);
    check_pings(&pings.iter().map(|(from, to, expected)| (from, *to, *expected)).collect::<Vec<_>>());
    nothing_leaked(&scene);
}

/// Flags that no connection has are not translated, so they do not leave either.
#[test]
fn what_belongs_to_no_connection_does_not_leave_untranslated() {
    needs!(root, "nft", "ping");
    let scene = Scene::new();
    let network = scene.network("blue", 7, &[]);
    let app = scene.container("blue", "app", &[]);
    count_leaks(&scene);
    for to in [FAR_V4.into(), IpAddr::from(FAR_V6)] {
        eventually!(app.netns.ping(to));
    }
    let switch = raw::mac_of(&scene.host.netns(), &scene.switch(&network));
    let link = raw::Link { to: switch, from: app.mac() };
    let injector = raw::Injector::open(&app.netns, "eth0");
    // Nothing, SYN with FIN, SYN with RST, everything.
    let flags = [0x00, 0x03, 0x06, 0x3f];
    for flags in flags {
        for (from, to) in app.addresses().into_iter().zip([FAR_V4.into(), IpAddr::from(FAR_V6)]) {
            let packet = raw::tcp((from, 4000), (to, 80), flags);
            injector.send(&link.packet(&packet)).expect("the interface is up");
        }
    }
    let counter = || scene.host.sh("nft list counter inet hns invalid_drops");
    let all = format!("packets {} ", 2 * flags.len());
    eventually!(if counter().contains(&all) { Ok(()) } else { Err(counter()) });
    nothing_leaked(&scene);
}

#[test]
fn the_host_is_not_on_a_private_network() {
    needs!(root, "nft", "ping");
    let scene = Scene::new();
    let network = scene.network("secret", 7, &["--type", "private"]);
    let (one, two) = (scene.container("secret", "one", &[]), scene.container("secret", "two", &[]));
    let _server = Server::serve(&two.netns, &two.addresses(), 80);
    let mut rows = direct(&one, "one", &two, true);
    // T-INT-3: not even when the host has an address there and routes there by hand.
    let switch = scene.switch(&network);
    assert_eq!(scene.host.sh(&format!("ip -o addr show dev {switch}")), "");
    assert_eq!(scene.host.sh(&format!("cat /proc/sys/net/ipv6/conf/{switch}/disable_ipv6")).trim(), "1");
    scene.host.sh(&format!(
        "sysctl -qw net.ipv6.conf.{switch}.disable_ipv6=0; ip link set {switch} arp on
         ip addr add 10.7.0.1/24 dev {switch}; ip addr add fd00:7::1/64 dev {switch} nodad"
    ));
    let mut pings = Vec::new();
    for to in two.addresses() {
        for proto in Proto::ALL {
            let (from, to) = (scene.host.netns(), SocketAddr::new(to, 80));
            rows.push(Row { from, who: "the host", proto, to, seen: None });
        }
        pings.push((scene.host.netns(), to, false));
        pings.push((one.netns.clone(), far(to), false));
    }
    check(&rows);
    check_pings(&pings.iter().map(|(from, to, expected)| (from, *to, *expected)).collect::<Vec<_>>());
}

/// Quiet and normal endpoints on one network, with everything that must and must not pass.
struct QuietHouse {
    scene: Scene,
    quiet: [Container; 2],
    normal: Container,
    servers: Vec<Server>,
    /// Where bridged frames pass the IP rules, what a container sends to a published port of its own network is bridged
    /// on, and the bridge cannot tell it from what a quiet endpoint must not send.
    between: bool,
}

impl QuietHouse {
    fn new(scene: Scene, between: bool) -> Self {
        scene.network("blue", 7, &[]);
        let quiet = [("one", "8081"), ("two", "8082")].map(|(name, port)| {
            scene.container("blue", name, &["--disable-icc", "-p", &format!("{port}:80")])
        });
        let normal = scene.container("blue", "normal", &["-p", "8083:80"]);
        let all = [&quiet[0], &quiet[1], &normal];
        let servers = all.iter().map(|c| Server::serve(&c.netns, &c.addresses(), 80)).collect();
        Self { scene, quiet, normal, servers, between }
    }

    #[track_caller]
    fn check(&self) {
        let ([one, two], normal, scene) = (&self.quiet, &self.normal, &self.scene);
        assert_eq!(self.servers.len(), 3);
        let mut rows = direct(one, "quiet", two, false);
        rows.extend(direct(two, "quiet", one, false));
        rows.extend(direct(one, "quiet to normal", normal, false));
        rows.extend(direct(normal, "normal to quiet", one, false));
        let mut pings = Vec::new();
        for to in one.addresses() {
            let place = usize::from(to.is_ipv6());
            let (host, outside) = (scene.host_addresses()[place], scene.outside.addresses()[place]);
            for (port, container) in [(8081, one), (8082, two), (8083, normal)] {
                let to = SocketAddr::new(host, port);
                rows.push(Row {
                    from: scene.outside.netns(),
                    who: "outside",
                    proto: Proto::Tcp,
                    to,
                    seen: Some(outside),
                });
                rows.push(Row {
                    from: scene.host.netns(),
                    who: "the host",
                    proto: Proto::Tcp,
                    to,
                    seen: Some(host),
                });
                pings.push((container.netns.clone(), far(host), true));
                pings.push((scene.host.netns(), container.like(host), true));
            }
            let gateway =
                if to.is_ipv4() { [10, 7, 0, 1].into() } else { "fd00:7::1".parse().expect("an address") };
            // Published ports are open to everybody, to a quiet neighbour too.
            let between = [(one, "quiet", 8082), (one, "quiet", 8083), (normal, "normal", 8081)];
            for (from, who, port) in between.into_iter().filter(|_| self.between) {
                let (from, to) = (from.netns.clone(), SocketAddr::new(host, port));
                rows.push(Row { from, who, proto: Proto::Tcp, to, seen: Some(gateway) });
            }
            pings.push((one.netns.clone(), gateway, true));
            pings.push((one.netns.clone(), two.like(to), false));
            pings.push((normal.netns.clone(), to, false));
        }
        check(&rows);
        check_pings(&pings.iter().map(|(from, to, expected)| (from, *to, *expected)).collect::<Vec<_>>());
    }
}

#[test]
fn quiet_endpoints_talk_to_no_other_but_to_the_world() {
    needs!(root, "nft", "ping");
    let house = QuietHouse::new(Scene::new(), true);
    house.check();
    // Through the gateway, as if the other were not on the link: the host would route it back.
    for (name, other) in [("one", &house.quiet[1]), ("two", &house.quiet[0])] {
        let (v4, v6) = (other.v4(), other.v6());
        house.scene.host.sh(&format!(
            "ip -n {name} route add {v4}/32 via 10.7.0.1; ip -n {name} -6 route add {v6}/128 via fd00:7::1
             ip netns exec {name} sysctl -qw net.ipv4.conf.all.accept_redirects=0 net.ipv6.conf.all.accept_redirects=0"
        ));
    }
    house.check();
}

#[test]
fn quiet_endpoints_stay_quiet_while_bridged_frames_pass_the_ip_rules() {
    needs!(root, "nft", "ping");
    let scene = Scene::with(
        |host| {
            host.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1");
        },
        |hnsd| hnsd.arg("--bridge-netfilter").arg("keep"),
    );
    QuietHouse::new(scene, false).check();
}

#[test]
fn a_quiet_endpoint_that_goes_leaves_nothing_quiet_behind() {
    needs!(root, "nft", "ping");
    let house = QuietHouse::new(Scene::new(), true);
    for name in ["one", "two"] {
        house.scene.hnsd.hnsctl(&["endpoint", "rm", name]);
    }
    eventually!(within 2 s, !house.scene.host.sh("nft list set bridge hns quiet_ports").contains("hnv"));
    // Whoever gets their addresses next is as open as the others.
    let names = ["three", "four", "five"];
    let newcomers = names.map(|name| house.scene.container("blue", name, &[]));
    for newcomer in &newcomers {
        let to = SocketAddr::new(newcomer.v4().into(), 81);
        let _server = tcp::Echo::serve(&newcomer.netns, to);
        eventually!(tcp::ask(&house.normal.netns, to));
    }
}
