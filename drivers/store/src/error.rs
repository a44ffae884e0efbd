use std::io;
use std::path::PathBuf;

use crate::record::Revision;

/// What can go wrong between us and the desired state.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An expectation of the transaction did not hold; nothing was changed.
    #[error("record {key} is not in the expected state")]
    Conflict { key: String },
    /// The history no longer reaches back to what the watch asks for: list again and watch from there.
    #[error("changes after revision {from} are gone; the history starts after revision {oldest}")]
    Compacted { from: Revision, oldest: Revision },
    #[error("state directory {} is in use by another daemon{}", path.display(), holder.map_or(String::new(), |pid| format!(" (process {pid})")))]
    InUse { path: PathBuf, holder: Option<u32> },
    #[error("cannot prepare state directory {}", path.display())]
    Prepare {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot lock state directory {}", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot open state file {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("state file {} has schema {found}, but this version reads up to {supported}", path.display())]
    SchemaTooNew { path: PathBuf, found: u32, supported: u32 },
    #[error("cannot bring state file {} from schema {found} to {supported}", path.display())]
    Migrate {
        path: PathBuf,
        found: u32,
        supported: u32,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot read record {key}")]
    Get {
        key: String,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot list records under {prefix:?}")]
    List {
        prefix: String,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot commit revision {revision}")]
    Commit {
        revision: Revision,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot checkpoint the state file")]
    Checkpoint {
        #[source]
        source: rusqlite::Error,
    },
}
