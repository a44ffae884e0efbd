//! What a trial on a snapshot says of a packet is what the kernel then does with it, on random boards in the midst of random stories.

mod support;

use std::sync::Arc;

use hns_abi::{CB_REASON, CB_TARGET, Direction, MARK_RULED, Reason};
use hns_datapath::{Datapath, RealDatapath, test_run};
use hns_net::IfName;
use hns_testbed::needs;
use hns_vfp::flow::Tuple;
use hns_vfp::generate::{Random, Shot, board, port, story};
use hns_vfp::interpreter::{Event, Outcome, Verdict};
use hns_vfp::model::{Rate, Switchboard};
use hns_vfp::packet::{Packet, Transport};
use support::{chain, isolated, name, run, start};

const BOARDS: u64 = 12;
const SHOTS: usize = 150;
/// After so many packets a port gets another policy.
const CHANGE: usize = 50;
const LINKS: [u32; 4] = [1001, 1002, 1003, 1004];
/// How many of these the trials must have met to mean anything.
const KNOWN: usize = 20;
const REFUSED: usize = 100;

fn link(ifindex: u32) -> IfName {
    name(&format!("hnv{ifindex}"))
}

/// So slow that the bytes alone decide.
fn slow(meter: &mut Option<Rate>) {
    *meter = meter.map(|meter| Rate { bytes_per_second: 1, ..meter });
}

/// The kernel runs no test with a frame that ends within the fixed header.
fn can_be_tested(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.len() >= 14 + 20,
        Some([0x86, 0xdd]) => frame.len() >= 14 + 40,
        _ => frame.len() >= 14,
    }
}

/// Whether a port that remembers no fragments can say what becomes of it.
fn is_whole(frame: &[u8]) -> bool {
    let packet = Packet::parse(frame);
    packet.is_ok_and(|packet| packet.ip().is_none_or(|ip| ip.transport != Transport::Later))
}

/// The connections that any port may take this packet to be of, or to be about.
fn connections(board: &Switchboard, frame: &[u8]) -> Vec<(u32, Tuple)> {
    let Ok(packet) = Packet::parse(frame) else { return Vec::new() };
    let Some(ip) = packet.ip() else { return Vec::new() };
    let mut tuples = Vec::new();
    for direction in [Direction::In, Direction::Out] {
        tuples.push(Tuple::of(ip, direction));
        if let Transport::Icmp(icmp) = &ip.transport {
            tuples.extend(icmp.about.as_ref().map(|quoted| Tuple::quoted(quoted, direction)));
        }
    }
    board.ports.keys().flat_map(|ifindex| tuples.iter().map(|tuple| (*ifindex, *tuple))).collect()
}

fn tried(datapath: &RealDatapath, shot: &Shot) -> Outcome {
    let snapshot = datapath.snapshot(&|board| connections(board, &shot.frame));
    let mut snapshot = snapshot.unwrap_or_else(|error| panic!("{}", chain(&error)));
    match shot.direction {
        Direction::Out => snapshot.switch.out(shot.ifindex, &shot.frame, snapshot.now),
        Direction::In => snapshot.switch.inward(shot.ifindex, &shot.frame, shot.ruled, snapshot.now),
    }
}

/// Verdict, reason and target.
type Fate = (u32, Option<Reason>, Option<u32>);

fn fate_of(outcome: &Outcome) -> Fate {
    match outcome.verdict {
        Verdict::Drop(refusal) => (test_run::DROP, Some(refusal.reason), None),
        Verdict::Pass => (test_run::PASS, None, None),
        Verdict::Redirect { ifindex, .. }
        | Verdict::Adapter { ifindex, .. }
        | Verdict::Tunnel { ifindex, .. } => (test_run::REDIRECT, None, Some(ifindex)),
        Verdict::Back { .. } => (test_run::DROP, None, None),
        Verdict::Next { .. } => (test_run::NEXT, None, None),
    }
}

fn fate_in_the_kernel(datapath: &RealDatapath, shot: &Shot) -> Fate {
    let mark = if shot.ruled { MARK_RULED } else { 0 };
    let ran = test_run::run(datapath, shot.direction, &shot.frame, shot.ifindex, mark);
    let ran = ran.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let reason = u16::try_from(ran.cb[CB_REASON]).ok().and_then(Reason::from_number);
    (ran.retval, reason, (ran.retval == test_run::REDIRECT).then_some(ran.cb[CB_TARGET]))
}

fn set(datapath: &RealDatapath, ifindex: u32, port: hns_vfp::Port) {
    let set = datapath.set_port(&link(ifindex), &Arc::new(port));
    set.unwrap_or_else(|error| panic!("link {ifindex}: {}", chain(&error)));
}

#[test]
fn a_trial_says_what_the_kernel_does() {
    needs!(root, "ip");
    isolated(|folder| {
        for ifindex in LINKS {
            let (link, peer, number) = (link(ifindex), format!("q{ifindex}"), ifindex.to_string());
            let index = ["index", &number];
            run(&[
                &["ip", "link", "add", link.as_str()][..],
                &index,
                &["type", "veth", "peer", "name", &peer],
            ]
            .concat());
        }
        let datapath = start(folder);
        let (mut known, mut refused) = (0, 0);
        for seed in 0..BOARDS {
            let random = &mut Random::new(seed);
            let board = board(random, &LINKS);
            for (network, sets) in &board.sets {
                datapath.set_sets(*network, sets).unwrap();
            }
            for (ifindex, port) in &board.ports {
                let mut port = port.clone();
                port.meters.iter_mut().for_each(slow);
                datapath.remove_port(&link(*ifindex)).unwrap();
                set(&datapath, *ifindex, port);
            }
            for (number, shot) in story(random, &board, SHOTS).iter().enumerate() {
                if number % CHANGE == CHANGE - 1 {
                    let seat = random.below(LINKS.len());
                    let (mut port, sets) = port(random, seat);
                    let held = datapath.held_sets().unwrap().remove(&port.network).unwrap_or_default();
                    datapath.set_sets(port.network, &Arc::new(sets.with_those_of(&held))).unwrap();
                    port.meters.iter_mut().for_each(slow);
                    set(&datapath, LINKS[seat], port);
                }
                if !can_be_tested(&shot.frame) {
                    continue;
                }
                let trial = tried(&datapath, shot);
                let fate = fate_in_the_kernel(&datapath, shot);
                if !is_whole(&shot.frame) {
                    continue;
                }
                assert_eq!(fate_of(&trial), fate, "board {seed}, packet {number}: {shot:02x?} {trial:#?}");
                known +=
                    usize::from(trial.steps.iter().any(|step| matches!(step.event, Event::Known { .. })));
                refused += usize::from(trial.reason().is_some());
            }
        }
        assert!(known >= KNOWN && refused >= REFUSED, "{known} known, {refused} refused");
    });
}
