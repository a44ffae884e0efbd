//! Which rules of the host's own firewall hold for published ports, and which of its changes are told.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod support;

use hns_host::HostEvent;
use hns_planner::Step;
use support::{World, on_real, output, run};

/// The elements of one of the two sets, as nft writes them.
fn held(set: &str) -> Vec<String> {
    let text = output(&["nft", "-n", "list", "set", "inet", "hns", set]);
    let Some((_, rest)) = text.split_once("elements = {") else { return Vec::new() };
    let (list, _) = rest.split_once('}').unwrap();
    let mut all: Vec<String> = list.split(',').map(|element| element.trim().to_owned()).collect();
    all.sort();
    all
}

/// What is held of the rules of one chain at the input hook.
fn of_rules(world: &World, rules: &str) -> (Vec<String>, Vec<String>) {
    let text = format!(
        "table inet mine {{\nchain input {{\ntype filter hook input priority 0; policy drop;\n{rules}\n}}\n}}"
    );
    run(&["nft", &text]);
    let count = world.host.follow_host_firewall().unwrap();
    let found = (held("host_drops4"), held("host_drops6"));
    assert_eq!(count, found.0.len() + found.1.len());
    run(&["nft", "delete", "table", "inet", "mine"]);
    found
}

#[test]
fn explicit_drops_of_ports_are_held() {
    on_real(|world| {
        assert_eq!(world.host.follow_host_firewall().unwrap(), 0);
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        let both = |rules: &str, elements: &[&str]| {
            let (v4, v6) = of_rules(world, rules);
            let with =
                |any: &str| elements.iter().map(|element| format!("{any} . {element}")).collect::<Vec<_>>();
            assert_eq!((v4, v6), (with("0.0.0.0/0"), with("::/0")), "{rules}");
        };
        both("tcp dport 8080 drop", &["6 . 8080"]);
        both("udp dport 8080 counter log reject", &["17 . 8080"]);
        both("sctp dport 8080-8090 drop", &["132 . 8080-8090"]);
        both("tcp dport { 8080, 8090-8099, 8100 } drop", &["6 . 8080", "6 . 8090-8100"]);
        both("tcp dport { 65000-65535 } drop", &["6 . 65000-65535"]);
        both("meta l4proto { tcp, udp } th dport 53 drop", &["17 . 53", "6 . 53"]);
        both("tcp dport >= 60000 drop", &["6 . 60000-65535"]);
        both("ct state new tcp dport 1 drop; ct state { new, untracked } tcp dport 2 drop", &["6 . 1-2"]);
        both(
            "ct state vmap { established : accept, related : accept, invalid : drop }
             iif lo accept; iifname \"lo\" accept; ct status dnat accept; meta l4proto icmp accept
             iifname != \"lo\" tcp dport 8080 drop",
            &["6 . 8080"],
        );
        both(
            "tcp dport vmap { 22 : accept, 8080 : drop }; tcp dport { 22, 23 } drop",
            &["6 . 23", "6 . 8080"],
        );
        // What another rule accepts first, and what is no drop of ports.
        both("tcp dport 8080 accept; tcp dport 8080-8081 drop", &["6 . 8081"]);
        both("drop", &[]);
        both("meta l4proto tcp reject", &[]);
        both("iifname \"eth0\" tcp dport 8080 drop", &[]);
        both("iifname \"eth0\" tcp dport 8080 accept; tcp dport 8080 drop", &[]);
        both("tcp dport 8080 limit rate 5/second drop", &[]);
        both("tcp dport != 22 drop", &[]);
        both("tcp sport 1024 tcp dport 8080 drop", &[]);
        both("ct state established tcp dport 8080 drop", &[]);
        both("fib daddr type local tcp dport 8080 drop", &[]);
        both("meta mark 1 accept; tcp dport 8080 drop", &[]);
        both("iifname vmap { \"eth1\" : accept }; tcp dport 8080 drop", &[]);
    });
}

#[test]
fn drops_are_held_for_their_sources_only() {
    on_real(|world| {
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        let sources = |rules: &str, v4: &[&str], v6: &[&str]| {
            let (found4, found6) = of_rules(world, rules);
            assert_eq!(
                (found4, found6),
                (v4.iter().map(ToString::to_string).collect(), v6.iter().map(ToString::to_string).collect()),
                "{rules}"
            );
        };
        sources("ip saddr 10.0.0.0/8 tcp dport 80 drop", &["10.0.0.0/8 . 6 . 80"], &[]);
        sources("ip saddr 10.1.2.3 tcp dport 80 drop", &["10.1.2.3 . 6 . 80"], &[]);
        sources("ip saddr 10.16.0.0/12 tcp dport 80 drop", &["10.16.0.0/12 . 6 . 80"], &[]);
        sources("ip6 saddr fd00:8000::/17 tcp dport 80 drop", &[], &["fd00:8000::/17 . 6 . 80"]);
        sources("ip6 saddr fd00::/64 tcp dport 80 reject with tcp reset", &[], &["fd00::/64 . 6 . 80"]);
        sources("meta nfproto ipv4 tcp dport 80 drop", &["0.0.0.0/0 . 6 . 80"], &[]);
        sources("ip protocol tcp tcp dport 80 drop", &["0.0.0.0/0 . 6 . 80"], &[]);
        sources("ip saddr != 10.0.0.0/8 tcp dport 80 drop", &[], &[]);
        sources(
            "ip saddr 128.0.0.0/1 tcp dport 80 accept; tcp dport 80 drop",
            &["0.0.0.0/1 . 6 . 80"],
            &["::/0 . 6 . 80"],
        );
    });
}

#[test]
fn rules_of_iptables_are_held_through_their_chains() {
    on_real(|world| {
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        for tool in ["iptables", "ip6tables"] {
            run(&[tool, "-P", "INPUT", "DROP"]);
            for chain in ["ufw-before", "ufw-user", "ufw-not-local"] {
                run(&[tool, "-N", chain]);
            }
            let rule = |rule: &str| run(&[&[tool, "-A"], &rule.split(' ').collect::<Vec<_>>()[..]].concat());
            rule("INPUT -j ufw-before");
            rule("ufw-before -i lo -j ACCEPT");
            rule("ufw-before -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT");
            rule("ufw-before -m conntrack --ctstate INVALID -j DROP");
            rule("ufw-before -p udp --sport 67 --dport 68 -j ACCEPT");
            rule("ufw-before -j ufw-not-local");
            rule("ufw-not-local -m addrtype --dst-type LOCAL -j RETURN");
            rule("ufw-not-local -m limit --limit 3/min -j LOG");
            rule("ufw-not-local -j DROP");
            rule("ufw-before -j ufw-user");
            rule("ufw-user -p tcp --dport 22 -j ACCEPT");
            rule("ufw-user -p tcp -m tcp --dport 8080 -m comment --comment closed -j DROP");
            rule("ufw-user -p tcp -m multiport --dports 53,8090:8099 -m conntrack --ctstate NEW -j REJECT");
            rule("ufw-user -p sctp --dport 9 -j DROP");
            rule("ufw-user -p udp --dport 60:70 -j DROP");
        }
        run(&[
            "iptables",
            "-A",
            "ufw-user",
            "-s",
            "10.0.0.0/8",
            "-p",
            "tcp",
            "--dport",
            "25",
            "-j",
            "REJECT",
        ]);
        world.host.follow_host_firewall().unwrap();
        let common = ["132 . 9", "17 . 60-67", "17 . 69-70", "6 . 53", "6 . 8080", "6 . 8090-8099"];
        let with = |any: &str| common.iter().map(|element| format!("{any} . {element}")).collect::<Vec<_>>();
        assert_eq!(held("host_drops6"), with("::/0"));
        assert_eq!(held("host_drops4"), [with("0.0.0.0/0"), vec!["10.0.0.0/8 . 6 . 25".to_owned()]].concat());
        let findings = world.host.diagnose(&[]).unwrap();
        let named = |what: &str| findings.iter().filter(|finding| finding.detail.contains(what)).count();
        assert_eq!(
            named("it also holds for published ports: sctp 9, tcp 25 from 10.0.0.0/8, tcp 53"),
            1,
            "{findings:?}"
        );
        assert_eq!(named("its policy does not hold for published ports"), 2);
        // Another set of rules: what is no longer there goes, what overlaps it comes.
        run(&["iptables", "-F", "ufw-user"]);
        run(&["iptables", "-A", "ufw-user", "-p", "tcp", "--dport", "8000:8095", "-j", "DROP"]);
        world.host.follow_host_firewall().unwrap();
        assert_eq!(held("host_drops4"), ["0.0.0.0/0 . 6 . 8000-8095"]);
    });
}

#[test]
fn a_change_of_somebody_elses_rules_is_told_and_ours_is_not() {
    on_real(|world| {
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        run(&[
            "nft",
            "add table inet mine; add chain inet mine input { type filter hook input priority 0; }; add rule inet mine input tcp dport 1 drop",
        ]);
        let watch = world.host.watch().unwrap();
        assert_eq!(world.host.follow_host_firewall().unwrap(), 2);
        run(&["nft", "add rule inet mine input tcp dport 2 drop; add rule inet mine input tcp dport 3 drop"]);
        assert_eq!(watch.next_event(), Some(HostEvent::HostFirewallChanged));
        world.host.follow_host_firewall().unwrap();
        run(&["nft", "delete table inet mine"]);
        assert_eq!(watch.next_event(), Some(HostEvent::HostFirewallChanged));
        world.host.follow_host_firewall().unwrap();
        run(&["nft", "add table inet hns { chain theirs { }; }"]);
        assert_eq!(watch.next_event(), Some(HostEvent::RulesChanged));
    });
}
