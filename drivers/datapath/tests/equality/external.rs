//! Boards whose ports are on an external switch, and what happens at its adapter.

use hns_abi::Direction;
use hns_datapath::test_run::Outpost;
use hns_net::Uplink;
use hns_vfp::Port;
use hns_vfp::generate::Shot;
use hns_vfp::model::{Place, Switchboard};

use super::{ADAPTER, Event, FOUND, LINKS, UPLINK, link};

/// The station that stories send to and no port has.
pub(super) const HOST: &str = "02:00:00:00:99:01";

pub(super) fn uplink() -> Uplink {
    Uplink { adapter: link(ADAPTER), vlan: None }
}

/// Some boards, by their seed alone, are on an external switch.
pub(super) fn is_external(seed: u64) -> bool {
    !FOUND.contains(&seed) && seed.is_multiple_of(3)
}

/// All ports but one, whose station is then somebody's on the wire.
pub(super) fn put_on_the_wire(board: &mut Switchboard) {
    board.ports.remove(&LINKS[2]);
    board.ports.values_mut().for_each(put_port_on_the_wire);
    let mac = HOST.replace(':', "-").parse().unwrap();
    let place = Place { adapter: ADAPTER, vlan: None, mac, port: UPLINK };
    board.uplinks.insert(uplink().switch_id(), place);
}

fn put_port_on_the_wire(port: &mut Port) {
    port.external = Some(uplink().switch_id());
    (port.ruled, port.confined) = (false, None);
}

/// A third of what comes to ports comes by the adapter, and some of what they send is the host's, or the bridge's to the wire.
pub(super) fn send_by_the_wire(shots: &mut [Shot]) {
    for (number, shot) in shots.iter_mut().enumerate() {
        match (shot.direction, number % 9) {
            (Direction::In, 0..3) | (Direction::Out, 0..2) => shot.ifindex = ADAPTER,
            (Direction::Out, 2) => shot.ifindex = UPLINK,
            _ => {}
        }
    }
}

/// Whether this happens on a board with an external switch; makes it happen there.
pub(super) fn stays_on_the_wire(event: &mut Event) -> bool {
    if let Event::Change(ifindex, port, _) = event {
        put_port_on_the_wire(port);
        return *ifindex != LINKS[2];
    }
    true
}

/// At which program of an external switch the packet is, unless it is at a port.
pub(super) fn outpost(shot: &Shot) -> Option<Outpost> {
    match (shot.ifindex, shot.direction) {
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
