//! Where external switches meet their adapters.

use hns_abi::{Map, UPLINK_ONE_MAC, Uplink, UplinkKey};
use hns_net::Guid;

use crate::model::Place;

use super::journal::Journal;
use super::{Entries, Tables, Write};

impl Tables {
    /// Makes the maps say where this external switch meets its adapter.
    pub fn set_uplink(&mut self, switch: Guid, place: Place) -> Vec<Write> {
        let mut journal = Journal::default();
        let network = self.switches.take(switch);
        let uplink = Uplink {
            adapter: place.adapter,
            vlan: place.vlan.map_or(0, |vlan| vlan.number().into()),
            port: place.port,
            network,
            mac: place.mac.octets(),
            flags: if place.one_mac { UPLINK_ONE_MAC } else { 0 },
        };
        let before = self.uplinks.insert(switch, uplink);
        journal.put(Map::Exits, &network, &uplink);
        for key in keys(&uplink) {
            journal.put(Map::Uplinks, &key, &uplink);
        }
        if let Some(before) = before {
            let after = keys(&uplink);
            keys(&before).into_iter().filter(|key| !after.contains(key)).for_each(|key| {
                journal.delete(Map::Uplinks, &key);
            });
            self.switches.give_back(switch);
        }
        journal.writes
    }

    pub fn remove_uplink(&mut self, switch: Guid) -> Vec<Write> {
        let mut journal = Journal::default();
        if let Some(before) = self.uplinks.remove(&switch) {
            keys(&before).iter().for_each(|key| journal.delete(Map::Uplinks, key));
            journal.delete(Map::Exits, &before.network);
            self.switches.give_back(switch);
        }
        journal.writes
    }
}

/// By which frames find it: those of the adapter, and those of the bridge.
const fn keys(uplink: &Uplink) -> [UplinkKey; 2] {
    [UplinkKey { ifindex: uplink.adapter, vlan: uplink.vlan }, UplinkKey { ifindex: uplink.port, vlan: 0 }]
}

pub(super) fn entries(uplink: &Uplink, all: &mut Entries) {
    all.add(Map::Exits, &uplink.network, uplink);
    for key in keys(uplink) {
        all.add(Map::Uplinks, &key, uplink);
    }
}
