//! Whose a MAC address is on the LAN of an external switch, of its adapter or of an endpoint of any network there; and on an overlay,
//! of its router.

use hns_hcn::ErrorCode;
use hns_net::{Guid, IfName, Mac};

use crate::error::ModelError;
use crate::network::Network;
use crate::world::World;

impl Network {
    /// The station of an overlay's router on this host.
    fn router(&self) -> Option<Mac> {
        self.tunnel().map(|tunnel| tunnel.router)
    }

    /// Does something while none of these MAC addresses is given out.
    pub(crate) fn without_macs<T>(&mut self, macs: &[Mac], work: impl FnOnce(&mut Self) -> T) -> T {
        let id = self.id;
        let kept: Vec<Mac> = macs.iter().copied().filter(|mac| self.macs.claim(*mac, id).is_ok()).collect();
        let done = work(self);
        kept.into_iter().for_each(|mac| self.macs.release(mac));
        done
    }
}

impl World {
    /// Says which MAC address an adapter has: no endpoint on a switch of it gets it.
    pub fn set_adapter_mac(&mut self, adapter: IfName, mac: Mac) {
        self.adapter_macs.insert(adapter, mac);
    }

    /// Refuses a MAC address that somebody else has on the switch of this network: what comes for it would go to one of the two.
    pub(crate) fn check_station(&self, network: Guid, mac: Mac) -> Result<(), ModelError> {
        let refuse = |problem: String| {
            Err(ModelError::endpoint("MacAddress", problem, ErrorCode::ADDR_INVALID_OR_RESERVED))
        };
        let network = self.network(network)?;
        if network.router() == Some(mac) {
            return refuse(format!("{mac} is the router of network \"{}\" on this host", network.name()));
        }
        let Some(uplink) = network.uplink() else { return Ok(()) };
        let adapter = uplink.adapter;
        if self.adapter_macs.get(&adapter) == Some(&mac) {
            return refuse(format!(
                "{mac} is the address of adapter {adapter}, by which network \"{}\" is on its LAN",
                network.name()
            ));
        }
        let held = self.networks_beside(network).find_map(|other| Some((other, other.macs.holder(mac)?)));
        let Some((other, holder)) = held else { return Ok(()) };
        refuse(format!(
            "{mac} belongs to {} of network \"{}\", which is on the same LAN as network \"{}\"",
            self.describe_endpoint(holder),
            other.name(),
            network.name()
        ))
    }

    /// What this network would give out by itself and others have on its switch.
    pub(crate) fn macs_beside(&self, network: Guid) -> Result<Vec<Mac>, ModelError> {
        let network = self.network(network)?;
        let Some(uplink) = network.uplink() else { return Ok(network.router().into_iter().collect()) };
        let ranges = network.macs.ranges();
        let others = self.networks_beside(network).flat_map(|other| other.macs.held_in(ranges));
        Ok(others.chain(self.adapter_macs.get(&uplink.adapter).copied()).collect())
    }

    /// The other networks on its switch.
    fn networks_beside<'w>(&'w self, network: &Network) -> impl Iterator<Item = &'w Network> {
        let (id, switch) = (network.id, network.switch_id());
        self.networks().filter(move |other| other.id != id && other.switch_id() == switch)
    }
}
