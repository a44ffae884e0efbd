use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use serde_json::Value;

use super::cgroups::Layout;
use super::error::ContainerError;
use super::private;
use super::record::{Containers, Record};

/// What a runtime that failed has to say is at the end of what it said.
const SAID_LENGTH_MAX: usize = 400;

/// An OCI runtime: crun or runc.
#[derive(Debug, Clone)]
pub struct Runtime {
    program: PathBuf,
    state: PathBuf,
    layout: Layout,
}

/// A container as its runtime sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// `created`, `running` or `stopped`.
    pub status: String,
    pub pid: Option<u32>,
}

impl Runtime {
    /// The runtime `chosen`, or the first that is installed. It is there, and is found again from any folder.
    pub fn find(chosen: Option<&Path>, containers: &Containers) -> Result<Self, ContainerError> {
        let program = match chosen {
            Some(chosen) => located(chosen)
                .ok_or_else(|| ContainerError::RuntimeMissing { program: chosen.to_owned() })?,
            None => ["crun", "runc"].iter().find_map(installed).ok_or(ContainerError::NoRuntime)?,
        };
        Ok(Self::at(program, containers))
    }

    /// The runtime that a container was started with, which need not be there any more.
    pub fn of(record: &Record, containers: &Containers) -> Result<Self, ContainerError> {
        if record.runtime.as_os_str().is_empty() {
            return Self::find(None, containers);
        }
        Ok(Self::at(record.runtime.clone(), containers))
    }

    fn at(program: PathBuf, containers: &Containers) -> Self {
        Self { program, state: containers.runtime_state(), layout: Layout::of_this_host() }
    }

    /// Fails where the runtime could not keep a container from the host's devices.
    pub fn check_device_control(&self) -> Result<(), ContainerError> {
        if self.layout.controls_devices() { Ok(()) } else { Err(ContainerError::NoDeviceControl) }
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts a container that outlives us; it writes to `log`.
    pub fn run_detached(&self, name: &str, bundle: &Path, log: &Path) -> Result<(), ContainerError> {
        let write_error = |source| ContainerError::Write { path: log.to_owned(), source };
        let out = private::create(log).map_err(write_error)?;
        let errors = out.try_clone().map_err(write_error)?;
        let mut command = self.command();
        command.args(["run", "--detach", "--bundle"]).arg(bundle).arg(name);
        command.stdin(Stdio::null()).stdout(out).stderr(errors);
        let status = self.layout.with_accepted_mounts(|| command.status())?;
        let status = status.map_err(|source| self.start_error(source))?;
        if status.success() {
            return Ok(());
        }
        Err(self.refusal("start", name, &fs::read(log).unwrap_or_default()))
    }

    /// Starts a container in our place: it has our standard streams, and `wait` gives its exit code.
    pub fn run_attached(
        &self,
        name: &str,
        bundle: &Path,
        has_terminal: bool,
    ) -> Result<Attached, ContainerError> {
        let mut command = self.command();
        command.args(["run", "--bundle"]).arg(bundle).arg(name);
        if !has_terminal {
            // The terminal's signals go to us alone, and we pass them on: otherwise one ^C would arrive twice.
            command.process_group(0);
        }
        let child = self.layout.with_accepted_mounts(|| command.spawn())?;
        Ok(Attached { child: child.map_err(|source| self.start_error(source))? })
    }

    /// What the runtime knows of the container; nothing when it knows none of this name.
    pub fn state(&self, name: &str) -> Result<Option<State>, ContainerError> {
        if !self.may_know(name) {
            return Ok(None);
        }
        let output = self.output(&["state", name])?;
        if !output.status.success() {
            return Ok(None);
        }
        let path = self.state.join(name);
        let state: Value = serde_json::from_slice(&output.stdout)
            .map_err(|source| ContainerError::Parse { path, source })?;
        let pid = state.get("pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
        Ok(Some(State {
            status: state.get("status").and_then(Value::as_str).unwrap_or("unknown").to_owned(),
            pid: pid.filter(|pid| *pid > 0),
        }))
    }

    /// Sends a signal to the container's first process. A container that has just ended is no error.
    pub fn kill(&self, name: &str, signal: &str) -> Result<(), ContainerError> {
        let output = self.output(&["kill", name, signal])?;
        if output.status.success() || self.state(name)?.is_none_or(|state| state.status != "running") {
            return Ok(());
        }
        Err(self.refusal("signal", name, &output.stderr))
    }

    /// Ends the container if it runs and forgets it.
    pub fn delete(&self, name: &str) -> Result<(), ContainerError> {
        if !self.may_know(name) {
            return Ok(());
        }
        let output = self.output(&["delete", "--force", name])?;
        if output.status.success() || self.state(name)?.is_none() {
            return Ok(());
        }
        Err(self.refusal("delete", name, &output.stderr))
    }

    /// A runtime has a folder for each container, from before it makes it until after it has removed it. Where there is
    /// none, nothing needs to be asked, and a runtime that cannot be started is in nobody's way.
    fn may_know(&self, name: &str) -> bool {
        self.state.join(name).exists()
    }

    fn output(&self, arguments: &[&str]) -> Result<Output, ContainerError> {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::null());
        let output = self.layout.with_accepted_mounts(|| command.output())?;
        output.map_err(|source| self.start_error(source))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.state);
        command
    }

    fn start_error(&self, source: io::Error) -> ContainerError {
        ContainerError::StartRuntime { program: self.program.clone(), source }
    }

    fn refusal(&self, verb: &'static str, name: &str, said: &[u8]) -> ContainerError {
        let said = String::from_utf8_lossy(said);
        let said = said.trim();
        let start = said.len().saturating_sub(SAID_LENGTH_MAX);
        let start = (start..=said.len()).find(|&place| said.is_char_boundary(place)).unwrap_or(0);
        ContainerError::Runtime {
            program: self.program.clone(),
            verb,
            name: name.to_owned(),
            said: said[start..].replace('\n', "; "),
        }
    }
}

/// A runtime that stays until its container has ended.
#[derive(Debug)]
pub struct Attached {
    child: Child,
}

impl Attached {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn wait(mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

/// Where a program is, as the shell finds it: by its path, or by its name alone.
fn located(program: &Path) -> Option<PathBuf> {
    if program.components().count() == 1 && !program.is_absolute() {
        return installed(program);
    }
    std::path::absolute(program).ok().filter(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn installed(name: impl AsRef<Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // System folders last, for a PATH that an unprivileged login has set.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    folders.map(|folder| folder.join(&name)).find(|program| is_program(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_there_before_anything_is_begun() {
        let containers = Containers::new("/nope/containers".into());
        for missing in ["/nope", "nope", "./nope", "/etc", "/etc/passwd"] {
            let found = Runtime::find(Some(Path::new(missing)), &containers);
            assert!(matches!(found, Err(ContainerError::RuntimeMissing { .. })), "{missing}: {found:?}");
        }
        let shell = Runtime::find(Some(Path::new("sh")), &containers).unwrap();
        assert!(shell.program().is_absolute(), "{shell:?}");
    }

    #[test]
    fn a_runtime_that_is_gone_is_not_asked_about_what_it_never_had() {
        let folder = tempfile::tempdir().unwrap();
        let containers = Containers::new(folder.path().to_owned());
        let record = Record { runtime: "/nope".into(), ..Record::default() };
        let gone = Runtime::of(&record, &containers).unwrap();
        assert_eq!(gone.state("web").unwrap(), None);
        gone.delete("web").unwrap();
        fs::create_dir_all(containers.runtime_state().join("web")).unwrap();
        assert!(matches!(gone.state("web"), Err(ContainerError::StartRuntime { .. })), "it may run");
        assert!(matches!(gone.delete("web"), Err(ContainerError::StartRuntime { .. })), "it may run");
    }
}
