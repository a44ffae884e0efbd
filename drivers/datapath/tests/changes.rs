//! Rules and sets that change while packets run through the programs: a packet meets those of before or those of after. What all
//! versions block is never let through, what all allow never dropped.
//!
//! ```sh
//! HNS_CHANGES=100000 cargo test --release -p hns-datapath --test changes -- --nocapture
//! ```

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use hns_abi::{Direction, Reason};
use hns_datapath::{Datapath, RealDatapath, test_run};
use hns_net::{Cidr, Guid, PortRange};
use hns_testbed::needs;
use hns_vfp::generate::{Content, Datagram, Link, Random, rules};
use hns_vfp::model::{Acl, Action, Addresses, Match, Origin, Port, Rule, Sets, Verdict, both};
use support::{guid, index_of, isolated, link, port, run, start};

const CHANGES: usize = 1_500;
/// Of each frame in one call.
const REPEATED: u32 = 500;
/// Every so many changes the former rules leave the maps.
const COLLECTED: usize = 500;

/// A peer, its port, and what becomes of it.
struct Peer {
    address: &'static str,
    local_port: u16,
    set: &'static str,
    action: Action,
}

const FOE: Peer = Peer { address: "10.9.0.66", local_port: 7001, set: "bad", action: Action::Block };
const FRIEND: Peer = Peer { address: "10.9.0.77", local_port: 7002, set: "good", action: Action::Allow };

impl Peer {
    /// One of the ways to say it.
    fn rule(&self, random: &mut Random) -> Rule {
        let ports = |start, end| vec![PortRange::new(start, end).unwrap()];
        let within =
            |length| Addresses::Prefixes(vec![Cidr::new(self.address.parse().unwrap(), length).unwrap()]);
        let (remote, local_ports) = match random.below(4) {
            0 => (within(32), Vec::new()),
            1 => (within(24), ports(self.local_port, self.local_port)),
            2 => (Addresses::Any, ports(self.local_port, self.local_port)),
            _ => (Addresses::Sets(vec![self.set.to_owned()]), Vec::new()),
        };
        let matches = Match { protocols: vec![17], remote, local_ports, ..Match::default() };
        Rule { id: self.set.to_owned(), origin: Origin::Endpoint, priority: 1, action: self.action, matches }
    }

    fn frame(&self) -> Vec<u8> {
        let content = Content::Udp { source: 4000, destination: self.local_port, bytes: 20 };
        let datagram = Datagram::new(self.address.parse().unwrap(), "10.9.0.1".parse().unwrap(), content);
        datagram.frame(Link { destination: port(1).mac, source: port(9).mac })
    }
}

/// Both peers' rules among others behind them, which say anything.
fn ruled(random: &mut Random) -> Port {
    let mut list = vec![FOE.rule(random), FRIEND.rule(random)];
    if random.chance(50) {
        list.swap(0, 1);
    }
    let count = random.below(60);
    list.extend(rules(random, &["bad".to_owned(), "good".to_owned()], count, false));
    let fallback = if random.chance(50) { Verdict::Allow } else { Verdict::Block };
    Port { acl: both(Acl { tiers: Vec::new(), rules: list, fallback }, Acl::open()), ..port(1) }
}

/// Sets that have their peer, and some others.
fn sets(random: &mut Random) -> Sets {
    let mut members = |peer: &Peer| {
        let mut members: Vec<Cidr> = vec![format!("{}/32", peer.address).parse().unwrap()];
        for _ in 0..random.below(5) {
            let other = format!("10.9.{}.0/{}", 1 + random.below(9), 24 + random.below(9));
            members.push(other.parse().unwrap());
        }
        (peer.set.to_owned(), members)
    };
    Sets::new([members(&FOE), members(&FRIEND)])
}

fn network() -> Guid {
    guid(200)
}

fn dropped(datapath: &RealDatapath) -> u64 {
    let counts = datapath.drops().unwrap();
    counts.iter().filter(|count| count.reason == Reason::AclIn).map(|count| count.packets).sum()
}

/// Runs a frame until it is told to stop; says how often.
fn flood(datapath: &RealDatapath, peer: &Peer, ifindex: u32, stop: &AtomicBool) -> u64 {
    let frame = peer.frame();
    let mut runs = 0;
    while !stop.load(Ordering::Relaxed) {
        test_run::time(datapath, Direction::In, &frame, ifindex, REPEATED).unwrap();
        runs += u64::from(REPEATED);
    }
    runs
}

/// What `peer` sends while rules and sets change: how many packets, and how many of them were dropped.
fn amid_changes(datapath: &RealDatapath, peer: &Peer, random: &mut Random, changes: usize) -> (u64, u64) {
    let ifindex = index_of("hnv1");
    datapath.set_sets(network(), &Arc::new(sets(random))).unwrap();
    datapath.set_port(&link(1), &Arc::new(ruled(random))).unwrap();
    let (before, stop, sent) = (dropped(datapath), AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| sent.store(flood(datapath, peer, ifindex, &stop), Ordering::Relaxed));
        for change in 0..changes {
            if random.chance(40) {
                datapath.set_sets(network(), &Arc::new(sets(random))).unwrap();
            } else {
                datapath.set_port(&link(1), &Arc::new(ruled(random))).unwrap();
            }
            if change % COLLECTED == 0 {
                datapath.collect().unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    (sent.load(Ordering::Relaxed), dropped(datapath) - before)
}

#[test]
fn no_packet_meets_half_a_change() {
    needs!(root, "ip", "tc");
    let changes = std::env::var("HNS_CHANGES").map_or(CHANGES, |text| text.parse().unwrap());
    isolated(|folder| {
        // Down, so that nobody else's packets are counted.
        run(&["ip", "link", "add", "hnv1", "type", "veth", "peer", "name", "peer1"]);
        let datapath = start(folder);
        let random = &mut Random::new(7);
        let (sent, dropped) = amid_changes(&datapath, &FOE, random, changes / 2);
        println!("{sent} packets that all rules block, {} passed", sent - dropped);
        assert_eq!(sent, dropped, "{} packets passed that all rules block", sent - dropped);
        let (sent, dropped) = amid_changes(&datapath, &FRIEND, random, changes / 2);
        println!("{sent} packets that all rules allow, {dropped} dropped");
        assert_eq!(dropped, 0, "of {sent} packets that all rules allow");
    });
}
