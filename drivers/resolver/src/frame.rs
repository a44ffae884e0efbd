//! Frames of Ethernet that carry DHCP and ARP, and the reading of those that others send.

use std::net::Ipv4Addr;

use hns_net::Mac;

const BROADCAST: [u8; 6] = [0xff; 6];
const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const UDP: u8 = 17;
const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
const UDP_HEADER: usize = 8;
/// The least that an Ethernet frame has.
const FRAME_MIN: usize = 60;

/// Whom a message of DHCP is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Everybody,
    Server { mac: Mac, address: Ipv4Addr },
}

/// What a frame says that matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'f> {
    /// A message to the port of DHCP clients.
    Dhcp { from: Mac, message: &'f [u8] },
    /// Somebody says that he has an address.
    Claim { mac: Mac, address: Ipv4Addr },
}

/// A message of a client that has `own`, or 0.0.0.0 as long as it has none.
pub(crate) fn dhcp(mac: Mac, own: Ipv4Addr, to: To, message: &[u8]) -> Vec<u8> {
    let (to_mac, to_address) = match to {
        To::Everybody => (BROADCAST, Ipv4Addr::BROADCAST),
        To::Server { mac, address } => (mac.octets(), address),
    };
    let udp_length = short(UDP_HEADER + message.len());
    let mut udp = Vec::with_capacity(UDP_HEADER + message.len());
    udp.extend(CLIENT_PORT.to_be_bytes());
    udp.extend(SERVER_PORT.to_be_bytes());
    udp.extend(udp_length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(message);
    let mut pseudo = Vec::with_capacity(12 + udp.len());
    pseudo.extend(own.octets());
    pseudo.extend(to_address.octets());
    pseudo.extend([0, UDP]);
    pseudo.extend(udp_length.to_be_bytes());
    pseudo.extend(&udp);
    // Zero says that there is no checksum.
    let sum = Some(checksum(&pseudo)).filter(|sum| *sum != 0).unwrap_or(u16::MAX);
    udp[6..8].copy_from_slice(&sum.to_be_bytes());

    let mut ip = vec![0x45, 0];
    ip.extend(short(20 + udp.len()).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
    ip.extend(own.octets());
    ip.extend(to_address.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());

    let mut frame = Vec::with_capacity(ETHERNET + ip.len() + udp.len());
    frame.extend(to_mac);
    frame.extend(mac.octets());
    frame.extend(IPV4);
    frame.extend(ip);
    frame.extend(udp);
    frame
}

/// Asks whether anybody has an address, without claiming it (RFC 5227 section 1.1).
pub(crate) fn probe(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_MIN);
    frame.extend(BROADCAST);
    frame.extend(mac.octets());
    frame.extend(ARP);
    // Ethernet, IPv4, their lengths, request.
    frame.extend([0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac.octets());
    frame.extend([0; 4]);
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame.resize(FRAME_MIN, 0);
    frame
}

/// Reads what anybody may have sent.
pub(crate) fn read(frame: &[u8]) -> Option<Heard<'_>> {
    let header: &[u8; ETHERNET] = frame.first_chunk()?;
    let from = mac_at(header, 6)?;
    let body = &frame[ETHERNET..];
    match [header[12], header[13]] {
        IPV4 => Some(Heard::Dhcp { from, message: dhcp_of(body)? }),
        ARP => claim_of(body),
        _ => None,
    }
}

fn dhcp_of(ip: &[u8]) -> Option<&[u8]> {
    let header: &[u8; 20] = ip.first_chunk()?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    if header[0] >> 4 != 4 || header_length < 20 || header[9] != UDP || fragment != 0 {
        return None;
    }
    let udp = ip.get(header_length..total)?;
    let header: &[u8; UDP_HEADER] = udp.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let to = u16::from_be_bytes([header[2], header[3]]);
    // No look at its checksum: where the server is on this host, nobody has filled it in yet.
    if to != CLIENT_PORT { None } else { udp.get(UDP_HEADER..length) }
}

fn claim_of(arp: &[u8]) -> Option<Heard<'_>> {
    let arp: &[u8; 28] = arp.first_chunk()?;
    let is_usual = arp[..6] == [0, 1, 0x08, 0, 6, 4];
    let address = Ipv4Addr::new(arp[14], arp[15], arp[16], arp[17]);
    let mac = mac_at(arp, 8)?;
    (is_usual && !address.is_unspecified()).then_some(Heard::Claim { mac, address })
}

fn mac_at(bytes: &[u8], place: usize) -> Option<Mac> {
    bytes.get(place..)?.first_chunk().copied().map(Mac::new)
}

/// The length of something that we have made.
fn short(length: usize) -> u16 {
    u16::try_from(length).expect("our messages have some hundred bytes")
}

/// The internet checksum (RFC 1071).
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u32::from(*byte) << 8);
    let sum = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum::<u32>() + last;
    let folded = (sum >> 16) + (sum & 0xffff);
    let folded = (folded >> 16) + (folded & 0xffff);
    !u16::try_from(folded).expect("folded twice, a sum of less than 65,536 words fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 7]);

    /// What a server sends: as a client's message, with the ports turned.
    fn answer(message: &[u8]) -> Vec<u8> {
        let mut frame = dhcp(MAC, Ipv4Addr::UNSPECIFIED, To::Everybody, message);
        frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
        frame
    }

    #[test]
    fn checksums_of_a_message_are_right() {
        for message in [&b"odd"[..], b"even"] {
            let server = To::Server { mac: MAC, address: Ipv4Addr::new(198, 18, 0, 254) };
            let frame = dhcp(MAC, Ipv4Addr::new(198, 18, 0, 7), server, message);
            assert_eq!(checksum(&frame[14..34]), 0);
            let mut pseudo = frame[26..34].to_vec();
            pseudo.extend([0, UDP]);
            pseudo.extend(&frame[38..40]);
            pseudo.extend(&frame[34..]);
            assert_eq!(checksum(&pseudo), 0);
        }
    }

    #[test]
    fn an_answer_is_read_and_a_question_of_another_client_is_not() {
        let frame = answer(b"message");
        assert_eq!(read(&frame), Some(Heard::Dhcp { from: MAC, message: b"message" }));
        assert_eq!(read(&dhcp(MAC, Ipv4Addr::UNSPECIFIED, To::Everybody, b"message")), None);
        // Padding behind the packet is not of the message.
        let padded = [&frame[..], &[0; 20]].concat();
        assert_eq!(read(&padded), Some(Heard::Dhcp { from: MAC, message: b"message" }));
    }

    #[test]
    fn nothing_that_is_cut_or_lies_about_its_length_is_read() {
        let frame = answer(b"message");
        for length in 0..frame.len() {
            assert_eq!(read(&frame[..length]), None, "{length} bytes");
        }
        for (place, byte) in
            [(14, 0x65), (14, 0x44), (14, 0x4f), (16, 0xff), (20, 0x20), (23, 6), (38, 0xff), (39, 7)]
        {
            let mut wrong = frame.clone();
            wrong[place] = byte;
            assert_eq!(read(&wrong), None, "byte {place}");
        }
    }

    #[test]
    fn a_probe_claims_nothing_and_its_answer_does() {
        let address = Ipv4Addr::new(198, 18, 0, 7);
        let mut frame = probe(MAC, address);
        assert_eq!((frame.len(), read(&frame)), (60, None));
        frame[28..32].copy_from_slice(&address.octets());
        assert_eq!(read(&frame), Some(Heard::Claim { mac: MAC, address }));
    }
}
