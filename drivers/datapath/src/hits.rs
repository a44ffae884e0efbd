//! How many packets each rule of a port decided on.

use hns_abi::{HitKey, Map};
use hns_vfp::model::Rule;
use hns_vfp::tables::Tables;
use zerocopy::{FromBytes, IntoBytes};

use crate::DatapathError;
use crate::load::Loaded;

/// Of a longer list the counts begin anew when a rule comes or goes: to look all up would take longer than to program it.
const CARRIED_MAX: usize = 1024;

/// What a rule at a place has counted.
pub(crate) fn of(loaded: &Loaded, key: HitKey) -> Result<u64, DatapathError> {
    let failed = |source| DatapathError::Map { operation: "read", map: Map::Hits.name(), source };
    let value = loaded.map(Map::Hits).get(key.as_bytes()).map_err(failed)?;
    Ok(value.and_then(|value| u64::read_from_bytes(&value).ok()).unwrap_or_default())
}

/// Rules that a port keeps go on with their counts under its new rulesets, which no packet has met yet.
pub(crate) fn carry(
    loaded: &Loaded,
    tables: &Tables,
    before: &hns_abi::Port,
    after: &hns_abi::Port,
) -> Result<(), DatapathError> {
    for (old, new) in before.ruleset.into_iter().zip(after.ruleset).filter(|(old, new)| old != new) {
        let kept: Vec<(u32, &Rule)> = tables.rules(new).take(CARRIED_MAX + 1).collect();
        if kept.len() > CARRIED_MAX || tables.rules(old).count() > CARRIED_MAX {
            continue;
        }
        for (position, rule) in tables.rules(old) {
            let Some((place, _)) = kept.iter().find(|(_, kept)| *kept == rule) else { continue };
            let packets = of(loaded, HitKey { port: before.id, ruleset: old, position })?;
            if packets > 0 {
                put(loaded, HitKey { port: after.id, ruleset: new, position: *place }, packets)?;
            }
        }
    }
    Ok(())
}

fn put(loaded: &Loaded, key: HitKey, packets: u64) -> Result<(), DatapathError> {
    let failed = |source| DatapathError::Map { operation: "write to", map: Map::Hits.name(), source };
    loaded.map(Map::Hits).put(key.as_bytes(), packets.as_bytes()).map_err(failed)
}
