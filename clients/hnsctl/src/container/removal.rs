//! Removal of folders that a container has filled, however deep it has nested them.
//!
//! A removal that goes down level by level holds a descriptor for each, and ends at the limit of open files; one that goes
//! by paths ends at the longest path. So nothing here goes down: a folder within a folder is moved up to the first level,
//! where its turn comes. Four descriptors are held at most, and no list of what is there.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::NixPath;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Removes what is at `path`, if anything is: a folder with everything in it, or an entry of another kind. No link is
/// followed, and nothing that is mounted below is entered. What cannot be removed stays, and is told when all else is gone.
pub fn remove(path: &Path) -> io::Result<()> {
    let removed = match opened(AT_FDCWD, path) {
        Ok(top) => Removal::of(&top).run().map_err(io::Error::from).and_then(|()| fs::remove_dir(path)),
        // It is a link or another entry that is no folder.
        Err(Errno::ENOTDIR | Errno::ELOOP) => fs::remove_file(path),
        Err(error) => Err(error.into()),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

struct Removal<'a> {
    top: &'a OwnedFd,
    /// The last number that was the name of a folder moved up.
    number: u64,
    /// Whether anything was removed or moved in this pass.
    has_progress: bool,
    /// The first of this pass.
    error: Option<Errno>,
}

impl<'a> Removal<'a> {
    const fn of(top: &'a OwnedFd) -> Self {
        Self { top, number: 0, has_progress: false, error: None }
    }

    /// Passes over the first level until it is empty, or nothing of what is left can be removed.
    fn run(mut self) -> nix::Result<()> {
        loop {
            (self.has_progress, self.error) = (false, None);
            self.for_each(self.top, Self::remove_of_top)?;
            if !self.has_progress {
                return self.error.map_or(Ok(()), Err);
            }
        }
    }

    /// Hands every entry of a folder to `act`, also after one has failed.
    fn for_each(
        &mut self,
        folder: &OwnedFd,
        act: impl Fn(&mut Self, &OwnedFd, &CStr) -> nix::Result<()>,
    ) -> nix::Result<()> {
        // Opened anew: a copy of the handle would go on where the last pass has ended.
        let mut listing = Dir::from_fd(opened(folder, c".")?)?;
        for entry in listing.iter() {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            match act(self, folder, entry.file_name()) {
                Ok(()) => self.has_progress = true,
                Err(error) => _ = self.error.get_or_insert(error),
            }
        }
        Ok(())
    }

    fn remove_of_top(&mut self, top: &OwnedFd, name: &CStr) -> nix::Result<()> {
        if is_removed(top, name)? {
            return Ok(());
        }
        let folder = opened(top, name)?;
        self.for_each(&folder, Self::remove_or_move_up)?;
        unlinkat(top, name, UnlinkatFlags::RemoveDir)
    }

    fn remove_or_move_up(&mut self, folder: &OwnedFd, name: &CStr) -> nix::Result<()> {
        if is_removed(folder, name)? {
            return Ok(());
        }
        loop {
            self.number += 1;
            let new = CString::new(self.number.to_string()).map_err(|_| Errno::EINVAL)?;
            match renameat(folder, name, self.top, new.as_c_str()) {
                // The name is taken. That of an empty folder is not: the kernel replaces it.
                Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
                other => return other,
            }
        }
    }
}

/// Opens a folder to read it; a link to one is none.
fn opened<P: ?Sized + NixPath>(above: impl AsFd, path: &P) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(above, path, flags, Mode::empty())
}

/// Removes an entry that is no folder, or an empty one. That something is mounted on it is an error.
fn is_removed(folder: &OwnedFd, name: &CStr) -> nix::Result<bool> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR) => {}
        Ok(()) | Err(Errno::ENOENT) => return Ok(true),
        Err(error) => return Err(error),
    }
    match unlinkat(folder, name, UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "removal_tests.rs"]
mod tests;
