//! What both sides show of their networks, as far as the mirror compares them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hns_hcn::NetworkType;
use hns_model::World;
use hns_net::{Cidr, Family, Guid};
use serde_json::{Map, Value, json};

use crate::drivers::{DRIVERS, Driver};
use crate::options::NetworkOptions;
use crate::{ids, marks};

/// On an HNS network that Docker made: the id of that Docker daemon. Another daemon on this host does not know the
/// network, and must not take it for deleted.
pub(super) const ENGINE: &str = "DockerEngine";

/// A network of Docker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DockerNetwork {
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: String,
    pub driver: String,
    pub internal: bool,
    /// Absent where Docker is too old to switch IPv4 off.
    pub enable_v4: Option<bool>,
    pub enable_v6: bool,
    pub options: BTreeMap<String, String>,
    pub ipam_driver: String,
    pub subnets: Vec<DockerSubnet>,
    /// Those of running containers; empty where only the list of networks was asked for.
    pub endpoints: Vec<DockerEndpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DockerSubnet {
    pub prefix: Cidr,
    /// The part that Docker hands out by itself.
    pub range: Option<Cidr>,
    pub gateway: Option<IpAddr>,
    pub aux_addresses: BTreeMap<String, IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DockerEndpoint {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The container's.
    pub name: String,
}

impl DockerNetwork {
    /// Our driver for it, if it is ours.
    pub fn driver(&self) -> Option<&'static Driver> {
        DRIVERS.into_iter().find(|driver| driver.name == self.driver)
    }

    /// The HNS network that its options name.
    pub fn bound_to(&self) -> Option<Guid> {
        let options: Map<_, _> =
            self.options.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let all = Map::from_iter([("com.docker.network.generic".to_owned(), Value::Object(options))]);
        NetworkOptions::read(self.driver()?, &all).ok()?.bind
    }

    /// The HNS network behind it: the one that its options name, or the one that was made for it.
    pub fn behind(&self) -> Option<Guid> {
        self.bound_to().or_else(|| ids::guid(&self.id).ok())
    }
}

/// What HNS has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hns {
    pub networks: Vec<HnsNetwork>,
    /// Those that Docker made.
    pub endpoints: Vec<HnsEndpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HnsNetwork {
    pub id: Guid,
    pub name: String,
    pub kind: NetworkType,
    /// The ids of the Docker networks that it serves.
    pub serves: Vec<String>,
    /// The Docker daemon that made it.
    pub engine: Option<String>,
    /// Its subnets, with the host's address in each.
    pub subnets: Vec<(Cidr, Option<IpAddr>)>,
    pub range: Vec<Cidr>,
    /// Whether it is a bridge of the administrator's, who may give it other prefixes.
    pub is_adopted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HnsEndpoint {
    pub id: Guid,
    pub name: String,
    /// The Docker network that it was made for.
    pub docker: String,
}

impl Hns {
    pub fn of(world: &World) -> Self {
        let networks = world.networks().map(|network| {
            let gateway =
                |prefix| network.gateways().find(|(of, _)| *of == prefix).map(|(_, address)| address);
            let params = &network.document().params;
            HnsNetwork {
                id: network.id(),
                name: network.name().to_owned(),
                kind: network.kind(),
                serves: marks::served(network),
                engine: params.others.get(ENGINE).and_then(Value::as_str).map(str::to_owned),
                subnets: network.prefixes().map(|prefix| (prefix, gateway(prefix))).collect(),
                range: params.ip_range.clone(),
                is_adopted: network.adopted().is_some(),
            }
        });
        let endpoints = world.endpoints().filter(|endpoint| endpoint.is_settled()).filter_map(|endpoint| {
            let name = endpoint.document().name;
            Some(HnsEndpoint { id: endpoint.id(), name, docker: marks::docker_network(endpoint)? })
        });
        Self { networks: networks.collect(), endpoints: endpoints.collect() }
    }

    pub fn network(&self, id: Guid) -> Option<&HnsNetwork> {
        self.networks.iter().find(|network| network.id == id)
    }

    /// The endpoints that Docker has shown: they bear the names of their containers, which its API alone tells. It gives
    /// no id to a second endpoint, so one that it does not show any more is gone.
    pub fn shown(&self) -> impl Iterator<Item = Guid> {
        let is_shown = |endpoint: &&HnsEndpoint| ids::guid(&endpoint.name).ok() != Some(endpoint.id);
        self.endpoints.iter().filter(is_shown).map(|endpoint| endpoint.id)
    }

    /// The HNS network that serves a network of Docker.
    pub fn serving(&self, docker: &str) -> Option<&HnsNetwork> {
        self.networks.iter().find(|network| network.serves.iter().any(|id| id == docker))
    }
}

impl HnsNetwork {
    /// Whether it was made for this network of Docker.
    pub fn is_made_for(&self, docker: &str) -> bool {
        ids::guid(docker).is_ok_and(|id| id == self.id)
    }

    /// Whether a network of Docker's that shows it says other subnets or gateways.
    pub fn is_renumbered(&self, shown: &DockerNetwork) -> bool {
        let says = |(prefix, gateway): &(Cidr, Option<IpAddr>)| {
            let there = shown.subnets.iter().find(|subnet| subnet.prefix == *prefix);
            there.is_some_and(|subnet| gateway.is_none() || subnet.gateway == *gateway)
        };
        self.subnets.len() != shown.subnets.len() || !self.subnets.iter().all(says)
    }

    pub fn has(&self, family: Family) -> bool {
        self.subnets.iter().any(|(prefix, _)| prefix.family() == family)
    }
}

/// What of Docker's HNS had at a moment when a daemon of Docker certainly had it too. What of it Docker does not know
/// later is a leftover; what came afterwards may be on its way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Suspects {
    pub endpoints: BTreeSet<Guid>,
    /// The ids of Docker networks.
    pub networks: BTreeSet<String>,
}

impl Suspects {
    pub fn of(hns: &Hns) -> Self {
        Self {
            endpoints: hns.endpoints.iter().map(|endpoint| endpoint.id).collect(),
            networks: hns.networks.iter().flat_map(|network| network.serves.iter().cloned()).collect(),
        }
    }
}
