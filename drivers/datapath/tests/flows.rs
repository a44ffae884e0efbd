//! Where connections stand: most never reach the table of those that last, and no port has more than its share of it.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aya::Pod;
use aya::maps::{HashMap, Map as AyaMap, MapData};
use hns_abi::{Direction, FLOWS_OF_A_PORT_MAX, Flow, FlowKey, Map};
use hns_datapath::{Datapath, RealDatapath, VERSION, test_run};
use hns_testbed::{eventually, needs};
use hns_vfp::generate::{Content, Datagram, Link};
use hns_vfp::model::{Action, Match, Origin, Port, Rule};
use support::{Containers, address, isolated, link, output, port, settings, start};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x01;
/// As LASTING_PACKETS of bpf/lib/timeouts.h.
const LASTING_PACKETS: u8 = 16;
const SERVICE: u16 = 80;

/// Two ports with rules, numbered 1 and 2, at which packets are tried.
struct Pair {
    datapath: RealDatapath,
    links: [u32; 2],
    pins: PathBuf,
    _containers: Containers,
}

impl Pair {
    fn new(folder: &Path) -> Self {
        let containers = Containers::new(folder, 2);
        let datapath = start(folder);
        for n in [1, 2] {
            datapath.set_port(&link(n), &Arc::new(filtered(n))).unwrap();
        }
        let links = [1, 2].map(|n| {
            let shown = output(&["ip", "-o", "link", "show", link(n).as_str()]);
            shown.split(':').next().unwrap().parse().unwrap()
        });
        let pins = settings(folder).pins.join(format!("v{VERSION}"));
        Self { datapath, links, pins, _containers: containers }
    }

    /// A segment of the connection from this port number of the first container to the second one, or back.
    fn send(&self, number: u16, back: bool, flags: u8) {
        let (from, to) = if back { (2, 1) } else { (1, 2) };
        let (source, destination) = if back { (SERVICE, number) } else { (number, SERVICE) };
        let ends = [from, to].map(|n| address(n).parse().unwrap());
        let segment = Content::Tcp { source, destination, flags, bytes: 0 };
        let link = Link { source: port(from).mac, destination: port(to).mac };
        let frame = Datagram::new(ends[0], ends[1], segment).frame(link);
        let outcome =
            test_run::run(&self.datapath, Direction::Out, &frame, self.links[usize::from(back)], 0).unwrap();
        assert_eq!(outcome.retval, test_run::REDIRECT, "{outcome:?}");
    }

    fn open(&self, number: u16) {
        self.send(number, false, SYN);
        self.send(number, true, SYN | ACK);
        self.send(number, false, ACK);
    }

    fn talk(&self, number: u16, packets: u8) {
        (0..packets).for_each(|packet| self.send(number, packet % 2 == 0, ACK));
    }

    fn close(&self, number: u16) {
        self.send(number, false, FIN | ACK);
        self.send(number, true, FIN | ACK);
        self.send(number, false, ACK);
    }

    fn map<K: Pod, V: Pod>(&self, map: Map) -> HashMap<MapData, K, V> {
        let data = MapData::from_pin(self.pins.join(map.name())).unwrap();
        HashMap::try_from(AyaMap::HashMap(data)).unwrap()
    }

    /// How many connections last.
    fn lasting(&self) -> usize {
        let map = self.map::<[u8; size_of::<FlowKey>()], [u8; size_of::<Flow>()]>(Map::Established);
        map.keys().collect::<Result<Vec<_>, _>>().unwrap().len()
    }

    /// How many of them the ports are said to have.
    fn tallies(&self) -> [u64; 2] {
        let tallies = self.map::<u32, u64>(Map::Tallies);
        [1, 2].map(|port| tallies.get(&port, 0).unwrap_or(0))
    }

    fn tally(&self, port: u32, tally: u64) {
        self.map::<u32, u64>(Map::Tallies).insert(port, tally, 0).unwrap();
    }
}

fn filtered(n: u8) -> Port {
    let mut port = port(n);
    for acl in &mut port.acl {
        let (id, matches) = ("all".into(), Match::default());
        acl.rules =
            vec![Rule { id, origin: Origin::Endpoint, priority: 100, action: Action::Allow, matches }];
    }
    port
}

#[test]
fn a_short_connection_never_counts() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let pair = Pair::new(folder);
        pair.open(1000);
        pair.talk(1000, 4);
        pair.close(1000);
        pair.datapath.collect().unwrap();
        assert_eq!((pair.lasting(), pair.tallies()), (0, [0, 0]));
    });
}

#[test]
fn a_connection_that_goes_on_lasts_until_it_is_closed() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let pair = Pair::new(folder);
        pair.open(1000);
        pair.talk(1000, LASTING_PACKETS);
        assert_eq!((pair.lasting(), pair.tallies()), (1, [1, 1]));
        pair.close(1000);
        assert_eq!((pair.lasting(), pair.tallies()), (0, [0, 0]));
    });
}

/// Many are opened, say little, and are needed for hours: no packet of theirs can move them to where a flood evicts nothing.
#[test]
fn a_quiet_connection_lasts_by_its_age() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let pair = Pair::new(folder);
        pair.open(1000);
        // Without an answer it is never more than half open.
        pair.send(1001, false, SYN);
        let collected = || pair.datapath.collect().is_ok() && pair.lasting() == 1;
        eventually!(collected());
        assert_eq!(pair.tallies(), [1, 1]);
        pair.close(1000);
        assert_eq!((pair.lasting(), pair.tallies()), (0, [0, 0]));
    });
}

#[test]
fn a_port_with_its_share_of_lasting_connections_gets_no_more() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let pair = Pair::new(folder);
        for full in [1, 2] {
            pair.tally(full, u64::from(FLOWS_OF_A_PORT_MAX));
            pair.open(1000);
            pair.talk(1000, 2 * LASTING_PACKETS);
            assert_eq!(pair.lasting(), 0, "port {full}");
            // Nobody has so many: the next walk finds out.
            pair.datapath.collect().unwrap();
            assert_eq!(pair.tallies()[usize::try_from(full).unwrap() - 1], 0);
            pair.talk(1000, 1);
            assert_eq!((pair.lasting(), pair.tallies()), (1, [1, 1]), "port {full}");
            pair.close(1000);
        }
        pair.tally(1, u64::from(FLOWS_OF_A_PORT_MAX) - 1);
        pair.open(1000);
        pair.talk(1000, LASTING_PACKETS);
        pair.open(1001);
        pair.talk(1001, LASTING_PACKETS);
        assert_eq!(pair.lasting(), 1, "there was room for one");
    });
}

#[test]
fn the_tally_of_a_port_goes_with_it() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let pair = Pair::new(folder);
        pair.open(1000);
        pair.talk(1000, LASTING_PACKETS);
        pair.datapath.remove_port(&link(1)).unwrap();
        pair.datapath.collect().unwrap();
        assert_eq!((pair.lasting(), pair.tallies()), (1, [0, 1]), "the other port knows it");
        pair.datapath.remove_port(&link(2)).unwrap();
        pair.datapath.collect().unwrap();
        assert_eq!((pair.lasting(), pair.tallies()), (0, [0, 0]));
    });
}
