//! The tables against the meaning of rules, at random, and after every single write of every change.

#![allow(clippy::unwrap_used, reason = "the whole file is a test")]

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_abi::{Direction, Map};
use hns_net::{Cidr, Guid, Mac, PortRange};
use hns_vfp::layers::acl::Facts;
use hns_vfp::model::{
    Acl, Action, Addresses, Guards, IcmpType, Match, Origin, Port, Rule, Sets, Tier, Verdict, both,
};
use hns_vfp::tables::machine::{Found, Maps};
use hns_vfp::tables::{Former, Tables, Write};
use proptest::prelude::*;

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        4 => (0..4_u8, 0..8_u8).prop_map(|(c, d)| IpAddr::V4(Ipv4Addr::new(10, 0, c, d))),
        1 => any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        2 => (0..2_u16, 0..4_u16).prop_map(|(g, h)| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, g, h))),
        1 => (0..4_u16).prop_map(|h| IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, h))),
    ]
}

fn block() -> impl Strategy<Value = Cidr> {
    (address(), any::<u8>()).prop_map(|(address, length)| {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = match length % 8 {
            0 => 0,
            1 => bits - 8,
            2 => bits - 2,
            3 => bits / 2,
            4 => length % (bits + 1),
            _ => bits,
        };
        Cidr::new(address, length).unwrap()
    })
}

const SETS: usize = 4;

fn set_id(number: usize) -> String {
    format!("set-{number}")
}

/// Some of the sets that rules name.
fn sets() -> impl Strategy<Value = Sets> {
    let set = (0..SETS, prop::collection::vec(block(), 0..6));
    prop::collection::vec(set, 0..4)
        .prop_map(|all| Sets::new(all.into_iter().map(|(number, members)| (set_id(number), members))))
}

fn addresses() -> impl Strategy<Value = Addresses> {
    let ids: Vec<String> = (0..SETS).map(set_id).collect();
    let some = prop::sample::subsequence(ids, 0..=2).prop_map(Addresses::Sets);
    prop_oneof![
        2 => Just(Addresses::Any),
        3 => prop::collection::vec(block(), 0..4).prop_map(Addresses::Prefixes),
        2 => some,
    ]
}

fn ports() -> impl Strategy<Value = Vec<PortRange>> {
    let range = prop_oneof![
        (1..6_u16, 0..4_u16).prop_map(|(start, more)| PortRange::new(start, start + more).unwrap()),
        (1..=u16::MAX, any::<u16>()).prop_map(|(a, b)| PortRange::new(a.min(b).max(1), a.max(b)).unwrap()),
    ];
    prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(range, 1..3)]
}

fn matches() -> impl Strategy<Value = Match> {
    let protocols = prop::collection::vec(prop::sample::select(vec![1_u8, 6, 17, 47, 58, 132]), 0..3);
    let kind = (0..3_u8, prop::option::of(0..2_u8)).prop_map(|(kind, code)| IcmpType { kind, code });
    let icmp = prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(kind, 1..3)];
    (protocols, addresses(), addresses(), ports(), ports(), icmp).prop_map(
        |(protocols, local, remote, local_ports, remote_ports, icmp)| Match {
            protocols,
            local,
            remote,
            local_ports,
            remote_ports,
            icmp,
        },
    )
}

fn rules(most: usize) -> impl Strategy<Value = Vec<Rule>> {
    let action = prop::sample::select(vec![Action::Allow, Action::Block, Action::Pass, Action::Observe]);
    let rule = (matches(), action, any::<u16>()).prop_map(|(matches, action, priority)| Rule {
        id: format!("rule-{priority}"),
        origin: Origin::Endpoint,
        priority,
        action,
        matches,
    });
    prop::collection::vec(rule, 0..most)
}

fn acl() -> impl Strategy<Value = Acl> {
    let tiers = prop::collection::vec(rules(4), 0..3);
    (tiers, rules(14), any::<bool>()).prop_map(|(tiers, rules, open)| Acl {
        tiers: (0..)
            .zip(tiers)
            .map(|(order, rules)| Tier { name: format!("tier-{order}"), order, rules })
            .collect(),
        rules,
        fallback: if open { Verdict::Allow } else { Verdict::Block },
    })
}

fn facts() -> impl Strategy<Value = Facts> {
    let protocol = prop::sample::select(vec![1_u8, 6, 17, 47, 58, 132, 2]);
    let port = prop_oneof![1..8_u16, any::<u16>()];
    (protocol, address(), address(), (port.clone(), port), (0..4_u8, 0..3_u8)).prop_map(
        |(protocol, local, remote, (local_port, remote_port), icmp)| {
            let ported = matches!(protocol, 6 | 17 | 132);
            let icmp = if matches!(protocol, 1 | 58) { icmp } else { (0, 0) };
            let (local_port, remote_port) = if ported { (local_port, remote_port) } else { (0, 0) };
            Facts { protocol, local, remote, local_port, remote_port, icmp }
        },
    )
}

/// What a change does to the lists of rules of one port.
#[derive(Debug, Clone)]
enum Step {
    Replace(usize, Rule),
    Insert(usize, Rule),
    Remove(usize),
    Swap(usize, usize),
    Whole(Acl),
    /// The port takes over the rules of another.
    Like(u32),
    Fallback,
    RemovePort,
    /// The network has these sets.
    Sets(Sets),
    /// One of its sets has this member as well, or no longer.
    Member(usize, Cidr),
}

fn step() -> impl Strategy<Value = Step> {
    let one = || rules(2).prop_filter_map("none", |rules| rules.into_iter().next());
    prop_oneof![
        4 => (0..20_usize, one()).prop_map(|(at, rule)| Step::Replace(at, rule)),
        3 => (0..20_usize, one()).prop_map(|(at, rule)| Step::Insert(at, rule)),
        3 => (0..20_usize).prop_map(Step::Remove),
        1 => (0..20_usize, 0..20_usize).prop_map(|(a, b)| Step::Swap(a, b)),
        2 => acl().prop_map(Step::Whole),
        2 => (1..4_u32).prop_map(Step::Like),
        1 => Just(Step::Fallback),
        1 => Just(Step::RemovePort),
        2 => sets().prop_map(Step::Sets),
        3 => (0..SETS, block()).prop_map(|(set, member)| Step::Member(set, member)),
    ]
}

fn network() -> Guid {
    Guid::from_bytes([7; 16])
}

fn port(number: u32) -> Port {
    Port {
        endpoint: Guid::from_bytes([u8::try_from(number).unwrap(); 16]),
        network: network(),
        mac: Mac::from_u64(0x0200_0000_0000 + u64::from(number)),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(number).unwrap()))],
        guards: Guards::ALL,
        blocked: false,
        quiet: false,
        plain_redirect: false,
        external: None,
        reflected: false,
        overlay: false,
        behind_host: [false; 2],
        ruled: false,
        confined: None,
        acl: both(Acl::open(), Acl::open()),
        meters: [None; 2],
    }
}

/// Ports, tables and maps side by side.
struct Bench {
    ports: BTreeMap<u32, Port>,
    sets: Sets,
    tables: Tables,
    maps: Maps,
    packets: Vec<Facts>,
    /// What was given up is released after so many changes more: a daemon is busy.
    lag: usize,
    former: VecDeque<Option<Former>>,
}

impl Bench {
    fn new(packets: Vec<Facts>) -> Self {
        Self::late(0, packets)
    }

    fn late(lag: usize, packets: Vec<Facts>) -> Self {
        let (tables, maps, former) = (Tables::new(1), Maps::new(), VecDeque::new());
        Self { ports: BTreeMap::new(), sets: Sets::default(), tables, maps, packets, lag, former }
    }

    fn set(&mut self, ifindex: u32, port: Port) {
        let writes = self.tables.set_port(ifindex, &port, 0).unwrap();
        let old = self.ports.insert(ifindex, port.clone());
        if old.as_ref() == Some(&port) {
            assert_eq!(writes, []);
        }
        let sets = self.sets.clone();
        self.carry_out(&writes, &[(ifindex, old.as_ref(), Some(&port))], &sets);
    }

    fn remove(&mut self, ifindex: u32) {
        let writes = self.tables.remove_port(ifindex);
        let old = self.ports.remove(&ifindex);
        let sets = self.sets.clone();
        self.carry_out(&writes, &[(ifindex, old.as_ref(), None)], &sets);
    }

    fn set_sets(&mut self, sets: Sets) {
        let generation = |bench: &Self, ifindex| bench.tables.record(ifindex).unwrap().generation;
        let generations: Vec<u32> = self.ports.keys().map(|ifindex| generation(self, *ifindex)).collect();
        let writes = self.tables.set_sets(network(), &sets).unwrap();
        let before = std::mem::replace(&mut self.sets, sets);
        let changed = before.changed(&self.sets);
        if changed.is_empty() {
            assert_eq!(writes, []);
        }
        for ((ifindex, port), old) in self.ports.iter().zip(generations) {
            let mut named = port.acl.iter().flat_map(Acl::all_rules).flat_map(|rule| rule.matches.sets());
            let is_judged_again = named.any(|id| changed.contains(id.as_str()));
            assert_eq!(generation(self, *ifindex), old + u32::from(is_judged_again));
        }
        let ports = self.ports.clone();
        let rows: Vec<_> = ports.iter().map(|(ifindex, port)| (*ifindex, Some(port), Some(port))).collect();
        self.carry_out(&writes, &rows, &before);
    }

    /// Between the writes every decision is that of before or that of after, and from some write on that of after. `rows`: ports
    /// before and after; `sets`: those of before.
    fn carry_out(&mut self, writes: &[Write], rows: &[(u32, Option<&Port>, Option<&Port>)], sets: &Sets) {
        let mut questions = Vec::new();
        for (ifindex, before, after) in rows {
            for direction in [Direction::In, Direction::Out] {
                for facts in &self.packets {
                    let decided =
                        |port: &Option<&Port>, sets| port.map(|port| decision(port, direction, facts, sets));
                    let wanted = [decided(before, sets), decided(after, &self.sets)];
                    questions.push((*ifindex, direction, *facts, wanted));
                }
            }
        }
        for write in writes {
            self.maps.carry_out(write);
            for (ifindex, direction, facts, wanted) in &questions {
                let found = self.maps.decide(*ifindex, *direction, facts).map(Found::action);
                assert!(
                    wanted.contains(&found),
                    "{found:?}, not of {wanted:?}, after {write:?} of {writes:#?}"
                );
            }
        }
        self.check();
        assert_eq!(self.maps.entries, self.tables.everything());
        self.former.push_back(self.tables.former());
        if self.former.len() > self.lag {
            let former = self.former.pop_front().flatten();
            self.release(former);
            assert!(self.lag > 0 || self.tables.former().is_none());
        }
    }

    fn release(&mut self, former: Option<Former>) {
        for write in former.map(|former| self.tables.release(former)).unwrap_or_default() {
            self.maps.carry_out(&write);
            self.check();
        }
        assert_eq!(self.maps.entries, self.tables.everything());
    }

    fn check(&self) {
        for (ifindex, port) in &self.ports {
            for direction in [Direction::In, Direction::Out] {
                for facts in &self.packets {
                    self.check_one(*ifindex, port, direction, facts);
                }
            }
        }
    }

    /// The same rule decides, not only with the same outcome.
    fn check_one(&self, ifindex: u32, port: &Port, direction: Direction, facts: &Facts) {
        let acl = &port.acl[direction.index()];
        let wanted = acl.decide(facts, &self.sets);
        let found = self.maps.decide(ifindex, direction, facts).unwrap();
        let action = decision(port, direction, facts, &self.sets);
        assert_eq!(found.action(), action, "{facts:?} {direction:?} {acl:#?}");
        match found {
            Found::Fallback { .. } => {}
            Found::Rule { ruleset, position, .. } => {
                let rule = self.tables.rule_at(ruleset, position).unwrap();
                assert_eq!(Some(rule), acl.rule(wanted.cause), "{facts:?}");
            }
        }
    }
}

fn decision(port: &Port, direction: Direction, facts: &Facts, sets: &Sets) -> u8 {
    match port.acl[direction.index()].decide(facts, sets).verdict {
        Verdict::Block => hns_abi::ACTION_BLOCK,
        Verdict::Allow => hns_abi::ACTION_ALLOW,
    }
}

fn apply(bench: &mut Bench, ifindex: u32, direction: Direction, step: Step) {
    match step {
        Step::Sets(sets) => return bench.set_sets(sets),
        Step::Member(set, member) => {
            return bench.set_sets(with_or_without(&bench.sets, &set_id(set), member));
        }
        _ => {}
    }
    let like = match &step {
        Step::Like(other) => bench.ports.get(other).map(|port| port.acl.clone()),
        _ => None,
    };
    let mut port = bench.ports.get(&ifindex).cloned().unwrap_or_else(|| port(ifindex));
    let acl = &mut port.acl[direction.index()];
    let count = acl.rules.len();
    match step {
        Step::Replace(at, rule) if count > 0 => acl.rules[at % count] = rule,
        Step::Replace(at, rule) | Step::Insert(at, rule) => acl.rules.insert(at % (count + 1), rule),
        Step::Remove(at) if count > 0 => drop(acl.rules.remove(at % count)),
        Step::Swap(a, b) if count > 0 => acl.rules.swap(a % count, b % count),
        Step::Whole(whole) => *acl = whole,
        Step::Like(_) => port.acl = like.unwrap_or(port.acl),
        Step::Fallback => {
            acl.fallback = if acl.fallback == Verdict::Allow { Verdict::Block } else { Verdict::Allow };
        }
        Step::RemovePort => return bench.remove(ifindex),
        Step::Remove(_) | Step::Swap(..) | Step::Sets(_) | Step::Member(..) => {}
    }
    bench.set(ifindex, port);
}

/// The sets with this member in one, or without it if it is there.
fn with_or_without(sets: &Sets, id: &str, member: Cidr) -> Sets {
    let mut members = sets.members(id).to_vec();
    match members.iter().position(|other| *other == member) {
        Some(place) => drop(members.remove(place)),
        None => members.push(member),
    }
    Sets::new([(id.to_owned(), members)]).with_those_of(sets)
}

/// Each change is for one of three ports and one direction, or for the sets of their network.
fn story() -> impl Strategy<Value = (Vec<(u32, bool, Step)>, Vec<Facts>)> {
    let steps = prop::collection::vec((1..4_u32, any::<bool>(), step()), 1..14);
    (steps, prop::collection::vec(facts(), 12))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn tables_say_what_rules_mean((inward, outward, sets) in (acl(), acl(), sets()), first in any::<bool>(),
                                  packets in prop::collection::vec(facts(), 200)) {
        let mut bench = Bench::new(packets);
        let port = Port { acl: both(inward, outward), ..port(5) };
        let mut writes = Vec::new();
        if first {
            writes.extend(bench.tables.set_sets(network(), &sets).unwrap());
        }
        writes.extend(bench.tables.set_port(5, &port, 0).unwrap());
        writes.extend(bench.tables.set_sets(network(), &sets).unwrap());
        writes.iter().for_each(|write| bench.maps.carry_out(write));
        bench.ports.insert(5, port);
        bench.sets = sets;
        bench.check();
    }

    #[test]
    fn every_write_leaves_before_or_after((steps, packets) in story(), lag in 0..4_usize) {
        let mut bench = Bench::late(lag, packets);
        for (ifindex, inward, step) in steps {
            apply(&mut bench, ifindex, if inward { Direction::In } else { Direction::Out }, step);
        }
        for ifindex in 1..4 {
            bench.remove(ifindex);
        }
        bench.set_sets(Sets::default());
        bench.release(bench.tables.former());
        prop_assert!(bench.tables.everything().is_empty());
        prop_assert_eq!(bench.tables.usage(), Tables::new(1).usage());
    }
}

fn block_port(number: u16) -> Rule {
    Rule {
        id: format!("block-{number}"),
        origin: Origin::Endpoint,
        priority: 100,
        action: Action::Block,
        matches: Match {
            protocols: vec![6],
            local_ports: vec![PortRange::single(number).unwrap()],
            ..Match::default()
        },
    }
}

fn ruled(number: u32, rules: Vec<Rule>) -> Port {
    let acl = Acl { tiers: Vec::new(), rules, fallback: Verdict::Allow };
    Port { acl: both(acl, Acl::open()), ..port(number) }
}

#[test]
fn ports_with_equal_rules_share_one_ruleset_until_one_changes() {
    let mut bench = Bench::new(Vec::new());
    let rules: Vec<Rule> = (1..50).map(block_port).collect();
    bench.set(1, ruled(1, rules.clone()));
    bench.set(2, ruled(2, rules.clone()));
    let of = |bench: &Bench, ifindex| bench.tables.record(ifindex).unwrap().ruleset[0];
    let shared = of(&bench, 1);
    assert_eq!(shared, of(&bench, 2));

    let mut changed = rules.clone();
    changed[20] = block_port(9000);
    bench.set(2, ruled(2, changed.clone()));
    assert_eq!(of(&bench, 1), shared);
    assert_ne!(of(&bench, 2), shared);

    bench.set(1, ruled(1, changed));
    assert_eq!(of(&bench, 1), of(&bench, 2));
    let keys: Vec<_> = bench.maps.entries.keys().filter(|(map, _)| *map == Map::Rulesets).collect();
    assert_eq!(keys.len(), 1);
}

/// A program that began under the former rules may read them to their end.
#[test]
fn former_rules_stay_whole_until_they_are_released() {
    let mut bench = Bench::new(Vec::new());
    let rules: Vec<Rule> = (1..2000).map(block_port).collect();
    bench.set(1, ruled(1, rules.clone()));
    let (before, generation) = (bench.maps.clone(), bench.tables.record(1).unwrap().generation);
    let mut changed = rules;
    changed[1000] = block_port(9000);
    for write in bench.tables.set_port(1, &ruled(1, changed), 0).unwrap() {
        bench.maps.carry_out(&write);
    }
    assert_eq!(bench.tables.record(1).unwrap().generation, generation + 1);
    for key in before.entries.keys() {
        assert_eq!(bench.maps.entries.get(key), before.entries.get(key), "{key:?}");
    }
    let array = |maps: &Maps| (maps.directory.clone(), maps.chunks.clone());
    let (directory, chunks) = array(&before);
    assert_eq!(bench.maps.directory[..directory.len()], directory);
    assert_eq!(bench.maps.chunks[..chunks.len()], chunks);
    let former = bench.tables.former().unwrap();
    let writes = bench.tables.release(former);
    assert!(writes.iter().all(|write| matches!(write, Write::Delete { .. })));
}

#[test]
fn labels_change_without_writes() {
    let mut bench = Bench::new(Vec::new());
    let mut rules = vec![block_port(80)];
    bench.set(1, ruled(1, rules.clone()));
    rules[0].id = "renamed".to_owned();
    assert_eq!(bench.tables.set_port(1, &ruled(1, rules), 0).unwrap(), []);
    let ruleset = bench.tables.record(1).unwrap().ruleset[0];
    let ids: Vec<&str> = bench.tables.rules(ruleset).map(|(_, rule)| rule.id.as_str()).collect();
    assert_eq!(ids, ["renamed"]);
}

/// What both versions block stays blocked at every write, whatever the new rule has in common with the old one.
#[test]
fn a_rule_that_replaces_another_leaves_no_gap() {
    let packet = |last: u8, local_port: u16| Facts {
        protocol: 6,
        local: "10.0.0.1".parse().unwrap(),
        remote: IpAddr::V4(Ipv4Addr::new(10, 9, 0, last)),
        local_port,
        remote_port: 4000,
        icmp: (0, 0),
    };
    let packets: Vec<Facts> = (0..8).flat_map(|last| [packet(last, 80), packet(last, 81)]).collect();
    let from = |block: &str| Addresses::Prefixes(vec![block.parse().unwrap()]);
    let set = |id: &str| Addresses::Sets(vec![id.to_owned()]);
    let members = |members: &[&str]| members.iter().map(|member| member.parse().unwrap()).collect();
    let sets = Sets::new([
        ("blue".to_owned(), members(&["10.9.0.0/29", "10.9.0.2/32"])),
        ("red".to_owned(), members(&["10.9.0.2/32", "10.9.0.3/32"])),
        ("green".to_owned(), members(&["10.9.0.3/32"])),
    ]);
    let with = |remote: Addresses, ports: &str| Rule {
        matches: Match {
            remote,
            local_ports: vec![ports.parse().unwrap()],
            protocols: vec![6],
            ..Match::default()
        },
        ..block_port(80)
    };
    let versions = [
        with(Addresses::Any, "80"),
        with(Addresses::Any, "80-81"),
        with(from("10.9.0.0/24"), "80"),
        with(from("10.9.0.0/30"), "80"),
        with(from("10.9.0.2/32"), "1-100"),
        with(set("blue"), "80"),
        with(set("red"), "81"),
        with(set("green"), "80-81"),
    ];
    let allow = Rule { action: Action::Allow, matches: Match::default(), ..block_port(1) };
    for old in &versions {
        for new in &versions {
            let mut bench = Bench::new(packets.clone());
            bench.set_sets(sets.clone());
            bench.set(1, ruled(1, vec![old.clone(), allow.clone()]));
            bench.set(1, ruled(1, vec![new.clone(), allow.clone()]));
            bench.set(1, ruled(1, vec![allow.clone(), new.clone()]));
            bench.set(1, ruled(1, vec![old.clone(), new.clone(), allow.clone()]));
            bench.set(1, ruled(1, vec![new.clone(), allow.clone()]));
            bench.remove(1);
        }
    }
}

fn from_set(id: &str) -> Rule {
    let remote = Addresses::Sets(vec![id.to_owned()]);
    Rule { matches: Match { remote, ..Match::default() }, ..block_port(80) }
}

fn set_of(members: impl IntoIterator<Item = u32>) -> Sets {
    let members = members.into_iter().map(|number| Cidr::new(Ipv4Addr::from(number).into(), 32).unwrap());
    Sets::new([("blue".to_owned(), members.collect())])
}

/// Rules that name a set go and come back before what they were is released: what they are now is not.
#[test]
fn what_is_released_late_is_not_what_came_since() {
    let packet = |remote: [u8; 4]| Facts {
        protocol: 6,
        local: "10.0.0.1".parse().unwrap(),
        remote: IpAddr::from(remote),
        local_port: 80,
        remote_port: 4000,
        icmp: (0, 0),
    };
    let packets = vec![packet([0, 0, 0, 1]), packet([0, 0, 0, 9])];
    for lag in 1..4 {
        let mut bench = Bench::late(lag, packets.clone());
        bench.set_sets(set_of(1..3));
        bench.set_sets(Sets::default());
        bench.set_sets(set_of(1..3));
        for _ in 0..3 {
            bench.set(1, ruled(1, vec![from_set("blue")]));
            bench.set_sets(Sets::default());
            bench.set_sets(set_of(1..3));
            bench.remove(1);
        }
    }
}

/// Headers of rulesets are read while others are written: none is ever written a second time.
#[test]
fn a_ruleset_is_written_once() {
    let mut bench = Bench::new(Vec::new());
    let mut written = BTreeMap::new();
    let mut count = |writes: &[Write]| {
        for write in writes {
            if let Write::Put { map: Map::Rulesets, key, .. } = write {
                *written.entry(key.clone()).or_insert(0) += 1;
            }
        }
    };
    for round in 0..4 {
        count(&bench.tables.set_sets(network(), &set_of(round..round + 10)).unwrap());
        count(&bench.tables.set_port(1, &ruled(1, vec![from_set("blue"), block_port(80)]), 0).unwrap());
    }
    assert_eq!(written.into_values().collect::<Vec<_>>(), [1]);
}
