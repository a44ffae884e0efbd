//! Overlays at the VXLAN devices that lead to other hosts: one program a device, for all overlays that use it. Another one stands at the
//! adapter where tunnels end, and takes small packets before the host sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hns_abi::{Addr, AddressKey, Map};
use hns_net::{Guid, IfName};
use hns_vfp::model::{Devices, Overlay};
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
    /// Its device, with the number of its link.
    tunnel: (IfName, u32),
    /// Of an encrypted one, that by which it would come in clear.
    clear: Option<(IfName, u32)>,
    /// The number of the adapter's link, if small packets are taken there.
    near: Option<u32>,
}

impl Tunnelled {
    pub(crate) fn find(
        netlink: &mut Netlink,
        device: &IfName,
        clear: Option<&IfName>,
        overlay: &Arc<Overlay>,
    ) -> Result<Self, DatapathError> {
        let find = |name: &IfName| {
            let number = link::index(netlink, name)?;
            let number = number.ok_or_else(|| DatapathError::NoSuchLink { name: name.clone() })?;
            Ok::<_, DatapathError>((name.clone(), number))
        };
        let (tunnel, clear) = (find(device)?, clear.map(find).transpose()?);
        let near = near(netlink, overlay)?;
        Ok(Self { overlay: Arc::clone(overlay), tunnel, clear, near })
    }

    pub(crate) fn devices(&self) -> Devices {
        Devices { tunnel: self.tunnel.1, clear: self.clear.as_ref().map(|(_, number)| *number) }
    }

    fn links(&self) -> impl Iterator<Item = &(IfName, u32)> {
        std::iter::once(&self.tunnel).chain(&self.clear)
    }

    /// The device of this number; of the adapter's, the one whose work it does.
    fn name_of(&self, number: u32) -> &IfName {
        self.links().find(|(_, device)| *device == number).map_or(&self.tunnel.0, |(name, _)| name)
    }

    /// The programs that it needs, each at the link of this number.
    pub(crate) fn programs(&self) -> impl Iterator<Item = (Hook, u32)> {
        let at_devices = self.links().map(|(_, number)| (Hook::TunnelIn, *number));
        at_devices.chain(self.near.map(|number| (Hook::TunnelNear, number)))
    }
}

impl Uplinks {
    /// Takes what comes out of the devices, and keeps the program that does.
    pub(crate) fn open_tunnel(
        &mut self,
        loaded: &Loaded,
        pins: &Pins,
        network: Guid,
        tunnelled: Tunnelled,
    ) -> Result<(), DatapathError> {
        let places = |tunnelled: &Tunnelled| (tunnelled.devices(), tunnelled.near);
        if self.overlays.get(&network).is_some_and(|before| places(before) != places(&tunnelled)) {
            self.close_tunnel(pins, network)?;
        }
        for (hook, number) in tunnelled.programs() {
            self.attach(loaded, pins, hook, number, tunnelled.name_of(number))?;
        }
        self.overlays.insert(network, tunnelled);
        Ok(())
    }

    /// Takes the program off with the last overlay of a device; fine when there is none.
    pub(crate) fn close_tunnel(&mut self, pins: &Pins, network: Guid) -> Result<(), DatapathError> {
        let Some(before) = self.overlays.get(&network) else { return Ok(()) };
        let others = self.overlays.iter().filter(|(other, _)| **other != network);
        let needed: Vec<_> = others.flat_map(|(_, other)| other.programs()).collect();
        for (hook, number) in before.programs().filter(|program| !needed.contains(program)) {
            take_off(&pins.link(number, hook.program()))?;
        }
        self.overlays.remove(&network);
        Ok(())
    }

    /// All overlays, each with its devices.
    pub(crate) fn known_overlays(&self) -> BTreeMap<Guid, (Devices, Arc<Overlay>)> {
        let known = self.overlays.iter();
        known.map(|(network, known)| (*network, (known.devices(), Arc::clone(&known.overlay)))).collect()
    }

    /// Where the tunnels of its other hosts end.
    pub(crate) fn hosts_of(&self, network: Guid) -> BTreeSet<IpAddr> {
        let routes = self.overlays.get(&network).into_iter().flat_map(|known| known.overlay.routes.values());
        routes.map(|route| route.provider).collect()
    }

    /// The overlays whose devices are there, with their program.
    pub(crate) fn open_tunnels(
        &self,
        loaded: &Loaded,
        pins: &Pins,
        netlink: &mut Netlink,
    ) -> Result<BTreeMap<Guid, Arc<Overlay>>, DatapathError> {
        let mut standing = BTreeMap::new();
        for (network, known) in &self.overlays {
            let mut stands = known.near == near(netlink, &known.overlay)?;
            for (name, number) in known.links() {
                stands = stands && link::index(netlink, name)? == Some(*number);
            }
            for (hook, number) in known.programs() {
                stands = stands && self.stands(loaded, pins, hook, number)?;
            }
            if stands {
                standing.insert(*network, Arc::clone(&known.overlay));
            }
        }
        Ok(standing)
    }
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
