//! Packets of IPv6 in frames of Ethernet, and messages of DHCPv6 in them.

use std::net::Ipv6Addr;

use hns_net::Mac;

use crate::neighbours::{self, link_local};

pub(crate) const ETHERNET: usize = 14;
pub(crate) const IPV6: [u8; 2] = [0x86, 0xdd];
pub(crate) const HEADER: usize = 40;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const CLIENT_PORT: u16 = 546;
const SERVER_PORT: u16 = 547;
/// It is forwarded nowhere (RFC 8415 section 7.1).
const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
const HOPS: u8 = 1;

/// Whom a packet is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct To {
    pub mac: [u8; 6],
    pub address: Ipv6Addr,
}

impl To {
    pub const fn group(group: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = group.octets();
        Self { mac: [0x33, 0x33, a, b, c, d], address: group }
    }
}

/// What a frame says that matters to a client of DHCPv6.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'f> {
    /// A message to this client.
    Dhcp {
        from: Mac,
        server: Ipv6Addr,
        message: &'f [u8],
    },
    Neighbour(neighbours::Heard),
}

/// A message to all servers, of a station under its own address of the link.
pub(crate) fn dhcp6(mac: Mac, message: &[u8]) -> Vec<u8> {
    let own = link_local(mac);
    let to = To::group(ALL_SERVERS);
    let mut udp = Vec::with_capacity(UDP_HEADER + message.len());
    udp.extend(CLIENT_PORT.to_be_bytes());
    udp.extend(SERVER_PORT.to_be_bytes());
    udp.extend(short(UDP_HEADER + message.len()).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(message);
    // Zero says that there is no checksum, which there must be here.
    let sum = Some(checksum(own, to.address, UDP, &udp)).filter(|sum| *sum != 0).unwrap_or(u16::MAX);
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    packet(to, mac, own, UDP, HOPS, &udp)
}

pub(crate) fn packet(to: To, mac: Mac, from: Ipv6Addr, protocol: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET + HEADER + payload.len());
    frame.extend(to.mac);
    frame.extend(mac.octets());
    frame.extend(IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(short(payload.len()).to_be_bytes());
    frame.extend([protocol, hops]);
    frame.extend(from.octets());
    frame.extend(to.address.octets());
    frame.extend(payload);
    frame
}

/// That of a message whose own is still zero (RFC 8200 section 8.1).
pub(crate) fn checksum(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, message: &[u8]) -> u16 {
    let mut pseudo = Vec::with_capacity(HEADER + message.len());
    pseudo.extend(from.octets());
    pseudo.extend(to.octets());
    pseudo.extend([0, 0]);
    pseudo.extend(short(message.len()).to_be_bytes());
    pseudo.extend([0, 0, 0, protocol]);
    pseudo.extend(message);
    crate::frame::checksum(&pseudo)
}

/// The length of something that we have made.
fn short(length: usize) -> u16 {
    u16::try_from(length).expect("our messages have some hundred bytes")
}

/// Reads what anybody may have sent, for this station.
pub(crate) fn read(frame: &[u8], station: Mac) -> Option<Heard<'_>> {
    dhcp_of(frame, station).or_else(|| neighbours::read(frame).map(Heard::Neighbour))
}

fn dhcp_of(frame: &[u8], station: Mac) -> Option<Heard<'_>> {
    let (ethernet, packet) = frame.split_first_chunk::<ETHERNET>()?;
    let (header, rest) = packet.split_first_chunk::<HEADER>()?;
    let server = Ipv6Addr::from(*header[8..].first_chunk::<16>()?);
    let is_for_station = ethernet[12..] == IPV6
        && header[0] >> 4 == 6
        && header[6] == UDP
        && header[24..] == link_local(station).octets()
        && !server.is_unspecified()
        && !server.is_multicast();
    if !is_for_station {
        return None;
    }
    let udp = rest.get(..usize::from(u16::from_be_bytes([header[4], header[5]])))?;
    let ports: &[u8; UDP_HEADER] = udp.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([ports[4], ports[5]]));
    if ports[2..4] != CLIENT_PORT.to_be_bytes() {
        return None;
    }
    // No look at its checksum: where the server is on this host, nobody has filled it in yet.
    let message = udp.get(UDP_HEADER..length)?;
    Some(Heard::Dhcp { from: Mac::new(*ethernet[6..].first_chunk()?), server, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATION: Mac = Mac::new([2, 0, 0, 0, 0, 7]);
    const SERVER: Mac = Mac::new([2, 0, 0, 0, 0, 1]);

    /// What a server sends to the station.
    fn answer(message: &[u8]) -> Vec<u8> {
        let mut udp = [547_u16, 546, short(UDP_HEADER + message.len()), 0].map(u16::to_be_bytes).concat();
        udp.extend(message);
        let to = To { mac: STATION.octets(), address: link_local(STATION) };
        packet(to, SERVER, link_local(SERVER), UDP, 64, &udp)
    }

    #[test]
    fn a_question_goes_to_all_servers_under_the_stations_address_of_the_link() {
        for message in [&b"odd"[..], b"even"] {
            let frame = dhcp6(STATION, message);
            assert_eq!(frame[..6], [0x33, 0x33, 0, 1, 0, 2]);
            assert_eq!(frame[22..38], "fe80::ff:fe00:7".parse::<Ipv6Addr>().unwrap().octets());
            let whole = checksum(link_local(STATION), ALL_SERVERS, UDP, &frame[54..]);
            assert_eq!(whole, 0);
            assert_eq!(read(&frame, STATION), None);
        }
    }

    #[test]
    fn an_answer_to_another_station_or_one_that_lies_about_its_length_is_not_read() {
        let frame = answer(b"message");
        let heard = Heard::Dhcp { from: SERVER, server: link_local(SERVER), message: b"message" };
        assert_eq!(read(&frame, STATION), Some(heard));
        assert_eq!(read(&frame, SERVER), None);
        for length in 0..frame.len() {
            assert_eq!(read(&frame[..length], STATION), None, "{length} bytes");
        }
        for (place, byte) in [(14, 0x40), (19, 14), (20, 6), (22, 0xff), (57, 3), (58, 0xff), (59, 7)] {
            let mut wrong = frame.clone();
            wrong[place] = byte;
            assert_eq!(read(&wrong, STATION), None, "byte {place}");
        }
    }

    #[test]
    fn whoever_asks_for_the_station_is_answered() {
        let mut question = neighbours::probe(SERVER, link_local(STATION));
        question[22..38].copy_from_slice(&link_local(SERVER).octets());
        let asked = neighbours::Heard::Question {
            mac: SERVER,
            asker: link_local(SERVER),
            address: link_local(STATION),
        };
        assert_eq!(read(&question, STATION), Some(Heard::Neighbour(asked)));
        let told = neighbours::answer(STATION, link_local(SERVER), SERVER);
        assert_eq!((&told[..6], &told[6..12]), (&SERVER.octets()[..], &STATION.octets()[..]));
        let claim = neighbours::Heard::Claim { mac: STATION, address: link_local(STATION) };
        assert_eq!(read(&told, SERVER), Some(Heard::Neighbour(claim)));
        assert_eq!(checksum(link_local(STATION), link_local(SERVER), 58, &told[54..]), 0);
    }
}
