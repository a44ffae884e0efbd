//! Frames from what is in them: of tests, and of packets that are tried out before anybody sends them.

use std::net::{IpAddr, Ipv4Addr};

use hns_net::Mac;

/// The stations of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub destination: Mac,
    pub source: Mac,
}

/// A whole IP packet. Both addresses are of one family.
#[derive(Debug, Clone)]
pub struct Datagram {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub hop_limit: u8,
    /// IPv4: identification, flags and offset as in the header; IPv6: a fragment header with them. Both zero: whole.
    pub fragment: (u16, u16),
    /// IPv4: this many words of options (No-Operation); IPv6: this many empty destination options headers.
    pub extras: u8,
    pub content: Content,
}

#[derive(Debug, Clone)]
pub enum Content {
    Tcp {
        source: u16,
        destination: u16,
        flags: u8,
        bytes: usize,
    },
    Udp {
        source: u16,
        destination: u16,
        bytes: usize,
    },
    Sctp {
        source: u16,
        destination: u16,
    },
    /// Everything after the checksum in `rest`. The protocol number is that of the family.
    Icmp {
        kind: u8,
        code: u8,
        rest: Vec<u8>,
    },
    Other {
        protocol: u8,
        bytes: Vec<u8>,
    },
}

#[must_use]
pub fn ethernet(link: Link, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend(link.destination.octets());
    frame.extend(link.source.octets());
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

#[must_use]
pub fn arp(link: Link, operation: u8, sender_mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
    body.extend(sender_mac.octets());
    body.extend(sender.octets());
    body.extend([0; 6]);
    body.extend(target.octets());
    ethernet(link, 0x0806, &body)
}

impl Datagram {
    #[must_use]
    pub const fn new(source: IpAddr, destination: IpAddr, content: Content) -> Self {
        Self { source, destination, hop_limit: 64, fragment: (0, 0), extras: 0, content }
    }

    #[must_use]
    pub fn frame(&self, link: Link) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => ethernet(link, 0x0800, &self.packet_v4()),
            _ => ethernet(link, 0x86dd, &self.packet_v6()),
        }
    }

    /// The packet without Ethernet, as ICMP errors quote it.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        if self.source.is_ipv4() { self.packet_v4() } else { self.packet_v6() }
    }

    fn packet_v4(&self) -> Vec<u8> {
        let payload = self.payload();
        let words = 5 + self.extras.min(10);
        let header_length = usize::from(words) * 4;
        let mut header = vec![0x40 | words, 0];
        header.extend(length16(header_length + payload.len()));
        header.extend(self.fragment.0.to_be_bytes());
        header.extend(self.fragment.1.to_be_bytes());
        header.extend([self.hop_limit, self.protocol(), 0, 0]);
        header.extend(octets(self.source));
        header.extend(octets(self.destination));
        header.resize(header_length, 1);
        let sum = checksum(&[&header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend(payload);
        header
    }

    fn packet_v6(&self) -> Vec<u8> {
        let mut chain = Vec::new();
        let fragmented = self.fragment != (0, 0);
        for place in 0..self.extras {
            let last = place + 1 == self.extras;
            let next = if !last {
                60
            } else if fragmented {
                44
            } else {
                self.protocol()
            };
            chain.extend([next, 0, 1, 4, 0, 0, 0, 0]);
        }
        if fragmented {
            let (id, field) = self.fragment;
            let field = (field & 0x1fff) << 3 | field >> 13 & 1;
            chain.extend([self.protocol(), 0]);
            chain.extend(field.to_be_bytes());
            chain.extend(u32::from(id).to_be_bytes());
        }
        let first = match (self.extras, fragmented) {
            (1.., _) => 60,
            (0, true) => 44,
            (0, false) => self.protocol(),
        };
        let payload = self.payload();
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(length16(chain.len() + payload.len()));
        packet.extend([first, self.hop_limit]);
        packet.extend(octets(self.source));
        packet.extend(octets(self.destination));
        packet.extend(chain);
        packet.extend(payload);
        packet
    }

    fn protocol(&self) -> u8 {
        match (&self.content, self.source) {
            (Content::Tcp { .. }, _) => 6,
            (Content::Udp { .. }, _) => 17,
            (Content::Sctp { .. }, _) => 132,
            (Content::Icmp { .. }, IpAddr::V4(_)) => 1,
            (Content::Icmp { .. }, IpAddr::V6(_)) => 58,
            (Content::Other { protocol, .. }, _) => *protocol,
        }
    }

    fn payload(&self) -> Vec<u8> {
        match &self.content {
            Content::Tcp { source, destination, flags, bytes } => {
                let mut tcp = ports(*source, *destination);
                tcp.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, *flags, 0xff, 0xff, 0, 0, 0, 0]);
                tcp.resize(20 + bytes, 0x61);
                self.with_sum(tcp, 16)
            }
            Content::Udp { source, destination, bytes } => {
                let mut udp = ports(*source, *destination);
                udp.extend(length16(8 + bytes));
                udp.extend([0, 0]);
                udp.resize(8 + bytes, 0x62);
                self.with_sum(udp, 6)
            }
            Content::Sctp { source, destination } => {
                let mut sctp = ports(*source, *destination);
                sctp.resize(16, 0);
                sctp
            }
            Content::Icmp { kind, code, rest } => {
                let mut icmp = vec![*kind, *code, 0, 0];
                icmp.extend(rest);
                self.with_sum(icmp, 2)
            }
            Content::Other { bytes, .. } => bytes.clone(),
        }
    }

    fn with_sum(&self, mut payload: Vec<u8>, at: usize) -> Vec<u8> {
        let mut pseudo = Vec::new();
        if self.protocol() != 1 {
            pseudo.extend(octets(self.source));
            pseudo.extend(octets(self.destination));
            pseudo.extend(length16(payload.len()));
            pseudo.extend([0, self.protocol()]);
        }
        let sum = checksum(&[&pseudo, &payload]);
        payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        payload
    }
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

fn length16(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The internet checksum (RFC 1071) of parts of even length; the last may be odd.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut total: u64 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            total += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !u16::try_from(total).unwrap_or(u16::MAX)
}
