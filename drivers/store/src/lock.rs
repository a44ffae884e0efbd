use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::StoreError;

/// Holds a state directory for one daemon. The kernel gives the lock back when the process ends, however it ends, so a
/// left-over file never blocks a start.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: Flock<File>,
}

impl DirectoryLock {
    pub(crate) fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join("hnsd.lock");
        let failed = |source| StoreError::Lock { path: directory.to_owned(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                write_holder(&mut file).map_err(failed)?;
                Ok(Self { _file: file })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                Err(StoreError::InUse { path: directory.to_owned(), holder: read_holder(&mut file) })
            }
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", process::id())
}

/// Only for the error's text: the process may write its number a moment after it took the lock.
fn read_holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
