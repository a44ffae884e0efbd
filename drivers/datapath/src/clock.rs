//! The clock of the programs, CLOCK_MONOTONIC, and ours.

use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

/// Ns of CLOCK_MONOTONIC.
pub(crate) fn now() -> u64 {
    // It fails for clocks that do not exist, of which this is none.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX))
}

/// How long ago a time of the programs was.
pub(crate) fn since(then: u64) -> Duration {
    Duration::from_nanos(now().saturating_sub(then))
}

pub(crate) fn wall(then: u64) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(since(then)).unwrap_or(now)
}
