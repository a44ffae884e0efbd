//! Token buckets.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct meter_key` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MeterKey {
    pub port: u32,
    pub direction: u32,
}

/// `struct meter` of `bpf/lib/abi.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Meter {
    /// Ns: when the bucket would be full again.
    pub arrival: u64,
    pub picoseconds_per_byte: u64,
    /// Ns worth of bytes that may come at once.
    pub burst: u64,
}
