//! The rows of one dimension of one ruleset: which positions' conditions hold for a class of keys.
//!
//! A row is known by its *print*, the sum of the prints of its conditions, so that rows of equal conditions are one. A row is
//! changed in place, chunk by chunk, only where the position is not in the ruleset's mask.

use hns_abi::Map;

use super::chunks::{Bits, Chunks, by_slot, place};
use super::hash::{QuickMap, scatter};
use super::journal::Journal;

#[derive(Debug)]
struct Row {
    print: u128,
    chunks: Box<[u32]>,
    /// In `directory`.
    place: u32,
    users: u32,
}

#[derive(Debug)]
pub(super) struct Rows {
    /// Chunks of a row.
    slots: usize,
    rows: Vec<Option<Row>>,
    free: Vec<u32>,
    index: QuickMap<u128, u32>,
}

/// A number for the condition with this number, such that sums of different ones differ.
pub(super) fn print(condition: u32) -> u128 {
    let number = u64::from(condition) << 1;
    u128::from(scatter(number)) << 64 | u128::from(scatter(number | 1))
}

impl Rows {
    pub fn new(slots: usize) -> Self {
        Self { slots, rows: Vec::new(), free: Vec::new(), index: QuickMap::default() }
    }

    pub fn count(&self) -> usize {
        self.index.len()
    }

    /// The row of no condition, with one user.
    pub fn take_empty(&mut self, chunks: &mut Chunks, journal: &mut Journal) -> u32 {
        let none = vec![0; self.slots].into_boxed_slice();
        none.iter().for_each(|chunk| chunks.share(*chunk));
        self.insert(0, none, chunks, journal)
    }

    fn insert(&mut self, print: u128, row: Box<[u32]>, chunks: &mut Chunks, journal: &mut Journal) -> u32 {
        let place = chunks.directory.take(size(&row));
        journal.array(Map::Directory, place, &*row);
        let number = self.free.pop().unwrap_or_else(|| {
            self.rows.push(None);
            u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX)
        });
        self.rows[number as usize] = Some(Row { print, chunks: row, place, users: 1 });
        self.index.insert(print, number);
        number
    }

    fn row(&self, number: u32) -> Option<&Row> {
        self.rows.get(number as usize)?.as_ref()
    }

    /// Where it lies in `directory`.
    pub fn place(&self, number: u32) -> u32 {
        self.row(number).map_or(0, |row| row.place)
    }

    pub fn share(&mut self, number: u32) {
        if let Some(row) = &mut self.rows[number as usize] {
            row.users += 1;
        }
    }

    pub fn give_back(&mut self, number: u32, chunks: &mut Chunks) {
        let Some(row) = &mut self.rows[number as usize] else { return };
        row.users -= 1;
        if row.users > 0 {
            return;
        }
        self.index.remove(&row.print);
        chunks.directory.give_back(row.place, size(&row.chunks));
        row.chunks.iter().for_each(|chunk| chunks.give_back(*chunk));
        self.rows[number as usize] = None;
        self.free.push(number);
    }

    /// The row that has the print `print` and differs from row `from` in these bits; with one user more.
    pub fn derive(
        &mut self,
        from: u32,
        print: impl FnOnce(u128) -> u128,
        edits: &[(usize, Bits, Bits)],
        chunks: &mut Chunks,
        journal: &mut Journal,
    ) -> u32 {
        let Some(row) = self.row(from) else { return from };
        let print = print(row.print);
        if let Some(&found) = self.index.get(&print) {
            self.share(found);
            return found;
        }
        let mut copy = row.chunks.clone();
        copy.iter().for_each(|chunk| chunks.share(*chunk));
        for (slot, set, clear) in edits {
            copy[*slot] = chunks.edit(copy[*slot], set, clear, journal);
        }
        self.insert(print, copy, chunks, journal)
    }

    /// Sets in every row the positions of `always`, and those of each of `more` in the rows where the position beside it is set.
    pub fn set(
        &mut self,
        always: &[u32],
        more: &[(u32, Vec<u32>)],
        chunks: &mut Chunks,
        journal: &mut Journal,
    ) {
        let everywhere = by_slot(always.iter().copied());
        let more: Vec<_> =
            more.iter().map(|(mark, positions)| (*mark, by_slot(positions.iter().copied()))).collect();
        if everywhere.is_empty() && more.is_empty() {
            return;
        }
        for row in self.rows.iter_mut().flatten() {
            let mut edits = everywhere.clone();
            for (mark, bits) in &more {
                let (slot, word, bit) = place(*mark);
                if chunks.bits(row.chunks[slot])[word] & bit != 0 {
                    bits.iter().for_each(|(slot, bits)| merge(&mut edits, *slot, bits));
                }
            }
            for (slot, bits) in &edits {
                row.replace(*slot, bits, &[0; 8], chunks, journal);
            }
        }
    }

    /// Clears positions in every row.
    pub fn clear(&mut self, positions: &[u32], chunks: &mut Chunks, journal: &mut Journal) {
        let slots = by_slot(positions.iter().copied());
        for row in self.rows.iter_mut().flatten() {
            for (slot, bits) in &slots {
                let old = chunks.bits(row.chunks[*slot]);
                if old.iter().zip(bits).any(|(old, bits)| old & bits != 0) {
                    row.replace(*slot, &[0; 8], bits, chunks, journal);
                }
            }
        }
    }
}

impl Row {
    fn replace(&mut self, slot: usize, set: &Bits, clear: &Bits, chunks: &mut Chunks, journal: &mut Journal) {
        self.chunks[slot] = chunks.edit(self.chunks[slot], set, clear, journal);
        let index = self.place.wrapping_add(u32::try_from(slot).unwrap_or(0));
        journal.array(Map::Directory, index, &self.chunks[slot]);
    }
}

fn merge(edits: &mut Vec<(usize, Bits)>, slot: usize, bits: &Bits) {
    match edits.iter_mut().find(|(other, _)| *other == slot) {
        Some((_, into)) => into.iter_mut().zip(bits).for_each(|(into, bits)| *into |= bits),
        None => edits.push((slot, *bits)),
    }
}

fn size(row: &[u32]) -> u32 {
    u32::try_from(row.len()).unwrap_or(u32::MAX)
}
