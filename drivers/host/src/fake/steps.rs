//! What a [`FakeHost`](super::FakeHost) does.

use std::collections::BTreeSet;

use hns_net::{Family, IfName};
use hns_planner::{Element, Port, Step, Switch, Vnic};

use super::kernel::{Bridge, HOST, Kernel, Link, PluggedPort, is_segment_of};
use crate::{HostError, KernelError};

impl Kernel {
    /// Returns the host ends that vanished without having been unplugged.
    pub fn execute(&mut self, step: &Step) -> Result<Vec<IfName>, HostError> {
        match step {
            Step::Forward(forwarding) => {
                self.forwarding.v4 |= forwarding.v4;
                self.forwarding.v6 |= forwarding.v6;
            }
            Step::LoadTable { chains } => (self.elements, self.chains) = (Some(BTreeSet::new()), *chains),
            Step::AddChains if self.elements.is_none() => return Err(HostError::NoTable),
            Step::AddChains => self.chains = true,
            Step::RemoveChains if self.elements.is_none() => return Err(HostError::NoTable),
            Step::RemoveChains => self.chains = false,
            Step::MakeNamespace(spec) => {
                self.make_namespace(spec.path.clone());
                self.ours.insert(spec.path.clone());
            }
            Step::RemoveNamespace(spec) => return Ok(self.remove_namespace(&spec.path)),
            Step::MakeSwitch(switch) => self.make_switch(switch),
            Step::RemoveSwitch { name } => self.remove_switch(name),
            Step::PlugPort(port) => self.plug(port)?,
            Step::ReplugPort(port) => self.replug(port)?,
            Step::FilterPort { name, .. } => return Err(HostError::NotTheHosts { object: name.to_string() }),
            Step::SetSets { network, .. } => {
                return Err(HostError::NotTheHosts { object: network.to_string() });
            }
            Step::JoinAdapter { switch, .. } | Step::LeaveAdapter { switch } => {
                return Err(HostError::NotTheHosts { object: switch.to_string() });
            }
            Step::MakeTunnel { device } => drop(self.tunnels.insert(*device)),
            Step::RemoveTunnel { device } => drop(self.tunnels.remove(device)),
            Step::SetOverlay { network, .. } => {
                return Err(HostError::NotTheHosts { object: network.to_string() });
            }
            Step::AddStation(station) if !self.adapters.contains(&station.adapter) => {
                return Err(HostError::NoSuchAdapter { name: station.adapter.clone() });
            }
            Step::AddStation(station) => drop(self.stations.insert(station.clone())),
            Step::RemoveStation(station) => drop(self.stations.remove(station)),
            Step::OpenPort { name, .. } => self.open(name)?,
            Step::AddressPort { port, before } => self.readdress(port, before)?,
            Step::UnplugPort { name } => self.doom(name),
            Step::AddElements(elements) => self.add_elements(elements)?,
            Step::RemoveElements(elements) => self.remove_elements(elements),
        }
        Ok(Vec::new())
    }

    pub fn reap(&mut self) -> usize {
        let links = &mut self.links;
        let before = links.len();
        links.retain(|_, link| !matches!(link, Link::Port(port) if port.doomed));
        before - links.len()
    }

    fn make_switch(&mut self, switch: &Switch) {
        let bridge = Bridge { switch: switch.clone(), up: true };
        self.links.insert(switch.name.clone(), Link::Bridge(bridge));
    }

    fn remove_switch(&mut self, name: &IfName) {
        self.links.remove(name);
        self.release_ports_of(name);
    }

    fn plug(&mut self, port: &Port) -> Result<(), HostError> {
        let space = self.space_of_target(&port.target)?;
        self.segment(port)?;
        match self.links.get(&port.name) {
            Some(Link::Port(old)) if old.doomed => {}
            Some(Link::Port(old)) if old.space == space && old.port.interface == port.interface => {}
            Some(_) => return Err(HostError::LinkTaken { name: port.name.clone() }),
            None if self.interfaces_in(space).contains(&port.interface) => {
                return Err(HostError::InterfaceTaken {
                    interface: port.interface.clone(),
                    namespace: if space == HOST { "the host".into() } else { format!("{:?}", port.target) },
                });
            }
            None => {}
        }
        let link = PluggedPort {
            port: port.clone(),
            vnic: Vnic::in_line_with(port),
            space,
            bridge: Some(port.bridge.clone()),
            up: false,
            doomed: false,
        };
        self.links.insert(port.name.clone(), Link::Port(link));
        Ok(())
    }

    fn replug(&mut self, port: &Port) -> Result<(), HostError> {
        self.segment(port)?;
        match self.links.get_mut(&port.name) {
            Some(Link::Port(link)) => {
                link.bridge = Some(port.bridge.clone());
                link.up = false;
                link.doomed = false;
                Ok(())
            }
            _ => Err(HostError::NoSuchLink { name: port.name.clone() }),
        }
    }

    fn readdress(&mut self, port: &Port, before: &Port) -> Result<(), HostError> {
        let Some(Link::Port(link)) = self.links.get_mut(&port.name) else {
            return Err(HostError::NoSuchLink { name: port.interface.clone() });
        };
        let (stale, wanted) = (Vnic::in_line_with(before), Vnic::in_line_with(port));
        let vnic = &mut link.vnic;
        vnic.addresses
            .retain(|address| !stale.addresses.contains(address) && !wanted.addresses.contains(address));
        vnic.routes.retain(|route| !stale.routes.contains(route) && !wanted.routes.contains(route));
        vnic.addresses.extend(wanted.addresses);
        vnic.routes.extend(wanted.routes);
        Ok(())
    }

    fn open(&mut self, name: &IfName) -> Result<(), HostError> {
        match self.links.get_mut(name) {
            Some(Link::Port(link)) => {
                link.up = true;
                Ok(())
            }
            _ => Err(HostError::NoSuchLink { name: name.clone() }),
        }
    }

    fn doom(&mut self, name: &IfName) {
        if let Some(Link::Port(port)) = self.links.get_mut(name) {
            port.doomed = true;
        }
    }

    /// The bridge a port names must be there, as segment 0 or as one of the further ones.
    fn segment(&self, port: &Port) -> Result<(), HostError> {
        let missing = || HostError::NoSuchLink { name: port.bridge.clone() };
        if self.bridges.contains_key(&port.bridge) {
            return Ok(());
        }
        let (switch, segment) = match port.bridge.as_str().split_once('.') {
            Some((switch, segment)) => {
                let switch = switch.parse::<IfName>().map_err(|_| missing())?;
                (switch, segment.parse().map_err(|_| missing())?)
            }
            None => (port.bridge.clone(), 0_u16),
        };
        debug_assert!(is_segment_of(&port.bridge, &switch));
        match self.links.get(&switch) {
            Some(Link::Bridge(bridge)) if segment <= bridge.switch.extra_segments => Ok(()),
            _ => Err(missing()),
        }
    }

    fn add_elements(&mut self, elements: &[Element]) -> Result<(), HostError> {
        let refused = |errno| HostError::Kernel {
            operation: "add elements to",
            object: "table inet hns".into(),
            source: KernelError::new(errno),
        };
        let Some(rules) = &mut self.elements else { return Err(HostError::NoTable) };
        // One transaction: all or none.
        let mut after = rules.clone();
        for element in elements {
            if after.iter().any(|present| leads_elsewhere(present, element)) {
                return Err(refused(libc::EEXIST));
            }
            after.insert(element.clone());
        }
        *rules = after;
        Ok(())
    }

    fn remove_elements(&mut self, elements: &[Element]) {
        let Some(rules) = &mut self.elements else { return };
        // The kernel goes by the key alone.
        rules
            .retain(|present| !elements.iter().any(|gone| present == gone || leads_elsewhere(present, gone)));
    }
}

/// Whether two elements of a map have the same key and different data.
fn leads_elsewhere(one: &Element, other: &Element) -> bool {
    match (one, other) {
        (
            Element::Publish { at, transport, port, to, .. },
            Element::Publish { at: at_2, transport: transport_2, port: port_2, to: to_2, .. },
        ) => {
            let same_key =
                (at, transport, port) == (at_2, transport_2, port_2) && Family::of(*to) == Family::of(*to_2);
            same_key && one != other
        }
        (
            Element::PublishRange { at, transport, ports, to },
            Element::PublishRange { at: at_2, transport: transport_2, ports: ports_2, to: to_2 },
        ) => {
            let same_key = (at, transport, ports) == (at_2, transport_2, ports_2)
                && Family::of(*to) == Family::of(*to_2);
            same_key && to != to_2
        }
        _ => false,
    }
}
