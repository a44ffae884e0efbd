//! Programs that ran, and programs that still run.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Host;

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it was called, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it wrote to standard output.
    pub stdout: String,
    /// Everything it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    pub(crate) fn new(command: String, output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { command, status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Whether it ended with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Its standard output, when it ended well.
    ///
    /// # Panics
    /// When it did not, with everything it said.
    #[must_use]
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert!(self.success(), "{self}");
        self.stdout
    }

    /// Its standard error, when it failed.
    ///
    /// # Panics
    /// When it ended well.
    #[must_use]
    #[track_caller]
    pub fn expect_failure(self) -> String {
        assert!(!self.success(), "expected to fail: {self}");
        self.stderr
    }

    /// Its standard output as JSON.
    ///
    /// # Panics
    /// When it failed or wrote something else.
    #[must_use]
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let command = self.command.clone();
        let text = self.expect_success();
        match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(error) => panic!("{command}: not JSON: {error}\n{text}"),
        }
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` ended with {}\n{}{}", self.command, self.status, self.stdout, self.stderr)
    }
}

/// A program that runs in a host; dropping the handle kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
    /// A host cannot end before this handle has waited for the program: the kernel keeps a pid namespace's first process
    /// until every other is waited for, and we are the parent.
    _host: Host,
}

impl Process {
    pub(crate) fn new(host: Host, child: Child, log: PathBuf) -> Self {
        Self { child, log, ended: None, _host: host }
    }

    /// Its number as the test sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its number as the programs in its host see it.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    #[track_caller]
    pub fn pid_in_host(&self) -> u32 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let inner = line.and_then(|pids| pids.split_whitespace().last()?.parse().ok());
        inner.unwrap_or_else(|| panic!("process {} has ended: {}", self.pid(), self.output()))
    }

    /// The file with everything it wrote, standard output and standard error together.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What it has written until now.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Panics
    /// When the kernel does not know the process.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("the child is ours and not yet waited for");
        }
        self.ended
    }

    /// Sends a signal; a process that has ended does not mind.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            let pid = Pid::from_raw(self.child.id().cast_signed());
            // It may end between the look and the signal; its number stays its own until we wait for it.
            let _ended_meanwhile = kill(pid, signal);
        }
    }

    /// Asks it to end (TERM) and waits, at most ten seconds.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        crate::until(std::time::Duration::from_secs(10), "the process ends after TERM", || self.ended())
    }

    /// Kills it (KILL) and waits for its end.
    pub fn kill9(&mut self) -> ExitStatus {
        self.signal(Signal::SIGKILL);
        self.wait().unwrap_or_else(|_| ExitStatus::from_raw(Signal::SIGKILL as i32))
    }

    fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let status = self.child.wait()?;
        self.ended = Some(status);
        Ok(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}
