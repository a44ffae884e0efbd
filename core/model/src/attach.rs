use std::path::PathBuf;

use hns_net::{Guid, IfName};

use crate::endpoint::{Attachment, Endpoint, Seat};
use crate::error::ModelError;
use crate::gateway::refuse_gateways_address;
use crate::namespace::NamespaceOrigin;
use crate::network::{Network, PORTS_PER_SEGMENT, SEGMENTS_MAX};
use crate::world::World;

impl World {
    /// Reserves a port on the endpoint's switch and a name in the namespace. The endpoint counts as
    /// attached from now on; [`World::release_attachment`] takes it back.
    pub fn reserve_attachment(&mut self, endpoint: Guid, namespace: Guid) -> Result<Attachment, ModelError> {
        self.refuse_host_on_lan(endpoint, namespace)?;
        let wanted = self.unattached(endpoint)?.document.params.interface.clone();
        let order = self.namespace(namespace)?.joins;
        let seat = Seat::Namespace { id: namespace, order };
        if wanted.is_none() && self.namespace(namespace)?.origin() == NamespaceOrigin::Host {
            return self.reserve_port(endpoint, seat, |port| name_beside(port, "hnh"));
        }
        let interface = self.interface_name(namespace, wanted)?;
        self.reserve_port(endpoint, seat, |_| interface)
    }

    /// As [`World::reserve_attachment`], for an engine that moves the vNIC into its sandbox by itself.
    pub fn reserve_handover(&mut self, endpoint: Guid, sandbox: PathBuf) -> Result<Attachment, ModelError> {
        let there = self.unattached(endpoint)?;
        refuse_gateways_address(there, self.network(there.network)?)?;
        self.reserve_port(endpoint, Seat::Sandbox(sandbox), |port| name_beside(port, "hnc"))
    }

    /// Puts an endpoint back where it was a moment ago.
    pub fn reserve_again(&mut self, endpoint: Guid, seat: Seat) -> Result<Attachment, ModelError> {
        match seat {
            Seat::Namespace { id, .. } => self.reserve_attachment(endpoint, id),
            Seat::Sandbox(path) => self.reserve_handover(endpoint, path),
        }
    }

    fn unattached(&self, id: Guid) -> Result<&Endpoint, ModelError> {
        let endpoint = self.endpoint(id)?;
        if endpoint.is_remote() {
            return Err(ModelError::Remote(id));
        }
        match endpoint.attachment.as_ref().map(|attachment| &attachment.seat) {
            None => Ok(endpoint),
            Some(Seat::Namespace { id: namespace, .. }) => {
                Err(ModelError::InNamespaceAlready { endpoint: id, namespace: *namespace })
            }
            Some(Seat::Sandbox(path)) => {
                Err(ModelError::InSandboxAlready { endpoint: id, sandbox: path.display().to_string() })
            }
        }
    }

    fn reserve_port(
        &mut self,
        endpoint: Guid,
        seat: Seat,
        interface: impl FnOnce(&IfName) -> IfName,
    ) -> Result<Attachment, ModelError> {
        let there = self.endpoint(endpoint)?;
        let (network, port) = (there.network, port_name(endpoint, there.attachments));
        let segment = take_segment(self.network_mut(network)?)?;
        let attachment = Attachment { seat, interface: interface(&port), port, segment };
        self.place(endpoint, attachment.clone())?;
        Ok(attachment)
    }

    /// Puts a reserved or a remembered attachment into the books.
    pub(crate) fn place(&mut self, endpoint: Guid, attachment: Attachment) -> Result<(), ModelError> {
        if let Seat::Namespace { id, order } = attachment.seat {
            let namespace = self.namespace_mut(id)?;
            namespace.members.insert(endpoint);
            namespace.joins = namespace.joins.max(order + 1);
        }
        let port = attachment.port.clone();
        let there = self.endpoint_mut(endpoint)?;
        there.attachments += 1;
        there.attachment = Some(attachment);
        self.seats.insert(port, endpoint);
        Ok(())
    }

    /// The endpoint that has this switch port.
    #[must_use]
    pub fn endpoint_at(&self, port: &IfName) -> Option<&Endpoint> {
        self.endpoint(*self.seats.get(port)?).ok()
    }

    /// Takes an endpoint out of its namespace; gives where it was.
    pub fn release_attachment(&mut self, id: Guid) -> Result<Attachment, ModelError> {
        let endpoint = self.endpoint_mut(id)?;
        let attachment = endpoint.attachment.take().ok_or(ModelError::NotAttached(id))?;
        let network = endpoint.network;
        endpoint.trouble = None;
        endpoint.lease_trouble.clear();
        self.seats.remove(&attachment.port);
        if let Some(namespace) = attachment.namespace()
            && let Ok(namespace) = self.namespace_mut(namespace)
        {
            namespace.members.remove(&id);
        }
        if let Ok(network) = self.network_mut(network)
            && let Some(ports) = network.segments.get_mut(usize::from(attachment.segment))
        {
            *ports = ports.saturating_sub(1);
        }
        Ok(attachment)
    }

    fn interface_name(&self, namespace: Guid, wanted: Option<IfName>) -> Result<IfName, ModelError> {
        let members = self.namespace(namespace)?.members();
        let used: Vec<&IfName> =
            members.filter_map(|id| Some(&self.endpoint(id).ok()?.attachment.as_ref()?.interface)).collect();
        if let Some(name) = wanted {
            let taken = used.contains(&&name);
            return if taken {
                Err(ModelError::InterfaceTaken { namespace, interface: name })
            } else {
                Ok(name)
            };
        }
        let free = (0..=used.len())
            .filter_map(|n| format!("eth{n}").parse().ok())
            .find(|name| !used.contains(&name));
        free.ok_or_else(|| unreachable!("one of n + 1 names is unused by n interfaces"))
    }
}

/// The lowest bridge with room, so that a network that shrinks gives up its last bridges first.
fn take_segment(network: &mut Network) -> Result<u16, ModelError> {
    if let Some(place) = network.segments.iter().position(|ports| *ports < PORTS_PER_SEGMENT) {
        network.segments[place] += 1;
        return Ok(u16::try_from(place).unwrap_or(0));
    }
    let place = u16::try_from(network.segments.len()).unwrap_or(u16::MAX);
    // An external switch is one bridge: ours, which has one uplink, or somebody else's.
    let most = if network.lan().is_some() { 0 } else { SEGMENTS_MAX };
    if place > most {
        let limit = u32::from(most + 1) * u32::from(PORTS_PER_SEGMENT);
        return Err(ModelError::SwitchFull { network: network.document.name.clone(), limit });
    }
    network.segments.push(1);
    Ok(place)
}

/// `hnv` and twelve digits that stand for the endpoint's id; from the second attachment on the last two digits count
/// the attachments, since the port of the one before may still wait for its removal.
fn port_name(endpoint: Guid, turn: u32) -> IfName {
    let name = match turn {
        0 => format!("hnv{}", endpoint.digest(12)),
        turn => format!("hnv{}{:02x}", endpoint.digest(10), turn & 0xFF),
    };
    name.parse().unwrap_or_else(|_| unreachable!("\"hnv\" and twelve digits make an interface name"))
}

/// As the port's, with another beginning: `hnc` for a vNIC that its engine has not moved yet, `hnh` for one in the host's own namespace,
/// where others have names such as `eth0`.
fn name_beside(port: &IfName, beginning: &str) -> IfName {
    let name = format!("{beginning}{}", port.as_str().trim_start_matches("hnv"));
    name.parse().unwrap_or_else(|_| unreachable!("three letters and twelve digits make an interface name"))
}
