//! Containers of `hnsctl run`: what they may do, and what others see of them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use hns_testbed::engines::IMAGE;
use hns_testbed::{Finished, needs};
use hns_tests::story_support::{DockerScene, Scene};
use serde_json::json;

/// A host with a network, and a root folder for containers.
struct Stage {
    scene: Scene,
    root: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let scene = Scene::new();
        scene.network("blue", 7, &[]);
        let root = scene.lab.folder().join("root");
        for folder in ["bin", "dev", "etc", "proc", "srv", "sys", "tmp"] {
            fs::create_dir_all(root.join(folder)).expect("a lab's folder can be written");
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        fs::copy(busybox.expect("./x installs it"), root.join("bin/busybox")).expect("the disk is not full");
        symlink("busybox", root.join("bin/sh")).expect("nothing is there yet");
        Self { scene, root }
    }

    fn run(&self, options: &[&str], command: &[&str]) -> Finished {
        let root = self.root.display().to_string();
        let words = [&["run", "--network", "blue"], options, &[&root, "--"], command].concat();
        self.scene.hnsd.try_hnsctl(&words)
    }

    /// What a shell prints in a container that lives for it alone.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        self.run(&[], &["sh", "-ec", script]).expect_success()
    }

    /// The folder of all containers, as the test reaches it.
    fn containers(&self) -> PathBuf {
        self.scene.host.path("/run/hns/containers")
    }
}

/// The program that says how system calls end.
fn build_probe(at: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("hnsctl_run/probe.c");
    let mut build = Command::new("clang");
    build.args(["-static", "-pthread", "-Wall", "-Werror", "-o"]).arg(at).arg(source);
    let output = build.output().expect("clang is one of the programs that ./x installs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What the probe is refused; everything else it does succeeds.
const REFUSED: [(&str, &str); 22] = [
    ("clone3", "ENOSYS"),
    ("clone user", "EPERM"),
    ("clone net", "EPERM"),
    ("unshare user", "EPERM"),
    ("unshare net", "EPERM"),
    ("setns", "EPERM"),
    ("mount", "EPERM"),
    ("umount", "EPERM"),
    ("fsopen", "EPERM"),
    ("pivot root", "EPERM"),
    ("keyctl", "EPERM"),
    ("add key", "EPERM"),
    ("bpf", "EPERM"),
    ("perf", "EPERM"),
    ("userfaultfd", "EPERM"),
    ("io_uring", "EPERM"),
    ("open by handle", "EPERM"),
    ("hypervisor socket", "EPERM"),
    ("kernel log", "EPERM"),
    ("host name", "EPERM"),
    ("clock", "EPERM"),
    ("personality of others", "EPERM"),
];

#[test]
fn system_calls_end_as_they_should() {
    needs!(root, "nft", "crun", "busybox", "clang");
    let stage = Stage::new();
    build_probe(&stage.root.join("bin/probe"));
    let said = stage.run(&[], &["/bin/probe"]).expect_success();
    let wrong = said.lines().filter(|line| {
        let (name, result) = line.split_once(": ").expect("a line is a name and a result");
        let refused = REFUSED.iter().find(|(one, _)| *one == name).map(|(_, error)| *error);
        result != refused.unwrap_or("ok")
    });
    let wrong: Vec<&str> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:?} of:\n{said}");
    assert_eq!(said.lines().count(), REFUSED.len() + 13, "{said}");
}

#[test]
fn ordinary_programs_work() {
    needs!(root, "nft", "crun", "busybox");
    let stage = Stage::new();
    let said = stage.sh("b=busybox; $b ping -c 1 -W 2 10.7.0.1 >/dev/null && $b echo pinged
        # The listener says nothing and stays until the other side has closed, whatever comes first.
        $b mkfifo /tmp/mute; $b nc -l -p 9 0<>/tmp/mute > /tmp/heard & $b sleep 0 # a job beside the shell
        until echo there | $b nc 127.0.0.1 9 >/dev/null; do :; done; wait; $b cat /tmp/heard
        $b ls -l /proc/self/exe >/dev/null; $b dd if=/dev/zero of=/dev/null bs=1 count=1 2>/dev/null
        $b head -c 4 /dev/urandom >/dev/null; $b touch /tmp/x; $b chown 7:7 /tmp/x; $b su -s /bin/sh -c true nobody || true
        $b echo done");
    assert_eq!(said, "pinged\nthere\ndone\n");
}

#[test]
fn a_container_has_dockers_capabilities_but_mknod_and_gains_none() {
    needs!(root, "nft", "crun", "busybox");
    let stage = Stage::new();
    let status = stage.sh("busybox cat /proc/self/status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap_or_else(|| panic!("no {name} in {status}"))
    };
    // CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT AUDIT_WRITE SETFCAP
    let expected = "00000000a00425fb";
    assert_eq!([field("CapEff"), field("CapPrm"), field("CapBnd")], [expected; 3]);
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1", "2"));
}

#[test]
fn a_container_reaches_no_device_but_its_own() {
    needs!(root, "nft", "crun", "busybox");
    let stage = Stage::new();
    // What an image cannot bring, a root folder can: the log of the host's kernel.
    let node = stage.root.join("srv/log").display().to_string();
    stage.scene.host.run(&["mknod", &node, "c", "1", "11"]);
    let tried = "for one in /srv/log /dev/null; do (: < $one) 2>/dev/null && echo $one; done; true";
    for (what, cgroups) in [
        ("as the host has them", ":"),
        ("with none mounted", "umount -R /sys/fs/cgroup"),
        ("with a place for them", "mount -t tmpfs tmpfs /sys/fs/cgroup"),
    ] {
        stage.scene.host.sh(cgroups);
        assert_eq!(stage.sh(tried), "/dev/null\n", "{what}");
    }
    let made = stage.run(&[], &["sh", "-c", "busybox mknod /srv/made c 1 11"]).expect_failure();
    assert!(made.contains("Operation not permitted"), "{made}");
}

#[test]
fn nothing_starts_where_devices_are_not_controlled() {
    needs!(root, "nft", "crun", "busybox");
    let stage = Stage::new();
    // A host of version 1 that has something, but not the controller for devices.
    stage
        .scene
        .host
        .sh("umount -R /sys/fs/cgroup; mount -t tmpfs tmpfs /sys/fs/cgroup; mkdir /sys/fs/cgroup/other
        mount -t cgroup -o none,name=hns-story cgroup /sys/fs/cgroup/other");
    let said = stage.run(&[], &["sh", "-c", "true"]).expect_failure();
    assert!(said.contains("this host cannot hold a container to its devices"), "{said}");
    assert!(said.contains("/sys/fs/cgroup/devices"), "{said}");
    assert!(!stage.containers().exists(), "nothing is begun");
}

#[test]
fn what_was_given_to_a_container_is_roots_alone() {
    needs!(root, "nft", "crun", "busybox");
    let stage = Stage::new();
    // Whatever the umask is.
    let root = stage.root.display().to_string();
    let hnsctl = format!(
        "umask 0; exec {} --socket {} run -d --name web --network blue -e PASSWORD=x {root} -- sh -c 'echo said; exec busybox sleep 1000'",
        hns_testbed::program("hnsctl").display(),
        stage.scene.hnsd.socket().display(),
    );
    stage.scene.host.sh(&hnsctl);
    let folder = stage.containers().join("web");
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o7777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&stage.containers().join(".runtime")), 0o700);
    for name in ["config.json", "record.json", "log"] {
        let file = folder.join(name);
        assert_eq!((mode(&file), file.metadata().expect("it is there").uid()), (0o600, 0), "{name}");
    }
    // Inside, a user who is not root resolves names, too.
    assert_eq!(mode(&folder.join("etc/resolv.conf")), 0o644);
    stage.scene.hnsd.hnsctl(&["stop", "-t", "0", "web"]);
}

#[test]
fn a_runtime_that_cannot_be_started_leaves_nothing_behind() {
    needs!(root, "nft", "crun", "busybox");
    let stage = Stage::new();
    let hnsd = &stage.scene.hnsd;
    // One that is there by name, and that the kernel cannot start.
    let broken = stage.root.join("broken");
    fs::write(&broken, "#!/nope\n").expect("the disk is not full");
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).expect("it is ours");
    for runtime in ["/nope", "nope", &broken.display().to_string(), "/bin/false"] {
        for detach in [&[][..], &["-d"]] {
            let options = [&["--name", "web", "--runtime", runtime], detach].concat();
            assert!(!stage.run(&options, &["sh", "-c", "true"]).success(), "{runtime}");
            assert_eq!(hnsd.hnsctl_json(&["ps"]), json!([]), "{runtime}");
            assert_eq!(hnsd.hnsctl_json(&["endpoint", "ls"]), json!([]), "{runtime}");
            assert_eq!(hnsd.hnsctl_json(&["namespace", "ls"]), json!([]), "{runtime}");
        }
    }
    // A runtime that was there and is no longer: the others are shown and stopped as ever.
    let own = stage.root.join("crun").display().to_string();
    stage.scene.host.sh(&format!("cp $(command -v crun) {own}"));
    let sleep = ["sh", "-c", "exec busybox sleep 1000"];
    for options in [&["-d", "--name", "orphan", "--runtime", &own][..], &["-d", "--name", "web"]] {
        assert_eq!(stage.run(options, &sleep).expect_success().trim_end(), options[2]);
    }
    fs::rename(&own, format!("{own}.away")).expect("it is ours");
    let shown = hnsd.hnsctl_json(&["ps"]);
    let states: Vec<_> =
        [0, 1].map(|place| (shown[place]["Name"].clone(), shown[place]["State"].clone())).into();
    assert_eq!(states, [(json!("orphan"), json!("unknown")), (json!("web"), json!("running"))]);
    hnsd.hnsctl(&["stop", "-t", "0", "web"]);
    assert!(
        !hnsd.try_hnsctl(&["stop", "-t", "0", "orphan"]).success(),
        "it may run, so that it is not forgotten"
    );
    fs::rename(format!("{own}.away"), &own).expect("it is ours");
    hnsd.hnsctl(&["stop", "-t", "0", "orphan"]);
    assert_eq!(hnsd.hnsctl_json(&["ps"]), json!([]));
}

#[test]
fn docker_refuses_the_same_system_calls() {
    needs!(root, engines, "nft", "crun", "busybox", "clang");
    let docker = DockerScene::newest();
    build_probe(&docker.docker.root().path("/probe"));
    let volume = "/probe:/bin/probe:ro";
    let said = docker.docker.run(&["run", "--rm", "--network", "none", "-v", volume, IMAGE, "/bin/probe"]);
    let refused: Vec<(&str, &str)> =
        said.lines().filter_map(|line| line.split_once(": ")).filter(|(_, result)| *result != "ok").collect();
    assert_eq!(refused, REFUSED);
}

#[test]
fn a_container_is_held_to_the_rules_it_is_started_with() {
    needs!(root, "nft", "crun", "busybox");
    let stage = Stage::new();
    let ping = ["busybox", "ping", "-c", "1", "-W", "2", "10.7.0.1"];
    assert!(stage.run(&[], &ping).success());
    let rules = ["--acl", "out block icmp to 10.7.0.1 prio 1", "--acl", "out allow", "--acl", "in allow"];
    let blocked = stage.run(&rules, &ping);
    assert!(!blocked.success() && blocked.stdout.contains("100% packet loss"), "{blocked}");
    let wrong = stage.run(&["--acl", "out blok"], &ping);
    assert!(wrong.status.code() == Some(2) && wrong.stderr.contains("not with \"out blok\""), "{wrong}");
}

/// On the LAN, by a bridge that the host's administrator has made.
#[test]
fn a_container_runs_on_a_bridge_of_the_administrators() {
    needs!(root, "nft", "crun", "busybox");
    let stage = Stage::new();
    stage.scene.host.bridge_adapter("CORP");
    let place = ["run", "--network", "CORP", "--ip", "198.18.0.150", "--ip", "fd00:198:18::150"];
    let script = "busybox ping -c1 -W5 198.18.0.254 && busybox ping -6 -c1 -W5 fd00:198:18::fe";
    let root = stage.root.display().to_string();
    let ran = || {
        let words = [&place[..], &[&root, "--", "sh", "-ec", script]].concat();
        stage.scene.hnsd.try_hnsctl(&words)
    };
    hns_testbed::eventually!(ran().success());
}
