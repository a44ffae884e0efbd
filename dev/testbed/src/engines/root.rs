//! A root folder with an engine's programs, and programs that run in it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};

use super::cgroups;
use crate::{Finished, Host, Netns, Process, program};

/// Which of the unpacked suites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Debian 12: dockerd 20.10, containerd 1.6.
    Oldest,
    /// The newest suite: dockerd 28, containerd 2, podman 5.
    Newest,
}

impl Release {
    fn folder(self) -> PathBuf {
        folder().join(match self {
            Self::Oldest => "oldest",
            Self::Newest => "newest",
        })
    }
}

/// The folder that `dev/engines/fetch` fills.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("dev/testbed lies two steps down")
        .join("target/engines")
}

/// Builds the root in a new mount namespace, moves into it, and holds it.
///
/// - The first mount stops passing its mounts to the host (and goes on taking the host's), while `/run`, a mount of its
///   own, stays what it is: the host's, both ways.
/// - `pivot_root`, not `chroot`: container runtimes use it themselves, and the kernel refuses that in a chroot.
/// - Each tree of control groups begins at a group of this host, in a cgroup namespace, so that what is left there can be
///   found.
/// - The old tree is made private before it goes: taking `/run` and `/sys` off it must not take them off the host.
const ROOT: &str = r#"
set -e
lower=$1; group=$2; shift 2
mount --make-slave /
mount -t tmpfs -o mode=755 tmpfs /mnt
cd /mnt
mkdir upper work data root
mount -t overlay -o lowerdir="$lower",upperdir=/mnt/upper,workdir=/mnt/work overlay root
for folder in proc sys dev; do mount --rbind /$folder root/$folder; mount --make-rslave root/$folder; done
mount --rbind /run root/run
# A tree that lies hidden under a later mount is listed once more under the same name.
for tree in $(awk '/ - cgroup2? / && $5 ~ "^/sys/fs/cgroup" { print $5 }' /proc/self/mountinfo | sort -u); do
    mkdir -p "$tree/$group"
    for file in cpuset.cpus cpuset.mems; do
        [ ! -e "$tree/$file" ] || cat "$tree/$file" > "$tree/$group/$file"
    done
    echo $$ > "$tree/$group/cgroup.procs"
    mount --bind "$tree/$group" "root$tree"
    mount --make-slave "root$tree"
done
for folder in "$@"; do mkdir -p "root$folder"; mount --rbind "$folder" "root$folder"; done
for name in docker containerd containers cni; do
    mkdir -p data/$name root/var/lib/$name; mount --bind data/$name root/var/lib/$name
done
cd root
pivot_root . mnt/old
cd /
mount --make-rprivate /mnt/old
umount -l /mnt/old
mount --make-shared /
exec unshare --cgroup sh -c 'echo ready; exec sleep infinity'
"#;

/// Search path and home of everything in an engine's root.
const ENVIRONMENT: [(&str, &str); 2] =
    [("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/root")];

/// A root folder of its own in a host; clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct EngineRoot {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: Host,
    release: Release,
    /// Keeps the mount namespace alive while no engine runs in it.
    holder: Process,
}

impl EngineRoot {
    /// Makes a root with the programs of `release` in `host`.
    ///
    /// # Panics
    /// When the engines are not there; say `needs!(root, engines)` first.
    #[must_use]
    #[track_caller]
    pub fn new(host: &Host, release: Release) -> Self {
        let programs = program("hnsd").parent().expect("a program lies in a folder").to_owned();
        let lab = host.folder().parent().expect("a host's folder lies in its lab's").to_owned();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "unchanged", "sh", "-c", ROOT, "engine-root"]);
        command.arg(release.folder()).arg(cgroups::name(host.folder())).args([lab, programs]);
        let mut holder = host.spawn_command(command);
        crate::eventually!({
            let said = holder.output();
            assert!(holder.ended().is_none(), "the engine's root cannot be made:\n{said}");
            said.trim_end().ends_with("ready")
        });
        Self { inner: Arc::new(Inner { host: host.clone(), release, holder }) }
    }

    /// The host it is in.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.inner.host
    }

    /// Where its programs come from.
    #[must_use]
    pub fn release(&self) -> Release {
        self.inner.release
    }

    /// The process that holds it, as the test sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.inner.holder.pid()
    }

    /// A path inside the root, as the test can open it.
    #[must_use]
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        Path::new("/proc")
            .join(self.pid().to_string())
            .join("root")
            .join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Writes a file inside the root, with the folders above it.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        let above = path.parent().expect("a file lies in a folder");
        let written = std::fs::create_dir_all(above).and_then(|()| std::fs::write(&path, text));
        written.unwrap_or_else(|error| panic!("{inside}: {error}"));
    }

    /// Puts the built program `name` of this workspace at `inside`, for example `/opt/cni/bin/hns-cni`.
    ///
    /// # Panics
    /// When it is not built, or something is there already.
    #[track_caller]
    pub fn install(&self, name: &str, inside: &str) {
        let program = program(name);
        let path = self.path(inside);
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder"))
            .expect("the root can be written");
        std::os::unix::fs::symlink(&program, &path).unwrap_or_else(|error| panic!("{inside}: {error}"));
    }

    /// Runs `work` on a thread that is inside the root; programs it starts are in the host's pid namespace.
    ///
    /// # Panics
    /// When the host has died, or `work` panics.
    #[track_caller]
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let path = format!("/proc/{}/ns/mnt", self.pid());
        let mounts = File::open(&path).unwrap_or_else(|error| panic!("the root is gone: {path}: {error}"));
        let groups = File::open(format!("/proc/{}/ns/cgroup", self.pid())).expect("as above");
        self.host().inside(move || {
            setns(groups, CloneFlags::CLONE_NEWCGROUP).expect("entering a namespace takes only root");
            setns(mounts, CloneFlags::CLONE_NEWNS).expect("entering a namespace takes only root");
            work()
        })
    }

    /// Runs a program to its end and gives its standard output.
    ///
    /// # Panics
    /// When it fails, with everything it said.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> String {
        self.try_run(words).expect_success()
    }

    /// Runs a program to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn try_run(&self, words: &[&str]) -> Finished {
        let text = format!("{}: {}", self.host().name(), words.join(" "));
        let mut command = command(words);
        command.stdin(Stdio::null());
        let output = self.inside(move || command.output());
        Finished::new(text.clone(), output.unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    /// Runs a shell script that stops at its first error, and gives its standard output.
    ///
    /// # Panics
    /// When it fails, with everything it said.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.run(&["sh", "-ec", script])
    }

    /// Starts a program in the root; it is killed when the handle is dropped.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn(&self, words: &[&str]) -> Process {
        let log = self.host().new_log(words.first().expect("a program has a name"));
        let file = File::create(&log).expect("the host's folder can be written");
        let second = file.try_clone().expect("a file has two handles");
        let mut command = command(words);
        command.stdin(Stdio::null()).stdout(file).stderr(second);
        let text = format!("{}: {}", self.host().name(), words.join(" "));
        let child = self.inside(move || command.spawn());
        Process::new(self.host().clone(), child.unwrap_or_else(|error| panic!("{text}: {error}")), log)
    }

    /// The network namespace of a process, given by its number in the host.
    ///
    /// # Panics
    /// When there is no such process.
    #[must_use]
    #[track_caller]
    pub(super) fn netns_of(&self, pid_in_host: u64) -> Netns {
        self.host().netns_at(format!("/proc/{pid_in_host}/ns/net"))
    }
}

fn command(words: &[&str]) -> Command {
    let (program, arguments) = words.split_first().expect("a program has a name");
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(ENVIRONMENT);
    command
}
