//! Where the programs of this workspace are.

use std::path::PathBuf;

/// The built program `name` (`hnsd`, `hnsctl`, ..): in the folder that `HNS_BIN_DIR` names, or beside the running test.
///
/// # Panics
/// When it has not been built.
#[must_use]
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let folders: Vec<PathBuf> = match std::env::var_os("HNS_BIN_DIR") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => std::env::current_exe().iter().flat_map(|exe| exe.ancestors()).map(PathBuf::from).collect(),
    };
    // A test lies in target/PROFILE/deps, two steps below the programs; further up nothing of ours can be.
    let found = folders.iter().take(4).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built (looked in {folders:?}); `./x build` builds it"))
}
