//! Rules as bit vectors.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Addr, Be16};

pub const ACTION_BLOCK: u8 = 0;
pub const ACTION_ALLOW: u8 = 1;
/// Of a tier: go on at [`RuleEntry::next`].
pub const ACTION_PASS: u8 = 2;
/// Would block, and is only watched: go on at [`RuleEntry::next`].
pub const ACTION_OBSERVE: u8 = 3;

pub const CHUNK_WORDS: usize = 8;
pub const CHUNK_BITS: usize = 512;
/// Positions of one ruleset.
pub const RULES_MAX: usize = 16384;
pub const CHUNKS_PER_ROW: usize = RULES_MAX / CHUNK_BITS;
/// Of one ruleset: a walk follows one Pass a tier.
pub const TIERS_MAX: usize = 1024;

pub const DIM_LOCAL: usize = 0;
pub const DIM_REMOTE: usize = 1;
pub const DIM_LOCAL_PORT: usize = 2;
pub const DIM_REMOTE_PORT: usize = 3;
/// Of rulesets that name address sets: the sets that the address is in.
pub const DIM_LOCAL_SETS: usize = 4;
pub const DIM_REMOTE_SETS: usize = 5;
pub const DIMENSIONS: usize = 6;
/// Those that every ruleset has: two tries for addresses and two for ports.
pub const PLAIN_DIMENSIONS: usize = 4;

/// `struct ruleset` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ruleset {
    /// Words of 512 positions.
    pub chunks: u32,
    /// The first position: 0, which the verifier must not know (`bpf/layers/acl.h`).
    pub first: u32,
    /// Row of each dimension when its map has no entry.
    pub miss: [u32; DIMENSIONS],
    /// [`SetClassKey::space`] of its network; 0: no rule names a set.
    pub sets: u32,
}

/// `struct address_class_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddressClassKey {
    pub prefixlen: u32,
    /// Ruleset << 1 | dimension (`DIM_LOCAL`, `DIM_REMOTE`).
    pub space: u32,
    pub addr: Addr,
}

/// `struct port_class_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PortClassKey {
    pub prefixlen: u32,
    /// Ruleset << 1 | (dimension - `DIM_LOCAL_PORT`).
    pub space: u32,
    pub protocol: u8,
    pub zero: u8,
    pub port: Be16,
}

/// `struct set_class_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetClassKey {
    pub prefixlen: u32,
    pub space: u32,
    pub addr: Addr,
}

/// `struct set_row_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetRowKey {
    /// Ruleset << 1 | (dimension - `DIM_LOCAL_SETS`).
    pub space: u32,
    /// The number of a combination of sets.
    pub class: u32,
}

/// `struct chunk` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Chunk {
    pub w: [u64; CHUNK_WORDS],
}

/// `struct rule_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RuleKey {
    pub ruleset: u32,
    pub position: u32,
}

/// `struct hit_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HitKey {
    /// [`Port::id`](crate::Port::id).
    pub port: u32,
    pub ruleset: u32,
    pub position: u32,
}

/// `struct rule_entry` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RuleEntry {
    /// `enum action`.
    pub action: u32,
    /// `ACTION_PASS`: the first position of the next tier; `ACTION_OBSERVE`: the next one.
    pub next: u32,
}
