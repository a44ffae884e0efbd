use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::StoreError;
use crate::record::{Record, Revision};

/// How many changes a store remembers for its watches. A watch further behind than this lists again.
pub const HISTORY_MAX: usize = 1024;

/// One change of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put(Record),
    Deleted { key: String, revision: Revision },
}

impl Change {
    pub fn key(&self) -> &str {
        match self {
            Self::Put(record) => &record.key,
            Self::Deleted { key, .. } => key,
        }
    }

    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(record) => record.modified,
            Self::Deleted { revision, .. } => *revision,
        }
    }
}

/// The changes since the store was opened, as far as they are remembered. Watches are cursors into it, so that a slow
/// one costs no memory and cannot hold up a commit.
#[derive(Debug)]
pub(crate) struct History {
    kept: Mutex<Kept>,
    grown: Condvar,
}

#[derive(Debug)]
struct Kept {
    changes: VecDeque<Change>,
    /// Position of `changes[0]` among all changes ever recorded.
    first_position: u64,
    /// Everything up to and including this revision is forgotten.
    forgotten: Revision,
}

impl History {
    pub(crate) fn new(start: Revision) -> Arc<Self> {
        let kept = Kept { changes: VecDeque::new(), first_position: 0, forgotten: start };
        Arc::new(Self { kept: Mutex::new(kept), grown: Condvar::new() })
    }

    /// Records the changes of one commit, which share a revision.
    pub(crate) fn record(&self, changes: Vec<Change>) {
        let mut kept = self.lock();
        for change in changes {
            kept.changes.push_back(change);
        }
        while kept.changes.len() > HISTORY_MAX {
            let Some(dropped) = kept.changes.pop_front() else { break };
            kept.first_position += 1;
            kept.forgotten = dropped.revision();
        }
        drop(kept);
        self.grown.notify_all();
    }

    pub(crate) fn watch(self: &Arc<Self>, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        let kept = self.lock();
        if from < kept.forgotten {
            return Err(StoreError::Compacted { from, oldest: kept.forgotten });
        }
        let seen = kept.changes.partition_point(|change| change.revision() <= from);
        let position = kept.first_position + seen as u64;
        drop(kept);
        Ok(Watch { history: Arc::clone(self), prefix: prefix.to_owned(), position, seen: from })
    }

    // A panic between two pushes leaves a shorter but consistent history, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cursor over the changes under one prefix, made by [`crate::Store::watch`].
#[derive(Debug)]
pub struct Watch {
    history: Arc<History>,
    prefix: String,
    position: u64,
    seen: Revision,
}

impl Watch {
    /// The next change, waiting at most `patience` for it. `None` when none came. Fails with
    /// [`StoreError::Compacted`] when the watch fell behind, and from then on always does.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Change>, StoreError> {
        let deadline = Instant::now() + patience;
        let history = Arc::clone(&self.history);
        let mut kept = history.lock();
        loop {
            if self.position < kept.first_position {
                return Err(StoreError::Compacted { from: self.seen, oldest: kept.forgotten });
            }
            while let Some(change) = kept.changes.get((self.position - kept.first_position) as usize) {
                self.position += 1;
                self.seen = change.revision();
                if change.key().starts_with(&self.prefix) {
                    return Ok(Some(change.clone()));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            kept = history.grown.wait_timeout(kept, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
