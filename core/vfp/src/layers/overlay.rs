//! A network whose containers are on several hosts. Each host has some prefixes of it, and a router that is nowhere but in the programs:
//! it answers for its addresses, leads to containers of this host, and through a VXLAN tunnel (RFC 7348) to the routers of others. For
//! containers of other hosts that are on one link with those here the programs answer, too, and lead to them without a router.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use hns_net::Mac;

use crate::layers::l2::replace;
use crate::model::Overlay;
use crate::packet::{Body, ETHERNET, Ip, Packet, Transport, protocol};

const ARP_BYTES: usize = 28;
const ARP_REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
const ARP_REPLY: u8 = 2;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// From router solicitations to redirects.
const DISCOVERY: RangeInclusive<u8> = 133..=137;
/// Link-layer address of the source and of the target, of eight bytes (RFC 4861 section 4.6.1).
const SOURCE_OPTION: [u8; 2] = [1, 1];
const TARGET_OPTION: [u8; 2] = [2, 1];
/// Asked for, and in place of what was known; the first bit is a router's (RFC 4861 section 4.4).
const ANSWER_FLAGS: [u8; 4] = [0x60, 0, 0, 0];
const ROUTER_FLAGS: [u8; 4] = [0xe0, 0, 0, 0];

/// Gives a frame these stations.
pub fn put_stations(frame: &mut [u8], to: Mac, from: Mac) {
    frame[..6].copy_from_slice(&to.octets());
    frame[6..12].copy_from_slice(&from.octets());
}

/// Whether a packet is of neighbour discovery, which speaks of the link it is on and of no other (RFC 4861).
#[must_use]
pub fn is_discovery(ip: &Ip) -> bool {
    let icmp6 = ip.is_v6() && ip.protocol == protocol::ICMP6;
    icmp6 && matches!(&ip.transport, Transport::Icmp(icmp) if DISCOVERY.contains(&icmp.kind))
}

/// What is said to who asks for the station of the router, or of a container of another host.
#[must_use]
pub fn answer(overlay: &Overlay, packet: &Packet, frame: &[u8]) -> Option<Vec<u8>> {
    let (mut answered, station) = match &packet.body {
        Body::Arp(_) => answer_arp(overlay, frame)?,
        Body::Ip(ip) => answer_solicitation(overlay, ip, frame)?,
        Body::Other(_) => return None,
    };
    let asker = match &packet.body {
        Body::Arp(arp) => arp.sender_mac,
        _ => packet.source,
    };
    put_stations(&mut answered, asker, station);
    Some(answered)
}

/// Whose station the programs tell, and whether it is the router's.
fn station_of(overlay: &Overlay, address: IpAddr) -> Option<(Mac, bool)> {
    if overlay.gateways.contains(&address) {
        return Some((overlay.router, true));
    }
    let route = overlay.route_to(address).filter(|route| route.on_link)?;
    Some((route.station, false))
}

fn answer_arp(overlay: &Overlay, frame: &[u8]) -> Option<(Vec<u8>, Mac)> {
    let asked: [u8; ARP_BYTES] = frame.get(ETHERNET..ETHERNET + ARP_BYTES)?.try_into().ok()?;
    let target: [u8; 4] = asked[24..28].try_into().ok()?;
    if asked[..8] != ARP_REQUEST {
        return None;
    }
    let (station, _) = station_of(overlay, Ipv4Addr::from(target).into())?;
    let mut answered = frame.to_vec();
    let arp = &mut answered[ETHERNET..ETHERNET + ARP_BYTES];
    arp[7] = ARP_REPLY;
    arp[8..14].copy_from_slice(&station.octets());
    arp[14..18].copy_from_slice(&target);
    arp[18..28].copy_from_slice(&asked[8..18]);
    Some((answered, station))
}

/// As every system sends it to ask for a station: with its own, and nothing else.
fn answer_solicitation(overlay: &Overlay, ip: &Ip, frame: &[u8]) -> Option<(Vec<u8>, Mac)> {
    let Transport::Icmp(icmp) = &ip.transport else { return None };
    let is_one = ip.is_v6() && ip.protocol == protocol::ICMP6 && icmp.kind == SOLICITATION;
    let (at, option) = (ip.payload, ip.payload + 24);
    if !is_one || ip.fragment.is_some() || ip.end != at + 32 || ip.source.is_unspecified() {
        return None;
    }
    let target: [u8; 16] = frame.get(at + 8..at + 24)?.try_into().ok()?;
    if frame[option..option + 2] != SOURCE_OPTION {
        return None;
    }
    let (station, is_router) = station_of(overlay, Ipv6Addr::from(target).into())?;
    let mut answered = frame.to_vec();
    let mut put =
        |place: usize, bytes: &[u8]| replace(&mut answered, place..place + bytes.len(), bytes, at + 2);
    let asker: [u8; 16] = frame[ETHERNET + 8..ETHERNET + 24].try_into().ok()?;
    put(ETHERNET + 8, &target);
    put(ETHERNET + 24, &asker);
    put(at, &[ADVERTISEMENT, 0]);
    put(at + 4, if is_router { &ROUTER_FLAGS } else { &ANSWER_FLAGS });
    put(option, &[TARGET_OPTION.as_slice(), &station.octets()].concat());
    Some((answered, station))
}
