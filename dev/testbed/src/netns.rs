//! A handle on one network namespace, and threads that work in it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns};

/// A network namespace that stays reachable as long as the handle lives, whatever happens to its name.
#[derive(Debug, Clone)]
pub struct Netns {
    file: Arc<File>,
}

impl Netns {
    /// Opens a namespace by its file, for example `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self { file: Arc::new(File::open(path)?) })
    }

    /// Runs `work` on a thread of its own in this namespace and gives what it returns.
    ///
    /// # Panics
    /// When the namespace cannot be entered, or `work` panics.
    #[track_caller]
    pub fn enter<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.spawn("visitor", work).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Starts a thread that lives in this namespace.
    ///
    /// # Panics
    /// When the thread cannot be started.
    #[track_caller]
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let file = Arc::clone(&self.file);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // The thread ends in this namespace: it is never given back to anyone who expects another.
                setns(&*file, CloneFlags::CLONE_NEWNET).expect("entering a namespace takes only root");
                work()
            })
            .expect("a test has few threads")
    }

    /// A program that will run in this network namespace, with the machine's own files.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
            .args(["--", program]);
        command
    }

    /// Whether one echo request to `address` is answered within a second.
    ///
    /// # Panics
    /// When the program `ping` cannot be started.
    #[must_use]
    #[track_caller]
    pub fn ping(&self, address: impl Into<std::net::IpAddr>) -> bool {
        let address = address.into().to_string();
        let output = self.command("ping").args(["-n", "-c1", "-W1", &address]).output();
        output.expect("ping is one of the programs that ./x installs").status.success()
    }
}
