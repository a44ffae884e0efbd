//! Addresses of IPv6 made of what the LAN's routers advertise: real radvd and dnsmasq.

use std::net::{IpAddr, Ipv6Addr};

use hns_testbed::{Host, Process, eventually, needs, tcp};
use hns_tests::story_support::{Container, text};
use serde_json::Value;

use crate::leases::{Dnsmasq, WITH_DHCP};
use crate::stage::{Stage, container_at, dropped, network};

pub const V6_ALONE: [&str; 7] =
    ["--type", "transparent", "--interface", "eth0", "--dhcp", "--ipv6", "--no-ipv4"];
const PREFIX: [u16; 4] = [0xfd00, 0x198, 0x18, 0];

/// A router that advertises.
pub struct Radvd(Process);

impl Radvd {
    /// Its prefix is valid for so many seconds, and it advertises by itself hardly ever.
    fn advertise(router: &Host, seconds: u32) -> Self {
        let of_prefix = format!("AdvValidLifetime {seconds}; AdvPreferredLifetime {seconds};");
        Self::say(router, "", &of_prefix)
    }

    /// Says that a server gives addresses, and that the prefix is for others or not.
    pub fn leave_to_a_server(router: &Host, autonomous: &str) -> Self {
        Self::say(router, "AdvManagedFlag on;", &format!("AdvAutonomous {autonomous};"))
    }

    fn say(router: &Host, of_router: &str, of_prefix: &str) -> Self {
        let folder = router.folder();
        let text = format!(
            "interface br0 {{\n  AdvSendAdvert on;\n  MinRtrAdvInterval 1200;\n  MaxRtrAdvInterval 1800;\n{of_router}\n\
             prefix fd00:198:18::/64 {{ {of_prefix} }};\n\
             RDNSS fd00:198:18::fd {{ }};\n}};\n"
        );
        let settings = folder.join("radvd.conf");
        std::fs::write(&settings, text).expect("the host's folder can be written");
        let (settings, pid) =
            (settings.display().to_string(), folder.join("radvd.pid").display().to_string());
        let process = router.spawn(&[
            "radvd",
            "--nodaemon",
            "--logmethod=stderr",
            "--config",
            &settings,
            "--pidfile",
            &pid,
        ]);
        eventually!(folder.join("radvd.pid").exists());
        Self(process)
    }
}

/// The address that the container's MAC makes of the LAN's prefix.
pub fn made_of(container: &Container) -> Ipv6Addr {
    let [a, b, c, d, e, f] = container.mac().map(u16::from);
    let [p, q, r, s] = PREFIX;
    Ipv6Addr::new(p, q, r, s, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
}

pub fn shown(stage: &Stage, name: &str) -> Value {
    let shown = stage.here.hnsctl_json(&["endpoint", "inspect", name]);
    shown.as_array().map_or(&shown, |all| &all[0]).clone()
}

pub fn addresses(stage: &Stage, name: &str) -> Vec<String> {
    let shown = shown(stage, name);
    let all = shown["IpConfigurations"].as_array().cloned().unwrap_or_default();
    all.iter().map(|one| text(one, "IpAddress")).collect()
}

pub fn inside(container: &Container, words: &[&str]) -> String {
    let output = container.netns.command("ip").args(words).output().expect("ip runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_container_has_the_address_that_a_router_and_its_mac_make() {
    needs!(root, "nft", "ping", "radvd", "dnsmasq");
    let stage = Stage::bare();
    let _router = Radvd::advertise(stage.lab.router(), 3600);
    let server = Dnsmasq::serve(stage.lab.router(), "198.18.0.100,198.18.0.150");
    network(&stage.here, "corp", &[&WITH_DHCP[..], &["--ipv6"]].concat());
    let web = container_at(&stage.here, "corp", "web", &[]);
    let own = made_of(&web);
    assert_eq!(addresses(&stage, "web"), [web.v4().to_string(), own.to_string()]);
    assert!(server.lease(web.v4()).is_some());

    // What the container has: no more than that, and the router as its way out.
    let held = inside(&web, &["-o", "-6", "addr", "show", "eth0"]);
    assert!(held.contains(&format!("{own}/64")) && held.contains("valid_lft 3"), "{held}");
    assert_eq!(held.lines().count(), 2, "{held}");
    let route = inside(&web, &["-6", "route", "show", "default"]);
    let way_out = text(&shown(&stage, "web")["Health"]["Extra"]["AdvertisedLease"], "Router");
    assert!(way_out.starts_with("fe80::") && route.contains(&format!("via {way_out} dev eth0")), "{route}");

    // The LAN and the host reach it, and it the LAN.
    let _page = tcp::Echo::serve(&web.netns, "[::]:80");
    let fetch = |host: &Host| tcp::ask(&host.netns(), (own, 80)).ok().map(|seen| seen.ip());
    for host in [&stage.client, stage.here.host(), stage.there.host()] {
        eventually!(fetch(host).is_some_and(|from| host.addresses().contains(&from)));
    }
    eventually!(web.netns.ping(Ipv6Addr::new(0xfd00, 0x198, 0x18, 0, 0, 0, 0, 0xfe)));

    // It speaks under no other one.
    inside(&web, &["addr", "add", "fd00:198:18::99/64", "dev", "eth0", "nodad"]);
    let mut ping = web.netns.command("ping");
    let ping = ping.args(["-n", "-c1", "-W1", "-I", "fd00:198:18::99", "fd00:198:18::fe"]).output();
    assert!(!ping.expect("ping runs").status.success());
    assert!(dropped(&stage.here, &web, "spoofed-ip") + dropped(&stage.here, &web, "spoofed-nd") > 0);

    // Detached it has none; with its network all is gone.
    stage.here.hnsctl(&["endpoint", "detach", "web"]);
    assert_eq!(addresses(&stage, "web"), [""; 0]);
    stage.here.hnsctl(&["endpoint", "attach", "web", "web"]);
    assert!(addresses(&stage, "web").contains(&own.to_string()));
    stage.here.hnsctl(&["network", "rm", "--force", "corp"]);
    eventually!(!stage.here.host().links().iter().any(|link| link.starts_with("hn")));
}

/// A prefix that is valid for some seconds is asked for again while the router is there, also by a daemon that was not there all the time;
/// afterwards the address goes, and the endpoint says why.
#[test]
fn a_short_lifetime_is_refreshed_over_a_restart_and_ends_without_a_router() {
    needs!(root, "nft", "ping", "radvd");
    let mut stage = Stage::bare();
    let mut router = Radvd::advertise(stage.lab.router(), 8);
    network(&stage.here, "six", &V6_ALONE);
    let web = container_at(&stage.here, "six", "web", &[]);
    let own = made_of(&web);
    stage.here.restart();
    let left =
        |stage: &Stage| shown(stage, "web")["Health"]["Extra"]["AdvertisedLease"]["SecondsLeft"].as_u64();
    // It grows again: twice its time is over, and it is there.
    for _ in 0..2 {
        eventually!(within 20 s, left(&stage).is_some_and(|left| left <= 5));
        eventually!(within 20 s, left(&stage).is_some_and(|left| left >= 7));
    }
    assert!(stage.client.ping(own));
    router.0.kill9();
    eventually!(within 30 s, addresses(&stage, "web").is_empty());
    eventually!(!inside(&web, &["-6", "addr"]).contains("fd00:198:18:"));
    let said = || text(&shown(&stage, "web")["Health"]["Data"], "LastError");
    eventually!(said().contains("lease") || said().contains("router"));
    // And comes back with it.
    let _router = Radvd::advertise(stage.lab.router(), 3600);
    eventually!(within 60 s, addresses(&stage, "web") == [own.to_string()]);
    eventually!(stage.client.ping(own));
}

#[test]
fn without_a_router_an_endpoint_has_ipv4_alone_and_without_ipv4_it_is_refused() {
    needs!(root, "nft", "dnsmasq");
    let stage = Stage::bare();
    let server = Dnsmasq::serve(stage.lab.router(), "198.18.0.100,198.18.0.150");
    network(&stage.here, "corp", &[&WITH_DHCP[..], &["--ipv6"]].concat());
    network(&stage.here, "six", &V6_ALONE);
    let web = container_at(&stage.here, "corp", "web", &[]);
    assert_eq!(addresses(&stage, "web"), [web.v4().to_string()]);
    let said = text(&shown(&stage, "web")["Health"]["Data"], "LastError");
    assert!(said.contains("no IPv6 router answered within 5 s"), "{said}");
    eventually!(stage.client.ping(web.v4()));

    let _netns = stage.here.host().add_netns("db");
    stage.here.hnsctl(&["namespace", "create", "db", "--path", "/run/netns/db"]);
    let words = ["endpoint", "create", "--network", "six", "--name", "db", "--namespace", "db"];
    let said = stage.here.try_hnsctl(&words).expect_failure();
    for word in ["six", "adapter eth0", "no IPv6 router answered", "asked 3 times", "icmp6"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(stage.here.hnsctl_json(&["endpoint", "ls"]).as_array().map(Vec::len), Some(1));

    // A router that comes later is found, and its address is there beside the other one.
    drop(server);
    let _server = Dnsmasq::route(stage.lab.router(), "198.18.0.100,198.18.0.150", "fd00:198:18::");
    let both: [IpAddr; 2] = [web.v4().into(), made_of(&web).into()];
    eventually!(within 60 s, addresses(&stage, "web") == both.map(|address| address.to_string()));
    eventually!(both.iter().all(|address| stage.client.ping(*address)));
}

#[test]
fn an_address_that_somebody_on_the_lan_has_is_refused_by_name() {
    needs!(root, "nft", "radvd");
    let stage = Stage::bare();
    let _router = Radvd::advertise(stage.lab.router(), 3600);
    network(&stage.here, "six", &V6_ALONE);
    stage.client.sh("ip addr add fd00:198:18::7ff:fe00:7/64 dev eth0 nodad");
    let _netns = stage.here.host().add_netns("web");
    stage.here.hnsctl(&["namespace", "create", "web", "--path", "/run/netns/web"]);
    let create = |mac: &str| {
        let words =
            ["endpoint", "create", "--network", "six", "--name", "web", "--namespace", "web", "--mac", mac];
        stage.here.try_hnsctl(&words)
    };
    let said = create("02-00-07-00-00-07").expect_failure();
    assert!(said.contains("fd00:198:18::7ff:fe00:7, which") && said.contains("has already"), "{said}");
    assert_eq!(stage.here.hnsctl_json(&["endpoint", "ls"]), Value::Array(vec![]));
    let _made = create("02-00-07-00-00-08").expect_success();
}
