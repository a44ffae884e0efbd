use hns_hcn::NatFlags;
use hns_host::PortHolder;
use hns_model::ModelError;
use hns_net::{Family, Guid};

use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// Refuses host ports on which a process of the host listens already (rule Q23). The ports among
    /// endpoints were settled by the world before.
    pub(crate) fn check_host_ports(&self, id: Guid) -> Result<(), EngineError> {
        let (mappings, families) = {
            let world = self.world();
            let endpoint = world.endpoint(id)?;
            let families: Vec<Family> = endpoint.addresses().map(hns_net::IfAddr::family).collect();
            (endpoint.port_mappings().cloned().collect::<Vec<_>>(), families)
        };
        for mapping in &mappings {
            let Some(ports) = mapping.external else { continue };
            if mapping.flags.has(NatFlags::EXTERNAL_PORT_RESERVED) {
                continue;
            }
            let families: Vec<_> =
                families.iter().copied().filter(|family| mapping.covers(*family)).collect();
            let at = mapping.address.filter(|address| !address.is_unspecified());
            for transport in mapping.transports().iter().copied() {
                let operation = || format!("cannot see who listens on host port {ports}/{transport}");
                let holder = self
                    .host
                    .port_holder(at, transport, ports, &families)
                    .map_err(EngineError::host(operation))?;
                if let Some(holder) = holder {
                    let ports = hns_net::PortRange::single(holder.port).unwrap_or(ports);
                    let holder = describe(&holder);
                    return Err(ModelError::PortTaken { ports, transport, at, holder }.into());
                }
            }
        }
        Ok(())
    }
}

fn describe(holder: &PortHolder) -> String {
    match (&holder.command, holder.pid) {
        (Some(command), Some(pid)) => format!("{command} (process {pid}) of the host"),
        (None, Some(pid)) => format!("process {pid} of the host"),
        _ => "a process of the host".to_owned(),
    }
}
