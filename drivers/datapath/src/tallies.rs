//! How many lasting connections each port has: counted by the programs as they go, and anew with each walk through all of them,
//! since connections that were collected were not counted by anybody.

use std::collections::BTreeMap;
use std::io;

use hns_abi::{FLOWS_OF_A_PORT_MAX, Flow, FlowSide, Map};
use zerocopy::{FromBytes, IntoBytes};

use crate::DatapathError;
use crate::load::Loaded;

/// After so long an answered connection lasts however few packets it has: LASTING_AGE of `bpf/lib/timeouts.h`.
const LASTING_AGE: u64 = 2_000_000_000;

/// A walk through `established`.
#[derive(Debug, Default)]
pub(crate) struct Count {
    /// What the tallies were when it began.
    before: BTreeMap<u32, u64>,
    seen: BTreeMap<u32, u64>,
}

impl Count {
    pub(crate) fn begin(loaded: &Loaded) -> Result<Self, DatapathError> {
        Ok(Self { before: all(loaded)?, seen: BTreeMap::new() })
    }

    /// An entry that stays.
    pub(crate) fn see(&mut self, flow: &[u8]) {
        let Ok(flow) = Flow::read_from_bytes(flow) else { return };
        for port in ports(&flow) {
            *self.seen.entry(port).or_default() += 1;
        }
    }

    /// Puts the tallies right. What came while the walk went on may have been seen or not; a port may seem to have too many
    /// until the next walk, never too few.
    pub(crate) fn finish(&self, loaded: &Loaded, is_ours: impl Fn(u32) -> bool) -> Result<(), DatapathError> {
        let of = |counts: &BTreeMap<u32, u64>, port| counts.get(&port).copied().unwrap_or_default();
        let now = all(loaded)?;
        for (port, tally) in &now {
            if !is_ours(*port) {
                let deleted = loaded.map(Map::Tallies).delete(port.as_bytes());
                deleted.map_err(|source| failed("delete from", Map::Tallies, source))?;
                continue;
            }
            let came = tally.saturating_sub(of(&self.before, *port));
            let right = of(&self.seen, *port) + came;
            if right != *tally {
                put(loaded, *port, right)?;
            }
        }
        for (port, seen) in self.seen.iter().filter(|(port, _)| !now.contains_key(port) && is_ours(**port)) {
            put(loaded, *port, *seen)?;
        }
        Ok(())
    }
}

/// Moves connections that last by their age to where no flood evicts them, as their next packet would; some have none for hours. What a
/// packet changes in the same microseconds may be lost.
pub(crate) fn promote(loaded: &Loaded, keys: &[Vec<u8>], now: u64) -> Result<(), DatapathError> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut tallies = all(loaded)?;
    for key in keys {
        let value =
            loaded.map(Map::Embryonic).get(key).map_err(|source| failed("read", Map::Embryonic, source))?;
        let Some(value) = value.filter(|value| lasts(value, now)) else { continue };
        let Ok(flow) = Flow::read_from_bytes(&value) else { continue };
        let full = |port| tallies.get(&port).is_some_and(|tally| *tally >= u64::from(FLOWS_OF_A_PORT_MAX));
        if ports(&flow).any(full) {
            continue;
        }
        match loaded.map(Map::Established).put(key, &value) {
            Ok(()) => {}
            // Full. It stays where it is.
            Err(error) if error.raw_os_error() == Some(libc::E2BIG) => break,
            Err(source) => return Err(failed("write to", Map::Established, source)),
        }
        let deleted = loaded.map(Map::Embryonic).delete(key);
        deleted.map_err(|source| failed("delete from", Map::Embryonic, source))?;
        for port in ports(&flow) {
            let tally = tallies.entry(port).or_default();
            *tally += 1;
            put(loaded, port, *tally)?;
        }
    }
    Ok(())
}

/// `lasts` of `bpf/lib/flow.h`, for a connection that waits for its next packet.
pub(crate) fn lasts(flow: &[u8], now: u64) -> bool {
    let Ok(flow) = Flow::read_from_bytes(flow) else { return false };
    let is_answered = |side: &FlowSide| {
        side.port != 0
            && matches!(side.state, hns_abi::FLOW_ESTABLISHED | hns_abi::FLOW_CLOSING)
            && !side.packets.contains(&0)
    };
    now.saturating_sub(flow.opened) >= LASTING_AGE && flow.side.iter().any(is_answered)
}

fn ports(flow: &Flow) -> impl Iterator<Item = u32> + use<> {
    flow.side.map(|side| side.port).into_iter().filter(|port| *port != 0)
}

fn all(loaded: &Loaded) -> Result<BTreeMap<u32, u64>, DatapathError> {
    let mut tallies = BTreeMap::new();
    let mut walk = loaded.map(Map::Tallies).walk();
    loop {
        let more = walk.batch(|port, tally| {
            if let (Ok(port), Ok(tally)) = (u32::read_from_bytes(port), i64::read_from_bytes(tally)) {
                // One may have been put right between a connection's coming and its going.
                tallies.insert(port, u64::try_from(tally).unwrap_or_default());
            }
        });
        if !more.map_err(|source| failed("read", Map::Tallies, source))? {
            return Ok(tallies);
        }
    }
}

fn put(loaded: &Loaded, port: u32, tally: u64) -> Result<(), DatapathError> {
    let written = loaded.map(Map::Tallies).put(port.as_bytes(), tally.as_bytes());
    written.map_err(|source| failed("write to", Map::Tallies, source))
}

fn failed(operation: &'static str, map: Map, source: io::Error) -> DatapathError {
    DatapathError::Map { operation, map: map.name(), source }
}
