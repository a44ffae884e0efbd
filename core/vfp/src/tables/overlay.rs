//! Networks whose containers are on several hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hns_abi::{
    Addr, AddressKey, Map, OVERLAY_DIRECT, OVERLAY_HOSTED, OWNER_ROUTER, ROUTE_ON_LINK, RouteKey, TunnelEnd,
    VniKey,
};
use hns_net::{Cidr, Family, Guid};

use crate::model::{Devices, Overlay, Route};

use super::journal::Journal;
use super::{Entries, Tables, Write};

/// An overlay in the maps.
#[derive(Debug)]
pub(super) struct Joined {
    network: u32,
    devices: Devices,
    overlay: Arc<Overlay>,
}

impl Tables {
    /// Makes the maps say what this host knows of an overlay with these VXLAN devices.
    pub fn set_overlay(&mut self, network: Guid, devices: Devices, overlay: &Arc<Overlay>) -> Vec<Write> {
        let mut journal = Journal::default();
        let joined = Joined { network: self.switches.take(network), devices, overlay: Arc::clone(overlay) };
        let before = self.overlays.remove(&network);
        let (was, is) = (before.as_ref().map(Joined::parts).unwrap_or_default(), joined.parts());
        // What leads out comes before what lets in, so that nobody hears a question whose answer is lost.
        is.routes.iter().filter(|(key, route)| was.routes.get(*key) != Some(*route)).for_each(
            |(key, route)| {
                journal.put(Map::Routes, &route_key(joined.network, *key), route);
            },
        );
        is.gateways.difference(&was.gateways).for_each(|addr| {
            journal.put(Map::Addresses, &AddressKey { network: joined.network, addr: *addr }, &OWNER_ROUTER);
        });
        if before.as_ref().map(Joined::record) != Some(joined.record()) {
            journal.put(Map::Overlays, &joined.network, &joined.record());
        }
        is.vnis.difference(&was.vnis).for_each(|(tunnel, vni)| {
            journal.put(Map::Vnis, &VniKey { tunnel: *tunnel, vni: *vni }, &joined.network);
        });
        let (was_end, end) = (before.as_ref().and_then(Joined::end), joined.end());
        let is_known = before.as_ref().is_some_and(|before| before.devices == devices) && was_end == end;
        if let Some(end) = end.filter(|_| !is_known) {
            journal.put(Map::TunnelEnds, &end, &devices.tunnel);
        }
        if let Some(end) = was_end.filter(|was| Some(*was) != end && !self.ends(was)) {
            journal.delete(Map::TunnelEnds, &end);
        }
        remove_rest(joined.network, &was, &is, &mut journal);
        if before.is_some() {
            self.switches.give_back(network);
        }
        self.overlays.insert(network, joined);
        journal.writes
    }

    /// Whether a tunnel of some overlay ends there, whose small packets are taken at the adapter.
    fn ends(&self, end: &TunnelEnd) -> bool {
        self.overlays.values().any(|joined| joined.end() == Some(*end))
    }

    /// What the maps say of an overlay.
    #[must_use]
    pub fn overlay(&self, network: Guid) -> Option<(Devices, Arc<Overlay>)> {
        self.overlays.get(&network).map(|joined| (joined.devices, Arc::clone(&joined.overlay)))
    }

    /// Under which number the maps know an overlay.
    #[must_use]
    pub fn overlay_number(&self, network: Guid) -> Option<u32> {
        self.overlays.get(&network).map(|joined| joined.network)
    }

    /// Which host of an overlay has an address.
    #[must_use]
    pub fn route_to(&self, network: Guid, address: IpAddr) -> Option<&Route> {
        self.overlays.get(&network)?.overlay.route_to(address)
    }

    pub fn remove_overlay(&mut self, network: Guid) -> Vec<Write> {
        let mut journal = Journal::default();
        if let Some(before) = self.overlays.remove(&network) {
            if let Some(end) = before.end().filter(|end| !self.ends(end)) {
                journal.delete(Map::TunnelEnds, &end);
            }
            remove_rest(before.network, &before.parts(), &Parts::default(), &mut journal);
            journal.delete(Map::Overlays, &before.network);
            self.switches.give_back(network);
        }
        journal.writes
    }
}

/// What its maps hold one by one.
#[derive(Debug, Default)]
struct Parts {
    routes: BTreeMap<Cidr, hns_abi::Route>,
    gateways: BTreeSet<Addr>,
    /// By tunnel.
    vnis: BTreeSet<(u32, u32)>,
}

fn remove_rest(network: u32, was: &Parts, is: &Parts, journal: &mut Journal) {
    for (tunnel, vni) in was.vnis.difference(&is.vnis) {
        journal.delete(Map::Vnis, &VniKey { tunnel: *tunnel, vni: *vni });
    }
    for addr in was.gateways.difference(&is.gateways) {
        journal.delete(Map::Addresses, &AddressKey { network, addr: *addr });
    }
    for prefix in was.routes.keys().filter(|prefix| !is.routes.contains_key(prefix)) {
        journal.delete(Map::Routes, &route_key(network, *prefix));
    }
}

impl Joined {
    fn record(&self) -> hns_abi::Overlay {
        let flags = [(self.overlay.hosted, OVERLAY_HOSTED), (self.end().is_some(), OVERLAY_DIRECT)];
        hns_abi::Overlay {
            tunnel: self.devices.tunnel,
            router: self.overlay.router.octets(),
            flags: flags.into_iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag),
            provider: self.overlay.provider.into(),
            udp_port: self.overlay.udp_port.to_be_bytes(),
            zero: 0,
        }
    }

    /// Where small packets are taken at the adapter. Over IPv6 the outer checksum covers all of a packet: none are.
    fn end(&self) -> Option<TunnelEnd> {
        let IpAddr::V4(provider) = self.overlay.provider else { return None };
        let end =
            TunnelEnd { provider: provider.octets(), udp_port: self.overlay.udp_port.to_be_bytes(), zero: 0 };
        self.overlay.direct.then_some(end)
    }

    fn parts(&self) -> Parts {
        Parts {
            routes: self.overlay.routes.iter().map(|(prefix, route)| (*prefix, record_of(route))).collect(),
            gateways: self.overlay.gateways.iter().map(|gateway| Addr::from(*gateway)).collect(),
            // What comes by the other device is known, too, so that its drop has a name.
            vnis: std::iter::once(self.devices.tunnel)
                .chain(self.devices.clear)
                .flat_map(|device| self.overlay.vnis.iter().map(move |vni| (device, vni.number())))
                .collect(),
        }
    }
}

fn record_of(route: &Route) -> hns_abi::Route {
    hns_abi::Route {
        provider: route.provider.into(),
        vni: route.vni.number(),
        station: route.station.octets(),
        flags: if route.on_link { ROUTE_ON_LINK } else { 0 },
    }
}

/// Prefixes of IPv4 stand behind the 96 bits of their form.
fn route_key(network: u32, prefix: Cidr) -> RouteKey {
    let form = if prefix.family() == Family::V4 { 96 } else { 0 };
    RouteKey { prefixlen: 32 + form + u32::from(prefix.length()), network, addr: prefix.network().into() }
}

pub(super) fn entries(joined: &Joined, all: &mut Entries) {
    all.add(Map::Overlays, &joined.network, &joined.record());
    if let Some(end) = joined.end() {
        all.add(Map::TunnelEnds, &end, &joined.devices.tunnel);
    }
    let parts = joined.parts();
    for (prefix, route) in &parts.routes {
        all.add(Map::Routes, &route_key(joined.network, *prefix), route);
    }
    for addr in &parts.gateways {
        all.add(Map::Addresses, &AddressKey { network: joined.network, addr: *addr }, &OWNER_ROUTER);
    }
    for (tunnel, vni) in &parts.vnis {
        all.add(Map::Vnis, &VniKey { tunnel: *tunnel, vni: *vni }, &joined.network);
    }
}
