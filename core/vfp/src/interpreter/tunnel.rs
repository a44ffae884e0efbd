//! From a port of an overlay to its router, and what comes out of the tunnel.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hns_abi::{Direction, Reason};
use hns_net::{Guid, Vni};

use super::{Outcome, Refusal, Switch, Travel, Verdict};
use crate::layers::overlay::{answer, is_discovery, put_stations};
use crate::layers::wrapping;
use crate::model::{Devices, Overlay, Port, Route, longest};
use crate::packet::{Body, Packet};

impl Switch {
    /// From a port of an overlay to a station that no port of this host has, or to everybody.
    pub(super) fn leave_by_overlay(&self, ifindex: u32, travel: &mut Travel) -> Result<Verdict, Refusal> {
        let network = self.board.ports[&ifindex].network;
        let refuse =
            |reason, travel: &mut Travel| Err(self.refuse_at(ifindex, Direction::Out, reason, travel));
        let Some((devices, overlay)) = self.board.overlays.get(&network) else {
            return refuse(Reason::Unwired, travel);
        };
        if let Some(answered) = answer(overlay, &travel.packet, &travel.frame) {
            travel.frame = answered;
            return Ok(Verdict::Redirect { ifindex, peer: false });
        }
        if !travel.packet.is_unicast() {
            return Ok(Verdict::Pass);
        }
        // What the router has for nobody else.
        let hosted = overlay.hosted && travel.packet.destination == overlay.router;
        let beyond = |travel: &mut Travel| match hosted {
            true => Ok(Verdict::Pass),
            false => refuse(Reason::Unrouted, travel),
        };
        let destination = match &travel.packet.body {
            Body::Ip(ip) => ip.destination,
            Body::Arp(_) => return beyond(travel),
            Body::Other(_) => return refuse(Reason::Unrouted, travel),
        };
        let is_for_router = travel.packet.destination == overlay.router;
        let resident = self.resident_of(network, destination).filter(|_| is_for_router);
        let is_station =
            |route: &&Route| is_for_router || route.on_link && route.station == travel.packet.destination;
        let route = overlay.route_to(destination).filter(is_station);
        if !is_for_router && route.is_none() {
            return refuse(Reason::Unrouted, travel);
        }
        if (resident.is_some() || route.is_some()) && self.board.ports[&ifindex].quiet {
            return refuse(Reason::Quiet, travel);
        }
        if let Some((target, port)) = resident {
            if port.quiet {
                return Err(self.refuse_at(target, Direction::In, Reason::Quiet, travel));
            }
            put_stations(&mut travel.frame, port.mac, overlay.router);
            return Ok(Verdict::Redirect { ifindex: target, peer: false });
        }
        let Some(route) = route else { return beyond(travel) };
        let from = if route.on_link { travel.packet.source } else { overlay.router };
        put_stations(&mut travel.frame, route.station, from);
        Ok(Verdict::Tunnel { ifindex: devices.tunnel, vni: route.vni, to: route.provider })
    }

    /// What the adapter receives at which tunnels end: `tunnel_near`. `heard`: the hosts from which something came by the device just now.
    pub fn near(&mut self, frame: &[u8], heard: &BTreeSet<IpAddr>, now: u64) -> Outcome {
        let next =
            || Outcome { verdict: Verdict::Next { copy: None }, frame: frame.to_vec(), steps: Vec::new() };
        let Some(wrapped) = wrapping::unwrap(frame).filter(|_| wrapping::is_small(frame)) else {
            return next();
        };
        let ends_here = |overlay: &Overlay| {
            overlay.direct
                && overlay.provider == IpAddr::from(wrapped.receiver)
                && overlay.udp_port == wrapped.udp_port
        };
        let end = self.board.overlays.values().find(|(_, overlay)| ends_here(overlay));
        let Some(device) = end.map(|(devices, _)| devices.tunnel) else { return next() };
        let takes = |(known, overlay): &&(Devices, Arc<Overlay>)| {
            known.tunnel == device && overlay.vnis.contains(&wrapped.vni)
        };
        if !heard.contains(&wrapped.sender.into()) || !self.board.overlays.values().any(|known| takes(&known))
        {
            return next();
        }
        self.from_tunnel((device, wrapped.vni), wrapped.sender.into(), &wrapped.inner, now)
    }

    /// A frame out of a tunnel: `tunnel_in`. `sender`: the host that has sent it.
    pub fn from_tunnel(
        &mut self,
        (device, vni): (u32, Vni),
        sender: IpAddr,
        frame: &[u8],
        now: u64,
    ) -> Outcome {
        let refuse = |reason| Outcome::refused(Refusal::of_port(reason, device, Direction::In), frame);
        let mut overlays = self.board.overlays.iter();
        let is_it = |(known, overlay): &(Devices, Arc<Overlay>)| {
            (known.tunnel == device || known.clear == Some(device)) && overlay.vnis.contains(&vni)
        };
        let Some((network, (devices, overlay))) = overlays.find(|(_, overlay)| is_it(overlay)) else {
            return refuse(Reason::UnknownVni);
        };
        if devices.tunnel != device {
            return refuse(Reason::Unencrypted);
        }
        let Ok(packet) = Packet::parse(frame) else { return refuse(Reason::Malformed) };
        let Some(ip) = packet.ip() else { return refuse(Reason::Unrouted) };
        if is_discovery(ip) {
            return refuse(Reason::SpoofedNd);
        }
        let is_from = |route: &&Route| route.provider == sender && route.station == packet.source;
        let Some(route) = overlay.route_to(ip.source).filter(is_from) else {
            return refuse(Reason::SpoofedTunnel);
        };
        let is_for = |(_, port): &(u32, &Port)| {
            packet.destination == overlay.router || route.on_link && packet.destination == port.mac
        };
        let Some((target, port)) = self.resident_of(*network, ip.destination).filter(is_for) else {
            return refuse(Reason::Unrouted);
        };
        if port.quiet {
            return Outcome::refused(Refusal::of_port(Reason::Quiet, target, Direction::In), frame);
        }
        let mut frame = frame.to_vec();
        let from = if route.on_link { route.station } else { overlay.router };
        put_stations(&mut frame, port.mac, from);
        self.deliver(target, &frame, now)
    }

    /// The port of this host that has an address of a network.
    fn resident_of(&self, network: Guid, address: IpAddr) -> Option<(u32, &Port)> {
        let is_it = |port: &Port| port.network == network && port.addresses.contains(&address);
        let (ifindex, port) = self.board.ports.iter().find(|(_, port)| is_it(port))?;
        Some((*ifindex, port))
    }
}

impl Overlay {
    /// Which host has an address.
    #[must_use]
    pub fn route_to(&self, address: IpAddr) -> Option<&Route> {
        longest(&self.routes, address)
    }
}
