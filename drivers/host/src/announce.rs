//! Telling neighbours where an address is now.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use hns_abi::MARK_RULED;
use hns_net::{IfName, Mac};
use hns_planner::Announcement;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};

use crate::netlink::{Batch, Netlink};
use crate::packet_socket::send;
use crate::{HostError, address, link};

/// A packet socket, kept open: closing one waits for the kernel's readers, some 20 ms. It receives nothing (its
/// protocol is 0), so it costs no packet anything.
#[derive(Debug, Default)]
pub(crate) struct Announcer(OnceLock<OwnedFd>);

impl Announcer {
    /// Announces from the side of the switch.
    pub(crate) fn announce(
        &self,
        netlink: &mut Netlink,
        announcement: &Announcement,
    ) -> Result<(), HostError> {
        let index = link::index(netlink, &announcement.link)?;
        let socket = self.socket()?;
        let mut batch = Batch::new();
        for address in &announcement.addresses {
            send(socket, index, &frame(announcement.mac, *address)).map_err(|source| {
                let object = format!("{address} on {}", announcement.link);
                HostError::Conversation { operation: "announce", object, source }
            })?;
            // The host itself does not hear what it sends.
            address::forget_neighbour(&mut batch, index, *address);
        }
        netlink.execute(&batch)
    }

    /// Sends a whole frame from the side of the switch: to all its ports and to what it leads to.
    pub(crate) fn transmit(
        &self,
        netlink: &mut Netlink,
        switch: &IfName,
        frame: &[u8],
    ) -> Result<(), HostError> {
        let index = link::index(netlink, switch)?;
        send(self.socket()?, index, frame).map_err(|source| {
            let object = format!("a frame on {switch}");
            HostError::Conversation { operation: "send", object, source }
        })
    }

    fn socket(&self) -> Result<&OwnedFd, HostError> {
        if let Some(socket) = self.0.get() {
            return Ok(socket);
        }
        let failed = |errno: nix::Error| HostError::Socket { kind: "packet", source: errno.into() };
        let opened =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
        // The host's rules do not see what is sent here, and ports take nothing that they have not marked.
        setsockopt(&opened, sockopt::Mark, &MARK_RULED).map_err(failed)?;
        Ok(self.0.get_or_init(|| opened))
    }
}

fn frame(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => arp(mac, ip),
        IpAddr::V6(ip) => neighbour_advertisement(mac, ip),
    }
}

/// An ARP announcement (RFC 5227 section 2.3): a request in which the sender asks for itself.
fn arp(mac: Mac, ip: Ipv4Addr) -> Vec<u8> {
    arp_request(mac, ip, ip)
}

pub(crate) fn arp_request(mac: Mac, from: Ipv4Addr, of: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60);
    frame.extend([0xff; 6]);
    frame.extend(mac.octets());
    frame.extend([0x08, 0x06]);
    // Ethernet, IPv4, their lengths, request.
    frame.extend([0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac.octets());
    frame.extend(from.octets());
    frame.extend([0; 6]);
    frame.extend(of.octets());
    // The least an Ethernet frame has.
    frame.resize(60, 0);
    frame
}

/// An unsolicited neighbour advertisement to all nodes (RFC 4861 section 7.2.6), overriding what they know.
fn neighbour_advertisement(mac: Mac, ip: Ipv6Addr) -> Vec<u8> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const ADVERTISEMENT: u8 = 136;
    const OVERRIDE: u8 = 0x20;
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    message.extend(ip.octets());
    // Option: target link-layer address, one unit of eight bytes.
    message.extend([2, 1]);
    message.extend(mac.octets());

    icmpv6(mac, ip, ALL_NODES, message)
}

/// A frame with a message of ICMPv6 to a group, whose checksum is made here.
pub(crate) fn icmpv6(mac: Mac, from: Ipv6Addr, group: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    const ICMPV6: u8 = 58;
    let length = u8::try_from(message.len()).expect("such messages are 32 bytes");
    let mut pseudo = Vec::new();
    pseudo.extend(from.octets());
    pseudo.extend(group.octets());
    pseudo.extend([0, 0, 0, length, 0, 0, 0, ICMPV6]);
    pseudo.extend(&message);
    message[2..4].copy_from_slice(&checksum(&pseudo).to_be_bytes());

    let mut frame = Vec::new();
    // The station of a group (RFC 2464 section 7).
    frame.extend([0x33, 0x33]);
    frame.extend(&group.octets()[12..]);
    frame.extend(mac.octets());
    frame.extend([0x86, 0xdd]);
    frame.extend([0x60, 0, 0, 0, 0, length, ICMPV6, 255]);
    frame.extend(from.octets());
    frame.extend(group.octets());
    frame.extend(message);
    frame
}

/// The internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let (words, _) = bytes.as_chunks::<2>();
    let sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    let folded = (sum >> 16) + (sum & 0xffff);
    let folded = (folded >> 16) + (folded & 0xffff);
    !u16::try_from(folded).expect("folded twice, a sum of some 40 words fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arp_announcement_asks_for_its_sender() {
        let frame = arp("00-15-5D-0A-B7-C6".parse().unwrap(), "172.16.0.2".parse().unwrap());
        assert_eq!(frame.len(), 60);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[28..32], frame[38..42]);
    }

    #[test]
    fn the_checksum_of_a_checked_message_is_zero() {
        let frame = neighbour_advertisement("00-15-5D-0A-B7-C6".parse().unwrap(), "fd00::2".parse().unwrap());
        let mut pseudo = frame[22..54].to_vec();
        pseudo.extend([0, 0, 0, 32, 0, 0, 0, 58]);
        pseudo.extend(&frame[54..]);
        assert_eq!(frame.len(), 14 + 40 + 32);
        assert_eq!(checksum(&pseudo), 0);
    }
}
