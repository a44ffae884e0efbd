//! A shell in a host with hnsd and container engines, to try things by hand (as root).
//!
//! ```text
//! hns-engines [oldest] docker|podman|containerd .. [-- COMMAND..]
//! ```

#![expect(clippy::print_stdout, reason = "it explains to a person where they are")]

use std::process::{Command, ExitCode};

use hns_testbed::engines::{Containerd, Dockerd, EngineRoot, Podman, Release};
use hns_testbed::{Hnsd, Lab, program};

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let behind = words.iter().position(|word| word == "--").map(|at| words.split_off(at));
    let command: Vec<String> = behind.into_iter().flatten().skip(1).collect();
    let release = if words.iter().any(|word| word == "oldest") { Release::Oldest } else { Release::Newest };
    let wants = |engine: &str| words.iter().any(|word| word == engine);

    let lab = Lab::new();
    let (host, outside) = (lab.host("a"), lab.host("outside"));
    let hnsd = Hnsd::start(&host);
    let root = EngineRoot::new(&host, release);
    let _docker = wants("docker").then(|| Dockerd::builder_in(&root).start());
    let _containerd = wants("containerd").then(|| Containerd::start_in(&root));
    let _podman = wants("podman").then(|| Podman::new_in(&root));

    println!("host a: {} (process {}); image: busybox, serves a page on port 80", host.v4(), host.pid());
    println!(
        "beside it on the LAN: nsenter -t {} -n busybox wget -qO- http://{}:8080/",
        outside.pid(),
        host.v4()
    );
    println!("one more shell in here, from the machine: nsenter -t {} -m -n -p bash", root.pid());
    println!("hnsd's log: {}", hnsd.log_file().display());
    shell(&root, &hnsd, command)
}

/// Runs a command, or a shell, with our programs in its search path and `hnsctl` knowing the socket.
fn shell(root: &EngineRoot, hnsd: &Hnsd, command: Vec<String>) -> ExitCode {
    let mut words = command.into_iter();
    let mut shell = Command::new(words.next().unwrap_or_else(|| "bash".to_owned()));
    let ours = program("hnsd").parent().expect("a program lies in a folder").display().to_string();
    shell.args(words).env("PATH", format!("{ours}:/usr/sbin:/usr/bin")).env("HNS_SOCKET", hnsd.socket());
    shell.env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1").env("HOME", "/root").env("PS1", "host a# ");
    let status = root.inside(move || shell.status());
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
