//! Rewriting addresses and ports with their checksums, incrementally (RFC 1624): a checksum that was wrong stays wrong.

use std::net::IpAddr;

use hns_abi::Direction;
use hns_net::Mac;

use crate::flow::{Translation, Tuple};
use crate::interpreter::{Half, Travel};
use crate::packet::{Ip, Packet, Quoted, Transport, be16, protocol};

/// Source and destination of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    pub source: (IpAddr, u16),
    pub destination: (IpAddr, u16),
}

impl Tuple {
    /// The ends of a packet of this connection that runs in `direction`.
    #[must_use]
    pub const fn ends(&self, direction: Direction) -> Ends {
        let (local, remote) = ((self.local, self.local_port), (self.remote, self.remote_port));
        match direction {
            Direction::Out => Ends { source: local, destination: remote },
            Direction::In => Ends { source: remote, destination: local },
        }
    }
}

/// A frame in which bytes are replaced together with the checksums that cover them.
struct Patch<'a> {
    frame: &'a mut [u8],
}

impl Patch<'_> {
    /// Both are of equal and even length and lie at an even distance from the checksums' start.
    fn replace(&mut self, at: usize, bytes: &[u8], sums: &[Sum]) {
        for (place, pair) in bytes.chunks_exact(2).enumerate() {
            let at = at + place * 2;
            let (from, to) = (be16(self.frame, at), be16(pair, 0));
            self.frame[at..at + 2].copy_from_slice(pair);
            for sum in sums {
                sum.adjust(self.frame, from, to);
            }
        }
    }
}

/// Where a checksum stands; UDP's has 0 for "none".
#[derive(Clone, Copy)]
enum Sum {
    Plain(usize),
    Udp(usize),
}

impl Sum {
    fn adjust(self, frame: &mut [u8], from: u16, to: u16) {
        let (Self::Plain(at) | Self::Udp(at)) = self;
        let old = be16(frame, at);
        let new = match self {
            Self::Plain(_) => adjusted(old, from, to),
            Self::Udp(_) if old == 0 => 0,
            Self::Udp(_) => match adjusted(old, from, to) {
                0 => 0xffff,
                sum => sum,
            },
        };
        frame[at..at + 2].copy_from_slice(&new.to_be_bytes());
    }
}

/// RFC 1624 equation 3.
fn adjusted(sum: u16, from: u16, to: u16) -> u16 {
    let mut total = u32::from(!sum) + u32::from(!from) + u32::from(to);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !u16::try_from(total).unwrap_or(u16::MAX)
}

impl Travel {
    /// A whole packet or first fragment of a translated connection gets these ends.
    pub(crate) fn rewrite(&mut self, to: &Ends, station: Option<Mac>) {
        let Some(ip) = self.packet.ip().cloned() else { return };
        let sums = transport_sums(&ip);
        self.replace_addresses(&ip, to.source.0, to.destination.0);
        let mut patch = Patch { frame: &mut self.frame };
        let (source, destination) = (to.source.1.to_be_bytes(), to.destination.1.to_be_bytes());
        match &ip.transport {
            Transport::Tcp { .. } | Transport::Udp { .. } | Transport::Sctp { .. } => {
                patch.replace(ip.payload, &source, &sums);
                patch.replace(ip.payload + 2, &destination, &sums);
            }
            Transport::Icmp(icmp) if icmp.echo != 0 || to.source.1 != 0 => {
                patch.replace(ip.payload + 4, &source, &sums);
            }
            _ => {}
        }
        self.arrive_at(station);
    }

    /// A later fragment of a translated connection gets these addresses.
    pub(crate) fn rewrite_addresses(&mut self, source: IpAddr, destination: IpAddr, station: Option<Mac>) {
        let Some(ip) = self.packet.ip().cloned() else { return };
        self.replace_addresses(&ip, source, destination);
        self.arrive_at(station);
    }

    fn arrive_at(&mut self, station: Option<Mac>) {
        if let Some(station) = station {
            self.frame[..6].copy_from_slice(&station.octets());
        }
        if let Ok(packet) = Packet::parse(&self.frame) {
            self.packet = packet;
        }
    }

    fn replace_addresses(&mut self, ip: &Ip, source: IpAddr, destination: IpAddr) {
        let mut sums: Vec<Sum> = match pseudo_sum(ip) {
            Some(sum) => vec![sum],
            None => Vec::new(),
        };
        let places = if ip.is_v6() {
            [8, 24]
        } else {
            sums.push(Sum::Plain(ip.header + 10));
            [12, 16]
        };
        let mut patch = Patch { frame: &mut self.frame };
        for (place, address) in places.into_iter().zip([source, destination]) {
            patch.replace(ip.header + place, &octets(address), &sums);
        }
    }
}

/// The checksum of the transport header, where there is one that can be adjusted.
fn transport_sums(ip: &Ip) -> Vec<Sum> {
    match &ip.transport {
        Transport::Tcp { .. } => vec![Sum::Plain(ip.payload + 16)],
        Transport::Udp { .. } => vec![Sum::Udp(ip.payload + 6)],
        Transport::Icmp(_) => vec![Sum::Plain(ip.payload + 2)],
        Transport::Sctp { .. } | Transport::Other | Transport::Later => Vec::new(),
    }
}

/// The one that covers the addresses too.
fn pseudo_sum(ip: &Ip) -> Option<Sum> {
    match &ip.transport {
        Transport::Icmp(_) if ip.protocol != protocol::ICMP6 => None,
        _ => transport_sums(ip).first().copied(),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

impl Half<'_> {
    /// An ICMP error about a translated connection: what it quotes is rewritten as that packet was, backwards, and an end of
    /// the connection that speaks for itself gets its other name. The checksum of the quoted transport header stays as it is.
    pub(crate) fn rewrite_error(
        self,
        quoted: &Quoted,
        tuple: Tuple,
        translation: &Translation,
        travel: &mut Travel,
    ) {
        let (from, to) = match self.direction {
            Direction::Out => (tuple, translation.outer),
            Direction::In => (translation.outer, tuple),
        };
        let Some(ip) = travel.packet.ip().cloned() else { return };
        quote(&mut travel.frame, &ip, quoted, &to.ends(self.direction.opposite()));
        let renamed = |address: IpAddr| match address {
            address if address == from.remote => to.remote,
            address if address == from.local => to.local,
            address => address,
        };
        let (source, destination) = (renamed(ip.source), renamed(ip.destination));
        let station = match self.direction {
            Direction::Out => translation.station,
            Direction::In => None,
        };
        travel.rewrite_addresses(source, destination, station);
    }
}

fn quote(frame: &mut [u8], ip: &Ip, quoted: &Quoted, to: &Ends) {
    let error = Sum::Plain(ip.payload + 2);
    let mut patch = Patch { frame };
    let (places, sums): (_, &[Sum]) = if quoted.source.is_ipv6() {
        ([8, 24], &[error])
    } else {
        ([12, 16], &[Sum::Plain(quoted.header + 10)])
    };
    for (place, address) in places.into_iter().zip([to.source.0, to.destination.0]) {
        patch.replace(quoted.header + place, &octets(address), sums);
    }
    let (source, destination) = (to.source.1.to_be_bytes(), to.destination.1.to_be_bytes());
    if protocol::has_ports(quoted.protocol) {
        patch.replace(quoted.payload, &source, &[error]);
        patch.replace(quoted.payload + 2, &destination, &[error]);
    } else if protocol::is_icmp(quoted.protocol) {
        patch.replace(quoted.payload + 4, &source, &[error]);
    }
}
