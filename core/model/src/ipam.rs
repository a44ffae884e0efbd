use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_net::{Cidr, Family};

use crate::intervals::Intervals;

/// The addresses of one subnet: which are taken, and which may be handed out without being asked for.
///
/// IPAM-1: an address is in use by one holder at most; what is released is free again. IPAM-2: the network
/// and broadcast addresses (IPv4, up to /30) and the subnet-router anycast address (IPv6, up to /126,
/// RFC 4291 section 2.6.1) are never handed out; in /31, /32, /127 and /128 every address is usable
/// (RFC 3021, RFC 6164).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    prefix: Cidr,
    /// Where dynamic addresses come from, in this order.
    ranges: Vec<Cidr>,
    taken: Intervals,
    /// Members of `taken` that belong to no endpoint and are never released.
    reserved: BTreeSet<u128>,
}

/// What became of asking for one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Granted,
    /// Not in the subnet.
    Outside,
    /// The gateway's, an auxiliary address, or the network's own.
    Reserved,
    InUse,
}

impl Pool {
    /// `ranges` empty: dynamic addresses come from the whole subnet.
    #[must_use]
    pub fn new(prefix: Cidr, ranges: Vec<Cidr>, reserved: impl IntoIterator<Item = IpAddr>) -> Self {
        let ranges = if ranges.is_empty() { vec![prefix] } else { ranges };
        let mut pool = Self { prefix, ranges, taken: Intervals::default(), reserved: BTreeSet::new() };
        for address in pool.unusable().into_iter().chain(reserved) {
            if prefix.contains(address) {
                pool.taken.insert(number(address));
                pool.reserved.insert(number(address));
            }
        }
        pool
    }

    /// The addresses of the subnet that no interface may have.
    fn unusable(&self) -> Vec<IpAddr> {
        match self.prefix.family() {
            Family::V4 if self.prefix.length() <= 30 => vec![self.prefix.network(), self.prefix.last()],
            Family::V6 if self.prefix.length() <= 126 => vec![self.prefix.network()],
            _ => Vec::new(),
        }
    }

    #[must_use]
    pub fn prefix(&self) -> Cidr {
        self.prefix
    }

    /// The first block of the dynamic range, for messages.
    #[must_use]
    pub fn range(&self) -> Cidr {
        self.ranges.first().copied().unwrap_or(self.prefix)
    }

    /// Takes the first free address of the dynamic range.
    pub fn allocate(&mut self) -> Option<IpAddr> {
        let gap = |range: &Cidr| self.taken.first_gap(number(range.network()), number(range.last()));
        let found = self.ranges.iter().find_map(gap)?;
        self.taken.insert(found);
        Some(address(found, self.prefix.family()))
    }

    /// Takes this address, inside or outside the dynamic range.
    pub fn claim(&mut self, wanted: IpAddr) -> Claim {
        if !self.prefix.contains(wanted) {
            Claim::Outside
        } else if self.reserved.contains(&number(wanted)) {
            Claim::Reserved
        } else if self.taken.insert(number(wanted)) {
            Claim::Granted
        } else {
            Claim::InUse
        }
    }

    /// Gives an endpoint's address back; false when no endpoint had it.
    pub fn release(&mut self, address: IpAddr) -> bool {
        self.prefix.contains(address)
            && !self.reserved.contains(&number(address))
            && self.taken.remove(number(address))
    }

    /// How many addresses endpoints hold.
    #[must_use]
    pub fn in_use(&self) -> u128 {
        self.taken.count() - self.reserved.len() as u128
    }

    /// The place of an address in the subnet, counted from its first.
    #[must_use]
    pub fn offset(&self, address: IpAddr) -> u128 {
        number(address).saturating_sub(number(self.prefix.network()))
    }

    /// The first address that an interface of this subnet can have, for the gateway by default.
    #[must_use]
    pub fn first_usable(prefix: Cidr) -> IpAddr {
        let skip = match prefix.family() {
            Family::V4 => u128::from(prefix.length() <= 30),
            Family::V6 => u128::from(prefix.length() <= 126),
        };
        address(number(prefix.network()) + skip, prefix.family())
    }

    /// Whether an interface of this subnet can have this address at all.
    #[must_use]
    pub fn is_usable(prefix: Cidr, address: IpAddr) -> bool {
        prefix.contains(address) && !Self::new(prefix, Vec::new(), []).reserved.contains(&number(address))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn address(number: u128, family: Family) -> IpAddr {
    match family {
        // Numbers of IPv4 pools come from IPv4 prefixes, so they fit.
        Family::V4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(number)),
    }
}
