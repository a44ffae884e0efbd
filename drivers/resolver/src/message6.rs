//! The messages of DHCPv6 (RFC 8415), and what answers are worth. Options that are not read here are skipped unread.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use hns_model::{FOREVER, Grant, LanLease, LanServer, Term};
use hns_net::{Family, IfAddr, Mac};

use crate::Client;
use crate::message::{LABEL_MAX, domain_name};

/// RFC 8415 section 7.3.
const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REQUEST: u8 = 3;
const RENEW: u8 = 5;
const REBIND: u8 = 6;
const REPLY: u8 = 7;
const RELEASE: u8 = 8;
const DECLINE: u8 = 9;

/// RFC 8415 section 21, RFC 3646, RFC 4704.
const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const IA_NA: u16 = 3;
const IA_ADDRESS: u16 = 5;
const WANTED: u16 = 6;
const PREFERENCE: u16 = 7;
const ELAPSED: u16 = 8;
const STATUS: u16 = 13;
const RAPID_COMMIT: u16 = 14;
const DNS_SERVERS: u16 = 23;
const SEARCH_LIST: u16 = 24;
const CLIENT_FQDN: u16 = 39;

/// A DUID made of a link-layer address, and Ethernet's hardware type (RFC 8415 section 11.4).
const DUID_LL: [u8; 4] = [0, 3, 0, 1];
/// The longest DUID (RFC 8415 section 11.1).
const DUID_MAX: usize = 130;
/// The server is to enter the client's name into the LAN's name service (RFC 4704 section 4.1).
const SERVER_UPDATES: u8 = 1;
/// So many name servers and domains of one answer count.
const LIST_MAX: usize = 8;
const NAME_MAX: usize = 255;
/// RFC 8415 section 21.13.
const SUCCESS: u16 = 0;
const UNSPECIFIED_FAILURE: u16 = 1;
const NO_ADDRESSES: u16 = 2;
const NO_BINDING: u16 = 3;
const NOT_ON_LINK: u16 = 4;

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question<'a> {
    Solicit { wanted: Option<Ipv6Addr> },
    Request { address: Ipv6Addr, server: &'a [u8] },
    Renew { address: Ipv6Addr, server: &'a [u8] },
    Rebind { address: Ipv6Addr },
    Decline { address: Ipv6Addr, server: &'a [u8] },
    Release { address: Ipv6Addr, server: &'a [u8] },
}

impl Question<'_> {
    const fn kind(self) -> u8 {
        match self {
            Self::Solicit { .. } => SOLICIT,
            Self::Request { .. } => REQUEST,
            Self::Renew { .. } => RENEW,
            Self::Rebind { .. } => REBIND,
            Self::Decline { .. } => DECLINE,
            Self::Release { .. } => RELEASE,
        }
    }

    pub const fn server(&self) -> Option<&[u8]> {
        match self {
            Self::Solicit { .. } | Self::Rebind { .. } => None,
            Self::Request { server, .. }
            | Self::Renew { server, .. }
            | Self::Decline { server, .. }
            | Self::Release { server, .. } => Some(server),
        }
    }

    const fn address(self) -> Option<Ipv6Addr> {
        match self {
            Self::Solicit { wanted } => wanted,
            Self::Request { address, .. }
            | Self::Renew { address, .. }
            | Self::Rebind { address }
            | Self::Decline { address, .. }
            | Self::Release { address, .. } => Some(address),
        }
    }

    const fn asks_for_options(self) -> bool {
        !matches!(self, Self::Decline { .. } | Self::Release { .. })
    }
}

/// A number that answers repeat: 24 bits.
pub(crate) fn fresh_id() -> [u8; 3] {
    let [_, id @ ..] = crate::message::fresh_id().to_be_bytes();
    id
}

/// Under what a station is known to servers: the same for as long as it has its MAC address.
fn duid(mac: Mac) -> Vec<u8> {
    [&DUID_LL[..], &mac.octets()].concat()
}

/// Its one association of addresses.
fn association(mac: Mac) -> [u8; 4] {
    let [_, _, id @ ..] = mac.octets();
    id
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("our options have some hundred bytes");
    [&code.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

/// A message in bytes. `elapsed`: since its client began to ask.
pub(crate) fn write(client: &Client, id: [u8; 3], question: Question<'_>, elapsed: Duration) -> Vec<u8> {
    let mut message = vec![question.kind()];
    message.extend(id);
    message.extend(option(CLIENT_ID, &duid(client.mac)));
    if let Some(server) = question.server() {
        message.extend(option(SERVER_ID, server));
    }
    let hundredths = u16::try_from(elapsed.as_millis() / 10).unwrap_or(u16::MAX);
    message.extend(option(ELAPSED, &hundredths.to_be_bytes()));
    // Its times are the server's to choose.
    let mut addresses = [&association(client.mac)[..], &[0; 8]].concat();
    if let Some(address) = question.address() {
        addresses.extend(option(IA_ADDRESS, &[&address.octets()[..], &[0; 8]].concat()));
    }
    message.extend(option(IA_NA, &addresses));
    if matches!(question, Question::Solicit { .. }) {
        message.extend(option(RAPID_COMMIT, &[]));
    }
    if question.asks_for_options() {
        message.extend(option(WANTED, &[DNS_SERVERS, SEARCH_LIST].map(u16::to_be_bytes).concat()));
        if let Some(name) = &client.host_name {
            message.extend(option(CLIENT_FQDN, &label(name)));
        }
    }
    message
}

/// A name without a domain (RFC 4704 section 4.2).
fn label(name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("a label has up to 63 bytes");
    [&[SERVER_UPDATES, length][..], name.as_bytes()].concat()
}

/// What stands one after the other in a message or in an option, as far as it is whole.
struct Options<'m>(&'m [u8]);

impl<'m> Iterator for Options<'m> {
    type Item = (u16, &'m [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (header, rest) = self.0.split_first_chunk::<4>()?;
        let [code, length] = [[header[0], header[1]], [header[2], header[3]]].map(u16::from_be_bytes);
        let (value, after) = rest.split_at_checked(usize::from(length))?;
        self.0 = after;
        Some((code, value))
    }
}

fn find(options: &[u8], wanted: u16) -> Option<&[u8]> {
    Options(options).find(|(code, _)| *code == wanted).map(|(_, value)| value)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerKind {
    Advertise,
    Reply,
}

/// What a server answers.
#[derive(Debug)]
pub(crate) struct Answer<'m> {
    pub kind: AnswerKind,
    pub server: Ipv6Addr,
    pub server_id: &'m [u8],
    mac: Mac,
    association: [u8; 4],
    options: &'m [u8],
}

/// What a server says instead of giving an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not know of the address, and gives it to whoever requests it.
    NoBinding,
    /// It could not for now.
    Failure,
    Refused(Option<String>),
    Unusable {
        address: Ipv6Addr,
        why: &'static str,
    },
}

/// Reads an answer to the question of this number, and nothing else. `mac` sent the frame, under the address `server`.
pub(crate) fn read<'m>(
    bytes: &'m [u8],
    client: &Client,
    id: [u8; 3],
    (server, mac): (Ipv6Addr, Mac),
) -> Option<Answer<'m>> {
    let (header, options) = bytes.split_first_chunk::<4>()?;
    let kind = match header[0] {
        ADVERTISE => AnswerKind::Advertise,
        REPLY => AnswerKind::Reply,
        _ => return None,
    };
    let server_id = find(options, SERVER_ID).filter(|id| (1..=DUID_MAX).contains(&id.len()))?;
    let is_for_us = header[1..] == id && find(options, CLIENT_ID) == Some(&duid(client.mac));
    let association = association(client.mac);
    is_for_us.then_some(Answer { kind, server, server_id, mac, association, options })
}

impl<'m> Answer<'m> {
    /// Whether the address is the client's already.
    pub fn is_rapid(&self) -> bool {
        self.kind == AnswerKind::Reply && find(self.options, RAPID_COMMIT).is_some()
    }

    /// How much its administrator wants it to be taken.
    pub fn preference(&self) -> u8 {
        match find(self.options, PREFERENCE) {
            Some([preference]) => *preference,
            _ => 0,
        }
    }

    /// What it is worth to a container, counted from when it was asked for; or why nothing. Of several addresses `held` is the one.
    pub fn lease(&self, held: Option<Ipv6Addr>, asked: u64) -> Result<LanLease, Refusal> {
        let is_ours = |value: &&[u8]| value.starts_with(&self.association);
        let of_code = |(code, value): (u16, &'m [u8])| (code == IA_NA).then_some(value);
        let ours = Options(self.options).filter_map(of_code).find(is_ours);
        let Some((header, given)) = ours.and_then(|ours| ours.split_first_chunk::<12>()) else {
            return Err(refusal(self.options).unwrap_or(Refusal::Refused(Some("it gives no address".into()))));
        };
        let all = || {
            Options(given).filter(|(code, _)| *code == IA_ADDRESS).filter_map(|(_, value)| Given::read(value))
        };
        let chosen = all().min_by_key(|given| (given.fault().is_some(), Some(given.address) != held));
        let Some(chosen) = chosen else {
            let said = refusal(given).or_else(|| refusal(self.options));
            return Err(said.unwrap_or(Refusal::Refused(Some("it gives no address".into()))));
        };
        let unusable = |why| Refusal::Unusable { address: chosen.address, why };
        if let Some(why) = chosen.fault() {
            return Err(unusable(why));
        }
        let whole = IfAddr::new(chosen.address.into(), Family::V6.bits());
        let [_, _, _, _, times @ ..] = *header;
        let (times, _) = times.as_chunks::<4>();
        let times = [times[0], times[1]].map(u32::from_be_bytes);
        Ok(LanLease {
            grant: Grant::Dhcp6 { server_id: self.server_id.to_vec() },
            addresses: vec![whole.map_err(|_| unusable("it is no address"))?],
            routes: Vec::new(),
            dns: find(self.options, DNS_SERVERS).map_or_else(Vec::new, servers),
            domain: None,
            search: find(self.options, SEARCH_LIST).map_or_else(Vec::new, domains),
            server: LanServer { address: self.server.into(), mac: self.mac },
            term: chosen.term(times, asked),
        })
    }
}

/// One address, and for how many seconds.
struct Given {
    address: Ipv6Addr,
    preferred: u32,
    valid: u32,
}

impl Given {
    fn read(value: &[u8]) -> Option<Self> {
        let (address, rest) = value.split_first_chunk::<16>()?;
        let (times, _) = rest.split_first_chunk::<8>()?.0.as_chunks::<4>();
        let [preferred, valid] = [times[0], times[1]].map(u32::from_be_bytes);
        Some(Self { address: Ipv6Addr::from(*address), preferred, valid })
    }

    /// Why no container may have it, or not as its own for new connections.
    fn fault(&self) -> Option<&'static str> {
        let address = self.address;
        let is_no_hosts = address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.is_unicast_link_local()
            || address.to_ipv4_mapped().is_some();
        match () {
            () if is_no_hosts => Some("it is no host's address"),
            () if self.valid == 0 => Some("its valid lifetime is 0"),
            () if self.preferred == 0 => Some("its preferred lifetime is 0"),
            () if self.preferred > self.valid => Some("its preferred lifetime is longer than its valid one"),
            () => None,
        }
    }

    /// The times between which it is renewed have their usual place where the server leaves them to us, or names none that make sense.
    fn term(&self, [renew, rebind]: [u32; 2], obtained: u64) -> Term {
        let (preferred, lifetime) = (self.preferred, self.valid);
        if lifetime == FOREVER && (renew == FOREVER || preferred == FOREVER) {
            return Term { obtained, renew_after: FOREVER, rebind_after: FOREVER, lifetime };
        }
        let is_meant = |at: &u32| *at > 0 && *at < lifetime;
        // Four fifths (RFC 8415 section 21.4), of what may be for ever.
        let rebind = Some(rebind).filter(is_meant).unwrap_or(preferred / 5 * 4);
        let renew = Some(renew).filter(|at| is_meant(at) && *at <= rebind);
        Term {
            obtained,
            renew_after: renew.unwrap_or((preferred / 2).min(rebind)),
            rebind_after: rebind,
            lifetime,
        }
    }
}

/// What a status says that is none of success.
fn refusal(options: &[u8]) -> Option<Refusal> {
    let (code, text) = find(options, STATUS)?.split_first_chunk::<2>()?;
    let name = match u16::from_be_bytes(*code) {
        SUCCESS => return None,
        UNSPECIFIED_FAILURE => return Some(Refusal::Failure),
        NO_BINDING => return Some(Refusal::NoBinding),
        NO_ADDRESSES => "NoAddrsAvail".to_owned(),
        NOT_ON_LINK => "NotOnLink".to_owned(),
        other => format!("status {other}"),
    };
    let text = String::from_utf8_lossy(text);
    let shown: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
    Some(Refusal::Refused(Some(match shown.trim() {
        "" => name,
        text => format!("{name}: {text}"),
    })))
}

fn servers(list: &[u8]) -> Vec<IpAddr> {
    let (servers, _) = list.as_chunks::<16>();
    let is_reached = |server: &Ipv6Addr| {
        !server.is_unspecified() && !server.is_multicast() && !server.is_unicast_link_local()
    };
    let servers = servers.iter().map(|octets| Ipv6Addr::from(*octets)).filter(is_reached);
    servers.take(LIST_MAX).map(Into::into).collect()
}

/// Names one after the other, none of them compressed (RFC 8415 section 10). What follows one that cannot be read is lost.
fn domains(mut list: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((name, rest)) = name(list) {
        list = rest;
        found.extend(domain_name(&name).filter(|name| !found.contains(name)));
    }
    found.truncate(LIST_MAX);
    found
}

fn name(mut list: &[u8]) -> Option<(String, &[u8])> {
    let mut labels = Vec::new();
    loop {
        let (length, rest) = list.split_first()?;
        let length = usize::from(*length);
        if length == 0 {
            return Some((labels.join("."), rest));
        }
        let (label, rest) = rest.split_at_checked(length).filter(|_| length <= LABEL_MAX)?;
        labels.push(std::str::from_utf8(label).ok()?);
        if labels.len() > NAME_MAX / 2 {
            return None;
        }
        list = rest;
    }
}

#[cfg(test)]
#[path = "message6_tests.rs"]
mod tests;
