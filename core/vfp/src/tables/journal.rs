//! The writes of one change, in the order in which they must reach the maps.

use hns_abi::Map;
use zerocopy::{Immutable, IntoBytes};

/// One step towards the maps. A change is a list of these; carried out in order, every packet on the way meets either the
/// policy of before or that of after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Of a hash or an LPM trie: adds the entry or replaces it as a whole.
    Put { map: Map, key: Vec<u8>, value: Vec<u8> },
    /// Of a hash or an LPM trie; no error when the entry is absent.
    Delete { map: Map, key: Vec<u8> },
    /// Of `directory` and `chunks`: consecutive elements from `index` on.
    Array { map: Map, index: u32, bytes: Vec<u8> },
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

    pub fn array(&mut self, map: Map, index: u32, elements: &(impl IntoBytes + Immutable + ?Sized)) {
        self.writes.push(Write::Array { map, index, bytes: elements.as_bytes().to_vec() });
    }
}
