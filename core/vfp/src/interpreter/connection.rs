//! Connections: what is known passes, what is new is judged and remembered.

use hns_abi::{Direction, Reason};

use super::memory::{FRAGMENTS_LAST, FragmentKey, FragmentMemo};
use super::{Event, Half, Memory, Refusal, Travel};
use crate::flow::{Flow, Tuple, is_echo_request};
use crate::layers::Layer;
use crate::layers::acl::{Cause, Decision, Facts};
use crate::model::Verdict;
use crate::packet::{Ip, Transport, protocol};

impl Half<'_> {
    /// Layer acl, in either direction.
    pub(crate) fn connect(self, memory: &mut Memory, travel: &mut Travel) -> Result<(), Refusal> {
        let Some(ip) = travel.packet.ip().cloned() else { return Ok(()) };
        if ip.transport == Transport::Later {
            return self.follow_fragment(memory, &ip, travel);
        }
        if self.relate(memory, &ip, travel)? {
            return Ok(());
        }
        let tuple = Tuple::of(&ip, self.direction);
        self.drop_stale(memory, tuple, &ip);
        let flow = memory.flows.get(&(self.ifindex, tuple));
        if flow.is_some_and(|flow| flow.fits(self.direction, &ip.transport)) {
            self.go_on(memory, tuple, &ip, travel)
        } else {
            self.open(memory, tuple, &ip, travel)
        }
    }

    /// A flow that went idle, or whose ends begin anew, is as good as absent.
    fn drop_stale(self, memory: &mut Memory, tuple: Tuple, ip: &Ip) {
        let flow = memory.flows.get(&(self.ifindex, tuple));
        if flow.is_some_and(|flow| flow.is_idle(self.now) || flow.is_reopened_by(&ip.transport)) {
            memory.forget_flow(self.ifindex, tuple);
        }
    }

    fn go_on(self, memory: &mut Memory, tuple: Tuple, ip: &Ip, travel: &mut Travel) -> Result<(), Refusal> {
        self.judge_again(memory, tuple, travel)?;
        let Some(flow) = memory.flows.get_mut(&(self.ifindex, tuple)) else { return Ok(()) };
        let event = Event::Known { state: flow.state, by: flow.origin, cause: flow.cause };
        flow.advance(self.direction, &ip.transport, self.now);
        self.note(Layer::Acl, event, travel);
        self.remember_fragment(memory, ip);
        Ok(())
    }

    /// A flow older than the port's rules must still be allowed by them, in the direction it began. TCP that is not stays known, or
    /// its next packet would be taken for one of a connection that nobody has followed ([`Self::adopts`]).
    fn judge_again(self, memory: &mut Memory, tuple: Tuple, travel: &mut Travel) -> Result<(), Refusal> {
        let Some(flow) = memory.flows.get_mut(&(self.ifindex, tuple)) else { return Ok(()) };
        if flow.generation == self.epoch.generation {
            return Ok(());
        }
        let (origin, facts) = (flow.origin, flow.facts);
        let decision = self.port.acl[origin.index()].decide(&facts, self.sets);
        self.watch(origin, decision, travel);
        if decision.verdict == Verdict::Allow {
            flow.generation = self.epoch.generation;
            flow.cause = decision.cause;
            return Ok(());
        }
        if tuple.protocol != protocol::TCP {
            memory.forget_flow(self.ifindex, tuple);
        }
        self.note(
            Layer::Acl,
            Event::Judged { by: origin, verdict: decision.verdict, cause: decision.cause },
            travel,
        );
        Err(self.refuse_by_rule(origin, decision.cause, travel))
    }

    fn open(self, memory: &mut Memory, tuple: Tuple, ip: &Ip, travel: &mut Travel) -> Result<(), Refusal> {
        let facts = Facts::of(ip, self.direction);
        let (origin, cause) = self.judge(&facts, ip, travel)?;
        if remembered(ip) {
            let mut flow = Flow::opened(facts, origin, self.epoch.generation, cause, self.now);
            flow.adopted = goes_on(ip);
            flow.advance(self.direction, &ip.transport, self.now);
            memory.insert_flow(self.ifindex, tuple, flow);
        }
        self.remember_fragment(memory, ip);
        Ok(())
    }

    /// The direction whose rules let a new connection's packet pass.
    fn judge(self, facts: &Facts, ip: &Ip, travel: &mut Travel) -> Result<(Direction, Cause), Refusal> {
        let decide = |by: Direction| self.port.acl[by.index()].decide(facts, self.sets);
        let mut by = self.direction;
        let mut decision = decide(by);
        if decision.verdict == Verdict::Block && self.adopts(ip) {
            let other = decide(by.opposite());
            if other.verdict == Verdict::Allow {
                (by, decision) = (by.opposite(), other);
            }
        }
        self.watch(by, decision, travel);
        let event = Event::Judged { by, verdict: decision.verdict, cause: decision.cause };
        self.note(Layer::Acl, event, travel);
        match decision.verdict {
            Verdict::Allow => Ok((by, decision.cause)),
            Verdict::Block => Err(self.refuse_by_rule(by, decision.cause, travel)),
        }
    }

    fn watch(self, by: Direction, decision: Decision, travel: &mut Travel) {
        if let Some(cause) = decision.observed {
            self.note(Layer::Acl, Event::Observed { by, cause }, travel);
        }
    }

    /// TCP in mid-stream is taken over for a while after the rules came: it may be the reply of what they allow.
    fn adopts(self, ip: &Ip) -> bool {
        self.now < self.epoch.adopt_until && goes_on(ip)
    }

    fn remember_fragment(self, memory: &mut Memory, ip: &Ip) {
        if let Some(key) = FragmentKey::of(ip, self.ifindex, self.direction) {
            memory.fragments.insert(key, FragmentMemo { seen: self.now, generation: self.epoch.generation });
        }
    }

    fn follow_fragment(self, memory: &Memory, ip: &Ip, travel: &mut Travel) -> Result<(), Refusal> {
        let memo = FragmentKey::of(ip, self.ifindex, self.direction)
            .and_then(|key| memory.fragments.get(&key))
            .filter(|memo| {
                memo.generation == self.epoch.generation
                    && self.now.saturating_sub(memo.seen) <= FRAGMENTS_LAST
            });
        match memo {
            Some(_) => {
                self.note(Layer::Acl, Event::Fragment, travel);
                Ok(())
            }
            None => Err(self.refuse(Layer::Acl, Reason::Fragment, travel)),
        }
    }

    /// Whether it is an ICMP error about a known connection, which then passes (RFC 5508 section 4).
    fn relate(self, memory: &mut Memory, ip: &Ip, travel: &mut Travel) -> Result<bool, Refusal> {
        let Transport::Icmp(icmp) = &ip.transport else { return Ok(false) };
        let Some(quoted) = icmp.about else { return Ok(false) };
        // It goes to whom it is about.
        if quoted.source != ip.destination {
            return Ok(false);
        }
        let tuple = Tuple::quoted(&quoted, self.direction);
        if memory.flows.get(&(self.ifindex, tuple)).is_none_or(|flow| flow.is_idle(self.now)) {
            return Ok(false);
        }
        self.judge_again(memory, tuple, travel)?;
        let Some(flow) = memory.flows.get(&(self.ifindex, tuple)) else { return Ok(false) };
        self.note(Layer::Acl, Event::Related { by: flow.origin, cause: flow.cause }, travel);
        self.remember_fragment(memory, ip);
        Ok(true)
    }

    fn refuse_by_rule(self, by: Direction, cause: Cause, travel: &mut Travel) -> Refusal {
        let reason = match by {
            Direction::In => Reason::AclIn,
            Direction::Out => Reason::AclOut,
        };
        Refusal { rule: Some((by, cause)), ..self.refuse(Layer::Acl, reason, travel) }
    }
}

/// Whether its flow is kept: of ICMP only that of an echo request; of TCP what opens a connection, or goes on with one that
/// nobody remembers. Such a one is half open until the other end is heard, as a new one is.
const fn remembered(ip: &Ip) -> bool {
    match &ip.transport {
        Transport::Icmp(_) => is_echo_request(ip.protocol, &ip.transport),
        Transport::Tcp { flags, .. } => flags.opens() || flags.goes_on(),
        _ => true,
    }
}

const fn goes_on(ip: &Ip) -> bool {
    match &ip.transport {
        Transport::Tcp { flags, .. } => flags.goes_on(),
        _ => false,
    }
}
