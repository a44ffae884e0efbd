//! What a test cannot do without, and how it says that it was skipped.
//!
//! Rust's harness has no "skipped", so a test that cannot run returns, and writes one line to standard error and to the
//! file that `HNS_SKIPPED` names; `./x test` prints that file at its end. With `CI=true` a missing requirement fails the test.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// One thing that a test needs from the machine.
#[derive(Debug, Clone, Copy)]
pub enum Requirement<'a> {
    /// The right to make namespaces.
    Root,
    /// A program in `PATH`.
    Program(&'a str),
    /// The container engines of [`crate::engines`].
    Engines,
    /// The emulator and the kernels of [`crate::guest`].
    Guests,
}

/// Ends the calling test early, reported as skipped, unless everything named is there.
///
/// ```no_run
/// # use hns_testbed::needs;
/// needs!(root, "nft", "crun");
/// ```
#[macro_export]
macro_rules! needs {
    (@one root) => { $crate::Requirement::Root };
    (@one engines) => { $crate::Requirement::Engines };
    (@one guests) => { $crate::Requirement::Guests };
    (@one $program:literal) => { $crate::Requirement::Program($program) };
    ($($need:tt),+ $(,)?) => {
        if $crate::missing(&[$($crate::needs!(@one $need)),+]) {
            return;
        }
    };
}

/// Reports the calling test as skipped and answers `true` when a requirement is not met.
///
/// # Panics
/// In continuous integration (`CI=true`), where a missing requirement is a failure.
#[must_use]
#[track_caller]
pub fn missing(requirements: &[Requirement<'_>]) -> bool {
    let absent: Vec<String> = requirements.iter().filter_map(Requirement::absent).collect();
    if absent.is_empty() {
        return false;
    }
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {}", thread.name().unwrap_or("a test"), absent.join(", "));
    report(&line);
    assert!(!in_ci(), "{line}; in CI nothing is skipped");
    true
}

impl Requirement<'_> {
    /// Why the requirement is not met, or `None` when it is.
    fn absent(&self) -> Option<String> {
        match self {
            Self::Root => (!nix::unistd::geteuid().is_root()).then(|| "needs root".to_owned()),
            Self::Engines => crate::engines::absent(),
            Self::Guests => crate::guest::absent(),
            Self::Program(name) => find_program(name).is_none().then(|| format!("needs the program {name}")),
        }
    }
}

fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// Where the machine keeps a program; those for administrators count, wherever the search path leads.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(administrators).collect();
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[expect(
    clippy::print_stderr,
    reason = "the harness shows a test's standard error; there is no other way to say it"
)]
fn report(line: &str) {
    eprintln!("{line}");
    let Some(file) = std::env::var_os("HNS_SKIPPED") else { return };
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        .and_then(|mut file| writeln!(file, "{line}"));
    if let Err(error) = written {
        eprintln!("cannot write {}: {error}", Path::new(&file).display());
    }
}
