use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hns_model::LeaseKind;
use hns_net::Guid;

use crate::threads::while_waiting;

/// What a request works on. Requests on one object come one after the other, others run side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Namespace(Guid),
    Endpoint(Guid),
    /// What the LAN gives it, of a family. Taken before all others, that of IPv4 first.
    Lease(Guid, LeaseKind),
    /// Opening a further bridge of a network.
    Segments(Guid),
    /// The pools of engines' IPAM, whose records hold many leases each.
    Leases,
}

/// All locks of the engine; their order stands in the crate's documentation.
#[derive(Default)]
pub(crate) struct Locks {
    gate: RwLock<()>,
    passes: AtomicU64,
    networks: RwLock<HashMap<Guid, Arc<RwLock<()>>>>,
    creation: Mutex<()>,
    held: Keyed,
}

impl Locks {
    /// Shared by every request that changes something.
    pub fn pass(&self) -> RwLockReadGuard<'_, ()> {
        self.passes.fetch_add(1, Ordering::Relaxed);
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests have come.
    pub fn passes(&self) -> u64 {
        self.passes.load(Ordering::Relaxed)
    }

    /// Alone: no request is under way while this is held.
    pub fn close(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Networks are made one at a time: each must see the prefixes of all others.
    pub fn creation(&self) -> MutexGuard<'_, ()> {
        self.creation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock of one network: shared by requests on its endpoints, exclusive for its deletion.
    pub fn network(&self, id: Guid) -> Arc<RwLock<()>> {
        if let Some(lock) = self.networks.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Arc::clone(lock);
        }
        let mut networks = self.networks.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(networks.entry(id).or_default())
    }

    pub fn forget_network(&self, id: Guid) {
        self.networks.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    pub fn hold(&self, key: Key) -> Held<'_> {
        self.held.hold(key)
    }

    /// As [`Locks::hold`], of a key that others hold for long: no other request waits for this thread meanwhile.
    pub fn hold_patiently(&self, key: Key) -> Held<'_> {
        self.held.try_to_hold(key).unwrap_or_else(|| while_waiting(|| self.held.hold(key)))
    }
}

/// A mutex for every value of a key, which exists only while somebody holds or wants it.
#[derive(Default)]
struct Keyed {
    taken: Mutex<std::collections::HashSet<Key>>,
    released: Condvar,
}

/// Holds one key until dropped.
pub(crate) struct Held<'a> {
    keyed: &'a Keyed,
    key: Key,
}

impl Keyed {
    fn try_to_hold(&self, key: Key) -> Option<Held<'_>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert(key).then(|| Held { keyed: self, key })
    }

    fn hold(&self, key: Key) -> Held<'_> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while taken.contains(&key) {
            taken = self.released.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        taken.insert(key);
        Held { keyed: self, key }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.keyed.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        self.keyed.released.notify_all();
    }
}
