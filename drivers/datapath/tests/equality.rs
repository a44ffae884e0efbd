//! The loaded programs against the interpreter, which defines what packets meet: random boards, and on each a story of
//! random packets, run by the kernel and by `core/vfp`. Verdict, reason, target and the frame afterwards must be the same, and what
//! ports remember of connections at the end.
//!
//! The seed is drawn anew for each run and printed. To repeat a run, or to ask for more or fewer packets:
//!
//! ```sh
//! HNS_EQUALITY_SEED=0x1234 HNS_EQUALITY_CASES=1000000 cargo test -p hns-datapath --test equality -- --nocapture
//! ```

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "equality/difference.rs"]
mod difference;
#[path = "equality/external.rs"]
mod external;
#[path = "equality/floors.rs"]
mod floors;
#[path = "equality/overlay.rs"]
mod overlay;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use difference::{Difference, Known, Made, Packet, hex};
use external::{
    HOST, is_external, is_wired, mode, outpost, put_on_the_wire, send_by_the_wire, stays_on_the_wire, uplink,
};
use floors::{CASES_OF_A_SAMPLE, FLOORS};
use hns_abi::{Direction, MARK_RULED, MARK_WIRED};
use hns_datapath::test_run::{self, Outpost};
use hns_datapath::{Datapath, DatapathError, RealDatapath, Watch, WatchedConnection};
use hns_net::{Guid, IfName, UplinkMode};
use hns_testbed::needs;
use hns_vfp::generate::{Random, Shot, board, changed_sets, port, story};
use hns_vfp::interpreter::{self, Outcome, Verdict};
use hns_vfp::layers::wrapping::unwrap;
use hns_vfp::model::{self, Rate, Switchboard};
use hns_vfp::{Port, Switch};
use nix::time::{ClockId, clock_gettime};
use overlay::{
    device_would_get, is_neighbours, is_overlay, put_adapter_on_the_underlay, send_by_the_tunnel,
    send_to_the_router, spread_over_hosts, stays_on_the_overlay,
};
use support::{chain, isolated, name, run, start};

const CASES: usize = 100_000;
/// The comparison while everything is watched has so many times fewer.
const WATCHED_LESS: usize = 4;
/// Boards on which the two differed once.
const FOUND: [u64; 2] = [0x6c39_9629_719f_0469, 0x557f_2e64_36a2_4f26];
/// Packets on one board: enough for connections to live through replies, errors and fragments.
const SHOTS: usize = 300;
/// How often the policy of a port changes meanwhile.
const CHANGES: usize = 3;
/// How often, for each of these, the sets of its network.
const SET_CHANGES: usize = 1;
/// After so many boards their rules are taken out of the maps.
const BOARDS_TO_COLLECT: usize = 16;
/// On one board of so many, each part of the story happens again and again: its connections get old enough to last.
const BOARDS_TO_REPEAT: usize = 4;
const REPETITIONS: usize = 8;
const SHOTS_REPEATED: usize = 80;
/// Kinds of boards, by the rest of their seeds: on an external switch of each mode, on an overlay, on neither.
const KINDS: usize = 12;
const SHOTS_OF_A_PART: usize = 20;
/// An adapter and the port that stands for its wire, of boards with an external switch.
const ADAPTER: u32 = 1005;
const UPLINK: u32 = 1006;
/// The numbers of the host ends, two of them beyond `LOW_IFINDEXES`; the generator puts the last one on another network.
const LINKS: [u32; 4] = [1001, 1002, 70_003, 70_004];
const FAILURES_SHOWN: usize = 10;

/// Rates become so low that only the bytes decide, not the moment.
fn slow_rates(mut board: Switchboard) -> Switchboard {
    board.ports.values_mut().flat_map(|port| &mut port.meters).for_each(slow);
    board
}

fn slow(meter: &mut Option<Rate>) {
    *meter = meter.map(|meter| Rate { bytes_per_second: 1, ..meter });
}

/// Both sides of the comparison, and what was seen.
struct Bench {
    datapath: RealDatapath,
    /// Whether this kernel can share an adapter.
    shares: bool,
    seen: BTreeMap<String, usize>,
    cases: usize,
    /// Ports that take over connections older than their rules.
    adopting: BTreeSet<u32>,
}

impl Bench {
    fn new(folder: &std::path::Path) -> Self {
        for ifindex in LINKS.into_iter().chain([ADAPTER, UPLINK]) {
            let (link, number) = (link(ifindex), ifindex.to_string());
            let peer = format!("q{ifindex}");
            run(&[
                "ip",
                "link",
                "add",
                link.as_str(),
                "index",
                &number,
                "type",
                "veth",
                "peer",
                "name",
                &peer,
            ]);
        }
        let adapter = link(ADAPTER);
        run(&["ip", "link", "set", adapter.as_str(), "address", HOST, "up"]);
        put_adapter_on_the_underlay(adapter.as_str(), link(overlay::DEVICE).as_str());
        let datapath = start(folder);
        let shares = match datapath.set_uplink(&link(UPLINK), &uplink(UplinkMode::Stations), &BTreeSet::new())
        {
            // Before Linux 6.6.
            Err(DatapathError::NoSharing { .. }) => false,
            outcome => outcome.map(|()| true).unwrap(),
        };
        Self { datapath, shares, seen: BTreeMap::new(), cases: 0, adopting: BTreeSet::new() }
    }

    /// What differs on the board with this seed, by the shortest story found that shows it. It counts when it shows twice: on
    /// a machine that stalls for seconds a connection may go idle for one side and not yet for the other.
    fn compare(&mut self, seed: u64, shots: usize, repetitions: usize) -> Vec<Difference> {
        let random = &mut Random::new(seed);
        let mut board = slow_rates(board(random, &LINKS));
        let external = self.shares && is_external(seed);
        let mode = mode(seed);
        if external {
            put_on_the_wire(&mut board, mode);
        }
        let overlay = self.shares && is_overlay(seed);
        if overlay {
            spread_over_hosts(&mut board, (seed / 2).is_multiple_of(2));
        }
        let mut shots = with_later_fragments(story(random, &board, shots));
        if external {
            send_by_the_wire(&mut shots, mode);
        }
        if overlay {
            send_to_the_router(&mut shots);
            send_by_the_tunnel(&mut shots);
        }
        let shots: Vec<Shot> =
            shots.chunks(SHOTS_OF_A_PART).flat_map(|part| vec![part; repetitions].concat()).collect();
        let mut story = with_changes(random, shots);
        if external {
            story.retain_mut(|event| stays_on_the_wire(event, mode));
        }
        if overlay {
            story.iter_mut().for_each(stays_on_the_overlay);
        }
        if self.play(seed, &board, &board, &story).is_empty() {
            return Vec::new();
        }
        let story = self.shrink(seed, &board, story);
        self.play(seed, &board, &board, &story)
    }

    /// Leaves away what the difference does not need: ever smaller pieces of the story.
    fn shrink(&mut self, seed: u64, board: &Switchboard, mut story: Vec<Event>) -> Vec<Event> {
        let mut piece = story.len().div_ceil(2);
        while piece > 0 {
            let mut at = 0;
            while at < story.len() {
                let end = (at + piece).min(story.len());
                let shorter = [&story[..at], &story[end..]].concat();
                if self.play(seed, board, board, &shorter).is_empty() {
                    at = end;
                } else {
                    story = shorter;
                }
            }
            piece /= 2;
        }
        story
    }

    /// Runs a story on ports without a past: `programmed` in the kernel, `meant` in the interpreter.
    fn play(
        &mut self,
        seed: u64,
        programmed: &Switchboard,
        meant: &Switchboard,
        story: &[Event],
    ) -> Vec<Difference> {
        for ifindex in LINKS {
            self.datapath.remove_port(&link(ifindex)).unwrap();
        }
        self.datapath.remove_uplink(&link(UPLINK)).unwrap();
        if let Some((switch, place)) = programmed.uplinks.iter().next() {
            let hosts_own = &programmed.hosts_own[switch];
            self.datapath.set_uplink(&link(UPLINK), &uplink(place.mode), hosts_own).unwrap();
        }
        self.datapath.remove_overlay(overlay::network()).unwrap();
        for (network, (devices, overlay)) in &programmed.overlays {
            self.datapath.set_overlay(*network, &link(devices.tunnel), None, overlay).unwrap();
        }
        for (network, sets) in &programmed.sets {
            self.datapath.set_sets(*network, sets).unwrap();
        }
        for (ifindex, port) in &programmed.ports {
            let set = self.datapath.set_port(&link(*ifindex), &Arc::new(port.clone()));
            set.unwrap_or_else(|error| panic!("board {seed:#x}, link {ifindex}: {}", chain(&error)));
        }
        self.adopting.clear();
        let mut switch = Switch::new(meant.clone());
        let mut differences = Vec::new();
        for (number, event) in story.iter().enumerate() {
            match event {
                Event::Change(ifindex, port, sets) => {
                    self.change_sets(&mut switch, port.network, |known| sets.with_those_of(known));
                    self.change(&mut switch, *ifindex, port);
                }
                Event::Sets(network, seed) => {
                    let random = &mut Random::new(*seed);
                    self.change_sets(&mut switch, *network, |sets| changed_sets(random, sets));
                }
                Event::Shot(shot) => {
                    let (wanted, made, steps) = self.shoot(&mut switch, shot);
                    if wanted != made {
                        let shot = shot.clone();
                        let packet = Packet { seed, number, shot, wanted, made, steps };
                        differences.push(Difference::Packet(Box::new(packet)));
                    }
                }
            }
        }
        let wanted = Known::of_the_interpreter(&switch);
        let made = Known::of_the_kernel(&self.datapath);
        if differences.is_empty() && wanted != made {
            let without =
                |all: &BTreeSet<Known>, known: &BTreeSet<Known>| all.difference(known).cloned().collect();
            let (missing, surplus) = (without(&wanted, &made), without(&made, &wanted));
            differences.push(Difference::Memory { seed, missing, surplus });
        }
        differences
    }

    fn shoot(&mut self, switch: &mut Switch, shot: &Shot) -> (Made, Made, String) {
        let outcome = interpret(switch, shot);
        self.note(shot, &outcome);
        let outpost = outpost(shot, switch.board());
        if outpost == Some(Outpost::TunnelNear) {
            test_run::hear(&self.datapath, overlay::network(), overlay::THERE.into()).unwrap();
        }
        let ran = match outpost {
            None => {
                let mark = if shot.ruled { MARK_RULED } else { 0 };
                test_run::run(&self.datapath, shot.direction, &shot.frame, shot.ifindex, mark)
            }
            Some(outpost) => {
                let mark = if is_wired(shot) { MARK_WIRED } else { 0 };
                test_run::run_outpost(&self.datapath, outpost, &shot.frame, shot.ifindex, mark)
            }
        };
        let ran = ran.unwrap_or_else(|error| panic!("{}: {}", hex(&shot.frame), chain(&error)));
        let mut made = Made::of_the_kernel(ran);
        if let (Some(ADAPTER), Verdict::Tunnel { vni, .. }) = (made.target, outcome.verdict) {
            *self.seen.entry("wrapped up".to_owned()).or_default() += 1;
            made.frame = made.frame.and_then(|sent| device_would_get(sent, vni.number()));
            made.target = Some(overlay::DEVICE);
        }
        (Made::of_the_interpreter(&outcome), made, format!("{:?}", outcome.steps))
    }

    /// Gives a port other rules, in the midst of its connections. Whoever gets its first rules takes over what there is, for
    /// longer than a story lasts.
    fn change(&mut self, switch: &mut Switch, ifindex: u32, port: &Port) {
        self.datapath
            .set_port(&link(ifindex), &Arc::new(port.clone()))
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
        if port.has_rules() && !switch.board().ports[&ifindex].has_rules() {
            self.adopting.insert(ifindex);
        }
        let adopt_until = if self.adopting.contains(&ifindex) { u64::MAX } else { 0 };
        switch.set_port(ifindex, port.clone(), adopt_until);
    }

    /// Gives a network other address sets, in the midst of its connections.
    fn change_sets(
        &mut self,
        switch: &mut Switch,
        network: Guid,
        change: impl FnOnce(&model::Sets) -> model::Sets,
    ) {
        let before = switch.board().sets.get(&network).cloned().unwrap_or_default();
        let sets = Arc::new(change(&before));
        self.datapath.set_sets(network, &sets).unwrap_or_else(|error| panic!("{}", chain(&error)));
        switch.set_sets(network, sets);
    }

    fn note(&mut self, shot: &Shot, outcome: &Outcome) {
        self.cases += 1;
        let direction = shot.direction;
        let mut see = |what: String| *self.seen.entry(what).or_default() += 1;
        let is_rewritten = outcome.reason().is_none() && outcome.frame != shot.frame;
        match outcome.verdict {
            Verdict::Redirect { ifindex, .. } if is_rewritten && ifindex == shot.ifindex => {
                see(match shot.frame[12..14] {
                    [0x08, 0x06] => "ARP answered".to_owned(),
                    _ => "discovery answered".to_owned(),
                });
            }
            Verdict::Redirect { .. } if is_rewritten && direction == Direction::Out => {
                see("routed here".to_owned());
            }
            Verdict::Tunnel { vni, .. } => see(format!("to VNI {vni}")),
            _ if is_rewritten => see(format!("{direction:?} under the one MAC")),
            _ => {}
        }
        if let (ADAPTER, Some(wrapped)) = (shot.ifindex, unwrap(&shot.frame)) {
            return see(match outcome.verdict {
                Verdict::Redirect { .. } if is_neighbours(&wrapped) => {
                    "out of the wrapping from a neighbour".to_owned()
                }
                Verdict::Redirect { .. } => "out of the wrapping".to_owned(),
                Verdict::Drop(_) => "refused out of the wrapping".to_owned(),
                _ => "left to the device".to_owned(),
            });
        }
        if shot.ifindex == ADAPTER && matches!(outcome.verdict, Verdict::Redirect { .. }) {
            return see(format!("{direction:?} at the adapter"));
        }
        match outcome.verdict {
            Verdict::Adapter { to, .. } => see(format!("to {to:?}")),
            Verdict::Back { copy: Some(_) } => see("back to the host".to_owned()),
            Verdict::Back { copy: None } => see("back from nobody".to_owned()),
            Verdict::Next { copy: Some(_) } if is_rewritten => see("back from a port".to_owned()),
            Verdict::Next { copy: Some(_) } => see("copied".to_owned()),
            Verdict::Next { copy: None } => see("not ours".to_owned()),
            Verdict::Tunnel { .. } => see("into the tunnel".to_owned()),
            Verdict::Drop(refusal) => see(format!("{:?}", refusal.reason)),
            Verdict::Pass => see(format!("{direction:?} passed")),
            Verdict::Redirect { .. } => see(format!("{direction:?} redirected")),
        }
        for step in &outcome.steps {
            match step.event {
                interpreter::Event::Known { .. } => see("known connection".to_owned()),
                interpreter::Event::Related { .. } => see("related error".to_owned()),
                interpreter::Event::Fragment => see("later fragment".to_owned()),
                _ => {}
            }
        }
    }

    /// What was met too seldom.
    fn missed(&self) -> BTreeSet<&str> {
        if self.cases < CASES_OF_A_SAMPLE {
            return BTreeSet::new();
        }
        let met = |what: &str| self.seen.get(what).copied().unwrap_or(0);
        let missed = FLOORS.iter().filter(|(what, floor)| met(what) * 10_000 < floor * self.cases);
        missed.map(|(what, _)| *what).collect()
    }
}

#[derive(Clone)]
enum Event {
    Shot(Shot),
    /// The port of this link gets another policy, and its network the sets that it names.
    Change(u32, Box<Port>, model::Sets),
    /// The sets of a network change as this seed says.
    Sets(Guid, u64),
}

/// The story with some changes of policy in its midst.
fn with_changes(random: &mut Random, shots: Vec<Shot>) -> Vec<Event> {
    let mut events: Vec<Event> =
        shots.into_iter().filter(|shot| can_be_tested(&shot.frame)).map(Event::Shot).collect();
    for _ in 0..CHANGES {
        let seat = random.below(LINKS.len());
        let (mut port, sets) = port(random, seat);
        port.meters.iter_mut().for_each(slow);
        let network = port.network;
        events.insert(random.below(events.len() + 1), Event::Change(LINKS[seat], Box::new(port), sets));
        for _ in 0..SET_CHANGES {
            events.insert(random.below(events.len() + 1), Event::Sets(network, random.number()));
        }
    }
    events
}

/// Newer kernels run no test with a frame that ends within the fixed header of IPv4 or IPv6.
fn can_be_tested(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.len() >= 14 + 20,
        Some([0x86, 0xdd]) => frame.len() >= 14 + 40,
        _ => true,
    }
}

/// After each first fragment the rest of its datagram.
fn with_later_fragments(story: Vec<Shot>) -> Vec<Shot> {
    let with_rest = |shot: Shot| {
        let rest = later_fragment(&shot.frame).map(|frame| Shot { frame, ..shot.clone() });
        [Some(shot), rest].into_iter().flatten()
    };
    story.into_iter().flat_map(with_rest).collect()
}

/// The last fragment, at the sixteenth byte, of the datagram whose first one this is: in IPv4 by the word after the
/// identification (RFC 791), in IPv6 by that of a fragment header which is the first extension (RFC 8200 section 4.5).
fn later_fragment(first: &[u8]) -> Option<Vec<u8>> {
    let (at, opens, ends) = match (first.get(12..14)?, first.get(20)?) {
        ([0x08, 0x00], _) => (20, [0x20, 0], [0, 2]),
        ([0x86, 0xdd], 44) => (56, [0, 1], [0, 16]),
        _ => return None,
    };
    let mut later = first.to_vec();
    let word = later.get_mut(at..at + 2)?;
    if word != opens {
        return None;
    }
    word.copy_from_slice(&ends);
    Some(later)
}

fn interpret(switch: &mut Switch, shot: &Shot) -> Outcome {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    let now = u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap();
    let adapter = (shot.ifindex, None);
    match shot.direction {
        Direction::In if outpost(shot, switch.board()) == Some(Outpost::TunnelNear) => {
            switch.near(&shot.frame, &[overlay::THERE.into()].into(), now)
        }
        Direction::In if shot.ifindex == ADAPTER => {
            switch.from_wire(adapter, &shot.frame, is_wired(shot), now)
        }
        Direction::Out if shot.ifindex == ADAPTER => switch.from_host(adapter, &shot.frame, is_wired(shot)),
        Direction::Out if shot.ifindex == UPLINK => switch.to_wire(UPLINK, &shot.frame),
        Direction::Out => switch.out(shot.ifindex, &shot.frame, now),
        Direction::In => switch.inward(shot.ifindex, &shot.frame, shot.ruled, now),
    }
}

fn link(ifindex: u32) -> IfName {
    name(&format!("p{ifindex}"))
}

/// A number that the environment gives, in decimal or after 0x in hexadecimal.
fn given(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number =
        text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16));
    Some(number.unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[test]
fn programs_agree_with_the_interpreter_on_random_packets() {
    needs!(root, "ip", "tc");
    agree(1, &[]);
}

/// Who is watched goes another way through the programs: to the same end.
#[test]
fn programs_agree_with_the_interpreter_while_every_packet_is_watched() {
    needs!(root, "ip", "tc");
    agree(WATCHED_LESS, &[WatchedConnection::default()]);
}

/// A seed near to this one for which the board is of the kind whose turn it is. Left to chance, a run would have too few of some kind.
fn of_kind(drawn: u64, turn: usize) -> u64 {
    let kind = u64::try_from(turn % KINDS).unwrap();
    let seed = (drawn >> 4) / KINDS as u64 * KINDS as u64;
    seed + kind
}

/// Compares on so many times fewer packets than are asked for, while these connections are watched.
#[expect(clippy::print_stdout, reason = "the seed repeats a run")]
fn agree(less: usize, watched: &[WatchedConnection]) {
    let seed = given("HNS_EQUALITY_SEED").unwrap_or_else(|| RandomState::new().hash_one("seed"));
    let cases = given("HNS_EQUALITY_CASES").map_or(CASES, |cases| usize::try_from(cases).unwrap()) / less;
    println!("HNS_EQUALITY_SEED={seed:#x} HNS_EQUALITY_CASES={cases}");
    isolated(|folder| {
        let mut bench = Bench::new(folder);
        let watch = Watch { networks: Vec::new(), connections: watched.to_vec() };
        let _watching = bench.datapath.watch(&watch).unwrap();
        let mut boards = Random::new(seed);
        let mut differences = Vec::new();
        for found in FOUND {
            differences.extend(bench.compare(found, SHOTS, 1));
        }
        for number in 0_usize.. {
            if bench.cases >= cases || !differences.is_empty() {
                break;
            }
            let drawn = boards.number();
            differences.extend(if number.is_multiple_of(BOARDS_TO_REPEAT) {
                bench.compare(of_kind(drawn, number / BOARDS_TO_REPEAT), SHOTS_REPEATED, REPETITIONS)
            } else {
                bench.compare(of_kind(drawn, number - number / BOARDS_TO_REPEAT), SHOTS, 1)
            });
            if number % BOARDS_TO_COLLECT == 0 {
                bench.datapath.collect().unwrap();
            }
        }
        println!("{} packets: {:?}", bench.cases, bench.seen);
        let shown: String = differences.iter().take(FAILURES_SHOWN).map(ToString::to_string).collect();
        assert!(
            differences.is_empty(),
            "HNS_EQUALITY_SEED={seed:#x}: after {} packets the programs differ from the interpreter\n{shown}",
            bench.cases
        );
        let missed = bench.missed();
        assert!(
            missed.is_empty(),
            "HNS_EQUALITY_SEED={seed:#x}: met too seldom: {missed:?} of {:?}",
            bench.seen
        );
    });
}

type Edit = fn(&mut Switchboard);

/// The comparison sees each kind of thing that programs can get wrong: here it is the interpreter that was told otherwise.
#[test]
fn a_port_that_means_something_else_shows() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let mut bench = Bench::new(folder);
        let edits: [(&str, Edit); 5] = [
            ("a fallback", |board| {
                acls(board).for_each(|acl| acl.fallback = turned(acl.fallback));
            }),
            ("the first rule of each list", |board| acls(board).for_each(drop_first)),
            ("the guards", |board| {
                board.ports.values_mut().for_each(|port| port.guards.spoofing = !port.guards.spoofing);
            }),
            ("the way to the container", |board| {
                board.ports.values_mut().for_each(|port| port.mac = "02-00-00-00-99-99".parse().unwrap());
            }),
            ("what is in sets", |board| board.sets.clear()),
        ];
        for (what, edit) in edits {
            let differ = (0..20).any(|seed| {
                let random = &mut Random::new(seed);
                let board = slow_rates(board(random, &LINKS));
                let shots =
                    story(random, &board, SHOTS).into_iter().filter(|shot| can_be_tested(&shot.frame));
                let story: Vec<Event> = shots.map(Event::Shot).collect();
                let mut other = board.clone();
                edit(&mut other);
                !bench.play(seed, &board, &other, &story).is_empty()
            });
            assert!(differ, "{what} may change, and nothing shows");
        }
    });
}

fn acls(board: &mut Switchboard) -> impl Iterator<Item = &mut model::Acl> {
    board.ports.values_mut().flat_map(|port| &mut port.acl)
}

fn turned(verdict: model::Verdict) -> model::Verdict {
    match verdict {
        model::Verdict::Allow => model::Verdict::Block,
        model::Verdict::Block => model::Verdict::Allow,
    }
}

fn drop_first(acl: &mut model::Acl) {
    if !acl.rules.is_empty() {
        acl.rules.remove(0);
    }
}
