//! Every value is read back from what it writes, and no text makes a value that the network does not have.

use std::fmt::{Debug, Display};
use std::net::IpAddr;
use std::str::FromStr;

use hns_net::{Cidr, Guid, IfAddr, IfName, Mac, MacRange, Mtu, PortRange, PublicKey, Transport};
use proptest::prelude::*;

fn round_trips<T>(value: &T)
where
    T: Display + FromStr + PartialEq + Debug,
    T::Err: Debug,
{
    let text = value.to_string();
    assert_eq!(text.parse::<T>().as_ref().ok(), Some(value), "{text}");
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

proptest! {
    #[test]
    fn values_are_read_back(
        octets in any::<[u8; 6]>(), id in any::<[u8; 16]>(), ip in address(), length in 0u8..=128,
        ports in (1u16.., 0u16..500), key in any::<[u8; 32]>(),
    ) {
        let mac = Mac::new(octets);
        if mac.is_unicast() {
            round_trips(&mac);
            prop_assert_eq!(mac.colons().parse::<Mac>().ok(), Some(mac));
        }
        prop_assert_eq!(Mac::from_u64(mac.to_u64()), mac);
        round_trips(&Guid::from_bytes(id));
        if let Ok(key) = PublicKey::new(key) {
            round_trips(&key);
        }
        let (start, more) = ports;
        let range = PortRange::new(start, start.saturating_add(more)).unwrap();
        round_trips(&range);
        prop_assert_eq!(range.iter().count(), usize::from(range.count()));
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        if length <= bits {
            round_trips(&Cidr::new(ip, length).unwrap());
            round_trips(&IfAddr::new(ip, length).unwrap());
        } else {
            prop_assert!(Cidr::new(ip, length).is_err() && IfAddr::new(ip, length).is_err());
        }
    }

    #[test]
    fn a_prefix_holds_its_addresses_and_overlap_is_mutual(a in address(), b in address(), n in 0u8..=32, m in 0u8..=32) {
        let (a, b) = (Cidr::new(a, n).unwrap(), Cidr::new(b, m).unwrap());
        prop_assert!(a.contains(a.network()) && a.contains(a.last()));
        prop_assert_eq!(a.overlaps(b), b.overlaps(a));
        prop_assert_eq!(a.overlaps(b), a.contains(b.network()) || b.contains(a.network()));
        prop_assert!(!a.covers(b) || a.overlaps(b));
    }

    #[test]
    fn no_text_makes_an_impossible_value(text in "\\PC{0,40}") {
        if let Ok(name) = text.parse::<IfName>() {
            prop_assert!((1..=15).contains(&name.as_str().len()) && !name.as_str().contains(['/', ' ', ':']));
        }
        if let Ok(mac) = text.parse::<Mac>() {
            prop_assert!(mac.is_unicast());
        }
        if let Ok(ports) = text.parse::<PortRange>() {
            prop_assert!(ports.start() > 0 && ports.start() <= ports.end());
        }
    }

    #[test]
    fn the_nth_address_of_a_range_lies_in_it(start in 0u64..1 << 40, more in 0u64..10_000, n in 0u64..20_000) {
        let range = MacRange::new(Mac::from_u64(start), Mac::from_u64(start + more)).unwrap();
        let nth = range.nth(n);
        prop_assert_eq!(nth.is_some(), n <= more);
        prop_assert!(nth.is_none_or(|mac| range.contains(mac)));
    }
}

#[test]
fn clients_write_addresses_in_their_own_ways() {
    let mac: Mac = "00-15-5D-0A-B7-C6".parse().unwrap();
    for spelling in ["00:15:5d:0a:b7:c6", "00-15-5d-0a-b7-c6", "00:15:5D:0A:B7:C6"] {
        assert_eq!(spelling.parse(), Ok(mac));
    }
    for wrong in [
        "",
        "00-15-5D-0A-B7",
        "00-15-5D-0A-B7-C6-01",
        "00-15-5D-0A-B7-ZZ",
        "0-15-5D-0A-B7-C6",
        "00:15-5D:0A:B7:C6",
    ] {
        assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
    }
    for group in ["01-00-5E-00-00-01", "FF-FF-FF-FF-FF-FF", "00-00-00-00-00-00"] {
        assert!(group.parse::<Mac>().is_err(), "{group}");
    }
    assert_eq!(
        "5b1c5a0e-1d2e-4c7a-9a52-3f1f2b0c7d11".parse::<Guid>().unwrap().to_string(),
        "5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11"
    );
    for wrong in [
        "",
        "{5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11}",
        "5B1C5A0E1D2E4C7A9A523F1F2B0C7D11",
        "5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D1G",
    ] {
        assert!(wrong.parse::<Guid>().is_err(), "{wrong}");
    }
}

#[test]
fn limits_hold_at_their_edges() {
    assert!(
        Mtu::new(575).is_err()
            && Mtu::new(576).is_ok()
            && Mtu::new(65_535).is_ok()
            && Mtu::new(65_536).is_err()
    );
    assert!(PortRange::with_count(65_535, 1).is_ok() && PortRange::with_count(65_535, 2).is_err());
    assert!(PortRange::with_count(80, 0).is_err() && PortRange::single(0).is_err());
    assert!("a23456789012345".parse::<IfName>().is_ok() && "a234567890123456".parse::<IfName>().is_err());
    assert_eq!(Transport::from_number(132), Ok(Transport::Sctp));
    assert!(Transport::from_number(1).is_err() && "icmp".parse::<Transport>().is_err());
}

#[test]
fn digests_of_similar_ids_differ() {
    let a: Guid = "00000001-0000-0000-0000-000000000001".parse().unwrap();
    let b: Guid = "00000001-0000-0000-0000-000000000002".parse().unwrap();
    assert_ne!(a.digest(9), b.digest(9));
    assert_eq!(a.digest(12).len(), 12);
}
