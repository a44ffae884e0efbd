//! Where this host has its control groups, and what that means for a runtime.
//!
//! A container is held to its devices by a control group, so that none starts without. crun 1.8 refuses a hybrid of both
//! versions and a `/sys/fs/cgroup` that is none. Both are mended in a mount namespace that only the runtime sees: there the
//! second version's part of a hybrid is out of sight, or the kernel's control groups are mounted where they are missing.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, TMPFS_MAGIC, statfs};

use super::error::ContainerError;

const ROOT: &str = "/sys/fs/cgroup";
const UNIFIED_PART: &str = "/sys/fs/cgroup/unified";
const DEVICES_PART: &str = "/sys/fs/cgroup/devices";
/// Which hierarchies the kernel has, mounted here or not.
const HIERARCHIES: &str = "/proc/self/cgroup";

const NOTHING: Option<&str> = None;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Version 2 alone: any runtime copes, and holds containers to their devices by a program.
    Unified,
    /// Version 1 alone: any runtime copes.
    Legacy,
    /// Version 1 with a version 2 hierarchy beside its controllers.
    Hybrid,
    /// None mounted where they belong, as in a mount namespace of `ip netns exec`.
    Absent,
}

impl Layout {
    pub fn of_this_host() -> Self {
        let root = Path::new(ROOT);
        if is(root, CGROUP2_SUPER_MAGIC) {
            return Self::Unified;
        }
        if !is(root, TMPFS_MAGIC) {
            return Self::Absent;
        }
        if is(Path::new(UNIFIED_PART), CGROUP2_SUPER_MAGIC) {
            return Self::Hybrid;
        }
        let controllers = fs::read_dir(root).into_iter().flatten().flatten();
        match controllers.map(|entry| entry.path()).any(|path| is(&path, CGROUP_SUPER_MAGIC)) {
            true => Self::Legacy,
            false => Self::Absent,
        }
    }

    /// Whether a container can be held to its devices here.
    pub fn controls_devices(self) -> bool {
        match self {
            Self::Unified => true,
            Self::Legacy | Self::Hybrid => is(Path::new(DEVICES_PART), CGROUP_SUPER_MAGIC),
            // Whether they can be mounted is seen when it is done.
            Self::Absent => Path::new(HIERARCHIES).exists(),
        }
    }

    /// Runs `work`, which starts a runtime, where the runtime finds a layout that it accepts. It runs on a thread of its
    /// own, since a mount namespace cannot be left again.
    pub fn with_accepted_mounts<T: Send>(self, work: impl FnOnce() -> T + Send) -> Result<T, ContainerError> {
        if matches!(self, Self::Unified | Self::Legacy) {
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

    fn mend(self) -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // Mounts of the host still arrive here, such as the namespace files of the daemon; ours do not leave.
        mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_SLAVE, NOTHING)?;
        match self {
            Self::Unified | Self::Legacy => Ok(()),
            Self::Hybrid => Ok(umount2(UNIFIED_PART, MntFlags::MNT_DETACH)?),
            Self::Absent => mount_hierarchies(&fs::read_to_string(HIERARCHIES)?),
        }
    }
}

fn is(path: &Path, kind: FsType) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == kind)
}

/// Mounts what the kernel has: the hierarchies of version 1 where devices are one of them, or else version 2.
fn mount_hierarchies(hierarchies: &str) -> io::Result<()> {
    let legacy = legacy_controllers(hierarchies);
    if !legacy.iter().any(|controllers| controllers.split(',').any(|one| one == "devices")) {
        return Ok(mount(NOTHING, ROOT, Some("cgroup2"), MsFlags::empty(), NOTHING)?);
    }
    mount(NOTHING, ROOT, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
    for controllers in legacy {
        let name = controllers.strip_prefix("name=").unwrap_or(controllers);
        let place = Path::new(ROOT).join(name);
        fs::create_dir(&place)?;
        mount(NOTHING, &place, Some("cgroup"), MsFlags::empty(), Some(controllers))?;
        // Of several in one hierarchy, each is looked for by its own name, too.
        for one in name.split(',').filter(|one| *one != name) {
            symlink(name, Path::new(ROOT).join(one))?;
        }
    }
    Ok(())
}

/// The controllers of each hierarchy of version 1, such as `cpu,cpuacct` or `name=systemd`.
fn legacy_controllers(hierarchies: &str) -> Vec<&str> {
    hierarchies.lines().filter_map(|line| line.split(':').nth(1)).filter(|one| !one.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_its_hierarchies() {
        let both = "5:devices:/a\n2:cpu,cpuacct:/\n1:name=systemd:/init.scope\n0::/user.slice\n";
        assert_eq!(legacy_controllers(both), ["devices", "cpu,cpuacct", "name=systemd"]);
        assert_eq!(legacy_controllers("0::/\n"), [""; 0]);
    }
}
