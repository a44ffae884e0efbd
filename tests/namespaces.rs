//! Endpoints and the namespaces they join: made apart, put together, taken apart again.

use std::net::{IpAddr, SocketAddr};

use hns_testbed::{FAR_V4, FAR_V6, Hnsd, Host, Lab, eventually, needs, tcp, udp};
use hns_tests::story_support::{Proto, Row, Scene, Server, check, text};
use serde_json::{Value, json};

/// HNS's endpoint states.
const CREATED: u64 = 1;
const ATTACHED: u64 = 3;
const DETACHED: u64 = 4;

/// The interfaces of a namespace but `lo`, in order.
fn interfaces(host: &Host, netns: &str) -> Vec<String> {
    let shown = host.sh(&format!("ip -n {netns} -o link show"));
    let names = shown.lines().filter_map(|line| line.split(':').nth(1)?.trim().split('@').next());
    names.filter(|name| *name != "lo").map(str::to_owned).collect()
}

/// The interface that has the best default route.
fn way_out(host: &Host, netns: &str, family: &str) -> String {
    let far = if family == "-4" { FAR_V4.to_string() } else { FAR_V6.to_string() };
    let shown = host.sh(&format!("ip {family} -n {netns} route get {far} || true"));
    shown.split(" dev ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default().to_owned()
}

#[test]
fn create_attach_detach_and_delete_are_four_operations() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let (hnsd, host) = (&scene.hnsd, &scene.host);
    let web = host.add_netns("web");
    let made =
        hnsd.hnsctl_json(&["endpoint", "create", "--network", "blue", "--name", "web", "-p", "8080:80"]);
    let id = text(&made, "ID");
    let state = || scene.get(&format!("/v2/endpoints/{id}"))["State"].clone();
    assert_eq!((made["State"].clone(), interfaces(host, "web")), (json!(CREATED), vec![]));
    // Policies are set before the first packet, addresses are given, and nothing is there to answer.
    let addresses = made["IpConfigurations"].clone();
    assert_eq!(addresses.as_array().map(Vec::len), Some(2));
    hnsd.hnsctl(&["policy", "add", "web", "-p", "8081:80"]);
    hnsd.hnsctl(&["namespace", "create", "pod", "--path", "/run/netns/web"]);
    let client = scene.outside.netns();
    for round in 0..2 {
        assert!(tcp::ask(&client, (host.v4(), 8080)).is_err(), "round {round}");
        hnsd.hnsctl(&["endpoint", "attach", "web", "pod"]);
        // Clients repeat the call when they retry.
        hnsd.hnsctl(&["endpoint", "attach", "web", "pod"]);
        assert_eq!((state(), interfaces(host, "web")), (json!(ATTACHED), vec!["eth0".to_owned()]));
        let servers = ["0.0.0.0:80", "[::1]:80"].map(|at| tcp::Echo::serve(&web, at));
        for port in [8080, 8081] {
            assert_eq!(
                eventually!(tcp::ask(&client, (host.v4(), port))).ip(),
                IpAddr::from(scene.outside.v4())
            );
        }
        drop(servers);
        hnsd.hnsctl(&["endpoint", "detach", "web"]);
        assert_eq!(state(), json!(DETACHED));
        eventually!(interfaces(host, "web").is_empty());
        assert_eq!(scene.get(&format!("/v2/endpoints/{id}"))["IpConfigurations"], addresses);
    }
    hnsd.hnsctl(&["endpoint", "attach", "web", "pod"]);
    hnsd.hnsctl(&["endpoint", "rm", "web"]);
    eventually!(interfaces(host, "web").is_empty());
    // What it held is free for the next.
    let ip = text(&addresses[0], "IpAddress");
    hnsd.hnsctl(&["endpoint", "create", "--network", "blue", "--ip", &ip, "-p", "8080:80"]);
}

#[test]
fn a_namespace_is_given_by_path_or_process_or_made_for_the_caller() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let (hnsd, host) = (&scene.hnsd, &scene.host);
    let _given = host.add_netns("given");
    let process = host.spawn(&["unshare", "--net", "sh", "-c", "echo up; cat /dev/zero > /dev/null"]);
    eventually!(process.output().contains("up"));
    let pid = process.pid_in_host().to_string();
    let by_path = hnsd.hnsctl_json(&["namespace", "create", "by-path", "--path", "/run/netns/given"]);
    let by_pid = hnsd.hnsctl_json(&["namespace", "create", "by-pid", "--pid", &pid]);
    let ours = hnsd.hnsctl_json(&["namespace", "create", "ours"]);
    let path = |document: &Value| text(&document["AdditionalParams"], "Path");
    assert_eq!(path(&by_path), "/run/netns/given");
    let made = path(&ours);
    assert!(made.starts_with(&hnsd.run_dir().display().to_string()), "{made}");
    assert!(made.to_lowercase().contains(&text(&ours, "ID").to_lowercase()), "{made}");

    for (name, path) in
        [("by-path", "/run/netns/given".to_owned()), ("by-pid", path(&by_pid)), ("ours", made.clone())]
    {
        let made = hnsd.hnsctl_json(&[
            "endpoint",
            "create",
            "--network",
            "blue",
            "--name",
            name,
            "--namespace",
            name,
        ]);
        assert_eq!(text(&made, "HostComputeNamespace"), text(&scene_namespace(&scene, name), "ID"));
        // `lo` is up too, whoever made the namespace.
        let up = host.sh(&format!("nsenter --net={path} ip -o link show up"));
        assert!(up.contains(": lo:") && up.contains(": eth0@"), "{name}: {up}");
        for address in made["IpConfigurations"].as_array().unwrap() {
            eventually!(host.ping(text(address, "IpAddress").parse::<IpAddr>().unwrap()));
        }
        let listed = scene_namespace(&scene, name)["Resources"].to_string();
        assert!(listed.contains(&text(&made, "ID")), "{listed}");
        // Endpoints stay, detached; so does a namespace that was given.
        hnsd.hnsctl(&["namespace", "rm", name]);
        eventually!(scene.get(&format!("/v2/endpoints/{}", text(&made, "ID")))["State"] == json!(DETACHED));
    }
    assert!(!host.try_sh(&format!("test -e {made}")).success());
    // The link itself goes a moment after the answer.
    eventually!(interfaces(host, "given").is_empty());
    assert!(!hnsd.try_hnsctl(&["namespace", "create", "--path", "/run/netns/nobody"]).success());
    assert!(!hnsd.try_hnsctl(&["namespace", "create", "--pid", "999999"]).success());
}

fn scene_namespace(scene: &Scene, name: &str) -> Value {
    scene.hnsd.hnsctl_json(&["namespace", "inspect", name])
}

#[test]
fn of_several_endpoints_the_highest_priority_gives_the_way_out() {
    needs!(root, "nft");
    let scene = Scene::new();
    for (number, network) in (7..).zip(["blue", "green", "red"]) {
        scene.network(network, number, &[]);
    }
    let (hnsd, host) = (&scene.hnsd, &scene.host);
    let _far = Server::serve(&scene.lab.router().netns(), &[FAR_V4.into(), FAR_V6.into()], 80);
    let first = scene.container("blue", "pod", &[]);
    let leaves_by = |expected: &str| {
        for (family, far) in [("-4", IpAddr::from(FAR_V4)), ("-6", FAR_V6.into())] {
            eventually!(within 1 s, {
                let way = way_out(host, "pod", family);
                if way == expected { Ok(()) } else { Err(format!("{way}, not {expected}")) }
            });
            eventually!(tcp::ask(&first.netns, (far, 80)));
        }
    };
    leaves_by("eth0");
    // Equals: who came first.
    scene.endpoint("green", "second", "pod", &first.netns, &[]);
    leaves_by("eth0");
    scene.endpoint("red", "third", "pod", &first.netns, &["--gateway-priority", "10"]);
    leaves_by("eth2");
    assert_eq!(interfaces(host, "pod"), ["eth0", "eth1", "eth2"]);
    hnsd.hnsctl(&["endpoint", "detach", "third"]);
    leaves_by("eth0");
    hnsd.hnsctl(&["endpoint", "detach", "pod"]);
    leaves_by("eth1");
    hnsd.hnsctl(&["endpoint", "attach", "third", "pod"]);
    let third = host.sh("ip -n pod -o -4 addr show | grep 10.9.0.");
    leaves_by(third.split_whitespace().nth(1).unwrap());
    // The lowest of all never gives the way out while another does.
    scene.endpoint("blue", "last", "pod", &first.netns, &["--gateway-priority", "-5"]);
    leaves_by(third.split_whitespace().nth(1).unwrap());
}

#[test]
fn interfaces_have_the_names_that_were_asked_for() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let pod = scene.container("blue", "pod", &["--interface", "uplink0"]);
    let more = |name: &str, options: &[&str]| scene.endpoint("blue", name, "pod", &pod.netns, options);
    more("second", &[]);
    more("third", &["--interface", "a23456789012345"]);
    let mut names = interfaces(&scene.host, "pod");
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(
        names.contains(&"uplink0".to_owned()) && names.contains(&"a23456789012345".to_owned()),
        "{names:?}"
    );
    let words = ["endpoint", "create", "--network", "blue", "--namespace", "pod", "--interface"];
    for taken_or_wrong in ["uplink0", "a234567890123456", "with space", "."] {
        let refused = scene.hnsd.try_hnsctl(&[&words[..], &[taken_or_wrong]].concat());
        assert!(!refused.success(), "{taken_or_wrong}");
    }
    // A name that somebody else took in the meantime is left alone.
    scene.host.sh("ip -n pod link add mine type veth peer name other");
    assert!(!scene.hnsd.try_hnsctl(&[&words[..], &["mine"]].concat()).success());
    assert_eq!(interfaces(&scene.host, "pod").len(), 5);
}

#[test]
fn addresses_and_macs_can_be_fixed() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let fixed = ["--ip", "10.7.0.77", "--ip", "fd00:7::77", "--mac", "02:00:00:00:77:77"];
    let pod = scene.container("blue", "pod", &fixed);
    let peer = scene.container("blue", "peer", &[]);
    let shown = scene.host.sh("ip -n pod addr show dev eth0");
    for part in ["link/ether 02:00:00:00:77:77", "inet 10.7.0.77/24", "inet6 fd00:7::77/64"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    // Usable at once: no time is spent on looking for duplicates.
    assert!(!shown.contains("tentative"), "{shown}");
    for to in pod.addresses() {
        eventually!(peer.netns.ping(to));
    }
    for taken in [["--ip", "10.7.0.77"], ["--ip", "fd00:7::77"], ["--mac", "02:00:00:00:77:77"]] {
        let refused =
            scene.hnsd.try_hnsctl(&[&["endpoint", "create", "--network", "blue"], &taken[..]].concat());
        assert!(!refused.success(), "{taken:?}");
    }
}

#[test]
fn an_endpoint_joins_the_hosts_own_namespace() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let peer = scene.container("blue", "peer", &[]);
    scene.hnsd.hnsctl(&["namespace", "create", "the-host", "--host-default"]);
    let netns = scene.host.netns();
    let words = ["--interface", "router0"];
    let router = scene.endpoint("blue", "router", "the-host", &netns, &words);
    assert!(scene.host.links().contains(&"router0".to_owned()), "{:?}", scene.host.links());
    for to in router.addresses() {
        eventually!(peer.netns.ping(to));
    }
    // The host's own ways stay as they were.
    for to in peer.addresses() {
        eventually!(scene.host.ping(to));
    }
    eventually!(scene.host.ping(FAR_V4) && scene.host.ping(FAR_V6));
    scene.hnsd.hnsctl(&["endpoint", "rm", "router"]);
    eventually!(!scene.host.links().contains(&"router0".to_owned()));
}

#[test]
fn neighbours_are_told_of_a_new_address() {
    needs!(root, "nft", "tcpdump");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let _neighbour = scene.container("blue", "neighbour", &[]);
    let words = ["ip", "netns", "exec", "neighbour", "tcpdump", "-U", "-lenn", "-i", "eth0", "arp or icmp6"];
    let capture = scene.host.spawn(&words);
    eventually!(capture.output().contains("listening on"));
    let pod = scene.container("blue", "pod", &[]);
    let (mac, v4, v6) =
        (text(&pod.document, "MacAddress").replace('-', ":").to_lowercase(), pod.v4(), pod.v6());
    eventually!({
        let seen = capture.output().to_lowercase();
        let arp = seen.lines().any(|l| {
            l.contains(&mac)
                && (l.contains(&format!("who-has {v4} ")) || l.contains(&format!("announcement {v4}")))
        });
        let na = seen
            .lines()
            .any(|l| l.contains(&mac) && l.contains("neighbor advertisement") && l.contains(&v6.to_string()));
        if arp && na { Ok(()) } else { Err(seen) }
    });
}

#[test]
fn statistics_count_what_an_endpoint_sends_and_receives() {
    needs!(root, "nft", "ping");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let pod = scene.container("blue", "pod", &[]);
    let stats = || scene.hnsd.hnsctl_json(&["endpoint", "stats", "pod"]);
    let number =
        |stats: &Value, field: &str| stats[field].as_u64().unwrap_or_else(|| panic!("{field} in {stats}"));
    let before = stats();
    // Nobody has this address, so next to nothing comes back.
    let _nobody_answers =
        scene.host.try_sh("ip netns exec pod ping -q -n -c 20 -i 0.01 -W 1 -s 1000 198.51.100.77");
    let after = stats();
    let grown = |field: &str| number(&after, field) - number(&before, field);
    assert!(grown("PacketsSent") >= 20 && grown("BytesSent") >= 20_000, "{before} {after}");
    assert!(grown("BytesReceived") < 15_000, "{before} {after}");
    eventually!(scene.host.ping(pod.v4()));
    assert!(number(&stats(), "PacketsReceived") > number(&after, "PacketsReceived"));
}

#[test]
fn a_network_can_have_ipv6_only() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.hnsd.hnsctl(&["network", "create", "six", "--no-ipv4", "--subnet", "fd00:7::/64"]);
    let web = scene.container("six", "web", &["-p", "8080:80"]);
    let app = scene.container("six", "app", &[]);
    assert_eq!(web.addresses().len(), 1);
    let _server = Server::serve(&web.netns, &web.addresses(), 80);
    let _far = Server::serve(&scene.lab.router().netns(), &[FAR_V6.into()], 80);
    let (v6, own) = (IpAddr::from(scene.host.v6()), IpAddr::from(scene.outside.v6()));
    let row = |from, who, to, seen| Row { from, who, proto: Proto::Tcp, to, seen };
    let at = |ip: IpAddr, port| SocketAddr::new(ip, port);
    check(&[
        row(scene.outside.netns(), "outside", at(v6, 8080), Some(own)),
        row(app.netns.clone(), "a neighbour", at(web.v6().into(), 80), Some(app.v6().into())),
        row(app.netns.clone(), "a container", at(FAR_V6.into(), 80), Some(v6)),
        // The mapping is for a family that the endpoint has.
        row(scene.outside.netns(), "outside", at(scene.host.v4().into(), 8080), None),
    ]);
    assert_eq!(scene.host.sh("ip -n web -4 addr show dev eth0"), "");
}

#[test]
fn an_ipv6_prefix_is_chosen_and_kept() {
    needs!(root, "nft");
    let mut scene = Scene::new();
    let made = scene.hnsd.hnsctl_json(&["network", "create", "blue", "--subnet", "10.7.0.0/24", "--ipv6"]);
    let prefixes = |network: &Value| -> Vec<String> {
        let subnets = network["Ipams"][0]["Subnets"].as_array().unwrap().clone();
        subnets.iter().map(|subnet| text(subnet, "IpAddressPrefix")).collect()
    };
    let chosen = prefixes(&made).into_iter().find(|prefix| prefix.contains(':')).unwrap();
    assert!(chosen.starts_with("fd") && chosen.ends_with("/64"), "{chosen}");
    let web = scene.container("blue", "web", &["-p", "8080:80"]);
    let _server = Server::serve(&web.netns, &web.addresses(), 80);
    let client = scene.outside.netns();
    eventually!(tcp::ask(&client, (scene.host.v6(), 8080)));
    scene.hnsd.restart();
    let again = scene.get(&format!("/v2/networks/{}", text(&made, "ID")));
    assert_eq!(prefixes(&again), prefixes(&made));
}

/// Sends a router advertisement to the LAN, with a lifetime in seconds.
fn advertise(lab: &Lab, lifetime: u16) {
    let [high, low] = lifetime.to_be_bytes();
    lab.router().sh(&format!(
        r"printf '\206\000\000\000\100\000\{high:03o}\{low:03o}\000\000\000\000\000\000\000\000' |
          socat -u - IP6-SENDTO:[ff02::1%br0]:58,setsockopt-int=41:18:255"
    ));
}

#[test]
fn a_host_that_gets_its_route_by_advertisements_keeps_it() {
    needs!(root, "nft", "socat");
    let lab = Lab::new();
    let host = lab.host("host");
    let learned = || host.sh("ip -6 route show default proto ra").contains("via fe80");
    host.sh(
        "ip -6 route del default; sysctl -qw net.ipv6.conf.eth0.accept_ra=1 net.ipv6.conf.eth0.forwarding=0",
    );
    eventually!({
        advertise(&lab, 1800);
        learned()
    });
    assert_eq!(host.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").trim(), "0");
    let hnsd = Hnsd::start(&host);
    hnsd.hnsctl(&["network", "create", "blue", "--subnet", "fd00:7::/64", "--no-ipv4"]);
    assert_eq!(host.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").trim(), "1");
    assert_eq!(host.sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra").trim(), "2");
    // It was not lost for a moment, and the next advertisements are still heard: the end of it, and a new one.
    assert!(learned());
    eventually!(host.ping(FAR_V6));
    for (lifetime, expected) in [(0, false), (1800, true)] {
        eventually!({
            advertise(&lab, lifetime);
            learned() == expected
        });
    }
}

#[test]
fn the_first_start_makes_a_network_that_works() {
    needs!(root, "nft");
    let lab = Lab::new();
    let (host, outside) = (lab.host("host"), lab.host("outside"));
    let mut hnsd = Hnsd::start(&host);
    let nat = hnsd.hnsctl_json(&["network", "inspect", "nat"]);
    assert_eq!(text(&nat, "Type"), "NAT");
    assert_eq!(text(&nat["Ipams"][0]["Subnets"][0], "IpAddressPrefix"), "172.16.0.0/16");
    let web = host.add_netns("web");
    hnsd.hnsctl(&["namespace", "create", "web", "--path", "/run/netns/web"]);
    let words =
        ["endpoint", "create", "--network", "nat", "--name", "web", "--namespace", "web", "-p", "8080:80"];
    let made = hnsd.hnsctl_json(&words);
    assert!(text(&made["IpConfigurations"][0], "IpAddress").starts_with("172.16."), "{made}");
    let _server = tcp::Echo::serve(&web, "0.0.0.0:80");
    for (from, to) in
        [(&host, IpAddr::from([127, 0, 0, 1])), (&host, host.v4().into()), (&outside, host.v4().into())]
    {
        eventually!(tcp::ask(&from.netns(), (to, 8080)));
    }
    let shown = hnsd.hnsctl_json(&["endpoint", "inspect", "web"])["Policies"].clone();
    assert_eq!(
        (&shown[0]["Settings"]["ExternalPort"], &shown[0]["Settings"]["InternalPort"]),
        (&json!(8080), &json!(80))
    );
    // Whoever deletes it means it.
    hnsd.hnsctl(&["network", "rm", "--force", "nat"]);
    hnsd.restart();
    assert!(!hnsd.try_hnsctl(&["network", "inspect", "nat"]).success());
}

#[test]
fn a_network_lives_its_whole_life_twice() {
    needs!(root, "nft");
    let scene = Scene::new();
    let before = scene.host.links();
    for round in 0..2 {
        scene.network("blue", 7, &[]);
        let name = format!("web{round}");
        let web = scene.container("blue", &name, &["-p", "8080:80"]);
        let _server = Server::serve(&web.netns, &web.addresses(), 80);
        for host in scene.host_addresses() {
            eventually!(tcp::ask(&scene.outside.netns(), (host, 8080)));
        }
        scene.hnsd.hnsctl(&["endpoint", "detach", &name]);
        assert!(tcp::ask(&scene.outside.netns(), (scene.host.v4(), 8080)).is_err());
        scene.hnsd.hnsctl(&["endpoint", "attach", &name, &name]);
        for host in scene.host_addresses() {
            eventually!(tcp::ask(&scene.outside.netns(), (host, 8080)));
        }
        assert!(!scene.hnsd.try_hnsctl(&["network", "rm", "blue"]).success());
        scene.hnsd.hnsctl(&["endpoint", "rm", &name]);
        scene.hnsd.hnsctl(&["namespace", "rm", &name]);
        scene.hnsd.hnsctl(&["network", "rm", "blue"]);
        eventually!(if scene.host.links() == before { Ok(()) } else { Err(scene.host.links()) });
    }
}

/// Stories that measure time or count every packet.
mod alone {
    use super::*;

    #[test]
    fn a_second_endpoint_joins_without_a_lost_packet_on_the_first() {
        needs!(root, "nft");
        let scene = Scene::new();
        scene.network("blue", 7, &[]);
        scene.network("green", 8, &[]);
        let web = scene.container("blue", "web", &["-p", "8080:80/udp"]);
        let _server = Server::serve(&web.netns, &web.addresses(), 80);
        for host in scene.host_addresses() {
            let to = SocketAddr::new(host, 8080);
            eventually!(udp::ask(&scene.outside.netns(), to));
            let stream = udp::Stream::start(&scene.outside.netns(), to, 1000);
            for _ in 0..5 {
                scene.endpoint("green", "second", "web", &web.netns, &["-p", "9090:80"]);
                scene.hnsd.hnsctl(&["endpoint", "rm", "second"]);
            }
            let report = stream.stop();
            assert_eq!(report.lost, 0, "{report:?}");
        }
    }
}
