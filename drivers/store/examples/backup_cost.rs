//! What a backup costs, and an open with its check: `cargo run --release -p hns-store --example backup_cost`.

use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use hns_store::{Durability, SqliteStore, Store, Txn};

const RECORDS: usize = 5000;
const ROUNDS: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("hns.db");
    let store = SqliteStore::open(&path)?;
    let document = vec![b'x'; 900];
    for n in 0..RECORDS {
        let key = format!("endpoints/{:016X}-7C0A-8B66", (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        store.commit(Txn::new(Durability::Process).put(key, document.clone()))?;
    }
    let mut backups = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        store.commit(Txn::new(Durability::Process).put("changed", document.clone()))?;
        let begin = Instant::now();
        store.back_up()?;
        backups.push(begin.elapsed());
    }
    drop(store);
    let mut opens = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        drop(SqliteStore::open(&path)?);
        opens.push(begin.elapsed());
    }
    let (backup, open) = (median(&mut backups), median(&mut opens));
    writeln!(std::io::stdout(), "{RECORDS} records: backup p50 {backup:?}, open p50 {open:?}")?;
    Ok(())
}

fn median(costs: &mut [Duration]) -> Duration {
    costs.sort();
    costs[costs.len() / 2]
}
