//! What a [`FakeHost`](super::FakeHost) remembers, and how it looks from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hns_net::{Cidr, IfAddr, IfName, Transport};
use hns_planner::{
    Announcement, Element, Forwarding, Home, Observed, ObservedPort, ObservedSwitch, Port, Switch, Target,
};

use super::Valve;
use crate::{HostError, PortHolder};

/// A namespace's number, as an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SpaceId(pub u64);

pub(super) const HOST: SpaceId = SpaceId(1);

#[derive(Debug, Clone)]
pub(super) enum Link {
    Bridge(Bridge),
    Port(PluggedPort),
}

#[derive(Debug, Clone)]
pub(super) struct Bridge {
    pub switch: Switch,
    pub up: bool,
}

#[derive(Debug, Clone)]
pub(super) struct PluggedPort {
    pub port: Port,
    /// Where the far end is.
    pub space: SpaceId,
    pub bridge: Option<IfName>,
    pub up: bool,
    /// Unplugged: in the reaper's group.
    pub doomed: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Space {
    pub links: BTreeMap<IfName, Link>,
}

#[derive(Debug)]
pub(super) struct Kernel {
    pub calls: usize,
    pub fail_at: Option<usize>,
    next_space: u64,
    pub spaces: BTreeMap<SpaceId, Space>,
    pub paths: BTreeMap<PathBuf, SpaceId>,
    /// The paths of the namespaces that we made.
    pub ours: BTreeSet<PathBuf>,
    pub elements: Option<BTreeSet<Element>>,
    pub forwarding: Forwarding,
    pub announcements: Vec<Announcement>,
    pub routes: Vec<Cidr>,
    pub addresses: Vec<(IfName, IfAddr)>,
    pub holders: Vec<(Transport, PortHolder)>,
    pub watchers: Vec<Arc<Valve>>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            calls: 0,
            fail_at: None,
            next_space: HOST.0 + 1,
            spaces: BTreeMap::from([(HOST, Space::default())]),
            paths: BTreeMap::new(),
            ours: BTreeSet::new(),
            elements: None,
            forwarding: Forwarding::default(),
            announcements: Vec::new(),
            routes: Vec::new(),
            addresses: Vec::new(),
            holders: Vec::new(),
            watchers: Vec::new(),
        }
    }
}

impl Kernel {
    pub fn make_namespace(&mut self, path: PathBuf) {
        if !self.paths.contains_key(&path) {
            let id = SpaceId(self.next_space);
            self.next_space += 1;
            self.spaces.insert(id, Space::default());
            self.paths.insert(path, id);
        }
    }

    /// Returns the host ends elsewhere that went with it, as a veth goes with its peer.
    pub fn remove_namespace(&mut self, path: &Path) -> Vec<IfName> {
        self.ours.remove(path);
        let Some(id) = self.paths.remove(path) else { return Vec::new() };
        self.spaces.remove(&id);
        let mut gone = Vec::new();
        for space in self.spaces.values_mut() {
            space.links.retain(|name, link| {
                let orphan = matches!(link, Link::Port(port) if port.space == id);
                if orphan && matches!(link, Link::Port(port) if !port.doomed) {
                    gone.push(name.clone());
                }
                !orphan
            });
        }
        gone
    }

    pub fn space_of_home(&self, home: &Home) -> Result<SpaceId, HostError> {
        match home {
            Home::Host => Ok(HOST),
            Home::Apart(path) => self.space_at(path),
        }
    }

    pub fn space_of_target(&self, target: &Target) -> Result<SpaceId, HostError> {
        match target {
            Target::Host | Target::Engine => Ok(HOST),
            Target::Path(path) => self.space_at(path),
        }
    }

    fn space_at(&self, path: &Path) -> Result<SpaceId, HostError> {
        self.paths.get(path).copied().ok_or_else(|| HostError::NoSuchNamespace { path: path.to_owned() })
    }

    pub fn links_in(&mut self, home: &Home) -> Result<&mut BTreeMap<IfName, Link>, HostError> {
        let id = self.space_of_home(home)?;
        Ok(&mut self.spaces.entry(id).or_default().links)
    }

    pub fn find(&self, home: &Home, name: &IfName) -> Option<&Link> {
        let id = self.space_of_home(home).ok()?;
        self.spaces.get(&id)?.links.get(name)
    }

    pub fn bridge(&self, home: &Home, name: &IfName) -> Result<&Bridge, HostError> {
        match self.find(home, name) {
            Some(Link::Bridge(bridge)) => Ok(bridge),
            _ => Err(HostError::NoSuchLink { name: name.clone() }),
        }
    }

    pub fn port(&self, home: &Home, name: &IfName) -> Result<&PluggedPort, HostError> {
        match self.find(home, name) {
            Some(Link::Port(port)) => Ok(port),
            _ => Err(HostError::NoSuchLink { name: name.clone() }),
        }
    }

    pub fn interfaces_in(&self, space: SpaceId) -> Vec<IfName> {
        let here = self.spaces.get(&space).into_iter().flat_map(|space| space.links.keys().cloned());
        let far_ends =
            self.spaces.values().flat_map(|space| space.links.values()).filter_map(|link| match link {
                Link::Port(port) if port.space == space => Some(port.port.interface.clone()),
                _ => None,
            });
        let mut names: BTreeSet<IfName> = here.chain(far_ends).collect();
        names.extend("lo".parse());
        names.into_iter().collect()
    }

    pub fn host_bridges(&self) -> impl Iterator<Item = &IfName> {
        self.spaces[&HOST]
            .links
            .iter()
            .filter(|(_, link)| matches!(link, Link::Bridge(_)))
            .map(|(name, _)| name)
    }

    pub fn all_addresses(&self) -> Vec<(IfName, IfAddr)> {
        let gateways = self.spaces[&HOST].links.iter().flat_map(|(name, link)| match link {
            Link::Bridge(bridge) => {
                bridge.switch.gateways.iter().map(|gateway| (name.clone(), *gateway)).collect()
            }
            Link::Port(_) => Vec::new(),
        });
        self.addresses.iter().cloned().chain(gateways).collect()
    }

    /// Returns what went: the link, and for a bridge nothing more, since its ports stay without one.
    pub fn delete_link(&mut self, name: &IfName) -> Vec<(IfName, Link)> {
        let mut gone = Vec::new();
        for space in self.spaces.values_mut() {
            if let Some(link) = space.links.remove(name) {
                gone.push((name.clone(), link));
                space.release_ports_of(name);
            }
        }
        gone
    }

    pub fn lose_bridge(&mut self, name: &IfName) -> bool {
        let mut found = false;
        for space in self.spaces.values_mut() {
            if let Some(Link::Port(port)) = space.links.get_mut(name) {
                port.bridge = None;
                found = true;
            }
        }
        found
    }

    pub fn observe_everything(&self, apart: &[PathBuf]) -> Observed {
        let mut observed = Observed {
            namespaces: self.ours.clone(),
            rules: self.elements.clone(),
            forwarding: self.forwarding,
            ..Observed::default()
        };
        let homes = std::iter::once(Home::Host).chain(apart.iter().cloned().map(Home::Apart));
        for home in homes {
            let Ok(id) = self.space_of_home(&home) else { continue };
            for (name, link) in self.spaces.get(&id).into_iter().flat_map(|space| &space.links) {
                match link {
                    Link::Bridge(bridge) => {
                        observed.switches.insert(name.clone(), bridge.observe(&home));
                    }
                    Link::Port(port) => {
                        observed.ports.insert(name.clone(), port.observe(&home));
                    }
                }
            }
        }
        observed
    }

    pub fn observe_switch(&self, name: &IfName, home: &Home) -> Observed {
        let mut observed = Observed { forwarding: self.forwarding, ..Observed::default() };
        if let Home::Apart(path) = home
            && self.ours.contains(path)
        {
            observed.namespaces.insert(path.clone());
        }
        if let Some(Link::Bridge(bridge)) = self.find(home, name) {
            observed.switches.insert(name.clone(), bridge.observe(home));
        }
        observed
    }

    pub fn observe_port(&self, name: &IfName, home: &Home) -> Observed {
        let mut observed = Observed::default();
        if let Some(Link::Port(port)) = self.find(home, name) {
            observed.ports.insert(name.clone(), port.observe(home));
        }
        observed
    }
}

impl Space {
    pub fn release_ports_of(&mut self, switch: &IfName) {
        for link in self.links.values_mut() {
            if let Link::Port(port) = link
                && port.bridge.as_ref().is_some_and(|bridge| is_segment_of(bridge, switch))
            {
                port.bridge = None;
            }
        }
    }
}

impl Bridge {
    fn observe(&self, home: &Home) -> ObservedSwitch {
        ObservedSwitch {
            home: home.clone(),
            up: self.up,
            mac: self.switch.mac,
            mtu: self.switch.mtu,
            gateways: self.switch.gateways.clone(),
            segments: (1..=self.switch.extra_segments).collect(),
            loopback: self.switch.loopback,
        }
    }
}

impl PluggedPort {
    fn observe(&self, home: &Home) -> ObservedPort {
        ObservedPort {
            home: home.clone(),
            bridge: self.bridge.clone(),
            up: self.up,
            forwards: !self.doomed && self.bridge.is_some(),
            filter: false,
        }
    }
}

/// Whether `bridge` is the switch itself or one of its further segments.
pub(super) fn is_segment_of(bridge: &IfName, switch: &IfName) -> bool {
    let rest = bridge.as_str().strip_prefix(switch.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
