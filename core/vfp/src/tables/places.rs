//! Elements of an array, from 1 on; the first one stays empty.

#[derive(Debug)]
pub(super) struct Places {
    capacity: u32,
    /// All up to this one were taken once.
    highest: u32,
    free: Vec<u32>,
}

impl Places {
    pub const fn new(capacity: u32) -> Self {
        Self { capacity, highest: 0, free: Vec::new() }
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

    pub fn give_back(&mut self, place: u32) {
        self.free.push(place);
    }
}
