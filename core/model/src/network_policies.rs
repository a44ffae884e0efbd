//! Policies of networks: address sets, which rules name, and rules of all endpoints (hcn-api 5.2, 5.6, 5.10).

use std::collections::{BTreeMap, BTreeSet};

use hns_hcn::{self as hcn, ErrorCode, Policy, PolicySettings, RequestType, SetPolicy, SetValues};
use hns_net::Guid;

use crate::endpoint;
use crate::error::ModelError;
use crate::external;
use crate::network::Network;
use crate::overlay;
use crate::remote;
use crate::world::World;

/// How many addresses and prefixes the sets of a network have together.
const SET_MEMBERS_MAX: usize = 500_000;

/// A change of a network's policies that the world has taken and the host has not yet seen.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkPolicyChange {
    network: Guid,
    before: Vec<Policy>,
}

/// What a network's policies are after a request.
fn merged(network: &Network, request: RequestType, wanted: &[Policy]) -> Result<Vec<Policy>, ModelError> {
    if let Some(place) = wanted.iter().position(Policy::is_of_switch) {
        let problem = format!("{} says where a network is, which does not change", wanted[place].kind);
        let field = format!("Settings.Policies[{place}].Type");
        return Err(ModelError::network(field, problem, ErrorCode::INVALID_POLICY_TYPE));
    }
    let current = &network.document.policies;
    let mut after = current.clone();
    let place_of =
        |policies: &[Policy], wanted: &Policy| policies.iter().position(|have| have.matches(wanted));
    match request {
        RequestType::Add => {
            for policy in wanted {
                let is_one = policy.as_set().is_some() || policy.as_remote_subnet().is_some();
                match place_of(&after, policy).filter(|_| is_one) {
                    Some(place) => after[place] = policy.clone(),
                    None => after.push(policy.clone()),
                }
            }
        }
        RequestType::Remove => {
            for policy in wanted {
                let missing = || ModelError::NoSuchNetworkPolicy {
                    network: network.name().to_owned(),
                    policy: policy
                        .as_set()
                        .map(|set| format!("set \"{}\"", set.id))
                        .or_else(|| Some(format!("route to {}", policy.as_remote_subnet()?.destination)))
                        .unwrap_or_else(|| policy.kind.to_owned()),
                };
                let place = place_of(&after, policy).ok_or_else(missing)?;
                after.remove(place);
            }
        }
        RequestType::Update => {
            // A set that is not there is passed over, as HNS does; rules and routes are replaced as a whole.
            let is_named = |have: &Policy| wanted.iter().any(|policy| policy.kind == have.kind);
            after.retain(|have| have.as_set().is_some() || have.is_of_switch() || !is_named(have));
            for policy in wanted {
                match (policy.as_set(), place_of(&after, policy)) {
                    (Some(_), Some(place)) => after[place] = policy.clone(),
                    (Some(_), None) => {}
                    (None, _) => after.push(policy.clone()),
                }
            }
        }
        RequestType::Reset => {
            after.retain(|have| !matches!(have.meaning, PolicySettings::NetworkAcl(_)));
        }
        RequestType::Refresh => {}
    }
    Ok(after)
}

/// Refuses policies that a network cannot have. `before`: those it has.
pub(crate) fn check(document: &hcn::Network, before: &[Policy]) -> Result<(), ModelError> {
    for (place, policy) in document.policies.iter().enumerate() {
        let is_known = match &policy.meaning {
            PolicySettings::Set(_) | PolicySettings::NetworkAcl(_) => true,
            _ if overlay::may_have(document, policy) => true,
            _ => policy.is_of_switch() && external::is_external(document),
        };
        if !is_known {
            let problem = match policy.kind {
                "ACL" => "an ACL is a rule of an endpoint; that of a network is a NetworkACL".to_owned(),
                kind @ ("TierAcl" | "PortMapping" | "QOS") => format!("a {kind} is an endpoint's"),
                kind => format!("{kind} is not supported on {} networks", document.kind.name()),
            };
            let field = format!("Policies[{place}].Type");
            return Err(ModelError::network(field, problem, ErrorCode::INVALID_POLICY_TYPE));
        }
    }
    let sets = unique_sets(document)?;
    check_members(&sets)?;
    for (place, policy) in document.policies.iter().enumerate() {
        endpoint::check_sides(policy, place, "network")?;
        let Some(unknown) = policy.named_sets().find(|id| !sets.contains_key(id)) else { continue };
        if before.iter().filter_map(Policy::as_set).any(|set| set.id == unknown) {
            let user = policy
                .as_set()
                .map_or_else(|| "a NetworkACL".to_owned(), |set| format!("set \"{}\"", set.id));
            return Err(ModelError::SetInUse {
                network: document.name.clone(),
                set: unknown.to_owned(),
                user,
            });
        }
        let problem = format!("network \"{}\" has no address set \"{unknown}\"", document.name);
        let field = format!("Policies[{place}].Settings");
        return Err(ModelError::network(field, problem, ErrorCode::INVALID_POLICY));
    }
    for set in sets.values() {
        check_circle(set, &sets, document)?;
    }
    endpoint::check_size(&[], &document.policies)
}

fn unique_sets(document: &hcn::Network) -> Result<BTreeMap<&str, &SetPolicy>, ModelError> {
    let mut sets = BTreeMap::new();
    for (place, policy) in document.policies.iter().enumerate() {
        let Some(set) = policy.as_set() else { continue };
        if sets.insert(set.id.as_str(), set).is_some() {
            let problem = format!("a second set with the id \"{}\"", set.id);
            let field = format!("Policies[{place}].Settings.Id");
            return Err(ModelError::network(field, problem, ErrorCode::INVALID_POLICY));
        }
    }
    Ok(sets)
}

fn check_members(sets: &BTreeMap<&str, &SetPolicy>) -> Result<(), ModelError> {
    let members = |set: &&SetPolicy| match &set.values {
        SetValues::Addresses(members) => members.len(),
        SetValues::Sets(_) => 0,
    };
    let count: usize = sets.values().map(members).sum();
    if count > SET_MEMBERS_MAX {
        let problem = format!("{count} addresses in sets; a network has {SET_MEMBERS_MAX} at most");
        return Err(ModelError::network("Policies", problem, ErrorCode::INVALID_POLICY));
    }
    Ok(())
}

/// A set that is nested in itself has no members that anybody could tell.
fn check_circle(
    first: &SetPolicy,
    sets: &BTreeMap<&str, &SetPolicy>,
    document: &hcn::Network,
) -> Result<(), ModelError> {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = first.nested().iter().map(String::as_str).collect();
    while let Some(id) = open.pop() {
        if id == first.id {
            let problem =
                format!("set \"{}\" of network \"{}\" is nested in itself", first.id, document.name);
            return Err(ModelError::network("Policies", problem, ErrorCode::INVALID_POLICY));
        }
        if seen.insert(id) {
            open.extend(sets.get(id).into_iter().flat_map(|set| set.nested()).map(String::as_str));
        }
    }
    Ok(())
}

impl World {
    /// Applies a Modify of a network's policies.
    pub fn change_network_policies(
        &mut self,
        id: Guid,
        request: RequestType,
        wanted: &[Policy],
    ) -> Result<NetworkPolicyChange, ModelError> {
        let network = self.network(id)?;
        let mut document = network.document.clone();
        let before = std::mem::take(&mut document.policies);
        let completed = |policy: &Policy| match network.vnis().next() {
            Some(vni) => overlay::completed(policy.clone(), vni),
            None => policy.clone(),
        };
        let wanted: Vec<Policy> = wanted.iter().map(completed).collect();
        document.policies = merged(network, request, &wanted)?;
        check(&document, &before)?;
        overlay::check_routes(&document, self.networks().filter(|other| other.id() != id))?;
        self.check_members_of(network, &document)?;
        self.network_mut(id)?.document.policies = document.policies;
        Ok(NetworkPolicyChange { network: id, before })
    }

    /// What the network's endpoints name must stay, and its rules must find room beside theirs.
    fn check_members_of(&self, network: &Network, document: &hcn::Network) -> Result<(), ModelError> {
        let sets: BTreeSet<&str> =
            document.policies.iter().filter_map(Policy::as_set).map(|set| set.id.as_str()).collect();
        for id in network.endpoints() {
            let Ok(endpoint) = self.endpoint(id) else { continue };
            let policies = &endpoint.document.policies;
            if let Some(set) = policies.iter().flat_map(Policy::named_sets).find(|id| !sets.contains(id)) {
                let (network, set) = (document.name.clone(), set.to_owned());
                return Err(ModelError::SetInUse { network, set, user: self.describe_endpoint(id) });
            }
            endpoint::check_size(policies, &document.policies)?;
            remote::check_host_of(endpoint, document)?;
        }
        Ok(())
    }

    /// Takes a change back.
    pub fn revert_network_policies(&mut self, change: NetworkPolicyChange) {
        if let Ok(network) = self.network_mut(change.network) {
            network.document.policies = change.before;
        }
    }
}
