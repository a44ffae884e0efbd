//! Reading what can be read of damaged state, and putting other state in its place. Nothing is deleted: what was there is
//! renamed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Connection, Row, params};

use crate::backup::backups_of;
use crate::error::StoreError;
use crate::lock::DirectoryLock;
use crate::record::{Record, Revision};
use crate::scratch;
use crate::sqlite::{CREATE, as_column, beside, directory_of, log_of, problem_of, revision_at};

/// State that no daemon uses, held until this is dropped.
#[derive(Debug)]
pub struct Recovery {
    path: PathBuf,
    _lock: DirectoryLock,
}

/// What a file holds, as far as it can be read.
#[derive(Debug, Clone)]
pub struct Found {
    /// Why it is no sound state, if it is none.
    pub problem: Option<String>,
    /// In order of creation.
    pub records: Vec<Record>,
    /// At least that of every record.
    pub revision: Revision,
    pub written: Option<SystemTime>,
}

/// How many places of records are looked at beyond damage: a damaged number must not keep anybody waiting.
const PLACES_MAX: i64 = 10_000_000;

impl Recovery {
    /// Holds the state file `path`. Fails while a daemon has it.
    pub fn begin(path: &Path) -> Result<Self, StoreError> {
        let lock = DirectoryLock::take(directory_of(path))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The backups that are there, the newest first.
    #[must_use]
    pub fn backups(&self) -> Vec<PathBuf> {
        backups_of(&self.path).into_iter().filter(|path| path.exists()).collect()
    }

    /// What `file` and its log hold; nothing when there is neither. Works on copies: SQLite moves the log of what it opens.
    pub fn read(&self, file: &Path) -> Result<Option<Found>, StoreError> {
        let copy = beside(&self.path, ".reading");
        let fail = |source| StoreError::ReadDamaged { path: file.to_owned(), source };
        let there = copy_private(file, &copy).map_err(fail)?;
        let log_is_there = copy_private(&log_of(file), &log_of(&copy)).map_err(fail)?;
        if !there && !log_is_there {
            return Ok(None);
        }
        let mut found = if there { read(&copy) } else { Found::nothing("the file is missing".to_owned()) };
        found.written = fs::metadata(file).and_then(|found| found.modified()).ok();
        for path in [copy.clone(), log_of(&copy), beside(&copy, "-shm")] {
            scratch::remove(&path).map_err(fail)?;
        }
        Ok(Some(found))
    }

    /// Puts these records in the place of what is there, which gets the name that is returned.
    pub fn replace(&self, records: &[Record], revision: Revision) -> Result<Option<PathBuf>, StoreError> {
        let fresh = beside(&self.path, ".recovered");
        let fail = |source| StoreError::Restore { path: self.path.clone(), source };
        scratch::create(&fresh).map_err(fail)?;
        write(&fresh, records, revision)
            .map_err(|source| StoreError::WriteRecovered { path: fresh.clone(), source })?;
        let aside = self.set_aside().map_err(fail)?;
        fs::rename(&fresh, &self.path).map_err(fail)?;
        File::open(directory_of(&self.path)).and_then(|directory| directory.sync_all()).map_err(fail)?;
        Ok(aside)
    }

    /// The name that [`Recovery::replace`] gives to what is there.
    #[must_use]
    pub fn name_aside(&self) -> PathBuf {
        let names = (1_u32..).map(|number| beside(&self.path, &format!(".damaged-{number}")));
        let mut free = names.filter(|name| !name.exists() && !log_of(name).exists());
        free.next().unwrap_or_else(|| beside(&self.path, ".damaged"))
    }

    /// The log goes by the name of its file, so that SQLite still finds it.
    fn set_aside(&self) -> io::Result<Option<PathBuf>> {
        let name = self.name_aside();
        let mut moved = None;
        for rest in ["", "-wal", "-shm"] {
            match fs::rename(beside(&self.path, rest), beside(&name, rest)) {
                Ok(()) => moved = Some(name.clone()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }
}

impl Found {
    fn nothing(problem: String) -> Self {
        Self { problem: Some(problem), records: Vec::new(), revision: Revision::ZERO, written: None }
    }

    /// Adds the records of `other` whose keys are not among ours; says how many.
    pub fn complete_by(&mut self, other: &Self) -> usize {
        let keys: BTreeSet<&str> = self.records.iter().map(|record| record.key.as_str()).collect();
        let missing: Vec<Record> =
            other.records.iter().filter(|record| !keys.contains(record.key.as_str())).cloned().collect();
        let added = missing.len();
        self.records.extend(missing);
        self.records.sort_by_key(|record| record.created);
        self.revision = self.revision.max(other.revision);
        added
    }
}

fn read(file: &Path) -> Found {
    let connection = match Connection::open(file) {
        Ok(connection) => connection,
        Err(error) => return Found::nothing(error.to_string()),
    };
    let mut problem = problem_of(&connection);
    let mut records = Vec::new();
    if let Err(error) = read_in_order(&connection, &mut records) {
        problem.get_or_insert_with(|| error.to_string());
        // Beyond the damage every place is looked at by its number.
        read_one_by_one(&connection, &mut records);
    }
    let newest = records.iter().map(|(_, record)| record.modified).max().unwrap_or(Revision::ZERO);
    let position = connection
        .query_row("SELECT revision FROM position", [], |row| revision_at(row, 0))
        .unwrap_or(newest);
    let records = records.into_iter().map(|(_, record)| record).collect();
    Found { problem, records, revision: position.max(newest), written: None }
}

const COLUMNS: &str = "SELECT seq, key, value, created, modified FROM records";

fn numbered(row: &Row<'_>) -> rusqlite::Result<(i64, Record)> {
    let record = Record {
        key: row.get(1)?,
        value: row.get(2)?,
        created: revision_at(row, 3)?,
        modified: revision_at(row, 4)?,
    };
    Ok((row.get(0)?, record))
}

fn read_in_order(connection: &Connection, records: &mut Vec<(i64, Record)>) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("{COLUMNS} ORDER BY seq"))?;
    for record in statement.query_map([], numbered)? {
        records.push(record?);
    }
    Ok(())
}

fn read_one_by_one(connection: &Connection, records: &mut Vec<(i64, Record)>) {
    let last = records.last().map_or(0, |(seq, _)| *seq);
    let highest: rusqlite::Result<i64> =
        connection.query_row("SELECT max(seq) FROM records", [], |row| row.get(0));
    let Ok(highest) = highest else { return };
    let Ok(mut statement) = connection.prepare(&format!("{COLUMNS} WHERE seq = ?1")) else { return };
    for seq in (last + 1..=highest).take(PLACES_MAX as usize) {
        // What cannot be read is what this is about.
        records.extend(statement.query_row([seq], numbered).ok());
    }
}

fn write(file: &Path, records: &[Record], revision: Revision) -> rusqlite::Result<()> {
    let mut connection = Connection::open(file)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(CREATE)?;
    for record in records {
        transaction
            .prepare_cached("INSERT INTO records (key, value, created, modified) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                record.key,
                record.value,
                as_column(record.created),
                as_column(record.modified)
            ])?;
    }
    transaction.execute("UPDATE position SET revision = ?1", [as_column(revision)])?;
    transaction.commit()
}

/// Says whether there was something to copy.
fn copy_private(from: &Path, to: &Path) -> io::Result<bool> {
    scratch::remove(to)?;
    let mut source = match File::open(from) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    io::copy(&mut source, &mut scratch::create(to)?)?;
    Ok(true)
}
