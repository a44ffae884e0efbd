//! Records of ports and their names in the tables.

#![allow(clippy::unwrap_used, reason = "the whole file is a test")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use hns_abi::{Addr, LOW_IFINDEXES, Map};
use hns_net::{Guid, Mac};
use hns_vfp::model::{Acl, Guards, Port, Rate, Verdict, both};
use hns_vfp::tables::machine::Maps;
use hns_vfp::tables::{Capacity, Tables, TablesError, Write};

const NETWORK: Guid = Guid::from_bytes([7; 16]);

fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

fn port(number: u8) -> Port {
    Port {
        endpoint: Guid::from_bytes([number; 16]),
        network: NETWORK,
        mac: Mac::from_u64(0x0200_0000_0000 + u64::from(number)),
        addresses: vec![ip(number)],
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

/// Tables with the maps that their writes are carried out on.
struct Bench {
    tables: Tables,
    maps: Maps,
}

impl Bench {
    fn new() -> Self {
        Self { tables: Tables::new(1), maps: Maps::new() }
    }

    fn carry_out(&mut self, writes: &[Write]) {
        let links = [4, 5, 6, LOW_IFINDEXES - 1, LOW_IFINDEXES, u32::MAX];
        for write in writes {
            let before = links.map(|ifindex| self.maps.port(ifindex));
            self.maps.carry_out(write);
            let is_record = matches!(write, Write::Array { map: Map::Ports, .. });
            assert!(
                !is_record || links.map(|ifindex| self.maps.port(ifindex)) == before,
                "a record in use changes"
            );
        }
        assert_eq!(self.maps.entries, self.tables.everything());
        for ifindex in links {
            assert_eq!(self.maps.port(ifindex).as_ref(), self.tables.record(ifindex));
        }
    }

    fn set(&mut self, ifindex: u32, port: &Port) -> hns_abi::Port {
        let writes = self.tables.set_port(ifindex, port, 1_000).unwrap();
        self.carry_out(&writes);
        *self.tables.record(ifindex).unwrap()
    }

    fn remove(&mut self, ifindex: u32) {
        let writes = self.tables.remove_port(ifindex);
        self.carry_out(&writes);
    }
}

#[test]
fn the_hosts_addresses_are_known_while_a_port_of_a_confined_network_is() {
    let mut bench = Bench::new();
    let confined = |number| Port { confined: Some(vec![ip(254), ip(254), ip(number)]), ..port(number) };
    let record = bench.set(4, &confined(1));
    assert_ne!(record.flags & hns_abi::PORT_CONFINED, 0);
    bench.set(5, &confined(2));
    assert_eq!(bench.maps.owner(1, ip(254).into()), Some(hns_abi::OWNER_HOST));
    assert_eq!(bench.maps.owner(1, ip(1).into()), Some(4), "its own stays its own");
    bench.remove(4);
    assert_eq!(bench.maps.owner(1, ip(254).into()), Some(hns_abi::OWNER_HOST));
    let record = bench.set(5, &port(2));
    assert_eq!(
        (record.flags & hns_abi::PORT_CONFINED, record.generation),
        (0, 1),
        "no connection is judged again"
    );
    assert_eq!(bench.maps.owner(1, ip(254).into()), None);
    bench.remove(5);
    assert_eq!(bench.maps.entries, BTreeMap::new());
}

#[test]
fn a_bare_port_is_a_record_a_mac_and_its_addresses() {
    let mut bench = Bench::new();
    let many = Port { addresses: (1..=6).map(ip).collect(), ..port(1) };
    let record = bench.set(4, &many);
    assert_eq!((record.id, record.network, record.ruleset), (1, 1, [0, 0]));
    assert_eq!(record.own.map(Addr::ip), [1, 2, 3, 4].map(ip));
    assert_ne!(record.flags & hns_abi::PORT_MORE_ADDRESSES, 0);
    assert_eq!(record.flags & hns_abi::PORT_STATEFUL, 0);
    assert_eq!(bench.maps.owner(1, ip(6).into()), Some(4));
    assert_eq!(bench.maps.entries.len(), 6 + 1);
    assert_eq!(bench.tables.set_port(4, &many, 2_000).unwrap(), []);
    bench.remove(4);
    assert_eq!(bench.maps.entries, BTreeMap::new());
}

#[test]
fn an_address_that_moves_stays_with_the_port_that_has_it() {
    let mut bench = Bench::new();
    bench.set(4, &port(1));
    bench.set(5, &Port { addresses: vec![ip(1)], ..port(2) });
    assert_eq!(bench.maps.owner(1, ip(1).into()), Some(5));
    bench.remove(4);
    assert_eq!(bench.maps.owner(1, ip(1).into()), Some(5));
    bench.remove(5);
    assert_eq!(bench.maps.owner(1, ip(1).into()), None);
}

#[test]
fn first_rules_open_the_span_of_adoption_and_raise_the_generation() {
    let mut bench = Bench::new();
    let bare = bench.set(4, &port(1));
    let closed = Acl { fallback: Verdict::Block, ..Acl::open() };
    let ruled = bench.set(4, &Port { acl: both(closed, Acl::open()), ..port(1) });
    assert_eq!((bare.adopt_until, ruled.adopt_until), (0, 300_000_001_000));
    assert_eq!(ruled.generation, bare.generation + 1);
    assert_eq!(ruled.fallback, [hns_abi::ACTION_BLOCK, hns_abi::ACTION_ALLOW]);
    assert_ne!(ruled.flags & hns_abi::PORT_STATEFUL, 0);
}

#[test]
fn a_meter_does_not_raise_the_generation() {
    let mut bench = Bench::new();
    let before = bench.set(4, &port(1));
    let rate = Rate { bytes_per_second: 1_000_000, burst_bytes: 10_000 };
    let after = bench.set(4, &Port { meters: [None, Some(rate)], ..port(1) });
    assert_eq!(after.generation, before.generation);
    let meter: hns_abi::Meter =
        bench.maps.get(Map::Meters, &hns_abi::MeterKey { port: 1, direction: 1 }).unwrap();
    assert_eq!((meter.picoseconds_per_byte, meter.burst), (1_000_000, 10_000_000));
    bench.set(4, &port(1));
    assert!(bench.maps.entries.keys().all(|(map, _)| *map != Map::Meters));
}

#[test]
fn a_resumed_port_keeps_its_number_and_gets_a_newer_generation() {
    let mut first = Bench::new();
    first.set(4, &port(1));
    let old = first.set(5, &port(2));
    let mut second = Bench { tables: Tables::resume(&BTreeMap::from([(5, old)])), maps: Maps::new() };
    let new = second.set(6, &port(3));
    let again = second.set(5, &port(2));
    assert_eq!((again.id, again.generation), (old.id, old.generation + 1));
    assert!(new.id > old.id);
    let other =
        Bench { tables: Tables::resume(&BTreeMap::from([(5, old)])), maps: Maps::new() }.set(5, &port(9));
    assert_ne!(other.id, old.id);
}

#[test]
fn too_many_rules_and_full_maps_are_refused_and_leave_everything_as_it_was() {
    let rules = |count: u32| {
        let rule = |number: u32| hns_vfp::model::Rule {
            id: String::new(),
            origin: hns_vfp::model::Origin::Endpoint,
            priority: 1,
            action: hns_vfp::model::Action::Block,
            matches: hns_vfp::model::Match {
                remote: hns_vfp::model::Addresses::Prefixes(vec![hns_net::Cidr::host(IpAddr::V4(
                    number.into(),
                ))]),
                ..Default::default()
            },
        };
        let acl = Acl { rules: (0..count).map(rule).collect(), ..Acl::open() };
        Port { acl: both(acl.clone(), acl), ..port(1) }
    };
    let mut tables = Tables::with_capacity(1, Capacity { directory: 10, chunks: 8, ..Capacity::default() });
    tables.set_port(4, &rules(10), 0).unwrap();
    let before = (tables.everything(), tables.usage());
    assert!(matches!(tables.set_port(4, &rules(16_385), 0), Err(TablesError::TooManyRules { .. })));
    assert!(matches!(tables.set_port(4, &rules(2_000), 0), Err(TablesError::NoRoom { .. })));
    assert_eq!((tables.everything(), tables.usage()), before);
    tables.set_port(4, &rules(20), 0).unwrap();
}

/// The programs follow one Pass a tier, and no more of them than this.
#[test]
fn too_many_tiers_are_refused() {
    let tier = |order: u16| hns_vfp::model::Tier { name: String::new(), order, rules: Vec::new() };
    let with = |count: u16| {
        let acl = Acl { tiers: (0..count).map(tier).collect(), ..Acl::open() };
        Port { acl: both(acl, Acl::open()), ..port(1) }
    };
    let mut tables = Tables::new(1);
    tables.set_port(4, &with(1024), 0).unwrap();
    assert!(matches!(tables.set_port(4, &with(1025), 0), Err(TablesError::TooManyTiers { tiers: 1025, .. })));
}

#[test]
fn a_link_of_any_number_leads_to_its_record() {
    let mut bench = Bench::new();
    for (ifindex, number) in [(LOW_IFINDEXES - 1, 1), (LOW_IFINDEXES, 2), (u32::MAX, 3)] {
        assert_eq!(bench.set(ifindex, &port(number)).ifindex, ifindex);
        bench.set(ifindex, &Port { quiet: true, ..port(number) });
    }
    for ifindex in [LOW_IFINDEXES - 1, LOW_IFINDEXES, u32::MAX] {
        bench.remove(ifindex);
    }
    assert_eq!(bench.maps.entries, BTreeMap::new());
}

/// A program may read the former record until it ends; what was never released is not written to.
#[test]
fn records_that_were_given_up_are_used_again_once_they_are_released() {
    let mut tables = Tables::with_capacity(1, Capacity { ports: 2, ..Capacity::default() });
    let quiet = |quiet| Port { quiet, ..port(1) };
    let mut slots = Vec::new();
    for round in 0..3 {
        for write in tables.set_port(4, &quiet(round % 2 == 0), 0).unwrap() {
            if let Write::Array { map: Map::Ports, index, .. } = write {
                slots.push(index);
            }
        }
    }
    assert_eq!(slots, [1, 2, 3]);
    let before = tables.everything();
    let no_room = |outcome: Result<Vec<Write>, TablesError>| {
        assert!(matches!(outcome, Err(TablesError::NoRoom { map: Map::Ports, .. })), "{outcome:?}");
    };
    no_room(tables.set_port(4, &quiet(false), 0));
    no_room(tables.set_port(5, &port(2), 0));
    assert_eq!(tables.everything(), before);
    let former = tables.former().unwrap();
    assert_eq!(tables.release(former), []);
    assert_eq!(tables.former(), None);
    tables.set_port(5, &port(2), 0).unwrap();
    tables.set_port(4, &quiet(false), 0).unwrap();
    no_room(tables.set_port(6, &port(3), 0));
    tables.remove_port(5);
    let former = tables.former().unwrap();
    tables.release(former);
    tables.set_port(6, &port(3), 0).unwrap();
}
