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
    #[error("state file {} is damaged: {problem}", path.display())]
    Damaged { path: PathBuf, problem: String },
    /// The log holds what the file does not; a new file would end it.
    #[error("state file {} is missing, but its log is there", path.display())]
    Headless { path: PathBuf },
    /// The file that is open has lost its name: nothing that is written to it outlives this process.
    #[error("state file {} was removed while in use", path.display())]
    Gone {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("state file {} was replaced by another one while in use", path.display())]
    Replaced { path: PathBuf },
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
    #[error("cannot copy the state into {}", path.display())]
    BackUp {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot keep the backup {}", path.display())]
    KeepBackup {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read {} for recovery", path.display())]
    ReadDamaged {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write {}", path.display())]
    WriteRecovered {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot put other state in the place of {}", path.display())]
    Restore {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Damaged { .. } | Self::Headless { .. } => Some(
                "hnsd recover shows what can be read of it and what the backup holds, and puts it in place; nothing is \
                 deleted, and traffic goes on",
            ),
            Self::Gone { .. } | Self::Replaced { .. } => Some(
                "what exists goes on to work; put the very file back (mv, not cp), or stop hnsd, run hnsd recover and start \
                 it again",
            ),
            _ => None,
        }
    }
}
