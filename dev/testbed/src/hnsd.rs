//! The real daemon in a host.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;

use crate::{Api, Finished, Host, Process, program};

const READY_WITHIN: Duration = Duration::from_secs(20);

/// A daemon that runs in a host with state, run folder and socket of its own.
#[derive(Debug)]
pub struct Hnsd {
    setup: HnsdBuilder,
    process: Process,
}

/// How a daemon is to be started.
#[derive(Debug, Clone)]
pub struct HnsdBuilder {
    host: Host,
    folder: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    config: Option<String>,
}

impl HnsdBuilder {
    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The text of its configuration file (TOML).
    #[must_use]
    pub fn config(mut self, toml: impl Into<String>) -> Self {
        self.config = Some(toml.into());
        self
    }

    /// Keeps state, run folder and socket in a folder of this name, so that two daemons can run in one host.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.folder = self.host.folder().join(name);
        self
    }

    /// Starts it and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it ends instead, or is not ready within 20 seconds; with its log.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Hnsd {
        let process = self.launch();
        let mut hnsd = Hnsd { setup: self, process };
        hnsd.wait_until_ready();
        hnsd
    }

    /// Starts it without waiting for anything, for daemons that are expected to refuse.
    ///
    /// # Panics
    /// When the program is not built.
    #[must_use]
    #[track_caller]
    pub fn launch(&self) -> Process {
        std::fs::create_dir_all(&self.folder).expect("the host's folder can be written");
        let mut command = Command::new(program("hnsd"));
        command
            .arg("--state-dir")
            .arg(self.folder.join("state"))
            .arg("--run-dir")
            .arg(self.folder.join("run"))
            .arg("--socket")
            .arg(self.folder.join("hns.sock"));
        if let Some(text) = &self.config {
            let file = self.folder.join("hnsd.toml");
            std::fs::write(&file, text).expect("the host's folder can be written");
            command.arg("--config").arg(file);
        }
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        self.host.spawn_command(command)
    }
}

impl Hnsd {
    /// Starts a daemon with its defaults in `host`.
    ///
    /// # Panics
    /// When it does not get ready; with its log.
    #[must_use]
    #[track_caller]
    pub fn start(host: &Host) -> Self {
        Self::builder(host).start()
    }

    /// A daemon that is still to be configured.
    #[must_use]
    pub fn builder(host: &Host) -> HnsdBuilder {
        HnsdBuilder {
            folder: host.folder().join("hnsd"),
            host: host.clone(),
            arguments: Vec::new(),
            environment: Vec::new(),
            config: None,
        }
    }

    /// The host it runs in.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.setup.host
    }

    /// Its socket, under the same path inside and outside the host.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.setup.folder.join("hns.sock")
    }

    /// The folder with its database.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.setup.folder.join("state")
    }

    /// The folder with the namespaces that it makes (mounts in it are seen inside the host only; see [`Host::path`]).
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.setup.folder.join("run")
    }

    /// Its process number, as the test sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Everything the running daemon has written.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// The file that [`Hnsd::log`] reads.
    #[must_use]
    pub fn log_file(&self) -> &Path {
        self.process.log()
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Its resident memory in KiB.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    #[track_caller]
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        kib.unwrap_or_else(|| panic!("hnsd does not run: {}", self.log()))
    }

    /// Kills it without a warning; [`Hnsd::start_again`] starts it anew.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Asks it to end and gives how it did.
    ///
    /// # Panics
    /// When it does not within ten seconds.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate()
    }

    /// Starts it again after its end, on the same state, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready; with its log.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.process = self.setup.launch();
        self.wait_until_ready();
    }

    /// Starts it again with one more argument that the starts after this one do not have.
    ///
    /// # Panics
    /// When it does not get ready; with its log.
    #[track_caller]
    pub fn start_again_with(&mut self, argument: &str) {
        self.process = self.setup.clone().arg(argument).launch();
        self.wait_until_ready();
    }

    /// Starts it again in expectation of its refusal, and gives what it says.
    ///
    /// # Panics
    /// When it does not end, or ends well.
    #[must_use]
    #[track_caller]
    pub fn refuses_to_start_again(&mut self) -> String {
        self.process = self.setup.launch();
        let process = &mut self.process;
        let ended = crate::until(READY_WITHIN, "hnsd refuses to start", || process.ended());
        assert!(!ended.success(), "{}", self.log());
        self.log()
    }

    /// Ends it with TERM and starts it again.
    ///
    /// # Panics
    /// When it does not end cleanly or does not get ready.
    #[track_caller]
    pub fn restart(&mut self) {
        let status = self.terminate();
        assert!(status.success(), "hnsd ended with {status}:\n{}", self.log());
        self.start_again();
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let process = &mut self.process;
        let ready = crate::until(READY_WITHIN, "hnsd says ready", || {
            let log = process.output();
            match process.ended() {
                Some(status) => Some(Err(format!("hnsd ended with {status}:\n{log}"))),
                None if log.lines().any(says_ready) => Some(Ok(())),
                None => None,
            }
        });
        if let Err(why) = ready {
            panic!("{why}");
        }
    }

    /// A connection to its socket.
    ///
    /// # Panics
    /// When it does not listen.
    #[must_use]
    #[track_caller]
    pub fn api(&self) -> Api {
        Api::connect(&self.socket()).unwrap_or_else(|error| panic!("{error}; hnsd said:\n{}", self.log()))
    }

    /// Runs the real `hnsctl` in the host and gives its standard output.
    ///
    /// # Panics
    /// When it fails; with what it and the daemon said.
    #[track_caller]
    pub fn hnsctl(&self, arguments: &[&str]) -> String {
        let finished = self.try_hnsctl(arguments);
        assert!(finished.success(), "{finished}\nhnsd said:\n{}", self.log());
        finished.stdout
    }

    /// Runs the real `hnsctl` in the host with `-o json` and gives what it printed.
    ///
    /// # Panics
    /// When it fails or prints something else.
    #[must_use]
    #[track_caller]
    pub fn hnsctl_json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        // Behind a `--`, words belong to somebody else's command.
        let at = all.iter().position(|word| *word == "--").unwrap_or(all.len());
        all.splice(at..at, ["-o", "json"]);
        self.try_hnsctl(&all).json()
    }

    /// Runs the real `hnsctl` in the host.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn try_hnsctl(&self, arguments: &[&str]) -> Finished {
        self.try_hnsctl_by(&[], arguments)
    }

    /// Runs `hnsctl` as another user and group, by `setpriv`; `groups` is its option for the further groups.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn try_hnsctl_as(&self, user: &str, group: &str, groups: &str, arguments: &[&str]) -> Finished {
        let (user, group) = (format!("--reuid={user}"), format!("--regid={group}"));
        self.try_hnsctl_by(&["setpriv", &user, &group, groups], arguments)
    }

    #[track_caller]
    fn try_hnsctl_by(&self, starter: &[&str], arguments: &[&str]) -> Finished {
        let program = program("hnsctl").display().to_string();
        let socket = self.socket().display().to_string();
        self.host().try_run(&[starter, &[&program, "--socket", &socket], arguments].concat())
    }
}

/// The line `ready` or a sentence that begins with it; a log line that merely mentions the word is something else.
fn says_ready(line: &str) -> bool {
    line == "ready"
        || line.starts_with("ready ")
        || line.starts_with("hnsd ready")
        || line.starts_with("hnsd is ready")
}
