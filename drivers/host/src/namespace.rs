//! Network namespaces: entered for a moment, made, removed, told apart.

#![expect(unsafe_code, reason = "asking a file which kind of namespace it is takes an ioctl")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use hns_planner::Target;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::sys::statfs::{FsType, fstatfs};

use crate::{HostError, NamespaceIdentity};

/// `_IO(0xb7, 0x3)`: the kind of a namespace as its `CLONE_NEW*` flag.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// The file system that all namespaces' files are in.
const NSFS: FsType = FsType(0x6e73_6673);

/// Where the calling thread is. The daemon's threads all live in the namespace they were started in.
const OWN: &str = "/proc/thread-self/ns/net";

/// A namespace held open.
#[derive(Debug)]
pub(crate) struct Namespace {
    file: File,
    path: PathBuf,
}

impl Namespace {
    /// The calling thread's own.
    pub(crate) fn own() -> Result<Self, HostError> {
        Self::open(Path::new(OWN))
    }

    pub(crate) fn open(path: &Path) -> Result<Self, HostError> {
        let fail = |errno: nix::Error| match errno {
            // ESRCH: the process whose namespace this was is dead.
            nix::Error::ENOENT | nix::Error::ENOTDIR | nix::Error::ESRCH => {
                HostError::NoSuchNamespace { path: path.to_owned() }
            }
            _ => HostError::Namespace { operation: "open", path: path.to_owned(), source: errno.into() },
        };
        // Opening something else could wait for ever (a FIFO) or do something (a device), and what is at a path may change: it is
        // pinned first, looked at, and only then opened, by what was pinned.
        let pinned = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(fail)?;
        if fstatfs(&pinned).map_err(fail)?.filesystem_type() != NSFS {
            return Err(HostError::NotANamespace { path: path.to_owned() });
        }
        let again = format!("/proc/thread-self/fd/{}", pinned.as_raw_fd());
        let file = open(again.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(fail)?;
        let file = File::from(file);
        if !is_network_namespace(&file) {
            return Err(HostError::NotANamespace { path: path.to_owned() });
        }
        Ok(Self { file, path: path.to_owned() })
    }

    /// One that was given to us, and is not `home`: what is done in a container would be done to the host.
    pub(crate) fn open_given(path: &Path, home: &Self) -> Result<Self, HostError> {
        let this = Self::open(path)?;
        if this.identity()? == home.identity()? {
            return Err(HostError::OwnNamespace { path: path.to_owned() });
        }
        Ok(this)
    }

    pub(crate) fn identity(&self) -> Result<NamespaceIdentity, HostError> {
        let fail = |source| HostError::Namespace { operation: "identify", path: self.path.clone(), source };
        let data = self.file.metadata().map_err(fail)?;
        Ok(NamespaceIdentity { device: data.dev(), inode: data.ino() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn enter(&self) -> io::Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
    }

    /// Runs `work` in this namespace and comes back to `home`, where the thread must be now.
    pub(crate) fn within<T>(
        &self,
        home: &Self,
        work: impl FnOnce() -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        self.enter().map_err(|source| HostError::Namespace {
            operation: "enter",
            path: self.path.clone(),
            source,
        })?;
        let _way_back = WayBack(home);
        work()
    }
}

/// Brings the thread home even if its work panics: left in a container's namespace, it would do all its further
/// work there.
struct WayBack<'a>(&'a Namespace);

impl Drop for WayBack<'_> {
    fn drop(&mut self) {
        self.0.enter().expect("the namespace we came from is held open and was ours to be in");
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn is_network_namespace(file: &File) -> bool {
    // SAFETY: this ioctl takes no argument and writes to no memory of ours; a file that is not a namespace
    // answers ENOTTY.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
    kind == libc::CLONE_NEWNET
}

pub(crate) fn path_of_target(target: &Target) -> Option<&Path> {
    match target {
        Target::Host | Target::Engine => None,
        Target::Path(path) => Some(path),
    }
}

/// Makes the namespace that `path` holds, unless it holds one already.
pub(crate) fn make(path: &Path) -> Result<(), HostError> {
    if Namespace::open(path).is_ok() {
        return Ok(());
    }
    let file = |source| HostError::File { operation: "make", path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(file)?;
    }
    // A file without a namespace is what a crash between the two left behind.
    OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(file)?;
    let target = path.to_owned();
    let maker = thread::Builder::new().name("hns-netns".into()).spawn(move || make_and_hold(&target));
    let maker = maker.map_err(|source| HostError::Thread { name: "hns-netns", source })?;
    let made = maker.join().expect("the thread that makes a namespace does not panic");
    made.map_err(|source| {
        // The empty file would be taken for a namespace by its name only; the next try makes it anew.
        let _ = fs::remove_file(path);
        HostError::Namespace { operation: "make", path: path.to_owned(), source }
    })
}

/// Runs on a thread of its own, which ends in the new namespace.
fn make_and_hold(path: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    crate::link::raise_loopback()?;
    mount(Some(OWN), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// Lets go of the namespace at `path`; the kernel removes it with its last user. Fine if there is none.
pub(crate) fn remove(path: &Path) -> Result<(), HostError> {
    let fail = |operation, source| HostError::Namespace { operation, path: path.to_owned(), source };
    // Detached, as another mount namespace or a process inside may still hold it.
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
        Err(errno) => return Err(fail("unmount", errno.into())),
    }
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(fail("remove the file of", source)),
    }
}

/// The namespaces held in `folder`.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>, HostError> {
    let mut found = files(folder)?;
    found.retain(|path| Namespace::open(path).is_ok());
    Ok(found)
}

/// Removes the files in which a namespace was about to be held when the process died.
pub(crate) fn sweep(folder: &Path) -> Result<(), HostError> {
    for path in files(folder)?.iter().filter(|path| Namespace::open(path).is_err()) {
        remove(path)?;
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, HostError> {
    let fail = |source| HostError::File { operation: "list", path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    entries.map(|entry| Ok(entry.map_err(fail)?.path())).collect()
}
