//! Overlays at the VXLAN devices that lead to other hosts: one program a device, for all overlays of its UDP port.

use std::collections::BTreeMap;
use std::sync::Arc;

use hns_net::{Guid, IfName};
use hns_vfp::model::Overlay;

use crate::DatapathError;
use crate::link;
use crate::load::{Hook, Loaded};
use crate::netlink::Netlink;
use crate::pins::Pins;
use crate::uplinks::{Uplinks, take_off};

/// An overlay that the programs know.
#[derive(Debug)]
pub(crate) struct Tunnelled {
    overlay: Arc<Overlay>,
    name: IfName,
    /// The number of the device's link.
    pub(crate) device: u32,
}

impl Uplinks {
    /// Takes what comes out of the device, and keeps the program that does.
    pub(crate) fn open_tunnel(
        &mut self,
        loaded: &Loaded,
        pins: &Pins,
        network: Guid,
        (name, device): (&IfName, u32),
        overlay: &Arc<Overlay>,
    ) -> Result<(), DatapathError> {
        if self.overlays.get(&network).is_some_and(|before| before.device != device) {
            self.close_tunnel(pins, network)?;
        }
        self.attach(loaded, pins, Hook::TunnelIn, device, name)?;
        self.overlays.insert(network, Tunnelled { overlay: Arc::clone(overlay), name: name.clone(), device });
        Ok(())
    }

    /// Takes the program off with the last overlay of its device; fine when there is none.
    pub(crate) fn close_tunnel(&mut self, pins: &Pins, network: Guid) -> Result<(), DatapathError> {
        let Some(before) = self.overlays.get(&network) else { return Ok(()) };
        let mut others = self.overlays.iter().filter(|(other, _)| **other != network);
        if !others.any(|(_, other)| other.device == before.device) {
            take_off(&pins.link(before.device, Hook::TunnelIn.program()))?;
        }
        self.overlays.remove(&network);
        Ok(())
    }

    /// All overlays, each with the number of its device's link.
    pub(crate) fn known_overlays(&self) -> BTreeMap<Guid, (u32, Arc<Overlay>)> {
        let known = self.overlays.iter();
        known.map(|(network, known)| (*network, (known.device, Arc::clone(&known.overlay)))).collect()
    }

    /// The overlays whose device is there, with its program.
    pub(crate) fn open_tunnels(
        &self,
        loaded: &Loaded,
        pins: &Pins,
        netlink: &Netlink,
    ) -> Result<BTreeMap<Guid, Arc<Overlay>>, DatapathError> {
        let mut standing = BTreeMap::new();
        for (network, known) in &self.overlays {
            if link::index(netlink, &known.name)? == Some(known.device)
                && self.stands(loaded, pins, Hook::TunnelIn, known.device)?
            {
                standing.insert(*network, Arc::clone(&known.overlay));
            }
        }
        Ok(standing)
    }
}
