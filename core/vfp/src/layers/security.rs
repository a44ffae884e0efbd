//! What a container may claim to be.

use std::net::{IpAddr, Ipv6Addr};

use hns_abi::Reason;
use hns_net::Mac;

use crate::model::Port;
use crate::packet::{Arp, Body, Icmp, Ip, Packet, Transport, protocol};

/// More options than this in one message of neighbour discovery are refused.
const ND_OPTIONS_MAX: usize = 8;
/// Link-layer address of the source and of the target (RFC 4861 section 4.6.1).
const ND_LINK_LAYER: [u8; 2] = [1, 2];

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

/// A packet from the container: nothing, or why it is refused.
pub fn outward(port: &Port, packet: &Packet, frame: &[u8]) -> Result<(), Reason> {
    if port.guards.spoofing {
        check_claims(port, packet, frame)?;
    }
    let Some(ip) = packet.ip() else { return Ok(()) };
    if ip.destination.is_loopback() {
        return Err(Reason::Loopback);
    }
    if port.guards.router_advertisements && is_router_message(ip) {
        return Err(Reason::RogueRa);
    }
    if port.guards.dhcp_servers && is_dhcp_server(ip) {
        return Err(Reason::RogueDhcp);
    }
    Ok(())
}

/// A packet to a container whose connections matter: what the rules could not read does not come in.
pub const fn inward(packet: &Packet) -> Result<(), Reason> {
    match packet.body {
        Body::Other(_) => Err(Reason::Ethertype),
        _ => Ok(()),
    }
}

fn check_claims(port: &Port, packet: &Packet, frame: &[u8]) -> Result<(), Reason> {
    if packet.source != port.mac {
        return Err(Reason::SpoofedMac);
    }
    match &packet.body {
        Body::Other(_) => Err(Reason::Ethertype),
        Body::Arp(arp) => check_arp(port, arp),
        Body::Ip(ip) => {
            if !may_send_from(port, ip) {
                return Err(Reason::SpoofedIp);
            }
            check_neighbour(port, ip, frame)
        }
    }
}

/// A probe for an address conflict has the sender 0.0.0.0 (RFC 5227 section 1.1).
fn check_arp(port: &Port, arp: &Arp) -> Result<(), Reason> {
    let honest = arp.ordinary
        && arp.sender_mac == port.mac
        && (arp.sender.is_unspecified() || port.owns(arp.sender.into()));
    if honest { Ok(()) } else { Err(Reason::SpoofedArp) }
}

fn may_send_from(port: &Port, ip: &Ip) -> bool {
    if port.owns(ip.source) || is_own_link_local(port, ip.source) {
        return true;
    }
    if !ip.source.is_unspecified() {
        return false;
    }
    match &ip.transport {
        Transport::Udp { source: 68, destination: 67 } => !ip.is_v6(),
        Transport::Icmp(icmp) if ip.protocol == protocol::ICMP6 => {
            matches!(icmp.kind, 131 | 132 | 143 | ROUTER_SOLICITATION | NEIGHBOUR_SOLICITATION)
        }
        _ => false,
    }
}

/// The address that the MAC gives (RFC 4291 appendix A).
fn is_own_link_local(port: &Port, address: IpAddr) -> bool {
    address == IpAddr::V6(link_local(port.mac))
}

#[must_use]
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let o = mac.octets();
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, o[0] ^ 2, o[1], o[2], 0xff, 0xfe, o[3], o[4], o[5]])
}

fn icmp6(ip: &Ip) -> Option<&Icmp> {
    match &ip.transport {
        Transport::Icmp(icmp) if ip.protocol == protocol::ICMP6 => Some(icmp),
        _ => None,
    }
}

/// Link-layer options must name the port's MAC. One may ask for everybody's address, but claim (in an advertisement) and try
/// out (from `::`, RFC 4862) one's own only.
fn check_neighbour(port: &Port, ip: &Ip, frame: &[u8]) -> Result<(), Reason> {
    let Some(icmp) = icmp6(ip) else { return Ok(()) };
    let options = match icmp.kind {
        ROUTER_SOLICITATION => 8,
        NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT => 24,
        _ => return Ok(()),
    };
    let message = &frame[ip.payload..ip.end];
    // A message in fragments is no use to an honest sender (RFC 6980).
    if ip.fragment.is_some() || message.len() < options {
        return Err(Reason::SpoofedNd);
    }
    let tries = icmp.kind == NEIGHBOUR_SOLICITATION && ip.source == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if icmp.kind == NEIGHBOUR_ADVERTISEMENT || tries {
        let mut target = [0; 16];
        target.copy_from_slice(&message[8..24]);
        let target = IpAddr::V6(target.into());
        if !port.owns(target) && !is_own_link_local(port, target) {
            return Err(Reason::SpoofedNd);
        }
    }
    check_options(port.mac, &message[options..])
}

fn check_options(mac: Mac, mut bytes: &[u8]) -> Result<(), Reason> {
    for _ in 0..ND_OPTIONS_MAX {
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() < 8 {
            return Err(Reason::SpoofedNd);
        }
        let length = usize::from(bytes[1]) * 8;
        let foreign = ND_LINK_LAYER.contains(&bytes[0]) && bytes[2..8] != mac.octets();
        if length == 0 || length > bytes.len() || foreign {
            return Err(Reason::SpoofedNd);
        }
        bytes = &bytes[length..];
    }
    if bytes.is_empty() { Ok(()) } else { Err(Reason::SpoofedNd) }
}

fn is_router_message(ip: &Ip) -> bool {
    icmp6(ip).is_some_and(|icmp| matches!(icmp.kind, ROUTER_ADVERTISEMENT | REDIRECT))
}

/// By the client's port alone: a client does not ask which port its answer comes from.
fn is_dhcp_server(ip: &Ip) -> bool {
    match ip.transport {
        Transport::Udp { destination: 68, .. } => !ip.is_v6(),
        Transport::Udp { destination: 546, .. } => ip.is_v6(),
        _ => false,
    }
}

impl Port {
    #[must_use]
    pub fn owns(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }
}
