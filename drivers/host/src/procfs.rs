//! The kernel's settings by a proc file system of our own, which is mounted nowhere.
//!
//! The settings of all network namespaces bear the same names, and in one file system the kernel keeps the names of all
//! in one chain, through which it goes for each access: beside 2,000 containers that took half of the time of an endpoint's
//! create. A file system that is renewed now and then holds few names.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// After so many accesses the file system is made anew, which takes as long as a few of them.
const USES_MAX: u32 = 64;

static OURS: Mutex<Option<Root>> = Mutex::new(None);

struct Root {
    folder: Arc<OwnedFd>,
    uses: u32,
}

/// Opens what lies at this place below `/proc`. Settings of the network are those of the calling thread's namespace.
pub(crate) fn open(place: &str, flags: OFlags) -> io::Result<File> {
    let root = root()?;
    Ok(openat(&*root, place, flags | OFlags::CLOEXEC, Mode::empty())?.into())
}

fn root() -> io::Result<Arc<OwnedFd>> {
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(root) = ours.as_mut().filter(|root| root.uses < USES_MAX) {
        root.uses += 1;
        return Ok(Arc::clone(&root.folder));
    }
    // Without the right to mount, that of everybody serves, if more slowly.
    let folder = mount().or_else(|_| openat(CWD, "/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()))?;
    let folder = Arc::new(folder);
    let former = ours.replace(Root { folder: Arc::clone(&folder), uses: 1 });
    drop(ours);
    // Whoever uses it last waits for its end, and nobody for him.
    drop(former);
    Ok(folder)
}

fn mount() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use hns_testbed::needs;
    use nix::sched::{CloneFlags, unshare};

    use crate::sysctl;

    /// Through several renewals, each thread sees the settings of its own namespace.
    #[test]
    fn settings_are_those_of_the_threads_namespace() {
        needs!(root);
        let flip = |value: &'static str| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            for _ in 0..super::USES_MAX {
                assert!(sysctl::set("ipv4/ip_forward", value).expect("a setting"));
                assert_eq!(sysctl::read("ipv4/ip_forward").expect("a setting").as_deref(), Some(value));
            }
        };
        thread::scope(|scope| {
            for value in ["0", "1", "0", "1"] {
                scope.spawn(move || flip(value));
            }
        });
    }
}
