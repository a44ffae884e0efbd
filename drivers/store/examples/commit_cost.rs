//! What the commit of an endpoint costs: `cargo run --release -p hns-store --example commit_cost`.
//! Its budget within a create of 1.5 ms is 60 us at the median.

use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use hns_store::{Durability, SqliteStore, Store, Txn};

const COMMITS: usize = 5000;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let store = SqliteStore::open(&directory.path().join("hns.db"))?;
    let document = vec![b'x'; 900];
    let mut costs: Vec<Duration> = Vec::with_capacity(COMMITS);
    for n in 0..COMMITS {
        // Identifiers are spread like GUIDs, so that the index is written all over.
        let key = format!("endpoints/{:016X}-7C0A-8B66", (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let start = Instant::now();
        store.commit(Txn::new(Durability::Process).expect_absent(&key).put(&key, document.clone()))?;
        costs.push(start.elapsed());
    }
    let late = costs[COMMITS - 1000..].iter().sum::<Duration>() / 1000;
    costs.sort();
    let (p50, p99, max) = (costs[COMMITS / 2], costs[COMMITS * 99 / 100], costs[COMMITS - 1]);
    writeln!(
        std::io::stdout(),
        "commit p50 {p50:?} p99 {p99:?} max {max:?}; mean of the last 1000 {late:?}"
    )?;
    Ok(())
}
