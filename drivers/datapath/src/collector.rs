//! Throws away connections that are over. The programs make flows and look at them; only this removes them, but for what the
//! kernel evicts from the maps of half-open ones. On the way it keeps the tallies right.

use std::collections::BTreeMap;
use std::{io, mem};

use hns_abi::{DropKey, Flow, FlowKey, HitKey, Map};
use hns_vfp::flow::idle_timeout;
use zerocopy::{FromBytes, IntoBytes};

use crate::bpf::Cursor;
use crate::load::Loaded;
use crate::read::{counted, state_of};
use crate::snapshot::state;
use crate::tallies::{self, Count};
use crate::{Collected, DatapathError};

/// How many entries of a map one call looks at.
const FLOWS_MAX: usize = 65_536;

/// Where the walks stopped.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    cursors: BTreeMap<Map, Cursor>,
    count: Count,
}

impl Collector {
    /// `is_ours`: whether there is a port of this number.
    pub(crate) fn collect(
        &mut self,
        loaded: &Loaded,
        now: u64,
        is_ours: impl Fn(u32) -> bool,
    ) -> Result<Collected, DatapathError> {
        let mut collected = Collected::default();
        let mut clear = |map, over: &[Vec<u8>]| {
            collected.flows += over.len();
            delete(loaded, map, over)
        };
        let is_over = |key: &[u8], flow: &[u8]| is_over(key, flow, now, &is_ours);

        let mut lasting = Vec::new();
        let over = self.look(loaded, Map::Embryonic, |key, flow| {
            let over = is_over(key, flow);
            if !over && tallies::lasts(flow, now) {
                lasting.push(key.to_vec());
            }
            over
        })?;
        clear(Map::Embryonic, &over)?;
        tallies::promote(loaded, &lasting, now)?;

        let mut count = match self.cursors.get(&Map::Established) {
            None => Count::begin(loaded)?,
            Some(_) => mem::take(&mut self.count),
        };
        let over = self.look(loaded, Map::Established, |key, flow| {
            let over = is_over(key, flow);
            if !over {
                count.see(flow);
            }
            over
        })?;
        clear(Map::Established, &over)?;
        match self.cursors.get(&Map::Established) {
            None => count.finish(loaded, &is_ours)?,
            Some(_) => self.count = count,
        }

        let over = self.look(loaded, Map::Strays, is_over)?;
        clear(Map::Strays, &over)?;
        collected.more = !self.cursors.is_empty();
        Ok(collected)
    }

    /// The keys that `chosen` picks among the next entries of a map, from where the last call stopped.
    fn look(
        &mut self,
        loaded: &Loaded,
        map: Map,
        mut chosen: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Vec<Vec<u8>>, DatapathError> {
        let mut keys = Vec::new();
        let mut seen = 0;
        let mut walk = loaded.map(map).walk_from(self.cursors.remove(&map));
        while seen < FLOWS_MAX {
            let more = walk.batch(|key, value| {
                seen += 1;
                if chosen(key, value) {
                    keys.push(key.to_vec());
                }
            });
            if !more.map_err(|source| failed("read", map, source))? {
                break;
            }
        }
        if let Some(cursor) = walk.cursor() {
            self.cursors.insert(map, cursor);
        }
        Ok(keys)
    }
}

/// Whether no port knows the connection any more.
fn is_over(key: &[u8], value: &[u8], now: u64, is_ours: impl Fn(u32) -> bool) -> bool {
    let (Ok(key), Ok(flow)) = (FlowKey::read_from_bytes(key), Flow::read_from_bytes(value)) else {
        return true;
    };
    flow.side.iter().all(|side| {
        let limit = idle_timeout(key.protocol, state(state_of(side.state)));
        side.port == 0 || !is_ours(side.port) || now.saturating_sub(side.seen) > limit
    })
}

/// Removes the counters of ports that are gone, and says what they counted.
pub(crate) fn collect_drops(
    loaded: &Loaded,
    is_ours: impl Fn(u32) -> bool,
) -> Result<Vec<(DropKey, u64)>, DatapathError> {
    let mut gone = Vec::new();
    each_drop(loaded, |key, packets| {
        if key.port != 0 && !is_ours(key.port) {
            gone.push((key, packets));
        }
    })?;
    let keys: Vec<Vec<u8>> = gone.iter().map(|(key, _)| key.as_bytes().to_vec()).collect();
    delete(loaded, Map::Drops, &keys)?;
    Ok(gone)
}

/// Removes the counters of rules that no port has any more.
pub(crate) fn collect_hits(
    loaded: &Loaded,
    is_current: impl Fn(HitKey) -> bool,
) -> Result<(), DatapathError> {
    let mut gone = Vec::new();
    let mut walk = loaded.map(Map::Hits).walk();
    loop {
        let more = walk.batch(|key, _| {
            if HitKey::read_from_bytes(key).is_ok_and(|key| !is_current(key)) {
                gone.push(key.to_vec());
            }
        });
        if !more.map_err(|source| failed("read", Map::Hits, source))? {
            return delete(loaded, Map::Hits, &gone);
        }
    }
}

/// The counters of drops, those of all processors together.
pub(crate) fn each_drop(loaded: &Loaded, mut see: impl FnMut(DropKey, u64)) -> Result<(), DatapathError> {
    let mut walk = loaded.map(Map::Drops).walk();
    loop {
        let more = walk.batch(|key, value| {
            if let Ok(key) = DropKey::read_from_bytes(key) {
                see(key, counted(value));
            }
        });
        if !more.map_err(|source| failed("read", Map::Drops, source))? {
            return Ok(());
        }
    }
}

fn delete(loaded: &Loaded, map: Map, keys: &[Vec<u8>]) -> Result<(), DatapathError> {
    for key in keys {
        loaded.map(map).delete(key).map_err(|source| failed("delete from", map, source))?;
    }
    Ok(())
}

fn failed(operation: &'static str, map: Map, source: io::Error) -> DatapathError {
    DatapathError::Map { operation, map: map.name(), source }
}
