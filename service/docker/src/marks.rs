//! What Docker alone needs to know of an object, kept in the object's `AdditionalParams`.

use std::net::IpAddr;

use hns_hcn::Policy;
use hns_model::{Endpoint, Network, NetworkAmendment, World};
use hns_net::{Cidr, Family};
use serde_json::{Map, Value, json};

use crate::ids;
use crate::refusal::Refusal;

/// The ids of the Docker networks that an HNS network serves.
pub(crate) const NETWORKS: &str = "DockerNetworks";

/// By the id of a Docker network: what its options say about its endpoints.
pub(crate) const OPTIONS: &str = "DockerOptions";

/// On an endpoint: the ids under which Docker knows it.
pub(crate) const ENDPOINT: &str = "Docker";

/// The owner of what Docker made.
pub(crate) const OWNER: &str = "docker";

/// What the options of a Docker network say about each of its endpoints. Two Docker networks on one HNS network may
/// differ in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EndpointDefaults {
    /// What a vNIC's name in the container begins with, if not with `eth`.
    pub interface_prefix: Option<String>,
    /// Where ports are published for which the user names no address.
    pub host_address: Option<IpAddr>,
    /// Endpoints do not talk to each other.
    pub isolated: bool,
    /// Each endpoint carries an OutBoundNAT policy, as on Windows.
    pub outbound_nat: bool,
    /// Whom it meets by its own address all the same.
    pub outbound_exceptions: Vec<Cidr>,
}

impl EndpointDefaults {
    /// Each for the family that it speaks of.
    pub fn outbound_nats(&self) -> impl Iterator<Item = Policy> {
        let of = |family| self.outbound_exceptions.iter().copied().filter(move |one| one.family() == family);
        let excepting =
            [Family::V4, Family::V6].into_iter().map(move |family| of(family).collect::<Vec<_>>());
        let bare = self.outbound_nat && self.outbound_exceptions.is_empty();
        let excepting = excepting.filter(|prefixes| !prefixes.is_empty());
        excepting.chain(bare.then(Vec::new)).map(Policy::outbound_nat)
    }

    fn to_value(&self) -> Value {
        let mut out = Map::new();
        if let Some(prefix) = &self.interface_prefix {
            out.insert("InterfacePrefix".into(), json!(prefix));
        }
        if let Some(address) = self.host_address {
            out.insert("HostAddress".into(), json!(address.to_string()));
        }
        if self.isolated {
            out.insert("DisableIcc".into(), json!(true));
        }
        if self.outbound_nat {
            out.insert("OutboundNat".into(), json!(true));
        }
        if !self.outbound_exceptions.is_empty() {
            let listed: Vec<String> = self.outbound_exceptions.iter().map(Cidr::to_string).collect();
            out.insert("OutboundExceptions".into(), json!(listed));
        }
        Value::Object(out)
    }

    fn from_value(value: &Value) -> Self {
        Self {
            interface_prefix: value["InterfacePrefix"].as_str().map(str::to_owned),
            host_address: value["HostAddress"].as_str().and_then(|text| text.parse().ok()),
            isolated: value["DisableIcc"] == json!(true),
            outbound_nat: value["OutboundNat"] == json!(true),
            outbound_exceptions: (value["OutboundExceptions"].as_array().into_iter().flatten())
                .filter_map(|one| one.as_str()?.parse().ok())
                .collect(),
        }
    }

    /// Those of one Docker network on this HNS network.
    pub fn of(network: &Network, docker: &str) -> Self {
        network
            .document()
            .params
            .others
            .get(OPTIONS)
            .map(|all| Self::from_value(&all[docker]))
            .unwrap_or_default()
    }
}

/// The Docker networks that an HNS network serves.
pub(crate) fn served(network: &Network) -> Vec<String> {
    let listed = network.document().params.others.get(NETWORKS).and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

/// Whether Docker made this HNS network for its own of this id, rather than bound its own to it.
pub(crate) fn is_made_for(network: &Network, docker: &str) -> bool {
    ids::guid(docker).is_ok_and(|id| id == network.id())
}

/// The HNS network behind a network of Docker.
pub(crate) fn find_network<'w>(world: &'w World, docker: &str) -> Option<&'w Network> {
    let serves = |network: &&Network| served(network).iter().any(|id| id == docker);
    let made = ids::guid(docker).ok().and_then(|id| world.network(id).ok()).filter(serves);
    made.or_else(|| world.networks().find(serves))
}

/// The same, where there must be one.
pub(crate) fn network<'w>(world: &'w World, docker: &str) -> Result<&'w Network, Refusal> {
    find_network(world, docker).ok_or_else(|| Refusal::NetworkUnknown(docker.to_owned()))
}

/// The marks of an HNS network that is made for a Docker network.
pub(crate) fn of_made(docker: &str, defaults: &EndpointDefaults) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert(NETWORKS.into(), json!([docker]));
    if *defaults != EndpointDefaults::default() {
        out.insert(OPTIONS.into(), json!({ docker: defaults.to_value() }));
    }
    out
}

/// The change that makes an HNS network serve one more Docker network.
pub(crate) fn binding(network: &Network, docker: &str, defaults: &EndpointDefaults) -> NetworkAmendment {
    let mut ids = served(network);
    ids.retain(|id| id != docker);
    ids.push(docker.to_owned());
    let mut options = options_of(network);
    options.remove(docker);
    if *defaults != EndpointDefaults::default() {
        options.insert(docker.to_owned(), defaults.to_value());
    }
    amendment(&ids, options)
}

/// The change that makes an HNS network serve one Docker network less.
pub(crate) fn unbinding(network: &Network, docker: &str) -> NetworkAmendment {
    let mut ids = served(network);
    ids.retain(|id| id != docker);
    let mut options = options_of(network);
    options.remove(docker);
    amendment(&ids, options)
}

fn options_of(network: &Network) -> Map<String, Value> {
    let options = network.document().params.others.get(OPTIONS);
    options.and_then(Value::as_object).cloned().unwrap_or_default()
}

fn amendment(ids: &[String], options: Map<String, Value>) -> NetworkAmendment {
    let ids = (!ids.is_empty()).then(|| json!(ids));
    let options = (!options.is_empty()).then_some(Value::Object(options));
    let params = vec![(NETWORKS.to_owned(), ids), (OPTIONS.to_owned(), options)];
    NetworkAmendment { params, ..NetworkAmendment::default() }
}

/// The mark of an endpoint of Docker.
pub(crate) fn of_endpoint(network: &str, endpoint: &str) -> Map<String, Value> {
    let ids = json!({ "NetworkID": network, "EndpointID": endpoint });
    Map::from_iter([(ENDPOINT.to_owned(), ids)])
}

/// The Docker network of an endpoint that Docker made.
pub(crate) fn docker_network(endpoint: &Endpoint) -> Option<String> {
    let document = endpoint.document();
    let mark = document.params.others.get(ENDPOINT)?;
    mark["NetworkID"].as_str().map(str::to_owned)
}
