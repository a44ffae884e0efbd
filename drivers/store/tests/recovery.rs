//! Damaged files are refused, read as far as they can be, and replaced without anything being deleted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use hns_store::{Durability, Recovery, Revision, SqliteStore, Store, StoreError, Txn};
use tempfile::TempDir;

struct State {
    folder: TempDir,
}

impl State {
    /// Some pages of records, all in the file.
    fn new(records: usize) -> Self {
        let state = Self { folder: tempfile::tempdir().unwrap() };
        let store = state.open().unwrap();
        for number in 0..records {
            let value = format!("{number:04} {}", "x".repeat(900));
            store.commit(Txn::new(Durability::Process).put(format!("a/{number:04}"), value)).unwrap();
        }
        store.checkpoint().unwrap();
        drop(store);
        state
    }

    fn open(&self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.path("hns.db"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn recovery(&self) -> Recovery {
        Recovery::begin(&self.path("hns.db")).unwrap()
    }

    /// Everything but the lock, which is a file without content of interest.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "hnsd.lock");
        names.sort();
        names
    }
}

#[test]
fn a_file_with_a_hole_is_refused_untouched_and_read_on_both_sides_of_it() {
    let state = State::new(200);
    let file = state.path("hns.db");
    let length = fs::metadata(&file).unwrap().len();
    let opened = File::options().write(true).open(&file).unwrap();
    opened.write_all_at(&[0xa5; 8192], length / 2 / 4096 * 4096).unwrap();
    let damaged = fs::read(&file).unwrap();

    let refused = state.open().unwrap_err();
    assert!(matches!(&refused, StoreError::Damaged { .. }), "{refused}");
    assert!(refused.hint().unwrap().contains("hnsd recover"));
    let recovery = state.recovery();
    let found = recovery.read(&file).unwrap().unwrap();
    assert!(found.problem.is_some() && found.revision == Revision::new(200));
    assert!((150..200).contains(&found.records.len()), "{}", found.records.len());
    assert!(found.records.iter().any(|record| record.key == "a/0000"));
    assert!(found.records.iter().any(|record| record.key == "a/0199"));
    assert_eq!(fs::read(&file).unwrap(), damaged);
    assert!(!state.files().iter().any(|name| name.contains("reading")), "{:?}", state.files());

    let aside = recovery.replace(&found.records, found.revision).unwrap().unwrap();
    assert_eq!(fs::read(&aside).unwrap(), damaged);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    drop(recovery);
    let store = state.open().unwrap();
    assert_eq!(store.list("").unwrap(), found.records);
    assert_eq!(store.commit(Txn::new(Durability::Process).put("b", "")).unwrap(), Revision::new(201));
    drop(store);
    assert_eq!(state.files(), ["hns.db", "hns.db.damaged-1", "hns.db.damaged-1-shm", "hns.db.damaged-1-wal"]);
}

#[test]
fn what_a_backup_has_completes_what_can_be_read() {
    let state = State::new(20);
    let store = state.open().unwrap();
    store.back_up().unwrap();
    store.commit(Txn::new(Durability::Process).put("a/0003", "newer").put("b/1", "new")).unwrap();
    drop(store);
    let recovery = state.recovery();
    let mut read = recovery.read(&state.path("hns.db")).unwrap().unwrap();
    assert_eq!((read.problem.as_deref(), read.records.len()), (None, 21));
    read.records.retain(|record| record.key.as_str() > "a/0002");
    let [backup] = &recovery.backups()[..] else { panic!("one backup") };
    let backup = recovery.read(backup).unwrap().unwrap();
    assert_eq!(read.complete_by(&backup), 3);
    let keys: Vec<&str> = read.records.iter().map(|record| record.key.as_str()).collect();
    assert_eq!((keys.len(), keys[0], keys[20]), (21, "a/0000", "b/1"));
    assert_eq!(read.records[3].value, b"newer");
    assert_eq!(read.revision, Revision::new(21));
}

#[test]
fn the_older_backup_is_replaced_once_a_day_at_most() {
    let state = State::new(1);
    let store = state.open().unwrap();
    let put = |value: &str| store.commit(Txn::new(Durability::Process).put("v", value)).map(drop).unwrap();
    let held = |name: &str| {
        let connection = rusqlite::Connection::open(state.path(name)).unwrap();
        connection.query_row("SELECT value FROM records WHERE key = 'v'", [], |row| row.get(0)).ok()
    };
    let text = |value: &str| Some(value.as_bytes().to_vec());
    for value in ["1", "2", "3"] {
        put(value);
        store.back_up().unwrap();
    }
    assert_eq!((held("hns.db.backup"), held("hns.db.backup.1")), (text("3"), text("1")));
    let yesterday = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
    let older = File::options().write(true).open(state.path("hns.db.backup.1")).unwrap();
    older.set_modified(yesterday).unwrap();
    put("4");
    store.back_up().unwrap();
    assert_eq!((held("hns.db.backup"), held("hns.db.backup.1")), (text("4"), text("3")));
    let mode = fs::metadata(state.path("hns.db.backup")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // What a killed process left unfinished is in nobody's way.
    fs::write(state.path("hns.db.backup.new"), "half").unwrap();
    put("5");
    store.back_up().unwrap();
    assert!(!state.path("hns.db.backup.new").exists());
    // One that is as new is kept, and made again when it is gone.
    let inode = || fs::metadata(state.path("hns.db.backup")).map(|found| found.ino()).ok();
    let before = inode();
    store.back_up().unwrap();
    assert_eq!(inode(), before);
    fs::remove_file(state.path("hns.db.backup")).unwrap();
    store.back_up().unwrap();
    assert!(inode().is_some());
}

#[test]
fn files_without_a_name_are_saved_and_a_log_without_its_file_is_not_ended() {
    let state = State::new(3);
    let store = state.open().unwrap();
    store.commit(Txn::new(Durability::Process).put("b", "in the log")).unwrap();
    let log = fs::read(state.path("hns.db-wal")).unwrap();
    fs::remove_file(state.path("hns.db")).unwrap();
    store.back_up().unwrap();
    // As after a kill, which leaves the log.
    drop(store);
    fs::write(state.path("hns.db-wal"), &log).unwrap();
    let refused = state.open().unwrap_err();
    assert!(matches!(&refused, StoreError::Headless { .. }), "{refused}");
    assert_eq!(fs::read(state.path("hns.db-wal")).unwrap(), log);
    let recovery = state.recovery();
    let lost = recovery.read(&state.path("hns.db")).unwrap().unwrap();
    assert!(lost.problem.is_some() && lost.records.is_empty());
    let backup = recovery.read(&recovery.backups()[0]).unwrap().unwrap();
    assert_eq!((backup.problem, backup.records.len()), (None, 4));
    recovery.replace(&backup.records, backup.revision).unwrap();
    drop(recovery);
    assert_eq!(state.open().unwrap().list("").unwrap(), backup.records);
    assert_eq!(fs::read(state.path("hns.db.damaged-1-wal")).unwrap(), log);
}

#[test]
fn nothing_is_recovered_under_a_daemon() {
    let state = State::new(1);
    let _store = state.open().unwrap();
    assert!(matches!(Recovery::begin(&state.path("hns.db")), Err(StoreError::InUse { .. })));
}
