//! Docker's daemon, and its command line.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{EngineRoot, IMAGE_ARCHIVE, Release};
use crate::{Finished, Host, Netns, Process};

const READY_WITHIN: Duration = Duration::from_secs(40);
/// It first stops its containers, and gives each ten seconds.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// A Docker daemon in a host, on `/run/docker.sock`, with the image [`super::IMAGE`].
#[derive(Debug)]
pub struct Dockerd {
    setup: DockerdBuilder,
    process: Process,
}

/// How a Docker daemon is to be started.
#[derive(Debug, Clone)]
pub struct DockerdBuilder {
    root: EngineRoot,
    arguments: Vec<String>,
}

impl DockerdBuilder {
    /// One more argument, for example `--live-restore`.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// The content of `/etc/docker/daemon.json`.
    ///
    /// # Panics
    /// When the root cannot be written.
    #[must_use]
    #[track_caller]
    pub fn config(self, content: &Value) -> Self {
        self.root.write("/etc/docker/daemon.json", &content.to_string());
        self
    }

    /// Where it will run, for files that must be there before it starts.
    #[must_use]
    pub fn root(&self) -> &EngineRoot {
        &self.root
    }

    /// Starts it, waits until it answers, and gives it the image.
    ///
    /// # Panics
    /// When it ends instead, or does not answer within 40 seconds; with its log.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Dockerd {
        let process = self.launch();
        let mut docker = Dockerd { setup: self, process };
        docker.wait_until_ready();
        docker.run(&["load", "-i", IMAGE_ARCHIVE]);
        docker
    }

    /// Starts it without waiting for anything.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn launch(&self) -> Process {
        let mut words = vec!["dockerd"];
        words.extend(self.arguments.iter().map(String::as_str));
        self.root.spawn(&words)
    }
}

impl Dockerd {
    /// Starts a daemon with its defaults.
    ///
    /// # Panics
    /// When it does not get ready; with its log.
    #[must_use]
    #[track_caller]
    pub fn start(host: &Host, release: Release) -> Self {
        Self::builder(host, release).start()
    }

    /// A daemon that is still to be configured.
    #[must_use]
    #[track_caller]
    pub fn builder(host: &Host, release: Release) -> DockerdBuilder {
        Self::builder_in(&EngineRoot::new(host, release))
    }

    /// A daemon that is still to be configured, in a root that it shares with other engines.
    #[must_use]
    pub fn builder_in(root: &EngineRoot) -> DockerdBuilder {
        DockerdBuilder { root: root.clone(), arguments: Vec::new() }
    }

    /// The root it runs in.
    #[must_use]
    pub fn root(&self) -> &EngineRoot {
        &self.setup.root
    }

    /// Its socket, as the test can open it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root().path("/run/docker.sock")
    }

    /// Everything the running daemon has written.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Runs `docker` and gives its standard output, without the line's end.
    ///
    /// # Panics
    /// When it fails; with what it and the daemon said.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let finished = self.try_run(arguments);
        assert!(finished.success(), "{finished}\ndockerd said:\n{}", self.log());
        finished.stdout.trim_end().to_owned()
    }

    /// Runs `docker`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn try_run(&self, arguments: &[&str]) -> Finished {
        let mut words = vec!["docker"];
        words.extend_from_slice(arguments);
        self.root().try_run(&words)
    }

    /// Runs `docker` and reads the JSON that it prints: `inspect`, `network inspect`, or with `--format json`.
    ///
    /// # Panics
    /// When it fails or prints something else.
    #[must_use]
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.try_run(arguments).json()
    }

    /// Runs a shell script in a container and gives its standard output, without the line's end.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn exec(&self, container: &str, script: &str) -> String {
        self.run(&["exec", container, "sh", "-ec", script])
    }

    /// The network namespace of a running container.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    #[track_caller]
    pub fn netns(&self, container: &str) -> Netns {
        let pid = self.run(&["inspect", "--format", "{{.State.Pid}}", container]);
        match pid.parse() {
            Ok(pid) if pid != 0 => self.root().netns_of(pid),
            _ => panic!("the container {container} does not run (process {pid})"),
        }
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Kills it without a warning. What it started lives on (containers, its containerd).
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Asks it to end, which stops its containers first (unless `--live-restore`), and gives how it did.
    ///
    /// # Panics
    /// When it does not within 30 seconds.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.signal(Signal::SIGTERM);
        crate::until(ENDS_WITHIN, "dockerd ends after TERM", || self.process.ended())
    }

    /// Starts it again after its end, on the same data, and waits until it answers.
    ///
    /// # Panics
    /// When it does not get ready; with its log.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.process = self.setup.launch();
        self.wait_until_ready();
    }

    /// Ends it and starts it again.
    ///
    /// # Panics
    /// When it does not end or does not get ready.
    #[track_caller]
    pub fn restart(&mut self) {
        self.terminate();
        self.start_again();
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        crate::until(READY_WITHIN, "docker info answers", || {
            if let Some(status) = self.process.ended() {
                panic!("dockerd ended with {status}:\n{}", self.log());
            }
            let asked = self.try_run(&["info", "--format", "{{.ServerVersion}}"]);
            // A client that reaches no server still prints what it knows, and some versions call that success.
            if asked.success() && !asked.stdout.trim().is_empty() { Ok(()) } else { Err(self.log()) }
        });
    }
}
