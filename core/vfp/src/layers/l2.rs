//! One MAC address on the wire, that of the adapter, where a network lets no other through. What goes to the wire bears it in place of
//! the container's, also inside ARP (RFC 826) and neighbour discovery (RFC 4861); what comes for it is the container's whose address it
//! is for, unless the host has that address as well, or routes for the container. The host itself, which hears its containers beside the wire, knows them by their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use hns_net::Mac;

use crate::packet::{Body, ETHERNET, Ip, Packet, Transport, be16, protocol};

/// No sender of ours has more in one message: layer security refuses it.
const ND_OPTIONS_MAX: usize = 8;
/// Link-layer address of the source and of the target (RFC 4861 section 4.6.1).
const ND_LINK_LAYER: [u8; 2] = [1, 2];

const DESTINATION: Range<usize> = 0..6;
const SOURCE: Range<usize> = 6..12;
const ARP_SENDER: Range<usize> = ETHERNET + 8..ETHERNET + 14;
const ARP_TARGET: Range<usize> = ETHERNET + 18..ETHERNET + 24;
const ARP_TARGET_IP: Range<usize> = ETHERNET + 24..ETHERNET + 28;

const ARP_END: usize = ETHERNET + 28;
/// The message behind a header of IPv6 without extensions.
const DISCOVERY: usize = ETHERNET + 40;
const ND_SOLICITATION: u8 = 135;

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// A frame to the wire, as it was parsed: nothing in it tells of another station than the adapter.
pub fn outward(packet: &Packet, frame: &mut [u8], adapter: Mac) {
    frame[SOURCE].copy_from_slice(&adapter.octets());
    match &packet.body {
        Body::Arp(arp) if arp.ordinary => {
            frame[ARP_SENDER].copy_from_slice(&adapter.octets());
            // Who announces itself may do so in both places (RFC 5227 section 3).
            if frame[ARP_TARGET] == packet.source.octets() {
                frame[ARP_TARGET].copy_from_slice(&adapter.octets());
            }
        }
        Body::Ip(ip) => discover(ip, frame, adapter),
        _ => {}
    }
}

/// The options of neighbour discovery that name a station.
fn discover(ip: &Ip, frame: &mut [u8], adapter: Mac) {
    let Transport::Icmp(icmp) = &ip.transport else { return };
    if !ip.is_v6() || ip.protocol != protocol::ICMP6 || ip.fragment.is_some() {
        return;
    }
    let mut at = match icmp.kind {
        133 => ip.payload + 8,
        134 => ip.payload + 16,
        135 | 136 => ip.payload + 24,
        _ => return,
    };
    for _ in 0..ND_OPTIONS_MAX {
        let Some([kind, length]) = frame[..ip.end].get(at..at + 8).map(|option| [option[0], option[1]])
        else {
            return;
        };
        if length == 0 {
            return;
        }
        if ND_LINK_LAYER.contains(&kind) {
            replace(frame, at + 2..at + 8, &adapter.octets(), ip.payload + 2);
        }
        at += usize::from(length) * 8;
    }
}

/// Puts as many bytes, an even number, in the place of others, and mends the checksum (RFC 1624).
pub(super) fn replace(frame: &mut [u8], at: Range<usize>, bytes: &[u8], checksum: usize) {
    let sum = |bytes: &[u8]| -> u32 { bytes.chunks(2).map(|pair| u32::from(be16(pair, 0))).sum() };
    // So many words that the difference is not below zero.
    let most: u32 = bytes.chunks(2).map(|_| 0xffff).sum();
    let mut total = u32::from(!be16(frame, checksum)) + most - sum(&frame[at.clone()]);
    frame[at].copy_from_slice(bytes);
    total += sum(bytes);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    let [high, low] = (!u16::try_from(total).unwrap_or(u16::MAX)).to_be_bytes();
    frame[checksum..checksum + 2].copy_from_slice(&[high, low]);
}

/// For which address a frame is that came for the adapter's station.
#[must_use]
pub fn wanted(frame: &[u8]) -> Option<IpAddr> {
    match be16(frame.get(..ETHERNET)?, 12) {
        IPV4 => {
            let octets: [u8; 4] = frame.get(ETHERNET + 16..ETHERNET + 20)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        }
        IPV6 => {
            let octets: [u8; 16] = frame.get(ETHERNET + 24..ETHERNET + 40)?.try_into().ok()?;
            // The same address in the other family's form is none (RFC 4038 section 4.2).
            Some(Ipv6Addr::from(octets)).filter(|ip| ip.to_ipv4_mapped().is_none()).map(IpAddr::V6)
        }
        ARP if frame.get(ETHERNET..ETHERNET + 6)? == [0, 1, 8, 0, 6, 4] => {
            let octets: [u8; 4] = frame.get(ARP_TARGET_IP)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        }
        _ => None,
    }
}

/// The address of who has sent a frame that bears the adapter's station: of who tries an address out, that one. Nothing where none is named.
#[must_use]
pub fn sender(frame: &[u8]) -> Option<IpAddr> {
    let v4 = |at: usize| {
        let octets: [u8; 4] = frame.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets)).filter(|ip| !ip.is_unspecified()).map(IpAddr::V4)
    };
    let v6 = |at: usize| {
        let octets: [u8; 16] = frame.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(octets))
    };
    match be16(frame.get(..ETHERNET)?, 12) {
        IPV4 => v4(ETHERNET + 12),
        IPV6 => {
            let source = v6(ETHERNET + 8)?;
            let tries = source.is_unspecified()
                && frame[ETHERNET + 6] == protocol::ICMP6
                && frame.get(DISCOVERY)? == &ND_SOLICITATION;
            let sender = if tries { v6(DISCOVERY + 8)? } else { source };
            Some(sender).filter(|ip| !ip.is_unspecified() && ip.to_ipv4_mapped().is_none()).map(IpAddr::V6)
        }
        ARP if frame.get(ETHERNET..ETHERNET + 6)? == [0, 1, 8, 0, 6, 4] && frame.len() >= ARP_END => {
            v4(ETHERNET + 14).or_else(|| v4(ARP_TARGET_IP.start))
        }
        _ => None,
    }
}

/// A frame that is back from the wire: its sender's own station again.
pub fn home(frame: &mut [u8], station: Mac) {
    frame[SOURCE].copy_from_slice(&station.octets());
}

/// A frame for such an address, whose owner's station this is.
pub fn inward(frame: &mut [u8], adapter: Mac, station: Mac) {
    frame[DESTINATION].copy_from_slice(&station.octets());
    if be16(frame, 12) == ARP && frame[ARP_TARGET] == adapter.octets() {
        frame[ARP_TARGET].copy_from_slice(&station.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Content, Datagram, Link, arp};

    const HOST: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const WEB: Mac = Mac::new([2, 0, 0, 0, 0x10, 7]);
    const FAR: Mac = Mac::new([2, 0, 0, 0, 0x99, 9]);

    fn sent(mut frame: Vec<u8>) -> Vec<u8> {
        let packet = Packet::parse(&frame).unwrap();
        outward(&packet, &mut frame, HOST);
        frame
    }

    fn names(frame: &[u8], station: Mac) -> bool {
        frame.windows(6).any(|six| six == station.octets())
    }

    #[test]
    fn nothing_that_leaves_names_the_container() {
        let link = Link { destination: FAR, source: WEB };
        let ip = Ipv4Addr::new(10, 0, 0, 7);
        let mut announced = arp(link, 2, WEB, ip, ip);
        announced[ARP_TARGET].copy_from_slice(&WEB.octets());
        for frame in [arp(link, 1, WEB, ip, Ipv4Addr::new(10, 0, 0, 1)), announced] {
            assert!(names(&frame, WEB));
            let after = sent(frame);
            assert!(!names(&after, WEB) && names(&after[ETHERNET..], HOST), "{after:x?}");
        }
    }

    #[test]
    fn a_replaced_option_keeps_its_message_whole() {
        let own: Ipv6Addr = "fd00::7".parse().unwrap();
        for (kind, fixed, option) in [(133, 4, 1), (134, 12, 1), (135, 20, 1), (136, 20, 2)] {
            let message = |station: Mac| {
                let mut rest = vec![0; fixed];
                rest.extend([14, 1, 9, 9, 9, 9, 9, 9, option, 1]);
                rest.extend(station.octets());
                let content = Content::Icmp { kind, code: 0, rest };
                Datagram { hop_limit: 255, ..Datagram::new(own.into(), own.into(), content) }
                    .frame(Link { destination: FAR, source: station })
            };
            assert_eq!(sent(message(WEB)), message(HOST), "{kind}");
        }
    }

    #[test]
    fn what_comes_for_the_host_is_for_whom_it_names() {
        let link = Link { destination: HOST, source: FAR };
        let (far, web) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 7));
        let mut reply = arp(link, 2, FAR, far, web);
        reply[ARP_TARGET].copy_from_slice(&HOST.octets());
        assert_eq!(wanted(&reply), Some(web.into()));
        inward(&mut reply, HOST, WEB);
        assert_eq!(reply[..6], WEB.octets());
        assert_eq!(reply[ARP_TARGET], WEB.octets());
        let mapped: Ipv6Addr = "::ffff:10.0.0.7".parse().unwrap();
        let content = Content::Other { protocol: 59, bytes: Vec::new() };
        let frame = Datagram::new(mapped.into(), mapped.into(), content).frame(link);
        assert_eq!(wanted(&frame), None);
    }
}
