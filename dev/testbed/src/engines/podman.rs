//! Podman: no daemon, so nothing runs until a command does.

use serde_json::Value;

use super::{EngineRoot, IMAGE_ARCHIVE, Release};
use crate::{Finished, Host, Netns};

/// Cgroups without systemd, and events without its journal; databases and locks are where they are by default.
const CONFIG: &str = r#"[containers]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
[network]
network_backend = "netavark"
"#;

/// Podman in a host, with the image [`super::IMAGE`].
///
/// It looks for netavark's plugins in `/usr/local/libexec/netavark`; [`EngineRoot::install`] puts ours there.
#[derive(Debug)]
pub struct Podman {
    root: EngineRoot,
}

impl Podman {
    /// Prepares Podman in `host` and gives it the image.
    ///
    /// # Panics
    /// When Podman fails.
    #[must_use]
    #[track_caller]
    pub fn new(host: &Host) -> Self {
        Self::new_in(&EngineRoot::new(host, Release::Newest))
    }

    /// The same in a root that it shares with other engines.
    ///
    /// # Panics
    /// When Podman fails.
    #[must_use]
    #[track_caller]
    pub fn new_in(root: &EngineRoot) -> Self {
        let podman = Self { root: root.clone() };
        podman.root.write("/etc/containers/containers.conf", CONFIG);
        podman.run(&["load", "-q", "-i", IMAGE_ARCHIVE]);
        podman
    }

    /// The root it runs in.
    #[must_use]
    pub fn root(&self) -> &EngineRoot {
        &self.root
    }

    /// Runs `podman` and gives its standard output, without the line's end.
    ///
    /// # Panics
    /// When it fails, with everything it said.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).expect_success().trim_end().to_owned()
    }

    /// Runs `podman`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn try_run(&self, arguments: &[&str]) -> Finished {
        // It would warn about every machine whose control groups are of version 1.
        let mut words = vec!["env", "PODMAN_IGNORE_CGROUPSV1_WARNING=1", "podman"];
        words.extend_from_slice(arguments);
        self.root.try_run(&words)
    }

    /// Runs `podman` and reads the JSON that it prints: `inspect`, `network inspect`, or with `--format json`.
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
            Ok(pid) if pid != 0 => self.root.netns_of(pid),
            _ => panic!("the container {container} does not run (process {pid})"),
        }
    }
}
