//! What only the file can get wrong: restarts, two daemons, killed processes, cut power, old and new schemas.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{self, Child, Command, Stdio};
use std::time::{Duration, Instant};

use hns_store::{Durability, Revision, SqliteStore, Store, StoreError, Txn};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Set for the copy of this test program that writes until it is killed; holds the state directory.
const WRITER: &str = "HNS_TEST_STORE_WRITER";

#[test]
fn a_restart_continues_the_revisions_and_keeps_the_order() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("hns.db")).unwrap();
    store.commit(Txn::new(Durability::Process).put("b", "1").put("a", "2")).unwrap();
    store.commit(Txn::new(Durability::Process).delete("absent").put("c", "3")).unwrap();
    let before = store.list("").unwrap();
    drop(store);

    let store = SqliteStore::open(&directory.path().join("hns.db")).unwrap();
    assert_eq!(store.list("").unwrap(), before);
    assert_eq!(store.revision().unwrap(), Revision::new(2));
    assert!(matches!(store.watch("", Revision::new(1)), Err(StoreError::Compacted { .. })));
    assert!(store.watch("", Revision::new(2)).is_ok());
}

#[test]
fn a_second_daemon_on_one_state_directory_is_refused_by_the_first_ones_number() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("hns.db")).unwrap();
    let refused = SqliteStore::open(&directory.path().join("hns.db")).unwrap_err();
    assert!(
        matches!(&refused, StoreError::InUse { holder: Some(pid), .. } if *pid == process::id()),
        "{refused}"
    );
    drop(store);
    SqliteStore::open(&directory.path().join("hns.db")).unwrap();
}

#[test]
fn the_state_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state/hns");
    let store = SqliteStore::open(&directory.join("hns.db")).unwrap();
    store.commit(Txn::new(Durability::Process).put("a", "1")).unwrap();
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&directory).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
    }
}

#[test]
fn an_operator_reading_the_file_does_not_stop_commits() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("hns.db")).unwrap();
    store.commit(Txn::new(Durability::Process).put("a", "1")).unwrap();
    let operator = rusqlite::Connection::open(directory.path().join("hns.db")).unwrap();
    operator.execute_batch("BEGIN; SELECT * FROM records;").unwrap();
    store.commit(Txn::new(Durability::Power).put("a", "2")).unwrap();
    let seen: Vec<u8> = operator.query_row("SELECT value FROM records", [], |row| row.get(0)).unwrap();
    assert_eq!(seen, b"1", "the reader keeps the state its transaction began with");
}

#[test]
fn a_checkpoint_moves_the_log_into_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("hns.db")).unwrap();
    store.commit(Txn::new(Durability::Process).put("a", "1")).unwrap();
    store.checkpoint().unwrap();
    store.commit(Txn::new(Durability::Process).put("b", "1")).unwrap();
    let copy = tempfile::tempdir().unwrap();
    fs::copy(directory.path().join("hns.db"), copy.path().join("hns.db")).unwrap();
    let without_log = SqliteStore::open(&copy.path().join("hns.db")).unwrap();
    assert!(without_log.get("a").unwrap().is_some());
    assert_eq!(without_log.get("b").unwrap(), None);
    assert!(store.get("b").unwrap().is_some());
}

#[test]
fn a_checkpoint_does_not_wait_for_a_reader() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("hns.db")).unwrap();
    store.commit(Txn::new(Durability::Process).put("a", "1")).unwrap();
    let operator = rusqlite::Connection::open(directory.path().join("hns.db")).unwrap();
    operator.execute_batch("BEGIN; SELECT * FROM records;").unwrap();
    store.commit(Txn::new(Durability::Process).put("a", "2")).unwrap();
    let start = Instant::now();
    store.checkpoint().unwrap();
    store.commit(Txn::new(Durability::Process).put("a", "3")).unwrap();
    assert!(start.elapsed() < Duration::from_secs(4), "busy handling waits five seconds");
}

/// The sample was written by the first version of schema 1. Never rewrite it: a new schema adds a sample.
#[test]
fn a_file_of_every_earlier_schema_is_read() {
    let directory = tempfile::tempdir().unwrap();
    fs::copy("tests/fixtures/schema1.db", directory.path().join("hns.db")).unwrap();
    let store = SqliteStore::open(&directory.path().join("hns.db")).unwrap();
    assert_eq!(store.revision().unwrap(), Revision::new(3));
    let records = store.list("").unwrap();
    let told: Vec<(&str, &[u8], u64, u64)> = records
        .iter()
        .map(|r| (r.key.as_str(), r.value.as_slice(), r.created.as_u64(), r.modified.as_u64()))
        .collect();
    assert_eq!(
        told,
        [
            ("networks/nat", &br#"{"Schema":1,"Name":"nat"}"#[..], 1, 2),
            ("endpoints/web", &br#"{"Schema":1,"Name":"web"}"#[..], 2, 2),
        ]
    );
    store.commit(Txn::new(Durability::Power).put("networks/new", "{}")).unwrap();
}

#[test]
fn a_file_of_a_later_schema_is_refused_untouched() {
    let directory = tempfile::tempdir().unwrap();
    drop(SqliteStore::open(&directory.path().join("hns.db")).unwrap());
    let file = directory.path().join("hns.db");
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&file).unwrap();
    let refused = SqliteStore::open(&directory.path().join("hns.db")).unwrap_err();
    assert!(matches!(refused, StoreError::SchemaTooNew { found: 99, supported: 1, .. }), "{refused}");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_file_that_is_no_state_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("hns.db"), "certainly not a database, but long enough to be one")
        .unwrap();
    let refused = SqliteStore::open(&directory.path().join("hns.db")).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
}

/// Power is cut: what is left is the file and some beginning of its log, never the memory. Whatever the length of that
/// beginning, the state is one that was committed, and a checkpointed record is always in it.
#[test]
fn power_loss_leaves_a_state_that_was_committed() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("hns.db")).unwrap();
    store.commit(Txn::new(Durability::Power).put("networks/nat", "kept")).unwrap();
    store.checkpoint().unwrap();
    for n in 0..20 {
        let pair = Txn::new(Durability::Process).put(format!("left/{n}"), "x").put(format!("right/{n}"), "x");
        store.commit(pair).unwrap();
    }
    store.commit(Txn::new(Durability::Power).put("networks/last", "kept")).unwrap();

    let log = fs::read(directory.path().join("hns.db-wal")).unwrap();
    let file = fs::read(directory.path().join("hns.db")).unwrap();
    let mut lengths: Vec<usize> = (0..log.len()).step_by(1777).collect();
    lengths.push(log.len());
    for length in lengths {
        let copy = tempfile::tempdir().unwrap();
        fs::write(copy.path().join("hns.db"), &file).unwrap();
        fs::write(copy.path().join("hns.db-wal"), &log[..length]).unwrap();
        let left = SqliteStore::open(&copy.path().join("hns.db")).unwrap();
        assert!(left.get("networks/nat").unwrap().is_some(), "log of {length} bytes");
        let pairs = left.list("left/").unwrap().len();
        assert_eq!(pairs, left.list("right/").unwrap().len(), "log of {length} bytes: half a transaction");
        let last = left.get("networks/last").unwrap().is_some();
        let commits = 1 + pairs as u64 + u64::from(last);
        assert_eq!(left.revision().unwrap(), Revision::new(commits), "log of {length} bytes");
        assert_eq!(last, length == log.len(), "log of {length} bytes");
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    // The process that is killed is this same test, started with a directory to write to.
    if let Some(directory) = std::env::var_os(WRITER) {
        return write_until_killed(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let mut revision = 0;
    for round in 0..10u64 {
        let mut writer = start_writer(directory.path());
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let acknowledged_min = revision + 20 + 37 * round;
        while revision < acknowledged_min {
            // The test harness of the writer prints lines of its own before ours.
            let line = lines.next().unwrap().unwrap();
            revision = line.rsplit("acknowledged ").next().and_then(|n| n.parse().ok()).unwrap_or(revision);
        }
        kill(Pid::from_raw(writer.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
        writer.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            revision = line.rsplit("acknowledged ").next().and_then(|n| n.parse().ok()).unwrap_or(revision);
        }

        let store = SqliteStore::open(&directory.path().join("hns.db")).unwrap();
        let found = store.revision().unwrap().as_u64();
        assert!(found == revision || found == revision + 1, "acknowledged {revision}, found {found}");
        assert_eq!(store.list("left/").unwrap().len() as u64, found);
        assert_eq!(store.list("right/").unwrap().len() as u64, found);
        revision = found;
    }
}

fn start_writer(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_process_loses_nothing_that_it_acknowledged", "--nocapture"])
        .env(WRITER, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn write_until_killed(directory: &Path) {
    let store = SqliteStore::open(&directory.join("hns.db")).unwrap();
    let start = store.revision().unwrap().as_u64();
    let mut out = std::io::stdout();
    for n in start..start + 100_000 {
        let pair = Txn::new(Durability::Process).put(format!("left/{n}"), "x").put(format!("right/{n}"), "x");
        let revision = store.commit(pair).unwrap();
        writeln!(out, "acknowledged {revision}").unwrap();
    }
}

#[test]
fn nothing_is_committed_to_files_that_have_lost_their_names() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state");
    let store = SqliteStore::open(&directory.join("hns.db")).unwrap();
    let commit = |key: &str| store.commit(Txn::new(Durability::Process).put(key, "x"));
    commit("a").unwrap();
    let aside = parent.path().join("aside");
    for path in [directory.join("hns.db"), directory.join("hns.db-wal"), directory.clone()] {
        fs::rename(&path, &aside).unwrap();
        assert!(matches!(commit("lost"), Err(StoreError::Gone { .. })), "{}", path.display());
        assert!(store.verify().is_err() && store.get("a").unwrap().is_some());
        fs::rename(&aside, &path).unwrap();
        commit("a").unwrap();
    }
    fs::rename(directory.join("hns.db"), &aside).unwrap();
    fs::copy(&aside, directory.join("hns.db")).unwrap();
    assert!(matches!(commit("lost"), Err(StoreError::Replaced { .. })));
    fs::rename(&aside, directory.join("hns.db")).unwrap();
    assert_eq!(commit("b").unwrap(), Revision::new(5));
    assert_eq!(store.get("lost").unwrap(), None);
}
