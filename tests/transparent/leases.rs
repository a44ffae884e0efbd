//! Addresses from the LAN's own DHCP server, which is a real dnsmasq.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hns_testbed::{Finished, Hnsd, Host, Process, eventually, needs, tcp};
use hns_tests::story_support::cni::CniRuntime;
use hns_tests::story_support::{Container, text};
use serde_json::{Value, json};

use crate::stage::{Stage, container_at, dropped, network};

pub const WITH_DHCP: [&str; 5] = ["--type", "transparent", "--interface", "eth0", "--dhcp"];

/// A DHCP server on the router.
pub struct Dnsmasq {
    leases: PathBuf,
    pub process: Process,
}

impl Dnsmasq {
    /// Gives addresses of this range of the LAN.
    pub fn serve(router: &Host, range: &str) -> Self {
        Self::start(router, &[], "br0", range, &[])
    }

    /// Does the same, and advertises a prefix beside.
    pub fn route(router: &Host, range: &str, prefix: &str) -> Self {
        Self::start(
            router,
            &[],
            "br0",
            range,
            &["--enable-ra", &format!("--dhcp-range={prefix},ra-only,64,10m")],
        )
    }

    /// Gives addresses of both families, of IPv6 those of this range, and advertises that it does.
    pub fn serve_ipv6(router: &Host, range: &str, more: &[&str]) -> Self {
        let range = format!("--dhcp-range={range},64,2m");
        let options = [
            "--enable-ra",
            &range,
            "--dhcp-option=option6:dns-server,[fd00:198:18::fd]",
            "--dhcp-option=option6:domain-search,corp.example,lab.example",
        ];
        Self::start(router, &[], "br0", "198.18.0.100,198.18.0.150", &[&options[..], more].concat())
    }

    /// Gives addresses of IPv6 of this range, and leaves it to a router to say so.
    pub fn give_ipv6(router: &Host, range: &str) -> Self {
        Self::start(
            router,
            &[],
            "br0",
            "198.18.0.100,198.18.0.150",
            &[&format!("--dhcp-range={range},64,2m")],
        )
    }

    /// Runs in a container at `PREFIX.53`, and gives addresses of its part of the LAN.
    fn contain(hnsd: &Hnsd, options: &[&str], prefix: &str) -> Self {
        let subnet = ["--type", "transparent", "--interface", "eth0", "--subnet", &format!("{prefix}.0/24")];
        network(hnsd, "served", &[&subnet[..], options].concat());
        let server = container_at(hnsd, "served", "server", &[format!("{prefix}.53")]);
        let document = serde_json::json!({
            "ResourceType": "AdditionalParams", "RequestType": "Update", "Settings": { "DhcpGuard": false },
        });
        let path = format!("/v2/endpoints/{}/modify", server.id);
        let _changed = hnsd.api().post(&path, &document).expect("the daemon answers").expect_success();
        let range = format!("{prefix}.100,{prefix}.150");
        Self::start(hnsd.host(), &["ip", "netns", "exec", "server"], "eth0", &range, &[])
    }

    /// Without a look of its own whether addresses are free.
    fn start(host: &Host, starter: &[&str], interface: &str, range: &str, more: &[&str]) -> Self {
        let leases = host.folder().join("dnsmasq.leases");
        let words = [
            "dnsmasq",
            "--keep-in-foreground",
            "--log-facility=-",
            "--log-dhcp",
            "--conf-file=/dev/null",
            "--user=root",
            "--pid-file=",
            "--port=0",
            "--no-ping",
            "--dhcp-authoritative",
            "--bind-interfaces",
            &format!("--interface={interface}"),
            "--except-interface=lo",
            &format!("--dhcp-range={range},2m"),
            "--dhcp-option=option:dns-server,198.18.0.253",
            "--domain=corp.example",
            &format!("--dhcp-leasefile={}", leases.display()),
        ];
        let process = host.spawn(&[starter, &words, more].concat());
        eventually!(process.output().contains("sockets bound exclusively"));
        Self { leases, process }
    }

    /// The line of the lease file that speaks of this address: when it ends, MAC or association, address, name, client.
    pub fn lease(&self, address: impl Into<IpAddr>) -> Option<Vec<String>> {
        let text = std::fs::read_to_string(&self.leases).unwrap_or_default();
        let lines = text.lines().map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let address = address.into().to_string();
        lines.into_iter().find(|words| words.get(2) == Some(&address))
    }
}

fn leased(stage: &Stage, network: &str, name: &str) -> Container {
    container_at(&stage.here, network, name, &[])
}

fn refused(hnsd: &Hnsd, name: &str) -> Finished {
    hnsd.hnsctl(&["namespace", "create", name, "--path", &format!("/run/netns/{name}")]);
    hnsd.try_hnsctl(&["endpoint", "create", "--network", "corp", "--name", name, "--namespace", name])
}

/// As `ip` shows it in a container.
fn inside(container: &Container, words: &[&str]) -> String {
    let output = container.netns.command("ip").args(words).output().expect("ip runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fetch(from: &hns_testbed::Netns, at: Ipv4Addr) -> Option<IpAddr> {
    tcp::ask(from, (at, 80)).ok().map(|seen| seen.ip())
}

#[test]
fn a_container_has_what_the_lans_server_gives_until_it_is_deleted() {
    needs!(root, "nft", "ping", "dnsmasq");
    let stage = Stage::bare();
    let server = Dnsmasq::serve(stage.lab.router(), "198.18.0.100,198.18.0.150");
    let made = network(&stage.here, "corp", &WITH_DHCP);
    assert_eq!(made["Ipams"][0]["Type"], "Dhcp");
    assert!(stage.here.hnsctl(&["network", "ls"]).contains("DHCP"));
    let web = leased(&stage, "corp", "web_1");
    let address = web.v4();
    assert!((Ipv4Addr::new(198, 18, 0, 100)..=Ipv4Addr::new(198, 18, 0, 150)).contains(&address));

    // What the server knows of it: its MAC, its name as a host's, a client identity made of the MAC.
    let mac = web.mac().map(|octet| format!("{octet:02x}")).join(":");
    let lease = server.lease(address).expect("the server has noted it");
    assert_eq!(lease[1..], [&mac, &address.to_string(), "web-1", &format!("01:{mac}")]);

    // What the container has.
    assert!(inside(&web, &["-o", "-4", "addr", "show", "eth0"]).contains(&format!("{address}/24")));
    assert!(inside(&web, &["route"]).contains("default via 198.18.0.254 dev eth0"));
    assert!(!inside(&web, &["addr"]).contains("169.254"));

    // What is shown of it.
    let shown = stage.here.hnsctl_json(&["endpoint", "inspect", "web_1"]);
    let shown = shown.as_array().map_or(&shown, |all| &all[0]);
    assert_eq!(shown["IpConfigurations"][0]["PrefixLength"], 24);
    assert_eq!(shown["Routes"][0]["NextHop"], "198.18.0.254");
    assert_eq!(shown["Dns"]["ServerList"][0], "198.18.0.253");
    assert_eq!(text(&shown["Dns"], "Domain"), "corp.example");
    let lease = &shown["Health"]["Extra"]["DhcpLease"];
    assert_eq!((text(lease, "Server").as_str(), &lease["Seconds"]), ("198.18.0.254", &120.into()));
    assert!(stage.here.hnsctl(&["endpoint", "ls"]).contains(&format!("{address}/24")));

    // A page of it is fetched by the LAN and by the host, and it fetches one of the LAN.
    let _page = tcp::Echo::serve(&web.netns, "0.0.0.0:80");
    let _theirs = tcp::Echo::serve(&stage.client.netns(), (stage.client.v4(), 80));
    for host in [&stage.client, stage.here.host(), stage.there.host()] {
        eventually!(fetch(&host.netns(), address) == Some(host.v4().into()));
    }
    assert_eq!(fetch(&web.netns, stage.client.v4()), Some(address.into()));

    // It speaks under this address alone.
    let forged = ["addr", "add", "198.18.0.99/24", "dev", "eth0"];
    inside(&web, &forged);
    let mut ping = web.netns.command("ping");
    let ping = ping.args(["-n", "-c1", "-W1", "-I", "198.18.0.99", "198.18.0.254"]).output();
    assert!(!ping.expect("ping runs").status.success());
    assert!(dropped(&stage.here, &web, "spoofed-ip") + dropped(&stage.here, &web, "spoofed-arp") > 0);

    // Detached it has no address; attached again it gets one.
    stage.here.hnsctl(&["endpoint", "detach", "web_1"]);
    eventually!(server.lease(address).is_none());
    let shown = stage.here.hnsctl_json(&["endpoint", "inspect", "web_1"]);
    let shown = shown.as_array().map_or(&shown, |all| &all[0]);
    assert_eq!(shown["IpConfigurations"].as_array().map(Vec::len), Some(0), "{shown}");
    assert_eq!(
        (&shown["Dns"], &shown["Routes"]),
        (&Value::Object(Default::default()), &Value::Array(vec![]))
    );
    stage.here.hnsctl(&["endpoint", "attach", "web_1", "web_1"]);
    eventually!(fetch(&stage.client.netns(), address) == Some(stage.client.v4().into()));

    stage.here.hnsctl(&["endpoint", "rm", "web_1"]);
    eventually!(server.lease(address).is_none());
    assert!(server.process.output().contains("DHCPRELEASE"));
    // With its network it goes as well.
    let db = leased(&stage, "corp", "db");
    assert!(server.lease(db.v4()).is_some());
    stage.here.hnsctl(&["network", "rm", "--force", "corp"]);
    eventually!(server.lease(db.v4()).is_none());
    eventually!(!stage.here.host().links().iter().any(|link| link.starts_with("hn")));
}

/// Nobody waits for a LAN without a server but who wants an address of it.
#[test]
fn a_lan_without_a_server_is_told_after_a_while_and_leaves_nothing() {
    needs!(root, "nft");
    let stage = Stage::bare();
    network(&stage.here, "corp", &WITH_DHCP);
    let netns = stage.here.host().add_netns("web");
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let here = &stage.here;
        let asking = scope.spawn(move || refused(here, "web"));
        eventually!(stage.here.hnsctl(&["namespace", "ls"]).contains("/run/netns/web"));
        // A repair of everything and other requests go on meanwhile.
        stage.here.host().sh("nft flush ruleset");
        let other = stage.here.hnsctl(&["network", "create", "other", "--subnet", "10.9.0.0/24"]);
        assert!(other.contains("10.9.0.0/24") && !asking.is_finished());
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
        let said = asking.join().expect("it ends").expect_failure();
        for word in
            ["corp", "adapter eth0", "no DHCP server answered within 10 s", "asked 4 times", "tcpdump"]
        {
            assert!(said.contains(word), "{word}: {said}");
        }
    });
    let waited = begin.elapsed();
    assert!((Duration::from_secs(10)..Duration::from_secs(15)).contains(&waited), "{waited:?}");
    let shown = stage.here.hnsctl_json(&["endpoint", "ls"]);
    assert_eq!(shown, Value::Array(vec![]));
    let links = netns.command("ip").args(["-br", "addr"]).output().expect("ip runs").stdout;
    let links = String::from_utf8_lossy(&links);
    assert!(!links.contains("eth0") && !links.contains("169.254"), "{links}");
}

/// Others on the LAN have three of the server's four addresses: one on the LAN, one in a container of another host, one in a
/// container of this one.
#[test]
fn an_address_that_somebody_has_is_declined() {
    needs!(root, "nft", "dnsmasq");
    let stage = Stage::bare();
    let server = Dnsmasq::serve(stage.lab.router(), "198.18.0.100,198.18.0.103");
    stage.client.sh("ip addr add 198.18.0.100/24 dev eth0");
    let fixed = ["--type", "transparent", "--interface", "eth0", "--subnet", "198.18.0.0/24"];
    let mut held = Vec::new();
    for (hnsd, address) in [(&stage.there, "198.18.0.101"), (&stage.here, "198.18.0.102")] {
        network(hnsd, "fixed", &fixed);
        held.push(container_at(hnsd, "fixed", "static", &[address.to_owned()]));
    }
    network(&stage.here, "corp", &WITH_DHCP);
    let web = leased(&stage, "corp", "web");
    assert_eq!(web.v4(), Ipv4Addr::new(198, 18, 0, 103));
    eventually!(stage.client.ping(web.v4()) && web.netns.ping(held[1].v4()));
    // Nothing is left for another one.
    let _netns = stage.here.host().add_netns("db");
    let said = refused(&stage.here, "db").expect_failure();
    assert!(said.contains("which") && said.contains("has already"), "{said}");
    for held in 100..=102 {
        let declined = format!("DHCPDECLINE(br0) 198.18.0.{held} ");
        assert!(server.process.output().contains(&declined), "{}", server.process.output());
    }
    assert!(server.lease(web.v4()).is_some());
}

/// Containers may be the servers, where their guard is off: of another host in a VLAN, and of this one.
#[test]
fn a_container_may_be_the_server_and_a_vlan_has_one_of_its_own() {
    needs!(root, "nft", "dnsmasq");
    let stage = Stage::bare();
    let seven = Dnsmasq::contain(&stage.there, &["--vlan", "7"], "10.18.0");
    let plain = Dnsmasq::contain(&stage.here, &[], "198.18.0");
    network(&stage.here, "corp", &WITH_DHCP);
    network(&stage.here, "lab7", &[&WITH_DHCP[..], &["--vlan", "7"]].concat());
    for (network, name, prefix, server, other) in
        [("corp", "web", "198.18.0.", &plain, &seven), ("lab7", "lab", "10.18.0.", &seven, &plain)]
    {
        let container = leased(&stage, network, name);
        let address = container.v4();
        assert!(address.to_string().starts_with(prefix), "{name}: {address}");
        assert!(server.lease(address).is_some() && other.lease(address).is_none());
        let at = address.octets();
        eventually!(container.netns.ping(Ipv4Addr::new(at[0], at[1], at[2], 53)));
        stage.here.hnsctl(&["endpoint", "rm", name]);
        eventually!(server.lease(address).is_none());
    }
}

/// By the ways that others than `hnsctl` go: a runtime's plugin, and documents that are taken to a new state.
#[test]
fn every_door_brings_a_lease_and_takes_it_back() {
    needs!(root, "nft", "dnsmasq");
    let stage = Stage::bare();
    let server = Dnsmasq::serve(stage.lab.router(), "198.18.0.100,198.18.0.150");
    network(&stage.here, "corp", &WITH_DHCP);
    let list = json!({"cniVersion": "1.1.0", "name": "lan", "type": "hns-cni", "network": "corp"});
    let cni = CniRuntime::new(stage.here.host(), stage.here.socket(), &list);
    let pod = stage.here.host().add_netns("pod");
    let told = cni.add("pod", &Value::Null).granted();
    let address = text(&told["ips"][0], "address");
    let address: Ipv4Addr = address.split('/').next().and_then(|one| one.parse().ok()).expect("it is one");
    assert_eq!(told["ips"][0]["gateway"], "198.18.0.254");
    assert_eq!(told["dns"]["nameservers"][0], "198.18.0.253");
    assert!(server.lease(address).is_some());
    eventually!(pod.ping(stage.client.v4()));
    assert!(cni.check("pod", &told).success);
    assert!(cni.del("pod", &told).success);
    eventually!(server.lease(address).is_none());

    let web = leased(&stage, "corp", "web");
    let file = stage.here.host().folder().join("export.json").display().to_string();
    stage.here.hnsctl(&["export", &file]);
    stage.here.hnsctl(&["network", "rm", "--force", "corp"]);
    stage.here.hnsctl(&["namespace", "rm", "web"]);
    eventually!(server.lease(web.v4()).is_none());
    stage.here.hnsctl(&["import", &file]);
    let again = address_of(&endpoint(&stage, "web")).expect("it has an address");
    assert!(server.lease(again).is_some());
    eventually!(stage.client.ping(again));
}

/// The server of busybox, which gives leases as short as one likes. The number of one is that of its range.
struct Udhcpd(Process);

impl Udhcpd {
    fn serve(router: &Host, range: &str, seconds: u32) -> Self {
        let folder = router.folder();
        let leases = folder.join("udhcpd.leases");
        std::fs::write(&leases, "").expect("the host's folder can be written");
        let text = format!(
            "start 198.18.0.{range}0\nend 198.18.0.{range}9\ninterface br0\nlease_file {}\npidfile {}\nmin_lease 1\n\
             option subnet 255.255.255.0\noption router 198.18.0.254\noption lease {seconds}\n",
            leases.display(),
            folder.join("udhcpd.pid").display(),
        );
        let settings = folder.join("udhcpd.conf");
        std::fs::write(&settings, text).expect("the host's folder can be written");
        let settings = settings.display().to_string();
        Self(router.spawn(&["busybox", "udhcpd", "-f", "-a", "50", &settings]))
    }
}

fn endpoint(stage: &Stage, name: &str) -> Value {
    let shown = stage.here.hnsctl_json(&["endpoint", "inspect", name]);
    shown.as_array().map_or(&shown, |all| &all[0]).clone()
}

fn address_of(endpoint: &Value) -> Option<Ipv4Addr> {
    endpoint["IpConfigurations"][0]["IpAddress"].as_str()?.parse().ok()
}

/// A lease of ten seconds holds under traffic and over a restart of the daemon; it is lost with its server, and there is another
/// one when there is another server.
#[test]
fn a_short_lease_is_renewed_and_one_that_ended_is_not_used() {
    needs!(root, "nft", "ping", "busybox");
    let mut stage = Stage::bare();
    let mut server = Udhcpd::serve(stage.lab.router(), "13", 10);
    network(&stage.here, "corp", &WITH_DHCP);
    let web = leased(&stage, "corp", "web");
    let address = web.v4();
    eventually!(stage.client.ping(address));
    // Twenty-two seconds, in which the lease would have ended twice.
    let words = ["ping", "-n", "-q", "-i", "0.1", "-c", "220", "-W", "1", &address.to_string()];
    let mut stream = stage.client.spawn(&words);
    let left = |stage: &Stage| endpoint(stage, "web")["Health"]["Extra"]["DhcpLease"]["SecondsLeft"].as_u64();
    // Its server is asked half way, and answers; everybody would be asked after nine seconds.
    let mut least = 10;
    for is_there in [|left: u64| left <= 5, |left| left >= 9, |left| left <= 5, |left| left >= 9] {
        hns_testbed::until(Duration::from_secs(8), "the lease grows old, and is renewed", || {
            let left = left(&stage)?;
            least = least.min(left);
            is_there(left).then_some(())
        });
    }
    assert!(least >= 3, "{least}");
    stage.here.restart();
    assert_eq!(address_of(&endpoint(&stage, "web")), Some(address));
    let ended = hns_testbed::until(Duration::from_secs(40), "the stream ends", || stream.ended());
    assert!(ended.success(), "{}", stream.output());
    assert!(stream.output().contains("220 received"), "{}", stream.output());
    assert_eq!(address_of(&endpoint(&stage, "web")), Some(address));
    assert_eq!(endpoint(&stage, "web")["State"], 3);

    // Nor does a container use it when nobody is there to renew it.
    stage.here.kill9();
    eventually!(within 15 s, !inside(&web, &["-4", "addr", "show", "eth0"]).contains("inet "));
    assert!(!stage.client.ping(address) && !inside(&web, &["route"]).contains("default"));
    stage.here.start_again();
    eventually!(within 20 s, address_of(&endpoint(&stage, "web")).is_some_and(|now| now == address));
    eventually!(stage.client.ping(address));

    // Without its server the lease ends: the container has no address, and says nothing under it.
    server.0.kill9();
    eventually!(within 15 s, address_of(&endpoint(&stage, "web")).is_none());
    eventually!(within 5 s, !inside(&web, &["-4", "addr", "show", "eth0"]).contains("inet "));
    assert!(!inside(&web, &["route"]).contains("default"));
    assert!(!stage.client.ping(address));
    let said = endpoint(&stage, "web");
    assert_eq!(said["State"], 5);
    let said = text(&said["Health"]["Data"], "LastError");
    assert!(said.contains(&format!("lease of {address}/24 is lost")), "{said}");
    let before = dropped(&stage.here, &web, "spoofed-arp");
    inside(&web, &["addr", "add", &format!("{address}/24"), "dev", "eth0"]);
    let mut ping = web.netns.command("ping");
    let ping = ping.args(["-n", "-c1", "-W1", "198.18.0.254"]).output().expect("ping runs");
    assert!(!ping.status.success() && dropped(&stage.here, &web, "spoofed-arp") > before);
    inside(&web, &["addr", "del", &format!("{address}/24"), "dev", "eth0"]);

    // Another one gives another address.
    let _server = Udhcpd::serve(stage.lab.router(), "14", 10);
    eventually!(within 30 s, address_of(&endpoint(&stage, "web")).is_some_and(|now| now != address));
    let now = address_of(&endpoint(&stage, "web")).expect("it has one");
    eventually!(stage.client.ping(now));
    assert!(inside(&web, &["route"]).contains("default via 198.18.0.254"));
    assert_eq!(endpoint(&stage, "web")["State"], 3);
}
