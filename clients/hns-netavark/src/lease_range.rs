use std::net::IpAddr;

use hns_net::{Cidr, Family};

use crate::podman::{LeaseRange, Subnet};

/// Why a lease range is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backwards {
    pub start: IpAddr,
    pub end: IpAddr,
}

/// The fewest blocks that hold exactly the addresses of a subnet's lease range; none when it has no range.
pub fn blocks(subnet: &Subnet) -> Result<Vec<Cidr>, Backwards> {
    let Some(LeaseRange { start_ip, end_ip }) = subnet.lease_range else { return Ok(Vec::new()) };
    if start_ip.is_none() && end_ip.is_none() {
        return Ok(Vec::new());
    }
    let family = subnet.subnet.family();
    let first = start_ip.unwrap_or_else(|| subnet.subnet.network());
    let last = end_ip.unwrap_or_else(|| subnet.subnet.last());
    let backwards = Backwards { start: first, end: last };
    if Family::of(first) != family || Family::of(last) != family || number(first) > number(last) {
        return Err(backwards);
    }
    let (mut at, last) = (number(first), number(last));
    let mut blocks = Vec::new();
    loop {
        // As large as the alignment of its first address allows, and not beyond the end.
        let width = (0..=family.bits()).rev().find(|width| fits(at, *width, last)).unwrap_or(0);
        blocks.extend(Cidr::new(address(at, family), family.bits() - width));
        match ones(width).checked_add(at).filter(|end| *end < last) {
            Some(end) => at = end + 1,
            None => return Ok(blocks),
        }
    }
}

/// Whether a block of 2^width addresses may begin at `at` and ends by `last`.
fn fits(at: u128, width: u8, last: u128) -> bool {
    at & ones(width) == 0 && at.checked_add(ones(width)).is_some_and(|end| end <= last)
}

/// The `width` lowest bits.
fn ones(width: u8) -> u128 {
    1_u128.checked_shl(u32::from(width)).map_or(u128::MAX, |bit| bit - 1)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn address(number: u128, family: Family) -> IpAddr {
    match family {
        // Numbers of IPv4 ranges lie between two IPv4 addresses.
        Family::V4 => IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()),
        Family::V6 => IpAddr::V6(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(subnet: &str, start: Option<&str>, end: Option<&str>) -> Result<Vec<Cidr>, Backwards> {
        let ip = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        let lease_range = Some(LeaseRange { start_ip: ip(start), end_ip: ip(end) });
        blocks(&Subnet { subnet: subnet.parse().unwrap(), gateway: None, lease_range })
    }

    fn texts(blocks: Result<Vec<Cidr>, Backwards>) -> Vec<String> {
        blocks.unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_range_is_the_fewest_blocks() {
        assert_eq!(
            texts(range("10.66.0.0/24", Some("10.66.0.129"), Some("10.66.0.255"))),
            [
                "10.66.0.129/32",
                "10.66.0.130/31",
                "10.66.0.132/30",
                "10.66.0.136/29",
                "10.66.0.144/28",
                "10.66.0.160/27",
                "10.66.0.192/26"
            ]
        );
        assert_eq!(texts(range("10.66.0.0/24", Some("10.66.0.64"), Some("10.66.0.127"))), ["10.66.0.64/26"]);
        assert_eq!(texts(range("10.66.0.0/24", Some("10.66.0.9"), Some("10.66.0.9"))), ["10.66.0.9/32"]);
    }

    #[test]
    fn an_absent_end_is_the_end_of_the_subnet() {
        assert_eq!(texts(range("10.66.0.0/24", None, Some("10.66.0.127"))), ["10.66.0.0/25"]);
        assert_eq!(texts(range("10.66.0.0/24", Some("10.66.0.128"), None)), ["10.66.0.128/25"]);
        assert!(range("10.66.0.0/24", None, None).unwrap().is_empty());
    }

    #[test]
    fn the_last_addresses_of_a_family_are_in_reach() {
        assert_eq!(texts(range("0.0.0.0/0", Some("0.0.0.0"), Some("255.255.255.255"))), ["0.0.0.0/0"]);
        let all = range("::/0", Some("::"), Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
        assert_eq!(texts(all), ["::/0"]);
    }

    #[test]
    fn a_range_runs_forwards_in_one_family() {
        assert!(range("10.66.0.0/24", Some("10.66.0.9"), Some("10.66.0.8")).is_err());
        assert!(range("10.66.0.0/24", Some("fd00::1"), Some("fd00::2")).is_err());
    }

    proptest! {
        #[test]
        fn the_blocks_hold_the_range_and_nothing_else(a: u32, b: u32) {
            let (start, end) = (a.min(b), a.max(b));
            let lease_range = LeaseRange { start_ip: Some(IpAddr::V4(start.into())), end_ip: Some(IpAddr::V4(end.into())) };
            let subnet = Subnet { subnet: "0.0.0.0/0".parse().unwrap(), gateway: None, lease_range: Some(lease_range) };
            let mut next = u128::from(start);
            for block in blocks(&subnet).unwrap() {
                prop_assert_eq!(number(block.network()), next);
                next = number(block.last()) + 1;
            }
            prop_assert_eq!(next, u128::from(end) + 1);
        }
    }
}
