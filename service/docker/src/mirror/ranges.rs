//! Who hands out which addresses of a subnet that Docker's own IPAM and HNS both serve.
//!
//! Docker's IPAM gives a container the first free address of its range, or of the whole subnet, and asks nobody. It
//! cannot be told of addresses that others have either, once a network is made. So HNS takes its addresses for the
//! containers of other engines from the half of the subnet that Docker reaches last:
//!
//! ```text
//!   10.0.0.0/24                       Docker: upwards from .1        HNS: 10.0.0.128/25
//!   10.0.0.0/24 range 10.0.0.64/26    Docker: .64 to .127            HNS: 10.0.0.128/25
//!   10.0.0.0/24 range 10.0.0.128/25   Docker: .128 to .255           HNS: 10.0.0.0/25
//! ```
//!
//! With a range both are apart for good. Without one they meet when half of the subnet is in use at once; Docker's
//! create is then refused with a sentence that names the holder, and its next one gets another address. On networks
//! with the IPAM driver `hns` there is one book, and nothing to divide.

use std::net::IpAddr;

use hns_net::Cidr;

use super::view::DockerSubnet;

/// The blocks that HNS hands out from on a network with these subnets of Docker's own IPAM. A subnet that cannot be
/// halved has none, and is served as a whole.
pub(super) fn for_others(subnets: &[DockerSubnet]) -> Vec<Cidr> {
    subnets.iter().filter_map(half_for_others).collect()
}

fn half_for_others(subnet: &DockerSubnet) -> Option<Cidr> {
    let (lower, upper) = halves(subnet.prefix)?;
    let dockers = subnet.range.filter(|range| upper.covers(*range));
    Some(if dockers.is_some() { lower } else { upper })
}

fn halves(prefix: Cidr) -> Option<(Cidr, Cidr)> {
    let length = prefix.length() + 1;
    if length > prefix.family().bits() {
        return None;
    }
    let bit = prefix.family().bits() - length;
    let middle = match prefix.network() {
        IpAddr::V4(first) => IpAddr::V4((u32::from(first) | 1 << bit).into()),
        IpAddr::V6(first) => IpAddr::V6((u128::from(first) | 1 << bit).into()),
    };
    Some((Cidr::new(prefix.network(), length).ok()?, Cidr::new(middle, length).ok()?))
}

/// Whether Docker's own IPAM hands out addresses of a network with this IPAM driver.
pub(super) fn is_dockers(ipam_driver: &str) -> bool {
    matches!(ipam_driver, "default" | "")
}
