//! Folders with contents that nobody vouches for: names are resolved as in a chroot, or not at all.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

/// The kernel gives up on a path with `..` while anything on the host is being renamed. It says "again", and it means it.
const TRIES_MAX: usize = 1000;

/// What folders get that a layer needs and does not describe, whatever our umask.
const FOLDER_MODE: u32 = 0o755;

/// A folder out of which no name and no link leads.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
}

/// A folder somewhere below, held open, so that it stays the one that was found.
#[derive(Debug)]
pub struct Folder {
    handle: OwnedFd,
}

impl Beneath {
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self { root: open(path, flags, Mode::empty())? })
    }

    /// The folder at `path`. Links count as they will inside the container: `/` is the root, and nothing is above it.
    pub fn folder(&self, path: &Path) -> io::Result<Folder> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        Ok(Folder { handle: self.resolve(path, flags)? })
    }

    /// The folder at `path`, which is made where it is missing.
    pub fn made_folder(&self, path: &Path) -> io::Result<Folder> {
        match self.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        if let (Some(above), Some(name)) = (path.parent(), path.file_name()) {
            let above = self.made_folder(above)?;
            let place = above.entry(Path::new(name));
            fs::create_dir(&place)?;
            fs::set_permissions(&place, Permissions::from_mode(FOLDER_MODE))?;
        }
        self.folder(path)
    }

    /// The regular file at `path`, to read. Links are followed, as above: `docker save` makes such.
    /// Nothing when it is something else, such as a FIFO, which would keep its reader waiting, or a device.
    pub fn regular_file(&self, path: &Path) -> io::Result<Option<File>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = File::from(self.resolve(path, flags)?);
        let is_file = file.metadata()?.is_file();
        Ok(is_file.then_some(file))
    }

    fn resolve(&self, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        for _ in 0..TRIES_MAX {
            match openat2(&self.root, path, how) {
                Err(Errno::EAGAIN) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::EAGAIN.into())
    }
}

impl Folder {
    /// A path by which others reach the entry `name` through our handle, past all links; good while the handle is.
    pub fn entry(&self, name: &Path) -> PathBuf {
        self.own_path().join(name)
    }

    pub fn own_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.handle.as_raw_fd()))
    }

    /// The one path it has however it was reached, for comparing.
    pub fn real_path(&self) -> io::Result<PathBuf> {
        fs::read_link(self.own_path())
    }

    pub const fn handle(&self) -> &OwnedFd {
        &self.handle
    }
}
