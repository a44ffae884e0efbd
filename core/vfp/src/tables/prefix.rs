//! Prefixes of up to 128 bits, and conditions as sets of them.

use std::hash::{Hash, Hasher};

use hns_abi::Addr;
use hns_net::{Cidr, Family, PortRange};

use super::hash::Mix;

/// The IPv4 addresses among the keys: `::ffff:0:0/96`.
const MAPPED: Prefix = Prefix { bits: 0xffff_0000_0000, length: 96 };

/// A block of keys. The order puts a prefix before all that it contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Prefix {
    /// Left-aligned; the bits after `length` are zero.
    pub bits: u128,
    pub length: u8,
}

impl Prefix {
    pub fn new(bits: u128, length: u8) -> Self {
        Self { bits: bits & mask(length), length }
    }

    pub fn contains(self, other: Self) -> bool {
        self.length <= other.length && other.bits & mask(self.length) == self.bits
    }

    /// Of a block of IPv4.
    pub fn is_v4(self) -> bool {
        MAPPED.contains(self)
    }

    /// The last key in the order that begins with this prefix's bits, or one that comes after it and before all prefixes outside.
    pub fn last(self) -> Self {
        Self { bits: self.bits | !mask(self.length), length: 128 }
    }

    /// The prefix of this length around it.
    pub fn cut(self, length: u8) -> Self {
        Self::new(self.bits, length)
    }

    /// Of a protocol as a whole.
    pub fn protocol(protocol: u8) -> Self {
        Self::new(u128::from(protocol) << 120, 8)
    }

    /// Of `protocol` the ports whose first `length` bits are those of `port`.
    fn port(protocol: u8, port: u16, length: u8) -> Self {
        Self::new(u128::from(protocol) << 120 | u128::from(port) << 96, 16 + length)
    }

    /// What of the keys an address block stands for: a block of IPv6 does not speak of IPv4.
    fn push_block(block: Cidr, into: &mut Vec<Self>) {
        let bits = u128::from_be_bytes(Addr::from(block.network()).b);
        if block.family() == Family::V4 {
            into.push(Self::new(bits, 96 + block.length()));
            return;
        }
        let whole = Self::new(bits, block.length());
        if MAPPED.contains(whole) {
            return;
        }
        if !whole.contains(MAPPED) {
            into.push(whole);
            return;
        }
        for length in whole.length + 1..=MAPPED.length {
            into.push(Self::new(MAPPED.bits ^ 1 << (128 - u32::from(length)), length));
        }
    }
}

const fn mask(length: u8) -> u128 {
    if length == 0 { 0 } else { u128::MAX << (128 - length as u32) }
}

/// A set of keys as disjoint prefixes in order. Compared by content; the hash is kept, since sets may have 50,000 members.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Condition {
    hash: u64,
    pub prefixes: Box<[Prefix]>,
}

impl Hash for Condition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Condition {
    /// The union of `prefixes`.
    pub fn union(mut prefixes: Vec<Prefix>) -> Self {
        prefixes.sort_unstable();
        let mut kept: Vec<Prefix> = Vec::with_capacity(prefixes.len());
        for prefix in prefixes {
            if kept.last().is_none_or(|last| !last.contains(prefix)) {
                kept.push(prefix);
            }
        }
        Self::of_disjoint(kept)
    }

    pub fn of_blocks(blocks: &[Cidr]) -> Self {
        let mut prefixes = Vec::with_capacity(blocks.len());
        for block in blocks {
            Prefix::push_block(*block, &mut prefixes);
        }
        Self::union(prefixes)
    }

    fn of_disjoint(prefixes: Vec<Prefix>) -> Self {
        let mut mix = Mix::default();
        for prefix in &prefixes {
            prefix.hash(&mut mix);
        }
        Self { hash: mix.finish(), prefixes: prefixes.into() }
    }
}

/// The prefixes of a protocol's ports that make up `range`.
pub(super) fn push_ports(protocol: u8, range: PortRange, into: &mut Vec<Prefix>) {
    let (mut start, end) = (u32::from(range.start()), u32::from(range.end()));
    while start <= end {
        let aligned = start.trailing_zeros().min(16);
        let fitting = (end - start + 1).ilog2();
        let size = aligned.min(fitting);
        let length = 16 - u8::try_from(size).unwrap_or(16);
        into.push(Prefix::port(protocol, u16::try_from(start).unwrap_or(u16::MAX), length));
        start += 1 << size;
    }
}

/// An ICMP type, with one of its codes or with all.
pub(super) fn push_icmp(protocol: u8, icmp: crate::model::IcmpType, into: &mut Vec<Prefix>) {
    let (code, length) = icmp.code.map_or((0, 8), |code| (code, 16));
    into.push(Prefix::port(protocol, u16::from(icmp.kind) << 8 | u16::from(code), length));
}
