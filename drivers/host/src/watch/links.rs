//! What link, address, route and filter messages mean for us.

use std::collections::HashMap;

use hns_net::IfName;

use super::bridges::Bridges;
use super::filters::{self, Place};
use crate::HostEvent;
use crate::address::{self, Seen};
use crate::group::{OURS, Role, is_ours};
use crate::link::Link;
use crate::netlink::socket::Message;
use crate::{tunnel, ways_out};

pub(super) struct Links {
    /// Ours by index, since addresses and routes tell no names.
    ours: HashMap<u32, Known>,
    bridges: Bridges,
}

#[derive(Debug)]
struct Known {
    name: String,
    group: u32,
}

impl Links {
    /// `links`: all that there are.
    pub(super) fn new(links: Vec<Link>) -> Self {
        let (ours, others): (Vec<Link>, Vec<Link>) = links.into_iter().partition(|link| is_ours(link.group));
        let known = |link: Link| (link.index, Known { name: link.name, group: link.group });
        let mut bridges = Bridges::default();
        others.iter().for_each(|link| _ = bridges.see(link));
        Self { ours: ours.into_iter().map(known).collect(), bridges }
    }

    pub(super) fn see(&mut self, message: &Message<'_>, tell: &mut dyn FnMut(HostEvent)) {
        match message.kind {
            libc::RTM_NEWLINK => self.see_link(message.payload, tell),
            libc::RTM_DELLINK => self.see_removal(message.payload, tell),
            libc::RTM_DELADDR => self.see_lost_address(message.payload, tell),
            libc::RTM_NEWADDR => self.see_address(message.payload, tell),
            libc::RTM_NEWROUTE => self.see_route(message.payload, tell),
            libc::RTM_DELROUTE => self.see_lost_route(message.payload, tell),
            _ => self.see_filter(message, tell),
        }
    }

    fn see_link(&mut self, payload: &[u8], tell: &mut dyn FnMut(HostEvent)) {
        if !is_ours(Link::group_of(payload)) {
            if let Some(link) = Link::read(payload) {
                self.see_foreign(&link, tell);
            }
            return;
        }
        let Some(link) = Link::read(payload) else { return };
        let before = self.ours.insert(link.index, Known { name: link.name.clone(), group: link.group });
        if let Some(before) = before.filter(|before| before.group == OURS && before.name != link.name) {
            gone(&before.name).into_iter().for_each(&mut *tell);
        }
        // A link that is being made is not plugged in and up yet; one that was handed to the reaper need not.
        if link.untouched || link.group != OURS {
            return;
        }
        let event = match Role::of(&link.name) {
            Some(Role::Port) if !link.up || link.bridge.is_none() => {
                link.name.parse().ok().map(HostEvent::PortChanged)
            }
            Some(Role::Segment { switch, .. }) if !link.up => Some(HostEvent::SwitchChanged(switch)),
            Some(Role::Trunk { switch, .. } | Role::Uplink { switch })
                if !link.up || link.bridge.is_none() =>
            {
                Some(HostEvent::SwitchChanged(switch))
            }
            Some(Role::Tunnel { device }) if !tunnel::is_right(&link, device) => {
                Some(HostEvent::TunnelChanged)
            }
            _ => None,
        };
        event.into_iter().for_each(tell);
    }

    fn see_foreign(&mut self, link: &Link, tell: &mut dyn FnMut(HostEvent)) {
        if link.bridge.is_some() && ways_out::leads_beyond(link) {
            tell(HostEvent::WaysOutChanged);
        }
        if self.bridges.see(link) {
            tell(HostEvent::BridgesChanged);
        }
    }

    fn see_removal(&mut self, payload: &[u8], tell: &mut dyn FnMut(HostEvent)) {
        // Links in the reaper's group go because we say so.
        let group = Link::group_of(payload);
        let Some(link) = Link::read(payload) else { return };
        if !is_ours(group) {
            if self.bridges.lose(link.index) {
                tell(HostEvent::BridgesChanged);
            }
            return;
        }
        self.ours.remove(&link.index);
        if group != OURS {
            return;
        }
        gone(&link.name).into_iter().for_each(tell);
    }

    fn see_lost_address(&self, payload: &[u8], tell: &mut dyn FnMut(HostEvent)) {
        if let Some(held) = address::read(payload) {
            self.tell_bridge(held.link, tell);
            self.tell_switch(Some(held.link), tell);
            self.tell_host(held.link, tell);
        }
    }

    /// An address brings its prefix along, even where no route is made for it.
    fn see_address(&self, payload: &[u8], tell: &mut dyn FnMut(HostEvent)) {
        let Some(held) = address::read(payload) else { return };
        self.tell_bridge(held.link, tell);
        self.tell_host(held.link, tell);
        let (ip, length) = (held.address.address(), held.address.length());
        let Ok(destination) = hns_net::Cidr::new(ip, length) else { return };
        self.tell_reach(&Seen { kind: libc::RTN_UNICAST, destination, link: Some(held.link) }, tell);
    }

    fn see_route(&self, payload: &[u8], tell: &mut dyn FnMut(HostEvent)) {
        let Some(route) = Seen::read(payload) else { return };
        if route.destination.is_default() {
            self.tell_default_route(&route, tell);
        }
        self.tell_reach(&route, tell);
    }

    fn see_lost_route(&self, payload: &[u8], tell: &mut dyn FnMut(HostEvent)) {
        let Some(route) = Seen::read(payload) else { return };
        if route.destination.is_default() {
            self.tell_default_route(&route, tell);
        } else if route.kind == libc::RTN_UNICAST {
            self.tell_switch(route.link, tell);
        }
    }

    /// With several paths a route tells no link.
    fn tell_default_route(&self, route: &Seen, tell: &mut dyn FnMut(HostEvent)) {
        tell(HostEvent::WaysOutChanged);
        if route.link.is_none_or(|link| self.bridges.has(link)) {
            tell(HostEvent::BridgesChanged);
        }
    }

    /// An address of the host's on a bridge of its administrator's came or went.
    fn tell_bridge(&self, link: u32, tell: &mut dyn FnMut(HostEvent)) {
        if self.bridges.has(link) {
            tell(HostEvent::BridgesChanged);
        }
    }

    fn tell_host(&self, link: u32, tell: &mut dyn FnMut(HostEvent)) {
        if !self.ours.contains_key(&link) {
            tell(HostEvent::HostsOwnChanged);
        }
    }

    /// What was lost may be what came with a gateway's address.
    fn tell_switch(&self, link: Option<u32>, tell: &mut dyn FnMut(HostEvent)) {
        let in_use = link.and_then(|link| self.ours.get(&link)).filter(|known| known.group == OURS);
        let Some(switch) = in_use.and_then(|known| known.name.parse::<IfName>().ok()) else { return };
        if matches!(Role::of(switch.as_str()), Some(Role::Segment { number: 0, .. })) {
            tell(HostEvent::SwitchChanged(switch));
        }
    }

    fn see_filter(&self, message: &Message<'_>, tell: &mut dyn FnMut(HostEvent)) {
        let link = match filters::changed(message) {
            None => return,
            Some(Place::Block) => return tell(HostEvent::FiltersChanged),
            Some(Place::Link(link)) => link,
        };
        // Ports that wait for the reaper need no filter any more.
        let in_use = self.ours.get(&link).filter(|known| known.group == OURS);
        if let Some(known) = in_use
            && Role::of(&known.name) == Some(Role::Port)
            && let Ok(name) = known.name.parse()
        {
            tell(HostEvent::FilterChanged(name));
        }
    }

    fn tell_reach(&self, route: &Seen, tell: &mut dyn FnMut(HostEvent)) {
        let ours = route.link.is_some_and(|link| self.ours.contains_key(&link));
        if !ours && route.is_reach() {
            tell(HostEvent::RoutesChanged(route.destination));
        }
    }
}

/// What it means that a link of ours bears this name no more.
fn gone(name: &str) -> Option<HostEvent> {
    match Role::of(name)? {
        Role::Port => name.parse().ok().map(HostEvent::PortGone),
        Role::Segment { switch, number: 0 } => Some(HostEvent::SwitchGone(switch)),
        Role::Segment { switch, .. } | Role::Trunk { switch, .. } | Role::Uplink { switch } => {
            Some(HostEvent::SwitchChanged(switch))
        }
        Role::Tunnel { .. } => Some(HostEvent::TunnelChanged),
    }
}
