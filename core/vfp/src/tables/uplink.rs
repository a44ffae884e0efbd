//! Where external switches meet their adapters.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hns_abi::{
    Addr, AddressKey, Map, OF_THE_HOST, OWNER_HOST, UPLINK_ONE_MAC, UPLINK_REFLECTED, Uplink, UplinkKey,
};
use hns_net::{Guid, UplinkMode};

use crate::model::Place;

use super::journal::Journal;
use super::{Entries, Tables, Write};

/// An external switch in the maps.
#[derive(Debug)]
pub(super) struct Joined {
    record: Uplink,
    /// What comes for these is the host's, whoever has them besides.
    hosts_own: BTreeSet<Addr>,
}

impl Tables {
    /// Makes the maps say where this external switch meets its adapter, and which addresses the host has there itself.
    pub fn set_uplink(&mut self, switch: Guid, place: Place, hosts_own: &BTreeSet<IpAddr>) -> Vec<Write> {
        let mut journal = Journal::default();
        let network = self.switches.take(switch);
        // Where the host has a station of its own, that tells what is its own.
        let hosts_own = hosts_own.iter().filter(|_| place.mode.has_one_mac());
        let hosts_own: BTreeSet<Addr> = hosts_own.map(|address| Addr::from(*address)).collect();
        let uplink = Uplink {
            adapter: place.adapter,
            vlan: place.vlan.map_or(0, |vlan| vlan.number().into()),
            port: place.port,
            network,
            mac: place.mac.octets(),
            flags: flags(place.mode),
        };
        // The host's first: until a frame finds the switch, it is the host's anyhow.
        hosts_own
            .iter()
            .for_each(|addr| journal.put(Map::Addresses, &key_of_hosts(network, *addr), &OWNER_HOST));
        journal.put(Map::Exits, &network, &uplink);
        for key in keys(&uplink) {
            journal.put(Map::Uplinks, &key, &uplink);
        }
        if let Some(before) = self.uplinks.remove(&switch) {
            let after = keys(&uplink);
            keys(&before.record).into_iter().filter(|key| !after.contains(key)).for_each(|key| {
                journal.delete(Map::Uplinks, &key);
            });
            let lost = before.hosts_own.difference(&hosts_own);
            lost.for_each(|addr| journal.delete(Map::Addresses, &key_of_hosts(network, *addr)));
            self.switches.give_back(switch);
        }
        self.uplinks.insert(switch, Joined { record: uplink, hosts_own });
        journal.writes
    }

    pub fn remove_uplink(&mut self, switch: Guid) -> Vec<Write> {
        let mut journal = Journal::default();
        if let Some(before) = self.uplinks.remove(&switch) {
            keys(&before.record).iter().for_each(|key| journal.delete(Map::Uplinks, key));
            journal.delete(Map::Exits, &before.record.network);
            for addr in before.hosts_own {
                journal.delete(Map::Addresses, &key_of_hosts(before.record.network, addr));
            }
            self.switches.give_back(switch);
        }
        journal.writes
    }
}

const fn flags(mode: UplinkMode) -> u16 {
    match mode {
        UplinkMode::Stations => 0,
        UplinkMode::OneMac => UPLINK_ONE_MAC,
        UplinkMode::Reflected => UPLINK_ONE_MAC | UPLINK_REFLECTED,
    }
}

/// By which frames find it: those of the adapter, and those of the bridge.
const fn keys(uplink: &Uplink) -> [UplinkKey; 2] {
    [UplinkKey { ifindex: uplink.adapter, vlan: uplink.vlan }, UplinkKey { ifindex: uplink.port, vlan: 0 }]
}

const fn key_of_hosts(network: u32, addr: Addr) -> AddressKey {
    AddressKey { network: network | OF_THE_HOST, addr }
}

pub(super) fn entries(joined: &Joined, all: &mut Entries) {
    let uplink = &joined.record;
    all.add(Map::Exits, &uplink.network, uplink);
    for key in keys(uplink) {
        all.add(Map::Uplinks, &key, uplink);
    }
    for addr in &joined.hosts_own {
        all.add(Map::Addresses, &key_of_hosts(uplink.network, *addr), &OWNER_HOST);
    }
}
