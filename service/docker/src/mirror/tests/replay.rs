use std::collections::BTreeMap;

use serde_json::json;

use super::super::replay::create_network;
use super::super::view::{DockerNetwork, DockerSubnet};
use super::{docker, docker_id, subnet};

#[test]
fn a_lost_network_is_told_as_docker_told_it() {
    let v4 = DockerSubnet {
        gateway: Some("10.7.0.1".parse().unwrap()),
        aux_addresses: BTreeMap::from([("dns".to_owned(), "10.7.0.2".parse().unwrap())]),
        ..subnet("10.7.0.0/24", None)
    };
    let network = DockerNetwork {
        internal: true,
        enable_v4: Some(true),
        enable_v6: true,
        options: BTreeMap::from([("mtu".to_owned(), "1400".to_owned())]),
        subnets: vec![v4, subnet("fd00:7::/64", None)],
        ..docker(7, "blue")
    };
    let expected = json!({
        "NetworkID": docker_id(7),
        "Options": {
            "com.docker.network.generic": { "mtu": "1400" },
            "com.docker.network.enable_ipv6": true,
            "com.docker.network.enable_ipv4": true,
            "com.docker.network.internal": true,
        },
        "IPv4Data": [{
            "AddressSpace": "LocalDefault",
            "Pool": "10.7.0.0/24",
            "AuxAddresses": { "dns": "10.7.0.2/24" },
            "Gateway": "10.7.0.1/24",
        }],
        "IPv6Data": [{ "AddressSpace": "LocalDefault", "Pool": "fd00:7::/64", "AuxAddresses": {} }],
    });
    assert_eq!(create_network(&network), expected);
}

#[test]
fn what_docker_does_not_know_is_not_said() {
    let body = create_network(&DockerNetwork { subnets: Vec::new(), ..docker(7, "blue") });
    assert_eq!(body["Options"].get("com.docker.network.enable_ipv4"), None);
    assert_eq!((&body["IPv4Data"], &body["IPv6Data"]), (&json!([]), &json!([])));
}
