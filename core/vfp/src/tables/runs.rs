//! Room in the array `directory`: runs of elements, by the buddy system (Knuth, The Art of Computer
//! Programming, volume 1, section 2.5).

use std::collections::BTreeSet;

/// What is given back becomes free with [`Runs::settle`], at the end of the change: until then readers may be inside.
#[derive(Debug)]
pub(super) struct Runs {
    /// By the logarithm of the size: where free blocks begin.
    free: Vec<BTreeSet<u32>>,
    /// Given back, not free yet: start and logarithm.
    leaving: Vec<(u32, u32)>,
    /// Runs that were given beyond the end of the array.
    beyond: usize,
    order: u32,
}

impl Runs {
    /// Of an array of 2^`order` elements, of which the first 2^`reserved` are not given.
    pub fn new(order: u32, reserved: u32) -> Self {
        let mut free: Vec<BTreeSet<u32>> = (0..=order).map(|_| BTreeSet::new()).collect();
        for (log, starts) in
            free.iter_mut().enumerate().skip(reserved as usize).take((order - reserved) as usize)
        {
            starts.insert(1 << log);
        }
        Self { free, leaving: Vec::new(), beyond: 0, order }
    }

    /// Always succeeds; what lies beyond the array shows in [`Runs::is_overdrawn`].
    pub fn take(&mut self, size: u32) -> u32 {
        let log = size.next_power_of_two().ilog2();
        let found = (log..=self.order).find(|&from| !self.free[from as usize].is_empty());
        let Some(mut from) = found else {
            self.beyond += 1;
            return u32::MAX;
        };
        let start = self.free[from as usize].pop_first().unwrap_or(u32::MAX);
        while from > log {
            from -= 1;
            self.free[from as usize].insert(start + (1 << from));
        }
        start
    }

    pub fn give_back(&mut self, start: u32, size: u32) {
        if start == u32::MAX {
            self.beyond -= 1;
            return;
        }
        self.leaving.push((start, size.next_power_of_two().ilog2()));
    }

    pub fn settle(&mut self) {
        for (mut start, mut log) in std::mem::take(&mut self.leaving) {
            while log < self.order && self.free[log as usize].remove(&(start ^ 1 << log)) {
                start &= !(1 << log);
                log += 1;
            }
            self.free[log as usize].insert(start);
        }
    }

    pub const fn is_overdrawn(&self) -> bool {
        self.beyond > 0
    }

    /// Elements in use, those that are never given included.
    pub fn in_use(&self) -> usize {
        (1 << self.order) - self.available(1)
    }

    /// How many runs of `size` can be had for certain.
    pub fn available(&self, size: u32) -> usize {
        let log = size.next_power_of_two().ilog2();
        (log..=self.order).map(|from| self.free[from as usize].len() << (from - log)).sum()
    }
}
