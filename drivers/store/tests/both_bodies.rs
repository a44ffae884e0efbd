//! One suite on both bodies of the store, so that what passes with the memory also holds on the disk.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hns_store::{
    Change, Durability, HISTORY_MAX, MemoryStore, Record, Revision, SqliteStore, Store, StoreError, Txn,
};
use proptest::prelude::*;

const LONG: Duration = Duration::from_secs(20);

fn with_each_body(story: impl Fn(Arc<dyn Store>)) {
    story(Arc::new(MemoryStore::new()));
    let directory = tempfile::tempdir().unwrap();
    story(Arc::new(SqliteStore::open(&directory.path().join("hns.db")).unwrap()));
}

fn txn() -> Txn {
    Txn::new(Durability::Process)
}

fn keys(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.key.as_str()).collect()
}

#[test]
fn a_committed_record_is_read_back_with_its_revisions() {
    with_each_body(|store| {
        assert_eq!(store.revision().unwrap(), Revision::ZERO);
        assert_eq!(store.get("networks/1").unwrap(), None);

        let first = store.commit(txn().put("networks/1", "a")).unwrap();
        let second = store.commit(Txn::new(Durability::Power).put("networks/1", "b")).unwrap();

        assert_eq!((first, second), (Revision::new(1), Revision::new(2)));
        assert_eq!(store.revision().unwrap(), second);
        let record = store.get("networks/1").unwrap().unwrap();
        assert_eq!(record.value, b"b");
        assert_eq!((record.created, record.modified), (first, second));
    });
}

#[test]
fn a_list_is_in_order_of_creation_also_within_one_transaction() {
    with_each_body(|store| {
        store.commit(txn().put("endpoints/z", "1").put("endpoints/a", "2").put("networks/m", "3")).unwrap();
        store.commit(txn().put("endpoints/m", "4")).unwrap();
        store.commit(txn().put("endpoints/z", "5")).unwrap();

        assert_eq!(
            keys(&store.list("endpoints/").unwrap()),
            ["endpoints/z", "endpoints/a", "endpoints/m"],
            "an update does not move a record"
        );
        assert_eq!(keys(&store.list("").unwrap()).len(), 4);
        assert_eq!(store.list("endpoints/q").unwrap(), []);

        store.commit(txn().delete("endpoints/z").put("endpoints/z", "6")).unwrap();
        assert_eq!(keys(&store.list("endpoints/").unwrap()), ["endpoints/a", "endpoints/m", "endpoints/z"]);
    });
}

#[test]
fn a_prefix_is_a_prefix_of_bytes_not_a_pattern() {
    with_each_body(|store| {
        for key in ["a/%", "a/_", "a/*", "a/é", "ab", "a"] {
            store.commit(txn().put(key, "")).unwrap();
        }
        assert_eq!(keys(&store.list("a/").unwrap()), ["a/%", "a/_", "a/*", "a/é"]);
        assert_eq!(keys(&store.list("a/%").unwrap()), ["a/%"]);
    });
}

#[test]
fn a_failed_expectation_names_its_key_and_changes_nothing() {
    with_each_body(|store| {
        let written = store.commit(txn().expect_absent("a").put("a", "1")).unwrap();
        store.commit(txn().expect_revision("a", written).put("b", "1")).unwrap();

        let cases = [
            (txn().expect_absent("a"), "a"),
            (txn().expect_revision("a", Revision::new(7)), "a"),
            (txn().expect_revision("absent", written), "absent"),
            (txn().expect_revision("a", written).expect_absent("b"), "b"),
        ];
        let (before, revision) = (store.list("").unwrap(), store.revision().unwrap());
        for (expecting, conflicting) in cases {
            let refused = store.commit(expecting.put("c", "1").delete("a"));
            assert!(
                matches!(&refused, Err(StoreError::Conflict { key }) if key == conflicting),
                "{refused:?}"
            );
        }
        assert_eq!(store.list("").unwrap(), before);
        assert_eq!(store.revision().unwrap(), revision);
    });
}

#[test]
fn a_transaction_that_changes_nothing_has_no_revision_of_its_own() {
    with_each_body(|store| {
        let written = store.commit(txn().put("a", "1")).unwrap();
        assert_eq!(store.commit(txn().expect_revision("a", written)).unwrap(), written);
        assert_eq!(store.commit(txn().delete("absent")).unwrap(), written);
        assert_eq!(store.commit(txn().delete("a")).unwrap(), Revision::new(2));
    });
}

#[test]
fn a_watch_tells_every_change_under_its_prefix_once_and_in_order() {
    with_each_body(|store| {
        let start = store.commit(txn().put("endpoints/0", "before")).unwrap();
        let mut watch = store.watch("endpoints/", start).unwrap();
        assert_eq!(watch.next(Duration::ZERO).unwrap(), None);

        let writer = Arc::clone(&store);
        let writes = thread::spawn(move || {
            writer.commit(txn().put("endpoints/1", "x").put("networks/1", "y")).unwrap();
            writer.commit(txn().delete("endpoints/0").delete("endpoints/absent")).unwrap();
        });
        let first = watch.next(LONG).unwrap().unwrap();
        let second = watch.next(LONG).unwrap().unwrap();
        writes.join().unwrap();

        assert_eq!(Change::Put(store.get("endpoints/1").unwrap().unwrap()), first);
        assert_eq!(Change::Deleted { key: "endpoints/0".into(), revision: Revision::new(3) }, second);
        assert_eq!(watch.next(Duration::ZERO).unwrap(), None);
        let mut again = store.watch("", Revision::new(2)).unwrap();
        assert_eq!(again.next(Duration::ZERO).unwrap(), Some(second));
    });
}

#[test]
fn a_watch_that_falls_behind_the_history_says_so() {
    with_each_body(|store| {
        let mut watch = store.watch("", Revision::ZERO).unwrap();
        for n in 0..=HISTORY_MAX {
            store.commit(txn().put("a", n.to_string())).unwrap();
        }
        assert!(matches!(watch.next(Duration::ZERO), Err(StoreError::Compacted { .. })));
        assert!(matches!(store.watch("", Revision::ZERO), Err(StoreError::Compacted { .. })));
        assert!(store.watch("", Revision::new(1)).is_ok());
    });
}

#[test]
fn writers_in_parallel_lose_nothing_to_each_other() {
    with_each_body(|store| {
        store.commit(txn().put("counter", "0")).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| increment(&*store)));
            }
        });
        assert_eq!(store.get("counter").unwrap().unwrap().value, b"200");
    });
}

fn increment(store: &dyn Store) {
    loop {
        let record = store.get("counter").unwrap().unwrap();
        let count: u32 = String::from_utf8(record.value).unwrap().parse().unwrap();
        let next = txn().expect_revision("counter", record.modified).put("counter", (count + 1).to_string());
        match store.commit(next) {
            Ok(_) => return,
            Err(StoreError::Conflict { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[derive(Debug, Clone)]
enum Move {
    ExpectAbsent(u8),
    ExpectRevision(u8, u64),
    Put(u8, Vec<u8>),
    Delete(u8),
}

fn any_txn() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        1 => (0..4u8).prop_map(Move::ExpectAbsent),
        1 => (0..4u8, 0..12u64).prop_map(|(key, revision)| Move::ExpectRevision(key, revision)),
        4 => (0..4u8, prop::collection::vec(any::<u8>(), 0..4)).prop_map(|(key, value)| Move::Put(key, value)),
        2 => (0..4u8).prop_map(Move::Delete),
    ];
    prop::collection::vec(one, 0..4)
}

fn txn_of(moves: &[Move], durability: Durability) -> Txn {
    moves.iter().fold(Txn::new(durability), |txn, step| match step {
        Move::ExpectAbsent(key) => txn.expect_absent(format!("k/{key}")),
        Move::ExpectRevision(key, revision) => {
            txn.expect_revision(format!("k/{key}"), Revision::new(*revision))
        }
        Move::Put(key, value) => txn.put(format!("k/{key}"), value.clone()),
        Move::Delete(key) => txn.delete(format!("k/{key}")),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_bodies_answer_the_same_to_any_history(history in prop::collection::vec(any_txn(), 1..16)) {
        let directory = tempfile::tempdir().unwrap();
        let sqlite = SqliteStore::open(&directory.path().join("hns.db")).unwrap();
        let memory = MemoryStore::new();
        let mut watches =
            [memory.watch("k/", Revision::ZERO).unwrap(), sqlite.watch("k/", Revision::ZERO).unwrap()];
        for moves in &history {
            let in_memory = memory.commit(txn_of(moves, Durability::Process));
            let on_disk = sqlite.commit(txn_of(moves, Durability::Process));
            prop_assert_eq!(format!("{in_memory:?}"), format!("{on_disk:?}"));
            prop_assert_eq!(memory.list("k/").unwrap(), sqlite.list("k/").unwrap());
        }
        loop {
            let [a, b] = watches.each_mut().map(|watch| watch.next(Duration::ZERO).unwrap());
            prop_assert_eq!(&a, &b);
            if a.is_none() {
                break;
            }
        }
    }
}
