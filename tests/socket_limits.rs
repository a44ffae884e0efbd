//! Who floods the daemon's socket harms nobody but itself: root, Docker and repair go on, and no memory grows.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use hns_testbed::{Finished, Hnsd, Host, Lab, Process, eventually, needs, program};

/// Connections of each kind, by each user.
const CONNECTIONS: usize = 2_000;
/// What a flood may add to the memory of the daemon.
const MEMORY_KIB: u64 = 20 << 10;
/// How many connections a user has (`USER_MAX` in service/server/src/seats.rs).
const USER_MAX: usize = 64;
/// How often everything is tried amid a flood.
const TRIES: usize = 20;

const STRANGER: &str = "4003";
const READER: &str = "4002";
const OTHER_READER: &str = "4004";

/// A host with users of its own, and a daemon whose socket everybody may connect to, since it has a group of readers.
struct Stage {
    hnsd: Hnsd,
    host: Host,
    _lab: Lab,
}

impl Stage {
    #[track_caller]
    fn new() -> Self {
        let lab = Lab::new();
        let host = lab.island("host");
        let passwd = format!(
            "root:x:0:0::/root:/bin/sh\nreader:x:{READER}:{READER}::/:/bin/sh\n\
             nobody:x:{STRANGER}:{STRANGER}::/:/bin/sh\nother:x:{OTHER_READER}:{OTHER_READER}::/:/bin/sh\n"
        );
        let folder = lab.folder();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text);
        write("passwd", &passwd).expect("the lab's folder can be written");
        write("group", "root:x:0:\nhns:x:4100:\nhns-read:x:4200:reader,other\n")
            .expect("the lab's folder can be written");
        let folder = folder.display();
        host.sh(&format!("mount --bind {folder}/passwd /etc/passwd; mount --bind {folder}/group /etc/group"));
        let hnsd = Hnsd::start(&host);
        Self { hnsd, host, _lab: lab }
    }

    /// `hnsctl network ls` by a user.
    fn look_as(&self, user: &str) -> Finished {
        self.hnsd.try_hnsctl_as(user, user, "--clear-groups", &["network", "ls"])
    }

    /// A flood by a user, which has begun.
    #[track_caller]
    fn flood(&self, user: &str, count: usize, kind: &str) -> Process {
        let (flood, socket) = (program("hns-flood"), self.hnsd.socket());
        let script = format!(
            "ulimit -n 8192; exec setpriv --reuid={user} --regid={user} --clear-groups {} {} {count} {kind}",
            flood.display(),
            socket.display()
        );
        let mut process = self.host.spawn(&["sh", "-ec", &script]);
        hns_testbed::until(Duration::from_secs(60), "the flood begins", || match process.ended() {
            Some(status) => panic!("{status}: {}", process.output()),
            None if process.output().contains("flooding") => Ok(()),
            None => Err("not yet"),
        });
        process
    }

    /// One call of Docker's, and its answer.
    #[track_caller]
    fn docker(&self, method: &str) -> String {
        let socket = self.host.path("/run/docker/plugins/nat.sock");
        post(&socket, method).unwrap_or_else(|error| panic!("{method}: {error}\n{}", self.hnsd.log()))
    }

    /// Everything that must go on goes on; how long it took.
    #[track_caller]
    fn goes_on(&self) -> [Vec<Duration>; 3] {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..TRIES {
            times[0].push(timed(|| assert!(self.hnsd.hnsctl(&["network", "ls"]).contains("nat"))));
            times[1].push(timed(|| {
                assert!(self.docker("Plugin.Activate").contains("NetworkDriver"));
                assert!(self.docker("NetworkDriver.GetCapabilities").contains("local"));
            }));
        }
        times[2].push(timed(|| {
            self.host.sh("nft delete table inet hns");
            eventually!(self.host.try_sh("nft list table inet hns").success());
        }));
        times
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

fn post(socket: &Path, method: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let head =
        format!("POST /{method} HTTP/1.1\r\nHost:\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}");
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Prints the middle and the longest of each, for whoever runs the story with its output shown.
#[expect(clippy::print_stderr, reason = "a test's output is where its measurements belong")]
fn report(what: &str, times: [Vec<Duration>; 3]) {
    for (name, mut times) in
        ["hnsctl network ls", "Docker's two calls", "the table repaired"].iter().zip(times)
    {
        times.sort_unstable();
        let (middle, longest) = (times[times.len() / 2], times[times.len() - 1]);
        eprintln!("{what}: {name}: {middle:.1?}, at most {longest:.1?}");
    }
}

/// Floods as these users, and compares with before.
#[track_caller]
#[expect(clippy::print_stderr, reason = "a test's output is where its measurements belong")]
fn endure(stage: &Stage, users: &[&str]) {
    report("before", stage.goes_on());
    let before = stage.hnsd.resident_kib();
    let floods: Vec<Process> = users
        .iter()
        .flat_map(|user| ["idle", "half"].map(|kind| stage.flood(user, CONNECTIONS, kind)))
        .collect();
    report(&format!("amid the flood of {users:?}"), stage.goes_on());
    let grown = stage.hnsd.resident_kib().saturating_sub(before);
    eprintln!("hnsd had {before} KiB, and has grown by {grown} KiB");
    assert!(grown < MEMORY_KIB, "hnsd has grown by {grown} KiB");
    // Whoever may look and does not flood, looks.
    let looked = stage.look_as(OTHER_READER);
    assert!(looked.success(), "{looked}");
    // What the log says of a flood is a few lines, not one a connection.
    let lines = stage.hnsd.log().lines().filter(|line| line.contains("turned away")).count();
    assert!((1..64).contains(&lines), "{lines} lines:\n{}", stage.hnsd.log());
    drop(floods);
    for user in users.iter().filter(|user| **user == READER) {
        eventually!(stage.look_as(user).success());
    }
}

#[test]
fn a_flood_of_strangers_and_readers_leaves_root_docker_and_repair_alone() {
    needs!(root, "nft", "setpriv");
    let stage = Stage::new();
    endure(&stage, &[STRANGER]);
    endure(&stage, &[READER]);
}

#[test]
fn a_user_with_too_many_connections_is_told_so_and_others_are_not_concerned() {
    needs!(root, "nft", "setpriv");
    let stage = Stage::new();
    let mut hog = stage.flood(READER, USER_MAX, "idle");
    let limit = format!("{USER_MAX} connections");
    eventually!({
        let said = stage.look_as(READER);
        if !said.success() && said.stderr.contains(&limit) { Ok(()) } else { Err(said.to_string()) }
    });
    assert!(stage.look_as(OTHER_READER).success());
    assert!(stage.hnsd.hnsctl(&["network", "ls"]).contains("nat"));
    hog.kill9();
    eventually!(stage.look_as(READER).success());
}

/// A stranger is turned away before anything is read: what it would have asked for does not matter.
#[test]
fn a_stranger_is_told_who_may_speak_and_nothing_it_sends_is_read() {
    needs!(root, "nft", "setpriv", "socat");
    let stage = Stage::new();
    let socket = stage.hnsd.socket();
    for sent in ["GET /v2/networks HTTP/1.1\\r\\n\\r\\n", "no request at all", "\\0"] {
        let answer = stage.host.sh(&format!(
            "printf '{sent}' | setpriv --reuid={STRANGER} --regid={STRANGER} --clear-groups \
             socat -,ignoreeof UNIX-CONNECT:{}",
            socket.display()
        ));
        assert!(answer.starts_with("HTTP/1.0 403") && answer.contains("hns-read"), "{sent}: {answer}");
    }
}

#[test]
fn the_daemon_takes_as_many_descriptors_as_it_may_have() {
    needs!(root, "nft");
    let stage = Stage::new();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", stage.hnsd.pid())).expect("it runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("every process has it");
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{line}");
}
