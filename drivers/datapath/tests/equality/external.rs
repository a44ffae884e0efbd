//! Boards whose ports are on an external switch, and what happens at its adapter.

use hns_abi::Direction;
use hns_datapath::test_run::Outpost;
use hns_net::{Uplink, UplinkMode};
use hns_vfp::Port;
use hns_vfp::generate::Shot;
use hns_vfp::model::{Place, Switchboard};

use super::{ADAPTER, Event, FOUND, LINKS, UPLINK, link};

/// The station that stories send to and no port has.
pub(super) const HOST: &str = "02:00:00:00:99:01";

pub(super) fn uplink(mode: UplinkMode) -> Uplink {
    Uplink { adapter: link(ADAPTER), vlan: None, mode }
}

/// Some boards, by their seed alone, are on an external switch.
pub(super) fn is_external(seed: u64) -> bool {
    !FOUND.contains(&seed) && seed.is_multiple_of(3)
}

/// Of these, half have one MAC address on the wire, and of half of those the wire sends everything back.
pub(super) fn mode(seed: u64) -> UplinkMode {
    match seed % 4 {
        0 => UplinkMode::Reflected,
        2 => UplinkMode::OneMac,
        _ => UplinkMode::Stations,
    }
}

/// All ports but one, whose station is then somebody's on the wire.
pub(super) fn put_on_the_wire(board: &mut Switchboard, mode: UplinkMode) {
    board.ports.remove(&LINKS[2]);
    board.ports.values_mut().for_each(|port| put_port_on_the_wire(port, mode));
    let mac = HOST.replace(':', "-").parse().unwrap();
    let place = Place { adapter: ADAPTER, vlan: None, mac, port: UPLINK, mode };
    board.uplinks.insert(uplink(mode).switch_id(), place);
    // The host has come to have what was a container's.
    let first = board.ports.values().next().and_then(|port| port.addresses.first());
    board.hosts_own.insert(uplink(mode).switch_id(), first.copied().into_iter().collect());
}

fn put_port_on_the_wire(port: &mut Port, mode: UplinkMode) {
    port.external = Some(uplink(mode).switch_id());
    port.reflected = mode == UplinkMode::Reflected;
    (port.ruled, port.confined) = (false, None);
    // Without a draw, so that older seeds keep their boards.
    let [.., last] = port.mac.octets();
    port.behind_host = [last % 4 == 1, last % 4 == 0];
}

/// A third of what comes to ports comes by the adapter, and some of what they send is the host's, or the bridge's to the wire.
pub(super) fn send_by_the_wire(shots: &mut [Shot], mode: UplinkMode) {
    let one_mac = mode.has_one_mac();
    for (number, shot) in shots.iter_mut().enumerate() {
        match (shot.direction, number % 9) {
            (Direction::Out, 3..6) if mode == UplinkMode::Reflected => send_back(shot, number),
            (Direction::In, 0..3) if one_mac && number % 2 == 0 => {
                shot.ifindex = ADAPTER;
                address_to_the_host(&mut shot.frame, number % 4 == 0);
            }
            (Direction::In, 0..3) | (Direction::Out, 0..2) => shot.ifindex = ADAPTER,
            (Direction::Out, 2) => shot.ifindex = UPLINK,
            _ => {}
        }
    }
}

/// The frame as it comes where the LAN knows containers by the host's station; `inside`: in ARP as well.
fn address_to_the_host(frame: &mut [u8], inside: bool) {
    let host = HOST.replace(':', "-").parse::<hns_net::Mac>().unwrap().octets();
    frame[..6].copy_from_slice(&host);
    if inside && frame[12..14] == [0x08, 0x06] && frame.len() >= 42 {
        frame[32..38].copy_from_slice(&host);
    }
}

/// What a port sends as it comes back to the adapter, or, to a group, to the ports.
fn send_back(shot: &mut Shot, number: usize) {
    let host = HOST.replace(':', "-").parse::<hns_net::Mac>().unwrap().octets();
    shot.direction = Direction::In;
    if number.is_multiple_of(4) {
        return;
    }
    shot.ifindex = ADAPTER;
    if let Some(stations) = shot.frame.get_mut(..12) {
        stations[6..].copy_from_slice(&host);
        if stations[0] & 1 == 0 {
            stations[..6].copy_from_slice(&host);
        }
    }
}

/// Whether this happens on a board with an external switch; makes it happen there.
pub(super) fn stays_on_the_wire(event: &mut Event, mode: UplinkMode) -> bool {
    if let Event::Change(ifindex, port, _) = event {
        put_port_on_the_wire(port, mode);
        return *ifindex != LINKS[2];
    }
    true
}

/// At which program of an external switch or a tunnel the packet is, unless it is at a port.
pub(super) fn outpost(shot: &Shot, board: &Switchboard) -> Option<Outpost> {
    match (shot.ifindex, shot.direction) {
        (ADAPTER, Direction::In) if !board.overlays.is_empty() => Some(Outpost::TunnelNear),
        (ADAPTER, Direction::In) => Some(Outpost::AdapterIn),
        (ADAPTER, Direction::Out) => Some(Outpost::AdapterOut),
        (UPLINK, _) => Some(Outpost::UplinkOut),
        _ => None,
    }
}

/// Whether our own programs have sent it to the adapter.
pub(super) fn is_wired(shot: &Shot) -> bool {
    shot.frame.len().is_multiple_of(7)
}
