//! The writes of one change, in the order in which they must reach the maps.

use hns_abi::{LOW_IFINDEXES, Map};
use zerocopy::{Immutable, IntoBytes};

/// One step towards the maps. A change is a list of these; carried out in order, every packet on the way meets either the
/// policy of before or that of after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Of a hash or an LPM trie: adds the entry or replaces it as a whole.
    Put { map: Map, key: Vec<u8>, value: Vec<u8> },
    /// Of a hash or an LPM trie; no error when the entry is absent.
    Delete { map: Map, key: Vec<u8> },
    /// Of an array: consecutive elements from `index` on.
    Array { map: Map, index: u32, bytes: Vec<u8> },
}

impl Write {
    /// Whether it is of a port's record, or leads a link there.
    #[must_use]
    pub fn sets_a_port(&self) -> bool {
        match self {
            Self::Put { map, .. } => *map == Map::HighSlots,
            Self::Array { map: Map::Slots, bytes, .. } => bytes.iter().any(|byte| *byte != 0),
            Self::Array { map, .. } => *map == Map::Ports,
            Self::Delete { .. } => false,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Journal {
    pub writes: Vec<Write>,
}

impl Journal {
    pub fn put(
        &mut self,
        map: Map,
        key: &(impl IntoBytes + Immutable),
        value: &(impl IntoBytes + Immutable),
    ) {
        self.writes.push(Write::Put { map, key: key.as_bytes().to_vec(), value: value.as_bytes().to_vec() });
    }

    pub fn delete(&mut self, map: Map, key: &(impl IntoBytes + Immutable)) {
        self.writes.push(Write::Delete { map, key: key.as_bytes().to_vec() });
    }

    /// From a link to the slot of its port; 0: it has none.
    pub fn lead(&mut self, ifindex: u32, slot: u32) {
        if ifindex < LOW_IFINDEXES {
            self.array(Map::Slots, ifindex, &slot);
        } else if slot == 0 {
            self.delete(Map::HighSlots, &ifindex);
        } else {
            self.put(Map::HighSlots, &ifindex, &slot);
        }
    }

    pub fn array(&mut self, map: Map, index: u32, elements: &(impl IntoBytes + Immutable + ?Sized)) {
        self.writes.push(Write::Array { map, index, bytes: elements.as_bytes().to_vec() });
    }
}
