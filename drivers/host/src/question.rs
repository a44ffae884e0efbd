//! Asking a LAN who has an address, in the name of a container or of the host, and waiting for the answer.
//!
//! The question leaves by the adapter itself, and the answer is seen where the adapter hands it in: what is asked is whether the
//! LAN, and whatever lies between it and the adapter, lets the asker's station through. Ports and their rules have no part in it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use hns_abi::MARK_WIRED;
use hns_net::{Mac, Uplink, VlanId};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::announce::{arp_request, icmpv6};
use crate::link::{self, Link};
use crate::netlink::Netlink;
use crate::packet_socket::{hear, send};
use crate::{HostError, address};

/// Who has this address?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub uplink: Uplink,
    pub asker: Asker,
    pub of: IpAddr,
}

/// In whose name a question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A container on the uplink, with an address of the question's family.
    Station(Mac, IpAddr),
    /// The host, with its adapter's own station.
    Host,
}

/// For so long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The shortest answer: ARP's, without padding.
const ANSWER_MIN: usize = 42;
const ETHERTYPE: std::ops::Range<usize> = 12..14;
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// A question that is ready to be asked.
pub(crate) struct Asking<'a> {
    question: &'a Question,
    link: u32,
    mac: Mac,
    from: IpAddr,
}

impl<'a> Asking<'a> {
    /// Nothing, where the host has nothing to ask with: no address of IPv6 on the adapter.
    pub(crate) fn prepare(netlink: &mut Netlink, question: &'a Question) -> Result<Option<Self>, HostError> {
        let adapter = &question.uplink.adapter;
        let Some(found) = link::find(netlink, adapter)? else {
            return Err(HostError::NoSuchAdapter { name: adapter.clone() });
        };
        let asker = asker(netlink, question, &found)?;
        Ok(asker.map(|(mac, from)| Self { question, link: found.index, mac, from }))
    }

    /// Asks, and says whether somebody answered in time.
    pub(crate) fn is_answered(&self) -> Result<bool, HostError> {
        self.converse().map_err(|source| {
            let object = format!("who has {} on {}", self.question.of, self.question.uplink);
            HostError::Conversation { operation: "ask", object, source }
        })
    }

    fn converse(&self) -> io::Result<bool> {
        let ear = Ear::open(self.link, self.mac)?;
        send(&ear.0, self.link, &self.frame())?;
        ear.hears(|frame| answers(frame, self.question.of))
    }

    fn frame(&self) -> Vec<u8> {
        let frame = match (self.from, self.question.of) {
            (IpAddr::V4(from), IpAddr::V4(of)) => arp_request(self.mac, from, of),
            (_, IpAddr::V4(of)) => arp_request(self.mac, Ipv4Addr::UNSPECIFIED, of),
            (IpAddr::V6(from), IpAddr::V6(of)) => neighbour_solicitation(self.mac, from, of),
            (_, IpAddr::V6(of)) => neighbour_solicitation(self.mac, Ipv6Addr::UNSPECIFIED, of),
        };
        match self.question.uplink.vlan {
            Some(vlan) => tagged(&frame, vlan),
            None => frame,
        }
    }
}

fn asker(
    netlink: &mut Netlink,
    question: &Question,
    adapter: &Link,
) -> Result<Option<(Mac, IpAddr)>, HostError> {
    Ok(match (question.asker, question.of) {
        (Asker::Station(mac, from), _) => Some((mac, from)),
        // A probe (RFC 5227 section 2.1.1), which takes no address.
        (Asker::Host, IpAddr::V4(_)) => adapter.mac.map(|mac| (mac, Ipv4Addr::UNSPECIFIED.into())),
        (Asker::Host, IpAddr::V6(_)) => {
            let held = address::list(netlink, Some(adapter.index))?;
            let own = held.into_iter().map(|held| held.address.address()).find(IpAddr::is_ipv6);
            adapter.mac.zip(own)
        }
    })
}

/// RFC 4861 section 7.2.2.
fn neighbour_solicitation(mac: Mac, from: Ipv6Addr, of: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(of.octets());
    // Option: source link-layer address, one unit of eight bytes.
    message.extend([1, 1]);
    message.extend(mac.octets());
    let [.., a, b, c] = of.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    icmpv6(mac, from, group, message)
}

pub(crate) fn tagged(frame: &[u8], vlan: VlanId) -> Vec<u8> {
    let (stations, rest) = frame.split_at(ETHERTYPE.start);
    [stations, &[0x81, 0], &vlan.number().to_be_bytes(), rest].concat()
}

/// Hears what comes in by a link for one station, of ARP and neighbour discovery.
pub(crate) struct Ear(pub Socket);

impl Ear {
    pub(crate) fn open(link: u32, mac: Mac) -> io::Result<Self> {
        // Nothing comes before the filter is there: without a protocol a socket hears nothing.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        socket.attach_filter(&filter(mac))?;
        // The adapter's programs take what bears it for a container's, which goes out as it is.
        socket.set_mark(MARK_WIRED)?;
        // Before the adapter's programs, which lead the answer into the container.
        hear(&socket, link)?;
        Ok(Self(socket))
    }

    /// Whether such a frame comes in time.
    pub(crate) fn hears(&self, is_it: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
        // Of a socket's patience nothing shorter than this is left, and none means for ever.
        const LEAST: Duration = Duration::from_micros(1);
        let end = Instant::now() + PATIENCE;
        let mut buffer = [0; 128];
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| *left >= LEAST) {
            self.0.set_read_timeout(Some(left))?;
            match io::Read::read(&mut &self.0, &mut buffer) {
                Ok(length) if is_it(&buffer[..length]) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// Lets through what is for the station, of ARP and of ICMPv6's neighbour advertisements (classic BPF).
fn filter(mac: Mac) -> [SockFilter; 13] {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_ABS) as u16;
    const WORD: u16 = LOAD | libc::BPF_W as u16;
    const HALF: u16 = LOAD | libc::BPF_H as u16;
    const BYTE: u16 = LOAD | libc::BPF_B as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const ANSWER: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let [a, b, c, d, e, f] = mac.octets();
    let is = |value: u32, then, otherwise| SockFilter::new(EQUAL, then, otherwise, value);
    let load = |size, at| SockFilter::new(size, 0, 0, at);
    // The two numbers of a comparison are how many lines are left out when it holds, and when it does not.
    [
        load(WORD, 0),
        is(u32::from_be_bytes([a, b, c, d]), 0, 10),
        load(HALF, 4),
        is(u16::from_be_bytes([e, f]).into(), 0, 8),
        load(HALF, 12),
        is(u16::from_be_bytes(ARP).into(), 5, 0),
        is(u16::from_be_bytes(IPV6).into(), 0, 5),
        load(BYTE, 20),
        is(ICMPV6.into(), 0, 3),
        load(BYTE, 54),
        is(ADVERTISEMENT.into(), 0, 1),
        SockFilter::new(ANSWER, 0, 0, u32::MAX),
        SockFilter::new(ANSWER, 0, 0, 0),
    ]
}

/// Whether a frame says who has this address.
fn answers(frame: &[u8], of: IpAddr) -> bool {
    const REPLY: [u8; 2] = [0, 2];
    if frame.len() < ANSWER_MIN {
        return false;
    }
    match of {
        IpAddr::V4(of) => frame[ETHERTYPE] == ARP && frame[20..22] == REPLY && frame[28..32] == of.octets(),
        IpAddr::V6(of) => {
            let message = frame.get(54..78).filter(|_| frame[ETHERTYPE] == IPV6 && frame[20] == ICMPV6);
            message.is_some_and(|message| message[0] == ADVERTISEMENT && message[8..24] == of.octets())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hns_net::UplinkMode;

    const MAC: Mac = Mac::new([2, 0, 0, 0, 7, 1]);

    #[test]
    fn a_question_is_no_answer_to_itself() {
        for of in ["198.18.0.254", "fd00:198:18::fe"] {
            let of: IpAddr = of.parse().unwrap();
            let uplink = Uplink { adapter: "eth0".parse().unwrap(), vlan: None, mode: UplinkMode::Stations };
            let question = Question { uplink, asker: Asker::Host, of };
            let asking = Asking { question: &question, link: 1, mac: MAC, from: Ipv6Addr::LOCALHOST.into() };
            assert!(!answers(&asking.frame(), of), "{of}");
        }
    }

    #[test]
    fn an_answer_names_who_was_asked_for() {
        let of = Ipv4Addr::new(198, 18, 0, 254);
        let mut reply = arp_request(MAC, of, Ipv4Addr::new(198, 18, 0, 7));
        assert!(!answers(&reply, of.into()), "a request");
        reply[21] = 2;
        assert!(answers(&reply, of.into()));
        assert!(!answers(&reply, Ipv4Addr::new(198, 18, 0, 253).into()));
        assert!(!answers(&reply[..ANSWER_MIN - 1], of.into()));
        let of: Ipv6Addr = "fd00:198:18::fe".parse().unwrap();
        let mut advertisement = neighbour_solicitation(MAC, of, of);
        advertisement[54] = ADVERTISEMENT;
        assert!(answers(&advertisement, of.into()));
        assert!((0..advertisement.len() - 9).all(|length| !answers(&advertisement[..length], of.into())));
    }

    #[test]
    fn a_tag_stands_before_what_the_frame_carries() {
        let frame =
            tagged(&arp_request(MAC, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST), VlanId::new(7).unwrap());
        assert_eq!(frame[12..18], [0x81, 0, 0, 7, 0x08, 0x06]);
    }
}
