//! A host: one network, mount and pid namespace, held by a first process that ends with the test.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns, unshare};

use crate::lab::Scratch;
use crate::{Finished, Netns, Process};

/// What the first process of a host does. It tells its number while `/proc` is still the machine's, then waits for the
/// end of its input: the kernel closes that when the test ends, however it ends, and with the first process of a pid
/// namespace everything in it dies. The shell stays (no `exec`) because a first process must reap orphans.
const INIT: &str = r#"
read -r pid rest < /proc/self/stat
mkdir -p "$1/cgroup"
mount --rbind /sys/fs/cgroup "$1/cgroup"
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount --rbind "$1/cgroup" /sys/fs/cgroup
umount -l "$1/cgroup"
# Container runtimes take a v2 tree inside a v1 tree for a broken v2.
umount -l /sys/fs/cgroup/unified 2>/dev/null
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/netns
mount --make-rshared /
echo 0 > /proc/sys/net/ipv6/conf/all/accept_ra
for c in all default; do echo 0 > /proc/sys/net/ipv6/conf/$c/accept_dad; echo 0 > /proc/sys/net/ipv6/conf/$c/accept_ra; done
ip link set lo up
echo "$pid"
cat > /dev/null
exit 0
"#;

/// A host of the lab; clones are handles on the same host.
#[derive(Debug, Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
}

#[derive(Debug)]
struct Inner {
    name: String,
    addresses: Option<Addresses>,
    /// `unshare`, whose child is the host's first process.
    holder: Child,
    pid: u32,
    netns: Netns,
    folder: PathBuf,
    logs: AtomicU32,
    /// Outlives the host, because the host's programs write there.
    _scratch: Arc<Scratch>,
}

impl Host {
    #[track_caller]
    pub(crate) fn boot(scratch: &Arc<Scratch>, name: &str, addresses: Option<Addresses>) -> Self {
        let folder = scratch.path().join(name);
        std::fs::create_dir(&folder)
            .unwrap_or_else(|error| panic!("host {name}: {error}; is the name taken?"));
        let mut holder = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--propagation",
                "private",
                "sh",
                "-c",
                INIT,
                "init",
            ])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is part of every distribution (util-linux)");
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("it was asked for");
        BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
        let pid = line.trim().parse().unwrap_or_else(|_| panic!("host {name} did not start; is this root?"));
        let netns = Netns::open(format!("/proc/{pid}/ns/net")).expect("the host has just told its number");
        let scratch = Arc::clone(scratch);
        let logs = AtomicU32::new(0);
        let name = name.to_owned();
        let inner = Inner { name, addresses, holder, pid, netns, folder, logs, _scratch: scratch };
        Self { inner: Arc::new(inner) }
    }

    /// The name given to it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its address on the LAN.
    ///
    /// # Panics
    /// For a host without a cable.
    #[must_use]
    #[track_caller]
    pub fn v4(&self) -> Ipv4Addr {
        self.inner.addresses.expect("a host on the LAN").v4
    }

    /// Its IPv6 address on the LAN.
    ///
    /// # Panics
    /// For a host without a cable.
    #[must_use]
    #[track_caller]
    pub fn v6(&self) -> Ipv6Addr {
        self.inner.addresses.expect("a host on the LAN").v6
    }

    /// Both addresses on the LAN, for tests that go through the families.
    ///
    /// # Panics
    /// For a host without a cable.
    #[must_use]
    #[track_caller]
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4().into(), self.v6().into()]
    }

    /// Puts its adapter into a new bridge of this name, as an administrator does it: its addresses move there.
    ///
    /// # Panics
    /// For a host without a cable, and when the kernel refuses.
    #[track_caller]
    pub fn bridge_adapter(&self, bridge: &str) {
        let (v4, v6) = (self.v4(), self.v6());
        self.sh(&format!(
            "ip link add {bridge} type bridge
             ip -6 route delete default || true; ip addr flush dev eth0; ip link set eth0 master {bridge}
             ip addr add {v4}/24 dev {bridge}; ip addr add {v6}/64 dev {bridge} nodad
             ip link set {bridge} up
             ip route add default via 198.18.0.254; ip -6 route add default via fd00:198:18::fe"
        ));
        crate::eventually!(within 5 s, self.ping([198, 18, 0, 254]));
    }

    /// A folder of its own, under the same path inside and outside.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// The number of its first process, as the test sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.inner.pid
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> Netns {
        self.inner.netns.clone()
    }

    /// A path inside the host, as the test can open it.
    #[must_use]
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        Path::new("/proc")
            .join(self.pid().to_string())
            .join("root")
            .join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// A network namespace that has a name inside the host, for example `/run/netns/web`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn netns_at(&self, inside: impl AsRef<Path>) -> Netns {
        let path = self.path(&inside);
        Netns::open(path).unwrap_or_else(|error| {
            panic!("host {}: network namespace {}: {error}", self.name(), inside.as_ref().display())
        })
    }

    /// Makes an empty network namespace, `/run/netns/NAME` in the host: a container as its runtime leaves it.
    ///
    /// # Panics
    /// When the name is taken.
    #[must_use]
    #[track_caller]
    pub fn add_netns(&self, name: &str) -> Netns {
        self.sh(&format!("ip netns add {name} && ip -n {name} link set lo up"));
        self.netns_at(Path::new("/run/netns").join(name))
    }

    /// Runs `work` on a thread that is inside the host: its network, its mounts; programs it starts are in its pid
    /// namespace.
    ///
    /// # Panics
    /// When the host has died, or `work` panics.
    #[track_caller]
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let pid = self.pid();
        let open = move |kind: &str| {
            let path = format!("/proc/{pid}/ns/{kind}");
            File::open(&path).unwrap_or_else(|error| panic!("the host has died: {path}: {error}"))
        };
        self.inner.netns.enter(move || {
            let (mounts, pids) = (open("mnt"), open("pid"));
            // A thread that shares its root folder with others may not change its mounts.
            unshare(CloneFlags::CLONE_FS).expect("always possible for a thread");
            setns(pids, CloneFlags::CLONE_NEWPID).expect("entering a namespace takes only root");
            setns(mounts, CloneFlags::CLONE_NEWNS).expect("entering a namespace takes only root");
            work()
        })
    }

    /// A program that will run in the host, for callers who set its input or environment.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid().to_string(), "--net", "--mount", "--pid", "--"]).arg(program);
        command
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
        let (program, arguments) = words.split_first().expect("a program has a name");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let text = format!("{}: {}", self.name(), words.join(" "));
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

    /// Runs a shell script.
    #[must_use]
    #[track_caller]
    pub fn try_sh(&self, script: &str) -> Finished {
        self.try_run(&["sh", "-c", script])
    }

    /// Runs a script in the host's network but among the machine's processes, whose numbers it can then name.
    #[track_caller]
    pub(crate) fn sh_outside(&self, script: &str) {
        let output = self.inner.netns.command("sh").args(["-ec", script]).output();
        let output = output.expect("nsenter is part of every distribution (util-linux)");
        let _nothing_said = Finished::new(format!("{}: {script}", self.name()), output).expect_success();
    }

    /// Starts a program in the host; it is killed when the handle is dropped.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn(&self, words: &[&str]) -> Process {
        let (program, arguments) = words.split_first().expect("a program has a name");
        let mut command = Command::new(program);
        command.args(arguments);
        self.spawn_command(command)
    }

    /// Starts a prepared program (made by [`Command::new`], not by [`Host::command`]) in the host. Standard output and
    /// standard error go to one file.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn_command(&self, mut command: Command) -> Process {
        let log = self.new_log(command.get_program());
        let file = File::create(&log).expect("the host's folder can be written");
        let second = file.try_clone().expect("a file has two handles");
        let text = format!("{}: {command:?}", self.name());
        command.stdin(Stdio::null()).stdout(file).stderr(second);
        let child = self.inside(move || command.spawn());
        Process::new(self.clone(), child.unwrap_or_else(|error| panic!("{text}: {error}")), log)
    }

    /// A file of its own for what a program says.
    pub(crate) fn new_log(&self, program: impl AsRef<std::ffi::OsStr>) -> PathBuf {
        let program = Path::new(program.as_ref()).file_name().unwrap_or_default().to_string_lossy();
        let number = self.inner.logs.fetch_add(1, Ordering::Relaxed);
        self.folder().join(format!("{number}-{program}.log"))
    }

    /// Whether one echo request to `address` is answered within a second.
    #[must_use]
    #[track_caller]
    pub fn ping(&self, address: impl Into<IpAddr>) -> bool {
        self.inner.netns.ping(address)
    }

    /// Names of all links, sorted.
    #[must_use]
    #[track_caller]
    pub fn links(&self) -> Vec<String> {
        let mut names: Vec<String> = self.netns().enter(link_names);
        names.sort();
        names
    }
}

/// The names in the calling thread's network namespace (`/proc/net` would be the process's).
fn link_names() -> Vec<String> {
    let interfaces = nix::net::if_::if_nameindex().expect("every namespace lists its links");
    interfaces.iter().map(|interface| interface.name().to_string_lossy().into_owned()).collect()
}

impl Drop for Inner {
    fn drop(&mut self) {
        // End of input ends the first process, and `unshare` returns when everything in the host is dead.
        drop(self.holder.stdin.take());
        let _status_is_of_no_use = self.holder.wait();
        crate::engines::remove_cgroups(&self.folder);
    }
}
