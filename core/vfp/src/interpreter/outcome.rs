use std::net::IpAddr;

use hns_abi::{Direction, Reason};
use hns_net::{Guid, Vni};

use crate::flow::State;
use crate::layers::Layer;
use crate::layers::acl::Cause;
use crate::model;

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: Verdict,
    /// As it goes on; of a dropped packet without meaning.
    pub frame: Vec<u8>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Drop(Refusal),
    /// The ordinary way: from the container into the bridge with the mark, to the container into its namespace.
    Pass,
    /// Straight to the port with this number: into its namespace (`peer`), or to its host end, where its own program runs.
    Redirect {
        ifindex: u32,
        peer: bool,
    },
    /// From an external switch to its adapter.
    Adapter {
        ifindex: u32,
        to: Beyond,
    },
    /// By this VXLAN device to another host.
    Tunnel {
        ifindex: u32,
        vni: Vni,
        to: IpAddr,
    },
    /// At an adapter: on as if we were not there.
    Next {
        /// A copy goes into a bridge, as if it came in by this port of it.
        copy: Option<u32>,
    },
    /// At an adapter: the host has sent it, and does not hear it again.
    Back {
        /// As with [`Verdict::Next`].
        copy: Option<u32>,
    },
}

/// Who is behind an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    Host,
    Wire,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// The port that refused.
    pub ifindex: u32,
    pub direction: Direction,
    /// Of acl: the direction whose rules decided, and what in them.
    pub rule: Option<(Direction, Cause)>,
    /// Of malformed frames: what is wrong.
    pub detail: Option<&'static str>,
}

/// What one layer of one port did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub ifindex: u32,
    pub endpoint: Guid,
    pub direction: Direction,
    pub layer: Layer,
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Passed,
    /// The rules of a direction were asked.
    Judged {
        by: Direction,
        verdict: model::Verdict,
        cause: Cause,
    },
    /// A rule of a direction that is only watched would have blocked it.
    Observed {
        by: Direction,
        cause: Cause,
    },
    /// A connection that is known already let it pass.
    Known {
        state: State,
        /// Whose rules let it begin.
        by: Direction,
        cause: Cause,
    },
    /// An ICMP error about a known connection.
    Related {
        by: Direction,
        cause: Cause,
    },
    /// A later fragment of a datagram that may pass.
    Fragment,
    Dropped(Reason),
}

impl Outcome {
    /// Refused before any layer saw it.
    pub(super) fn refused(refusal: Refusal, frame: &[u8]) -> Self {
        Self { verdict: Verdict::Drop(refusal), frame: frame.to_vec(), steps: Vec::new() }
    }

    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        match self.verdict {
            Verdict::Drop(refusal) => Some(refusal.reason),
            _ => None,
        }
    }
}

impl Refusal {
    pub(super) const fn of_port(reason: Reason, ifindex: u32, direction: Direction) -> Self {
        Self { reason, ifindex, direction, rule: None, detail: None }
    }
}
