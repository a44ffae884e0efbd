//! Every input that is kept, through its target.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use hns_fuzz_bodies::TARGETS;

#[test]
fn no_kept_input_brings_a_target_down() {
    let mut down = Vec::new();
    for (name, body) in TARGETS {
        for file in kept("seeds", name).into_iter().chain(kept("crashes", name)) {
            let input = fs::read(&file).unwrap();
            if catch_unwind(|| body(&input)).is_err() {
                down.push(file);
            }
        }
    }
    assert!(down.is_empty(), "{down:#?}");
}

#[test]
fn every_target_has_a_program_and_seeds_and_nothing_is_kept_for_others() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let programs = entries(&fuzz().join("fuzz_targets"));
    let programs: BTreeSet<String> =
        programs.iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(programs, targets);
    for (name, _) in TARGETS {
        assert!(!kept("seeds", name).is_empty(), "{name} has no seeds");
    }
    for folder in ["seeds", "crashes"].iter().flat_map(|kind| entries(&fuzz().join(kind))) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(targets.contains(name), "{} belongs to no target", folder.display());
    }
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("fuzz")
}

fn kept(kind: &str, target: &str) -> Vec<PathBuf> {
    entries(&fuzz().join(kind).join(target))
}

/// Sorted; none where there is no such folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
