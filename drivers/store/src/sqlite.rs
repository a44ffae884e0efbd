use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use crate::Store;
use crate::backup::{self, Backup};

use crate::error::StoreError;
use crate::history::{Change, History, Watch};
use crate::identity::Identity;
use crate::lock::DirectoryLock;
use crate::record::{Record, Revision};
use crate::txn::{Durability, Txn, Write, first_conflict};

/// The schema that this version writes, kept in the file's `user_version`.
const SCHEMA: u32 = 1;

/// An operator who reads the file with another program delays us at most this long.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// The log that collects before SQLite moves it into the file by itself, in pages of 4 KiB. Larger than SQLite's own
/// 1,000, because that move waits for the disk and [`Store::checkpoint`] does it in quiet moments.
const LOG_PAGES_MAX: u32 = 8000;

// `seq` orders records of one transaction among each other, which share their revision.
pub(crate) const CREATE: &str = "
    CREATE TABLE records (
        seq      INTEGER PRIMARY KEY,
        key      TEXT NOT NULL UNIQUE,
        created  INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        value    BLOB NOT NULL
    );
    CREATE TABLE position (only INTEGER PRIMARY KEY CHECK (only = 1), revision INTEGER NOT NULL);
    INSERT INTO position VALUES (1, 0);
    PRAGMA user_version = 1;
";

const GET: &str = "SELECT key, value, created, modified FROM records WHERE key = ?1";
const LIST: &str =
    "SELECT key, value, created, modified FROM records WHERE key >= ?1 AND key < ?2 ORDER BY seq";
const MODIFIED: &str = "SELECT modified FROM records WHERE key = ?1";
const PUT: &str = "INSERT INTO records (key, value, created, modified) VALUES (?1, ?2, ?3, ?3)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, modified = excluded.modified
    RETURNING created";
const DELETE: &str = "DELETE FROM records WHERE key = ?1";
const ADVANCE: &str = "UPDATE position SET revision = ?1";

/// The store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    state: Mutex<State>,
    /// A connection of its own, so that no commit waits while a checkpoint waits for the disk.
    checkpointer: Mutex<Connection>,
    history: Arc<History>,
    /// The file and its log, as they were opened.
    files: [Identity; 2],
    path: PathBuf,
    /// The newest that this store has made.
    backup: Mutex<Option<Backup>>,
    _lock: DirectoryLock,
}

#[derive(Debug)]
struct State {
    connection: Connection,
    revision: Revision,
    /// What the connection is set to; changing it costs more than remembering it.
    durability: Durability,
}

impl SqliteStore {
    /// Opens the state file `path`. Its folder, the state directory, is made when it does not exist, and is held for
    /// this store alone.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let directory = directory_of(path);
        refuse_a_log_alone(path)?;
        prepare(directory, path)
            .map_err(|source| StoreError::Prepare { path: directory.to_owned(), source })?;
        let lock = DirectoryLock::take(directory)?;
        let open_error = |source| failure_of_open(path, source);
        let mut connection = connect(path).map_err(open_error)?;
        if let Some(problem) = problem_of(&connection) {
            return Err(StoreError::Damaged { path: path.to_owned(), problem });
        }
        migrate(&mut connection, path)?;
        keep_log_on_close(&connection, false).map_err(open_error)?;
        let checkpointer = connect(path).map_err(open_error)?;
        keep_log_on_close(&checkpointer, false).map_err(open_error)?;
        let revision = connection
            .query_row("SELECT revision FROM position", [], |row| revision_at(row, 0))
            .map_err(open_error)?;
        let identify = |path: &Path| {
            Identity::of(path).map_err(|source| StoreError::Gone { path: path.to_owned(), source })
        };
        let files = [identify(path)?, identify(&log_of(path))?];
        Ok(Self {
            state: Mutex::new(State { connection, revision, durability: Durability::Process }),
            checkpointer: Mutex::new(checkpointer),
            history: History::new(revision),
            files,
            path: path.to_owned(),
            backup: Mutex::default(),
            _lock: lock,
        })
    }

    // A panic inside a transaction rolls it back while the stack unwinds, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both are made readable by us alone before SQLite sees them: the state names every container of the host.
fn prepare(directory: &Path, file: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file)?;
    Ok(())
}

/// SQLite would take the file for a new one, and end the log.
fn refuse_a_log_alone(file: &Path) -> Result<(), StoreError> {
    let length = |path: &Path| path.metadata().map_or(0, |found| found.len());
    if length(file) == 0 && length(&log_of(file)) > 0 {
        return Err(StoreError::Headless { path: file.to_owned() });
    }
    Ok(())
}

fn failure_of_open(file: &Path, source: rusqlite::Error) -> StoreError {
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged { path: file.to_owned(), problem: source.to_string() }
        }
        _ => StoreError::Open { path: file.to_owned(), source },
    }
}

/// What SQLite finds wrong in a file, in its first sentence.
pub(crate) fn problem_of(connection: &Connection) -> Option<String> {
    match connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0)) {
        Ok(said) if said == "ok" => None,
        Ok(said) => Some(said.replace('\n', ": ")),
        Err(error) => Some(error.to_string()),
    }
}

/// The folder of a file, the state directory.
pub(crate) fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whoever only looks at damaged files leaves them as they are.
fn keep_log_on_close(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

/// SQLite's log of a file: where commits are until a checkpoint.
pub(crate) fn log_of(file: &Path) -> PathBuf {
    beside(file, "-wal")
}

/// A file whose name begins with that of another one.
pub(crate) fn beside(file: &Path, rest: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(rest);
    name.into()
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    keep_log_on_close(&connection, true)?;
    connection.busy_timeout(BUSY_PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES_MAX)?;
    connection.set_prepared_statement_cache_capacity(16);
    Ok(connection)
}

fn migrate(connection: &mut Connection, file: &Path) -> Result<(), StoreError> {
    let found = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|source| StoreError::Open { path: file.to_owned(), source })?;
    let step = match found {
        0 => CREATE,
        SCHEMA => return Ok(()),
        _ => return Err(StoreError::SchemaTooNew { path: file.to_owned(), found, supported: SCHEMA }),
    };
    let run = |connection: &mut Connection| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.commit()
    };
    run(connection).map_err(|source| StoreError::Migrate {
        path: file.to_owned(),
        found,
        supported: SCHEMA,
        source,
    })
}

// Revisions count commits, so they stay far below the largest integer of SQLite.
pub(crate) fn revision_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Revision> {
    row.get::<_, i64>(column).map(|number| Revision::new(number.unsigned_abs()))
}

pub(crate) fn as_column(revision: Revision) -> i64 {
    revision.as_u64().cast_signed()
}

fn record_of(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        key: row.get(0)?,
        value: row.get(1)?,
        created: revision_at(row, 2)?,
        modified: revision_at(row, 3)?,
    })
}

enum Outcome {
    Changed(Vec<Change>),
    Unchanged,
    Conflict { key: String },
}

impl State {
    fn set_durability(&mut self, wanted: Durability) -> rusqlite::Result<()> {
        if self.durability == wanted {
            return Ok(());
        }
        let level = match wanted {
            Durability::Process => "NORMAL",
            Durability::Power => "FULL",
        };
        self.connection.pragma_update(None, "synchronous", level)?;
        self.durability = wanted;
        Ok(())
    }

    fn commit(&mut self, txn: Txn, revision: Revision) -> rusqlite::Result<Outcome> {
        self.set_durability(txn.durability)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(key) = first_conflict(&txn.expectations, |key| modified_of(&transaction, key))? {
            return Ok(Outcome::Conflict { key });
        }
        let mut changes = Vec::with_capacity(txn.writes.len());
        for one in txn.writes {
            changes.extend(write(&transaction, revision, one)?);
        }
        if changes.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        transaction.prepare_cached(ADVANCE)?.execute([as_column(revision)])?;
        transaction.commit()?;
        Ok(Outcome::Changed(changes))
    }
}

fn modified_of(transaction: &Transaction<'_>, key: &str) -> rusqlite::Result<Option<Revision>> {
    transaction.prepare_cached(MODIFIED)?.query_row([key], |row| revision_at(row, 0)).optional()
}

fn write(
    transaction: &Transaction<'_>,
    revision: Revision,
    write: Write,
) -> rusqlite::Result<Option<Change>> {
    match write {
        Write::Put { key, value } => {
            let mut put = transaction.prepare_cached(PUT)?;
            let created =
                put.query_row(params![key, value, as_column(revision)], |row| revision_at(row, 0))?;
            Ok(Some(Change::Put(Record { key, value, created, modified: revision })))
        }
        Write::Delete { key } => {
            let deleted = transaction.prepare_cached(DELETE)?.execute([&key])?;
            Ok((deleted > 0).then_some(Change::Deleted { key, revision }))
        }
    }
}

impl Store for SqliteStore {
    fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        let read =
            |connection: &Connection| connection.prepare_cached(GET)?.query_row([key], record_of).optional();
        read(&self.lock().connection).map_err(|source| StoreError::Get { key: key.to_owned(), source })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Record>, StoreError> {
        // No key holds the last code point there is, so this bound is above every key with the prefix.
        let end = format!("{prefix}\u{10FFFF}");
        let read = |connection: &Connection| {
            connection.prepare_cached(LIST)?.query_map([prefix, &end], record_of)?.collect::<Result<_, _>>()
        };
        read(&self.lock().connection).map_err(|source| StoreError::List { prefix: prefix.to_owned(), source })
    }

    fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.verify()?;
        let mut state = self.lock();
        let revision = state.revision.next();
        match state.commit(txn, revision).map_err(|source| StoreError::Commit { revision, source })? {
            Outcome::Conflict { key } => Err(StoreError::Conflict { key }),
            Outcome::Unchanged => Ok(state.revision),
            Outcome::Changed(changes) => {
                state.revision = revision;
                // Under the lock, so that watches see commits in their order.
                self.history.record(changes);
                Ok(revision)
            }
        }
    }

    fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        self.history.watch(prefix, from)
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.lock().revision)
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        let checkpointer = self.checkpointer.lock().unwrap_or_else(PoisonError::into_inner);
        // Passive: moves what it can and waits for nobody who reads.
        checkpointer
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .map_err(|source| StoreError::Checkpoint { source })
    }

    fn verify(&self) -> Result<(), StoreError> {
        self.files.iter().try_for_each(Identity::verify)
    }

    fn back_up(&self) -> Result<(), StoreError> {
        let mut backup = self.backup.lock().unwrap_or_else(PoisonError::into_inner);
        let revision = self.lock().revision;
        if backup.as_ref().is_some_and(|backup| backup.holds(revision)) {
            return Ok(());
        }
        let checkpointer = self.checkpointer.lock().unwrap_or_else(PoisonError::into_inner);
        *backup = Some(backup::write(&checkpointer, &self.path, revision)?);
        Ok(())
    }
}
