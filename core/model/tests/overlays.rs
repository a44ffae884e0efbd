//! Networks whose containers are on several hosts: what two of them choose alike, and what their documents may say.

#![expect(clippy::unwrap_used, reason = "a document that cannot be made fails the test")]

use hns_hcn as hcn;
use hns_hcn::{Policy, RequestType};
use hns_model::{ModelError, Surroundings, World};
use hns_net::Guid;
use serde_json::{Value, json};

fn id(number: u8) -> Guid {
    Guid::from_bytes([number; 16])
}

fn reserve(
    world: &mut World,
    name: &str,
    host: &str,
    prefix: &str,
    policies: &[Value],
) -> Result<Guid, ModelError> {
    let provider = json!({"Type": "ProviderAddress", "Settings": {"ProviderAddress": host}});
    let all: Vec<&Value> = std::iter::once(&provider).chain(policies).collect();
    let document = json!({"Name": name, "Type": "Overlay", "Policies": all,
        "Ipams": [{"Subnets": [{"IpAddressPrefix": prefix}]}]});
    let mut number = 100;
    let mut fresh = || {
        number += 1;
        id(number)
    };
    let count = u8::try_from(world.networks().count()).unwrap();
    let mut around = Surroundings { id: id(count + 1), fresh_id: &mut fresh, routes: &[] };
    Ok(world.reserve_network(hcn::Network::from_v2(&document).unwrap(), &mut around)?.id())
}

fn route(prefix: &str, host: &str) -> Value {
    json!({"Type": "RemoteSubnetRoute", "Settings": {"DestinationPrefix": prefix, "ProviderAddress": host}})
}

fn read(policy: &Value) -> Policy {
    Policy::from_document(policy).unwrap().unwrap()
}

/// Each has, as the other's router and number, what the other has chosen.
#[test]
fn two_hosts_whose_documents_mirror_each_other_agree() {
    let (mut here, mut there) = (World::default(), World::default());
    let one = reserve(&mut here, "blue", "192.0.2.1", "10.1.0.0/24", &[route("10.2.0.0/24", "192.0.2.2")]);
    let other = reserve(&mut there, "blue", "192.0.2.2", "10.2.0.0/24", &[route("10.1.0.0/24", "192.0.2.1")]);
    let (one, other) = (here.network(one.unwrap()).unwrap(), there.network(other.unwrap()).unwrap());
    for (from, to) in [(one, other), (other, one)] {
        let said = from.remote_subnets().next().unwrap();
        assert_eq!(said.router, to.tunnel().map(|tunnel| tunnel.router));
        assert!(to.vnis().any(|vni| said.vni == Some(vni) && vni.number() >= 4096));
    }
}

/// As programs remove what they have sent, without what the server chose.
#[test]
fn a_route_is_added_once_and_removed_by_what_was_said_of_it() {
    let mut world = World::default();
    let blue = reserve(&mut world, "blue", "192.0.2.1", "10.1.0.0/24", &[]).unwrap();
    let said = read(&route("10.2.0.0/24", "192.0.2.2"));
    for _ in 0..2 {
        world.change_network_policies(blue, RequestType::Add, std::slice::from_ref(&said)).unwrap();
    }
    assert_eq!(world.network(blue).unwrap().remote_subnets().count(), 1);
    // Other policies are another class: replacing them leaves routes alone.
    let rule = read(
        &json!({"Type": "NetworkACL", "Settings": {"Action": "Block", "Direction": "In", "Priority": 9}}),
    );
    world.change_network_policies(blue, RequestType::Update, &[rule]).unwrap();
    world.change_network_policies(blue, RequestType::Reset, &[]).unwrap();
    assert_eq!(world.network(blue).unwrap().remote_subnets().count(), 1);
    let moved = read(&route("10.2.0.0/24", "192.0.2.3"));
    let refused =
        world.change_network_policies(blue, RequestType::Add, std::slice::from_ref(&moved)).unwrap_err();
    assert!(refused.to_string().contains("10.2.0.0/24 is another host's already"), "{refused}");
    world.change_network_policies(blue, RequestType::Update, &[moved]).unwrap();
    let there = world.network(blue).unwrap().remote_subnets().next().unwrap().provider;
    assert_eq!(there.to_string(), "192.0.2.3");
    let refused =
        world.change_network_policies(blue, RequestType::Remove, std::slice::from_ref(&said)).unwrap_err();
    assert!(matches!(refused, ModelError::NoSuchNetworkPolicy { .. }), "{refused}");
}

#[test]
fn what_says_where_tunnels_end_does_not_change() {
    let mut world = World::default();
    let blue = reserve(&mut world, "blue", "192.0.2.1", "10.1.0.0/24", &[]).unwrap();
    for policy in [
        json!({"Type": "ProviderAddress", "Settings": {"ProviderAddress": "192.0.2.7"}}),
        json!({"Type": "DrMacAddress", "Settings": {"Address": "0E-2A-00-00-00-01"}}),
        json!({"Type": "VxlanPort", "Settings": {"Port": 8472}}),
    ] {
        let refused = world.change_network_policies(blue, RequestType::Add, &[read(&policy)]).unwrap_err();
        assert!(refused.to_string().contains("does not change"), "{policy}: {refused}");
    }
}

#[test]
fn overlays_of_one_host_have_numbers_of_their_own_and_may_have_one_prefix() {
    let mut world = World::default();
    reserve(&mut world, "blue", "192.0.2.1", "10.1.0.0/24", &[]).unwrap();
    reserve(&mut world, "red", "192.0.2.1", "10.1.0.0/24", &[]).unwrap();
    let vnis: Vec<u32> =
        world.networks().flat_map(|network| network.vnis().map(hns_net::Vni::number)).collect();
    assert_ne!(vnis[0], vnis[1]);
}

/// What has no container, or would also hold addresses of the other family: the programs know those of IPv4 as `::ffff:0:0/96`.
#[test]
fn other_hosts_have_prefixes_of_containers_alone() {
    for prefix in ["::/0", "::/64", "127.0.0.0/8", "224.0.0.0/4", "fe80::/10", "ff00::/8"] {
        let refused =
            reserve(&mut World::default(), "blue", "192.0.2.1", "10.1.0.0/24", &[route(prefix, "192.0.2.2")]);
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("DestinationPrefix: "), "{prefix}: {said}");
        assert!(said.contains("is not a block of unicast addresses for hosts"), "{prefix}: {said}");
    }
}

#[test]
fn tunnels_end_at_addresses_that_one_host_has() {
    for host in ["0.0.0.0", "127.0.0.1", "239.1.1.1", "255.255.255.255", "fe80::1", "::ffff:192.0.2.2"] {
        let said = Policy::from_document(&route("10.2.0.0/24", host)).unwrap_err().to_string();
        assert!(said.contains("ProviderAddress"), "{host}: {said}");
    }
}

/// Whoever had it would get what its neighbours send to other hosts.
#[test]
fn no_endpoint_gets_the_routers_station() {
    let router = json!({"Type": "DrMacAddress", "Settings": {"Address": "00-15-5D-00-00-02"}});
    let mut world = World::default();
    let blue = reserve(&mut world, "blue", "192.0.2.1", "10.1.0.0/24", &[router]).unwrap();
    let document = json!({"HostComputeNetwork": blue.to_string(), "MacAddress": "00-15-5D-00-00-02"});
    let document = hcn::Endpoint::from_v2(&document).unwrap();
    let said = world.reserve_endpoint(document, id(7)).unwrap_err().to_string();
    assert!(said.contains("00-15-5D-00-00-02 is the router of network \"blue\""), "{said}");
}

/// What is another host's goes there, and what is this one's nowhere.
#[test]
fn a_remote_endpoint_has_what_no_other_gets() {
    let mut world = World::default();
    let blue = reserve(&mut world, "blue", "192.0.2.1", "10.1.0.0/24", &[]).unwrap();
    let remote = |address: &str, host: &str| {
        let provider = json!({"Type": "ProviderAddress", "Settings": {"ProviderAddress": host}});
        let document = json!({"HostComputeNetwork": blue.to_string(), "Flags": 1, "MacAddress": "02-00-00-00-00-09",
            "Policies": [provider], "IpConfigurations": [{"IpAddress": address}]});
        hcn::Endpoint::from_v2(&document).unwrap()
    };
    let leads = |world: &World| {
        let neighbours = world.network(blue).unwrap().neighbours(world);
        neighbours.map(|one| (one.address.to_string(), one.provider.to_string())).collect::<Vec<_>>()
    };
    for (number, address, host, is_away) in [
        (10, "10.1.0.9", "192.0.2.2", true),
        (11, "10.3.0.9", "192.0.2.3", true),
        (12, "10.96.0.1", "192.0.2.1", false),
    ] {
        let made = world.reserve_endpoint(remote(address, host), id(number)).unwrap();
        assert_eq!(leads(&world).contains(&(address.to_owned(), host.to_owned())), is_away);
        let again = world.reserve_endpoint(remote(address, host), id(99)).unwrap_err().to_string();
        assert!(again.contains("in use by"), "{again}");
        world.forget_endpoint(made).unwrap();
        assert_eq!(leads(&world).len(), usize::from(number) - 10);
        world.reserve_endpoint(remote(address, host), made).unwrap();
        if !is_away {
            world.forget_endpoint(made).unwrap();
        }
    }
    // Two records have one MAC address, and as long as one of them has no container of this host gets it.
    let own = || {
        let document = json!({"HostComputeNetwork": blue.to_string(), "MacAddress": "02-00-00-00-00-09"});
        hcn::Endpoint::from_v2(&document).unwrap()
    };
    for record in [10, 11] {
        let refused = world.reserve_endpoint(own(), id(20)).unwrap_err().to_string();
        assert!(refused.contains("02-00-00-00-00-09") && refused.contains("belongs to"), "{refused}");
        world.forget_endpoint(id(record)).unwrap();
    }
    world.reserve_endpoint(own(), id(20)).unwrap();
    let refused = world.reserve_endpoint(remote("10.1.0.9", "192.0.2.2"), id(21)).unwrap_err().to_string();
    assert!(refused.contains("02-00-00-00-00-09") && refused.contains("belongs to"), "{refused}");
    // What this host has itself may have it: orchestrators make such records of services.
    world.reserve_endpoint(remote("10.96.0.1", "192.0.2.1"), id(22)).unwrap();
    world.forget_endpoint(id(22)).unwrap();
    assert!(world.reserve_endpoint(own(), id(23)).is_err());
}
