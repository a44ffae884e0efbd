//! Which elements of `ports` hold the records of ports. A record never changes where a program may read it: a port that is to be
//! another gets another slot, and its former one is free again when no program reads it any more.

use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Slots {
    /// Elements of the map; the first one stays empty.
    capacity: u32,
    /// All up to this one were taken once.
    highest: u32,
    free: Vec<u32>,
    /// Led to no more, with the number of the loss.
    retired: VecDeque<(u64, u32)>,
    losses: u64,
}

impl Slots {
    pub const fn new(capacity: u32) -> Self {
        Self { capacity, highest: 0, free: Vec::new(), retired: VecDeque::new(), losses: 0 }
    }

    /// How many can be taken.
    pub fn room(&self) -> usize {
        let fresh = self.capacity.saturating_sub(self.highest + 1);
        self.free.len() + usize::try_from(fresh).unwrap_or(usize::MAX)
    }

    pub fn take(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            let fresh = self.highest + 1;
            (fresh < self.capacity).then(|| self.highest = fresh).map(|()| fresh)
        })
    }

    pub fn retire(&mut self, slot: u32) {
        self.losses += 1;
        self.retired.push_back((self.losses, slot));
    }

    /// The last loss, if there is any to release.
    pub fn former(&self) -> Option<u64> {
        self.retired.back().map(|(loss, _)| *loss)
    }

    /// Frees what was lost up to this loss.
    pub fn release(&mut self, former: u64) {
        while let Some((_, slot)) = self.retired.pop_front_if(|(loss, _)| *loss <= former) {
            self.free.push(slot);
        }
    }
}
