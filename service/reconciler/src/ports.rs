//! The ports of the host that endpoints publish are held for them, from their reservation to their end.

use hns_hcn::{GatewayMode, NatFlags};
use hns_host::{HostPorts, PortHolder, TakenPort};
use hns_model::{Endpoint, ModelError, World};
use hns_net::{Family, Guid, IfAddr, PortRange};

use crate::engine::Engine;
use crate::error::EngineError;

/// Of how many ports it is looked up who has them, when all are held: whoever takes a thousand does not delay a repair.
const LOOKS_MAX: usize = 8;

impl Engine {
    /// Holds the host ports of an endpoint that is made, or changed from `before`, and no others for it. Refuses those that come and that
    /// a process of the host has already (rule Q23); the ports among endpoints were settled by the world before.
    pub(crate) fn hold_host_ports(&self, id: Guid, before: &[HostPorts]) -> Result<(), EngineError> {
        let wanted = self.host_ports(id)?;
        let operation = || format!("cannot hold the host ports of endpoint {id}");
        let others = self.host.hold_ports(id, &wanted).map_err(EngineError::host(operation))?;
        let had = |other: &&TakenPort| before.iter().any(|ports| is_among(other, ports));
        let new = others.iter().find(|other| !had(other));
        new.map_or(Ok(()), |other| Err(taken(other, &self.host.port_holder(other)).into()))
    }

    /// After a change that failed. Who was faster is named by the next repair.
    pub(crate) fn hold_former_host_ports(&self, id: Guid, before: &[HostPorts]) {
        if let Err(error) = self.host.hold_ports(id, before) {
            tracing::warn!(endpoint = %id, error = &error as &dyn std::error::Error, "its host ports are not held");
            self.background.repair_everything("something could not be undone");
        }
    }

    pub(crate) fn host_ports(&self, id: Guid) -> Result<Vec<HostPorts>, EngineError> {
        let world = self.world();
        Ok(host_ports(world.endpoint(id)?, &world))
    }

    /// Holds the host ports of every endpoint. What somebody took while the daemon was away is his by now, though a mapping comes
    /// before him: the endpoint says so, and it is tried again.
    pub(crate) fn hold_all_host_ports(&self) {
        let wanted: Vec<(Guid, Vec<HostPorts>)> = {
            let world = self.world();
            let ports = world.endpoints().map(|endpoint| (endpoint.id(), host_ports(endpoint, &world)));
            ports.filter(|(_, ports)| !ports.is_empty()).collect()
        };
        let mut looks = 0;
        for (id, wanted) in wanted {
            let contest = match self.host.hold_ports(id, &wanted) {
                Ok(others) => others.first().map(|other| {
                    looks += 1;
                    let holder =
                        if looks > LOOKS_MAX { PortHolder::default() } else { self.host.port_holder(other) };
                    taken(other, &holder).to_string()
                }),
                Err(error) => Some(format!("its host ports are not held: {error}")),
            };
            if let Some(contest) = &contest {
                tracing::warn!(endpoint = %id, contest, "a published port is somebody else's, too");
            }
            // It may be gone by now, and then it has no ports.
            let _ = self.world().set_contest(id, contest);
        }
    }
}

fn is_among(other: &TakenPort, ports: &HostPorts) -> bool {
    ports.transport == other.transport && ports.ports.iter().any(|port| port == other.port)
}

/// The ports that lead to an endpoint by translation. In routed mode its own address is opened, and no port of the host's.
fn host_ports(endpoint: &Endpoint, world: &World) -> Vec<HostPorts> {
    let Ok(network) = world.network(endpoint.network()) else { return Vec::new() };
    let families = [Family::V4, Family::V6].into_iter().filter(|family| {
        let has = endpoint.addresses().map(IfAddr::family).any(|had| had == *family);
        has && network.gateway_mode(*family) == GatewayMode::Nat
    });
    let mut all = Vec::new();
    for mapping in endpoint.port_mappings() {
        let Some(ports) = mapping.external else { continue };
        let families: Vec<Family> = families.clone().filter(|family| mapping.covers(*family)).collect();
        // Whoever asks for it so holds it himself.
        if mapping.flags.has(NatFlags::EXTERNAL_PORT_RESERVED) || families.is_empty() {
            continue;
        }
        let at = mapping.address.filter(|address| !address.is_unspecified());
        let of = |transport| HostPorts { at, families: families.clone(), transport, ports };
        all.extend(mapping.transports().iter().copied().map(of));
    }
    all
}

fn taken(taken: &TakenPort, holder: &PortHolder) -> ModelError {
    let ports = PortRange::single(taken.port).unwrap_or_else(|_| unreachable!("nobody has port 0"));
    let at = Some(taken.at).filter(|address| !address.is_unspecified());
    ModelError::PortTaken { ports, transport: taken.transport, at, holder: describe(holder) }
}

fn describe(holder: &PortHolder) -> String {
    match (&holder.command, holder.pid) {
        (Some(command), Some(pid)) => format!("{command} (process {pid}) of the host"),
        (None, Some(pid)) => format!("process {pid} of the host"),
        _ => "a process of the host".to_owned(),
    }
}
