//! What is to be done so that both sides show the same networks: pure, from what both show to a list of deeds.

use std::collections::BTreeSet;

use hns_hcn::NetworkType;
use hns_net::{Cidr, Family, Guid};

use super::ranges;
use super::view::{DockerEndpoint, DockerNetwork, Hns, HnsNetwork, Suspects};
use crate::drivers::{DRIVERS, Driver};
use crate::ids;

/// One thing to do, on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    /// Docker: make the network that shows this HNS network.
    Show { network: HnsNetwork, driver: &'static str },
    /// Docker: remove a network whose HNS network is gone, or has other subnets.
    Remove { docker: String, name: String },
    /// HNS: make or bind again what Docker has and HNS lost, as if Docker created it.
    Remake(DockerNetwork),
    /// HNS: what Docker does not tell a driver about its network.
    Amend { network: Guid, name: Option<String>, range: Option<Vec<Cidr>>, engine: Option<String> },
    /// HNS: an endpoint is called as its container.
    Name { endpoint: Guid, name: String },
    /// HNS: delete an endpoint whose container is gone.
    Collect { endpoint: Guid },
    /// HNS: Docker deleted a network while nobody listened.
    Forget { docker: String },
    /// Nothing, and why.
    Leave { network: Guid, name: String, why: Obstacle },
}

/// Why an HNS network is not shown in Docker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Obstacle {
    #[error("Docker has another network of this name")]
    NameTaken,
    #[error("this Docker makes no networks without IPv4")]
    NeedsIpv4,
    #[error("the host has no address on its bridge, which would tell Docker its subnet")]
    NoSubnet,
}

/// What makes the mirror look, and what it knows beside what both sides show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Occasion {
    /// Docker or we have just started: everything that HNS has is shown, everything that it lost is made again.
    pub is_start: bool,
    /// HNS networks made while connected.
    pub appeared: BTreeSet<Guid>,
    /// HNS networks deleted while connected.
    pub vanished: BTreeSet<Guid>,
    /// Docker networks that Docker is deleting by itself.
    pub departing: BTreeSet<String>,
    /// What is a leftover if Docker does not know it.
    pub suspects: Suspects,
    /// The daemon's id, where it gives one.
    pub engine: Option<String>,
    /// Whether Docker makes networks without IPv4.
    pub can_be_v6_only: bool,
}

/// Compares everything. `docker` are all networks of Docker, those of other drivers too.
pub(super) fn plan(docker: &[DockerNetwork], hns: &Hns, occasion: &Occasion) -> Vec<Deed> {
    let mut deeds: Vec<Deed> = docker.iter().flat_map(|network| for_docker(network, hns, occasion)).collect();
    deeds.extend(leftovers(docker, hns, occasion));
    let shown = hns.networks.iter().filter_map(|network| for_hns(network, docker, &deeds, occasion));
    let shown: Vec<Deed> = shown.collect();
    deeds.extend(shown);
    deeds
}

/// Compares one network that Docker has.
pub(super) fn for_docker(network: &DockerNetwork, hns: &Hns, occasion: &Occasion) -> Vec<Deed> {
    if network.driver().is_none() || occasion.departing.contains(&network.id) {
        return Vec::new();
    }
    match hns.serving(&network.id) {
        Some(served) if is_outdated(network, served, hns, occasion) => {
            vec![Deed::Remove { docker: network.id.clone(), name: network.name.clone() }]
        }
        Some(served) => {
            let amend = amendment(network, served, occasion.engine.as_deref());
            let name_of =
                |id| hns.endpoints.iter().find(|endpoint| endpoint.id == id).map(|e| e.name.clone());
            amend.into_iter().chain(names(&network.endpoints, name_of)).collect()
        }
        None => for_unserved(network, hns, occasion).into_iter().collect(),
    }
}

/// Whether a network shows a bridge that has other subnets by now, and nobody is on it. It is shown anew.
fn is_outdated(network: &DockerNetwork, served: &HnsNetwork, hns: &Hns, occasion: &Occasion) -> bool {
    let is_told = occasion.is_start || occasion.appeared.contains(&served.id);
    let is_used = || hns.endpoints.iter().any(|endpoint| endpoint.docker == network.id);
    let shows_it = network.bound_to() == Some(served.id) && served.is_adopted && !served.subnets.is_empty();
    is_told && shows_it && served.is_renumbered(network) && !is_used()
}

fn for_unserved(network: &DockerNetwork, hns: &Hns, occasion: &Occasion) -> Option<Deed> {
    let behind = network.behind()?;
    let remove = || Deed::Remove { docker: network.id.clone(), name: network.name.clone() };
    let is_lost = hns.network(behind).is_none();
    if is_lost && (occasion.vanished.contains(&behind) || (occasion.is_start && network.bound_to().is_some()))
    {
        return Some(remove());
    }
    // A bridge may be there later than Docker, or have had other subnets when Docker started.
    let is_back =
        occasion.appeared.contains(&behind) && hns.network(behind).is_some_and(|there| there.is_adopted);
    (occasion.is_start || is_back).then(|| Deed::Remake(network.clone()))
}

/// What Docker knows of a network that it made and did not tell us.
fn amendment(network: &DockerNetwork, served: &HnsNetwork, engine: Option<&str>) -> Option<Deed> {
    if !served.is_made_for(&network.id) {
        return None;
    }
    // Under its id it was made; any other name was asked for.
    let name = (served.name == network.id).then(|| network.name.clone());
    let wanted = ranges::for_others(&network.subnets);
    let is_divided =
        ranges::is_dockers(&network.ipam_driver) && served.range.is_empty() && !wanted.is_empty();
    let range = is_divided.then_some(wanted);
    let engine = engine.filter(|id| served.engine.as_deref() != Some(id)).map(str::to_owned);
    let is_amended = name.is_some() || range.is_some() || engine.is_some();
    is_amended.then_some(Deed::Amend { network: served.id, name, range, engine })
}

/// Endpoints that are not called as their containers; `name_of` gives what HNS calls an endpoint that it has.
pub(super) fn names(containers: &[DockerEndpoint], name_of: impl Fn(Guid) -> Option<String>) -> Vec<Deed> {
    let misnamed = containers.iter().filter_map(|container| {
        let id = ids::guid(&container.id).ok()?;
        let name = container.name.clone();
        (!name.is_empty() && name_of(id)? != name).then_some(Deed::Name { endpoint: id, name })
    });
    misnamed.collect()
}

fn leftovers(docker: &[DockerNetwork], hns: &Hns, occasion: &Occasion) -> Vec<Deed> {
    let is_known = |id: &str| docker.iter().any(|network| network.id == id);
    let live: BTreeSet<Guid> = docker
        .iter()
        .flat_map(|network| &network.endpoints)
        .filter_map(|endpoint| ids::guid(&endpoint.id).ok())
        .collect();
    let dead = hns.endpoints.iter().filter(|endpoint| {
        occasion.suspects.endpoints.contains(&endpoint.id)
            && is_known(&endpoint.docker)
            && !live.contains(&endpoint.id)
    });
    let mut deeds: Vec<Deed> = dead.map(|endpoint| Deed::Collect { endpoint: endpoint.id }).collect();
    for network in hns.networks.iter().filter(|network| network.engine.is_some()) {
        let is_gone = |id: &&String| {
            occasion.suspects.networks.contains(*id) && network.is_made_for(id) && !is_known(id)
        };
        if network.engine == occasion.engine
            && let Some(id) = network.serves.iter().find(is_gone)
        {
            deeds.push(Deed::Forget { docker: id.clone() });
        }
    }
    deeds
}

/// What to do in Docker about an HNS network.
fn for_hns(
    network: &HnsNetwork,
    docker: &[DockerNetwork],
    before: &[Deed],
    occasion: &Occasion,
) -> Option<Deed> {
    let driver = shown_by(network.kind)?;
    let is_removed =
        |id: &str| before.iter().any(|deed| matches!(deed, Deed::Remove { docker, .. } if docker == id));
    let has_come =
        occasion.appeared.contains(&network.id) && network.serves.iter().all(|docker| is_removed(docker));
    if !(occasion.is_start || has_come) {
        return None;
    }
    let is_served = |id: &String| docker.iter().any(|known| known.id == *id && !is_removed(id));
    let is_bound = docker.iter().any(|known| known.bound_to() == Some(network.id) && !is_removed(&known.id));
    // One that Docker made is Docker's to show; where it is not yet in the list, Docker is making it.
    if is_bound || network.serves.iter().any(|id| is_served(id) || network.is_made_for(id)) {
        return None;
    }
    let leave = |why| Deed::Leave { network: network.id, name: network.name.clone(), why };
    if docker.iter().any(|known| known.name == network.name && !is_removed(&known.id)) {
        return Some(leave(Obstacle::NameTaken));
    }
    // Docker's own IPAM would give its containers addresses, which are the LAN's to give.
    if network.subnets.is_empty() {
        return Some(leave(Obstacle::NoSubnet));
    }
    if !network.has(Family::V4) && !occasion.can_be_v6_only {
        return Some(leave(Obstacle::NeedsIpv4));
    }
    Some(Deed::Show { network: network.clone(), driver: driver.name })
}

/// The driver under which Docker shows HNS networks of this type; none for those that only the host sees, as on
/// Windows.
fn shown_by(kind: NetworkType) -> Option<&'static Driver> {
    DRIVERS.into_iter().find(|driver| driver.kind == kind)
}
