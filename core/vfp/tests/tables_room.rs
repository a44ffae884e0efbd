//! Ten thousand rules on a port take the room of two versions at most, however often they change.

#![allow(clippy::unwrap_used, reason = "the whole file is a test")]

use std::net::{IpAddr, Ipv4Addr};

use hns_abi::Direction;
use hns_net::{Cidr, Guid, Mac, PortRange};
use hns_vfp::generate::Random;
use hns_vfp::model::{Acl, Action, Addresses, Guards, Match, Origin, Port, Rule, Verdict, both};
use hns_vfp::tables::Tables;
use proptest::prelude::*;

const RULES: u32 = 10_000;
const CHANGES: u32 = 10;
const LINK: u32 = 3;

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
        network: Guid::from_bytes([7; 16]),
        mac: Mac::from_u64(0x0200_0000_0001),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        guards: Guards::ALL,
        blocked: false,
        quiet: false,
        plain_redirect: false,
        external: None,
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
