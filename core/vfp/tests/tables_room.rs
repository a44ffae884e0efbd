//! Ten thousand rules on a port take the room of two versions at most, however often they change; and what a map has no room for
//! changes nothing.

#![allow(clippy::unwrap_used, reason = "the whole file is a test")]

use std::net::{IpAddr, Ipv4Addr};

use hns_abi::{Direction, Map};
use hns_net::{Cidr, Guid, Mac, PortRange};
use hns_vfp::generate::Random;
use hns_vfp::model::{Acl, Action, Addresses, Guards, Match, Origin, Port, Rule, Sets, Verdict, both};
use hns_vfp::tables::{Capacity, Tables, TablesError, Write};
use proptest::prelude::*;

const RULES: u32 = 10_000;
const CHANGES: u32 = 10;
const LINK: u32 = 3;
const NETWORK: Guid = Guid::from_bytes([7; 16]);

/// What the rules differ in.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Addresses,
    Ports,
    Both,
}

fn rule(kind: Kind, number: u32) -> Rule {
    let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number));
    let remote = Addresses::Prefixes(vec![Cidr::host(address)]);
    let ports = vec![PortRange::single(u16::try_from(1 + number % 60_000).unwrap()).unwrap()];
    let matches = match kind {
        Kind::Addresses => Match { remote, ..Match::default() },
        Kind::Ports => Match { local_ports: ports, ..Match::default() },
        Kind::Both => Match { remote, local_ports: ports, ..Match::default() },
    };
    let action = if number.is_multiple_of(2) { Action::Allow } else { Action::Block };
    Rule {
        id: String::new(),
        origin: Origin::Endpoint,
        priority: 100,
        action,
        matches: Match { protocols: vec![6], ..matches },
    }
}

fn port(rules: Vec<Rule>) -> Port {
    let acl = Acl { tiers: Vec::new(), rules, fallback: Verdict::Block };
    Port {
        endpoint: Guid::from_bytes([1; 16]),
        network: NETWORK,
        mac: Mac::from_u64(0x0200_0000_0001),
        addresses: vec!["10.0.0.1".parse().unwrap()],
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
        acl: both(acl, Acl::open()),
        meters: [None; 2],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1, ..ProptestConfig::default() })]

    #[test]
    fn rules_of_a_full_port_are_replaced_without_end(seed in any::<u64>()) {
        for kind in [Kind::Addresses, Kind::Ports, Kind::Both] {
            replace(kind, &mut Random::new(seed))?;
        }
    }
}

fn replace(kind: Kind, random: &mut Random) -> Result<(), TestCaseError> {
    let mut tables = Tables::new(1);
    let mut port = port((0..RULES).map(|number| rule(kind, number)).collect());
    tables.set_port(LINK, &port, 0).unwrap();
    let first = tables.usage();
    for change in 0..CHANGES {
        let rules = &mut port.acl[Direction::In.index()].rules;
        let place = random.below(rules.len());
        rules[place] = rule(kind, RULES + change);
        let outcome = tables.set_port(LINK, &port, 0);
        prop_assert!(outcome.is_ok(), "{kind:?}, change {change}: {:?}; at first {first:?}", outcome.err());
        release(&mut tables);
        let now = tables.usage();
        let most = first.directory + first.directory / 10;
        prop_assert!(now.directory <= most, "{kind:?}, change {change}: {now:?} after {first:?}");
    }
    tables.remove_port(LINK);
    release(&mut tables);
    prop_assert_eq!(tables.usage(), Tables::new(1).usage());
    Ok(())
}

fn release(tables: &mut Tables) {
    let former = tables.former().unwrap();
    tables.release(former);
}

/// A port with a rule that names a set, and one like no other port's.
fn naming_a_set(number: u32) -> Port {
    let remote = Addresses::Sets(vec!["blue".to_owned()]);
    let named = Rule { matches: Match { remote, ..Match::default() }, ..rule(Kind::Ports, 0) };
    let port = port(vec![named, rule(Kind::Ports, number)]);
    Port { endpoint: Guid::from_bytes([u8::try_from(number).unwrap(); 16]), ..port }
}

fn set(id: &str, members: impl IntoIterator<Item = u32>) -> (String, Vec<Cidr>) {
    let member = |number: u32| Cidr::host(IpAddr::V4(Ipv4Addr::from_bits(number)));
    (id.to_owned(), members.into_iter().map(member).collect())
}

/// Changes the tables until they have no room; says which map is full. A change without room changes nothing.
fn until_full(
    tables: &mut Tables,
    mut change: impl FnMut(&mut Tables, u32) -> Result<Vec<Write>, TablesError>,
) -> Option<Map> {
    (1..40).find_map(|number| {
        let before = (tables.everything(), tables.usage());
        let Err(TablesError::NoRoom { map, .. }) = change(tables, number) else { return None };
        assert_eq!((tables.everything(), tables.usage()), before, "{map:?}");
        Some(map)
    })
}

#[test]
fn what_a_map_has_no_room_for_changes_nothing() {
    let whole = Capacity::default();
    let cases = [
        (Map::Rulesets, Capacity { rulesets: 2, ..whole }),
        (Map::Rules, Capacity { rules: 3, ..whole }),
        (Map::PortClasses, Capacity { classes: 2, ..whole }),
        (Map::SetRows, Capacity { set_rows: 2, ..whole }),
        (Map::SetClasses, Capacity { set_classes: 5, ..whole }),
    ];
    for (full, capacity) in cases {
        let mut tables = Tables::with_capacity(1, capacity);
        // What is left of the first round is in nobody's way in the second.
        for _ in 0..2 {
            tables.set_sets(NETWORK, &Sets::new([set("blue", 1..4)])).unwrap();
            (1..4).for_each(|number| drop(tables.set_port(number, &naming_a_set(number), 0).unwrap()));
            let found = until_full(&mut tables, |tables, number| match full {
                Map::SetClasses => tables.set_sets(NETWORK, &Sets::new([set("blue", 0..4 * number)])),
                _ => tables.set_port(3 + number, &naming_a_set(3 + number), 0),
            });
            assert_eq!(found, Some(full));
            (1..44).for_each(|number| drop(tables.remove_port(number)));
            tables.set_sets(NETWORK, &Sets::default()).unwrap();
            release(&mut tables);
            assert!(tables.everything().is_empty(), "{full:?}");
        }
    }
}

/// A combination of sets that is new needs a row of every ruleset that names one of them.
#[test]
fn members_whose_rows_do_not_fit_change_nothing() {
    let mut tables = Tables::with_capacity(1, Capacity { set_rows: 4, ..Capacity::default() });
    (1..10).for_each(|number| drop(tables.set_port(number, &naming_a_set(number), 0).unwrap()));
    let apart = Sets::new([set("blue", [1]), set("red", [2])]);
    tables.set_sets(NETWORK, &apart).unwrap();
    let together = Sets::new([set("blue", [1]), set("red", [1])]);
    assert_eq!(until_full(&mut tables, |tables, _| tables.set_sets(NETWORK, &together)), Some(Map::SetRows));
    assert_eq!(tables.set_sets(NETWORK, &apart).unwrap(), []);
}
