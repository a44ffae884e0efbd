//! Times of one operation.

use std::time::Duration;

/// A collection of times, of which the middle and the tail are asked for.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    times: Vec<Duration>,
}

impl Samples {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// The time that `percent` of all samples do not exceed; `None` without samples.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted = self.times.clone();
        sorted.sort();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied()
    }

    /// The middle one.
    pub fn p50(&self) -> Option<Duration> {
        self.percentile(50)
    }

    /// The worst but one in a hundred.
    pub fn p99(&self) -> Option<Duration> {
        self.percentile(99)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut samples = Samples::default();
        assert_eq!(samples.p50(), None);
        for milliseconds in (1..=100).rev() {
            samples.add(Duration::from_millis(milliseconds));
        }
        assert_eq!(samples.p50(), Some(Duration::from_millis(50)));
        assert_eq!(samples.p99(), Some(Duration::from_millis(99)));
        assert_eq!(samples.percentile(100), Some(Duration::from_millis(100)));
    }
}
