//! Whether the host has room for the neighbours it looks for. One table a family serves all namespaces: when it is full,
//! nobody's new neighbour is found any more, and a program that sends to thousands of absent addresses can fill it.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::finding;
use crate::{Finding, HostError, Level, sysctl};

const CHECK: &str = "neighbours";

/// One line a family; none where the kernel tells of its tables only in the namespace it booted in, and this is another.
pub(crate) fn findings() -> Result<Vec<Finding>, HostError> {
    let mut findings = Vec::new();
    for (family, table, setting) in [
        ("IPv4", "arp_cache", "ipv4/neigh/default/gc_thresh3"),
        ("IPv6", "ndisc_cache", "ipv6/neigh/default/gc_thresh3"),
    ] {
        let room = sysctl::read(setting)?.and_then(|text| text.parse().ok());
        if let (Some(room), Some(entries)) = (room, entries_of(table)?) {
            findings.push(judge(family, setting, entries, room));
        }
    }
    Ok(findings)
}

/// A table that is three quarters full has no room for a burst.
fn judge(family: &str, setting: &str, entries: u64, room: u64) -> Finding {
    let detail = format!("{family}: {entries} entries, and room for {room}");
    if entries * 4 < room * 3 {
        return finding(CHECK, Level::Ok, detail);
    }
    let setting = setting.replace('/', ".");
    finding(CHECK, Level::Warn, detail).hint(format!(
        "when it is full no new neighbour is found, by the host or any container: see who fills it with 'ip neigh', \
         or make room with: sysctl -w net.{setting}={}",
        room * 4
    ))
}

fn entries_of(table: &str) -> Result<Option<u64>, HostError> {
    let path = PathBuf::from("/proc/net/stat").join(table);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(entries(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HostError::File { operation: "read", path, source }),
    }
}

/// A heading, then a line of hexadecimal columns a processor; the first column is the whole table's on each.
fn entries(text: &str) -> Option<u64> {
    u64::from_str_radix(text.lines().nth(1)?.split_whitespace().next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_the_first_column() {
        let text = "entries  allocs   destroys\n0000002a 00000007 00000001\n0000002a 00000000 00000000\n";
        assert_eq!(entries(text), Some(42));
        assert_eq!(entries("entries\n"), None);
        assert_eq!(entries("entries\nsome\n"), None);
    }

    #[test]
    fn a_table_that_fills_up_is_told_before_it_is_full() {
        let of = |entries| judge("IPv4", "ipv4/neigh/default/gc_thresh3", entries, 1024);
        assert_eq!((of(767).level, of(767).hint), (Level::Ok, None));
        let full = of(768);
        assert_eq!(full.level, Level::Warn);
        assert!(full.hint.unwrap().contains("sysctl -w net.ipv4.neigh.default.gc_thresh3=4096"));
    }
}
