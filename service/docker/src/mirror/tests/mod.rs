//! The plan, without Docker and without a host.

mod convergence;
mod plan;
mod ranges;
mod replay;

use std::collections::BTreeMap;

use hns_hcn::NetworkType;
use hns_net::Guid;

use super::view::{DockerNetwork, DockerSubnet, HnsNetwork};
use crate::ids;

/// The id of the Docker object with this number.
fn docker_id(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

/// The HNS object that was made for the Docker object with this number.
fn guid(number: u8) -> Guid {
    ids::guid(&docker_id(number)).unwrap()
}

fn subnet(prefix: &str, range: Option<&str>) -> DockerSubnet {
    DockerSubnet {
        prefix: prefix.parse().unwrap(),
        range: range.map(|range| range.parse().unwrap()),
        gateway: None,
        aux_addresses: BTreeMap::new(),
    }
}

/// A network of Docker's own making.
fn docker(number: u8, name: &str) -> DockerNetwork {
    DockerNetwork {
        id: docker_id(number),
        name: name.to_owned(),
        driver: "nat".to_owned(),
        ipam_driver: "default".to_owned(),
        subnets: vec![subnet(&format!("10.{number}.0.0/24"), None)],
        ..DockerNetwork::default()
    }
}

/// A network of Docker that shows the HNS network with this number.
fn showing(number: u8, name: &str, hns: u8) -> DockerNetwork {
    let option = ("com.docker.network.windowsshim.hnsid".to_owned(), guid(hns).to_string());
    DockerNetwork { options: BTreeMap::from([option]), ipam_driver: "hns".to_owned(), ..docker(number, name) }
}

fn hns(number: u8, name: &str, serves: &[u8]) -> HnsNetwork {
    HnsNetwork {
        id: guid(number),
        name: name.to_owned(),
        kind: NetworkType::Nat,
        serves: serves.iter().map(|number| docker_id(*number)).collect(),
        engine: None,
        subnets: vec![(format!("10.{number}.0.0/24").parse().unwrap(), None)],
        range: Vec::new(),
        is_adopted: false,
    }
}
