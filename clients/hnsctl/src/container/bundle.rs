use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::error::ContainerError;
use super::private;
use super::seccomp;
use super::user::User;

/// What Docker gives to a container by default, but for `CAP_MKNOD`: a container has its devices already.
const CAPABILITIES: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Parts of `/proc` and `/sys` that tell about the host, or reach it.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Character devices that a container may use: what a runtime puts into `/dev`. Of 136 each is a terminal of its own.
const DEVICES: [(&str, u32, Option<u32>); 9] = [
    ("null", 1, Some(3)),
    ("zero", 1, Some(5)),
    ("full", 1, Some(7)),
    ("random", 1, Some(8)),
    ("urandom", 1, Some(9)),
    ("tty", 5, Some(0)),
    ("console", 5, Some(1)),
    ("ptmx", 5, Some(2)),
    ("pts", 136, None),
];

/// Everything that goes into an OCI bundle's `config.json`.
#[derive(Debug)]
pub struct BundleSpec<'a> {
    pub name: &'a str,
    pub root: &'a Path,
    pub command: &'a [String],
    pub environment: &'a [String],
    pub working_dir: &'a str,
    pub user: User,
    /// The network namespace that the daemon made.
    pub network_namespace: &'a Path,
    /// The folder of resolv.conf, hosts and hostname.
    pub etc: &'a Path,
    pub has_terminal: bool,
}

impl BundleSpec<'_> {
    pub fn write(&self, bundle: &Path) -> Result<(), ContainerError> {
        let path = bundle.join("config.json");
        private::write(&path, &format!("{:#}\n", self.to_json()))
            .map_err(|source| ContainerError::Write { path, source })
    }

    fn to_json(&self) -> Value {
        json!({
            "ociVersion": "1.0.2",
            "hostname": self.name,
            "root": {"path": self.root, "readonly": false},
            "process": {
                "terminal": self.has_terminal,
                "user": {"uid": self.user.uid, "gid": self.user.gid},
                "args": self.command,
                "env": self.environment,
                "cwd": self.working_dir,
                "capabilities": self.capabilities(),
                // A setuid program of the image runs as who starts it.
                "noNewPrivileges": true,
            },
            "mounts": self.mounts(),
            "linux": {
                "namespaces": [
                    {"type": "pid"},
                    {"type": "ipc"},
                    {"type": "uts"},
                    {"type": "mount"},
                    {"type": "network", "path": self.network_namespace},
                ],
                "cgroupsPath": format!("/hns-{}", self.name),
                "resources": {"devices": device_rules()},
                "seccomp": seccomp::profile(),
                "maskedPaths": MASKED,
                "readonlyPaths": READ_ONLY,
            },
        })
    }

    /// Another user than root starts with none in effect.
    fn capabilities(&self) -> Value {
        let in_effect: &[&str] = if self.user.uid == 0 { CAPABILITIES } else { &[] };
        json!({"bounding": CAPABILITIES, "permitted": in_effect, "effective": in_effect})
    }

    fn mounts(&self) -> Vec<Value> {
        let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
        let file = |name: &str| {
            let source: PathBuf = self.etc.join(name);
            json!({"destination": format!("/etc/{name}"), "type": "bind", "source": source,
                "options": ["rbind", "rprivate"]})
        };
        vec![
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount(
                "/dev/pts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            file("resolv.conf"),
            file("hosts"),
            file("hostname"),
        ]
    }
}

/// No device, then those that are known.
fn device_rules() -> Vec<Value> {
    let known = DEVICES.iter().map(|(_, major, minor)| {
        let mut rule = json!({"allow": true, "type": "c", "major": major, "access": "rwm"});
        if let Some(minor) = minor {
            rule["minor"] = json!(minor);
        }
        rule
    });
    std::iter::once(json!({"allow": false, "access": "rwm"})).chain(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec<'a>(command: &'a [String], user: User) -> BundleSpec<'a> {
        BundleSpec {
            name: "web",
            root: Path::new("/srv/root"),
            command,
            environment: &[],
            working_dir: "/",
            user,
            network_namespace: Path::new("/run/hns/netns/9E3A"),
            etc: Path::new("/run/hns/containers/web/etc"),
            has_terminal: false,
        }
    }

    #[test]
    fn a_container_joins_the_namespace_of_the_daemon_and_no_other() {
        let command = ["httpd".to_owned(), "-f".to_owned()];
        let config = spec(&command, User::default()).to_json();
        let namespaces = config["linux"]["namespaces"].as_array().expect("a list");
        let with_path: Vec<_> = namespaces.iter().filter(|one| one.get("path").is_some()).collect();
        assert_eq!(with_path, [&json!({"type": "network", "path": "/run/hns/netns/9E3A"})]);
        assert_eq!(config["process"]["args"], json!(["httpd", "-f"]));
        assert_eq!(config["root"]["path"], "/srv/root");
    }

    #[test]
    fn only_root_starts_with_capabilities() {
        let root = spec(&[], User::default()).capabilities();
        assert_eq!(root["effective"].as_array().map(Vec::len), Some(13));
        let other = spec(&[], User { uid: 33, gid: 33 }).capabilities();
        assert_eq!(other["effective"], json!([]));
        assert_eq!(other["bounding"], root["bounding"]);
    }
}
