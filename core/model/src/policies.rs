use hns_hcn::{Policy, RequestType};
use hns_net::{Family, Guid, PortRange, Transport};

use crate::endpoint;
use crate::error::ModelError;
use crate::port_book::PortClaim;
use crate::world::World;

/// A change of an endpoint's policies that the world has taken and the host has not yet seen.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyChange {
    pub endpoint: Guid,
    before: Vec<Policy>,
}

/// Types of which an Update replaces the whole class by what the request contains (hcn-api 5.10).
const RUNTIME: &[&str] = &["ACL", "TierAcl", "L4Proxy"];

/// What an endpoint's policies are after a request.
fn merged(
    current: &[Policy],
    request: RequestType,
    wanted: &[Policy],
    endpoint: Guid,
) -> Result<Vec<Policy>, ModelError> {
    let mut after = current.to_vec();
    match request {
        RequestType::Add => after.extend(wanted.iter().cloned()),
        RequestType::Remove => {
            for policy in wanted {
                let missing = ModelError::PolicyNotFound { endpoint, kind: policy.kind };
                let place = after.iter().position(|have| have.matches(policy)).ok_or(missing)?;
                after.remove(place);
            }
        }
        RequestType::Update => {
            let named = |kind: &str| wanted.iter().any(|policy| policy.kind == kind);
            after.retain(|have| !RUNTIME.contains(&have.kind) && !named(have.kind));
            // An entry equal to an existing one keeps what the server chose for it.
            let kept =
                |policy: &Policy| current.iter().find(|have| have.matches(policy)).unwrap_or(policy).clone();
            after.extend(wanted.iter().map(kept));
        }
        RequestType::Reset => after.retain(|have| !RUNTIME.contains(&have.kind)),
        RequestType::Refresh => {}
    }
    Ok(after)
}

impl World {
    /// Applies a Modify of policies: host ports that go are free from now on, those that come are taken.
    pub fn change_policies(
        &mut self,
        id: Guid,
        request: RequestType,
        wanted: &[Policy],
    ) -> Result<PolicyChange, ModelError> {
        let endpoint = self.endpoint(id)?;
        let before = endpoint.document.policies.clone();
        let after = merged(&before, request, wanted, id)?;
        let mut document = endpoint.document.clone();
        document.policies = after;
        let network = self.network(endpoint.network)?;
        endpoint::check_policies(&document, network)?;
        self.replace_policies(id, document.policies, &before)?;
        let change = PolicyChange { endpoint: id, before };
        match request {
            // What was translated before its gateway went may have other policies changed.
            RequestType::Add | RequestType::Update
                if wanted.iter().any(|policy| policy.kind == "OutBoundNAT") =>
            {
                if let Err(error) = self.check_translated(id) {
                    self.revert_policies(change);
                    return Err(error);
                }
                Ok(change)
            }
            _ => Ok(change),
        }
    }

    /// Takes a change back.
    pub fn revert_policies(&mut self, change: PolicyChange) {
        if let Ok(endpoint) = self.endpoint(change.endpoint) {
            let now = endpoint.document.policies.clone();
            // The ports of `before` were free a moment ago and nobody else can have been given them: the
            // endpoint's lock is held over the whole change. If one was, the mapping stays away.
            let _ = self.replace_policies(change.endpoint, change.before, &now);
        }
    }

    fn replace_policies(
        &mut self,
        id: Guid,
        after: Vec<Policy>,
        before: &[Policy],
    ) -> Result<(), ModelError> {
        self.release_ports(id, before);
        match self.take_ports(id, after) {
            Ok(policies) => {
                self.endpoint_mut(id)?.document.policies = policies;
                Ok(())
            }
            Err(error) => {
                self.take_ports(id, before.to_vec())?;
                Err(error)
            }
        }
    }

    /// Takes the host ports of these policies; choices are written into what is returned. On failure
    /// nothing is taken.
    pub(crate) fn take_ports(&mut self, id: Guid, policies: Vec<Policy>) -> Result<Vec<Policy>, ModelError> {
        let mut taken: Vec<Policy> = Vec::new();
        for policy in policies {
            match self.take_port(id, policy) {
                Ok(policy) => taken.push(policy),
                Err(error) => {
                    self.release_ports(id, &taken);
                    return Err(error);
                }
            }
        }
        Ok(taken)
    }

    fn take_port(&mut self, id: Guid, policy: Policy) -> Result<Policy, ModelError> {
        let Some(mapping) = policy.as_port_mapping().cloned() else { return Ok(policy) };
        let claims = claims_of(&mapping, id);
        let count = mapping.internal.count();
        let ports = match mapping.external {
            Some(ports) => ports,
            None => {
                self.ports.choose(mapping.transports(), count, &claims).ok_or(ModelError::NoPortLeft {
                    count,
                    transport: mapping.transport.unwrap_or(Transport::Tcp),
                })?
            }
        };
        for transport in mapping.transports() {
            for claim in &claims {
                if let Some((port, holder)) = self.ports.holder(*transport, ports, claim) {
                    let ports = PortRange::single(port).unwrap_or(ports);
                    let holder = self.describe_endpoint(holder);
                    return Err(ModelError::PortTaken {
                        ports,
                        transport: *transport,
                        at: mapping.address,
                        holder,
                    });
                }
            }
        }
        for transport in mapping.transports() {
            for claim in &claims {
                self.ports.take(*transport, ports, *claim);
            }
        }
        Ok(if mapping.external.is_none() { policy.with_external(ports) } else { policy })
    }

    pub(crate) fn release_ports(&mut self, id: Guid, policies: &[Policy]) {
        for mapping in policies.iter().filter_map(Policy::as_port_mapping) {
            let Some(ports) = mapping.external else { continue };
            for transport in mapping.transports() {
                for claim in &claims_of(mapping, id) {
                    self.ports.release(*transport, ports, claim);
                }
            }
        }
    }
}

fn claims_of(mapping: &hns_hcn::PortMapping, holder: Guid) -> Vec<PortClaim> {
    let at = mapping.address.filter(|address| !address.is_unspecified());
    let covered = [Family::V4, Family::V6].into_iter().filter(|family| mapping.covers(*family));
    covered.map(|family| PortClaim { family, at, holder }).collect()
}
