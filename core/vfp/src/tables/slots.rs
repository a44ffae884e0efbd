//! Which elements of `ports` hold the records of ports. A record never changes where a program may read it: a port that is to be
//! another gets another slot, and its former one is free again when no program reads it any more.

use std::collections::VecDeque;

use super::places::Places;

#[derive(Debug)]
pub(super) struct Slots {
    places: Places,
    /// Led to no more, with the number of the loss.
    retired: VecDeque<(u64, u32)>,
    losses: u64,
}

impl Slots {
    pub const fn new(capacity: u32) -> Self {
        Self { places: Places::new(capacity), retired: VecDeque::new(), losses: 0 }
    }

    /// How many can be taken.
    pub fn room(&self) -> usize {
        self.places.room()
    }

    pub fn take(&mut self) -> Option<u32> {
        self.places.take()
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
            self.places.give_back(slot);
        }
    }
}
