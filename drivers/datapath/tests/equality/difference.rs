//! What either side made of a packet and remembers of a connection, and how differences are shown.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use hns_abi::{BEYOND_BOTH, BEYOND_HOST, BEYOND_WIRE, CB_BEYOND, CB_REASON, CB_TARGET, Direction, Reason};
use hns_datapath::{Datapath, FlowFilter, FlowState, RealDatapath, Tuple, test_run};
use hns_net::Guid;
use hns_vfp::Switch;
use hns_vfp::flow::{self, State};
use hns_vfp::generate::Shot;
use hns_vfp::interpreter::{Beyond, Outcome, Verdict};

use crate::support::chain;

/// What one side made of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub retval: u32,
    pub reason: Option<Reason>,
    pub target: Option<u32>,
    /// Of a packet to an adapter: who is behind it, by number; into a tunnel: the VNI.
    pub beyond: Option<u32>,
    /// Of a dropped packet nothing.
    pub frame: Option<Vec<u8>>,
}

impl Made {
    pub fn of_the_interpreter(outcome: &Outcome) -> Self {
        let frame = Some(outcome.frame.clone());
        let on = Self { retval: test_run::PASS, reason: None, target: None, beyond: None, frame };
        match outcome.verdict {
            Verdict::Drop(refusal) => {
                Self { retval: test_run::DROP, reason: Some(refusal.reason), frame: None, ..on }
            }
            Verdict::Pass => on,
            Verdict::Redirect { ifindex, .. } => {
                Self { retval: test_run::REDIRECT, target: Some(ifindex), ..on }
            }
            Verdict::Adapter { ifindex, to } => {
                let beyond = Some(match to {
                    Beyond::Wire => BEYOND_WIRE,
                    Beyond::Host => BEYOND_HOST,
                    Beyond::Both => BEYOND_BOTH,
                });
                Self { retval: test_run::REDIRECT, target: Some(ifindex), beyond, ..on }
            }
            Verdict::Tunnel { ifindex, vni, .. } => {
                Self { retval: test_run::REDIRECT, target: Some(ifindex), beyond: Some(vni.number()), ..on }
            }
            Verdict::Back { copy } => Self { retval: test_run::DROP, target: copy, frame: None, ..on },
            Verdict::Next { copy } => Self { retval: test_run::NEXT, target: copy, ..on },
        }
    }

    pub fn of_the_kernel(outcome: test_run::Outcome) -> Self {
        let reason = u16::try_from(outcome.cb[CB_REASON]).ok().and_then(Reason::from_number);
        // Of a copy, too, whose original ends here.
        let target =
            Some(outcome.cb[CB_TARGET]).filter(|target| *target != 0 && outcome.retval != test_run::PASS);
        let beyond =
            Some(outcome.cb[CB_BEYOND]).filter(|beyond| *beyond != 0 && outcome.retval == test_run::REDIRECT);
        let frame = (outcome.retval != test_run::DROP).then_some(outcome.packet);
        Self { retval: outcome.retval, reason, target, beyond, frame }
    }
}

/// What the two sides differ in.
pub enum Difference {
    Packet(Box<Packet>),
    Memory { seed: u64, missing: Vec<Known>, surplus: Vec<Known> },
}

/// A packet on which they differ.
pub struct Packet {
    pub seed: u64,
    pub number: usize,
    pub shot: Shot,
    pub wanted: Made,
    pub made: Made,
    pub steps: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(packet) => packet.fmt(f),
            Self::Memory { seed, missing, surplus } => {
                writeln!(f, "board {seed:#x}: of the interpreter's connections the programs lack")?;
                missing.iter().try_for_each(|known| writeln!(f, "  {known:?}"))?;
                writeln!(f, "and have beside them")?;
                surplus.iter().try_for_each(|known| writeln!(f, "  {known:?}"))
            }
        }
    }
}

/// A connection as one port remembers it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    pub endpoint: Guid,
    pub protocol: u8,
    pub tuple: Tuple,
    pub origin: Direction,
    pub state: FlowState,
    pub adopted: bool,
    pub packets: [u64; 2],
}

impl Known {
    pub fn of_the_interpreter(switch: &Switch) -> BTreeSet<Self> {
        let known = |(ifindex, tuple, flow): (u32, &flow::Tuple, &flow::Flow)| Self {
            endpoint: switch.board().ports[&ifindex].endpoint,
            protocol: tuple.protocol,
            tuple: Tuple {
                local: (tuple.local, tuple.local_port),
                remote: (tuple.remote, tuple.remote_port),
            },
            origin: flow.origin,
            state: match flow.state {
                State::New => FlowState::New,
                State::Replied => FlowState::Replied,
                State::Established => FlowState::Established,
                State::Closing => FlowState::Closing,
                State::Closed => FlowState::Closed,
            },
            adopted: flow.adopted,
            packets: flow.packets,
        };
        switch.memory().flows().map(known).collect()
    }

    pub fn of_the_kernel(datapath: &RealDatapath) -> BTreeSet<Self> {
        let flows =
            datapath.flows(&FlowFilter::default()).unwrap_or_else(|error| panic!("{}", chain(&error)));
        let known = |flow: hns_datapath::Flow| Self {
            endpoint: flow.endpoint,
            protocol: flow.protocol,
            tuple: flow.tuple,
            origin: flow.origin,
            state: flow.state,
            adopted: flow.adopted,
            packets: flow.packets,
        };
        flows.into_iter().map(known).collect()
    }
}

impl fmt::Display for Packet {
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
                test_run::NEXT => "next",
                _ => "?",
            };
            let frame = made.frame.as_deref().map(hex).unwrap_or_default();
            writeln!(
                f,
                "  {side}: {verdict} ({}), reason {:?}, target {:?}, beyond {:?}, {frame}",
                made.retval, made.reason, made.target, made.beyond
            )?;
        }
        writeln!(f, "  the interpreter's way: {}", self.steps)
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
