//! The budget of an endpoint: its commit must not be felt in a create of 1.5 ms.

use std::time::{Duration, Instant};

use hns_store::{Durability, SqliteStore, Store, Txn};

const COMMITS: usize = 5000;
const P50_MAX: Duration = Duration::from_micros(60);

#[test]
#[ignore = "a measurement: cargo nextest run --release -p hns-store --run-ignored all commit_cost"]
fn an_endpoint_commit_stays_within_its_budget() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("hns.db")).unwrap();
    let document = vec![b'x'; 900];
    let mut costs: Vec<Duration> = (0..COMMITS)
        .map(|n| {
            // Identifiers are spread like GUIDs, so that the index is written all over.
            let key = format!("endpoints/{:016X}-7C0A-8B66", (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let start = Instant::now();
            let create = Txn::new(Durability::Process).expect_absent(&key).put(&key, document.clone());
            store.commit(create).unwrap();
            start.elapsed()
        })
        .collect();
    let late = costs[COMMITS - 1000..].iter().sum::<Duration>() / 1000;
    costs.sort();
    let (p50, p99) = (costs[COMMITS / 2], costs[COMMITS * 99 / 100]);
    println!("commit p50 {p50:?} p99 {p99:?} max {:?}; mean of the last 1000 {late:?}", costs[COMMITS - 1]);
    assert!(p50 < P50_MAX, "p50 {p50:?}");
}
