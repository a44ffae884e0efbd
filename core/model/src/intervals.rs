use std::collections::BTreeMap;

/// A set of numbers kept as runs, so that finding the first number not in it costs the logarithm of the
/// number of runs, whether the space is a /24 or a /64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intervals {
    /// Start → end of each run, both included; runs neither touch nor overlap.
    runs: BTreeMap<u128, u128>,
}

impl Intervals {
    #[must_use]
    pub fn contains(&self, value: u128) -> bool {
        self.runs.range(..=value).next_back().is_some_and(|(_, end)| value <= *end)
    }

    /// Adds a number; false when it was there already.
    pub fn insert(&mut self, value: u128) -> bool {
        if self.contains(value) {
            return false;
        }
        let before = self.runs.range(..value).next_back().map(|(start, end)| (*start, *end));
        let joins_before = before.filter(|(_, end)| end.checked_add(1) == Some(value));
        let after = value.checked_add(1).and_then(|next| self.runs.remove(&next));
        let start = joins_before.map_or(value, |(start, _)| start);
        self.runs.insert(start, after.unwrap_or(value));
        true
    }

    /// Takes a number out; false when it was not there.
    pub fn remove(&mut self, value: u128) -> bool {
        let Some((start, end)) = self.runs.range(..=value).next_back().map(|(s, e)| (*s, *e)) else {
            return false;
        };
        if value > end {
            return false;
        }
        self.runs.remove(&start);
        if start < value {
            self.runs.insert(start, value - 1);
        }
        if value < end {
            self.runs.insert(value + 1, end);
        }
        true
    }

    /// The smallest number within `from..=to` that is not in the set.
    #[must_use]
    pub fn first_gap(&self, from: u128, to: u128) -> Option<u128> {
        let run = self.runs.range(..=from).next_back();
        let candidate = match run {
            Some((_, end)) if *end >= from => end.checked_add(1)?,
            _ => from,
        };
        (candidate <= to).then_some(candidate)
    }

    /// How many numbers are in the set.
    #[must_use]
    pub fn count(&self) -> u128 {
        self.runs.iter().map(|(start, end)| end - start + 1).sum()
    }
}
