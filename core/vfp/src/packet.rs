//! Frames as the datapath reads them: bounded, and nothing half understood.
//!
//! What cannot be read whole is malformed and dropped, since a later reader might understand it otherwise (RFC 3128, RFC 7112).

mod ip;
mod quoted;
mod transport;

use std::net::{IpAddr, Ipv4Addr};

use hns_net::Mac;

pub use ip::{Fragment, Ip};
pub use quoted::Quoted;
pub use transport::{Icmp, TcpFlags, Transport};

pub const ETHERNET: usize = 14;
const ARP: usize = 28;

/// IANA protocol numbers that the datapath knows by name.
pub mod protocol {
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMP6: u8 = 58;
    pub const NO_NEXT: u8 = 59;
    pub const SCTP: u8 = 132;

    /// Whether it has ports where rules look for them.
    #[must_use]
    pub const fn has_ports(number: u8) -> bool {
        matches!(number, TCP | UDP | SCTP)
    }

    #[must_use]
    pub const fn is_icmp(number: u8) -> bool {
        matches!(number, ICMP | ICMP6)
    }
}

/// Why a frame is not understood: which header, and what of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub destination: Mac,
    pub source: Mac,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Arp(Arp),
    Ip(Ip),
    /// Any other ethertype, IEEE 802.3 lengths and VLAN tags among them.
    Other(u16),
}

/// ARP over Ethernet (RFC 826).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// Hardware type, protocol type and lengths are those of IPv4 over Ethernet.
    pub ordinary: bool,
    pub sender_mac: Mac,
    pub sender: Ipv4Addr,
}

impl Packet {
    pub fn parse(frame: &[u8]) -> Result<Self, Malformed> {
        let header: &[u8; ETHERNET] =
            frame.first_chunk().ok_or(Malformed("shorter than an Ethernet header"))?;
        let body = match be16(header, 12) {
            0x0806 => Body::Arp(Arp::parse(&frame[ETHERNET..])?),
            0x0800 => Body::Ip(Ip::parse_v4(frame, ETHERNET)?),
            0x86dd => Body::Ip(Ip::parse_v6(frame, ETHERNET)?),
            other => Body::Other(other),
        };
        Ok(Self { destination: mac(header, 0), source: mac(header, 6), body })
    }

    #[must_use]
    pub const fn ip(&self) -> Option<&Ip> {
        match &self.body {
            Body::Ip(ip) => Some(ip),
            _ => None,
        }
    }

    /// Whether it goes to one station.
    #[must_use]
    pub const fn is_unicast(&self) -> bool {
        self.destination.octets()[0] & 1 == 0
    }
}

impl Arp {
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes: &[u8; ARP] = bytes.first_chunk().ok_or(Malformed("ARP cut short"))?;
        Ok(Self {
            ordinary: bytes[..6] == [0, 1, 8, 0, 6, 4],
            sender_mac: mac(bytes, 8),
            sender: v4(bytes, 14),
        })
    }
}

/// The reader has made sure that `at..at + 2` is there.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from(be16(bytes, at)) << 16 | u32::from(be16(bytes, at + 2))
}

fn mac(bytes: &[u8], at: usize) -> Mac {
    let mut octets = [0; 6];
    octets.copy_from_slice(&bytes[at..at + 6]);
    Mac::new(octets)
}

fn v4(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(be32(bytes, at))
}

fn v6(bytes: &[u8], at: usize) -> IpAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[at..at + 16]);
    IpAddr::V6(octets.into())
}
