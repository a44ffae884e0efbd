//! IPAM-1: no address twice, none leaked, whatever the order of requests.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hns_model::{Claim, Intervals, MacPool, Pool};
use hns_net::{Cidr, Guid, Mac, MacRange};
use proptest::prelude::*;

fn prefix() -> impl Strategy<Value = Cidr> {
    let v4 = (any::<[u8; 4]>(), 22u8..=32)
        .prop_map(|(ip, n)| Cidr::new(IpAddr::from(ip), n).expect("a legal length"));
    let v6 = (any::<[u8; 16]>(), 118u8..=128)
        .prop_map(|(ip, n)| Cidr::new(IpAddr::from(ip), n).expect("a legal length"));
    prop_oneof![v4, v6]
}

#[derive(Debug, Clone)]
enum Request {
    Allocate,
    Claim(u8),
    Release(u8),
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let one = prop_oneof![
        4 => Just(Request::Allocate),
        2 => any::<u8>().prop_map(Request::Claim),
        3 => any::<u8>().prop_map(Request::Release),
    ];
    prop::collection::vec(one, 0..200)
}

fn nth(prefix: Cidr, n: u8) -> IpAddr {
    match prefix.network() {
        IpAddr::V4(v4) => IpAddr::from((u32::from(v4).wrapping_add(u32::from(n))).to_be_bytes()),
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6).wrapping_add(u128::from(n))).to_be_bytes()),
    }
}

proptest! {
    #[test]
    fn no_address_is_given_twice_and_none_is_lost(prefix in prefix(), requests in requests(), aux in any::<u8>()) {
        let aux = nth(prefix, aux);
        let mut pool = Pool::new(prefix, Vec::new(), [aux]);
        let mut held: BTreeSet<IpAddr> = BTreeSet::new();
        for request in requests {
            match request {
                Request::Allocate => {
                    if let Some(address) = pool.allocate() {
                        prop_assert!(prefix.contains(address) && Pool::is_usable(prefix, address));
                        prop_assert_ne!(address, aux);
                        prop_assert!(held.insert(address), "{} twice", address);
                    }
                }
                Request::Claim(n) => {
                    let wanted = nth(prefix, n);
                    let claim = pool.claim(wanted);
                    let expected = if !prefix.contains(wanted) {
                        Claim::Outside
                    } else if wanted == aux || !Pool::is_usable(prefix, wanted) {
                        Claim::Reserved
                    } else if held.insert(wanted) {
                        Claim::Granted
                    } else {
                        Claim::InUse
                    };
                    prop_assert_eq!(claim, expected);
                }
                Request::Release(n) => {
                    let address = nth(prefix, n);
                    prop_assert_eq!(pool.release(address), held.remove(&address));
                }
            }
            prop_assert_eq!(pool.in_use(), held.len() as u128);
        }
        for address in &held {
            prop_assert!(pool.release(*address));
        }
        prop_assert_eq!(pool, Pool::new(prefix, Vec::new(), [aux]));
    }

    #[test]
    fn a_range_is_exhausted_before_anything_outside_is_given(length in 24u8..=30, more in 1u8..=6) {
        let prefix = Cidr::new(IpAddr::from([10, 0, 0, 0]), length).unwrap();
        let range = Cidr::new(IpAddr::from([10, 0, 0, 0]), (length + more).min(32)).unwrap();
        let mut pool = Pool::new(prefix, vec![range], [Pool::first_usable(prefix)]);
        while let Some(address) = pool.allocate() {
            prop_assert!(range.contains(address));
        }
        if range.length() > length {
            prop_assert_eq!(pool.claim(nth(prefix, 1 << (32 - length - 1))), Claim::Granted);
        }
    }

    #[test]
    fn intervals_are_the_set_they_stand_for(steps in prop::collection::vec((any::<bool>(), 0u128..40), 0..300), from in 0u128..40) {
        let (mut runs, mut set) = (Intervals::default(), BTreeSet::new());
        for (add, n) in steps {
            if add {
                prop_assert_eq!(runs.insert(n), set.insert(n));
            } else {
                prop_assert_eq!(runs.remove(n), set.remove(&n));
            }
            prop_assert_eq!(runs.count(), set.len() as u128);
        }
        prop_assert_eq!(runs.first_gap(from, 50), (from..=50).find(|n| !set.contains(n)));
        for n in 0..40 {
            prop_assert_eq!(runs.contains(n), set.contains(&n));
        }
    }

    #[test]
    fn no_mac_address_is_given_twice(offsets in prop::collection::vec(0u128..40, 0..60), size in 1u64..40) {
        let start = Mac::new([0, 0x15, 0x5d, 0, 0, 0]);
        let range = MacRange::new(start, Mac::from_u64(start.to_u64() + size - 1)).unwrap();
        let mut pool = MacPool::given(vec![range]);
        let mut given = BTreeSet::new();
        for (n, offset) in offsets.into_iter().enumerate() {
            let holder = Guid::from_bytes([u8::try_from(n).unwrap(); 16]);
            match pool.allocate(offset, holder) {
                Some(mac) => prop_assert!(range.contains(mac) && given.insert(mac)),
                None => prop_assert_eq!(given.len() as u64, size),
            }
        }
        for mac in given {
            pool.release(mac);
        }
        prop_assert_eq!(pool.in_use(), 0);
    }
}

#[test]
fn the_smallest_subnets_are_usable() {
    for (prefix, usable) in [
        ("10.0.0.0/31", 2),
        ("10.0.0.7/32", 1),
        ("fd00::/127", 2),
        ("fd00::7/128", 1),
        ("10.0.0.0/30", 2),
        ("fd00::/126", 3),
    ] {
        let mut pool = Pool::new(prefix.parse().unwrap(), Vec::new(), []);
        let given: BTreeSet<_> = std::iter::from_fn(|| pool.allocate()).collect();
        assert_eq!(given.len(), usable, "{prefix}");
    }
}

#[test]
fn a_chosen_mac_pool_grows_when_it_is_full() {
    let mut pool = MacPool::chosen(Guid::from_bytes([7; 16]));
    for n in 0..5000u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        assert!(pool.allocate(u128::from(n), Guid::from_bytes(id)).is_some(), "{n}");
    }
    assert_eq!((pool.ranges().len(), pool.in_use()), (2, 5000));
}
