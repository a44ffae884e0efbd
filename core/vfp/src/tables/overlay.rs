//! Networks whose containers are on several hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hns_abi::{Addr, AddressKey, Map, OVERLAY_HOSTED, OWNER_ROUTER, RouteKey, VniKey};
use hns_net::{Cidr, Family, Guid};

use crate::model::{Overlay, Route};

use super::journal::Journal;
use super::{Entries, Tables, Write};

/// An overlay in the maps.
#[derive(Debug)]
pub(super) struct Joined {
    network: u32,
    /// The number of its VXLAN device's link.
    tunnel: u32,
    overlay: Arc<Overlay>,
}

impl Tables {
    /// Makes the maps say what this host knows of an overlay, whose VXLAN device is the link of this number.
    pub fn set_overlay(&mut self, network: Guid, tunnel: u32, overlay: &Arc<Overlay>) -> Vec<Write> {
        let mut journal = Journal::default();
        let joined = Joined { network: self.switches.take(network), tunnel, overlay: Arc::clone(overlay) };
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
        remove_rest(joined.network, &was, &is, &mut journal);
        if before.is_some() {
            self.switches.give_back(network);
        }
        self.overlays.insert(network, joined);
        journal.writes
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
        hns_abi::Overlay {
            tunnel: self.tunnel,
            router: self.overlay.router.octets(),
            flags: if self.overlay.hosted { OVERLAY_HOSTED } else { 0 },
            provider: self.overlay.provider.into(),
        }
    }

    fn parts(&self) -> Parts {
        Parts {
            routes: self.overlay.routes.iter().map(|(prefix, route)| (*prefix, record_of(route))).collect(),
            gateways: self.overlay.gateways.iter().map(|gateway| Addr::from(*gateway)).collect(),
            vnis: self.overlay.vnis.iter().map(|vni| (self.tunnel, vni.number())).collect(),
        }
    }
}

fn record_of(route: &Route) -> hns_abi::Route {
    hns_abi::Route {
        provider: route.provider.into(),
        vni: route.vni.number(),
        router: route.router.octets(),
        zero: 0,
    }
}

/// Prefixes of IPv4 stand behind the 96 bits of their form.
fn route_key(network: u32, prefix: Cidr) -> RouteKey {
    let form = if prefix.family() == Family::V4 { 96 } else { 0 };
    RouteKey { prefixlen: 32 + form + u32::from(prefix.length()), network, addr: prefix.network().into() }
}

pub(super) fn entries(joined: &Joined, all: &mut Entries) {
    all.add(Map::Overlays, &joined.network, &joined.record());
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
