use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_net::{Cidr, Family, Guid};

/// The prefixes a network is given when it names none, in order of preference: 172.16.0.0/16 first
/// (NAT-3), then the other private blocks of RFC 1918. The caller takes the first that overlaps nothing.
pub(crate) fn candidates_v4() -> impl Iterator<Item = Cidr> {
    let class_b = (16..32).map(|second| (172, second, 0, 16));
    let class_a = (1..255).map(|second| (10, second, 0, 16));
    let class_c = (0..256u16).step_by(16).map(|third| (192, 168, u8::try_from(third).unwrap_or(0), 20));
    class_b.chain(class_a).chain(class_c).filter_map(|(first, second, third, length)| {
        Cidr::new(IpAddr::V4(Ipv4Addr::new(first, second, third, 0)), length).ok()
    })
}

/// Unique local /64 prefixes (RFC 4193) that depend on the network's id alone, so that the network keeps
/// its prefix whatever happens (V6-1).
pub(crate) fn candidates_v6(network: Guid) -> impl Iterator<Item = Cidr> {
    (0..=u8::MAX).filter_map(move |turn| {
        let id = network.bytes();
        let mut octets = [0; 16];
        octets[0] = 0xfd;
        octets[1..8].copy_from_slice(&id[..7]);
        octets[7] = octets[7].wrapping_add(turn);
        Cidr::new(IpAddr::V6(Ipv6Addr::from(octets)), 64).ok()
    })
}

pub(crate) fn candidates(family: Family, network: Guid) -> Box<dyn Iterator<Item = Cidr>> {
    match family {
        Family::V4 => Box::new(candidates_v4()),
        Family::V6 => Box::new(candidates_v6(network)),
    }
}

/// Whether this is a block of addresses that hosts have, as far as its first tells.
pub(crate) fn is_of_hosts(prefix: Cidr) -> bool {
    let first = prefix.network();
    let special = first.is_multicast() || first.is_loopback() || first.is_unspecified();
    !special && !matches!(first, IpAddr::V6(v6) if v6.is_unicast_link_local() || is_reserved(v6))
}

/// `::/8`, in which the addresses of IPv4 are, mapped (RFC 4291 section 2.5.5.2) and translated.
fn is_reserved(address: Ipv6Addr) -> bool {
    address.octets()[0] == 0
}
