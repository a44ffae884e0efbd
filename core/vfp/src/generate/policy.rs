use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hns_net::{Cidr, Guid, Mac, PortRange};

use super::Random;
use crate::model::{
    Acl, Action, Addresses, Guards, IcmpType, Match, Origin, Port, Rate, Rule, Sets, Switchboard, Tier,
    Verdict,
};

pub(super) const PORTS: [u16; 8] = [22, 53, 67, 68, 80, 443, 546, 547];
const PROTOCOLS: [u8; 7] = [1, 2, 6, 17, 47, 58, 132];

/// Ports on two networks: of each four with consecutive numbers the last is on the second network.
#[must_use]
pub fn board(random: &mut Random, ifindexes: &[u32]) -> Switchboard {
    let mut board = Switchboard::default();
    for (seat, ifindex) in ifindexes.iter().enumerate() {
        let (port, sets) = port(random, seat);
        let known = board.sets.entry(port.network).or_default();
        *known = Arc::new(sets.with_those_of(known));
        board.ports.insert(*ifindex, port);
    }
    board
}

pub(super) fn own(seat: usize) -> [IpAddr; 2] {
    let last = u8::try_from(seat % 200).unwrap_or(0) + 2;
    [Ipv4Addr::new(10, 0, 0, last).into(), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)).into()]
}

/// The host's address on a network that leads nowhere.
pub(super) fn host() -> IpAddr {
    Ipv4Addr::new(10, 0, 0, 1).into()
}

pub(super) fn mac(seat: usize) -> Mac {
    Mac::new([2, 0, 0, 0, 0x10, u8::try_from(seat % 200).unwrap_or(0)])
}

/// A port with the addresses of this seat, and the sets that its rules name. Most have rules; a few are quiet, blocked, or reached
/// by their host end.
pub fn port(random: &mut Random, seat: usize) -> (Port, Sets) {
    let id = u8::try_from(seat % 200).unwrap_or(0);
    let mut addresses = own(seat).to_vec();
    if random.chance(20) {
        let more = (0..5).map(|n| IpAddr::from(Ipv4Addr::new(10, 0, 1 + n, id)));
        addresses.extend(more);
    }
    let mut sets = Vec::new();
    let acl = if random.chance(70) {
        ["in", "out"].map(|direction| acl(random, &format!("{seat}-{direction}"), &mut sets))
    } else {
        [Acl::open(), Acl::open()]
    };
    let port = Port {
        endpoint: Guid::from_bytes([id; 16]),
        network: Guid::from_bytes([if seat % 4 == 3 { 0xb0 } else { 0xa0 }; 16]),
        mac: mac(seat),
        addresses,
        guards: guards(random),
        blocked: random.chance(3),
        quiet: random.chance(8),
        plain_redirect: random.chance(15),
        external: None,
        reflected: false,
        overlay: false,
        behind_host: [false; 2],
        // Without a draw, so that older seeds keep their boards.
        ruled: seat.is_multiple_of(2),
        confined: (seat % 4 > 1).then(|| vec![host()]),
        acl,
        meters: [rate(random), rate(random)],
    };
    (port, Sets::new(sets))
}

fn guards(random: &mut Random) -> Guards {
    if random.chance(60) {
        return Guards::ALL;
    }
    Guards {
        spoofing: random.chance(40),
        router_advertisements: random.chance(50),
        dhcp_servers: random.chance(50),
    }
}

fn rate(random: &mut Random) -> Option<Rate> {
    random
        .chance(12)
        .then(|| Rate { bytes_per_second: random.pick(&[100, 10_000, 1_000_000]), burst_bytes: 1500 })
}

fn acl(random: &mut Random, name: &str, sets: &mut Vec<(String, Vec<Cidr>)>) -> Acl {
    let tiers = if random.chance(35) { 1 + random.below(3) } else { 0 };
    let own = named_sets(random, name);
    let ids: Vec<String> = own.iter().map(|(id, _)| id.clone()).collect();
    sets.extend(own);
    let size = random_size(random.below(100));
    Acl {
        tiers: (0..tiers).map(|order| tier(random, order, &ids)).collect(),
        rules: rules(random, &ids, size, false),
        fallback: if random.chance(60) { Verdict::Block } else { Verdict::Allow },
    }
}

/// Mostly few rules, sometimes more than one chunk of the tables holds.
fn random_size(dice: usize) -> usize {
    match dice {
        0..=94 => dice % 12,
        95..=98 => 60 + dice,
        _ => 700,
    }
}

fn tier(random: &mut Random, order: usize, sets: &[String]) -> Tier {
    let count = random.below(6);
    Tier {
        name: format!("tier-{order}"),
        order: u16::try_from(order).unwrap_or(0),
        rules: rules(random, sets, count, true),
    }
}

fn named_sets(random: &mut Random, name: &str) -> Vec<(String, Vec<Cidr>)> {
    (0..4)
        .map(|number| {
            let size = random.below(6);
            let members = (0..size).map(|_| cidr(random)).collect();
            (format!("{name}-{number}"), members)
        })
        .collect()
}

/// The sets with one that has other members, or one member more or less.
#[must_use]
pub fn changed_sets(random: &mut Random, sets: &Sets) -> Sets {
    let ids: Vec<&String> = sets.iter().map(|(id, _)| id).collect();
    if ids.is_empty() {
        return sets.clone();
    }
    let mut changed = Vec::new();
    for _ in 0..=random.below(3) {
        let id = random.pick(&ids);
        let mut members = sets.members(id).to_vec();
        match random.below(3) {
            0 => members = (0..random.below(6)).map(|_| cidr(random)).collect(),
            1 => drop(members.pop()),
            _ => members.push(cidr(random)),
        }
        changed.push((id.clone(), members));
    }
    Sets::new(changed).with_those_of(sets)
}

/// Rules as [`Acl`] wants them: by ascending priority, Block before Allow.
pub fn rules(random: &mut Random, sets: &[String], count: usize, in_tier: bool) -> Vec<Rule> {
    let mut rules: Vec<_> = (0..count).map(|number| rule(random, sets, number, in_tier)).collect();
    for rule in rules.iter_mut().filter(|rule| rule.action == Action::Block) {
        if random.chance(10) {
            rule.action = Action::Observe;
        }
    }
    rules.sort_by_key(|rule| (rule.priority, rule.action == Action::Allow));
    rules
}

fn rule(random: &mut Random, sets: &[String], number: usize, in_tier: bool) -> Rule {
    let actions: &[Action] =
        if in_tier { &[Action::Allow, Action::Block, Action::Pass] } else { &[Action::Allow, Action::Block] };
    let origins: &[Origin] = if in_tier { &[Origin::Tier] } else { &[Origin::Endpoint, Origin::Network] };
    Rule {
        id: format!("rule-{number}"),
        origin: random.pick(origins),
        priority: u16::try_from(100 + random.below(30)).unwrap_or(100),
        action: random.pick(actions),
        matches: matches(random, sets),
    }
}

fn matches(random: &mut Random, sets: &[String]) -> Match {
    let protocols = if random.chance(30) {
        Vec::new()
    } else {
        (0..=random.below(3)).map(|_| random.pick(&PROTOCOLS)).collect()
    };
    Match {
        protocols,
        local: addresses(random, sets),
        remote: addresses(random, sets),
        local_ports: ranges(random),
        remote_ports: ranges(random),
        icmp: icmp(random),
    }
}

fn addresses(random: &mut Random, sets: &[String]) -> Addresses {
    match random.below(10) {
        0..=3 => Addresses::Any,
        4..=7 => Addresses::Prefixes((0..=random.below(3)).map(|_| cidr(random)).collect()),
        _ if sets.is_empty() => Addresses::Any,
        _ => {
            let count = 1 + random.below(2);
            Addresses::Sets((0..count).map(|_| sets[random.below(sets.len())].clone()).collect())
        }
    }
}

fn ranges(random: &mut Random) -> Vec<PortRange> {
    if random.chance(65) {
        return Vec::new();
    }
    (0..=random.below(2))
        .filter_map(|_| {
            let start = random.pick(&PORTS);
            let more = if random.chance(30) { 3000 } else { 0 };
            PortRange::new(start, start + more).ok()
        })
        .collect()
}

fn icmp(random: &mut Random) -> Vec<IcmpType> {
    if random.chance(85) {
        return Vec::new();
    }
    let code = random.chance(50).then_some(0);
    vec![IcmpType { kind: random.pick(&[0, 3, 8, 128, 129]), code }]
}

/// From those that packets come from and go to, and wider ones.
fn cidr(random: &mut Random) -> Cidr {
    let address = super::story::address(random);
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let length = match random.below(6) {
        0 => 0,
        1 | 2 => whole - 8,
        3 => whole - 1,
        _ => whole,
    };
    Cidr::new(address, length).unwrap_or_else(|_| Cidr::host(address))
}
