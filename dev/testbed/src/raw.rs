//! Whole frames, sent and seen as a container with the right to do so can; and how they are built.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};

use serde_json::Value;

use crate::netns::Netns;

/// The largest frame that segmentation offload makes, and its headers.
const FRAME_MAX: usize = (1 << 16) + 64;
/// Holds what comes while a test looks elsewhere.
const SOCKET_BUFFER_BYTES: usize = 16 << 20;

/// A station's address.
pub type Mac = [u8; 6];

pub const EVERYBODY: Mac = [0xff; 6];

pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;

/// Sends frames as they are from one interface.
#[derive(Debug)]
pub struct Injector {
    socket: OwnedFd,
}

impl Injector {
    /// # Panics
    /// When there is no such interface in the namespace.
    #[must_use]
    #[track_caller]
    pub fn open(netns: &Netns, interface: &str) -> Self {
        let name = interface.to_owned();
        let opened = netns.enter(move || {
            // Without a protocol it receives nothing.
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            bind(socket.as_raw_fd(), &link(&name)?)?;
            Ok::<_, nix::Error>(socket)
        });
        Self { socket: opened.unwrap_or_else(|error| panic!("a raw socket at {interface}: {error}")) }
    }

    /// What it sends bears this mark, as if rules had set it.
    ///
    /// # Panics
    /// Without the right to mark packets.
    #[must_use]
    #[track_caller]
    pub fn marked(self, mark: u32) -> Self {
        setsockopt(&self.socket, sockopt::Mark, &mark).expect("root may mark packets");
        self
    }

    /// # Errors
    /// When the interface is down or gone.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        Ok(send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).map(drop)?)
    }
}

/// Sees frames as an interface takes or sends them. The kernel takes a VLAN tag off before it shows a frame.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
}

impl Capture {
    /// At every interface of a namespace.
    ///
    /// # Panics
    /// When the kernel has no packet sockets.
    #[must_use]
    #[track_caller]
    pub fn open(netns: &Netns) -> Self {
        Self::start(netns, None)
    }

    /// At one interface.
    ///
    /// # Panics
    /// When there is no such interface in the namespace.
    #[must_use]
    #[track_caller]
    pub fn at(netns: &Netns, interface: &str) -> Self {
        let this = Self::start(netns, Some(interface.to_owned()));
        // What came from all interfaces before it was bound.
        let _others = this.take();
        this
    }

    #[track_caller]
    fn start(netns: &Netns, interface: Option<String>) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let opened = netns.enter(move || {
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
            setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER_BYTES)?;
            if let Some(name) = interface {
                bind(socket.as_raw_fd(), &link(&name)?)?;
            }
            Ok::<_, nix::Error>(socket)
        });
        Self { socket: opened.unwrap_or_else(|error| panic!("a packet socket: {error}")) }
    }

    /// The frames that came since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut buffer = vec![0; FRAME_MAX];
        while let Ok(length) = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            frames.push(buffer[..length].to_vec());
        }
        frames
    }
}

/// An interface of the calling thread's namespace.
fn link(name: &str) -> nix::Result<LinkAddr> {
    let mut links = getifaddrs()?.filter(|link| link.interface_name == name);
    links.find_map(|link| link.address?.as_link_addr().copied()).ok_or(nix::Error::ENODEV)
}

/// To whom, and from whom, on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub to: Mac,
    pub from: Mac,
}

impl Link {
    /// A frame of any kind; below 0x600 the type is a length (IEEE 802.3).
    #[must_use]
    pub fn frame(self, ether_type: u16, payload: &[u8]) -> Vec<u8> {
        [&self.to[..], &self.from, &ether_type.to_be_bytes(), payload].concat()
    }

    /// A frame with a packet.
    #[must_use]
    pub fn packet(self, packet: &[u8]) -> Vec<u8> {
        self.frame(if packet[0] >> 4 == 4 { IPV4 } else { IPV6 }, packet)
    }
}

/// ARP for IPv4 over Ethernet (RFC 826).
#[must_use]
pub fn arp(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4];
    let (from, to) = (sender.1.octets(), target.1.octets());
    [&head[..], &operation.to_be_bytes(), &sender.0, &from, &target.0, &to].concat()
}

/// An IPv4 or IPv6 packet, with the most hops there are, which neighbour discovery asks for (RFC 4861).
///
/// # Panics
/// When the addresses are of two families, or the content is too long.
#[must_use]
pub fn ip(from: IpAddr, to: IpAddr, protocol: u8, content: &[u8]) -> Vec<u8> {
    let length =
        |head| u16::try_from(content.len() + head).expect("a packet has at most 64 KiB").to_be_bytes();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = length(20);
            let start = [0x45, 0, high, low, 0, 1, 0, 0, 255, protocol, 0, 0];
            let mut packet = [&start[..], &from.octets(), &to.octets()].concat();
            let sum = checksum(&[&packet]);
            packet[10..12].copy_from_slice(&sum);
            [&packet, content].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = length(0);
            let start = [0x60, 0, 0, 0, high, low, protocol, 255];
            [&start[..], &from.octets(), &to.octets(), content].concat()
        }
        _ => panic!("{from} and {to} are of two families"),
    }
}

/// A UDP datagram in its packet.
///
/// # Panics
/// As [`ip`] does.
#[must_use]
pub fn udp(from: (IpAddr, u16), to: (IpAddr, u16), payload: &[u8]) -> Vec<u8> {
    ip(from.0, to.0, UDP, &udp_alone(from, to, payload))
}

/// A UDP datagram without its packet.
///
/// # Panics
/// When the payload is too long.
#[must_use]
pub fn udp_alone(from: (IpAddr, u16), to: (IpAddr, u16), payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("a datagram has at most 64 KiB");
    let words = [from.1, to.1, length, 0];
    let datagram = [&words.map(u16::to_be_bytes).concat()[..], payload].concat();
    with_checksum(datagram, 6, UDP, from.0, to.0)
}

/// A TCP segment without payload, in its packet.
///
/// # Panics
/// As [`ip`] does.
#[must_use]
pub fn tcp(from: (IpAddr, u16), to: (IpAddr, u16), flags: u8) -> Vec<u8> {
    let ports = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    let segment = [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]].concat();
    ip(from.0, to.0, TCP, &with_checksum(segment, 16, TCP, from.0, to.0))
}

/// An ICMPv6 message without its packet.
#[must_use]
pub fn icmpv6(from: Ipv6Addr, to: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<u8> {
    let message = [&[kind, 0, 0, 0][..], body].concat();
    with_checksum(message, 2, ICMPV6, from.into(), to.into())
}

/// Puts the checksum over content and pseudo header (RFC 8200 section 8.1) where it belongs.
fn with_checksum(mut content: Vec<u8>, at: usize, protocol: u8, from: IpAddr, to: IpAddr) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let length = u32::try_from(content.len()).unwrap_or_default().to_be_bytes();
    let sum = checksum(&[&octets(from), &octets(to), &length, &[0, 0, 0, protocol], &content]);
    content[at..at + 2].copy_from_slice(&sum);
    content
}

/// RFC 1071; all parts but the last have an even length.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 =
        words.map(|word| u32::from(word[0]) << 8 | word.get(1).copied().map_or(0, u32::from)).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Of UDP, 0 would say that there is none.
    let sum = !u16::try_from(sum).unwrap_or_default();
    if sum == 0 { [0xff; 2] } else { sum.to_be_bytes() }
}

/// fe80::/64 with the modified EUI-64 of the station (RFC 4291 appendix A).
#[must_use]
pub fn link_local([a, b, c, d, e, f]: Mac) -> Ipv6Addr {
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// An address as Windows or Linux writes it.
///
/// # Panics
/// When it is none.
#[must_use]
#[track_caller]
pub fn mac(text: &str) -> Mac {
    let octets = text.trim().split(['-', ':']).map(|octet| u8::from_str_radix(octet, 16).expect("an octet"));
    octets.collect::<Vec<_>>().try_into().expect("a MAC address has six octets")
}

/// The address of an interface.
///
/// # Panics
/// When there is no such interface.
#[must_use]
#[track_caller]
pub fn mac_of(netns: &Netns, interface: &str) -> Mac {
    let output =
        netns.command("ip").args(["-j", "link", "show", "dev", interface]).output().expect("ip runs");
    let shown: Value = serde_json::from_slice(&output.stdout).expect("there is such an interface");
    mac(shown[0]["address"].as_str().expect("it has an address"))
}

/// The station that a multicast address is sent to (RFC 2464 section 7).
#[must_use]
pub fn multicast(to: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = to.octets();
    [0x33, 0x33, a, b, c, d]
}
