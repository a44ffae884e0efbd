//! The conversation with a LAN's DHCPv6 servers (RFC 8415), under the station's own address of the link, which needs no server: whoever
//! asks for it meanwhile is answered, since there may be no container yet that would do it.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use hns_model::{Grant, LanLease, LeasePhase};
use hns_net::Mac;

use crate::client::wire;
use crate::error::Giver;
use crate::frame6::{self, Heard};
use crate::message6::{self, Answer, AnswerKind, Question, Refusal};
use crate::neighbours::{self, link_local};
use crate::{Client, ResolverError, Wire};

/// For so long a LAN may take to give an address that works.
const PATIENCE: Duration = Duration::from_secs(7);

/// When a question is asked again, after the one before.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// For so long others may advertise something better after the first one. RFC 8415 waits for a second, always (section 18.2.1).
const CHOICE: Duration = Duration::from_millis(200);

/// No server is better than one that says so (RFC 8415 section 18.2.1).
const PREFERENCE_MAX: u8 = 255;

/// How often a server may be asked that gives what somebody has.
const ROUNDS_MAX: usize = 4;

/// How often, and for how long each time, it is asked whether somebody has an address. RFC 4862 waits for a second, once.
const PROBES: usize = 2;
const PROBE_PATIENCE: Duration = Duration::from_millis(150);

/// For so long an answer is waited for when a lease is renewed: there is time for another try.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(1);

/// For so long a server may take to hear that an address is somebody's, before it is asked for another one.
const DECLINE_PATIENCE: Duration = Duration::from_millis(500);

/// One conversation. `now` is the moment of its first question.
pub(crate) struct Talk<'a> {
    wire: &'a dyn Wire,
    client: &'a Client,
    now: u64,
    begin: Instant,
    /// How often all servers were asked.
    questions: u32,
}

/// An advertisement that can be taken.
struct Offer {
    giver: Giver,
    address: Ipv6Addr,
    server: Vec<u8>,
    preference: u8,
}

/// What the servers answer to a question for an address.
enum Offered {
    /// It is the client's already.
    Given(LanLease),
    /// The best one of those that it may have.
    Best(Offer),
    /// Why there is none.
    Nothing(ResolverError),
    Silence,
}

impl<'a> Talk<'a> {
    pub fn new(wire: &'a dyn Wire, client: &'a Client, now: u64) -> Self {
        Self { wire, client, now, begin: Instant::now(), questions: 0 }
    }

    pub fn acquire(&mut self, wanted: Option<IpAddr>) -> Result<LanLease, ResolverError> {
        let mut trouble = None;
        for round in 0..ROUNDS_MAX {
            // What was declined is not asked for again.
            let lease = match self.solicit(wanted.and_then(ipv6).filter(|_| round == 0)) {
                Ok(lease) => lease,
                Err(error) => return Err(trouble.unwrap_or(error)),
            };
            match self.holder_of(&lease)? {
                None => return Ok(lease),
                Some(conflict) => {
                    self.decline(&lease)?;
                    // Its answer says nothing more.
                    self.pass(DECLINE_PATIENCE)?;
                    trouble = Some(conflict);
                }
            }
        }
        Err(trouble.unwrap_or_else(|| self.silence()))
    }

    pub fn renew(&mut self, before: &LanLease) -> Result<LanLease, ResolverError> {
        let giver = Giver::of(before);
        let unanswered = || ResolverError::Unanswered { giver, subject: before.subject() };
        let (Some(address), Grant::Dhcp6 { server_id: server }) = (address_of(before), &before.grant) else {
            return Err(unanswered());
        };
        let question = match before.term.phase(self.now) {
            LeasePhase::Bound | LeasePhase::Renewing => Question::Renew { address, server },
            LeasePhase::Rebinding | LeasePhase::Expired => Question::Rebind { address },
        };
        let of_whom = question.server().map(<[u8]>::to_vec);
        let asked = self.now;
        let decided = |answer: &Answer<'_>| {
            let is_asked = of_whom.as_ref().is_none_or(|server| answer.server_id == server);
            let lease = answer.lease(Some(address), asked);
            let is_answer = answer.kind == AnswerKind::Reply && is_asked && lease != Err(Refusal::Failure);
            is_answer.then(|| (lease, Giver::dhcp6(answer.server), answer.server_id.to_vec()))
        };
        let renewed = match self.ask(question, RENEWAL_PATIENCE, decided)?.ok_or_else(unanswered)? {
            (Ok(lease), ..) => lease,
            // It has lost its notes, and may give the same again.
            (Err(Refusal::NoBinding), giver, server) => {
                self.request(giver, address, &server, RENEWAL_PATIENCE)?
            }
            (Err(refusal), giver, _) => return Err(refused(giver, refusal)),
        };
        if address_of(&renewed) != Some(address)
            && let Some(conflict) = self.holder_of(&renewed)?
        {
            self.decline(&renewed)?;
            return Err(conflict);
        }
        Ok(renewed)
    }

    /// Says that somebody else has what a server has just given.
    pub fn decline(&mut self, lease: &LanLease) -> Result<(), ResolverError> {
        self.part(lease, |address, server| Question::Decline { address, server })
    }

    pub fn release(&mut self, lease: &LanLease) -> Result<(), ResolverError> {
        self.part(lease, |address, server| Question::Release { address, server })
    }

    fn part<'l>(
        &mut self,
        lease: &'l LanLease,
        question: impl FnOnce(Ipv6Addr, &'l [u8]) -> Question<'l>,
    ) -> Result<(), ResolverError> {
        match (address_of(lease), &lease.grant) {
            (Some(address), Grant::Dhcp6 { server_id }) => {
                self.say(message6::fresh_id(), question(address, server_id))
            }
            _ => Ok(()),
        }
    }

    fn rest(&self) -> Duration {
        PATIENCE.saturating_sub(self.begin.elapsed())
    }

    fn silence(&self) -> ResolverError {
        ResolverError::Silent6 { questions: self.questions, seconds: PATIENCE.as_secs() }
    }

    fn say(&self, id: [u8; 3], question: Question<'_>) -> Result<(), ResolverError> {
        let message = message6::write(self.client, id, question, self.begin.elapsed());
        self.wire.send(&frame6::dhcp6(self.client.mac, &message)).map_err(wire("ask"))
    }

    /// The first thing heard of which `chosen` makes something, if one comes in time.
    fn hear<T>(
        &self,
        patience: Duration,
        mut chosen: impl FnMut(&Heard<'_>) -> Option<T>,
    ) -> Result<Option<T>, ResolverError> {
        let station = self.client.mac;
        let end = Instant::now() + patience;
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            let Some(frame) = self.wire.receive(rest).map_err(wire("hear"))? else { return Ok(None) };
            match frame6::read(&frame, station) {
                Some(Heard::Neighbour(neighbours::Heard::Question { mac, asker, address }))
                    if address == link_local(station) && asker.is_unicast_link_local() =>
                {
                    self.wire.send(&neighbours::answer(station, asker, mac)).map_err(wire("answer on"))?;
                }
                Some(heard) => {
                    if let Some(found) = chosen(&heard) {
                        return Ok(Some(found));
                    }
                }
                None => {}
            }
            // Whatever else comes in the meantime, the wait has an end.
            if rest.is_zero() {
                return Ok(None);
            }
        }
    }

    /// The first answer to the question of this number of which `chosen` makes something.
    fn answer<T>(
        &self,
        id: [u8; 3],
        patience: Duration,
        mut chosen: impl FnMut(&Answer<'_>) -> Option<T>,
    ) -> Result<Option<T>, ResolverError> {
        self.hear(patience, |heard| match heard {
            Heard::Dhcp { from, server, message } => {
                chosen(&message6::read(message, self.client, id, (*server, *from))?)
            }
            Heard::Neighbour(_) => None,
        })
    }

    fn ask<T>(
        &self,
        question: Question<'_>,
        patience: Duration,
        chosen: impl FnMut(&Answer<'_>) -> Option<T>,
    ) -> Result<Option<T>, ResolverError> {
        let id = message6::fresh_id();
        self.say(id, question)?;
        self.answer(id, patience, chosen)
    }

    /// Answers whoever asks for the station, for a while.
    fn pass(&self, patience: Duration) -> Result<(), ResolverError> {
        self.hear(patience, |heard| matches!(heard, Heard::Dhcp { .. }).then_some(())).map(drop)
    }

    fn solicit(&mut self, wanted: Option<Ipv6Addr>) -> Result<LanLease, ResolverError> {
        let id = message6::fresh_id();
        for pause in PAUSES {
            let patience = pause.min(self.rest());
            if patience.is_zero() {
                break;
            }
            self.questions += 1;
            self.say(id, Question::Solicit { wanted })?;
            match self.offers(id, patience)? {
                Offered::Given(lease) => return Ok(lease),
                Offered::Best(Offer { giver, address, server, .. }) => {
                    return self.request(giver, address, &server, self.rest());
                }
                Offered::Nothing(why) => return Err(why),
                Offered::Silence => {}
            }
        }
        Err(self.silence())
    }

    fn offers(&self, id: [u8; 3], patience: Duration) -> Result<Offered, ResolverError> {
        let (mut best, mut useless): (Option<Offer>, _) = (None, None);
        let mut end = Instant::now() + patience;
        while let Some(rest) = end.checked_duration_since(Instant::now()) {
            let read = |answer: &Answer<'_>| {
                let is_rapid = answer.is_rapid();
                let counts = is_rapid || answer.kind == AnswerKind::Advertise;
                let (giver, server) = (Giver::dhcp6(answer.server), answer.server_id.to_vec());
                let offer = |address| Offer { giver, address, server, preference: answer.preference() };
                let lease = answer.lease(None, self.now).map_err(|refusal| refused(giver, refusal));
                counts.then(|| lease.map(|lease| (is_rapid, address_of(&lease).map(offer), lease)))
            };
            match self.answer(id, rest, read)? {
                None => break,
                Some(Err(refusal)) => useless = Some(refusal),
                Some(Ok((true, _, lease))) => return Ok(Offered::Given(lease)),
                Some(Ok((false, offer, _))) => {
                    let preference = offer.as_ref().map_or(0, |offer| offer.preference);
                    if best.as_ref().is_none_or(|best| best.preference < preference) {
                        best = offer;
                    }
                    if preference == PREFERENCE_MAX {
                        break;
                    }
                    end = end.min(Instant::now() + CHOICE);
                }
            }
        }
        let nothing = || useless.map_or(Offered::Silence, Offered::Nothing);
        Ok(best.map_or_else(nothing, Offered::Best))
    }

    fn request(
        &self,
        giver: Giver,
        address: Ipv6Addr,
        server: &[u8],
        patience: Duration,
    ) -> Result<LanLease, ResolverError> {
        let end = Instant::now() + patience;
        let asked = self.now + self.begin.elapsed().as_secs();
        for pause in PAUSES {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            let decided = |answer: &Answer<'_>| {
                let is_answer = answer.kind == AnswerKind::Reply && answer.server_id == server;
                is_answer.then(|| answer.lease(Some(address), asked))
            };
            if let Some(decision) =
                self.ask(Question::Request { address, server }, pause.min(rest), decided)?
            {
                return decision.map_err(|refusal| refused(giver, refusal));
            }
        }
        Err(ResolverError::Unconfirmed { giver, address: address.into() })
    }

    /// That somebody else has an address, if somebody does.
    fn holder_of(&self, lease: &LanLease) -> Result<Option<ResolverError>, ResolverError> {
        let station = self.client.mac;
        let Some(asked) = address_of(lease) else { return Ok(None) };
        for _ in 0..PROBES {
            self.wire.send(&neighbours::probe(station, asked)).map_err(wire("ask"))?;
            let holder: Option<Mac> = self.hear(PROBE_PATIENCE, |heard| match heard {
                Heard::Neighbour(neighbours::Heard::Claim { mac, address }) => {
                    (*address == asked && *mac != station).then_some(*mac)
                }
                _ => None,
            })?;
            if let Some(holder) = holder {
                let giver = Giver::of(lease);
                return Ok(Some(ResolverError::Conflict { giver, address: asked.into(), holder }));
            }
        }
        Ok(None)
    }
}

fn refused(giver: Giver, refusal: Refusal) -> ResolverError {
    let message = match refusal {
        Refusal::NoBinding => Some("NoBinding".to_owned()),
        Refusal::Failure => Some("UnspecFail".to_owned()),
        Refusal::Refused(message) => message,
        Refusal::Unusable { address, why } => {
            return ResolverError::Unusable { giver, address: address.into(), why };
        }
    };
    ResolverError::Refused { giver, message }
}

fn address_of(lease: &LanLease) -> Option<Ipv6Addr> {
    lease.address().and_then(ipv6)
}

const fn ipv6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}
