//! Leases and endpoints of one subnet: no address has two holders, and what nobody holds is free.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hns_hcn as hcn;
use hns_model::{LeasePurpose, PoolId, PoolWish, Surroundings, World};
use hns_net::{Family, Guid, IfAddr};
use proptest::prelude::*;
use serde_json::json;

fn guid(number: u8) -> Guid {
    Guid::from_bytes([number; 16])
}

fn world_with_network(prefix: &str) -> World {
    let mut world = World::default();
    add_network(&mut world, prefix);
    world
}

fn add_network(world: &mut World, prefix: &str) {
    let document =
        json!({ "Name": "n", "Type": "NAT", "Ipams": [{ "Subnets": [{ "IpAddressPrefix": prefix }] }] });
    let mut number = 100;
    let mut fresh = || {
        number += 1;
        guid(number)
    };
    let mut around = Surroundings { id: guid(1), fresh_id: &mut fresh, routes: &[] };
    world.reserve_network(hcn::Network::from_v2(&document).unwrap(), &mut around).unwrap();
}

fn wish(prefix: &str, network: Option<&str>) -> PoolWish {
    let prefix = Some(prefix.parse().unwrap());
    PoolWish { family: Family::V4, prefix, range: None, network: network.map(str::to_owned) }
}

fn endpoint_with(world: &mut World, id: Guid, address: Option<IpAddr>) -> Option<IpAddr> {
    let configured = address.map(|address| json!([{ "IpAddress": address.to_string() }]));
    let document = json!({ "HostComputeNetwork": guid(1).to_string(), "IpConfigurations": configured });
    let made = world.reserve_endpoint(hcn::Endpoint::from_v2(&document).unwrap(), id).ok()?;
    world.endpoint(made).unwrap().addresses().map(IfAddr::address).next()
}

#[derive(Debug, Clone)]
enum Request {
    Lease(Option<u8>),
    EndLease(usize),
    /// An endpoint with an address that was leased for it.
    Arrive(usize),
    /// An endpoint of somebody else, which takes what is free.
    Create,
    Delete(usize),
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        4 => prop::option::weighted(0.4, 0u8..32).prop_map(Request::Lease),
        2 => any::<usize>().prop_map(Request::EndLease),
        3 => any::<usize>().prop_map(Request::Arrive),
        3 => Just(Request::Create),
        3 => any::<usize>().prop_map(Request::Delete),
    ]
}

fn nth<T: Copy>(items: impl IntoIterator<Item = T>, n: usize) -> Option<T> {
    let items: Vec<T> = items.into_iter().collect();
    (!items.is_empty()).then(|| items[n % items.len()])
}

proptest! {
    #[test]
    fn an_address_has_one_holder(requests in prop::collection::vec(request(), 0..60), bound in any::<bool>()) {
        let mut world = world_with_network("10.0.0.0/27");
        let pool = world.open_pool(&wish("10.0.0.0/27", bound.then_some("n")), guid(9), &[]).unwrap();
        let mut leased: BTreeSet<IpAddr> = BTreeSet::new();
        let mut endpoints: BTreeMap<Guid, IpAddr> = BTreeMap::new();
        for (number, request) in requests.into_iter().enumerate() {
            let id = guid(u8::try_from(number).unwrap().wrapping_add(130));
            match request {
                Request::Lease(last) => {
                    let wanted = last.map(|last| IpAddr::from([10, 0, 0, last]));
                    let Ok(got) = world.lease(&pool, wanted, LeasePurpose::Holder) else { continue };
                    let got = got.address();
                    prop_assert!(!endpoints.values().any(|held| *held == got), "{} is an endpoint's", got);
                    prop_assert!(leased.insert(got) || wanted == Some(got), "{} was chosen twice", got);
                }
                Request::EndLease(n) => {
                    let Some(address) = nth(leased.iter().copied(), n) else { continue };
                    world.end_lease(&pool, address);
                    leased.remove(&address);
                }
                Request::Arrive(n) => {
                    let Some(address) = nth(leased.iter().copied(), n) else { continue };
                    let taken = endpoints.values().any(|held| *held == address);
                    let made = endpoint_with(&mut world, id, Some(address));
                    prop_assert_eq!(made.is_none(), taken, "{}", address);
                    endpoints.extend(made.map(|address| (id, address)));
                }
                Request::Create => {
                    let Some(address) = endpoint_with(&mut world, id, None) else { continue };
                    prop_assert!(!leased.contains(&address) && !endpoints.values().any(|held| *held == address));
                    endpoints.insert(id, address);
                }
                Request::Delete(n) => {
                    let Some(id) = nth(endpoints.keys().copied(), n) else { continue };
                    world.forget_endpoint(id).unwrap();
                    endpoints.remove(&id);
                }
            }
        }
        // 32 less the subnet's own two and the gateway's: exactly the rest can still be had.
        let held: BTreeSet<IpAddr> = leased.iter().copied().chain(endpoints.values().copied()).collect();
        let mut free = 0;
        while world.lease(&pool, None, LeasePurpose::Holder).is_ok() {
            free += 1;
        }
        prop_assert_eq!(free, 29 - held.len());
    }

    #[test]
    fn a_pool_is_written_and_read_again(v6 in any::<bool>(), range in any::<bool>(), network in prop::option::of(1u8..)) {
        let (prefix, part) = if v6 { ("fd00::/64", "fd00::8000/113") } else { ("10.0.0.0/24", "10.0.0.128/25") };
        let range = range.then(|| part.parse().unwrap());
        let id = PoolId { prefix: prefix.parse().unwrap(), range, network: network.map(guid) };
        prop_assert_eq!(id.to_string().parse::<PoolId>().unwrap(), id);
    }
}

#[test]
fn what_was_leased_before_the_network_came_stays_leased_in_it() {
    let mut world = World::default();
    let pool = world.open_pool(&wish("10.0.0.0/24", None), guid(9), &[]).unwrap();
    let gateway = world.lease(&pool, Some("10.0.0.1".parse().unwrap()), LeasePurpose::Gateway).unwrap();
    let leased = world.lease(&pool, None, LeasePurpose::Holder).unwrap().address();
    assert_eq!((gateway.to_string(), leased.to_string()), ("10.0.0.1/24".to_owned(), "10.0.0.2".to_owned()));
    add_network(&mut world, "10.0.0.0/24");
    assert_eq!(endpoint_with(&mut world, guid(2), None).unwrap().to_string(), "10.0.0.3");
    assert_eq!(endpoint_with(&mut world, guid(3), Some(leased)), Some(leased));
    // The pool stays open for as long as somebody holds an address, and the gateway's alone does not count.
    assert!(!world.close_pool(&pool));
    world.end_lease(&pool, leased);
    assert!(world.close_pool(&pool));
    assert!(world.lease_book(&pool).is_none());
}

#[test]
fn the_same_pool_again_is_a_replay_and_an_overlapping_one_a_refusal() {
    let mut world = world_with_network("10.0.0.0/24");
    let pool = world.open_pool(&wish("10.1.0.0/24", None), guid(9), &[]).unwrap();
    assert_eq!(world.open_pool(&wish("10.1.0.0/24", None), guid(8), &[]).unwrap(), pool);
    for taken in ["10.1.0.0/25", "10.0.0.0/16"] {
        assert!(world.open_pool(&wish(taken, None), guid(9), &[]).is_err(), "{taken}");
    }
    let chosen = PoolWish { family: Family::V4, prefix: None, range: None, network: None };
    let chosen = world.open_pool(&chosen, guid(9), &["172.16.0.0/12".parse().unwrap()]).unwrap();
    assert_eq!(chosen.prefix.to_string(), "10.2.0.0/16", "routes, networks and pools are avoided");
}

/// On a network of another driver nothing but the lease says who has an address.
#[test]
fn a_lease_is_repeated_once_for_an_engine_that_starts_again() {
    let address = IpAddr::from([10, 0, 0, 7]);
    let mut world = World::default();
    let pool = world.open_pool(&wish("10.0.0.0/27", None), guid(9), &[]).unwrap();
    let asks = |world: &mut World| world.lease(&pool, Some(address), LeasePurpose::Holder).is_ok();
    assert!(asks(&mut world));
    assert!(!asks(&mut world), "two containers have one address");
    world.open_pool(&wish("10.0.0.0/27", None), guid(9), &[]).unwrap();
    assert!(asks(&mut world), "the container that had it asks again");
    assert!(!asks(&mut world));
    world.end_lease(&pool, address);
    assert!(asks(&mut world));
}
