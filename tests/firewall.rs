//! Beside the host's own firewall, and beside other engines: they decide first, and we leave theirs alone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hns_testbed::{FAR_V4, FAR_V6, Host, eventually, needs, tcp, udp};
use hns_tests::story_support::{Container, Proto, Row, Scene, Server, Talker, check, text};
use serde_json::Value;

/// How dockerd leaves the chains of iptables (version 28, in its rules' order).
const DOCKER: &str = "\
for t in iptables ip6tables; do
    $t -w -P FORWARD DROP
    $t -w -N DOCKER; $t -w -N DOCKER-FORWARD; $t -w -N DOCKER-USER
    $t -w -A FORWARD -j DOCKER-USER
    $t -w -A FORWARD -j DOCKER-FORWARD
    $t -w -A DOCKER-FORWARD -i docker0 -j ACCEPT
    $t -w -A DOCKER ! -i docker0 -o docker0 -j DROP
    $t -w -t nat -N DOCKER
    $t -w -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
done
sysctl -qw net.ipv4.ip_forward=1";

/// Two containers on a network, one of which publishes its port 80 as 8080 and 8081.
struct Pair {
    scene: Scene,
    network: Value,
    web: Container,
    app: Container,
    _servers: Vec<Server>,
}

impl Pair {
    fn on(scene: Scene) -> Self {
        let network = scene.network("blue", 7, &[]);
        let mut ports = vec![];
        for port in ["8080:80", "8080:80/udp", "8080:80/sctp", "8081:80", "8081:80/udp", "8081:80/sctp"] {
            ports.extend(["-p", port]);
        }
        let web = scene.container("blue", "web", &ports);
        let app = scene.container("blue", "app", &[]);
        let servers = vec![
            Server::serve(&web.netns, &web.addresses(), 80),
            Server::serve(&scene.lab.router().netns(), &[FAR_V4.into(), FAR_V6.into()], 80),
        ];
        Self { scene, network, web, app, _servers: servers }
    }

    /// From outside to a published port.
    fn inbound(&self, port: u16, reached: bool) -> Vec<Row> {
        let mut rows = Vec::new();
        for (host, client) in self.scene.host_addresses().into_iter().zip(self.scene.outside.addresses()) {
            for proto in Proto::ALL {
                let (from, to) = (self.scene.outside.netns(), SocketAddr::new(host, port));
                rows.push(Row { from, who: "outside", proto, to, seen: reached.then_some(client) });
            }
        }
        rows
    }

    /// To the neighbour, to the outside, and in from the outside.
    fn everything(&self) -> Vec<Row> {
        let mut rows = self.inbound(8080, true);
        for (to, host) in self.web.addresses().into_iter().zip(self.scene.host_addresses()) {
            let far = if to.is_ipv4() { FAR_V4.into() } else { FAR_V6.into() };
            let mut row = |who, proto, to, seen| {
                let to = SocketAddr::new(to, 80);
                rows.push(Row { from: self.app.netns.clone(), who, proto, to, seen: Some(seen) });
            };
            for proto in Proto::ALL {
                row("a neighbour", proto, to, self.app.like(to));
                row("a container to the outside", proto, far, host);
            }
        }
        rows
    }

    #[track_caller]
    fn doctor(&self) -> Vec<Value> {
        // It ends with a failure when it finds problems.
        let said = self.scene.hnsd.try_hnsctl(&["doctor", "-o", "json"]).stdout;
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

#[test]
fn the_hosts_own_rules_decide_over_published_ports() {
    needs!(root, "nft", "iptables", "ip6tables");
    let pair = Pair::on(Scene::new());
    let host = &pair.scene.host;
    let nft = |hook: &str, rule: &str| {
        (
            format!(
                "nft 'add table inet mine; add chain inet mine c {{ type filter hook {hook}; }}; add rule inet mine c {rule}'"
            ),
            "nft delete table inet mine".to_owned(),
        )
    };
    let iptables = |rule: &str| {
        let all = |what: &str| {
            format!(
                "for t in iptables ip6tables; do for p in tcp udp sctp; do $t -w {what} {rule}; done; done"
            )
        };
        (all("-I"), all("-D"))
    };
    for (install, remove) in [
        nft("forward priority filter", "meta l4proto { tcp, udp, sctp } ct original proto-dst 8080 drop"),
        nft("prerouting priority raw", "meta l4proto { tcp, udp, sctp } th dport 8080 drop"),
        nft(
            "forward priority filter + 20",
            "meta l4proto { tcp, udp, sctp } ct original proto-dst 8080 drop",
        ),
        iptables("FORWARD -p $p -m conntrack --ctorigdstport 8080 -j DROP"),
    ] {
        host.sh(&install);
        check(&[pair.inbound(8080, false), pair.inbound(8081, true)].concat());
        host.sh(&remove);
    }
    check(&pair.inbound(8080, true));
}

#[test]
fn a_port_closed_in_the_input_hook_is_closed_for_mappings_too() {
    needs!(root, "nft", "iptables", "ip6tables");
    let pair = Pair::on(Scene::new());
    let host = &pair.scene.host;
    let nft = |rules: &str| {
        let rules: String =
            rules.split("; ").map(|rule| format!("; add rule inet filter input {rule}")).collect();
        let chain = "add chain inet filter input { type filter hook input priority 0; }";
        let install = format!("nft 'add table inet filter; {chain}{rules}'");
        (install, "nft delete table inet filter".to_owned())
    };
    let iptables = |target: &str| {
        let chain = "for t in iptables ip6tables; do $t -w -N user; $t -w -A INPUT -j user; for p in tcp udp sctp; do";
        let install = format!("{chain} $t -w -A user -p $p --dport 8080 -j {target}; done; done");
        (
            install,
            "for t in iptables ip6tables; do $t -w -F INPUT; $t -w -F user; $t -w -X user; done".to_owned(),
        )
    };
    let all = "meta l4proto { tcp, udp, sctp } th dport";
    for (install, remove) in [
        nft(&format!("ct state established,related accept; iif lo accept; {all} 8080 drop")),
        nft(&format!("{all} {{ 8080, 8090-8099 }} reject")),
        nft("tcp dport 8080 drop; udp dport 8000-8080 drop; sctp dport 8080 drop"),
        iptables("DROP"),
        iptables("REJECT"),
    ] {
        host.sh(&install);
        eventually!(within 1 s, closed(host) >= 6);
        check(&[pair.inbound(8080, false), pair.inbound(8081, true)].concat());
        // Neighbours and the host itself are not kept from each other.
        for to in pair.web.addresses() {
            eventually!(tcp::ask(&pair.app.netns, (to, 80)));
        }
        eventually!(tcp::ask(&host.netns(), (host.v4(), 8080)));
        host.sh(&remove);
        eventually!(within 1 s, closed(host) == 0);
        check(&pair.inbound(8080, true));
    }
    // What the host accepts, or closes for others only, stays open.
    let [v4, v6] = pair.scene.outside.addresses()[..] else { panic!("an address of each family") };
    for rules in [
        format!("ip saddr {v4} accept; ip6 saddr {v6} accept; {all} 8080 drop"),
        format!("{all} 8080 accept; {all} 8080 drop"),
        format!("ip saddr 10.0.0.0/8 {all} 8080 drop; {all} 8082 drop"),
    ] {
        let (install, remove) = nft(&rules);
        host.sh(&install);
        let other = "nft 'add rule inet filter input tcp dport 9 drop'";
        host.sh(other);
        eventually!(within 1 s, host.sh("nft -n list set inet hns host_drops4").contains(". 6 . 9"));
        check(&pair.inbound(8080, true));
        host.sh(&remove);
        eventually!(within 1 s, closed(host) == 0);
    }
    // A restored table obeys at once, and the doctor tells.
    host.sh(&nft(&format!("{all} 8080 drop")).0);
    eventually!(within 1 s, closed(host) == 6);
    host.sh("nft delete table inet hns");
    eventually!(within 1 s, closed(host) == 6);
    check(&[pair.inbound(8080, false), pair.inbound(8081, true)].concat());
    let findings = pair.doctor();
    let told =
        |finding: &&Value| text(finding, "Detail").contains("it also holds for published ports: sctp 8080");
    assert_eq!(findings.iter().filter(told).count(), 1, "{findings:#?}");
}

/// How many drops of the host's input hook our table holds.
fn closed(host: &Host) -> usize {
    let sets = host.sh("for s in 4 6; do nft -n list set inet hns host_drops$s 2>/dev/null || true; done");
    // Beside the types of its fields, a set shows two dots for each element.
    sets.lines().filter(|line| !line.contains("type ")).map(|line| line.matches(" . ").count() / 2).sum()
}

#[test]
fn our_networks_work_beside_dockers_policy_of_dropping() {
    needs!(root, "nft", "iptables", "ip6tables");
    // With a chain as new versions of Docker leave it, and as old ones did.
    let closing = "for t in iptables ip6tables; do $t -w -A DOCKER-USER -j RETURN; done";
    for after in ["true", closing] {
        let scene = Scene::with(
            |host| {
                host.sh(&format!("{DOCKER}\n{after}"));
            },
            |hnsd| hnsd,
        );
        let pair = Pair::on(scene);
        check(&pair.everything());
        assert!(!problems(&pair.doctor()).any(|finding| text(finding, "Check") == "foreign-rules"));
        // Docker and its firewall are as they were, but for two rules in the chain that is kept for others, and behind all in FORWARD.
        let host = &pair.scene.host;
        let forward = host.sh("iptables -w -S FORWARD; ip6tables -w -S FORWARD");
        assert!(forward.contains("-P FORWARD DROP"), "{forward}");
        pair.scene.hnsd.hnsctl(&["network", "rm", "--force", "blue"]);
        for tool in ["iptables", "ip6tables"] {
            let all = host.sh(&format!("{tool}-save"));
            let ours: Vec<&str> = all.lines().filter(|line| line.contains("hns")).collect();
            let marked = "-A DOCKER-USER -i hns+ -m mark --mark 0x40000000/0x40000000 -j ACCEPT";
            let in_chain = [marked, "-A DOCKER-USER -o hns+ -j ACCEPT"].map(str::to_owned);
            let behind = in_chain.clone().map(|rule| rule.replace("DOCKER-USER", "FORWARD"));
            assert_eq!(ours, [behind, in_chain].concat(), "{all}");
        }
    }
}

#[test]
fn docker_may_come_later_and_come_again() {
    needs!(root, "nft", "iptables", "ip6tables");
    let pair = Pair::on(Scene::new());
    let host = &pair.scene.host;
    check(&pair.everything());
    host.sh(DOCKER);
    eventually!(within 2 s, reserved_rules(host) == 4);
    check(&pair.everything());
    // Whoever cleans up by hand and restarts Docker leaves an empty chain.
    host.sh("for t in iptables ip6tables; do $t -w -F DOCKER-USER; done");
    eventually!(within 2 s, reserved_rules(host) == 4);
    check(&pair.inbound(8080, true));
}

/// The host's adapter is a port of a bridge, as where virtual machines share it.
#[test]
fn a_bridge_by_which_the_host_is_on_the_lan_is_a_way_out() {
    needs!(root, "nft", "iptables", "ip6tables");
    let pair = Pair::on(Scene::new());
    let host = &pair.scene.host;
    host.sh(DOCKER);
    eventually!(within 2 s, reserved_rules(host) == 4);
    let [v4, v6] = pair.scene.host_addresses();
    let defaults = "ip route show default; ip -6 route show default";
    let gateways = ["ip", "ip -6"].map(|ip| host.sh(&format!("{ip} route show default | cut -d ' ' -f 3")));
    host.sh(&format!(
        "mac=$(cat /sys/class/net/eth0/address)
        ip link add br0 address $mac type bridge; ip link set br0 up
        ip address flush dev eth0; ip link set eth0 master br0
        ip address add {v4}/24 dev br0; ip address add {v6}/64 dev br0 nodad
        ip route replace default via {} dev br0; ip -6 route replace default via {} dev br0",
        gateways[0].trim(),
        gateways[1].trim(),
    ));
    assert!(host.sh(defaults).lines().all(|line| line.contains("dev br0")), "{}", host.sh(defaults));
    eventually!(host.sh("nft list set inet hns ways_out").contains("br0"));
    check(&pair.everything());
    host.sh("ip link del br0");
    eventually!(!host.sh("nft list set inet hns ways_out").contains("br0"));
}

fn reserved_rules(host: &Host) -> usize {
    let all = host.sh("iptables -w -S DOCKER-USER; ip6tables -w -S DOCKER-USER");
    all.lines().filter(|line| line.contains("hns+") && line.contains("ACCEPT")).count()
}

fn problems(findings: &[Value]) -> impl Iterator<Item = &Value> {
    findings.iter().filter(|finding| finding["Level"] == "Problem")
}

#[test]
fn the_doctor_names_the_chain_that_blocks_and_its_hint_helps() {
    needs!(root, "nft", "iptables", "ip6tables");
    let pair = Pair::on(Scene::new());
    let host = &pair.scene.host;
    host.sh("for t in iptables ip6tables; do $t -w -P FORWARD DROP; done");
    check(&pair.inbound(8080, false));
    let findings = pair.doctor();
    let blocking: Vec<&Value> = problems(&findings).filter(|f| f["Check"] == "foreign-rules").collect();
    assert_eq!(blocking.len(), 2, "{findings:#?}");
    for finding in blocking {
        assert!(text(finding, "Detail").contains("FORWARD"), "{finding}");
        host.sh(&text(finding, "Hint"));
    }
    check(&pair.everything());
}

/// A zone firewall as firewalld writes it: what no zone takes is rejected behind everybody else's rules.
const ZONES: &str = r#"
table inet firewalld
delete table inet firewalld
table inet firewalld {
    chain filter_INPUT { type filter hook input priority filter + 10; policy accept;
        ct state { established, related } accept
        iifname "lo" accept
        ct state invalid drop
        iifname "eth0" tcp dport 22 accept
        iifname "hns*" accept
        meta l4proto ipv6-icmp accept
        reject with icmpx admin-prohibited
    }
    chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname "lo" accept
        ct state invalid drop
        TRUSTED
        reject with icmpx admin-prohibited
    }
    chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept; }
}
"#;

#[test]
fn a_default_deny_by_iptables_is_named_and_can_be_opened() {
    needs!(root, "nft", "iptables", "ip6tables");
    let pair = Pair::on(Scene::new());
    let host = &pair.scene.host;
    // As ufw does it: chains of its own behind a policy of dropping.
    let ufw = "for t in iptables ip6tables; do
        $t -w -P INPUT DROP; $t -w -P FORWARD DROP
        $t -w -N ufw-before-input; $t -w -N ufw-before-forward; $t -w -N ufw-user-forward
        $t -w -A INPUT -j ufw-before-input
        $t -w -A FORWARD -j ufw-before-forward
        $t -w -A ufw-before-input -i lo -j ACCEPT
        $t -w -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        $t -w -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        $t -w -A ufw-before-forward -j ufw-user-forward
    done
    ip6tables -w -A ufw-before-input -p icmpv6 -j ACCEPT";
    host.sh(ufw);
    check(&pair.inbound(8080, false));
    let findings = pair.doctor();
    assert_eq!(
        problems(&findings).filter(|f| text(f, "Detail").contains("FORWARD")).count(),
        2,
        "{findings:#?}"
    );
    // `ufw route allow in on hns+` and `.. out on hns+`.
    host.sh("for t in iptables ip6tables; do for d in -i -o; do $t -w -A ufw-user-forward $d hns+ -j ACCEPT; done; done");
    check(&pair.everything());
    // A reload empties its chains and fills them again, in one go.
    host.sh("for t in iptables ip6tables; do $t-save | $t-restore; done");
    check(&pair.everything());
}

#[test]
fn nothing_of_a_deleted_network_is_left_in_the_rules() {
    needs!(root, "nft");
    let pair = Pair::on(Scene::new());
    let host = &pair.scene.host;
    host.sh("nft 'add table inet theirs; add chain inet theirs c { type filter hook forward priority 5; }; add rule inet theirs c accept'");
    let theirs = host.sh("nft list table inet theirs");
    let switch = pair.scene.switch(&pair.network);
    assert!(host.sh("nft list table inet hns").contains(&switch));
    pair.scene.hnsd.hnsctl(&["network", "rm", "--force", "blue"]);
    let ours = host.sh("nft list table inet hns");
    for left in [switch.as_str(), "10.7.0.", "fd00:7:", "8080", "elements"] {
        assert!(!ours.contains(left), "{left} in\n{ours}");
    }
    assert_eq!(host.sh("nft list table inet theirs"), theirs);
    let left = || host.links().into_iter().filter(|link| link.starts_with("hn")).collect::<Vec<_>>();
    eventually!(if left().is_empty() { Ok(()) } else { Err(left()) });
}

/// Stories that measure time or count every packet.
mod alone {
    use super::*;

    #[test]
    fn a_flushed_ruleset_is_repaired_within_a_second() {
        needs!(root, "nft");
        let pair = Pair::on(Scene::new());
        let host = &pair.scene.host;
        let foreign = "nft 'add table inet theirs; add chain inet theirs c { type filter hook forward priority 5; }; add rule inet theirs c counter'";
        for at in pair.scene.host_addresses() {
            host.sh(foreign);
            let client = pair.scene.outside.netns();
            eventually!(udp::ask(&client, (at, 8080)));
            let stream = udp::Stream::start(&client, (at, 8080), 500);
            host.sh("nft flush ruleset");
            let flushed = Instant::now();
            // A new connection, too: from a port that the host has never seen.
            eventually!(within 1 s, host.sh("nft list map inet hns publish4 2>/dev/null || true").contains("8080"));
            eventually!(within 1 s, tcp::ask(&client, (at, 8081)));
            assert!(flushed.elapsed() < Duration::from_secs(1), "{:?}", flushed.elapsed());
            let report = stream.stop();
            assert!(report.sent > report.lost, "{report:?}");
            assert!(report.longest_gap < Duration::from_secs(1), "{report:?}");
            // What others had is theirs to restore.
            assert!(!host.try_sh("nft list table inet theirs").success());
            check(&pair.everything());
        }
    }

    #[test]
    fn a_client_that_sent_while_the_rules_were_away_gets_through_afterwards() {
        needs!(root, "nft");
        let pair = Pair::on(Scene::new());
        let (host, client) = (&pair.scene.host, pair.scene.outside.netns());
        for at in pair.scene.host_addresses() {
            let far = if at.is_ipv4() { FAR_V4.into() } else { FAR_V6.into() };
            host.sh("nft flush ruleset");
            let flushed = Instant::now();
            // Each begins in another moment of the gap, and none falls silent.
            let mut talkers: Vec<Talker> = Vec::new();
            loop {
                talkers.push(Talker::open(&pair.app.netns, SocketAddr::new(far, 80)));
                talkers.push(Talker::open(&client, SocketAddr::new(at, 8080)));
                talkers.iter().for_each(Talker::shout);
                if talkers.last().is_some_and(|newest| newest.say().is_ok()) {
                    break;
                }
                assert!(flushed.elapsed() < Duration::from_secs(1), "not repaired");
            }
            for talker in talkers {
                eventually!(talker.say());
            }
        }
    }

    #[test]
    fn a_zone_firewall_and_its_reloads_do_not_disturb_us() {
        needs!(root, "nft");
        let pair = Pair::on(Scene::new());
        let (host, client) = (&pair.scene.host, pair.scene.outside.netns());
        let load = |trusted: &str| {
            let file = host.folder().join("zones.nft");
            std::fs::write(&file, ZONES.replace("TRUSTED", trusted))
                .expect("the host's folder can be written");
            host.run(&["nft", "-f", &file.display().to_string()]);
        };
        // While no zone has our switches, published ports work and nothing goes out; the doctor says who is in the way.
        load("");
        check(&pair.inbound(8080, true));
        let far = SocketAddr::new(FAR_V4.into(), 80);
        assert!(tcp::ask(&pair.app.netns, far).is_err());
        let findings = pair.doctor();
        let named =
            |finding: &Value| text(finding, "Detail").contains("filter_FORWARD") && finding["Level"] != "Ok";
        assert!(findings.iter().any(named), "{findings:#?}");
        // With our switches in its trusted zone everything works, also while it is loaded again and again.
        load("iifname \"hns*\" accept");
        check(&pair.everything());
        let stream = udp::Stream::start(&client, (pair.scene.host.v4(), 8080), 500);
        for _ in 0..10 {
            load("iifname \"hns*\" accept");
        }
        let report = stream.stop();
        assert_eq!(report.lost, 0, "{report:?}");
    }
}
