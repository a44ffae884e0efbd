//! Numbers of objects, kept while the object has users and never given twice.

use std::collections::BTreeMap;

use hns_net::Guid;

#[derive(Debug, Default)]
pub(super) struct Numbers {
    last: u32,
    given: BTreeMap<Guid, Given>,
}

#[derive(Debug)]
struct Given {
    number: u32,
    users: u32,
}

impl Numbers {
    /// One user more.
    pub fn take(&mut self, object: Guid) -> u32 {
        let given = self.given.entry(object).or_insert_with(|| {
            self.last += 1;
            Given { number: self.last, users: 0 }
        });
        given.users += 1;
        given.number
    }

    /// One user less.
    pub fn give_back(&mut self, object: Guid) {
        if let Some(given) = self.given.get_mut(&object) {
            given.users -= 1;
            if given.users == 0 {
                self.given.remove(&object);
            }
        }
    }
}
