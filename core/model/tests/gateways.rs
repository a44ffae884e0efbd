//! The host as the gateway of a network under one MAC address, by an endpoint in its own namespace.

#![expect(clippy::unwrap_used, reason = "a document that cannot be made fails the test")]

use std::net::IpAddr;

use hns_hcn as hcn;
use hns_model::{ModelError, Surroundings, World};
use hns_net::Guid;
use serde_json::{Value, json};

const NETWORK: u8 = 1;
const HOST: u8 = 2;
const CONTAINER: u8 = 3;

fn id(number: u8) -> Guid {
    Guid::from_bytes([number; 16])
}

/// A network of this type with the gateways `.1`, the host's own namespace and a container's. The host has `own`.
fn world(kind: &str, vlan: Option<u16>, own: &str) -> World {
    let mut world = World::default();
    let route = |hop: &str, all: &str| json!([{"NextHop": hop, "DestinationPrefix": all}]);
    let mut policies = vec![json!({"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}})];
    policies.extend(vlan.map(|vlan| json!({"Type": "VLAN", "Settings": {"IsolationId": vlan}})));
    let document = json!({"Name": "pods", "Type": kind, "Policies": policies, "Ipams": [{"Subnets": [
        {"IpAddressPrefix": "10.244.1.0/24", "Routes": route("10.244.1.1", "0.0.0.0/0")},
        {"IpAddressPrefix": "fd00:244:1::/64", "Routes": route("fd00:244:1::1", "::/0")},
    ]}]});
    let mut number = 100;
    let mut fresh_id = || {
        number += 1;
        id(number)
    };
    let mut around = Surroundings { id: id(NETWORK), fresh_id: &mut fresh_id, routes: &[] };
    world.reserve_network(hcn::Network::from_v2(&document).unwrap(), &mut around).unwrap();
    let switch = world.network(id(NETWORK)).unwrap().switch_id();
    world.set_hosts_own(switch, [own.parse().unwrap()].into());
    for (number, document) in [
        (HOST, json!({"Type": "HostDefault"})),
        (CONTAINER, json!({"AdditionalParams": {"Path": "/run/netns/a"}})),
    ] {
        let document = hcn::Namespace::from_v2(&document).unwrap();
        world.reserve_namespace(document, [id(number), id(number + 100)]).unwrap();
    }
    world
}

fn routed() -> World {
    world("L2Bridge", None, "198.18.0.1")
}

fn reserve(world: &mut World, number: u8, namespace: Option<u8>, more: &Value) -> Result<Guid, ModelError> {
    let mut document = json!({"HostComputeNetwork": id(NETWORK).to_string()});
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    if let Some(namespace) = namespace {
        document["HostComputeNamespace"] = json!(id(namespace).to_string());
    }
    world.reserve_endpoint(hcn::Endpoint::from_v2(&document).unwrap(), id(number))
}

fn at(addresses: &[&str]) -> Value {
    let addresses: Vec<Value> = addresses.iter().map(|address| json!({"IpAddress": address})).collect();
    json!({"IpConfigurations": addresses})
}

fn behind(world: &World, endpoint: Guid) -> [bool; 2] {
    world.is_behind_host(world.endpoint(endpoint).unwrap())
}

#[test]
fn the_gateways_address_is_for_one_endpoint_in_the_hosts_own_namespace() {
    let mut world = routed();
    let own = at(&["10.244.1.1", "fd00:244:1::1"]);
    for namespace in [None, Some(CONTAINER)] {
        let said = reserve(&mut world, 10, namespace, &own).unwrap_err().to_string();
        assert!(said.contains("reserved: the gateway's"), "{said}");
    }
    let gateway = reserve(&mut world, 10, Some(HOST), &own).unwrap();
    assert!(world.endpoint(gateway).unwrap().routes().is_empty(), "a gateway is not its own");
    let said = reserve(&mut world, 11, Some(HOST), &own).unwrap_err().to_string();
    assert!(said.contains(&format!("in use by endpoint {gateway}")), "{said}");
    let said = world.reserve_attachment(gateway, id(CONTAINER)).unwrap_err().to_string();
    assert!(said.contains("the address of its network's gateway"), "{said}");
    assert!(world.reserve_handover(gateway, "/run/docker/netns/a".into()).is_err());
    world.reserve_attachment(gateway, id(HOST)).unwrap();
    // What it had is free again, for another gateway alone.
    world.forget_endpoint(gateway).unwrap();
    assert!(reserve(&mut world, 11, None, &own).is_err());
    reserve(&mut world, 11, Some(HOST), &own).unwrap();
}

#[test]
fn the_host_is_no_gateway_where_it_is_already_or_hears_nothing() {
    for (mut world, word) in [
        (world("L2Bridge", None, "10.244.1.200"), "the host itself is on adapter eth0 already"),
        (world("Transparent", None, "198.18.0.1"), "the host itself is on adapter eth0 already"),
        (world("L2Bridge", Some(7), "198.18.0.1"), "the host is in no VLAN of its adapter"),
    ] {
        let said = reserve(&mut world, 10, Some(HOST), &at(&["10.244.1.1"])).unwrap_err().to_string();
        assert!(said.contains("reserved: the gateway's"), "{said}");
        let endpoint = reserve(&mut world, 10, None, &at(&["10.244.1.2"])).unwrap();
        let said = world.reserve_attachment(endpoint, id(HOST)).unwrap_err().to_string();
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn a_container_is_behind_the_host_where_its_default_route_leads_there() {
    let mut world = routed();
    let web = reserve(&mut world, 20, None, &at(&["10.244.1.7", "fd00:244:1::7"])).unwrap();
    let hops = json!({"IpConfigurations": [{"IpAddress": "10.244.1.8"}, {"IpAddress": "fd00:244:1::8"}],
        "Routes": [{"NextHop": "10.244.1.2", "DestinationPrefix": "0.0.0.0/0"}]});
    let other = reserve(&mut world, 21, None, &hops).unwrap();
    assert_eq!((behind(&world, web), behind(&world, other)), ([false; 2], [false; 2]));
    let gateway = reserve(&mut world, 10, None, &at(&["10.244.1.2", "fd00:244:1::2"])).unwrap();
    assert_eq!(behind(&world, other), [false; 2], "it is nowhere yet");
    world.reserve_attachment(gateway, id(HOST)).unwrap();
    assert_eq!((behind(&world, web), behind(&world, other)), ([false; 2], [true, false]));
    assert_eq!(behind(&world, gateway), [true; 2]);
    let own = reserve(&mut world, 11, Some(HOST), &at(&["10.244.1.1", "fd00:244:1::1"])).unwrap();
    world.reserve_attachment(own, id(HOST)).unwrap();
    assert_eq!((behind(&world, web), behind(&world, other)), ([true; 2], [true; 2]));
    world.release_attachment(own).unwrap();
    assert_eq!((behind(&world, web), behind(&world, other)), ([false; 2], [true, false]));
}

#[test]
fn a_gateway_has_its_address_after_a_restart() {
    let mut world = routed();
    let own: [IpAddr; 2] = ["10.244.1.1".parse().unwrap(), "fd00:244:1::1".parse().unwrap()];
    let gateway = reserve(&mut world, 10, Some(HOST), &at(&["10.244.1.1", "fd00:244:1::1"])).unwrap();
    world.reserve_attachment(gateway, id(HOST)).unwrap();
    let before = world.endpoint(gateway).unwrap().clone();
    let mut again = routed();
    let (attachment, turns) = (before.attachment().cloned(), before.attachments() - 1);
    again.restore_endpoint(before.document(), attachment, turns, None).unwrap();
    let after = again.endpoint(gateway).unwrap();
    assert!(after.addresses().map(hns_net::IfAddr::address).eq(own));
    assert!(again.is_gateway(after));
    assert!(reserve(&mut again, 11, Some(HOST), &at(&["10.244.1.1"])).is_err());
}
