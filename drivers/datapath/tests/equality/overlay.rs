//! Boards whose first network has containers on other hosts.

use std::net::IpAddr;
use std::sync::Arc;

use hns_abi::Direction;
use hns_net::{Guid, Mac, Vni};
use hns_vfp::Port;
use hns_vfp::generate::Shot;
use hns_vfp::model::{Overlay, Route, Switchboard};

use super::{Event, FOUND, HOST, UPLINK};

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

/// A third of what containers send is for the router, and what is ARP among it asks for its station.
pub(super) fn send_to_the_router(shots: &mut [Shot]) {
    let router = HOST.replace(':', "-").parse::<Mac>().unwrap().octets();
    for shot in shots.iter_mut().filter(|shot| shot.direction == Direction::Out).step_by(3) {
        let Some(destination) = shot.frame.get_mut(..6) else { continue };
        destination.copy_from_slice(&router);
        if shot.frame.len() >= 42 && shot.frame[12..14] == [0x08, 0x06] {
            shot.frame[21] = 1;
            shot.frame[38..42].copy_from_slice(&[10, 0, 0, 5]);
        }
    }
}

/// The router has the station that stories send to and no port has, and addresses that a port of another network has.
pub(super) fn spread_over_hosts(board: &mut Switchboard, hosted: bool) {
    board.ports.values_mut().for_each(put_port_on_the_overlay);
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let route = |vni| Route {
        provider: address("203.0.113.2"),
        vni: Vni::new(vni).unwrap(),
        router: Mac::new([0x0e, 0x2a, 203, 0, 113, 2]),
    };
    let overlay = Overlay {
        router: HOST.replace(':', "-").parse().unwrap(),
        provider: address("203.0.113.1"),
        gateways: ["10.0.0.5", "fd00::5"].map(address).into(),
        vnis: [Vni::new(4096).unwrap()].into(),
        hosted,
        udp_port: 4789,
        routes: [
            ("192.0.2.0/24".parse().unwrap(), route(4097)),
            ("192.0.2.1/32".parse().unwrap(), route(4098)),
            ("2001:db8::/48".parse().unwrap(), route(4099)),
        ]
        .into(),
    };
    board.overlays.insert(network(), (DEVICE, Arc::new(overlay)));
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
