use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Store;
use crate::error::StoreError;
use crate::history::{Change, History, Watch};
use crate::record::{Record, Revision};
use crate::txn::{Txn, Write, first_conflict};

/// The store without a disk: behaves like [`crate::SqliteStore`] and forgets everything when it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    history: Arc<History>,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<String, Slot>,
    revision: Revision,
    slots_made: u64,
}

#[derive(Debug)]
struct Slot {
    record: Record,
    /// Records of one transaction share a revision; this orders them among each other.
    made_as: u64,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self { state: Mutex::default(), history: History::new(Revision::ZERO) }
    }

    // Nothing here panics between two writes of one transaction.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn write(&mut self, revision: Revision, write: Write) -> Option<Change> {
        match write {
            Write::Put { key, value } => {
                let made_as = self.slots_made;
                let slot = self.records.entry(key.clone()).or_insert_with(|| Slot {
                    record: Record { key, value: Vec::new(), created: revision, modified: revision },
                    made_as,
                });
                self.slots_made += 1;
                slot.record.value = value;
                slot.record.modified = revision;
                Some(Change::Put(slot.record.clone()))
            }
            Write::Delete { key } => self.records.remove(&key).map(|_| Change::Deleted { key, revision }),
        }
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        Ok(self.lock().records.get(key).map(|slot| slot.record.clone()))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Record>, StoreError> {
        let state = self.lock();
        let from_prefix = state.records.range(prefix.to_owned()..);
        let mut slots: Vec<&Slot> =
            from_prefix.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, slot)| slot).collect();
        slots.sort_by_key(|slot| slot.made_as);
        Ok(slots.into_iter().map(|slot| slot.record.clone()).collect())
    }

    fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        let mut state = self.lock();
        let modified_of = |key: &str| Ok(state.records.get(key).map(|slot| slot.record.modified));
        if let Some(key) = first_conflict(&txn.expectations, modified_of)? {
            return Err(StoreError::Conflict { key });
        }
        let revision = state.revision.next();
        let changes: Vec<Change> =
            txn.writes.into_iter().filter_map(|write| state.write(revision, write)).collect();
        if !changes.is_empty() {
            state.revision = revision;
            self.history.record(changes);
        }
        Ok(state.revision)
    }

    fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        self.history.watch(prefix, from)
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.lock().revision)
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn verify(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn back_up(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
