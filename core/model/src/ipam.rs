use std::collections::{BTreeMap, BTreeSet};
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
    /// Members of `taken` that an engine's IPAM holds, and whether an endpoint has them by now.
    leases: BTreeMap<u128, bool>,
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
        let mut pool = Self {
            prefix,
            ranges,
            taken: Intervals::default(),
            reserved: BTreeSet::new(),
            leases: BTreeMap::new(),
        };
        for address in pool.unusable().into_iter().chain(reserved) {
            if prefix.contains(address) {
                pool.taken.insert(number(address));
                pool.reserved.insert(number(address));
            }
        }
        pool
    }

    /// The same without dynamic addresses: each is asked for.
    #[must_use]
    pub fn of_named(prefix: Cidr, reserved: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { ranges: Vec::new(), ..Self::new(prefix, Vec::new(), reserved) }
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

    /// Whether it has addresses that nobody asks for.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        !self.ranges.is_empty()
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
            match self.leases.get_mut(&number(wanted)) {
                // It was leased for this endpoint.
                Some(has_endpoint @ false) => {
                    *has_endpoint = true;
                    Claim::Granted
                }
                _ => Claim::InUse,
            }
        }
    }

    /// Gives an endpoint's address back; false when no endpoint had it. One that is leased stays so.
    pub fn release(&mut self, address: IpAddr) -> bool {
        if !self.prefix.contains(address) || self.reserved.contains(&number(address)) {
            return false;
        }
        match self.leases.get_mut(&number(address)) {
            Some(has_endpoint) => std::mem::replace(has_endpoint, false),
            None => self.taken.remove(number(address)),
        }
    }

    /// Takes this address for an engine's IPAM; asking again for one that no endpoint has yet is granted.
    pub fn lease(&mut self, wanted: IpAddr) -> Claim {
        if self.leases.get(&number(wanted)) == Some(&false) && self.prefix.contains(wanted) {
            return Claim::Granted;
        }
        let claim = self.claim(wanted);
        if claim == Claim::Granted {
            self.leases.insert(number(wanted), false);
        }
        claim
    }

    /// Gives a leased address back; false when it was not leased. One that an endpoint has stays the endpoint's.
    pub fn end_lease(&mut self, address: IpAddr) -> bool {
        let leased = self.prefix.contains(address).then(|| self.leases.remove(&number(address))).flatten();
        if leased == Some(false) {
            self.taken.remove(number(address));
        }
        leased.is_some()
    }

    #[must_use]
    pub fn is_leased(&self, address: IpAddr) -> bool {
        self.prefix.contains(address) && self.leases.contains_key(&number(address))
    }

    pub fn leases(&self) -> impl Iterator<Item = IpAddr> {
        self.leases.keys().map(|leased| address(*leased, self.prefix.family()))
    }

    /// The first free address of the dynamic range that comes after `last`, or the first of all.
    #[must_use]
    pub fn free_after(&self, last: Option<IpAddr>) -> Option<IpAddr> {
        let passed = last.and_then(|last| self.ranges.iter().position(|range| range.contains(last)));
        let found = self.ranges.iter().enumerate().skip(passed.unwrap_or(0)).find_map(|(place, range)| {
            let begin = match last {
                Some(last) if passed == Some(place) => number(last).checked_add(1)?,
                _ => number(range.network()),
            };
            self.taken.first_gap(begin, number(range.last())).filter(|_| begin <= number(range.last()))
        })?;
        Some(address(found, self.prefix.family()))
    }

    /// Whether nobody has this address.
    #[must_use]
    pub fn is_free(&self, address: IpAddr) -> bool {
        self.prefix.contains(address) && !self.taken.contains(number(address))
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
