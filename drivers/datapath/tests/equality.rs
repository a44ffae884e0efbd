//! The loaded programs against the interpreter, which defines what packets meet: random boards, and on each a story of
//! random packets, run by the kernel and by `core/vfp`. Verdict, reason, target and the frame afterwards must be the same.
//!
//! The seed is drawn anew for each run and printed. To repeat a run, or to ask for more or fewer packets:
//!
//! ```sh
//! HNS_EQUALITY_SEED=0x1234 HNS_EQUALITY_CASES=1000000 cargo test -p hns-datapath --test equality -- --nocapture
//! ```

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, RandomState};

use hns_abi::{CB_REASON, CB_TARGET, Direction, Reason};
use hns_datapath::{Datapath, RealDatapath, test_run};
use hns_net::IfName;
use hns_testbed::needs;
use hns_vfp::generate::{Random, Shot, board, story};
use hns_vfp::interpreter::{Event, Outcome, Verdict};
use hns_vfp::model::{self, Rate, Switchboard};
use hns_vfp::{Port, Switch};
use nix::time::{ClockId, clock_gettime};
use support::{chain, isolated, name, run, start};

const CASES: usize = 120_000;
/// Packets on one board: enough for connections to live through replies, errors and fragments.
const SHOTS: usize = 300;
/// The numbers of the host ends; the generator puts the last one on another network.
const LINKS: [u32; 4] = [1001, 1002, 1003, 1004];
const FAILURES_SHOWN: usize = 10;

/// What random packets must have met for the comparison to mean something, in ten thousandths of all of them: a third of what
/// the generator brings about.
const FLOORS: [(&str, usize); 20] = [
    ("Out passed", 800),
    ("In passed", 800),
    ("Out redirected", 140),
    ("known connection", 400),
    ("related error", 20),
    ("later fragment", 8),
    ("Blocked", 100),
    ("Malformed", 110),
    ("Ethertype", 45),
    ("SpoofedMac", 30),
    ("SpoofedIp", 100),
    ("SpoofedArp", 19),
    ("SpoofedNd", 2),
    ("RogueRa", 7),
    ("RogueDhcp", 25),
    ("AclOut", 500),
    ("AclIn", 440),
    ("Fragment", 90),
    ("MeterOut", 2),
    ("MeterIn", 2),
];
/// Fewer packets prove nothing about the generator.
const CASES_OF_A_SAMPLE: usize = 50_000;

/// Rates become so low that only the bytes decide, not the moment.
fn slow_rates(mut board: Switchboard) -> Switchboard {
    for port in board.ports.values_mut() {
        for meter in port.meters.iter_mut().flatten() {
            *meter = Rate { bytes_per_second: 1, ..*meter };
        }
    }
    board
}

/// What one side made of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    retval: u32,
    reason: Option<Reason>,
    target: Option<u32>,
    /// Of a dropped packet nothing.
    frame: Option<Vec<u8>>,
}

impl Made {
    fn of_the_interpreter(outcome: &Outcome) -> Self {
        let frame = || Some(outcome.frame.clone());
        match outcome.verdict {
            Verdict::Drop(refusal) => {
                Self { retval: test_run::DROP, reason: Some(refusal.reason), target: None, frame: None }
            }
            Verdict::Pass => Self { retval: test_run::PASS, reason: None, target: None, frame: frame() },
            Verdict::Redirect { ifindex, .. } => {
                Self { retval: test_run::REDIRECT, reason: None, target: Some(ifindex), frame: frame() }
            }
        }
    }

    fn of_the_kernel(outcome: test_run::Outcome) -> Self {
        let reason = u16::try_from(outcome.cb[CB_REASON]).ok().and_then(Reason::from_number);
        let target = (outcome.retval == test_run::REDIRECT).then_some(outcome.cb[CB_TARGET]);
        let frame = (outcome.retval != test_run::DROP).then_some(outcome.packet);
        Self { retval: outcome.retval, reason, target, frame }
    }
}

/// A packet on which the two sides differ.
struct Difference {
    seed: u64,
    number: usize,
    shot: Shot,
    wanted: Made,
    made: Made,
    steps: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, number, shot, .. } = self;
        writeln!(
            f,
            "board {seed:#x}, packet {number}: {:?} at link {}, {}",
            shot.direction,
            shot.ifindex,
            hex(&shot.frame)
        )?;
        for (side, made) in [("interpreter", &self.wanted), ("programs", &self.made)] {
            let verdict = match made.retval {
                test_run::PASS => "pass",
                test_run::DROP => "drop",
                test_run::REDIRECT => "redirect",
                _ => "?",
            };
            let frame = made.frame.as_deref().map(hex).unwrap_or_default();
            writeln!(
                f,
                "  {side}: {verdict} ({}), reason {:?}, target {:?}, {frame}",
                made.retval, made.reason, made.target
            )?;
        }
        writeln!(f, "  the interpreter's way: {}", self.steps)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Both sides of the comparison, and what was seen.
struct Bench {
    datapath: RealDatapath,
    seen: BTreeMap<String, usize>,
    cases: usize,
}

impl Bench {
    fn new(folder: &std::path::Path) -> Self {
        for ifindex in LINKS {
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
        Self { datapath: start(folder), seen: BTreeMap::new(), cases: 0 }
    }

    /// What differs on the board with this seed. It counts when it shows twice: on a machine that stalls for seconds a
    /// connection may go idle for one side and not yet for the other.
    fn compare(&mut self, seed: u64, shots: usize) -> Vec<Difference> {
        let random = &mut Random::new(seed);
        let board = slow_rates(board(random, &LINKS));
        let story = with_later_fragments(story(random, &board, shots));
        let first = self.play(seed, &board, &board, &story);
        if first.is_empty() { first } else { self.play(seed, &board, &board, &story) }
    }

    /// Runs a story on ports without a past: `programmed` in the kernel, `meant` in the interpreter.
    fn play(
        &mut self,
        seed: u64,
        programmed: &Switchboard,
        meant: &Switchboard,
        story: &[Shot],
    ) -> Vec<Difference> {
        for ifindex in LINKS {
            self.datapath.remove_port(&link(ifindex)).unwrap();
        }
        for (ifindex, port) in &programmed.ports {
            let set = self.datapath.set_port(&link(*ifindex), port);
            set.unwrap_or_else(|error| panic!("board {seed:#x}, link {ifindex}: {}", chain(&error)));
        }
        let mut switch = Switch::new(meant.clone());
        let mut differences = Vec::new();
        for (number, shot) in story.iter().enumerate().filter(|(_, shot)| can_be_tested(&shot.frame)) {
            let outcome = interpret(&mut switch, shot);
            self.note(shot.direction, &outcome);
            let ran = test_run::run(&self.datapath, shot.direction, &shot.frame, shot.ifindex);
            let ran = ran.unwrap_or_else(|error| panic!("{}: {}", hex(&shot.frame), chain(&error)));
            let (wanted, made) = (Made::of_the_interpreter(&outcome), Made::of_the_kernel(ran));
            if wanted != made {
                let steps = format!("{:?}", outcome.steps);
                differences.push(Difference { seed, number, shot: shot.clone(), wanted, made, steps });
            }
        }
        differences
    }

    fn note(&mut self, direction: Direction, outcome: &Outcome) {
        self.cases += 1;
        let mut see = |what: String| *self.seen.entry(what).or_default() += 1;
        match outcome.verdict {
            Verdict::Drop(refusal) => see(format!("{:?}", refusal.reason)),
            Verdict::Pass => see(format!("{direction:?} passed")),
            Verdict::Redirect { .. } => see(format!("{direction:?} redirected")),
        }
        for step in &outcome.steps {
            match step.event {
                Event::Known { .. } => see("known connection".to_owned()),
                Event::Related { .. } => see("related error".to_owned()),
                Event::Fragment => see("later fragment".to_owned()),
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
    match shot.direction {
        Direction::Out => switch.out(shot.ifindex, &shot.frame, now),
        Direction::In => switch.inward(shot.ifindex, &shot.frame, now),
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
    let seed = given("HNS_EQUALITY_SEED").unwrap_or_else(|| RandomState::new().hash_one("seed"));
    let cases = given("HNS_EQUALITY_CASES").map_or(CASES, |cases| usize::try_from(cases).unwrap());
    println!("HNS_EQUALITY_SEED={seed:#x} HNS_EQUALITY_CASES={cases}");
    isolated(|folder| {
        let mut bench = Bench::new(folder);
        let mut boards = Random::new(seed);
        let mut differences = Vec::new();
        while bench.cases < cases && differences.len() < FAILURES_SHOWN {
            differences.extend(bench.compare(boards.number(), SHOTS));
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

type Change = fn(&mut Port);

/// The comparison sees each kind of thing that programs can get wrong: here it is the interpreter that was told otherwise.
#[test]
fn a_port_that_means_something_else_shows() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let mut bench = Bench::new(folder);
        let changes: [(&str, Change); 4] = [
            ("a fallback", |port| port.acl.iter_mut().for_each(|acl| acl.fallback = turned(acl.fallback))),
            ("the first rule of each list", |port| port.acl.iter_mut().for_each(drop_first)),
            ("the guards", |port| port.guards.spoofing = !port.guards.spoofing),
            ("the way to the container", |port| port.mac = "02-00-00-00-99-99".parse().unwrap()),
        ];
        for (what, change) in changes {
            let differ = (0..20).any(|seed| {
                let random = &mut Random::new(seed);
                let board = slow_rates(board(random, &LINKS));
                let story = story(random, &board, SHOTS);
                let mut other = board.clone();
                other.ports.values_mut().for_each(change);
                !bench.play(seed, &board, &other, &story).is_empty()
            });
            assert!(differ, "{what} may change, and nothing shows");
        }
    });
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
