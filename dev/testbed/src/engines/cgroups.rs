//! Control groups of engines: the only thing of theirs that namespaces do not take with them.

use std::path::{Path, PathBuf};

const TREES: &str = "/sys/fs/cgroup";

/// Removes the groups of a host that has died.
pub(crate) fn remove(host_folder: &Path) {
    let name = name(host_folder);
    let trees = std::fs::read_dir(TREES).into_iter().flatten().flatten().map(|entry| entry.path());
    for tree in trees.chain([PathBuf::from(TREES)]) {
        remove_tree(&tree.join(&name));
    }
}

/// Removes the groups of a lab whose test was killed.
pub(crate) fn remove_of_lab(lab_folder: &Path) {
    for host in std::fs::read_dir(lab_folder).into_iter().flatten().flatten() {
        remove(&host.path());
    }
}

/// The group of a host's engines, `LAB-HOST`, from the folder of the host in its lab's.
pub(super) fn name(host_folder: &Path) -> String {
    let words: Vec<_> = host_folder.iter().rev().take(2).map(|word| word.to_string_lossy()).collect();
    format!("{}-{}", words[1], words[0])
}

/// A group goes by `rmdir` when its children are gone; the files in it are the kernel's.
fn remove_tree(group: &Path) {
    let Ok(entries) = std::fs::read_dir(group) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // One that is still in use is the machine's to keep; a panic here would hide the test's own.
    let _still_in_use = std::fs::remove_dir(group);
}
