//! Writes the sample of the current schema that `tests/on_disk.rs` reads ever after; run it once for each new
//! schema, from this crate's folder: `cargo run --example write_sample -- tests/fixtures/schema1.db`.

use std::error::Error;
use std::fs;

use hns_store::{Durability, SqliteStore, Store, Txn};

fn main() -> Result<(), Box<dyn Error>> {
    let target = std::env::args().nth(1).ok_or("say where the sample goes")?;
    let directory = tempfile::tempdir()?;
    let store = SqliteStore::open(&directory.path().join("hns.db"))?;
    let txn = || Txn::new(Durability::Process);
    store.commit(txn().put("networks/nat", "{}"))?;
    let named = txn().put("networks/nat", r#"{"Schema":1,"Name":"nat"}"#);
    store.commit(named.put("endpoints/web", r#"{"Schema":1,"Name":"web"}"#).put("endpoints/gone", "{}"))?;
    store.commit(txn().delete("endpoints/gone"))?;
    store.checkpoint()?;
    fs::copy(directory.path().join("hns.db"), target)?;
    Ok(())
}
