//! Overlays at the VXLAN devices that lead to other hosts: one program a device, for all overlays of its UDP port. Another one stands at
//! the adapter where tunnels end, and takes small packets before the host sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hns_abi::{Addr, AddressKey, Map};
use hns_net::{Guid, IfName};
use hns_vfp::model::Overlay;
use zerocopy::IntoBytes;

use crate::link;
use crate::load::{Hook, Loaded};
use crate::netlink::Netlink;
use crate::pins::Pins;
use crate::uplinks::{Uplinks, take_off};
use crate::{DatapathError, clock};

/// An overlay that the programs know.
#[derive(Debug)]
pub(crate) struct Tunnelled {
    overlay: Arc<Overlay>,
    name: IfName,
    /// The number of the device's link.
    pub(crate) device: u32,
    /// The adapter's, if small packets are taken there.
    pub(crate) near: Option<u32>,
}

impl Uplinks {
    /// Takes what comes out of the device, and keeps the program that does.
    pub(crate) fn open_tunnel(
        &mut self,
        loaded: &Loaded,
        pins: &Pins,
        network: Guid,
        (name, device): (&IfName, u32),
        near: Option<u32>,
        overlay: &Arc<Overlay>,
    ) -> Result<(), DatapathError> {
        let elsewhere = |before: &Tunnelled| (before.device, before.near) != (device, near);
        if self.overlays.get(&network).is_some_and(elsewhere) {
            self.close_tunnel(pins, network)?;
        }
        self.attach(loaded, pins, Hook::TunnelIn, device, name)?;
        if let Some(near) = near {
            self.attach(loaded, pins, Hook::TunnelNear, near, name)?;
        }
        let overlay = Arc::clone(overlay);
        self.overlays.insert(network, Tunnelled { overlay, name: name.clone(), device, near });
        Ok(())
    }

    /// Takes the program off with the last overlay of its device; fine when there is none.
    pub(crate) fn close_tunnel(&mut self, pins: &Pins, network: Guid) -> Result<(), DatapathError> {
        let Some(before) = self.overlays.get(&network) else { return Ok(()) };
        let mut others = self.overlays.iter().filter(|(other, _)| **other != network).map(|(_, other)| other);
        if let Some(near) = before.near.filter(|_| !others.clone().any(|other| other.near == before.near)) {
            take_off(&pins.link(near, Hook::TunnelNear.program()))?;
        }
        if !others.any(|other| other.device == before.device) {
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

    /// Where the tunnels of its other hosts end.
    pub(crate) fn hosts_of(&self, network: Guid) -> BTreeSet<IpAddr> {
        let routes = self.overlays.get(&network).into_iter().flat_map(|known| known.overlay.routes.values());
        routes.map(|route| route.provider).collect()
    }

    /// The overlays whose device is there, with its program.
    pub(crate) fn open_tunnels(
        &self,
        loaded: &Loaded,
        pins: &Pins,
        netlink: &mut Netlink,
    ) -> Result<BTreeMap<Guid, Arc<Overlay>>, DatapathError> {
        let mut standing = BTreeMap::new();
        for (network, known) in &self.overlays {
            let is_near = known.near == near(netlink, &known.overlay)?;
            let takes_there = known.near.map(|near| self.stands(loaded, pins, Hook::TunnelNear, near));
            if is_near
                && takes_there.unwrap_or(Ok(true))?
                && link::index(netlink, &known.name)? == Some(known.device)
                && self.stands(loaded, pins, Hook::TunnelIn, known.device)?
            {
                standing.insert(*network, Arc::clone(&known.overlay));
            }
        }
        Ok(standing)
    }
}

/// The numbers of the VXLAN device's link and of the adapter's.
pub(crate) fn places(
    netlink: &mut Netlink,
    device: &IfName,
    overlay: &Overlay,
) -> Result<(u32, Option<u32>), DatapathError> {
    let number = link::index(netlink, device)?;
    let number = number.ok_or_else(|| DatapathError::NoSuchLink { name: device.clone() })?;
    Ok((number, near(netlink, overlay)?))
}

/// The adapter at which the small packets of an overlay are taken; none where its address is on none, or wanders.
fn near(netlink: &mut Netlink, overlay: &Overlay) -> Result<Option<u32>, DatapathError> {
    match overlay.provider {
        IpAddr::V4(provider) if overlay.direct => link::having(netlink, provider),
        _ => Ok(None),
    }
}

/// Lets a host be heard, as the program of the device does.
pub(crate) fn hear(loaded: &Loaded, network: u32, host: IpAddr) -> Result<(), DatapathError> {
    let key = AddressKey { network, addr: Addr::from(host) };
    let heard = loaded.map(Map::Heard).put(key.as_bytes(), &clock::now().to_ne_bytes());
    heard.map_err(|source| DatapathError::Map { operation: "write", map: Map::Heard.name(), source })
}

/// How long ago each of these hosts was heard on the overlay that the maps know by this number.
pub(crate) fn heard(
    loaded: &Loaded,
    network: u32,
    hosts: &BTreeSet<IpAddr>,
) -> Result<BTreeMap<IpAddr, Duration>, DatapathError> {
    let failed = |source| DatapathError::Map { operation: "read", map: Map::Heard.name(), source };
    let mut times = BTreeMap::new();
    for host in hosts {
        let key = AddressKey { network, addr: Addr::from(*host) };
        let value = loaded.map(Map::Heard).get(key.as_bytes()).map_err(failed)?;
        let then = value.and_then(|value| Some(u64::from_ne_bytes(value.try_into().ok()?)));
        times.extend(then.map(|then| (*host, clock::since(then))));
    }
    Ok(times)
}
