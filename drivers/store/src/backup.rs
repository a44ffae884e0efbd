//! A copy of the state beside it, for the day on which the file is damaged.
//!
//! ```text
//!   hns.db ──VACUUM INTO──► hns.db.backup.new ──fsync, rename──► hns.db.backup ──rename, once a day──► hns.db.backup.1
//! ```
//!
//! The older one is replaced once a day at most, so that a day of starts does not replace both.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;

use crate::error::StoreError;
use crate::identity::Identity;
use crate::record::Revision;
use crate::scratch;
use crate::sqlite::{beside, directory_of};

const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The backups of a state file, the newest first.
pub(crate) fn backups_of(file: &Path) -> [PathBuf; 2] {
    [beside(file, ".backup"), beside(file, ".backup.1")]
}

/// A backup that was made: which file, and of what.
#[derive(Debug)]
pub(crate) struct Backup {
    identity: Identity,
    /// Open, so that its number stays its own.
    _file: File,
    revision: Revision,
}

impl Backup {
    /// Whether it is still there, and holds the newest.
    pub fn holds(&self, revision: Revision) -> bool {
        self.revision == revision && self.identity.verify().is_ok()
    }
}

/// Copies what `connection` reads, which is `revision` or newer. Commits on other connections go on meanwhile.
pub(crate) fn write(connection: &Connection, file: &Path, revision: Revision) -> Result<Backup, StoreError> {
    let [newest, older] = backups_of(file);
    let unfinished = beside(&newest, ".new");
    let keep = |source| StoreError::KeepBackup { path: newest.clone(), source };
    // SQLite writes into a file that is there, if it is empty.
    scratch::create(&unfinished).map_err(keep)?;
    connection
        .execute("VACUUM INTO ?1", [unfinished.to_string_lossy()])
        .map_err(|source| StoreError::BackUp { path: newest.clone(), source })?;
    let keep_both = || {
        let written = File::open(&unfinished)?;
        written.sync_all()?;
        if newest.exists() && is_due(&older)? {
            fs::rename(&newest, &older)?;
        }
        fs::rename(&unfinished, &newest)?;
        File::open(directory_of(file))?.sync_all()?;
        Ok(Backup { identity: Identity::of(&newest)?, _file: written, revision })
    };
    keep_both().map_err(keep)
}

fn is_due(older: &Path) -> io::Result<bool> {
    match fs::metadata(older) {
        // A clock that was set back makes it due.
        Ok(found) => {
            let age = SystemTime::now().duration_since(found.modified()?);
            Ok(age.is_ok_and(|age| age >= KEPT_FOR))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
