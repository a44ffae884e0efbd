//! The conversation with a LAN's servers.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use hns_model::{LanLease, LanServer, LeaseKind, LeasePhase};
use nix::time::{ClockId, clock_gettime};

use crate::dhcp6;
use crate::error::Giver;
use crate::frame::{self, Heard, To};
use crate::message::{self, Answer, AnswerKind, Question};
use crate::routers;
use crate::{Client, Resolver, ResolverError, Wire};

/// For so long a LAN may take to give an address that works. A server that looks itself whether the address is free takes three seconds.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// When a question is asked again, after the one before.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(3), Duration::from_secs(4)];

/// How often a server may be asked that takes its offer back, or gives what somebody has.
const ROUNDS_MAX: usize = 4;

/// How often, and for how long each time, it is asked whether somebody has an address. RFC 5227 would take seven seconds, for links
/// that take a while until they carry frames.
const PROBES: usize = 2;
const PROBE_PATIENCE: Duration = Duration::from_millis(150);

/// For so long an answer is waited for when a lease is renewed: there is time for another try.
const RENEWAL_PATIENCE: Duration = Duration::from_millis(800);

/// Speaks DHCP with servers, and asks routers.
#[derive(Debug, Clone, Copy, Default)]
pub struct DhcpClient;

impl Resolver for DhcpClient {
    fn now(&self) -> u64 {
        // It fails for clocks that do not exist, of which this is none.
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| Duration::from(time).as_secs())
    }

    fn acquire(
        &self,
        wire: &dyn Wire,
        client: &Client,
        kind: LeaseKind,
        wanted: Option<IpAddr>,
    ) -> Result<LanLease, ResolverError> {
        match kind {
            LeaseKind::Dhcp => {}
            LeaseKind::Dhcp6 => return dhcp6::Talk::new(wire, client, self.now()).acquire(wanted),
            LeaseKind::Advertised => return routers::acquire(wire, client, self.now()),
        }
        let wanted = wanted.map(ipv4);
        let mut talk = Talk { resolver: self, wire, client, begin: Instant::now(), questions: 0 };
        let mut trouble = None;
        for round in 0..ROUNDS_MAX {
            // What was refused is not asked for again.
            match talk.acquire(wanted.filter(|_| round == 0)) {
                Err(error @ ResolverError::Silent { .. }) => return Err(trouble.unwrap_or(error)),
                Err(error @ ResolverError::Wire { .. }) => return Err(error),
                Err(error) => trouble = Some(error),
                granted => return granted,
            }
        }
        Err(trouble.unwrap_or_else(|| talk.silence()))
    }

    fn renew(&self, wire: &dyn Wire, client: &Client, lease: &LanLease) -> Result<LanLease, ResolverError> {
        match lease.kind() {
            LeaseKind::Dhcp => {}
            LeaseKind::Dhcp6 => return dhcp6::Talk::new(wire, client, self.now()).renew(lease),
            LeaseKind::Advertised => return routers::renew(wire, client, lease, self.now()),
        }
        let address = address_of(lease);
        let mut talk = Talk { resolver: self, wire, client, begin: Instant::now(), questions: 0 };
        let everybody = [
            (Question::Extend { own: address }, To::Everybody),
            // The answer to this one comes by broadcast: a server on this very host is heard by that alone.
            (Question::Again { address }, To::Everybody),
        ];
        let server = [(Question::Extend { own: address }, to_server(lease.server))];
        let questions = match lease.term.phase(self.now()) {
            LeasePhase::Bound | LeasePhase::Renewing => &server[..],
            LeasePhase::Rebinding | LeasePhase::Expired => &everybody[..],
        };
        for (question, to) in questions {
            if let Some(renewed) = talk.extend(*question, *to, address)? {
                return Ok(renewed);
            }
        }
        Err(ResolverError::Unanswered { giver: Giver::of(lease), subject: lease.subject() })
    }

    fn decline(&self, wire: &dyn Wire, client: &Client, lease: &LanLease) -> Result<(), ResolverError> {
        match lease.kind() {
            LeaseKind::Dhcp => {}
            LeaseKind::Dhcp6 => return dhcp6::Talk::new(wire, client, self.now()).decline(lease),
            LeaseKind::Advertised => return Ok(()),
        }
        let (address, server) = (address_of(lease), ipv4(lease.server.address));
        let question = Question::Decline { address, server };
        let mut talk = Talk { resolver: self, wire, client, begin: Instant::now(), questions: 0 };
        talk.say(message::fresh_id(), question, To::Everybody)
    }

    fn release(&self, wire: &dyn Wire, client: &Client, lease: &LanLease) -> Result<(), ResolverError> {
        match lease.kind() {
            LeaseKind::Dhcp => {}
            LeaseKind::Dhcp6 => return dhcp6::Talk::new(wire, client, self.now()).release(lease),
            LeaseKind::Advertised => return Ok(()),
        }
        let (own, server) = (address_of(lease), ipv4(lease.server.address));
        let question = Question::Release { own, server };
        let mut talk = Talk { resolver: self, wire, client, begin: Instant::now(), questions: 0 };
        talk.say(message::fresh_id(), question, to_server(lease.server))
    }
}

fn to_server(server: LanServer) -> To {
    To::Server { mac: server.mac, address: ipv4(server.address) }
}

fn address_of(lease: &LanLease) -> Ipv4Addr {
    lease.address().map_or(Ipv4Addr::UNSPECIFIED, ipv4)
}

/// An address of a lease of IPv4. Nobody is at 0.0.0.0, which stands for one that a damaged record has.
fn ipv4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

/// One conversation.
struct Talk<'a> {
    resolver: &'a DhcpClient,
    wire: &'a dyn Wire,
    client: &'a Client,
    begin: Instant,
    /// How often everybody was asked.
    questions: u32,
}

/// An offer that can be taken.
struct Offer {
    address: Ipv4Addr,
    server: Ipv4Addr,
}

impl Talk<'_> {
    fn rest(&self) -> Duration {
        PATIENCE.saturating_sub(self.begin.elapsed())
    }

    fn silence(&self) -> ResolverError {
        ResolverError::Silent { questions: self.questions, seconds: PATIENCE.as_secs() }
    }

    fn say(&mut self, id: u32, question: Question, to: To) -> Result<(), ResolverError> {
        let elapsed = u16::try_from(self.begin.elapsed().as_secs()).unwrap_or(u16::MAX);
        let bytes = message::write(self.client, id, question, elapsed);
        let frame = frame::dhcp(self.client.mac, question.own(), to, &bytes);
        self.wire.send(&frame).map_err(wire("ask"))
    }

    /// The first answer that `chosen` takes, if one comes in time.
    fn answer<T>(
        &self,
        id: u32,
        patience: Duration,
        mut chosen: impl FnMut(Answer) -> Option<T>,
    ) -> Result<Option<T>, ResolverError> {
        let end = Instant::now() + patience;
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            let Some(frame) = self.wire.receive(rest).map_err(wire("hear"))? else { return Ok(None) };
            if let Some(Heard::Dhcp { from, message }) = frame::read(&frame)
                && let Some(found) = message::read(message, self.client, id, from).and_then(&mut chosen)
            {
                return Ok(Some(found));
            }
            // Whatever else comes in the meantime, the wait has an end.
            if rest.is_zero() {
                return Ok(None);
            }
        }
    }

    /// One round: an offer, taken, confirmed, and the address nobody else's.
    fn acquire(&mut self, wanted: Option<Ipv4Addr>) -> Result<LanLease, ResolverError> {
        let id = message::fresh_id();
        let offer = self.discover(id, wanted)?;
        let lease = self.request(id, &offer)?;
        match self.holder_of(offer.address)? {
            None => Ok(lease),
            Some(holder) => {
                let (address, server) = (offer.address, offer.server);
                self.say(id, Question::Decline { address, server }, To::Everybody)?;
                Err(ResolverError::Conflict { giver: Giver::dhcp(server), address: address.into(), holder })
            }
        }
    }

    fn discover(&mut self, id: u32, wanted: Option<Ipv4Addr>) -> Result<Offer, ResolverError> {
        let mut useless = None;
        for pause in PAUSES {
            let patience = pause.min(self.rest());
            if patience.is_zero() {
                break;
            }
            self.questions += 1;
            self.say(id, Question::Discover { wanted }, To::Everybody)?;
            let usable = |answer: Answer| {
                if answer.kind != AnswerKind::Offer {
                    return None;
                }
                let (address, server) = (answer.address(), answer.server.address);
                match answer.lease(0) {
                    Ok(_) => Some(Offer { address, server }),
                    Err(why) => {
                        useless = Some(unusable(server, address, why));
                        None
                    }
                }
            };
            if let Some(offer) = self.answer(id, patience, usable)? {
                return Ok(offer);
            }
        }
        // Once all patience is gone nothing else can be asked.
        Err(useless.unwrap_or_else(|| self.silence()))
    }

    fn request(&mut self, id: u32, offer: &Offer) -> Result<LanLease, ResolverError> {
        let Offer { address, server } = *offer;
        for pause in PAUSES {
            let patience = pause.min(self.rest());
            if patience.is_zero() {
                break;
            }
            let asked = self.resolver.now();
            self.say(id, Question::Request { address, server }, To::Everybody)?;
            let decided = |answer: Answer| {
                (answer.server.address == server).then(|| decide(&answer, address, asked)).flatten()
            };
            if let Some(decision) = self.answer(id, patience, decided)? {
                return decision;
            }
        }
        Err(ResolverError::Unconfirmed { giver: Giver::dhcp(server), address: address.into() })
    }

    fn extend(
        &mut self,
        question: Question,
        to: To,
        address: Ipv4Addr,
    ) -> Result<Option<LanLease>, ResolverError> {
        let (id, asked) = (message::fresh_id(), self.resolver.now());
        self.say(id, question, to)?;
        self.answer(id, RENEWAL_PATIENCE, |answer| decide(&answer, address, asked))?.transpose()
    }

    /// Who has an address already, if somebody does.
    fn holder_of(&self, address: Ipv4Addr) -> Result<Option<hns_net::Mac>, ResolverError> {
        for _ in 0..PROBES {
            self.wire.send(&frame::probe(self.client.mac, address)).map_err(wire("ask"))?;
            let end = Instant::now() + PROBE_PATIENCE;
            while let Some(rest) = end.checked_duration_since(Instant::now()) {
                let Some(heard) = self.wire.receive(rest).map_err(wire("hear"))? else { break };
                match frame::read(&heard) {
                    Some(Heard::Claim { mac, address: claimed })
                        if claimed == address && mac != self.client.mac =>
                    {
                        return Ok(Some(mac));
                    }
                    _ => {}
                }
            }
        }
        Ok(None)
    }
}

/// What an answer to a request for this address means; nothing for one that is none.
fn decide(answer: &Answer, address: Ipv4Addr, asked: u64) -> Option<Result<LanLease, ResolverError>> {
    let server = answer.server.address;
    match answer.kind {
        AnswerKind::Offer => None,
        AnswerKind::Nak => {
            Some(Err(ResolverError::Refused { giver: Giver::dhcp(server), message: answer.text() }))
        }
        AnswerKind::Ack if answer.address() != address => {
            let why = "it is another one than was asked for";
            Some(Err(unusable(server, answer.address(), why)))
        }
        AnswerKind::Ack => Some(answer.lease(asked).map_err(|why| unusable(server, address, why))),
    }
}

fn unusable(server: Ipv4Addr, address: Ipv4Addr, why: &'static str) -> ResolverError {
    ResolverError::Unusable { giver: Giver::dhcp(server), address: address.into(), why }
}

pub(crate) fn wire(operation: &'static str) -> impl Fn(io::Error) -> ResolverError {
    move |source| ResolverError::Wire { operation, source }
}
