//! Frames of neighbour discovery (RFC 4861): the questions of a station that has no address yet, and what routers and others answer.

use std::net::Ipv6Addr;

use hns_net::{Cidr, IfAddr, Mac};

use crate::frame6::{ETHERNET, HEADER, IPV6, To, checksum, packet};

const ICMPV6: u8 = 58;
/// What no router has forwarded still has all of its hops.
const HOPS: u8 = 255;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Where the options of an advertisement begin, and the codes of those that count here (RFC 4861 section 4.6, RFC 8106 section 5.1).
const OPTIONS: usize = 16;
const PREFIX: u8 = 3;
const DNS_SERVERS: u8 = 25;
const MANAGED: u8 = 0x80;
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;

/// So many prefixes and name servers of one advertisement count.
const PREFIXES_MAX: usize = 8;
const SERVERS_MAX: usize = 8;

/// What a frame says that matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Router(Advertisement),
    /// Somebody says that he has an address.
    Claim {
        mac: Mac,
        address: Ipv6Addr,
    },
    /// Somebody asks who has an address.
    Question {
        mac: Mac,
        asker: Ipv6Addr,
        address: Ipv6Addr,
    },
}

/// What a router says of its LAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advertisement {
    pub router: Ipv6Addr,
    pub mac: Mac,
    /// Seconds for which it is a way out; 0: it is none.
    pub lifetime: u16,
    /// Addresses are a DHCPv6 server's to give.
    pub is_managed: bool,
    /// Those that stations make addresses of.
    pub prefixes: Vec<Prefix>,
    /// Those whose addresses are reached without a router, and for how many seconds.
    pub on_link: Vec<(Cidr, u32)>,
    pub dns: Vec<Ipv6Addr>,
}

/// A prefix of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub network: [u8; 8],
    pub is_on_link: bool,
    /// Seconds; never 0.
    pub valid: u32,
}

impl Prefix {
    /// The address that a station makes of it (RFC 4291 appendix A).
    pub fn address_of(&self, station: Mac) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&self.network);
        octets[8..].copy_from_slice(&station.interface_id());
        octets.into()
    }
}

/// The address that a station has on its link (RFC 4291 section 2.5.6).
pub(crate) fn link_local(station: Mac) -> Ipv6Addr {
    Prefix { network: [0xfe, 0x80, 0, 0, 0, 0, 0, 0], is_on_link: true, valid: u32::MAX }.address_of(station)
}

/// Asks all routers, of a station without an address: they answer to everybody.
pub(crate) fn router_solicitation(mac: Mac) -> Vec<u8> {
    to_group(mac, ALL_ROUTERS, &[ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0])
}

/// Asks whether anybody has an address, without claiming it (RFC 4862 section 5.4.2).
pub(crate) fn probe(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(address.octets());
    let [.., a, b, c] = address.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    to_group(mac, group, &message)
}

/// Tells somebody who asks which station has its own address of the link.
pub(crate) fn answer(station: Mac, asker: Ipv6Addr, to: Mac) -> Vec<u8> {
    let own = link_local(station);
    // Solicited, and instead of what was known; with the station as the target's link-layer address.
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, 0x60, 0, 0, 0];
    message.extend(own.octets());
    message.extend([2, 1]);
    message.extend(station.octets());
    icmpv6(To { mac: to.octets(), address: asker }, station, own, &message)
}

/// From the unspecified address to a group.
fn to_group(mac: Mac, group: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    icmpv6(To::group(group), mac, Ipv6Addr::UNSPECIFIED, message)
}

fn icmpv6(to: To, mac: Mac, from: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let sum = checksum(from, to.address, ICMPV6, &message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    packet(to, mac, from, ICMPV6, HOPS, &message)
}

/// Reads what anybody may have sent.
pub(crate) fn read(frame: &[u8]) -> Option<Heard> {
    let (ethernet, packet) = frame.split_first_chunk::<ETHERNET>()?;
    let (header, rest) = packet.split_first_chunk::<HEADER>()?;
    let is_discovery = ethernet[12..] == IPV6
        && header[0] >> 4 == 6
        && header[6] == ICMPV6
        && header[7] == HOPS
        // No look at its checksum: where the router is on this host, nobody may have filled it in yet.
        && rest.get(1) == Some(&0);
    if !is_discovery {
        return None;
    }
    let message = rest.get(..usize::from(u16::from_be_bytes([header[4], header[5]])))?;
    let mac = Mac::new(*ethernet[6..].first_chunk()?);
    match *message.first()? {
        ROUTER_ADVERTISEMENT => {
            advertisement(mac, Ipv6Addr::from(*header[8..].first_chunk::<16>()?), message)
        }
        NEIGHBOUR_ADVERTISEMENT => Some(Heard::Claim { mac, address: target(message)? }),
        NEIGHBOUR_SOLICITATION => {
            let asker = Ipv6Addr::from(*header[8..].first_chunk::<16>()?);
            Some(Heard::Question { mac, asker, address: target(message)? })
        }
        _ => None,
    }
}

fn target(message: &[u8]) -> Option<Ipv6Addr> {
    message.get(8..)?.first_chunk::<16>().copied().map(Ipv6Addr::from)
}

/// One that is not wholly valid says nothing (RFC 4861 section 6.1.2).
fn advertisement(mac: Mac, router: Ipv6Addr, message: &[u8]) -> Option<Heard> {
    let mut rest = message.get(OPTIONS..).filter(|_| router.is_unicast_link_local())?;
    let (mut prefixes, mut on_link, mut dns) = (Vec::new(), Vec::new(), Vec::new());
    while let [code, units, ..] = *rest {
        let length = usize::from(units) * 8;
        let (option, after) = rest.split_at_checked(length).filter(|_| length > 0)?;
        match code {
            PREFIX => {
                prefixes.extend(prefix(option));
                on_link.extend(on_link_prefix(option));
            }
            DNS_SERVERS => dns.extend(servers(option)),
            _ => {}
        }
        rest = after;
    }
    prefixes.truncate(PREFIXES_MAX);
    on_link.truncate(PREFIXES_MAX);
    dns.truncate(SERVERS_MAX);
    let lifetime = u16::from_be_bytes([message[6], message[7]]);
    let is_managed = message[5] & MANAGED != 0;
    rest.is_empty().then_some(Heard::Router(Advertisement {
        router,
        mac,
        lifetime,
        is_managed,
        prefixes,
        on_link,
        dns,
    }))
}

/// One of which a station makes an address that it may use for new connections (RFC 4862 section 5.5.3).
fn prefix(option: &[u8]) -> Option<Prefix> {
    let option: &[u8; 32] = option.try_into().ok()?;
    let [_, _, length, flags, ..] = *option;
    let valid = u32::from_be_bytes(*option[4..].first_chunk()?);
    let preferred = u32::from_be_bytes(*option[8..].first_chunk()?);
    let network: [u8; 8] = *option[16..].first_chunk()?;
    let is_usable = flags & AUTONOMOUS != 0
        && length == 64
        && preferred > 0
        && preferred <= valid
        && !is_nobodys([network[0], network[1]]);
    is_usable.then_some(Prefix { network, is_on_link: flags & ON_LINK != 0, valid })
}

/// One whose addresses are on the link (RFC 4861 section 6.3.4).
fn on_link_prefix(option: &[u8]) -> Option<(Cidr, u32)> {
    let option: &[u8; 32] = option.try_into().ok()?;
    let [_, _, length, flags, ..] = *option;
    let valid = u32::from_be_bytes(*option[4..].first_chunk()?);
    let network: [u8; 16] = *option[16..].first_chunk()?;
    let prefix = IfAddr::new(Ipv6Addr::from(network).into(), length).ok()?.prefix();
    let of_every_link = [ALL_ROUTERS, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::LOCALHOST];
    let is_usable = flags & ON_LINK != 0
        && valid > 0
        && !is_nobodys([network[0], network[1]])
        && !of_every_link.into_iter().any(|address| prefix.contains(address.into()));
    is_usable.then_some((prefix, valid))
}

/// Whether a prefix that begins so is none of which stations have addresses by a router.
const fn is_nobodys([first, second]: [u8; 2]) -> bool {
    let is_link_local = first == 0xfe && second & 0xc0 == 0x80;
    first == 0xff || first == 0 || is_link_local
}

fn servers(option: &[u8]) -> Vec<Ipv6Addr> {
    let (Some(lifetime), Some(list)) = (option.get(4..8), option.get(8..)) else { return Vec::new() };
    if lifetime == [0; 4] {
        return Vec::new();
    }
    let (servers, _) = list.as_chunks::<16>();
    let is_reached = |server: &Ipv6Addr| {
        !server.is_unspecified() && !server.is_multicast() && !server.is_unicast_link_local()
    };
    servers.iter().map(|octets| Ipv6Addr::from(*octets)).filter(is_reached).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATION: Mac = Mac::new([2, 0, 0, 0, 0, 7]);
    const ROUTER: Mac = Mac::new([2, 0, 0, 0, 0, 1]);

    fn router() -> Ipv6Addr {
        "fe80::1".parse().unwrap()
    }

    fn option(length: u8, flags: u8, valid: u32, preferred: u32, network: &str) -> Vec<u8> {
        let network: Ipv6Addr = network.parse().unwrap();
        let mut option = vec![PREFIX, 4, length, flags];
        option.extend(valid.to_be_bytes());
        option.extend(preferred.to_be_bytes());
        option.extend([0; 4]);
        option.extend(network.octets());
        option
    }

    fn frame(from: Ipv6Addr, hops: u8, options: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, 64, 0, 7, 8];
        message.resize(OPTIONS, 0);
        options.iter().for_each(|option| message.extend(*option));
        let mut frame = [&[0x33, 0x33, 0, 0, 0, 1][..], &ROUTER.octets(), &IPV6, &[0x60, 0, 0, 0]].concat();
        frame.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend([ICMPV6, hops]);
        frame.extend(from.octets());
        frame.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend(message);
        frame
    }

    fn heard(frame: &[u8]) -> Option<Advertisement> {
        match read(frame)? {
            Heard::Router(advertisement) => Some(advertisement),
            Heard::Claim { .. } | Heard::Question { .. } => None,
        }
    }

    #[test]
    fn an_advertisement_is_read_whole() {
        let mut servers = vec![DNS_SERVERS, 3, 0, 0, 0, 0, 0, 60];
        servers.extend("fd00:198:18::53".parse::<Ipv6Addr>().unwrap().octets());
        let prefix = option(64, ON_LINK | AUTONOMOUS, 60, 30, "fd00:198:18::");
        let unknown = [200, 1, 0, 0, 0, 0, 0, 0];
        let said = heard(&frame(router(), HOPS, &[&unknown, &prefix, &servers])).unwrap();
        assert_eq!(
            (said.router, said.mac, said.lifetime, said.is_managed),
            (router(), ROUTER, 0x0708, false)
        );
        assert_eq!((said.prefixes[0].valid, said.prefixes[0].is_on_link), (60, true));
        assert_eq!(said.prefixes[0].address_of(STATION).to_string(), "fd00:198:18::ff:fe00:7");
        assert_eq!(said.dns, ["fd00:198:18::53".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn no_address_is_made_of_what_is_no_prefix_for_it() {
        let both = ON_LINK | AUTONOMOUS;
        for (length, flags, valid, preferred, network) in [
            (64, ON_LINK, 60, 30, "fd00::"),
            (48, both, 60, 30, "fd00::"),
            (64, both, 60, 0, "fd00::"),
            (64, both, 0, 0, "fd00::"),
            (64, both, 30, 60, "fd00::"),
            (64, both, 60, 30, "fe80::"),
            (64, both, 60, 30, "ff02::"),
            (64, both, 60, 30, "::"),
        ] {
            let said = frame(router(), HOPS, &[&option(length, flags, valid, preferred, network)]);
            assert_eq!(heard(&said).unwrap().prefixes, [], "{length} {flags} {valid} {preferred} {network}");
        }
    }

    #[test]
    fn what_no_router_of_the_lan_can_have_sent_is_nothing() {
        let prefix = option(64, AUTONOMOUS, 60, 30, "fd00::");
        assert!(heard(&frame(router(), HOPS - 1, &[&prefix])).is_none(), "forwarded");
        assert!(heard(&frame("fd00::1".parse().unwrap(), HOPS, &[&prefix])).is_none(), "not of the link");
        assert!(heard(&frame(router(), HOPS, &[&[PREFIX, 0, 0, 0, 0, 0, 0, 0]])).is_none(), "no length");
        let whole = frame(router(), HOPS, &[&prefix]);
        for length in 0..whole.len() {
            assert!(heard(&whole[..length]).is_none(), "{length}");
        }
    }

    #[test]
    fn questions_are_of_nobody_and_no_answers() {
        let address: Ipv6Addr = "fd00::ff:fe00:7".parse().unwrap();
        for (frame, group) in [
            (router_solicitation(STATION), [0x33, 0x33, 0, 0, 0, 2]),
            (probe(STATION, address), [0x33, 0x33, 0xff, 0, 0, 7]),
        ] {
            assert_eq!(frame[..6], group);
            assert_eq!(frame[22..38], [0; 16]);
            assert!(!matches!(read(&frame), Some(Heard::Router(_) | Heard::Claim { .. })));
            let mut pseudo = [&frame[22..54], &[0, 0, 0, frame[19], 0, 0, 0, ICMPV6]].concat();
            pseudo.extend(&frame[54..]);
            assert_eq!(crate::frame::checksum(&pseudo), 0);
        }
    }

    #[test]
    fn whoever_has_an_address_says_so() {
        let address: Ipv6Addr = "fd00::7".parse().unwrap();
        let mut answer = probe(ROUTER, address);
        answer[54] = NEIGHBOUR_ADVERTISEMENT;
        assert_eq!(read(&answer), Some(Heard::Claim { mac: ROUTER, address }));
        assert!((0..answer.len()).all(|length| read(&answer[..length]).is_none()));
    }
}
