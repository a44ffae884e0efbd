//! The messages of DHCP, by crate dhcproto, and what answers are worth.

use std::net::{IpAddr, Ipv4Addr};

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Encodable};
use hns_hcn::Route;
use hns_model::{FOREVER, Grant, LanLease, LanServer, Term};
use hns_net::{Cidr, Family, IfAddr, Mac};

use crate::Client;

/// Options of Ethernet's hardware type (RFC 2132 section 9.14).
const ETHERNET: u8 = 1;
const BOOT_REPLY: u8 = 2;
/// Where a message's options begin, behind the cookie (RFC 2131 section 3).
const OPTIONS: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// What servers with old software take at least (RFC 951).
const MESSAGE_MIN: usize = 300;
/// What fits into a frame, so that no answer comes in fragments.
const MESSAGE_MAX: u16 = 1472;
/// The longest label and the longest name of the DNS (RFC 1035 section 2.3.4).
pub(crate) const LABEL_MAX: usize = 63;
const NAME_MAX: usize = 253;

const WANTED: [OptionCode; 9] = [
    OptionCode::SubnetMask,
    OptionCode::ClasslessStaticRoute,
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::DomainName,
    OptionCode::AddressLeaseTime,
    OptionCode::ServerIdentifier,
    OptionCode::Renewal,
    OptionCode::Rebinding,
];

/// RFC 2132 section 3.
const PAD: u8 = 0;
const END: u8 = 255;
/// The codes of [`WANTED`], of the message's type and of its text.
const KNOWN: [u8; 11] = [1, 3, 6, 15, 51, 53, 54, 56, 58, 59, 121];

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    Discover {
        wanted: Option<Ipv4Addr>,
    },
    /// Takes an offer.
    Request {
        address: Ipv4Addr,
        server: Ipv4Addr,
    },
    /// For an address that it has.
    Extend {
        own: Ipv4Addr,
    },
    /// For one that it had, as after a boot.
    Again {
        address: Ipv4Addr,
    },
    Decline {
        address: Ipv4Addr,
        server: Ipv4Addr,
    },
    Release {
        own: Ipv4Addr,
        server: Ipv4Addr,
    },
}

impl Question {
    fn kind(self) -> MessageType {
        match self {
            Self::Discover { .. } => MessageType::Discover,
            Self::Request { .. } | Self::Extend { .. } | Self::Again { .. } => MessageType::Request,
            Self::Decline { .. } => MessageType::Decline,
            Self::Release { .. } => MessageType::Release,
        }
    }

    /// The address that the client has, and may be answered at.
    pub fn own(self) -> Ipv4Addr {
        match self {
            Self::Extend { own } | Self::Release { own, .. } => own,
            Self::Discover { .. } | Self::Request { .. } | Self::Again { .. } | Self::Decline { .. } => {
                Ipv4Addr::UNSPECIFIED
            }
        }
    }

    /// Which options it takes beside the client's own (RFC 2131 table 5).
    fn options(self) -> Vec<DhcpOption> {
        let address = DhcpOption::RequestedIpAddress;
        let server = DhcpOption::ServerIdentifier;
        match self {
            Self::Discover { wanted } => wanted.map(address).into_iter().collect(),
            Self::Request { address: asked, server: of } | Self::Decline { address: asked, server: of } => {
                vec![address(asked), server(of)]
            }
            Self::Again { address: asked } => vec![address(asked)],
            Self::Extend { .. } => Vec::new(),
            Self::Release { server: of, .. } => vec![server(of)],
        }
    }

    fn asks_for_options(self) -> bool {
        !matches!(self, Self::Decline { .. } | Self::Release { .. })
    }
}

/// A number that answers repeat, so that nobody answers for others who has not heard the question.
pub(crate) fn fresh_id() -> u32 {
    Message::default().xid()
}

/// A message in bytes. `elapsed`: seconds since its client began to ask.
pub(crate) fn write(client: &Client, id: u32, question: Question, elapsed: u16) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(id, question.own(), none, none, none, &client.mac.octets());
    message.set_secs(elapsed);
    // Answers find a client that has no address yet; one that has is answered at it.
    if question.own().is_unspecified() {
        message.set_flags(Flags::default().set_broadcast());
    }
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(question.kind()));
    let identity = [&[ETHERNET][..], &client.mac.octets()].concat();
    options.insert(DhcpOption::ClientIdentifier(identity));
    question.options().into_iter().for_each(|option| _ = options.insert(option));
    if question.asks_for_options() {
        options.insert(DhcpOption::ParameterRequestList(WANTED.to_vec()));
        options.insert(DhcpOption::MaxMessageSize(MESSAGE_MAX));
        if let Some(name) = &client.host_name {
            options.insert(DhcpOption::Hostname(name.clone()));
        }
    }
    let mut bytes = message.to_vec().expect("our options are shorter than 255 bytes each");
    bytes.resize(bytes.len().max(MESSAGE_MIN), 0);
    bytes
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerKind {
    Offer,
    Ack,
    Nak,
}

/// Who answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    pub address: Ipv4Addr,
    pub mac: Mac,
}

/// What a server answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub kind: AnswerKind,
    pub server: Server,
    message: Message,
}

/// Reads an answer to the question of this number, and nothing else. `from` sent the frame.
pub(crate) fn read(bytes: &[u8], client: &Client, id: u32, from: Mac) -> Option<Answer> {
    let fixed: &[u8; OPTIONS] = bytes.first_chunk()?;
    let is_for_us = fixed[..3] == [BOOT_REPLY, ETHERNET, 6]
        && fixed[4..8] == id.to_be_bytes()
        && fixed[28..34] == client.mac.octets()
        && fixed[236..] == COOKIE;
    if !is_for_us {
        return None;
    }
    let message = Message::from_bytes(&with_known_options(bytes)).ok()?;
    let kind = match message.opts().get(OptionCode::MessageType)? {
        DhcpOption::MessageType(MessageType::Offer) => AnswerKind::Offer,
        DhcpOption::MessageType(MessageType::Ack) => AnswerKind::Ack,
        DhcpOption::MessageType(MessageType::Nak) => AnswerKind::Nak,
        _ => return None,
    };
    let DhcpOption::ServerIdentifier(address) = message.opts().get(OptionCode::ServerIdentifier)? else {
        return None;
    };
    let server = Server { address: *address, mac: from };
    Some(Answer { kind, server, message })
}

/// The message with those options alone that are read here: what dhcproto makes of strange ones in all others is no risk of ours then.
fn with_known_options(bytes: &[u8]) -> Vec<u8> {
    let (fixed, mut rest) = bytes.split_at(OPTIONS);
    let mut known = fixed.to_vec();
    while let [code, after @ ..] = rest {
        match *code {
            PAD => rest = after,
            END => break,
            code => {
                let Some((length, after)) = after.split_first() else { break };
                let Some((value, after)) = after.split_at_checked(usize::from(*length)) else { break };
                if KNOWN.contains(&code) {
                    known.extend([code, *length]);
                    known.extend(value);
                }
                rest = after;
            }
        }
    }
    known.push(END);
    known
}

impl Answer {
    pub fn address(&self) -> Ipv4Addr {
        self.message.yiaddr()
    }

    fn option(&self, code: OptionCode) -> Option<&DhcpOption> {
        self.message.opts().get(code)
    }

    /// What a server says to its refusal.
    pub fn text(&self) -> Option<String> {
        let DhcpOption::Message(text) = self.option(OptionCode::Message)? else { return None };
        let shown: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
        Some(shown.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// What it is worth to a container, counted from when it was asked for; or why nothing.
    pub fn lease(&self, asked: u64) -> Result<LanLease, &'static str> {
        let address = self.checked_address()?;
        let term = self.term(asked)?;
        let dns = match self.option(OptionCode::DomainNameServer) {
            Some(DhcpOption::DomainNameServer(servers)) => servers.iter().copied().map(Into::into).collect(),
            _ => Vec::new(),
        };
        let domain = match self.option(OptionCode::DomainName) {
            Some(DhcpOption::DomainName(name)) => domain_name(name),
            _ => None,
        };
        let server = LanServer { address: self.server.address.into(), mac: self.server.mac };
        Ok(LanLease {
            grant: Grant::Dhcp,
            addresses: vec![address],
            routes: self.routes(address),
            dns,
            domain,
            search: Vec::new(),
            server,
            term,
        })
    }

    fn checked_address(&self) -> Result<IfAddr, &'static str> {
        let address = self.address();
        if address.is_unspecified() {
            return Err("it is no address");
        }
        if address.is_link_local() {
            return Err("it is of 169.254.0.0/16, which servers do not give");
        }
        if address.is_loopback() || address.is_multicast() || address.octets()[0] >= 240 {
            return Err("it is no host's address");
        }
        let Some(DhcpOption::SubnetMask(mask)) = self.option(OptionCode::SubnetMask) else {
            return Err("it comes without a subnet mask");
        };
        let bits = u32::from(*mask);
        let length = u8::try_from(bits.leading_ones()).unwrap_or(32);
        if length == 0 || bits.count_ones() != u32::from(length) {
            return Err("its subnet mask is none");
        }
        let whole = IfAddr::new(address.into(), length).map_err(|_| "its subnet mask is none")?;
        let ends = [whole.prefix().network(), whole.prefix().last()];
        if length <= 30 && ends.contains(&IpAddr::from(address)) {
            return Err("it is its subnet's own");
        }
        Ok(whole)
    }

    /// The times between which a lease is renewed have their usual place where a server names none that make sense.
    fn term(&self, obtained: u64) -> Result<Term, &'static str> {
        let Some(DhcpOption::AddressLeaseTime(lifetime)) = self.option(OptionCode::AddressLeaseTime) else {
            return Err("it comes without a lease time");
        };
        let lifetime = *lifetime;
        if lifetime == 0 {
            return Err("its lease time is 0");
        }
        if lifetime == FOREVER {
            return Ok(Term { obtained, renew_after: FOREVER, rebind_after: FOREVER, lifetime });
        }
        let renew = match self.option(OptionCode::Renewal) {
            Some(DhcpOption::Renewal(seconds)) => Some(*seconds),
            _ => None,
        };
        let rebind = match self.option(OptionCode::Rebinding) {
            Some(DhcpOption::Rebinding(seconds)) => Some(*seconds),
            _ => None,
        };
        let rebind = rebind.filter(|at| *at < lifetime).unwrap_or(lifetime - lifetime.div_ceil(8));
        let renew = renew.filter(|at| *at <= rebind).unwrap_or((lifetime / 2).min(rebind));
        Ok(Term { obtained, renew_after: renew, rebind_after: rebind, lifetime })
    }

    /// Classless routes stand for the routers where both are given (RFC 3442). A route whose next hop is not on the LAN is none.
    fn routes(&self, address: IfAddr) -> Vec<Route> {
        let routes: Vec<(Cidr, Ipv4Addr)> = match self.option(OptionCode::ClasslessStaticRoute) {
            Some(DhcpOption::ClasslessStaticRoute(routes)) => routes
                .iter()
                .filter_map(|(net, hop)| {
                    Some((Cidr::new(net.network().into(), net.prefix_len()).ok()?, *hop))
                })
                .collect(),
            _ => match self.option(OptionCode::Router) {
                Some(DhcpOption::Router(routers)) => {
                    routers.first().map(|hop| (Family::V4.default_route(), *hop)).into_iter().collect()
                }
                _ => Vec::new(),
            },
        };
        let on_link = |hop: Ipv4Addr| {
            let hop = IpAddr::from(hop);
            let is_own =
                |(to, via): &(Cidr, Ipv4Addr)| via.is_unspecified() && !to.is_default() && to.contains(hop);
            hop != address.address() && (address.prefix().contains(hop) || routes.iter().any(is_own))
        };
        let mut usable: Vec<Route> = routes
            .iter()
            .filter_map(|(destination, hop)| match hop.is_unspecified() {
                true => (!destination.is_default()).then_some(Route {
                    destination: *destination,
                    next_hop: None,
                    metric: 0,
                }),
                false => on_link(*hop).then_some(Route {
                    destination: *destination,
                    next_hop: Some((*hop).into()),
                    metric: 0,
                }),
            })
            .collect();
        // What leads to a next hop comes before it.
        usable.sort_by_key(|route| route.next_hop.is_some());
        usable.truncate(ROUTES_MAX);
        usable
    }
}

/// As many as an endpoint may have.
const ROUTES_MAX: usize = 256;

/// A domain name that may be written into a file of others.
pub(crate) fn domain_name(text: &str) -> Option<String> {
    let name = text.trim_end_matches(['\0', '.']);
    let is_label = |label: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.len() <= LABEL_MAX && label.chars().all(is_plain)
    };
    (name.len() <= NAME_MAX && name.split('.').all(is_label)).then(|| name.to_owned())
}

/// A container's name as a host's (RFC 1123 section 2.1).
#[must_use]
pub fn host_name(name: &str) -> Option<String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let label: String = name.chars().map(plain).take(LABEL_MAX).collect();
    let label = label.trim_matches('-');
    (!label.is_empty()).then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 7]);
    const SERVER: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const OFFERED: [u8; 4] = [198, 18, 0, 77];

    fn client() -> Client {
        Client { mac: MAC, host_name: Some("web".into()) }
    }

    /// An acknowledgment with these options beside the type, the server and the lease time.
    fn ack(address: [u8; 4], more: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![BOOT_REPLY, ETHERNET, 6, 0, 0, 0, 0, 9];
        bytes.resize(OPTIONS, 0);
        bytes[16..20].copy_from_slice(&address);
        bytes[28..34].copy_from_slice(&MAC.octets());
        bytes[236..240].copy_from_slice(&COOKIE);
        bytes.extend([53, 1, 5, 54, 4, 198, 18, 0, 254, 51, 4, 0, 0, 0, 10]);
        more.iter().for_each(|option| bytes.extend(*option));
        bytes.push(END);
        bytes
    }

    fn lease(address: [u8; 4], more: &[&[u8]]) -> Result<LanLease, &'static str> {
        read(&ack(address, more), &client(), 9, SERVER).expect("it is an answer").lease(100)
    }

    const MASK: &[u8] = &[1, 4, 255, 255, 255, 0];

    #[test]
    fn a_grant_is_read_whole() {
        let options: [&[u8]; 4] =
            [MASK, &[3, 4, 198, 18, 0, 254], &[6, 8, 198, 18, 0, 53, 9, 9, 9, 9], b"\x0f\x0ccorp.example"];
        let lease = lease(OFFERED, &options).unwrap();
        assert_eq!(lease.addresses[0].to_string(), "198.18.0.77/24");
        assert_eq!(lease.routes.len(), 1);
        assert_eq!(lease.routes[0].next_hop, Some("198.18.0.254".parse().unwrap()));
        assert_eq!(lease.dns, [IpAddr::from([198, 18, 0, 53]), IpAddr::from([9, 9, 9, 9])]);
        assert_eq!(lease.domain.as_deref(), Some("corp.example"));
        assert_eq!(lease.server, LanServer { address: [198, 18, 0, 254].into(), mac: SERVER });
        assert_eq!(lease.term, Term { obtained: 100, renew_after: 5, rebind_after: 8, lifetime: 10 });
    }

    #[test]
    fn classless_routes_stand_for_the_router_and_lead_to_the_lan() {
        // Cut inside, it says nothing, and the router holds.
        let cut = [121, 18, 24, 10, 1, 2, 198, 18, 0, 9, 0, 198, 18, 0, 8, 8, 44, 203, 0, 113];
        let options: [&[u8]; 3] = [MASK, &[3, 4, 198, 18, 0, 254], &cut];
        let routes = lease(OFFERED, &options).unwrap().routes;
        assert_eq!(
            routes.iter().map(|route| route.next_hop).collect::<Vec<_>>(),
            [Some("198.18.0.254".parse().unwrap())]
        );
        let whole = [121, 19, 24, 10, 1, 2, 198, 18, 0, 9, 0, 198, 18, 0, 8, 8, 44, 203, 0, 113, 1];
        let options: [&[u8]; 3] = [MASK, &[3, 4, 198, 18, 0, 254], &whole];
        let shown: Vec<String> = lease(OFFERED, &options)
            .unwrap()
            .routes
            .iter()
            .map(|route| format!("{} {:?}", route.destination, route.next_hop))
            .collect();
        assert_eq!(shown, ["10.1.2.0/24 Some(198.18.0.9)", "0.0.0.0/0 Some(198.18.0.8)"]);
    }

    #[test]
    fn what_no_container_may_have_is_refused_with_the_reason() {
        type Case<'a> = ([u8; 4], &'a [&'a [u8]], &'a str);
        let cases: [Case; 8] = [
            ([0; 4], &[MASK], "no address"),
            ([169, 254, 7, 7], &[MASK], "169.254"),
            ([127, 0, 0, 1], &[MASK], "no host's"),
            ([224, 0, 0, 5], &[MASK], "no host's"),
            ([255; 4], &[MASK], "no host's"),
            (OFFERED, &[], "without a subnet mask"),
            (OFFERED, &[&[1, 4, 255, 0, 255, 0]], "mask is none"),
            ([198, 18, 0, 255], &[MASK], "subnet's own"),
        ];
        for (address, options, why) in cases {
            let said = lease(address, options).unwrap_err();
            assert!(said.contains(why), "{address:?}: {said}");
        }
    }

    #[test]
    fn times_that_make_no_sense_are_replaced() {
        let with = |renew: u8, rebind: u8| {
            let options: [&[u8]; 3] = [MASK, &[58, 4, 0, 0, 0, renew], &[59, 4, 0, 0, 0, rebind]];
            let term = lease(OFFERED, &options).unwrap().term;
            (term.renew_after, term.rebind_after)
        };
        assert_eq!([with(3, 6), with(9, 6), with(3, 60), with(60, 60)], [(3, 6), (5, 6), (3, 8), (5, 8)]);
    }

    #[test]
    fn nothing_but_an_answer_to_this_question_is_read() {
        let whole = ack(OFFERED, &[MASK]);
        assert!(read(&whole, &client(), 8, SERVER).is_none());
        let other = Client { mac: SERVER, host_name: None };
        assert!(read(&whole, &other, 9, SERVER).is_none());
        for (place, byte) in [(0, 1), (1, 6), (2, 16), (2, 200), (28, 9), (236, 0), (242, 9)] {
            let mut wrong = whole.clone();
            wrong[place] = byte;
            assert!(read(&wrong, &client(), 9, SERVER).is_none(), "byte {place}");
        }
        for length in 0..whole.len() {
            // Without its last options it is another message, but none that brings anybody down.
            let _ = read(&whole[..length], &client(), 9, SERVER).map(|answer| answer.lease(0).is_ok());
        }
    }

    #[test]
    fn names_are_fit_for_where_they_are_written() {
        for (text, name) in [
            ("corp.example", Some("corp.example")),
            ("corp.example.", Some("corp.example")),
            ("corp.example\0", Some("corp.example")),
            ("corp\nnameserver 192.0.2.1", None),
            ("a..b", None),
            ("", None),
        ] {
            assert_eq!(domain_name(text).as_deref(), name, "{text:?}");
        }
        for (text, name) in [("web", Some("web")), ("c1_pods", Some("c1-pods")), ("--", None), ("", None)] {
            assert_eq!(host_name(text).as_deref(), name, "{text:?}");
        }
        assert_eq!(host_name(&"x".repeat(80)).map(|name| name.len()), Some(63));
    }

    #[test]
    fn questions_say_who_asks_and_for_what() {
        let address = Ipv4Addr::from(OFFERED);
        let server = Ipv4Addr::new(198, 18, 0, 254);
        for (question, kind, own) in [
            (Question::Discover { wanted: None }, MessageType::Discover, false),
            (Question::Request { address, server }, MessageType::Request, false),
            (Question::Extend { own: address }, MessageType::Request, true),
            (Question::Again { address }, MessageType::Request, false),
            (Question::Decline { address, server }, MessageType::Decline, false),
            (Question::Release { own: address, server }, MessageType::Release, true),
        ] {
            let bytes = write(&client(), 9, question, 3);
            assert!(bytes.len() >= MESSAGE_MIN);
            let message = Message::from_bytes(&bytes).unwrap();
            let options = message.opts();
            assert!(options.has_msg_type(kind));
            assert_eq!((message.xid(), message.secs(), message.chaddr()), (9, 3, &MAC.octets()[..]));
            assert_eq!(message.ciaddr() == address, own, "{question:?}");
            assert_eq!(message.flags().broadcast(), !own, "{question:?}");
            let identity = DhcpOption::ClientIdentifier(vec![1, 2, 0, 0, 0, 0, 7]);
            assert_eq!(options.get(OptionCode::ClientIdentifier), Some(&identity));
            let is_named = options.get(OptionCode::Hostname) == Some(&DhcpOption::Hostname("web".into()));
            assert_eq!(is_named, question.asks_for_options(), "{question:?}");
        }
    }
}
