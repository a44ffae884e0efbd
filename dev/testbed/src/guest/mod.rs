//! Other kernels than the machine's: a small virtual machine that runs one script and ends.
//!
//! ```text
//!   target/guests/{bookworm,trixie,sid}   kernel and modules, unpacked by dev/guests/fetch
//!            │
//!   Guest ── initramfs: busybox, programs of the machine with their libraries, files, the script
//!            │
//!   qemu     no disk, no network; the first serial line is the kernel's log, the second the script's output
//! ```
//!
//! ```no_run
//! use hns_testbed::{guest::{Guest, Kernel}, needs};
//!
//! needs!(guests);
//! for kernel in Kernel::ALL {
//!     let ran = Guest::new(kernel).program("ip").script("ip link add left type veth peer name right; ip link").boot();
//!     assert!(ran.expect_success().contains("left@right"));
//! }
//! ```
//!
//! The processor is emulated, so a guest is some ten times slower than the machine: what it runs must be short.

mod boot;
mod cpio;
mod image;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use boot::Ran;

/// A kernel that guests can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Of the oldest Debian release that we support: 6.1.
    Bookworm,
    /// Of the release after it: 6.12.
    Trixie,
    /// Of the newest suite.
    Sid,
}

impl Kernel {
    /// Oldest first.
    pub const ALL: [Self; 3] = [Self::Bookworm, Self::Trixie, Self::Sid];

    fn folder(self) -> PathBuf {
        folder().join(match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        })
    }

    /// What `uname -r` says in it.
    ///
    /// # Panics
    /// When it was not fetched; say `needs!(guests)` first.
    #[must_use]
    #[track_caller]
    pub fn release(self) -> String {
        let file = self.folder().join("release");
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        text.trim().to_owned()
    }
}

/// A guest that is still to be booted.
#[derive(Debug, Clone)]
pub struct Guest {
    kernel: Kernel,
    memory_mib: u32,
    limit: Duration,
    programs: Vec<PathBuf>,
    files: Vec<(PathBuf, PathBuf)>,
    script: String,
}

impl Guest {
    /// A guest with this kernel, 512 MiB of memory, and a minute to live.
    #[must_use]
    pub fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            memory_mib: 512,
            limit: Duration::from_secs(60),
            programs: Vec::new(),
            files: Vec::new(),
            script: String::new(),
        }
    }

    /// Other than 512 MiB of memory.
    #[must_use]
    pub fn memory_mib(mut self, memory: u32) -> Self {
        self.memory_mib = memory;
        self
    }

    /// Other than a minute until it is ended by force.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Puts a program of the machine's search path, with its libraries, into `/usr/bin`; it goes before busybox's applet of
    /// the same name.
    ///
    /// # Panics
    /// When the machine has none.
    #[must_use]
    #[track_caller]
    pub fn program(mut self, name: &str) -> Self {
        let found = crate::needs::find_program(name);
        self.programs.push(found.unwrap_or_else(|| panic!("the machine has no program {name}")));
        self
    }

    /// Puts a file at `inside`, with its libraries when it is a program.
    #[must_use]
    pub fn file(mut self, inside: impl Into<PathBuf>, file: impl Into<PathBuf>) -> Self {
        self.files.push((inside.into(), file.into()));
        self
    }

    /// What is run: a shell script that stops at its first error.
    #[must_use]
    pub fn script(mut self, script: impl Into<String>) -> Self {
        self.script = script.into();
        self
    }
}

/// The folder that `dev/guests/fetch` fills.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("dev/testbed lies two steps down")
        .join("target/guests")
}

/// Why there are no guests, or `None` when there are.
pub(crate) fn absent() -> Option<String> {
    if !folder().join("recipe").is_file() {
        return Some("needs the kernels that dev/guests/fetch unpacks".to_owned());
    }
    let missing = [boot::QEMU, image::BUSYBOX, image::SHELL, image::LDD]
        .into_iter()
        .find(|program| crate::needs::find_program(program).is_none());
    missing.map(|program| format!("needs the program {program}"))
}
