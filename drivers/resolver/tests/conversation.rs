//! The client against servers of a LAN in memory: what it says, and what it makes of their answers.

#![expect(clippy::unwrap_used, reason = "a question that cannot be read fails the test")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use hns_model::{LanLease, LeaseKind, Term};
use hns_net::Mac;
use hns_resolver::{Client, DhcpClient, Resolver, ResolverError, Wire};

const CLIENT: Mac = Mac::new([2, 0, 0, 0, 0, 7]);
const SERVER: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
const SERVER_AT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 254);
const BROADCAST: [u8; 6] = [0xff; 6];

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const ACK: u8 = 5;
const NAK: u8 = 6;
const RELEASE: u8 = 7;

/// A message of the client's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    kind: u8,
    to: [u8; 6],
    /// Whether it wants its answer by broadcast.
    broadcast: bool,
    /// The address it says it has.
    own: Ipv4Addr,
    wanted: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    id: [u8; 4],
}

impl Question {
    fn read(frame: &[u8]) -> Self {
        let message = &frame[42..];
        let mut question = Self {
            kind: 0,
            to: *frame.first_chunk().unwrap(),
            broadcast: message[10] & 0x80 != 0,
            own: address(&message[12..]),
            wanted: None,
            server: None,
            id: *message[4..].first_chunk().unwrap(),
        };
        let mut options = &message[240..];
        while let [code, length, rest @ ..] = options
            && *code != 255
        {
            let (value, after) = rest.split_at(usize::from(*length));
            match code {
                50 => question.wanted = Some(address(value)),
                53 => question.kind = value[0],
                54 => question.server = Some(address(value)),
                _ => {}
            }
            options = after;
        }
        question
    }
}

fn address(bytes: &[u8]) -> Ipv4Addr {
    Ipv4Addr::from(*bytes.first_chunk::<4>().unwrap())
}

/// An answer of the server at [`SERVER_AT`] or another one.
fn answer(question: &Question, kind: u8, given: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![2, 1, 6, 0];
    message.extend(question.id);
    message.resize(16, 0);
    message.extend(given.octets());
    message.resize(28, 0);
    message.extend(CLIENT.octets());
    message.resize(236, 0);
    message.extend([99, 130, 83, 99, 53, 1, kind, 54, 4]);
    message.extend(server.octets());
    message.extend([51, 4, 0, 0, 0, 60, 1, 4, 255, 255, 255, 0, 255]);
    let mut frame = [&BROADCAST[..], &SERVER.octets(), &[8, 0]].concat();
    frame.extend([0x45, 0]);
    frame.extend(u16::try_from(28 + message.len()).unwrap().to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 0, 254, 255, 255, 255, 255, 0, 67, 0, 68]);
    frame.extend(u16::try_from(8 + message.len()).unwrap().to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(message);
    frame
}

/// Whoever answers: with frames, to a question and how many there were of its kind before.
type Answering = dyn Fn(&Question, usize) -> Vec<Vec<u8>>;

struct Lan<'a> {
    answering: &'a Answering,
    /// Who has which of the addresses that somebody asks for.
    holders: &'a [(Ipv4Addr, Mac)],
    said: RefCell<Vec<Question>>,
    probes: RefCell<Vec<Ipv4Addr>>,
    heard: RefCell<VecDeque<Vec<u8>>>,
}

impl<'a> Lan<'a> {
    fn new(answering: &'a Answering, holders: &'a [(Ipv4Addr, Mac)]) -> Self {
        let (said, probes, heard) = Default::default();
        Self { answering, holders, said, probes, heard }
    }

    fn kinds(&self) -> Vec<u8> {
        self.said.borrow().iter().map(|question| question.kind).collect()
    }
}

impl Wire for Lan<'_> {
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        if frame[12..14] == [8, 6] {
            let asked = address(&frame[38..]);
            self.probes.borrow_mut().push(asked);
            for (_, holder) in self.holders.iter().filter(|(held, _)| *held == asked) {
                let mut reply = frame.to_vec();
                reply[22..28].copy_from_slice(&holder.octets());
                reply[28..32].copy_from_slice(&asked.octets());
                self.heard.borrow_mut().push_back(reply);
            }
            return Ok(());
        }
        let question = Question::read(frame);
        let before = self.kinds().iter().filter(|kind| **kind == question.kind).count();
        self.heard.borrow_mut().extend((self.answering)(&question, before));
        self.said.borrow_mut().push(question);
        Ok(())
    }

    /// Nobody waits here: what has not come yet does not come.
    fn receive(&self, _patience: Duration) -> io::Result<Option<Vec<u8>>> {
        Ok(self.heard.borrow_mut().pop_front())
    }
}

fn client() -> Client {
    Client { mac: CLIENT, host_name: Some("web".into()) }
}

fn nth(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, number)
}

/// Offers another address each time, and confirms what is asked for.
fn obliging(question: &Question, before: usize) -> Vec<Vec<u8>> {
    let given = match question.kind {
        DISCOVER => question.wanted.unwrap_or(nth(100 + u8::try_from(before).unwrap())),
        _ => question.wanted.unwrap_or(question.own),
    };
    let kind = if question.kind == DISCOVER { OFFER } else { ACK };
    match question.kind {
        DISCOVER | REQUEST => vec![answer(question, kind, given, SERVER_AT)],
        _ => Vec::new(),
    }
}

fn acquire(lan: &Lan<'_>, wanted: Option<Ipv4Addr>) -> Result<LanLease, ResolverError> {
    DhcpClient.acquire(lan, &client(), LeaseKind::Dhcp, wanted.map(Into::into))
}

#[test]
fn an_address_is_offered_taken_confirmed_and_looked_for() {
    let lan = Lan::new(&obliging, &[]);
    assert_eq!(acquire(&lan, None).unwrap().address(), Some(nth(100).into()));
    assert_eq!(lan.kinds(), [DISCOVER, REQUEST]);
    for question in lan.said.borrow().iter() {
        assert_eq!((question.to, question.broadcast, question.own), (BROADCAST, true, Ipv4Addr::UNSPECIFIED));
    }
    let request = lan.said.borrow()[1].clone();
    assert_eq!((request.wanted, request.server), (Some(nth(100)), Some(SERVER_AT)));
    assert_eq!(*lan.probes.borrow(), [nth(100); 2]);
    let lan = Lan::new(&obliging, &[]);
    assert_eq!(acquire(&lan, Some(nth(7))).unwrap().address(), Some(nth(7).into()));
}

#[test]
fn what_is_lost_is_said_again() {
    let forgetful = |question: &Question, before: usize| match before {
        0 | 1 => Vec::new(),
        _ => obliging(question, before),
    };
    let lan = Lan::new(&forgetful, &[]);
    acquire(&lan, None).unwrap();
    assert_eq!(lan.kinds(), [DISCOVER, DISCOVER, DISCOVER, REQUEST, REQUEST, REQUEST]);
    let ids: Vec<_> = lan.said.borrow().iter().map(|question| question.id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
}

#[test]
fn silence_is_told_with_how_often_was_asked() {
    let lan = Lan::new(&|_, _| Vec::new(), &[]);
    let said = acquire(&lan, None).unwrap_err();
    assert!(matches!(said, ResolverError::Silent { questions: 4, seconds: 10 }), "{said:?}");
    // Who offers and does not confirm is named.
    let wavering = |question: &Question, before| match question.kind {
        DISCOVER => obliging(question, before),
        // Somebody else's word is none.
        _ => vec![answer(question, ACK, nth(100), nth(9))],
    };
    let lan = Lan::new(&wavering, &[]);
    let said = acquire(&lan, None).unwrap_err();
    assert!(
        matches!(said, ResolverError::Unconfirmed { giver, .. } if giver.address == SERVER_AT),
        "{said:?}"
    );
}

#[test]
fn after_a_refusal_another_address_is_asked_for() {
    let strict = |question: &Question, before: usize| match (question.kind, before) {
        (REQUEST, 0) => vec![answer(question, NAK, Ipv4Addr::UNSPECIFIED, SERVER_AT)],
        _ => obliging(question, before),
    };
    let lan = Lan::new(&strict, &[]);
    assert_eq!(acquire(&lan, Some(nth(7))).unwrap().address(), Some(nth(101).into()));
    assert_eq!(lan.kinds(), [DISCOVER, REQUEST, DISCOVER, REQUEST]);
    assert_eq!(lan.said.borrow()[2].wanted, None);
}

#[test]
fn what_somebody_has_is_declined_a_few_times() {
    let holders: Vec<_> = (0..8).map(|n| (nth(100 + n), Mac::new([2, 0, 0, 0, 9, n]))).collect();
    let lan = Lan::new(&obliging, &holders[..1]);
    assert_eq!(acquire(&lan, None).unwrap().address(), Some(nth(101).into()));
    assert_eq!(lan.kinds(), [DISCOVER, REQUEST, DECLINE, DISCOVER, REQUEST]);
    let declined = lan.said.borrow()[2].clone();
    assert_eq!((declined.wanted, declined.server, declined.to), (Some(nth(100)), Some(SERVER_AT), BROADCAST));
    let lan = Lan::new(&obliging, &holders);
    let said = acquire(&lan, None).unwrap_err();
    assert!(matches!(said, ResolverError::Conflict { holder, .. } if holder == holders[3].1), "{said:?}");
    // That it is its own is no conflict.
    let own = [(nth(100), CLIENT)];
    assert_eq!(acquire(&Lan::new(&obliging, &own), None).unwrap().address(), Some(nth(100).into()));
}

/// By who has it on this host, which no question tells.
#[test]
fn a_lease_can_be_declined_afterwards() {
    let lan = Lan::new(&obliging, &[]);
    DhcpClient.decline(&lan, &client(), &lease_after(1)).unwrap();
    let said = lan.said.borrow()[0].clone();
    assert_eq!((said.kind, said.to, said.own), (DECLINE, BROADCAST, Ipv4Addr::UNSPECIFIED));
    assert_eq!((said.server, said.wanted), (Some(SERVER_AT), Some(nth(100))));
}

#[test]
fn what_no_container_may_have_is_not_taken() {
    let link_local = Ipv4Addr::new(169, 254, 7, 7);
    let odd = move |question: &Question, _| vec![answer(question, OFFER, link_local, SERVER_AT)];
    let lan = Lan::new(&odd, &[]);
    let said = acquire(&lan, None).unwrap_err();
    assert!(matches!(said, ResolverError::Unusable { address, .. } if address == link_local), "{said:?}");
    // Where another server has something better, that is taken.
    let both = move |question: &Question, before: usize| {
        let mut answers = odd(question, before);
        answers.extend(obliging(question, before));
        answers
    };
    assert_eq!(acquire(&Lan::new(&both, &[]), None).unwrap().address(), Some(nth(100).into()));
}

/// A lease of which so many of sixty seconds are over.
fn lease_after(seconds: u64) -> LanLease {
    let lease = acquire(&Lan::new(&obliging, &[]), None).unwrap();
    let now = DhcpClient.now();
    assert!(now >= seconds, "the host has just booted");
    LanLease { term: Term { obtained: now - seconds, ..lease.term }, ..lease }
}

#[test]
fn a_lease_is_renewed_by_its_server_and_later_by_everybody() {
    let lan = Lan::new(&obliging, &[]);
    let renewed = DhcpClient.renew(&lan, &client(), &lease_after(35)).unwrap();
    assert!(renewed.term.obtained + 2 > DhcpClient.now());
    let asked = lan.said.borrow()[0].clone();
    assert_eq!((asked.kind, asked.to, asked.own), (REQUEST, SERVER.octets(), nth(100)));
    assert_eq!((asked.wanted, asked.server, asked.broadcast), (None, None, false));

    let deaf = Lan::new(&|_, _| Vec::new(), &[]);
    let said = DhcpClient.renew(&deaf, &client(), &lease_after(55)).unwrap_err();
    assert!(matches!(said, ResolverError::Unanswered { .. }) && !said.is_final(), "{said:?}");
    let asked = deaf.said.borrow().clone();
    assert!(asked.iter().all(|question| question.to == BROADCAST && question.kind == REQUEST));
    assert_eq!((asked[0].own, asked[0].broadcast), (nth(100), false));
    let again = (Ipv4Addr::UNSPECIFIED, true, Some(nth(100)));
    assert_eq!((asked[1].own, asked[1].broadcast, asked[1].wanted), again);
    assert_eq!(asked.len(), 2);

    let refusing = |question: &Question, _| vec![answer(question, NAK, Ipv4Addr::UNSPECIFIED, SERVER_AT)];
    let said = DhcpClient.renew(&Lan::new(&refusing, &[]), &client(), &lease_after(35)).unwrap_err();
    assert!(said.is_final(), "{said:?}");
}

#[test]
fn an_address_is_given_back_to_its_server() {
    let lan = Lan::new(&obliging, &[]);
    DhcpClient.release(&lan, &client(), &lease_after(1)).unwrap();
    let said = lan.said.borrow()[0].clone();
    assert_eq!((said.kind, said.to, said.own), (RELEASE, SERVER.octets(), nth(100)));
    assert_eq!((said.server, said.wanted), (Some(SERVER_AT), None));
}
