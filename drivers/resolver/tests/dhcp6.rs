//! The client against DHCPv6 servers in memory, whose messages another implementation reads and writes.

#![expect(clippy::unwrap_used, reason = "a question that cannot be read fails the test")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::Ipv6Addr;
use std::time::Duration;

use dhcproto::v6::{
    DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, OptionCode, Status, StatusCode,
};
use dhcproto::{Decodable, Encodable};
use hns_model::{LanLease, LeaseKind, Term};
use hns_net::Mac;
use hns_resolver::{Client, DhcpClient, Resolver, ResolverError, Wire};

const CLIENT: Mac = Mac::new([2, 0, 0, 0, 0, 7]);
const SERVER: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
const OWN: &str = "fe80::ff:fe00:7";
const FIRST: &[u8] = b"first";
const SECOND: &[u8] = b"second";

/// A message of the client's.
#[derive(Debug, Clone)]
struct Question {
    kind: MessageType,
    id: [u8; 3],
    address: Option<Ipv6Addr>,
    server: Option<Vec<u8>>,
}

impl Question {
    fn read(frame: &[u8]) -> Self {
        assert_eq!(frame[..6], [0x33, 0x33, 0, 1, 0, 2]);
        assert_eq!(frame[6..12], CLIENT.octets());
        assert_eq!(frame[22..38], OWN.parse::<Ipv6Addr>().unwrap().octets());
        let message = Message::from_bytes(&frame[62..]).unwrap();
        let Some(DhcpOption::IANA(ia)) = message.opts().get(OptionCode::IANA) else {
            panic!("no association")
        };
        let address = match ia.opts.get(OptionCode::IAAddr) {
            Some(DhcpOption::IAAddr(address)) => Some(address.addr),
            _ => None,
        };
        let server = match message.opts().get(OptionCode::ServerId) {
            Some(DhcpOption::ServerId(server)) => Some(server.clone()),
            _ => None,
        };
        Self { kind: message.msg_type(), id: message.xid(), address, server }
    }
}

fn nth(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x198, 0x18, 0, 0, 0, 0, number)
}

/// What a server says of the client's association.
enum Says {
    Gives(Ipv6Addr),
    Takes(Ipv6Addr),
    Refuses(Status),
}

fn answer(
    question: &Question,
    kind: MessageType,
    server: &[u8],
    says: &Says,
    more: &[DhcpOption],
) -> Vec<u8> {
    let address = |addr, preferred_life, valid_life| {
        DhcpOption::IAAddr(IAAddr { addr, preferred_life, valid_life, opts: DhcpOptions::new() })
    };
    let said = match says {
        Says::Gives(given) => address(*given, 60, 80),
        Says::Takes(given) => address(*given, 0, 0),
        Says::Refuses(status) => DhcpOption::StatusCode(StatusCode { status: *status, msg: "no".into() }),
    };
    let mut message = Message::new_with_id(kind, question.id);
    let options = message.opts_mut();
    options.insert(DhcpOption::ClientId([&[0, 3, 0, 1][..], &CLIENT.octets()].concat()));
    options.insert(DhcpOption::ServerId(server.to_vec()));
    options.insert(DhcpOption::IANA(IANA { id: 7, t1: 0, t2: 0, opts: [said].into_iter().collect() }));
    more.iter().for_each(|option| options.insert(option.clone()));
    let message = message.to_vec().unwrap();
    let length = u16::try_from(8 + message.len()).unwrap().to_be_bytes();
    let mut frame = [&CLIENT.octets()[..], &SERVER.octets(), &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    frame.extend(length);
    frame.extend([17, 64]);
    frame.extend("fe80::1".parse::<Ipv6Addr>().unwrap().octets());
    frame.extend(OWN.parse::<Ipv6Addr>().unwrap().octets());
    frame.extend([2, 35, 2, 34]);
    frame.extend(length);
    frame.extend([0, 0]);
    frame.extend(message);
    frame
}

/// Whoever answers: with frames, to a question and how many there were of its kind before.
type Answering = dyn Fn(&Question, usize) -> Vec<Vec<u8>>;

struct Lan<'a> {
    answering: &'a Answering,
    /// Who has which of the addresses that somebody asks for.
    holders: &'a [(Ipv6Addr, Mac)],
    said: RefCell<Vec<Question>>,
    /// Answers to those who ask for the client.
    told: RefCell<Vec<Vec<u8>>>,
    heard: RefCell<VecDeque<Vec<u8>>>,
}

impl<'a> Lan<'a> {
    fn new(answering: &'a Answering, holders: &'a [(Ipv6Addr, Mac)]) -> Self {
        let (said, told, heard) = Default::default();
        Self { answering, holders, said, told, heard }
    }

    fn kinds(&self) -> Vec<MessageType> {
        self.said.borrow().iter().map(|question| question.kind).collect()
    }
}

impl Wire for Lan<'_> {
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        if frame[20] == 58 {
            match frame[54] {
                135 => {
                    for (held, mac) in self.holders.iter().filter(|(held, _)| frame[62..78] == held.octets())
                    {
                        let mut claim = frame.to_vec();
                        claim[6..12].copy_from_slice(&mac.octets());
                        claim[22..38].copy_from_slice(&held.octets());
                        claim[54] = 136;
                        self.heard.borrow_mut().push_back(claim);
                    }
                }
                _ => self.told.borrow_mut().push(frame.to_vec()),
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

fn acquire(lan: &Lan<'_>, wanted: Option<Ipv6Addr>) -> Result<LanLease, ResolverError> {
    DhcpClient.acquire(lan, &client(), LeaseKind::Dhcp6, wanted.map(Into::into))
}

/// Advertises another address each time, and confirms what is requested.
fn obliging(question: &Question, before: usize) -> Vec<Vec<u8>> {
    let next = nth(0x100 + u16::try_from(before).unwrap());
    let given = Says::Gives(question.address.unwrap_or(next));
    match question.kind {
        MessageType::Solicit => vec![answer(question, MessageType::Advertise, FIRST, &given, &[])],
        MessageType::Request | MessageType::Renew | MessageType::Rebind => {
            vec![answer(question, MessageType::Reply, FIRST, &given, &[])]
        }
        _ => Vec::new(),
    }
}

#[test]
fn an_address_is_advertised_requested_and_looked_for() {
    let lan = Lan::new(&obliging, &[]);
    let lease = acquire(&lan, None).unwrap();
    assert_eq!(lease.address(), Some(nth(0x100).into()));
    let Term { renew_after, rebind_after, lifetime, .. } = lease.term;
    assert_eq!((renew_after, rebind_after, lifetime), (30, 48, 80));
    let said = lan.said.borrow().clone();
    assert_eq!(lan.kinds(), [MessageType::Solicit, MessageType::Request]);
    assert_eq!((said[0].address, &said[0].server), (None, &None));
    assert_eq!((said[1].address, said[1].server.as_deref()), (Some(nth(0x100)), Some(FIRST)));
    assert_ne!(said[0].id, said[1].id);
    // One that it had before is asked for first.
    assert_eq!(acquire(&Lan::new(&obliging, &[]), Some(nth(9))).unwrap().address(), Some(nth(9).into()));
}

#[test]
fn a_server_may_give_at_once() {
    let rapid = |question: &Question, _| {
        let given = Says::Gives(nth(1));
        vec![answer(question, MessageType::Reply, FIRST, &given, &[DhcpOption::RapidCommit])]
    };
    let lan = Lan::new(&rapid, &[]);
    assert_eq!(acquire(&lan, None).unwrap().address(), Some(nth(1).into()));
    assert_eq!(lan.kinds(), [MessageType::Solicit]);
    // A reply that nobody asked for gives nothing.
    let unasked =
        |question: &Question, _| vec![answer(question, MessageType::Reply, FIRST, &Says::Gives(nth(1)), &[])];
    assert!(matches!(acquire(&Lan::new(&unasked, &[]), None), Err(ResolverError::Silent6 { .. })));
}

#[test]
fn of_several_servers_the_preferred_one_is_taken() {
    let two = |question: &Question, _| match question.kind {
        MessageType::Solicit => [(FIRST, 0, nth(1)), (SECOND, 9, nth(2))]
            .map(|(server, preference, given)| {
                let more = [DhcpOption::Preference(preference)];
                answer(question, MessageType::Advertise, server, &Says::Gives(given), &more)
            })
            .into(),
        _ => vec![answer(question, MessageType::Reply, SECOND, &Says::Gives(nth(2)), &[])],
    };
    let lan = Lan::new(&two, &[]);
    assert_eq!(acquire(&lan, None).unwrap().address(), Some(nth(2).into()));
    assert_eq!(lan.said.borrow()[1].server.as_deref(), Some(SECOND));
}

#[test]
fn a_lan_without_a_server_or_with_an_empty_one_is_an_error_that_says_so() {
    let silent = Lan::new(&|_, _| Vec::new(), &[]);
    let said = acquire(&silent, None).unwrap_err();
    assert!(matches!(said, ResolverError::Silent6 { questions: 3, seconds: 7 }), "{said}");
    let empty = |question: &Question, _| {
        vec![answer(question, MessageType::Advertise, FIRST, &Says::Refuses(Status::NoAddrsAvail), &[])]
    };
    let said = acquire(&Lan::new(&empty, &[]), None).unwrap_err();
    assert_eq!(said.to_string(), "DHCPv6 server fe80::1 refuses: \"NoAddrsAvail: no\"");
    let unsteady = |question: &Question, before| match question.kind {
        MessageType::Solicit => obliging(question, before),
        _ => Vec::new(),
    };
    let said = acquire(&Lan::new(&unsteady, &[]), None).unwrap_err();
    assert_eq!(
        said.to_string(),
        format!("DHCPv6 server fe80::1 offered {} and did not confirm it", nth(0x100))
    );
}

#[test]
fn an_address_that_somebody_has_is_declined_and_another_one_asked_for() {
    let holders = [(nth(0x100), SERVER), (nth(0x101), CLIENT)];
    let lan = Lan::new(&obliging, &holders);
    assert_eq!(acquire(&lan, Some(nth(0x100))).unwrap().address(), Some(nth(0x101).into()));
    use MessageType::{Decline, Request, Solicit};
    assert_eq!(lan.kinds(), [Solicit, Request, Decline, Solicit, Request]);
    let said = lan.said.borrow().clone();
    assert_eq!((said[2].address, said[2].server.as_deref()), (Some(nth(0x100)), Some(FIRST)));
    assert_eq!(said[3].address, None);
    // A server that has no other one is left in peace after a while.
    let stubborn = |question: &Question, before| {
        obliging(&Question { address: Some(nth(0x100)), ..question.clone() }, before)
    };
    let lan = Lan::new(&stubborn, &holders);
    let said = acquire(&lan, None).unwrap_err();
    assert!(matches!(&said, ResolverError::Conflict { holder: SERVER, .. }), "{said}");
    assert_eq!(lan.kinds().iter().filter(|kind| **kind == Decline).count(), 4);
}

#[test]
fn whoever_asks_for_the_client_is_answered_and_for_others_is_not() {
    let asks = |for_whom: &str, asker: &str| {
        let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
        message.extend(for_whom.parse::<Ipv6Addr>().unwrap().octets());
        let mut frame =
            [&[0x33, 0x33, 0xff, 0, 0, 7][..], &SERVER.octets(), &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
        frame.extend([0, 24, 58, 255]);
        frame.extend(asker.parse::<Ipv6Addr>().unwrap().octets());
        frame.extend([0; 16]);
        frame.extend(message);
        frame
    };
    let asking = move |question: &Question, before| {
        let mut all = vec![asks(OWN, "fe80::1"), asks("fe80::9", "fe80::1"), asks(OWN, "::")];
        all.extend(obliging(question, before));
        all
    };
    let lan = Lan::new(&asking, &[]);
    acquire(&lan, None).unwrap();
    let told = lan.told.borrow();
    assert_eq!(told.len(), 2);
    for frame in told.iter() {
        assert_eq!((&frame[..6], &frame[6..12]), (&SERVER.octets()[..], &CLIENT.octets()[..]));
        assert_eq!((frame[54], &frame[62..78]), (136, &OWN.parse::<Ipv6Addr>().unwrap().octets()[..]));
        assert_eq!(frame[80..86], CLIENT.octets());
    }
}

fn lease_after(seconds: u64) -> LanLease {
    let lease = acquire(&Lan::new(&obliging, &[]), None).unwrap();
    let now = DhcpClient.now();
    assert!(now >= seconds, "the host has just booted");
    LanLease { term: Term { obtained: now - seconds, ..lease.term }, ..lease }
}

fn renew(lan: &Lan<'_>, after: u64) -> Result<LanLease, ResolverError> {
    DhcpClient.renew(lan, &client(), &lease_after(after))
}

#[test]
fn a_lease_is_renewed_by_its_server_and_later_by_all() {
    let lan = Lan::new(&obliging, &[]);
    let renewed = renew(&lan, 35).unwrap();
    assert!(renewed.term.obtained + 2 > DhcpClient.now());
    let asked = lan.said.borrow()[0].clone();
    assert_eq!((asked.kind, asked.address), (MessageType::Renew, Some(nth(0x100))));
    assert_eq!(asked.server.as_deref(), Some(FIRST));
    let lan = Lan::new(&obliging, &[]);
    renew(&lan, 55).unwrap();
    let asked = lan.said.borrow()[0].clone();
    assert_eq!((asked.kind, asked.address, asked.server), (MessageType::Rebind, Some(nth(0x100)), None));

    // Another server has no say before that.
    let other = |question: &Question, _| {
        let given = Says::Gives(question.address.unwrap());
        vec![answer(question, MessageType::Reply, SECOND, &given, &[])]
    };
    let said = renew(&Lan::new(&other, &[]), 35).unwrap_err();
    assert!(matches!(said, ResolverError::Unanswered { .. }) && !said.is_final(), "{said}");
    assert!(renew(&Lan::new(&other, &[]), 55).is_ok());
}

#[test]
fn a_server_that_lost_its_notes_is_asked_to_give_the_same() {
    let forgetful = |question: &Question, before| match question.kind {
        MessageType::Renew => {
            vec![answer(question, MessageType::Reply, FIRST, &Says::Refuses(Status::NoBinding), &[])]
        }
        _ => obliging(question, before),
    };
    let lan = Lan::new(&forgetful, &[]);
    assert_eq!(renew(&lan, 35).unwrap().address(), Some(nth(0x100).into()));
    assert_eq!(lan.kinds(), [MessageType::Renew, MessageType::Request]);
}

#[test]
fn an_address_that_is_taken_away_is_lost_and_one_that_takes_its_place_is_looked_for() {
    let says = |says: Says| {
        move |question: &Question, _: usize| match question.kind {
            MessageType::Decline => Vec::new(),
            _ => vec![answer(question, MessageType::Reply, FIRST, &says, &[])],
        }
    };
    let taken = says(Says::Takes(nth(0x100)));
    assert!(renew(&Lan::new(&taken, &[]), 35).unwrap_err().is_final());
    let elsewhere = says(Says::Refuses(Status::NotOnLink));
    assert!(renew(&Lan::new(&elsewhere, &[]), 35).unwrap_err().is_final());
    let busy = says(Says::Refuses(Status::UnspecFail));
    assert!(!renew(&Lan::new(&busy, &[]), 35).unwrap_err().is_final());
    let moved = says(Says::Gives(nth(5)));
    assert_eq!(renew(&Lan::new(&moved, &[]), 35).unwrap().address(), Some(nth(5).into()));
    let holders = [(nth(5), SERVER)];
    let lan = Lan::new(&moved, &holders);
    assert!(matches!(renew(&lan, 35), Err(ResolverError::Conflict { .. })));
    assert_eq!(lan.kinds(), [MessageType::Renew, MessageType::Decline]);
}

#[test]
fn an_address_is_given_back_to_its_server() {
    let lan = Lan::new(&obliging, &[]);
    DhcpClient.release(&lan, &client(), &lease_after(1)).unwrap();
    let said = lan.said.borrow()[0].clone();
    assert_eq!((said.kind, said.address), (MessageType::Release, Some(nth(0x100))));
    assert_eq!(said.server.as_deref(), Some(FIRST));
}
