//! Carries out what `core/vfp::tables` decided.

use std::io;

use hns_abi::Map;
use hns_vfp::tables::Write;

use crate::DatapathError;
use crate::load::Loaded;

/// The kernel did not take a write.
pub(crate) struct Failed {
    pub error: DatapathError,
    /// This write and those behind it.
    pub rest: Vec<Write>,
}

/// Carries the writes out in their order; consecutive entries of one map go to the kernel in one call. After a failure the
/// rest is not done, but for arrays: their contents are shared, and the tables count on them. A link is led to no record then.
pub(crate) fn carry_out(loaded: &Loaded, writes: &[Write]) -> Result<(), Failed> {
    let mut outcome = Ok(());
    for run in writes.chunk_by(same_call) {
        let done = match &run[0] {
            write if outcome.is_err() && !is_shared(write) => Ok(()),
            Write::Array { map, .. } => {
                fill(loaded, *map, run).map_err(|source| failed("fill", *map, source))
            }
            Write::Put { map, .. } => {
                let put = loaded.map(*map).put_all(run.iter().filter_map(entry));
                put.map_err(|source| failed("write to", *map, source))
            }
            Write::Delete { map, key } => {
                let deleted = loaded.map(*map).delete(key);
                deleted.map_err(|source| failed("delete from", *map, source))
            }
        };
        match (&mut outcome, done) {
            (Ok(()), Ok(())) => {}
            (Ok(()), Err(error)) => outcome = Err(Failed { error, rest: run.to_vec() }),
            (Err(failed), _) => failed.rest.extend_from_slice(run),
        }
    }
    outcome
}

/// Of an array whose elements the tables count on, whatever becomes of the change.
const fn is_shared(write: &Write) -> bool {
    matches!(write, Write::Array { map: Map::Ports | Map::Directory | Map::Chunks, .. })
}

/// Whether two writes that follow each other can go to the kernel together.
fn same_call(one: &Write, next: &Write) -> bool {
    match (one, next) {
        (Write::Put { map, .. }, Write::Put { map: other, .. })
        | (Write::Array { map, .. }, Write::Array { map: other, .. }) => map == other,
        _ => false,
    }
}

fn entry(write: &Write) -> Option<(&[u8], &[u8])> {
    match write {
        Write::Put { key, value, .. } => Some((key, value)),
        _ => None,
    }
}

fn fill(loaded: &Loaded, map: Map, run: &[Write]) -> io::Result<()> {
    let array = loaded.array(map).ok_or(io::ErrorKind::Unsupported)?;
    for write in run {
        if let Write::Array { index, bytes, .. } = write {
            array.write(*index, bytes)?;
        }
    }
    Ok(())
}

fn failed(operation: &'static str, map: Map, source: io::Error) -> DatapathError {
    DatapathError::Map { operation, map: map.name(), source }
}
