//! Rate limits: a token bucket as a theoretical arrival time (GCRA, ITU-T I.371).

use hns_abi::{Direction, Reason};

use crate::model::Rate;

const PICOSECONDS: u64 = 1_000_000_000_000;

impl Rate {
    /// What one byte costs.
    #[must_use]
    pub fn picoseconds_per_byte(self) -> u64 {
        PICOSECONDS / self.bytes_per_second.max(1)
    }

    /// Ns that a packet of this many bytes takes of the bucket.
    #[must_use]
    pub fn cost(self, bytes: u64) -> u64 {
        bytes.saturating_mul(self.picoseconds_per_byte()) / 1000
    }

    /// Ns worth of bytes that may come at once.
    #[must_use]
    pub fn burst(self) -> u64 {
        let burst = u128::from(self.burst_bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        u64::try_from(burst).unwrap_or(u64::MAX)
    }
}

/// The bucket's next arrival time when a frame of this length may pass at `now` (all in ns).
#[must_use]
pub fn admit(rate: Rate, arrival: u64, length: usize, now: u64) -> Option<u64> {
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    let next = arrival.max(now).saturating_add(rate.cost(length));
    (next - now <= rate.burst()).then_some(next)
}

#[must_use]
pub const fn reason(direction: Direction) -> Reason {
    match direction {
        Direction::In => Reason::MeterIn,
        Direction::Out => Reason::MeterOut,
    }
}
