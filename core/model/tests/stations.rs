//! MAC addresses on external switches, where endpoints of several networks and the adapter itself are beside each other.

#![expect(clippy::unwrap_used, reason = "a document that cannot be made fails the test")]

use hns_hcn as hcn;
use hns_model::{ModelError, Surroundings, World};
use hns_net::{Guid, Mac};
use serde_json::{Value, json};

const ADAPTER: &str = "02-00-00-00-AD-01";

fn id(number: u8) -> Guid {
    Guid::from_bytes([number; 16])
}

/// Two networks on the adapter's own LAN and one in a VLAN of it.
fn world(kind: &str) -> World {
    let mut world = World::default();
    for (number, vlan) in [(1, None), (2, None), (3, Some(7))] {
        let mut policies =
            vec![json!({"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}})];
        policies.extend(vlan.map(|vlan| json!({"Type": "VLAN", "Settings": {"IsolationId": vlan}})));
        let subnets = json!([{"Subnets": [{"IpAddressPrefix": format!("198.18.{number}.0/24")}]}]);
        let pool = json!({"Ranges": [{
            "StartMacAddress": format!("02-00-00-00-0{number}-00"), "EndMacAddress": format!("02-00-00-00-0{number}-0F"),
        }]});
        let document = json!({"Name": format!("net{number}"), "Type": kind, "Policies": policies, "Ipams": subnets,
            "MacPool": pool});
        let mut fresh = || id(100 + number);
        let mut around = Surroundings { id: id(number), fresh_id: &mut fresh, routes: &[] };
        world.reserve_network(hcn::Network::from_v2(&document).unwrap(), &mut around).unwrap();
    }
    world.set_adapter_mac("eth0".parse().unwrap(), ADAPTER.parse().unwrap());
    world
}

fn reserve(world: &mut World, network: u8, number: u8, mac: Option<&str>) -> Result<Mac, ModelError> {
    let mut document = json!({"HostComputeNetwork": id(network).to_string(), "Name": format!("c{number}")});
    if let Some(mac) = mac {
        document["MacAddress"] = Value::from(mac);
    }
    let made = world.reserve_endpoint(hcn::Endpoint::from_v2(&document).unwrap(), id(number))?;
    Ok(world.endpoint(made).unwrap().mac().unwrap())
}

#[test]
fn no_endpoint_gets_a_mac_address_that_somebody_has_on_its_lan() {
    for kind in ["Transparent", "L2Bridge", "L2Tunnel"] {
        let mut world = world(kind);
        let held = "02-00-00-00-09-09";
        reserve(&mut world, 1, 20, Some(held)).unwrap();
        for (network, mac, holder) in [
            (1, ADAPTER, "adapter eth0"),
            (3, ADAPTER, "adapter eth0"),
            (2, held, "\"c20\" of network \"net1\""),
        ] {
            let before = world.clone();
            let refused = reserve(&mut world, network, 21, Some(mac)).unwrap_err();
            assert_eq!(refused.code(), hcn::ErrorCode::ADDR_INVALID_OR_RESERVED, "{kind}: {refused}");
            let said = refused.to_string();
            for word in ["endpoint", "MacAddress", mac, holder, &format!("\"net{network}\"")] {
                assert!(said.contains(word), "{kind}: {word}: {said}");
            }
            assert!(world == before, "{kind}: {said}");
        }
        // In a VLAN are others, and what was given back is free.
        reserve(&mut world, 3, 22, Some(held)).unwrap();
        world.forget_endpoint(id(20)).unwrap();
        reserve(&mut world, 2, 23, Some(held)).unwrap();
    }
}

#[test]
fn what_is_chosen_is_nobody_elses_on_the_lan() {
    for kind in ["Transparent", "L2Bridge", "L2Tunnel"] {
        let mut world = world(kind);
        world.set_adapter_mac("eth0".parse().unwrap(), "02-00-00-00-02-00".parse().unwrap());
        // By hand, from the other network's pool.
        for number in 1..=14 {
            reserve(&mut world, 1, 20 + number, Some(&format!("02-00-00-00-02-{number:02X}"))).unwrap();
        }
        let chosen = reserve(&mut world, 2, 50, None).unwrap();
        assert_eq!(chosen, "02-00-00-00-02-0F".parse().unwrap(), "{kind}");
        let said = reserve(&mut world, 2, 51, None).unwrap_err();
        assert_eq!(said, ModelError::MacsExhausted { network: "net2".to_owned() }, "{kind}");
        world.forget_endpoint(id(21)).unwrap();
        assert_eq!(reserve(&mut world, 2, 51, None).unwrap(), "02-00-00-00-02-01".parse().unwrap(), "{kind}");
    }
}
