//! The test bed's own promises: what a story may rely on.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use hns_testbed::{FAR_V4, FAR_V6, Lab, eventually, needs, sctp, tcp, udp};
use nix::sys::signal::Signal;

#[test]
fn hosts_reach_each_other_and_the_far_side() {
    needs!(root, "ip", "ping");
    let lab = Lab::new();
    let (one, two) = (lab.host("one"), lab.host("two"));
    for to in two.addresses().into_iter().chain([IpAddr::from(FAR_V4), IpAddr::from(FAR_V6)]) {
        eventually!(one.ping(to));
    }
}

#[test]
fn traffic_shows_the_client_that_it_comes_from() {
    needs!(root, "ip");
    let lab = Lab::new();
    let (server, client) = (lab.host("server"), lab.host("client"));
    let (from, inside) = (client.netns(), server.netns());
    let _tcp = tcp::Echo::serve(&inside, "[::]:80");
    for (to, seen) in server.addresses().into_iter().zip(client.addresses()) {
        let _udp = udp::Echo::serve(&inside, (to, 53));
        let _sctp = sctp::Responder::serve(&inside, (to, 99));
        assert_eq!(tcp::ask(&from, (to, 80)).unwrap().ip(), seen);
        assert_eq!(udp::ask(&from, (to, 53)).unwrap().ip(), seen);
        sctp::ask(&from, (to, 99)).unwrap();
        assert!(sctp::ask(&from, (to, 98)).is_err());
        let mut conversation = tcp::Conversation::open(&from, (to, 80)).unwrap();
        conversation.say("still there?").unwrap();
    }
}

#[test]
fn sctp_probes_pass_the_kernels_connection_tracking() {
    needs!(root, "nft");
    let lab = Lab::new();
    let (host, client) = (lab.host("host"), lab.host("client"));
    // The responder listens on 99, the client asks 1099: only a translated packet with a right checksum gets an answer.
    host.sh("nft 'add table inet t; add chain inet t pre { type nat hook prerouting priority -100; };
             add rule inet t pre sctp dport 1099 redirect to :99'");
    for to in host.addresses() {
        let _server = sctp::Responder::serve(&host.netns(), (to, 99));
        sctp::ask(&client.netns(), (to, 1099)).unwrap();
    }
}

#[test]
fn a_stream_counts_what_does_not_come_back() {
    needs!(root, "nft");
    let lab = Lab::new();
    let (server, client) = (lab.host("server"), lab.host("client"));
    let echo = udp::Echo::serve(&server.netns(), (server.v4(), 7));
    let stream = udp::Stream::start(&client.netns(), echo.address(), 1000);
    eventually!(udp::ask(&client.netns(), echo.address()));
    let whole = stream.stop();
    assert_eq!(whole.lost, 0, "{whole:?}");

    let stream = udp::Stream::start(&client.netns(), echo.address(), 1000);
    server.sh("nft 'add table inet t; add chain inet t in { type filter hook input priority 0; };
               add rule inet t in udp dport 7 counter drop'");
    eventually!(
        server
            .sh("nft list table inet t")
            .split("packets ")
            .nth(1)
            .is_some_and(|rest| !rest.starts_with('0'))
    );
    let broken = stream.stop();
    assert!(broken.lost > 0 && broken.lost <= broken.sent, "{broken:?}");
}

#[test]
fn a_host_has_its_own_run_folder_and_processes() {
    needs!(root);
    let lab = Lab::new();
    let (one, two) = (lab.island("one"), lab.island("two"));
    one.sh("echo hello > /run/note");
    assert!(!two.try_sh("cat /run/note").success());
    assert_eq!(std::fs::read_to_string(one.path("/run/note")).unwrap(), "hello\n");
    assert_eq!(one.sh("cat /proc/1/comm"), "sh\n");
    assert_eq!(one.links(), ["lo"]);
    let web = one.add_netns("web");
    assert!(web.ping([127, 0, 0, 1]));
    assert_eq!(one.sh("ip netns list").trim(), "web");
}

#[test]
fn a_program_can_be_signalled_and_dies_with_its_handle() {
    needs!(root);
    let lab = Lab::new();
    let host = lab.island("host");
    let mut polite = host.spawn(&["sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do :; done"]);
    eventually!(polite.output().contains("up"));
    assert!(host.sh(&format!("cat /proc/{}/comm", polite.pid_in_host())).starts_with("sh"));
    assert_eq!(polite.terminate().code(), Some(3));
    assert!(polite.output().ends_with("bye\n"));

    let stubborn = host.spawn(&["sh", "-c", "trap '' TERM; cat /dev/zero > /dev/null"]);
    let pid = stubborn.pid_in_host();
    drop(stubborn);
    assert!(!host.try_sh(&format!("test -e /proc/{pid}")).success());
}

#[test]
fn nothing_of_a_lab_outlives_it() {
    needs!(root);
    let lab = Lab::new();
    let folder = lab.folder().to_owned();
    let host = lab.host("host");
    // An orphan in the background, as daemons are.
    host.sh("(trap '' TERM HUP; exec cat /dev/zero) > /dev/null 2>&1 &");
    let probe = host.sh("cat /proc/[0-9]*/comm");
    assert!(probe.contains("cat"), "{probe}");
    let first_process = Path::new("/proc").join(host.pid().to_string());
    drop((host, lab));
    assert!(!first_process.exists(), "{}", first_process.display());
    assert!(!folder.exists(), "{}", folder.display());
}

#[test]
fn a_killed_test_takes_its_hosts_with_it() {
    needs!(root);
    if std::env::var_os("HNS_TESTBED_VICTIM").is_some() {
        let lab = Lab::new();
        let host = lab.host("host");
        let program = host.spawn(&["cat", "/dev/zero"]);
        std::fs::write(std::env::var_os("HNS_TESTBED_VICTIM").unwrap(), program.pid().to_string()).unwrap();
        eventually!(within 60 s, false);
    }
    let lab = Lab::new();
    let note = lab.folder().join("pid");
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.args(["--exact", "a_killed_test_takes_its_hosts_with_it"]).env("HNS_TESTBED_VICTIM", &note);
    let mut victim = victim.stdout(std::process::Stdio::null()).spawn().unwrap();
    let pid = eventually!(std::fs::read_to_string(&note).ok()?.parse::<u32>().ok());
    let victim_pid = nix::unistd::Pid::from_raw(victim.id().cast_signed());
    nix::sys::signal::kill(victim_pid, Signal::SIGKILL).unwrap();
    victim.wait().unwrap();
    eventually!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}
