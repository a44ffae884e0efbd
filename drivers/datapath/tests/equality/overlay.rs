//! Boards whose first network has containers on other hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hns_abi::Direction;
use hns_net::{Cidr, Guid, Mac, Vni};
use hns_vfp::Port;
use hns_vfp::generate::Shot;
use hns_vfp::layers::wrapping::{Wrapped, unwrap};
use hns_vfp::model::{Devices, Overlay, Route, Switchboard};

use super::{ADAPTER, Event, FOUND, HOST, UPLINK};
use crate::support::run;

/// The VXLAN device, as far as a program cares.
pub(super) const DEVICE: u32 = UPLINK;

/// The network on which the generator puts all ports but the last.
pub(super) fn network() -> Guid {
    Guid::from_bytes([0xa0; 16])
}

/// Some boards, by their seed alone.
pub(super) fn is_overlay(seed: u64) -> bool {
    !FOUND.contains(&seed) && seed % 6 == 1
}

/// Where tunnels end here and at the other host, and one that nobody knows.
const HERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(super) const THERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const NOWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const UDP_PORT: u16 = 4789;
const ROUTER_THERE: [u8; 6] = [0x0e, 0x2a, 203, 0, 113, 2];
/// A container of the other host on one link with those here.
const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 0x98, 1];
const NEIGHBOURS: [&str; 2] = ["198.51.100.7", "2001:db8:1::7"];
/// In prefixes that it has.
const THERE_INSIDE: [&str; 2] = ["192.0.2.9", "2001:db8::9"];

/// Gives the adapter the address at which tunnels end, with a way to the other host, and lets the kernel tell it to the programs.
pub(super) fn put_adapter_on_the_underlay(adapter: &str, device: &str) {
    run(&["ip", "address", "add", &format!("{HERE}/24"), "dev", adapter]);
    run(&["sh", "-c", &format!("echo 1 > /proc/sys/net/ipv4/conf/{device}/forwarding")]);
}

/// Half of what comes to ports comes by the tunnel, in its wrapping, most of it from an address that the other host has; and some of that
/// is not as it should be.
pub(super) fn send_by_the_tunnel(shots: &mut [Shot]) {
    let station = HOST.replace(':', "-").parse::<Mac>().unwrap().octets();
    let inward = shots.iter_mut().filter(|shot| shot.direction == Direction::In).step_by(2);
    for (number, shot) in inward.enumerate().filter(|(_, shot)| shot.frame.len() >= 14) {
        let mut inner = shot.frame.clone();
        let (from, address) = if number % 2 == 0 {
            inner[..6].copy_from_slice(&station);
            (ROUTER_THERE, THERE_INSIDE)
        } else {
            (NEIGHBOUR, NEIGHBOURS)
        };
        inner[6..12].copy_from_slice(&from);
        if number % 8 < 6 {
            put_source(&mut inner, address);
        }
        let sender = if number % 16 == 1 { NOWHERE } else { THERE };
        let vni = Vni::new(if number % 16 == 2 { 5000 } else { 4096 }).unwrap();
        let mut frame = Wrapped { sender, receiver: HERE, udp_port: UDP_PORT, vni, inner }.frame(station);
        match number % 16 {
            // Congestion on the way; a UDP checksum; a fragment.
            3 => frame[15] |= 3,
            4 => frame[41] = 1,
            5 => frame[20] = 0x20,
            _ => {}
        }
        (shot.ifindex, shot.frame) = (ADAPTER, frame);
    }
}

/// Gives a packet this source, by its family.
fn put_source(frame: &mut [u8], [v4, v6]: [&str; 2]) {
    let (place, octets) = match (frame[12..14].try_into().unwrap_or([0; 2]), frame.len()) {
        ([0x08, 0x00], 34..) => (26..30, v4.parse::<Ipv4Addr>().unwrap().octets().to_vec()),
        ([0x86, 0xdd], 54..) => (22..38, v6.parse::<Ipv6Addr>().unwrap().octets().to_vec()),
        _ => return,
    };
    frame[place].copy_from_slice(&octets);
}

/// Whether a frame says that it is from the neighbour.
pub(super) fn is_neighbours(wrapped: &Wrapped) -> bool {
    wrapped.inner[6..12] == NEIGHBOUR
}

/// What the programs have wrapped up themselves, as the device would have got it: the frame, if everything around it is right.
/// The kernel writes the Ethernet header when it knows the next hop's station.
pub(super) fn device_would_get(mut sent: Vec<u8>, vni: u32) -> Option<Vec<u8>> {
    sent.get_mut(12..14)?.copy_from_slice(&[8, 0]);
    let wrapped = unwrap(&sent)?;
    let is_right = (wrapped.sender, wrapped.receiver, wrapped.udp_port) == (HERE, THERE, UDP_PORT);
    (is_right && wrapped.vni.number() == vni).then_some(wrapped.inner)
}

/// A third of what containers send is for the router, or for a neighbour on the other host, and what is ARP among it asks for its
/// station.
pub(super) fn send_to_the_router(shots: &mut [Shot]) {
    let router = HOST.replace(':', "-").parse::<Mac>().unwrap().octets();
    let outward = shots.iter_mut().filter(|shot| shot.direction == Direction::Out).step_by(3);
    for (number, shot) in outward.enumerate() {
        let (station, asked) =
            if number % 3 == 0 { (NEIGHBOUR, [198, 51, 100, 7]) } else { (router, [10, 0, 0, 5]) };
        let Some(destination) = shot.frame.get_mut(..6) else { continue };
        destination.copy_from_slice(&station);
        if shot.frame.len() >= 42 && shot.frame[12..14] == [0x08, 0x06] {
            shot.frame[21] = 1;
            shot.frame[38..42].copy_from_slice(&asked);
        }
    }
}

/// The router has the station that stories send to and no port has, and addresses that a port of another network has.
pub(super) fn spread_over_hosts(board: &mut Switchboard, hosted: bool) {
    board.ports.values_mut().for_each(put_port_on_the_overlay);
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let route = |vni| Route {
        provider: THERE.into(),
        vni: Vni::new(vni).unwrap(),
        station: Mac::new(ROUTER_THERE),
        on_link: false,
    };
    let neighbour = Route { station: Mac::new(NEIGHBOUR), on_link: true, ..route(4100) };
    let neighbours = NEIGHBOURS.map(|address| (Cidr::host(address.parse().unwrap()), neighbour));
    let overlay = Overlay {
        router: HOST.replace(':', "-").parse().unwrap(),
        provider: HERE.into(),
        gateways: ["10.0.0.5", "fd00::5"].map(address).into(),
        vnis: [Vni::new(4096).unwrap()].into(),
        hosted,
        udp_port: UDP_PORT,
        direct: true,
        encryption: None,
        routes: [
            ("192.0.2.0/24".parse().unwrap(), route(4097)),
            ("192.0.2.1/32".parse().unwrap(), route(4098)),
            ("2001:db8::/48".parse().unwrap(), route(4099)),
        ]
        .into_iter()
        .chain(neighbours)
        .collect(),
    };
    board.overlays.insert(network(), (Devices { tunnel: DEVICE, clear: None }, Arc::new(overlay)));
}

fn put_port_on_the_overlay(port: &mut Port) {
    if port.network == network() {
        port.overlay = true;
        (port.ruled, port.confined) = (false, None);
    }
}

/// Makes a change happen on such a board.
pub(super) fn stays_on_the_overlay(event: &mut Event) {
    if let Event::Change(_, port, _) = event {
        put_port_on_the_overlay(port);
    }
}
