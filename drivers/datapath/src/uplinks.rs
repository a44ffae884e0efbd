//! External switches at their adapters: three programs, each held to its link by a file, so that they stay while no daemon runs.
//!
//! ```text
//!   eth0    ─┬─ ingress ─► adapter_in        a container's: into its namespace; everybody's: a copy into the bridge
//!            └─ egress ──► adapter_out       the same of what the host sends
//!   hnw…    ─── egress ──► uplink_out        from the bridge to eth0: to the host, or onto the wire
//! ```
//!
//! The programs at an adapter serve all its VLANs, and go with the last of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use hns_net::{Guid, IfName, Uplink};
use hns_vfp::model::Place;

use crate::link;
use crate::load::{Hook, Loaded};
use crate::netlink::Netlink;
use crate::pins::{self, Pins};
use crate::tcx::{Attached, Way};
use crate::tunnels::Tunnelled;
use crate::{DatapathError, HeldUplink};

/// What was joined, by the bridge's port.
#[derive(Debug, Default)]
pub(crate) struct Uplinks {
    joined: BTreeMap<IfName, (HeldUplink, Place)>,
    /// The overlays, by network: see tunnels.rs.
    pub(crate) overlays: BTreeMap<Guid, Tunnelled>,
    /// Whether programs of an older daemon were replaced, so that only ours may be found.
    upgraded: bool,
}

const AT_ADAPTER: [Hook; 2] = [Hook::AdapterIn, Hook::AdapterOut];

const fn way(hook: Hook) -> Way {
    match hook {
        Hook::AdapterIn | Hook::TunnelIn | Hook::TunnelNear => Way::Ingress,
        Hook::AdapterOut | Hook::UplinkOut => Way::Egress,
    }
}

/// Where the links are by now.
pub(crate) fn find(netlink: &Netlink, port: &IfName, uplink: &Uplink) -> Result<Place, DatapathError> {
    let index = |name: &IfName| {
        link::index(netlink, name)?.ok_or_else(|| DatapathError::NoSuchLink { name: name.clone() })
    };
    let (adapter, port) = (index(&uplink.adapter)?, index(port)?);
    let mac = link::mac(netlink, &uplink.adapter)?;
    let mac = mac.ok_or_else(|| DatapathError::NoSuchLink { name: uplink.adapter.clone() })?;
    Ok(Place { adapter, vlan: uplink.vlan, mac, port, mode: uplink.mode })
}

/// Takes the program off that a file holds; fine when there is none.
pub(crate) fn take_off(path: &Path) -> Result<(), DatapathError> {
    let failed = |source: io::Error| pins::failed("take off the program of", path, source);
    if let Some(held) = Attached::held_at(path).map_err(failed)? {
        held.detach().map_err(failed)?;
    }
    pins::remove(path)
}

impl Uplinks {
    /// Puts the programs where they belong, and keeps those that are there.
    pub(crate) fn join(
        &mut self,
        loaded: &Loaded,
        pins: &Pins,
        port: &IfName,
        held: HeldUplink,
        place: Place,
    ) -> Result<(), DatapathError> {
        if let Some((_, before)) = self.joined.get(port).filter(|(_, before)| *before != place) {
            let before = *before;
            self.release(pins, port, before)?;
        }
        // The bridge's side first: what the adapter's programs let in finds the way back.
        self.attach(loaded, pins, Hook::UplinkOut, place.port, port)?;
        for hook in AT_ADAPTER {
            self.attach(loaded, pins, hook, place.adapter, &held.uplink.adapter)?;
        }
        self.joined.insert(port.clone(), (held, place));
        Ok(())
    }

    pub(crate) fn joined_at(&mut self, port: &IfName) -> Option<(&mut HeldUplink, &Place)> {
        self.joined.get_mut(port).map(|(held, place)| (held, &*place))
    }

    pub(crate) fn attach(
        &self,
        loaded: &Loaded,
        pins: &Pins,
        hook: Hook,
        ifindex: u32,
        name: &IfName,
    ) -> Result<(), DatapathError> {
        if self.stands(loaded, pins, hook, ifindex)? {
            return Ok(());
        }
        let failed = |operation| {
            let link = name.clone();
            move |source| DatapathError::Hook { operation, link, source }
        };
        let path = pins.link(ifindex, hook.program());
        take_off(&path)?;
        let attached = Attached::first(loaded.hooked(hook)?, ifindex, way(hook)).map_err(|source| {
            match source.raw_os_error() {
                Some(libc::EINVAL) => DatapathError::NoSharing { link: name.clone(), source },
                Some(libc::ENODEV) => DatapathError::NoSuchLink { name: name.clone() },
                _ => failed("attach")(source),
            }
        })?;
        attached.hold(&path).map_err(failed("hold"))
    }

    /// Whether a program of ours is held to the link, or one of an older daemon that ours will replace.
    pub(crate) fn stands(
        &self,
        loaded: &Loaded,
        pins: &Pins,
        hook: Hook,
        ifindex: u32,
    ) -> Result<bool, DatapathError> {
        let path = pins.link(ifindex, hook.program());
        let failed = |source: io::Error| pins::failed("look at", &path, source);
        let Some(held) = Attached::held_at(&path).map_err(failed)? else { return Ok(false) };
        let found = held.look().map_err(failed)?;
        let is_ours = |program| !self.upgraded || loaded.hooked_number(hook) == Some(program);
        Ok(found.is_some_and(|(at, program)| at == ifindex && is_ours(program)))
    }

    /// Takes the programs off, and says what was joined.
    pub(crate) fn leave(&mut self, pins: &Pins, port: &IfName) -> Result<Option<Uplink>, DatapathError> {
        let Some((_, place)) = self.joined.get(port) else { return Ok(None) };
        let place = *place;
        self.release(pins, port, place)?;
        Ok(self.joined.remove(port).map(|(held, _)| held.uplink))
    }

    /// Takes off what was put there before something failed. What cannot be taken off now is replaced by the next try.
    pub(crate) fn abandon(&mut self, pins: &Pins, port: &IfName, place: Place) {
        let _the_first_failure_is_told = self.release(pins, port, place);
        self.joined.remove(port);
    }

    fn release(&self, pins: &Pins, port: &IfName, place: Place) -> Result<(), DatapathError> {
        let mut others = self.joined.iter().filter(|(other, _)| *other != port);
        if !others.any(|(_, (_, other))| other.adapter == place.adapter) {
            for hook in AT_ADAPTER {
                take_off(&pins.link(place.adapter, hook.program()))?;
            }
        }
        take_off(&pins.link(place.port, Hook::UplinkOut.program()))
    }

    /// What stands as it was joined.
    pub(crate) fn held(
        &self,
        loaded: &Loaded,
        pins: &Pins,
        netlink: &Netlink,
    ) -> Result<BTreeMap<IfName, HeldUplink>, DatapathError> {
        let mut standing = BTreeMap::new();
        for (port, (held, place)) in &self.joined {
            match find(netlink, port, &held.uplink) {
                Ok(now) if now == *place => {}
                Ok(_) | Err(DatapathError::NoSuchLink { .. }) => continue,
                Err(error) => return Err(error),
            }
            let mut whole = self.stands(loaded, pins, Hook::UplinkOut, place.port)?;
            for hook in AT_ADAPTER {
                whole &= self.stands(loaded, pins, hook, place.adapter)?;
            }
            if whole {
                standing.insert(port.clone(), held.clone());
            }
        }
        Ok(standing)
    }

    /// Puts our programs in the place of an older daemon's, and takes off what nobody joined since.
    pub(crate) fn upgrade(&mut self, loaded: &Loaded, pins: &Pins) -> Result<(), DatapathError> {
        let mut wanted = BTreeSet::new();
        for place in self.joined.values().map(|(_, place)| place) {
            wanted.insert((place.port, Hook::UplinkOut));
            wanted.extend(AT_ADAPTER.map(|hook| (place.adapter, hook)));
        }
        let programs = self.overlays.values().flat_map(Tunnelled::programs);
        wanted.extend(programs.map(|(hook, number)| (number, hook)));
        let kept: BTreeSet<_> =
            wanted.iter().map(|(ifindex, hook)| pins.link(*ifindex, hook.program())).collect();
        for (ifindex, hook) in wanted {
            let path = pins.link(ifindex, hook.program());
            let failed = |source: io::Error| pins::failed("replace the program of", &path, source);
            if let Some(held) = Attached::held_at(&path).map_err(failed)? {
                match held.replace(loaded.hooked(hook)?) {
                    // ENOLINK: it was taken off meanwhile, which the next look finds.
                    Err(source) if source.raw_os_error() != Some(libc::ENOLINK) => {
                        return Err(failed(source));
                    }
                    _ => {}
                }
            }
        }
        for (_, path) in pins.links()? {
            if !kept.contains(&path) {
                take_off(&path)?;
            }
        }
        self.upgraded = true;
        Ok(())
    }
}
