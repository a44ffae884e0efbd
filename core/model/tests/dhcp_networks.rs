//! Networks whose addresses come from a LAN, and what endpoints on them may say.

#![expect(clippy::unwrap_used, reason = "a document that cannot be made fails the test")]

use std::collections::BTreeSet;

use hns_hcn as hcn;
use hns_model::{Grant, LanLease, LanServer, LeaseKind, ModelError, Surroundings, Term, World};
use hns_net::{Family, Guid};
use serde_json::{Value, json};

fn id(number: u8) -> Guid {
    Guid::from_bytes([number; 16])
}

fn reserve(world: &mut World, more: &Value) -> Result<hcn::Network, ModelError> {
    let mut document = json!({"Name": "home", "Type": "Transparent",
        "Policies": [{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}}]});
    let fields = more.as_object().unwrap().clone();
    document.as_object_mut().unwrap().extend(fields);
    let mut number = 100;
    let mut fresh = || {
        number += 1;
        id(number)
    };
    let mut around = Surroundings { id: id(1), fresh_id: &mut fresh, routes: &[] };
    let network = world.reserve_network(hcn::Network::from_v2(&document).unwrap(), &mut around)?;
    Ok(network.document().clone())
}

/// An endpoint of this network.
fn on(network: Guid, more: &Value) -> hcn::Endpoint {
    let mut document = json!({"HostComputeNetwork": network.to_string()});
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    hcn::Endpoint::from_v2(&document).unwrap()
}

fn lease(address: &str) -> LanLease {
    let address: hns_net::IfAddr = address.parse().unwrap();
    let grant = match address.family() {
        Family::V4 => Grant::Dhcp,
        Family::V6 => Grant::Advertised { is_managed: false },
    };
    LanLease {
        grant,
        addresses: vec![address],
        routes: Vec::new(),
        dns: Vec::new(),
        domain: None,
        search: Vec::new(),
        server: LanServer { address: [198, 18, 0, 254].into(), mac: "02:00:00:00:00:01".parse().unwrap() },
        term: Term { obtained: 0, renew_after: 1, rebind_after: 2, lifetime: 3 },
    }
}

#[test]
fn a_network_on_a_lan_that_names_no_prefix_takes_its_addresses_from_there() {
    for more in [
        json!({}),
        json!({"Ipams": [{"Type": "Dhcp"}]}),
        json!({"Ipams": [{"Type": 1, "Subnets": [{"IpAddressPrefix": "0.0.0.0/0"}]}]}),
        json!({"Ipams": [{"Subnets": [{"Policies": [{"Type": "VLAN", "Settings": {"IsolationId": 7}}]}]}]}),
    ] {
        let mut world = World::default();
        let made = reserve(&mut world, &more).unwrap();
        assert!(made.ipams.iter().all(|ipam| ipam.kind == hcn::IpamType::Dhcp), "{more}");
        assert!(made.subnets().all(|subnet| subnet.prefix.is_none()), "{more}");
        let network = world.network(id(1)).unwrap();
        assert!(network.has_dhcp() && network.prefixes().next().is_none());
        assert_eq!(hcn::Network::from_v2(&made.to_v2()).unwrap(), made, "{more}");
    }
}

#[test]
fn what_contradicts_the_lans_server_is_refused() {
    let subnet = json!([{"IpAddressPrefix": "198.18.0.0/24"}]);
    let route = json!([{"Routes": [{"NextHop": "198.18.0.254", "DestinationPrefix": "0.0.0.0/0"}]}]);
    for (more, word) in [
        (json!({"Ipams": [{"Type": "Dhcp", "Subnets": subnet}]}), "a prefix beside"),
        (json!({"Ipams": [{"Type": "Dhcp", "Subnets": route}]}), "a route beside"),
        (json!({"AdditionalParams": {"EnableIPv4": false}}), "no family to ask the LAN for"),
        (json!({"AdditionalParams": {"IpRange": "198.18.0.0/25"}}), "lies in no subnet"),
        (json!({"Type": "NAT", "Policies": [], "Ipams": [{"Type": "Dhcp"}]}), "no DHCP server to ask"),
    ] {
        let said = reserve(&mut World::default(), &more).unwrap_err().to_string();
        assert!(said.contains(word), "{more}: {said}");
    }
}

#[test]
fn a_lan_is_asked_for_the_families_that_are_wanted() {
    for (params, families) in [
        (json!({}), &[Family::V4][..]),
        (json!({"EnableIPv6": true}), &[Family::V4, Family::V6]),
        (json!({"EnableIPv6": false}), &[Family::V4]),
        (json!({"EnableIPv6": true, "EnableIPv4": false}), &[Family::V6]),
    ] {
        let mut world = World::default();
        reserve(&mut world, &json!({"AdditionalParams": params})).unwrap();
        let asked: Vec<_> = world.network(id(1)).unwrap().families_of_lan().collect();
        assert_eq!(asked, families, "{params}");
    }
}

/// Each is there as if it were alone, whichever goes first.
#[test]
fn leases_of_both_families_come_and_go_by_themselves() {
    let mut world = World::default();
    reserve(&mut world, &json!({"AdditionalParams": {"EnableIPv6": true}})).unwrap();
    let one = world.reserve_endpoint(on(id(1), &json!({})), id(2)).unwrap();
    let name_server = |lease: LanLease, at: &str| LanLease { dns: vec![at.parse().unwrap()], ..lease };
    let v4 = name_server(lease("198.18.0.7/24"), "198.18.0.53");
    let v6 = name_server(lease("fd00::7/64"), "fd00::53");
    let v6 =
        LanLease { addresses: ["fd00::7/64", "fd01::7/64"].map(|one| one.parse().unwrap()).into(), ..v6 };
    let shown = |world: &World| {
        let endpoint = world.endpoint(one).unwrap();
        let addresses: Vec<_> = endpoint.addresses().map(|address| address.to_string()).collect();
        (addresses.join(" "), endpoint.document().dns.servers.clone())
    };
    world.set_lease(one, v6.clone()).unwrap();
    assert_eq!(shown(&world), ("fd00::7/64 fd01::7/64".into(), v6.dns.clone()));
    world.set_lease(one, v4.clone()).unwrap();
    assert_eq!(shown(&world), ("198.18.0.7/24 fd00::7/64 fd01::7/64".into(), v4.dns));
    // Another one has none of these.
    let other = world.reserve_endpoint(on(id(1), &json!({})), id(3)).unwrap();
    let said = world.set_lease(other, lease("fd01::7/64")).unwrap_err().to_string();
    assert!(said.contains("fd01::7"), "{said}");
    assert!(world.withdraw_lease(one, LeaseKind::Dhcp).unwrap().is_some());
    assert_eq!(shown(&world), ("fd00::7/64 fd01::7/64".into(), v6.dns.clone()));
    assert_eq!(world.withdraw_leases(one).unwrap(), [v6]);
    assert_eq!(shown(&world), (String::new(), Vec::new()));
}

/// Who asks the server and who hears the router are two.
#[test]
fn what_no_router_names_any_more_is_missed_by_nobody() {
    let mut world = World::default();
    reserve(&mut world, &json!({"AdditionalParams": {"EnableIPv6": true}})).unwrap();
    let one = world.reserve_endpoint(on(id(1), &json!({})), id(2)).unwrap();
    for is_managed in [true, false] {
        world
            .set_lease(one, LanLease { grant: Grant::Advertised { is_managed }, ..lease("fd00::7/64") })
            .unwrap();
        world.set_lease_trouble(one, LeaseKind::Dhcp6, Some("no server".to_owned())).unwrap();
        let trouble = world.trouble_of(world.endpoint(one).unwrap());
        assert_eq!(trouble.is_some(), is_managed);
    }
}

#[test]
fn an_endpoint_names_no_address_there_and_gets_a_mac_address() {
    let mut world = World::default();
    reserve(&mut world, &json!({})).unwrap();
    let endpoint = |more: Value| on(id(1), &more);
    let named = endpoint(json!({"IpConfigurations": [{"IpAddress": "198.18.0.7"}]}));
    let said = world.reserve_endpoint(named, id(2)).unwrap_err().to_string();
    assert!(said.contains("\"home\" takes its addresses from the LAN"), "{said}");
    let macs: Vec<_> = [3, 4]
        .into_iter()
        .map(|number| {
            let made = world.reserve_endpoint(endpoint(json!({})), id(number)).unwrap();
            let made = world.endpoint(made).unwrap();
            assert_eq!(made.addresses().count(), 0);
            made.mac().unwrap()
        })
        .collect();
    assert_ne!(macs[0], macs[1]);
}

/// Somebody on the LAN has it, and that is an endpoint of ours.
#[test]
fn an_address_that_the_lan_gave_is_not_given_out_beside() {
    let mut world = World::default();
    reserve(&mut world, &json!({})).unwrap();
    let subnet = json!({"IpAddressPrefix": "198.18.0.0/24"});
    reserve(&mut world, &json!({"ID": id(9).to_string(), "Name": "fixed", "Ipams": [{"Subnets": [subnet]}]}))
        .unwrap();
    let leased = world.reserve_endpoint(on(id(1), &json!({"Name": "web"})), id(2)).unwrap();
    world.set_lease(leased, lease("198.18.0.1/24")).unwrap();
    let first = |world: &World, id| world.endpoint(id).unwrap().addresses().next().unwrap().to_string();
    let other = world.reserve_endpoint(on(id(9), &json!({})), id(3)).unwrap();
    assert_eq!(first(&world, other), "198.18.0.2/24");
    let named = json!({"IpConfigurations": [{"IpAddress": "198.18.0.1"}]});
    let said = world.reserve_endpoint(on(id(9), &named), id(4)).unwrap_err().to_string();
    assert!(said.contains("198.18.0.1") && said.contains("\"web\""), "{said}");
    // Free again with its lease.
    world.withdraw_lease(leased, LeaseKind::Dhcp).unwrap();
    let third = world.reserve_endpoint(on(id(9), &named), id(4)).unwrap();
    assert_eq!(first(&world, third), "198.18.0.1/24");
}

/// A server may give out twice what it should not.
#[test]
fn no_lease_is_taken_of_an_address_that_somebody_here_has() {
    let mut world = World::default();
    reserve(&mut world, &json!({})).unwrap();
    let subnet = json!([{"Subnets": [{"IpAddressPrefix": "198.18.0.0/24"}]}]);
    reserve(&mut world, &json!({"ID": id(9).to_string(), "Name": "fixed", "Ipams": subnet})).unwrap();
    let vlan = json!([{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}},
        {"Type": "VLAN", "Settings": {"IsolationId": 7}}]);
    reserve(&mut world, &json!({"ID": id(8).to_string(), "Name": "lab7", "Policies": vlan})).unwrap();
    let named = json!({"Name": "static", "IpConfigurations": [{"IpAddress": "198.18.0.3"}]});
    world.reserve_endpoint(on(id(9), &named), id(20)).unwrap();
    let first = world.reserve_endpoint(on(id(1), &json!({"Name": "first"})), id(21)).unwrap();
    let second = world.reserve_endpoint(on(id(1), &json!({"Name": "second"})), id(22)).unwrap();
    let beside = world.reserve_endpoint(on(id(8), &json!({})), id(23)).unwrap();
    let switch = world.network(id(1)).unwrap().switch_id();
    let hosts_own = |world: &mut World, address: &str| {
        world.set_hosts_own(switch, BTreeSet::from([address.parse().unwrap()]));
    };
    hosts_own(&mut world, "198.18.0.4");
    // Neither is attached yet: both have asked at one time.
    world.set_lease(first, lease("198.18.0.2/24")).unwrap();
    for (address, holder) in
        [("198.18.0.2/24", "\"first\""), ("198.18.0.3/24", "\"static\""), ("198.18.0.4/24", "the host's own")]
    {
        let said = world.set_lease(second, lease(address)).unwrap_err();
        assert!(matches!(said, ModelError::AddressTaken { .. }), "{said}");
        let said = said.to_string();
        assert!(said.contains("\"home\"") && said.contains(holder), "{said}");
        assert!(world.endpoint(second).unwrap().lease(LeaseKind::Dhcp).is_none());
        // Nobody of these is in that VLAN.
        world.set_lease(beside, lease(address)).unwrap();
    }
    // It is renewed, and whatever the host has taken meanwhile, its own still.
    hosts_own(&mut world, "198.18.0.2");
    world.set_lease(first, lease("198.18.0.2/24")).unwrap();
}
