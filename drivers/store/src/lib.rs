//! The desired state of one host, durable and shaped like etcd.
//!
//! ```text
//!   Txn { expectations, writes, durability } --commit--> Revision      Conflict{key} changes nothing
//!                                                │
//!              records  key -> value, created, modified               get · list (in order of creation)
//!                                                │
//!              history  the last HISTORY_MAX changes                  watch(prefix, from) -> Change, Change, ...
//! ```
//!
//! Every commit that changes something has a [`Revision`] one higher than the commit before it, across restarts. A
//! caller that wants to follow the state lists it, remembers [`Store::revision`], and watches from there; a watch that
//! fell behind the history ends in [`StoreError::Compacted`], and the caller lists again.
//!
//! Two bodies tell the same story, and `tests/both_bodies.rs` runs on both: [`SqliteStore`], one file in WAL mode, and
//! [`MemoryStore`], for tests of everything above. To add a body, implement [`Store`] and add it to that suite.
//!
//! This crate never looks into a value: what a record says is its writer's business. It is synchronous and never waits
//! for anything but the disk; a commit of [`Durability::Process`] does not even wait for that.

mod backup;
mod error;
mod history;
mod identity;
mod lock;
mod memory;
mod record;
mod recovery;
mod scratch;
mod sqlite;
mod txn;

pub use error::StoreError;
pub use history::{Change, HISTORY_MAX, Watch};
pub use memory::MemoryStore;
pub use record::{Record, Revision};
pub use recovery::{Found, Recovery};
pub use sqlite::SqliteStore;
pub use txn::{Durability, Txn};

/// Desired state: keys, revisions, compare-and-set, watch.
pub trait Store: Send + Sync + 'static {
    /// The record under `key`, if there is one.
    fn get(&self, key: &str) -> Result<Option<Record>, StoreError>;

    /// All records whose key starts with `prefix`, in order of creation.
    fn list(&self, prefix: &str) -> Result<Vec<Record>, StoreError>;

    /// Performs all writes of `txn` or none. Returns the revision after it; a transaction that changes nothing has the
    /// revision of the one before.
    fn commit(&self, txn: Txn) -> Result<Revision, StoreError>;

    /// Follows the changes under `prefix` that are newer than `from`: pass the revision at which the caller has seen
    /// the state. Fails with [`StoreError::Compacted`] when the history no longer reaches back that far.
    fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError>;

    /// The revision of the newest change.
    fn revision(&self) -> Result<Revision, StoreError>;

    /// Moves what was committed to where it is cheapest to read at the next start. Call it in quiet moments: it waits
    /// for the disk.
    fn checkpoint(&self) -> Result<(), StoreError>;

    /// Whether what is committed will be found at the next start: every commit asks, and is refused otherwise.
    fn verify(&self) -> Result<(), StoreError>;

    /// Keeps a copy of the records, for the day on which they are damaged or lost, unless the newest copy is as new. Holds
    /// up no commit; waits for the disk.
    fn back_up(&self) -> Result<(), StoreError>;
}
