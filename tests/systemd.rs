//! `packaging/hnsd.service` under a real systemd, which is process 1 of namespaces of its own.

use std::path::Path;

use hns_testbed::{Lab, needs, program};

#[test]
fn systemd_starts_the_daemon_and_starts_it_again_when_it_is_killed() {
    needs!(root, "nft", "unshare", "/lib/systemd/systemd");
    let lab = Lab::new();
    let host = lab.island("h1");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = lab.folder().join("out");
    std::fs::write(&out, "").expect("a file");
    let mut systemd = host.command("timeout");
    systemd.args([
        "60",
        "unshare",
        "--fork",
        "--kill-child",
        "--pid",
        "--mount",
        "--cgroup",
        "--ipc",
        "--uts",
    ]);
    systemd.arg(tests.join("systemd/boot.sh")).arg(program("hnsd").parent().expect("a folder"));
    systemd.arg(tests.join("../packaging/hnsd.service")).arg(tests.join("systemd/story.sh")).arg(&out);
    let ended = systemd.output().expect("unshare starts");
    let told = std::fs::read_to_string(&out).expect("a file");
    let seen = || {
        format!("{told}{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr))
    };
    assert!(ended.status.success(), "{}", seen());
    let lines: Vec<&str> = told.lines().collect();
    let ["started active", network, "killed active", again, "stopped inactive success"] = lines[..] else {
        panic!("{}", seen());
    };
    assert!(network.starts_with("nat "), "{}", seen());
    assert_eq!(network, again);
}
