use std::collections::{BTreeMap, BTreeSet};

use hns_net::{Guid, Mac, MacRange};

use crate::intervals::Intervals;

/// How many addresses a pool that the server chose has, and by how many it grows (rule Q12).
const BLOCK: u64 = 4096;

/// Hyper-V's organisation prefix 00-15-5D, under which HNS makes its addresses.
const OUI_BASE: u64 = 0x0015_5D00_0000;

/// The MAC addresses of one network.
///
/// An address is derived from the endpoint's IP address where the pool reaches that far, so that an IP
/// address that comes back has the MAC address its neighbours remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacPool {
    ranges: Vec<MacRange>,
    /// Whether the server chose the ranges, and so may add to them.
    growing: bool,
    taken: Intervals,
    holders: BTreeMap<Mac, Guid>,
    /// Those of containers on other hosts, with the records that say so.
    away: BTreeMap<Mac, BTreeSet<Guid>>,
}

impl MacPool {
    #[must_use]
    pub fn given(ranges: Vec<MacRange>) -> Self {
        Self {
            ranges,
            growing: false,
            taken: Intervals::default(),
            holders: BTreeMap::new(),
            away: BTreeMap::new(),
        }
    }

    /// A block that depends on the network's id alone, so that it survives anything.
    #[must_use]
    pub fn chosen(network: Guid) -> Self {
        let mut pool = Self::given(vec![Self::block(network, 0)]);
        pool.growing = true;
        pool
    }

    fn block(network: Guid, turn: u64) -> MacRange {
        let id = network.bytes();
        let twelve_bits = (u64::from(id[0]) << 4 | u64::from(id[1]) >> 4).wrapping_add(turn) & 0xFFF;
        let start = Mac::from_u64(OUI_BASE | twelve_bits << 12);
        let end = Mac::from_u64(start.to_u64() + BLOCK - 1);
        MacRange::new(start, end).unwrap_or_else(|| unreachable!("a block ends after it starts"))
    }

    #[must_use]
    pub fn ranges(&self) -> &[MacRange] {
        &self.ranges
    }

    #[must_use]
    pub fn is_growing(&self) -> bool {
        self.growing
    }

    /// Continues a pool that the server once chose.
    pub fn set_growing(&mut self) {
        self.growing = true;
    }

    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let hit = |a: &MacRange, b: &MacRange| a.start() <= b.end() && b.start() <= a.end();
        self.ranges.iter().any(|mine| other.ranges.iter().any(|theirs| hit(mine, theirs)))
    }

    /// Takes the address at `offset`, or the first free one.
    pub fn allocate(&mut self, offset: u128, holder: Guid) -> Option<Mac> {
        let derived = u64::try_from(offset).ok().and_then(|n| self.ranges.first()?.nth(n));
        let free = |mac: &Mac| !self.taken.contains(u128::from(mac.to_u64())) && mac.is_unicast();
        let mac = derived.filter(free).or_else(|| self.first_free()).or_else(|| self.grow())?;
        self.claim(mac, holder).ok()?;
        Some(mac)
    }

    fn first_free(&self) -> Option<Mac> {
        let gap = |range: &MacRange| {
            self.taken.first_gap(u128::from(range.start().to_u64()), u128::from(range.end().to_u64()))
        };
        self.ranges.iter().find_map(gap).and_then(|n| u64::try_from(n).ok()).map(Mac::from_u64)
    }

    fn grow(&mut self) -> Option<Mac> {
        let last = self.ranges.last().filter(|_| self.growing)?.end();
        let start = Mac::from_u64(last.to_u64() + 1);
        let range = MacRange::new(start, Mac::from_u64(start.to_u64() + BLOCK - 1))?;
        self.ranges.push(range);
        Some(start)
    }

    /// Takes this address, in the pool or not; fails with its holder.
    pub fn claim(&mut self, mac: Mac, holder: Guid) -> Result<(), Guid> {
        let away = self.away.get(&mac).and_then(BTreeSet::first);
        if let Some(other) = self.holders.get(&mac).or(away) {
            return Err(*other);
        }
        self.taken.insert(u128::from(mac.to_u64()));
        self.holders.insert(mac, holder);
        Ok(())
    }

    pub fn release(&mut self, mac: Mac) {
        if self.holders.remove(&mac).is_some() {
            self.taken.remove(u128::from(mac.to_u64()));
        }
    }

    /// Takes this address for a record of a container on another host, which several may share; fails with who has it here.
    pub fn claim_away(&mut self, mac: Mac, record: Guid) -> Result<(), Guid> {
        if let Some(holder) = self.holders.get(&mac) {
            return Err(*holder);
        }
        self.taken.insert(u128::from(mac.to_u64()));
        self.away.entry(mac).or_default().insert(record);
        Ok(())
    }

    pub fn release_away(&mut self, mac: Mac, record: Guid) {
        let Some(records) = self.away.get_mut(&mac) else { return };
        if records.remove(&record) && records.is_empty() {
            self.away.remove(&mac);
            self.taken.remove(u128::from(mac.to_u64()));
        }
    }

    /// Who has it.
    #[must_use]
    pub fn holder(&self, mac: Mac) -> Option<Guid> {
        self.holders.get(&mac).copied()
    }

    /// What is taken of these ranges.
    pub fn held_in(&self, ranges: &[MacRange]) -> impl Iterator<Item = Mac> {
        ranges.iter().flat_map(|range| self.holders.range(range.start()..=range.end())).map(|(mac, _)| *mac)
    }

    #[must_use]
    pub fn in_use(&self) -> usize {
        self.holders.len()
    }
}
