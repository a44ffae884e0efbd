use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_net::Cidr;
use proptest::prelude::*;

use super::super::ranges::for_others;
use super::super::view::DockerSubnet;
use super::subnet;

#[test]
fn hns_takes_the_half_that_docker_reaches_last() {
    let cases = [
        ("10.0.0.0/24", None, Some("10.0.0.128/25")),
        ("10.0.0.0/24", Some("10.0.0.64/26"), Some("10.0.0.128/25")),
        ("10.0.0.0/24", Some("10.0.0.128/25"), Some("10.0.0.0/25")),
        ("10.0.0.0/24", Some("10.0.0.240/28"), Some("10.0.0.0/25")),
        ("10.0.0.0/24", Some("10.0.0.0/24"), Some("10.0.0.128/25")),
        ("172.18.0.0/16", None, Some("172.18.128.0/17")),
        ("10.0.0.0/31", None, Some("10.0.0.1/32")),
        ("10.0.0.1/32", None, None),
        ("fd00::/64", None, Some("fd00:0:0:0:8000::/65")),
        ("fd00::/64", Some("fd00:0:0:0:8000::/80"), Some("fd00::/65")),
    ];
    for (prefix, range, half) in cases {
        let expected: Vec<Cidr> = half.into_iter().map(|half| half.parse().unwrap()).collect();
        assert_eq!(for_others(&[subnet(prefix, range)]), expected, "{prefix} {range:?}");
    }
}

fn block(length: std::ops::RangeInclusive<u8>, is_v6: bool) -> impl Strategy<Value = Cidr> {
    (any::<u128>(), length).prop_map(move |(bits, length)| {
        let address = if is_v6 {
            IpAddr::V6(Ipv6Addr::from(bits))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits >> 96).unwrap()))
        };
        Cidr::new(address, length).unwrap()
    })
}

/// A subnet with a range of Docker's in it, smaller than the subnet.
fn divided(is_v6: bool) -> impl Strategy<Value = DockerSubnet> {
    let bits = if is_v6 { 128 } else { 32 };
    (block(0..=bits, is_v6), 1..=bits).prop_filter_map("a part", move |(range, shorter)| {
        let length = range.length().checked_sub(shorter)?;
        let prefix = Cidr::new(range.network(), length).ok()?;
        Some(DockerSubnet { prefix, range: Some(range), ..subnet("10.0.0.0/24", None) })
    })
}

proptest! {
    #[test]
    fn with_a_range_of_dockers_no_address_is_handed_out_by_both(subnet in prop_oneof![divided(false), divided(true)]) {
        let halves = for_others(std::slice::from_ref(&subnet));
        prop_assert_eq!(halves.len(), 1);
        prop_assert!(subnet.prefix.covers(halves[0]));
        prop_assert_eq!(halves[0].length(), subnet.prefix.length() + 1);
        prop_assert!(!halves[0].overlaps(subnet.range.unwrap()));
    }
}
