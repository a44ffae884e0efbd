//! The arrays behind all rulesets: `chunks`, where equal chunks are stored once, and room for rows in `directory`.

use hns_abi::{CHUNK_BITS, CHUNK_WORDS, CHUNKS_PER_ROW, Map};

use super::hash::QuickMap;
use super::journal::Journal;
use super::runs::Runs;

pub(super) type Bits = [u64; CHUNK_WORDS];

/// How many elements the arrays have, as powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    pub directory: u32,
    pub chunks: u32,
}

impl Default for Capacity {
    /// As the maps are declared. One port with 10,000 rules of different addresses takes up to a fifth of `directory`, and for a
    /// moment twice that when its rules are laid out anew.
    fn default() -> Self {
        Self { directory: hns_abi::DIRECTORY_MAX.ilog2(), chunks: hns_abi::CHUNKS_MAX.ilog2() }
    }
}

#[derive(Debug)]
pub(super) struct Chunks {
    pub directory: Runs,
    capacity: usize,
    bits: Vec<Bits>,
    users: Vec<u32>,
    index: QuickMap<Bits, u32>,
    free: Vec<u32>,
    /// Free numbers beyond the array's end.
    spare: Vec<u32>,
    /// Chunks in use beyond the array's end.
    beyond: usize,
    /// May have lost their last user in this change.
    leaving: Vec<u32>,
}

impl Chunks {
    pub fn new(capacity: Capacity) -> Self {
        let zero = [0; CHUNK_WORDS];
        Self {
            directory: Runs::new(capacity.directory, CHUNKS_PER_ROW.ilog2()),
            capacity: 1 << capacity.chunks,
            bits: vec![zero],
            users: vec![1],
            index: std::iter::once((zero, 0)).collect(),
            free: Vec::new(),
            spare: Vec::new(),
            beyond: 0,
            leaving: Vec::new(),
        }
    }

    pub fn bits(&self, chunk: u32) -> &Bits {
        &self.bits[chunk as usize]
    }

    /// The chunk with these bits, with one user more.
    pub fn take(&mut self, bits: &Bits, journal: &mut Journal) -> u32 {
        if let Some(&chunk) = self.index.get(bits) {
            self.users[chunk as usize] += 1;
            return chunk;
        }
        let chunk = self.number();
        self.bits[chunk as usize] = *bits;
        self.users[chunk as usize] = 1;
        self.index.insert(*bits, chunk);
        journal.array(Map::Chunks, chunk, bits);
        chunk
    }

    fn number(&mut self) -> u32 {
        if let Some(chunk) = self.free.pop() {
            return chunk;
        }
        if self.bits.len() >= self.capacity {
            self.beyond += 1;
            if let Some(chunk) = self.spare.pop() {
                return chunk;
            }
        }
        self.bits.push([0; CHUNK_WORDS]);
        self.users.push(0);
        u32::try_from(self.bits.len() - 1).unwrap_or(u32::MAX)
    }

    pub fn share(&mut self, chunk: u32) {
        self.users[chunk as usize] += 1;
    }

    pub fn give_back(&mut self, chunk: u32) {
        let users = &mut self.users[chunk as usize];
        *users -= 1;
        if *users == 0 {
            self.leaving.push(chunk);
        }
    }

    /// `chunk` with some bits set or cleared; the user goes over to the result.
    pub fn edit(&mut self, chunk: u32, set: &Bits, clear: &Bits, journal: &mut Journal) -> u32 {
        let mut bits = *self.bits(chunk);
        for (word, (set, clear)) in bits.iter_mut().zip(set.iter().zip(clear)) {
            *word = *word & !clear | set;
        }
        let edited = self.take(&bits, journal);
        self.give_back(chunk);
        edited
    }

    /// The end of a change: what nobody uses any more may be given anew.
    pub fn settle(&mut self) {
        self.directory.settle();
        for chunk in std::mem::take(&mut self.leaving) {
            let place = chunk as usize;
            if self.users[place] > 0 || self.index.get(&self.bits[place]) != Some(&chunk) {
                continue;
            }
            self.index.remove(&self.bits[place]);
            if place < self.capacity {
                self.free.push(chunk);
            } else {
                self.beyond -= 1;
                self.spare.push(chunk);
            }
        }
    }

    /// The map that the change does not fit into.
    pub const fn overdrawn(&self) -> Option<Map> {
        if self.directory.is_overdrawn() {
            Some(Map::Directory)
        } else if self.beyond > 0 {
            Some(Map::Chunks)
        } else {
            None
        }
    }

    pub fn available(&self) -> usize {
        self.free.len() + self.capacity.saturating_sub(self.bits.len())
    }

    pub fn in_use(&self) -> usize {
        self.index.len() - 1
    }
}

/// Bits of a row by chunk, from positions.
pub(super) fn by_slot(positions: impl IntoIterator<Item = u32>) -> Vec<(usize, Bits)> {
    let mut slots: Vec<(usize, Bits)> = Vec::new();
    for position in positions {
        let (slot, word, bit) = place(position);
        let found = slots.iter().position(|(other, _)| *other == slot).unwrap_or_else(|| {
            slots.push((slot, [0; CHUNK_WORDS]));
            slots.len() - 1
        });
        slots[found].1[word] |= bit;
    }
    slots
}

/// Chunk of the row, word of the chunk, bit of the word.
pub(super) const fn place(position: u32) -> (usize, usize, u64) {
    let position = position as usize;
    (position / CHUNK_BITS, position % CHUNK_BITS / 64, 1 << (position % 64))
}
