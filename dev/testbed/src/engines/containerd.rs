//! containerd, by its command line `ctr` and by the interface that Kubernetes uses.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::{Cri, EngineRoot, IMAGE_ARCHIVE, IMAGE_IN_FULL, Release};
use crate::{Finished, Host, Process};

const READY_WITHIN: Duration = Duration::from_secs(20);
/// Kubernetes' containers are a world of their own in containerd, with images of their own.
const NAMESPACES: [&str; 2] = ["default", "k8s.io"];

/// A containerd in a host, with the image [`super::IMAGE_IN_FULL`] also as what holds a pod.
///
/// It reads `/etc/cni/net.d` and runs plugins of `/opt/cni/bin`, where the usual ones are; [`EngineRoot::install`] puts
/// ours beside them.
#[derive(Debug)]
pub struct Containerd {
    root: EngineRoot,
    process: Process,
}

impl Containerd {
    /// Starts it in a root of its own.
    ///
    /// # Panics
    /// When it does not get ready; with its log.
    #[must_use]
    #[track_caller]
    pub fn start(host: &Host, release: Release) -> Self {
        Self::start_in(&EngineRoot::new(host, release))
    }

    /// Starts it in a root that is already there, with its network configuration for example.
    ///
    /// # Panics
    /// When it does not get ready; with its log.
    #[must_use]
    #[track_caller]
    pub fn start_in(root: &EngineRoot) -> Self {
        root.write("/etc/containerd/config.toml", &config(root.release()));
        let mut containerd = Self { root: root.clone(), process: root.spawn(&["containerd"]) };
        containerd.wait_until_ready();
        for namespace in NAMESPACES {
            containerd.ctr(&["--namespace", namespace, "images", "import", IMAGE_ARCHIVE]);
        }
        containerd
    }

    /// The root it runs in.
    #[must_use]
    pub fn root(&self) -> &EngineRoot {
        &self.root
    }

    /// Its socket, as the test can open it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root.path("/run/containerd/containerd.sock")
    }

    /// Everything the running daemon has written.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Runs `ctr` and gives its standard output, without the line's end. A container on the networks of `/etc/cni/net.d`:
    /// `run -d --cni IMAGE NAME`.
    ///
    /// # Panics
    /// When it fails; with what it and the daemon said.
    #[track_caller]
    pub fn ctr(&self, arguments: &[&str]) -> String {
        let finished = self.try_ctr(arguments);
        assert!(finished.success(), "{finished}\ncontainerd said:\n{}", self.log());
        finished.stdout.trim_end().to_owned()
    }

    /// Runs `ctr`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn try_ctr(&self, arguments: &[&str]) -> Finished {
        let mut words = vec!["ctr"];
        words.extend_from_slice(arguments);
        self.root.try_run(&words)
    }

    /// Its pods.
    #[must_use]
    pub fn cri(&self) -> Cri {
        Cri::new(self.root.clone(), self.socket())
    }

    /// Kills it without a warning. Its containers live on.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Asks it to end and gives how it did. Its containers live on.
    ///
    /// # Panics
    /// When it does not within ten seconds.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate()
    }

    /// Starts it again after its end, on the same data, and waits until it answers.
    ///
    /// # Panics
    /// When it does not get ready; with its log.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.process = self.root.spawn(&["containerd"]);
        self.wait_until_ready();
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        crate::until(READY_WITHIN, "ctr version answers", || {
            if let Some(status) = self.process.ended() {
                panic!("containerd ended with {status}:\n{}", self.log());
            }
            if self.try_ctr(&["version"]).success() { Ok(()) } else { Err(self.log()) }
        });
    }
}

/// A pod is held by the image that is there, as nothing can be pulled; and the bed may not touch the OOM killer's scores.
fn config(release: Release) -> String {
    match release {
        Release::Newest => format!(
            "version = 3
             [plugins.'io.containerd.cri.v1.images'.pinned_images]
             sandbox = '{IMAGE_IN_FULL}'
             [plugins.'io.containerd.cri.v1.runtime']
             restrict_oom_score_adj = true\n"
        ),
        Release::Oldest => format!(
            "version = 2
             [plugins.'io.containerd.grpc.v1.cri']
             sandbox_image = '{IMAGE_IN_FULL}'
             restrict_oom_score_adj = true\n"
        ),
    }
}
