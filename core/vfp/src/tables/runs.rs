//! Room in the array `directory`: runs of elements, by the buddy system (Knuth, The Art of Computer Programming, volume 1,
//! section 2.5).

use std::collections::BTreeSet;

#[derive(Debug)]
pub(super) struct Runs {
    /// By the logarithm of the size: where free blocks begin.
    free: Vec<BTreeSet<u32>>,
    /// How many users runs beyond the end of the array have.
    beyond: usize,
    order: u32,
}

impl Runs {
    /// Where a run lies that there is no room for.
    pub const BEYOND: u32 = u32::MAX;

    /// Of an array of 2^`order` elements, of which the first 2^`reserved` are not given.
    pub fn new(order: u32, reserved: u32) -> Self {
        let mut free: Vec<BTreeSet<u32>> = (0..=order).map(|_| BTreeSet::new()).collect();
        for (log, starts) in
            free.iter_mut().enumerate().skip(reserved as usize).take((order - reserved) as usize)
        {
            starts.insert(1 << log);
        }
        Self { free, beyond: 0, order }
    }

    /// Always answers; what lies beyond the array shows in [`Runs::is_overdrawn`].
    pub fn take(&mut self, size: u32) -> u32 {
        let log = size.next_power_of_two().ilog2();
        let found = (log..=self.order).find(|&from| !self.free[from as usize].is_empty());
        let Some((mut from, start)) =
            found.and_then(|from| Some((from, self.free[from as usize].pop_first()?)))
        else {
            self.beyond += 1;
            return Self::BEYOND;
        };
        while from > log {
            from -= 1;
            self.free[from as usize].insert(start + (1 << from));
        }
        start
    }

    pub const fn share_beyond(&mut self) {
        self.beyond += 1;
    }

    pub fn give_back(&mut self, mut start: u32, size: u32) {
        if start == Self::BEYOND {
            self.beyond -= 1;
            return;
        }
        let mut log = size.next_power_of_two().ilog2();
        while log < self.order && self.free[log as usize].remove(&(start ^ 1 << log)) {
            start &= !(1 << log);
            log += 1;
        }
        self.free[log as usize].insert(start);
    }

    pub const fn is_overdrawn(&self) -> bool {
        self.beyond > 0
    }

    /// Elements in use, those that are never given included.
    pub fn in_use(&self) -> usize {
        let free: usize = (0..=self.order).map(|log| self.free[log as usize].len() << log).sum();
        (1 << self.order) - free
    }
}
