//! What to show of a dropped packet. Its first bytes are all there is, and it may be malformed: what cannot be read is left
//! out. Whether it should have passed is not decided here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_net::Mac;

use crate::Packet;

const ETHERNET: usize = 14;
const IPV6: usize = 40;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
const SCTP: u8 = 132;
/// Hop-by-hop options, routing, destination options (RFC 8200): each begins with the next one's number and its length.
const EXTENSIONS: [u8; 3] = [0, 43, 60];
const FRAGMENT: u8 = 44;
const EXTENSIONS_MAX: usize = 8;

pub(crate) fn read(frame: &[u8]) -> Packet {
    let mut packet = Packet {
        destination_mac: bytes(frame, 0).map(Mac::new),
        source_mac: bytes(frame, 6).map(Mac::new),
        ethertype: be16(frame, 12),
        ..Packet::default()
    };
    let body = frame.get(ETHERNET..).unwrap_or_default();
    match packet.ethertype {
        Some(ETHERTYPE_IPV4) => read_v4(body, &mut packet),
        Some(ETHERTYPE_IPV6) => read_v6(body, &mut packet),
        Some(ETHERTYPE_ARP) => {
            packet.source = v4(body, 14);
            packet.destination = v4(body, 24);
        }
        _ => {}
    }
    packet
}

fn read_v4(body: &[u8], packet: &mut Packet) {
    packet.source = v4(body, 12);
    packet.destination = v4(body, 16);
    packet.protocol = body.get(9).copied();
    let header = body.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let first_fragment = be16(body, 6).is_some_and(|place| place & 0x1fff == 0);
    if first_fragment {
        read_transport(body.get(header..).unwrap_or_default(), packet);
    }
}

fn read_v6(body: &[u8], packet: &mut Packet) {
    packet.source = v6(body, 8);
    packet.destination = v6(body, 24);
    let Some(mut protocol) = body.get(6).copied() else { return };
    let mut rest = body.get(IPV6..).unwrap_or_default();
    for _ in 0..EXTENSIONS_MAX {
        let length = match protocol {
            FRAGMENT if be16(rest, 2).is_some_and(|place| place & 0xfff8 == 0) => 8,
            FRAGMENT => {
                packet.protocol = rest.first().copied();
                return;
            }
            _ if EXTENSIONS.contains(&protocol) => rest.get(1).map_or(8, |words| usize::from(*words) * 8 + 8),
            _ => break,
        };
        let Some(next) = rest.first() else { break };
        protocol = *next;
        rest = rest.get(length..).unwrap_or_default();
    }
    packet.protocol = Some(protocol);
    read_transport(rest, packet);
}

fn read_transport(body: &[u8], packet: &mut Packet) {
    match packet.protocol {
        Some(TCP | UDP | SCTP) => {
            packet.source_port = be16(body, 0);
            packet.destination_port = be16(body, 2);
            if packet.protocol == Some(TCP) {
                packet.tcp_flags = body.get(13).copied();
            }
        }
        Some(ICMP | ICMP6) => packet.icmp = bytes(body, 0).map(|[kind, code]| (kind, code)),
        _ => {}
    }
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk().copied()
}

fn be16(from: &[u8], at: usize) -> Option<u16> {
    bytes(from, at).map(u16::from_be_bytes)
}

fn v4(from: &[u8], at: usize) -> Option<IpAddr> {
    bytes::<4>(from, at).map(|octets| Ipv4Addr::from(octets).into())
}

fn v6(from: &[u8], at: usize) -> Option<IpAddr> {
    bytes::<16>(from, at).map(|octets| Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(ethertype: u16, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend_from_slice(&ethertype.to_be_bytes());
        frame.extend_from_slice(body);
        frame
    }

    #[test]
    fn tcp_over_ipv4_with_options() {
        let mut body =
            vec![0x46, 0, 0, 44, 0, 0, 0x40, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 1];
        body.extend_from_slice(&[0x1f, 0x90, 0, 80]);
        let packet = read(&frame(ETHERTYPE_IPV4, &body));
        assert_eq!(packet.source, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(packet.destination, Some("10.0.0.2".parse().unwrap()));
        assert_eq!((packet.source_port, packet.destination_port), (Some(8080), Some(80)));
        assert_eq!(packet.source_mac, Some("02-00-00-00-00-02".parse().unwrap()));
        assert_eq!(packet.tcp_flags, None, "cut short");
        body.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12]);
        assert_eq!(read(&frame(ETHERTYPE_IPV4, &body)).tcp_flags, Some(0x12));
    }

    #[test]
    fn udp_behind_extension_headers() {
        let mut body = vec![0x60, 0, 0, 0, 0, 16, 0, 64];
        body.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        body.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        body.extend_from_slice(&[UDP, 0, 0, 0, 0, 0, 0, 0, 0, 53, 0, 54]);
        let packet = read(&frame(ETHERTYPE_IPV6, &body));
        assert_eq!(packet.protocol, Some(UDP));
        assert_eq!((packet.source_port, packet.destination_port), (Some(53), Some(54)));
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let body = [0x45, 0, 0, 24, 0, 0, 0x20, 1, 64, UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 53, 0, 54];
        let packet = read(&frame(ETHERTYPE_IPV4, &body));
        assert_eq!((packet.protocol, packet.source_port), (Some(UDP), None));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..96), kind in 0..3_usize) {
            let ethertype = [ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP][kind];
            let _ = read(&frame(ethertype, &bytes));
            let _ = read(&bytes);
        }
    }
}
