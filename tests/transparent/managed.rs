//! Addresses of IPv6 from the LAN's own DHCPv6 server, where its router says so: real dnsmasq and radvd.

use std::net::{IpAddr, Ipv6Addr};

use hns_testbed::{Finished, Host, eventually, needs, tcp};
use hns_tests::story_support::{Container, text};
use serde_json::{Value, json};

use crate::advertised::{Radvd, V6_ALONE, addresses, inside, made_of, shown};
use crate::leases::{Dnsmasq, WITH_DHCP};
use crate::stage::{Stage, container_at, dropped, network};

const RANGE: &str = "fd00:198:18::100,fd00:198:18::1ff";
const BOTH: &str = "fd00:198:18::100,fd00:198:18::1ff,slaac";

fn nth(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x198, 0x18, 0, 0, 0, 0, number)
}

fn is_of_range(address: Ipv6Addr) -> bool {
    (nth(0x100)..=nth(0x1ff)).contains(&address)
}

/// What the DHCPv6 server gave an endpoint.
fn leased(stage: &Stage, name: &str) -> Option<Ipv6Addr> {
    let shown = shown(stage, name);
    let address = shown["Health"]["Extra"]["Dhcp6Lease"]["Address"].as_str()?;
    address.strip_suffix("/128")?.parse().ok()
}

fn seconds_left(stage: &Stage, name: &str) -> Option<u64> {
    shown(stage, name)["Health"]["Extra"]["Dhcp6Lease"]["SecondsLeft"].as_u64()
}

fn last_error(stage: &Stage, name: &str) -> String {
    shown(stage, name)["Health"]["Data"]["LastError"].as_str().unwrap_or_default().to_owned()
}

/// With this MAC address, in a namespace that is there already.
fn create(stage: &Stage, network: &str, name: &str, mac: &str) -> Finished {
    let words =
        ["endpoint", "create", "--network", network, "--name", name, "--namespace", name, "--mac", mac];
    stage.here.try_hnsctl(&words)
}

fn add_namespace(stage: &Stage, name: &str) {
    let _netns = stage.here.host().add_netns(name);
    stage.here.hnsctl(&["namespace", "create", name, "--path", &format!("/run/netns/{name}")]);
}

#[test]
fn a_container_has_the_address_that_a_server_gives_and_the_routers_way() {
    needs!(root, "nft", "ping", "dnsmasq");
    let stage = Stage::bare();
    let server = Dnsmasq::serve_ipv6(stage.lab.router(), RANGE, &[]);
    network(&stage.here, "corp", &[&WITH_DHCP[..], &["--ipv6"]].concat());
    let web = container_at(&stage.here, "corp", "web_1", &[]);
    let own = leased(&stage, "web_1").expect("it is there when the container is");
    assert!(is_of_range(own), "{own}");
    assert_eq!(addresses(&stage, "web_1"), [web.v4().to_string(), own.to_string()]);
    assert_eq!(last_error(&stage, "web_1"), "");

    // What the server knows of it: an association and a client made of its MAC, and its name as a host's.
    let mac = web.mac().map(|octet| format!("{octet:02x}")).join(":");
    let lease = server.lease(own).expect("the server has noted it");
    assert_eq!(lease[3..], ["web-1", &format!("00:03:00:01:{mac}")]);

    // What the container has: that alone, the prefix on its link, and the router as its way out.
    let held = inside(&web, &["-o", "-6", "addr", "show", "eth0"]);
    assert!(held.contains(&format!("{own}/128")) && held.contains("valid_lft 1"), "{held}");
    assert_eq!(held.lines().count(), 2, "{held}");
    let routes = inside(&web, &["-6", "route"]);
    assert!(
        routes.contains("default via fe80::") && routes.contains("fd00:198:18::/64 dev eth0"),
        "{routes}"
    );

    // What is shown of it.
    let shown = shown(&stage, "web_1");
    assert_eq!(shown["Dns"]["Search"], json!(["corp.example", "lab.example"]));
    let lease = &shown["Health"]["Extra"]["Dhcp6Lease"];
    assert!(text(lease, "Server").starts_with("fe80::"), "{lease}");
    assert_eq!((&lease["Seconds"], &lease["Dns"]["ServerList"]), (&json!(120), &json!(["fd00:198:18::fd"])));
    assert_eq!(shown["Health"]["Extra"]["AdvertisedLease"]["Managed"], true);

    // The LAN and the host reach it, and it the LAN.
    let _page = tcp::Echo::serve(&web.netns, "[::]:80");
    let fetch = |host: &Host| tcp::ask(&host.netns(), (own, 80)).ok().map(|seen| seen.ip());
    for host in [&stage.client, stage.here.host(), stage.there.host()] {
        eventually!(fetch(host).is_some_and(|from| host.addresses().contains(&from)));
    }
    eventually!(web.netns.ping(nth(0xfe)));

    // It speaks under no other one, and is no server itself.
    inside(&web, &["addr", "add", "fd00:198:18::99/64", "dev", "eth0", "nodad"]);
    let mut ping = web.netns.command("ping");
    let ping = ping.args(["-n", "-c1", "-W1", "-I", "fd00:198:18::99", "fd00:198:18::fe"]).output();
    assert!(!ping.expect("ping runs").status.success());
    assert!(dropped(&stage.here, &web, "spoofed-ip") + dropped(&stage.here, &web, "spoofed-nd") > 0);

    // Detached it has none, and the server knows; attached again it has the same.
    stage.here.hnsctl(&["endpoint", "detach", "web_1"]);
    eventually!(server.lease(own).is_none());
    assert_eq!(addresses(&stage, "web_1"), [""; 0]);
    stage.here.hnsctl(&["endpoint", "attach", "web_1", "web_1"]);
    assert_eq!(leased(&stage, "web_1"), Some(own));
    eventually!(stage.client.ping(own));
    stage.here.hnsctl(&["endpoint", "rm", "web_1"]);
    eventually!(server.lease(own).is_none());
    assert!(server.process.output().contains("DHCPRELEASE(br0)"));
    // Made anew with the same MAC address it is the same client.
    let _made = create(&stage, "corp", "web_1", &mac.replace(':', "-")).expect_success();
    assert_eq!(leased(&stage, "web_1"), Some(own));
    stage.here.hnsctl(&["network", "rm", "--force", "corp"]);
    eventually!(server.lease(own).is_none());
    eventually!(!stage.here.host().links().iter().any(|link| link.starts_with("hn")));
}

/// The prefix is for autonomous addresses as well: a container has both, as a host of Linux would.
#[test]
fn beside_an_autonomous_prefix_there_are_both_addresses() {
    needs!(root, "nft", "ping", "dnsmasq");
    let stage = Stage::bare();
    let server = Dnsmasq::serve_ipv6(stage.lab.router(), BOTH, &[]);
    network(&stage.here, "six", &V6_ALONE);
    let web = container_at(&stage.here, "six", "web", &[]);
    let (own, given) = (made_of(&web), leased(&stage, "web").expect("the server gave one"));
    assert_eq!(addresses(&stage, "web"), [given, own].map(|address| address.to_string()));
    for address in [given, own] {
        eventually!(stage.client.ping(address) && stage.here.host().ping(address));
    }
    assert!(server.lease(given).is_some() && server.lease(own).is_none());
}

/// Half of two minutes later the server is asked for more, also by a daemon that was killed meanwhile.
#[test]
fn a_lease_is_kept_over_a_restart_and_renewed() {
    needs!(root, "nft", "ping", "dnsmasq");
    let mut stage = Stage::bare();
    let server = Dnsmasq::serve_ipv6(stage.lab.router(), RANGE, &[]);
    network(&stage.here, "six", &V6_ALONE);
    let web = container_at(&stage.here, "six", "web", &[]);
    let own = leased(&stage, "web").expect("the server gave one");
    stage.here.kill9();
    assert!(stage.client.ping(own));
    stage.here.start_again();
    assert_eq!(leased(&stage, "web"), Some(own));
    assert!(!server.process.output().contains("DHCPRENEW"));
    eventually!(within 30 s, seconds_left(&stage, "web").is_some_and(|left| left < 100));
    eventually!(within 60 s, seconds_left(&stage, "web").is_some_and(|left| left > 110));
    assert!(server.process.output().contains("DHCPRENEW(br0)"), "{}", server.process.output());
    assert_eq!((leased(&stage, "web"), last_error(&stage, "web")), (Some(own), String::new()));
    assert!(inside(&web, &["-6", "addr"]).contains(&format!("{own}/128")) && stage.client.ping(own));
}

#[test]
fn a_silent_server_is_an_error_or_a_trouble_until_it_answers() {
    needs!(root, "nft", "ping", "radvd", "dnsmasq");
    let stage = Stage::bare();
    let router = Radvd::leave_to_a_server(stage.lab.router(), "off");
    network(&stage.here, "six", &V6_ALONE);
    add_namespace(&stage, "web");
    let mac = "02-00-07-00-00-07";
    let said = create(&stage, "six", "web", mac).expect_failure();
    for word in [
        "six",
        "adapter eth0",
        "no DHCPv6 server answered within 7 s",
        "ff02::1:2",
        "asked 3 times",
        "port 547",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(stage.here.hnsctl_json(&["endpoint", "ls"]), Value::Array(vec![]));

    // With an address of its own it is there, and says what is missing.
    drop(router);
    let _router = Radvd::leave_to_a_server(stage.lab.router(), "on");
    let made = create(&stage, "six", "web", mac).expect_success();
    assert!(made.contains("fd00:198:18::7ff:fe00:7"), "{made}");
    let said = last_error(&stage, "web");
    assert!(said.contains("no DHCPv6 server answered"), "{said}");
    assert_eq!(shown(&stage, "web")["State"], 5);
    assert!(stage.client.ping("fd00:198:18::7ff:fe00:7".parse::<IpAddr>().expect("it is one")));
    let _server = Dnsmasq::give_ipv6(stage.lab.router(), RANGE);
    eventually!(within 60 s, leased(&stage, "web").is_some_and(is_of_range));
    let given = leased(&stage, "web").expect("it has one");
    eventually!(stage.client.ping(given));
    assert_eq!((last_error(&stage, "web"), &shown(&stage, "web")["State"]), (String::new(), &json!(3)));
}

#[test]
fn a_server_without_addresses_says_so() {
    needs!(root, "nft", "dnsmasq");
    let stage = Stage::bare();
    let _server = Dnsmasq::serve_ipv6(stage.lab.router(), "fd00:198:18::100,fd00:198:18::100", &[]);
    network(&stage.here, "six", &V6_ALONE);
    let _web: Container = container_at(&stage.here, "six", "web", &[]);
    assert_eq!(leased(&stage, "web"), Some(nth(0x100)));
    add_namespace(&stage, "db");
    let said = create(&stage, "six", "db", "02-00-07-00-00-07").expect_failure();
    assert!(said.contains("DHCPv6 server fe80::") && said.contains("NoAddrsAvail"), "{said}");
}

/// Somebody on the LAN has the first one that the server gives, and later all others that it comes to.
#[test]
fn an_address_that_somebody_has_is_declined_to_the_server() {
    needs!(root, "nft", "ping", "dnsmasq");
    let stage = Stage::bare();
    let server = Dnsmasq::serve_ipv6(stage.lab.router(), RANGE, &["--dhcp-sequential-ip"]);
    let take = |number: u16| stage.client.sh(&format!("ip addr add {}/64 dev eth0 nodad", nth(number)));
    take(0x101);
    network(&stage.here, "six", &V6_ALONE);
    let _web: Container = container_at(&stage.here, "six", "web", &[]);
    let own = leased(&stage, "web").expect("the server has others");
    assert!(is_of_range(own) && own != nth(0x101), "{own}");
    assert!(server.process.output().contains("DHCPDECLINE(br0)"), "{}", server.process.output());
    eventually!(stage.client.ping(own));
    for number in (0x100..=0x120).filter(|number| *number != 0x101 && nth(*number) != own) {
        take(number);
    }
    add_namespace(&stage, "db");
    let said = create(&stage, "six", "db", "02-00-07-00-00-07").expect_failure();
    assert!(said.contains("DHCPv6 server fe80::") && said.contains("has already"), "{said}");
}
