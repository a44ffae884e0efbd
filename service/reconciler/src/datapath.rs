//! Giving the ports their policies: what an endpoint's and its network's documents ask of the datapath.

use hns_hcn::{EndpointFlags, PortParams, RuleAction};
use hns_model::{Attachment, Endpoint, NamespaceOrigin, Network, World};
use hns_net::{Guid, IfName};
use hns_planner::{Desired, Observed, Step, compile_endpoint};
use hns_vfp::model::{Acl, Guards, Port, Verdict, both};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::repair::chain;

impl Engine {
    /// What these objects ask of a host with a datapath, if this one has it.
    pub(crate) fn filtered(&self, desired: Desired) -> Desired {
        if self.datapath.is_some() { desired.filtered() } else { desired }
    }

    /// What one endpoint asks of the host.
    pub(crate) fn desired_endpoint(&self, endpoint: &Endpoint, world: &World) -> Desired {
        self.filtered(compile_endpoint(endpoint, world))
    }

    /// Fills in what the host cannot see: which ports have their filter.
    pub(crate) fn observe_filters(&self, observed: &mut Observed) -> Result<(), EngineError> {
        let Some(datapath) = &self.datapath else { return Ok(()) };
        let operation = || "cannot see which ports have their filter".to_owned();
        let attached = datapath.attached().map_err(EngineError::datapath(operation))?;
        for (name, port) in &mut observed.ports {
            port.filter = attached.contains(name);
        }
        Ok(())
    }

    /// Makes a port obey the policies that its endpoint and its network have now.
    pub(crate) fn filter_port(&self, name: &IfName) -> Result<(), EngineError> {
        let Some(datapath) = &self.datapath else { return Ok(()) };
        let Some((id, _)) = self.endpoint_of(name) else { return Ok(()) };
        let port = self.port_policy(id)?;
        let operation = || format!("cannot give the port {name} its policies");
        datapath.set_port(name, &port).map_err(EngineError::datapath(operation))
    }

    /// What makes the port of an endpoint obey its policies as they are now, if it is attached.
    pub(crate) fn filter_step(&self, id: Guid) -> Result<Option<Step>, EngineError> {
        if self.datapath.is_none() {
            return Ok(None);
        }
        let world = self.world();
        let endpoint = world.endpoint(id)?;
        Ok(endpoint.attachment().map(|attachment| Step::FilterPort { name: attachment.port.clone() }))
    }

    /// Gives a port the policies it had before a change that failed. If that fails too, the port stays with the newer
    /// ones, and its endpoint says so until it is repaired.
    pub(crate) fn filter_again(&self, id: Guid) {
        let outcome =
            self.filter_step(id).and_then(|step| step.map_or(Ok(()), |step| self.execute_one(&step)));
        if let Err(error) = outcome {
            tracing::error!(endpoint = %id, error = &error as &dyn std::error::Error, "its policies are not those it says");
            let _ = self.world().set_trouble(id, Some(chain(&error)));
            self.background.repair_everything();
        }
    }

    /// A port whose policy nobody could hold is not made.
    pub(crate) fn check_policy(&self, id: Guid) -> Result<(), EngineError> {
        let world = self.world();
        let endpoint = world.endpoint(id)?;
        let network = world.network(endpoint.network())?;
        if self.datapath.is_some() || said(endpoint, network).is_empty() {
            Ok(())
        } else {
            Err(EngineError::PolicyNeedsDatapath { endpoint: id })
        }
    }

    pub(crate) fn forget_filter(&self, name: &IfName) {
        let Some(datapath) = &self.datapath else { return };
        if let Err(error) = datapath.remove_port(name) {
            tracing::warn!(port = %name, error = &error as &dyn std::error::Error, "the datapath keeps a port");
        }
    }

    /// Puts the programs of this daemon in the place of an older one's, now that every port is programmed.
    pub(crate) fn upgrade_datapath(&self) -> Result<(), EngineError> {
        let Some(datapath) = &self.datapath else { return Ok(()) };
        datapath.upgrade().map_err(EngineError::datapath(|| "cannot start the datapath".to_owned()))
    }

    pub(crate) fn collect_flows(&self) {
        let Some(datapath) = &self.datapath else { return };
        match datapath.collect() {
            Ok(collected) if collected.flows > 0 => {
                tracing::debug!(flows = collected.flows, "connections have ended");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "ended connections were not collected"
                );
            }
        }
    }

    /// The policies of an attached endpoint in the datapath's terms.
    pub(crate) fn port_policy(&self, id: Guid) -> Result<Port, EngineError> {
        let world = self.world();
        let endpoint = world.endpoint(id)?;
        let network = world.network(endpoint.network())?;
        let said = said(endpoint, network);
        Ok(Port {
            endpoint: id,
            network: network.id(),
            mac: endpoint.mac().ok_or(EngineError::PolicyNeedsDatapath { endpoint: id })?,
            addresses: endpoint.addresses().map(hns_net::IfAddr::address).collect(),
            guards: guards(&said),
            blocked: false,
            quiet: endpoint.has_flag(EndpointFlags::DISABLE_ICC),
            plain_redirect: Self::is_host_seat(endpoint, &world),
            acl: both(fallback(said.acl_default_in), fallback(said.acl_default_out)),
            meters: [None, None],
        })
    }

    /// Whether its vNIC is in the host's own namespace, where there is no short way into.
    fn is_host_seat(endpoint: &Endpoint, world: &World) -> bool {
        let namespace = endpoint.attachment().and_then(Attachment::namespace);
        let namespace = namespace.and_then(|id| world.namespace(id).ok());
        namespace.is_some_and(|namespace| namespace.origin() == NamespaceOrigin::Host)
    }
}

/// What the endpoint says of its port, and where it is silent its network.
fn said(endpoint: &Endpoint, network: &Network) -> PortParams {
    let (own, all) = (&endpoint.document().params.port, &network.document().params.port);
    PortParams {
        acl_default_in: own.acl_default_in.or(all.acl_default_in),
        acl_default_out: own.acl_default_out.or(all.acl_default_out),
        spoof_guard: own.spoof_guard.or(all.spoof_guard),
        ra_guard: own.ra_guard.or(all.ra_guard),
        dhcp_guard: own.dhcp_guard.or(all.dhcp_guard),
    }
}

fn guards(said: &PortParams) -> Guards {
    Guards {
        spoofing: said.spoof_guard.unwrap_or(true),
        router_advertisements: said.ra_guard.unwrap_or(true),
        dhcp_servers: said.dhcp_guard.unwrap_or(true),
    }
}

fn fallback(said: Option<RuleAction>) -> Acl {
    let fallback = if said == Some(RuleAction::Block) { Verdict::Block } else { Verdict::Allow };
    Acl { fallback, ..Acl::open() }
}
