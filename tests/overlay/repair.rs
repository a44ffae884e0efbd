//! What others take away, and daemons that end, while traffic flows.

use hns_testbed::{eventually, needs};
use serde_json::Value;

use crate::stage::Stage;

#[test]
fn a_daemon_that_is_killed_or_restarted_loses_no_packet() {
    needs!(root, "nft", "ping");
    let mut stage = Stage::new(0);
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    eventually!(web.netns.ping(far.v4()));
    let words = ["ip", "netns", "exec", "web", "ping", "-i", "0.01", "-w", "60", &far.v4().to_string()];
    let mut stream = stage.here.host().spawn(&words);
    eventually!(stream.output().contains("icmp_seq=20 "));
    stage.here.kill9();
    stage.here.start_again();
    stage.there.restart();
    let seen = || stream.output().lines().filter(|line| line.contains("icmp_seq=")).count();
    let before = seen();
    eventually!(seen() > before + 50);
    stage.here.host().sh(&format!("kill -INT {}", stream.pid_in_host()));
    eventually!(stream.ended());
    assert!(stream.output().contains(" 0% packet loss"), "{}", stream.output());
}

/// The device, its program, and what the network is on the other host.
#[test]
fn what_others_take_away_comes_back() {
    needs!(root, "nft", "ping", "bpftool");
    let stage = Stage::new(0);
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    for to in far.addresses() {
        eventually!(web.netns.ping(to));
    }
    let host = stage.here.host();
    for deed in [
        "ip link set hnx4789 down",
        "ip link del hnx4789",
        // Whose name the daemon gives back to its own at once, if it is faster.
        "until ip link del hnx4789; ip link add hnx4789 up group 0x686e7300 type vxlan id 7 dstport 4790; do :; done",
        "rm /sys/fs/bpf/hns/v*/link-*-tunnel_in",
        "nft flush ruleset",
    ] {
        host.sh(deed);
        for to in far.addresses() {
            eventually!(web.netns.ping(to));
        }
    }
    // With nothing else to repair that would find it, too.
    for _ in 0..3 {
        host.sh("ip link set hnx4789 mtu 1000");
        eventually!(host.sh("cat /sys/class/net/hnx4789/mtu").trim() == "65485");
    }
}

/// It tells to remove what belongs to no network.
#[test]
fn the_doctor_knows_the_device_of_a_tunnel() {
    needs!(root, "nft");
    let stage = Stage::new(0);
    let findings = stage.here.hnsctl_json(&["doctor"]);
    let mut findings = findings.as_array().into_iter().flatten();
    let finding = findings.find(|finding| finding["Check"] == "leaks").expect("it looks for them");
    assert_eq!(finding["Level"], "Ok", "{finding}");
}

/// It names the firewall that may keep other hosts out, with the rule that lets them in.
#[test]
fn the_doctor_names_a_firewall_in_front_of_a_tunnel() {
    needs!(root, "nft");
    let stage = Stage::new(0);
    let host = stage.here.host();
    host.sh("nft add table inet fw; nft add chain inet fw in '{ type filter hook input priority 0; policy drop; }'");
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    assert!(!far.netns.ping(web.v4()));
    let findings = stage.here.hnsctl_json(&["doctor"]);
    let mut findings = findings.as_array().into_iter().flatten();
    let about_it =
        |finding: &&Value| finding["Detail"].as_str().is_some_and(|detail| detail.contains("UDP port 4789"));
    let finding = findings.find(about_it).expect("it says so");
    let hint = finding["Hint"].as_str().expect("with a way in");
    assert!(finding["Level"] == "Warn" && hint.contains("peer ls"), "{finding}");
    let (_, rule) = hint.split_once("): ").expect("the rule is its end");
    host.sh(rule);
    eventually!(far.netns.ping(web.v4()));
}

/// Nothing is left when the last network goes, also of a daemon that was killed meanwhile.
#[test]
fn nothing_is_left_of_an_overlay_that_is_gone() {
    needs!(root, "nft");
    let mut stage = Stage::new(0);
    let _web = stage.container_here("web", 11);
    stage.here.hnsctl(&["network", "rm", "-f", "blue"]);
    let ours = |stage: &Stage| stage.here.host().links().iter().any(|link| link.starts_with("hn"));
    eventually!(!ours(&stage));
    let pins = stage.here.host().sh("ls /sys/fs/bpf/hns/v*/");
    assert!(!pins.contains("tunnel_in"), "{pins}");
    // Of a network whose record is gone.
    stage.there.kill9();
    stage
        .there
        .host()
        .sh("ip link add hnx4790 group 0x686e7300 type vxlan external dstport 4790; ip link set hnx4790 up");
    stage.there.start_again();
    eventually!(!stage.there.host().links().contains(&"hnx4790".to_owned()));
    assert!(stage.there.host().links().contains(&"hnx4789".to_owned()));
}

/// What only the underlay does wrong is said where an operator looks.
#[test]
fn an_underlay_that_is_unwell_is_told() {
    needs!(root, "nft");
    let stage = Stage::new(0);
    let host = stage.here.host();
    let trouble = || {
        let network = stage.here.hnsctl_json(&["network", "inspect", "blue"]);
        network["Health"]["Data"]["LastError"].as_str().unwrap_or_default().to_owned()
    };
    let leaks = stage.here.try_hnsctl(&["doctor"]).stdout;
    assert!(!leaks.contains("hnx4789"), "{leaks}");
    let own = host.v4();
    host.sh(&format!("ip addr del {own}/24 dev eth0"));
    eventually!(within 20 s, {
        let said = trouble();
        if said.contains(&format!("its tunnels end at {own}, which this host does not have")) { Ok(()) } else { Err(said) }
    });
    host.sh(&format!(
        "ip addr add {own}/24 dev eth0; ip route replace default via 198.18.0.254; ip link set eth0 mtu 1400"
    ));
    eventually!(within 20 s, {
        let said = trouble();
        if said.contains("carries 1400 bytes") { Ok(()) } else { Err(said) }
    });
    host.sh("ip link set eth0 mtu 1500");
    eventually!(within 20 s, {
        let said = trouble();
        if said.is_empty() { Ok(()) } else { Err(said) }
    });
}
