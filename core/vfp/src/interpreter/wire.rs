//! At an adapter that external switches share with the host, and at the port of their bridge that stands for the wire.

use std::net::IpAddr;

use hns_abi::{Direction, Reason};
use hns_net::{Guid, Mac, UplinkMode, VlanId};

use super::{Beyond, ETHERNET_LEN, Outcome, Refusal, Switch, Travel, Verdict, is_priority_tagged};
use crate::layers::l2;
use crate::layers::security::link_local;
use crate::model::{Place, Port};
use crate::packet::Packet;

/// 01-80-C2-00-00-00 to 0F, which no bridge forwards (IEEE 802.1Q table 8-1).
pub(super) const fn is_of_the_link(station: Mac) -> bool {
    matches!(station.octets(), [0x01, 0x80, 0xc2, 0, 0, last] if last < 0x10)
}

const fn is_group(station: Mac) -> bool {
    station.octets()[0] & 1 == 1
}

/// Destination and source.
fn stations(frame: &[u8]) -> Option<[Mac; 2]> {
    let (head, _) = frame.split_first_chunk::<ETHERNET_LEN>()?;
    let [a, b, c, d, e, f, source @ .., _, _] = *head;
    Some([Mac::new([a, b, c, d, e, f]), Mac::new(source)])
}

fn passed(verdict: Verdict, frame: &[u8]) -> Outcome {
    Outcome { verdict, frame: frame.to_vec(), steps: Vec::new() }
}

const NEXT: Verdict = Verdict::Next { copy: None };

impl Switch {
    /// What an adapter receives: `adapter_in`. `wired`: our own programs have sent it there.
    pub fn from_wire(
        &mut self,
        (adapter, vlan): (u32, Option<VlanId>),
        frame: &[u8],
        wired: bool,
        now: u64,
    ) -> Outcome {
        let found = self.external_at(adapter, vlan).filter(|_| !wired).zip(stations(frame));
        let Some(((switch, place), [to, from])) = found else { return passed(NEXT, frame) };
        let is_back = place.mode == UplinkMode::Reflected && from == place.mac;
        if is_group(to) && is_back && !is_of_the_link(to) {
            return self.come_back(switch, place, frame);
        }
        if is_group(to) {
            // What was sent here comes back from some switches of the LAN.
            let own = from == place.mac || self.station(switch, from).is_some();
            let copy = (!own && !is_of_the_link(to)).then_some(place.port);
            return passed(Verdict::Next { copy }, frame);
        }
        if to == place.mac {
            // The host's station is nobody else's, whatever a port claims.
            let address = l2::wanted(frame).filter(|_| place.mode.has_one_mac());
            let Some((ifindex, port)) = address.and_then(|ip| self.resident(switch, ip)) else {
                return passed(NEXT, frame);
            };
            let sender = is_back.then(|| self.sender(switch, frame)).flatten();
            if sender.is_some_and(|(_, sender)| sender.quiet || port.quiet) {
                return Outcome::refused(Refusal::of_port(Reason::Quiet, ifindex, Direction::In), frame);
            }
            let mut frame = frame.to_vec();
            l2::inward(&mut frame, place.mac, port.mac);
            return self.deliver(ifindex, &frame, now);
        }
        match self.station(switch, to).map(|(ifindex, _)| ifindex) {
            None => passed(NEXT, frame),
            Some(ifindex) => self.deliver(ifindex, frame, now),
        }
    }

    /// To a group, and back from the wire. Only the addresses in it tell whether a container sent it or the host, which does not hear
    /// itself. What names nobody is let in nowhere.
    fn come_back(&self, switch: Guid, place: Place, frame: &[u8]) -> Outcome {
        let copy = l2::sender(frame).map(|_| place.port);
        let Some((_, port)) = self.sender(switch, frame) else {
            return passed(Verdict::Back { copy }, frame);
        };
        let mut frame = frame.to_vec();
        l2::home(&mut frame, port.mac);
        Outcome { verdict: Verdict::Next { copy }, frame, steps: Vec::new() }
    }

    /// The port of a switch that has sent a frame which bears the adapter's station.
    fn sender(&self, switch: Guid, frame: &[u8]) -> Option<(u32, &Port)> {
        self.owner(switch, l2::sender(frame)?)
    }

    /// Whether a frame has been to the wire and comes to the port that has sent it.
    pub(super) fn is_back_home(&self, ifindex: u32, frame: &[u8]) -> bool {
        let port = self.board.ports.get(&ifindex).filter(|port| port.reflected);
        port.zip(stations(frame)).is_some_and(|(port, [_, from])| from == port.mac)
    }

    /// The port of a switch that has this address, unless the host has it, too, or forwards what comes for it.
    fn resident(&self, switch: Guid, address: IpAddr) -> Option<(u32, &Port)> {
        self.owner(switch, address).filter(|(_, port)| !port.is_behind_host(address))
    }

    /// The port of a switch that has this address, unless the host has it, too.
    fn owner(&self, switch: Guid, address: IpAddr) -> Option<(u32, &Port)> {
        if self.board.hosts_own.get(&switch).is_some_and(|own| own.contains(&address)) {
            return None;
        }
        let has_it = |port: &Port| port.owns(address) || address == IpAddr::V6(link_local(port.mac));
        let is_it = |port: &Port| port.switch() == switch && has_it(port);
        let (ifindex, port) = self.board.ports.iter().find(|(_, port)| is_it(port))?;
        Some((*ifindex, port))
    }

    pub(super) fn deliver(&mut self, ifindex: u32, frame: &[u8], now: u64) -> Outcome {
        if self.board.ports[&ifindex].plain_redirect {
            return passed(Verdict::Redirect { ifindex, peer: false }, frame);
        }
        let delivered = Verdict::Redirect { ifindex, peer: true };
        if self.is_indifferent(ifindex) {
            return passed(delivered, frame);
        }
        match Travel::begin(&self.board, ifindex, Direction::In, frame) {
            Err(refusal) => Outcome::refused(refusal, frame),
            Ok(mut travel) => {
                let verdict = self.run_half(ifindex, Direction::In, &mut travel, now).map(|()| delivered);
                travel.end(verdict)
            }
        }
    }

    /// What the host sends by an adapter: `adapter_out`.
    #[must_use]
    pub fn from_host(&self, (adapter, vlan): (u32, Option<VlanId>), frame: &[u8], wired: bool) -> Outcome {
        let found = self.external_at(adapter, vlan).filter(|_| !wired).zip(stations(frame));
        // What a wire sends back is heard then.
        let found = found.filter(|((_, place), _)| place.mode != UplinkMode::Reflected);
        let Some(((switch, place), [to, _])) = found else { return passed(NEXT, frame) };
        if is_group(to) {
            let copy = (!is_of_the_link(to)).then_some(place.port);
            return passed(Verdict::Next { copy }, frame);
        }
        let verdict = self.station(switch, to).map(|(ifindex, _)| Verdict::Redirect { ifindex, peer: false });
        passed(verdict.unwrap_or(NEXT), frame)
    }

    /// What a bridge sends to the wire by this port of it: `uplink_out`.
    #[must_use]
    pub fn to_wire(&self, port: u32, frame: &[u8]) -> Outcome {
        let place = self.board.uplinks.values().find(|place| place.port == port);
        let refuse = |reason| Outcome::refused(Refusal::of_port(reason, port, Direction::Out), frame);
        let Some((place, [to, _])) = place.zip(stations(frame)) else { return refuse(Reason::Unwired) };
        let to = match place.mode {
            UplinkMode::Reflected => Beyond::Wire,
            _ if is_group(to) => Beyond::Both,
            _ => beyond(place, to),
        };
        let verdict = Verdict::Adapter { ifindex: place.adapter, to };
        if to == Beyond::Host || !place.mode.has_one_mac() {
            return passed(verdict, frame);
        }
        match Packet::parse(frame) {
            Err(_) => refuse(Reason::Malformed),
            Ok(_) if is_priority_tagged(frame) => refuse(Reason::Ethertype),
            Ok(packet) => {
                let mut frame = frame.to_vec();
                l2::outward(&packet, &mut frame, place.mac);
                Outcome { verdict, frame, steps: Vec::new() }
            }
        }
    }

    /// From a port to a station that no port of its switch has, or whoever it is for to a wire that sends it back: on an external one by
    /// the adapter.
    pub(super) fn leave(&self, ifindex: u32, travel: &mut Travel) -> Result<Verdict, Refusal> {
        let port = &self.board.ports[&ifindex];
        let Some(switch) = port.external else { return Ok(Verdict::Pass) };
        match self.board.uplinks.get(&switch) {
            Some(place) => {
                let to = match port.reflected {
                    true => Beyond::Wire,
                    false => beyond(place, travel.packet.destination),
                };
                if place.mode.has_one_mac() && to == Beyond::Wire {
                    l2::outward(&travel.packet, &mut travel.frame, place.mac);
                }
                Ok(Verdict::Adapter { ifindex: place.adapter, to })
            }
            None => Err(self.refuse_at(ifindex, Direction::Out, Reason::Unwired, travel)),
        }
    }

    fn external_at(&self, adapter: u32, vlan: Option<VlanId>) -> Option<(Guid, Place)> {
        let is_it = |place: &Place| place.adapter == adapter && place.vlan == vlan;
        let (switch, place) = self.board.uplinks.iter().find(|(_, place)| is_it(place))?;
        Some((*switch, *place))
    }
}

fn beyond(place: &Place, station: Mac) -> Beyond {
    if station == place.mac { Beyond::Host } else { Beyond::Wire }
}
