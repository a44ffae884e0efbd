//! Small packets go past the VXLAN device, and the host's firewall decides over them all the same.

use std::net::IpAddr;

use hns_testbed::{Host, eventually, needs};
use hns_tests::story_support::Container;

use crate::stage::{Stage, overlay_with};

const PINGS: u64 = 50;

/// How many packets the device has brought.
fn came_by_the_device(host: &Host) -> u64 {
    let shown = host.sh("cat /sys/class/net/hnx4789/statistics/rx_packets");
    shown.trim().parse().unwrap_or_else(|error| panic!("{error}: {shown}"))
}

/// How many of the pings and their answers come by the devices of both hosts.
fn by_the_devices(stage: &Stage, ping: impl FnOnce()) -> u64 {
    let count = || came_by_the_device(stage.here.host()) + came_by_the_device(stage.there.host());
    let before = count();
    ping();
    count() - before
}

fn ping_often(from: &Container, to: IpAddr) {
    let (count, to) = (PINGS.to_string(), to.to_string());
    let ping = from.netns.command("ping").args(["-q", "-i", "0.002", "-W", "2", "-c", &count, &to]).output();
    assert!(ping.as_ref().is_ok_and(|ping| ping.status.success()), "{ping:?}");
}

#[test]
fn small_packets_go_past_the_device_as_long_as_the_firewall_lets_others_in() {
    needs!(root, "nft", "ping");
    let stage = Stage::new(0);
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    for to in far.addresses() {
        eventually!(web.netns.ping(to));
        // Of both families inside; one a second, at most, comes by the device.
        let came = by_the_devices(&stage, || ping_often(&web, to));
        assert!(came < PINGS, "{came} of {}", 2 * PINGS);
    }
    // What the firewall drops does not come in by the other way either, and comes again as soon as it does not.
    let host = stage.there.host();
    host.sh("nft add table inet fw; nft add chain inet fw input '{ type filter hook input priority 0; }'");
    host.sh("nft add rule inet fw input udp dport 4789 counter drop");
    eventually!(!web.netns.ping(far.v4()));
    assert!(!web.netns.ping(far.v4()) && !web.netns.ping(far.v6()));
    host.sh("nft flush chain inet fw input");
    eventually!(web.netns.ping(far.v4()));
}

#[test]
fn where_all_is_to_pass_the_firewall_all_comes_by_the_device() {
    needs!(root, "nft", "ping");
    let stage = Stage::bare();
    let ends = [stage.here.host(), stage.there.host()].map(|host| host.v4().into());
    overlay_with(&stage.here, "blue", 1, &[(2, ends[1])], &["--no-direct-tunnel"]);
    overlay_with(&stage.there, "blue", 2, &[(1, ends[0])], &["--no-direct-tunnel"]);
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    eventually!(web.netns.ping(far.v4()));
    assert_eq!(by_the_devices(&stage, || ping_often(&web, far.v4().into())), 2 * PINGS);
    // No program stands at the adapter, and one comes and goes with the network that wants it.
    let stands = || stage.here.host().sh("ls /sys/fs/bpf/hns/v*").contains("tunnel_near");
    assert!(!stands());
    overlay_with(&stage.here, "green", 3, &[(4, ends[1])], &[]);
    assert!(stands());
    stage.here.hnsctl(&["network", "rm", "green"]);
    assert!(!stands());
}
