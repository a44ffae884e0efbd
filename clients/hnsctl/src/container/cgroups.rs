//! Where this host has its control groups, and what that means for a runtime.
//!
//! crun 1.8 refuses a hybrid of both versions and a `/sys/fs/cgroup` that is none. Both are mended in a mount namespace
//! that only the runtime sees: there the second version's part of a hybrid is out of sight, or an empty file system
//! stands where control groups would be.

use std::fs;
use std::path::Path;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, TMPFS_MAGIC, statfs};

use super::error::ContainerError;

const ROOT: &str = "/sys/fs/cgroup";
const UNIFIED_PART: &str = "/sys/fs/cgroup/unified";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Version 2, or version 1 alone: any runtime copes.
    Plain,
    /// Version 1 with a version 2 hierarchy beside its controllers.
    Hybrid,
    /// A place for control groups, but none in it.
    Empty,
    /// Not even the place, as in a mount namespace of `ip netns exec`.
    Absent,
}

impl Layout {
    pub fn of_this_host() -> Self {
        let is = |path: &Path, kind: FsType| statfs(path).is_ok_and(|found| found.filesystem_type() == kind);
        if is(Path::new(ROOT), CGROUP2_SUPER_MAGIC) {
            return Self::Plain;
        }
        if !is(Path::new(ROOT), TMPFS_MAGIC) {
            return Self::Absent;
        }
        if is(Path::new(UNIFIED_PART), CGROUP2_SUPER_MAGIC) {
            return Self::Hybrid;
        }
        let controllers = fs::read_dir(ROOT).into_iter().flatten().flatten();
        match controllers.map(|entry| entry.path()).any(|path| is(&path, CGROUP_SUPER_MAGIC)) {
            true => Self::Plain,
            false => Self::Empty,
        }
    }

    pub const fn has_cgroups(self) -> bool {
        matches!(self, Self::Plain | Self::Hybrid)
    }

    /// Runs `work`, which starts a runtime, where the runtime finds a layout that it accepts. It runs on a thread of its
    /// own, since a mount namespace cannot be left again.
    pub fn with_accepted_mounts<T: Send>(self, work: impl FnOnce() -> T + Send) -> Result<T, ContainerError> {
        if matches!(self, Self::Plain | Self::Empty) {
            return Ok(work());
        }
        thread::scope(|scope| {
            let prepared = scope.spawn(|| self.mend().map(|()| work()));
            match prepared.join() {
                Ok(done) => done.map_err(|source| ContainerError::PrivateMounts { source }),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn mend(self) -> nix::Result<()> {
        const NOTHING: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNS)?;
        // Mounts of the host still arrive here, such as the namespace files of the daemon; ours do not leave.
        mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_SLAVE, NOTHING)?;
        match self {
            Self::Plain | Self::Empty => Ok(()),
            Self::Hybrid => umount2(UNIFIED_PART, MntFlags::MNT_DETACH),
            Self::Absent => mount(NOTHING, ROOT, Some("tmpfs"), MsFlags::empty(), NOTHING),
        }
    }
}
