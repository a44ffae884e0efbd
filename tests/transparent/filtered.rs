//! A LAN that lets the host's own MAC address through and no other, as most clouds and switches with port security do.

use hns_testbed::{Hnsd, eventually, needs};
use serde_json::Value;

use crate::stage::{self, ON_THE_LAN, Stage, container, container_at, network};

/// The port of the LAN's switch that leads to `here`, the first host.
const PORT: &str = "p1";

/// Lets only the station of the host's adapter through, in both directions.
fn filter(stage: &Stage) {
    let mac = stage.here.host().sh("cat /sys/class/net/eth0/address");
    let mac = mac.trim();
    stage.lab.router().sh(&format!(
        "nft 'add table bridge security
         add chain bridge security in {{ type filter hook prerouting priority 0; }}
         add chain bridge security out {{ type filter hook postrouting priority 0; }}
         add rule bridge security in iifname {PORT} ether saddr != {mac} drop
         add rule bridge security out oifname {PORT} ether daddr & 01:00:00:00:00:00 == 0 ether daddr != {mac} drop'"
    ));
}

fn no_filter(stage: &Stage) {
    stage.lab.router().sh("nft delete table bridge security");
}

pub fn trouble(hnsd: &Hnsd, network: &str) -> Option<String> {
    let document = hnsd.hnsctl_json(&["network", "inspect", network]);
    document["Health"]["Data"]["LastError"].as_str().map(str::to_owned)
}

pub fn told_by_doctor(hnsd: &Hnsd) -> Option<Value> {
    // Its exit code says that something is wrong, which is so.
    let said = hnsd.try_hnsctl(&["doctor", "-o", "json"]).stdout;
    let findings: Value = serde_json::from_str(&said).expect("doctor speaks JSON");
    findings.as_array().into_iter().flatten().find(|finding| finding["Check"] == "lan").cloned()
}

#[test]
fn a_lan_that_hears_the_adapter_alone_is_told_with_the_ways_out() {
    needs!(root, "nft", "ping");
    let stage = Stage::bare();
    network(&stage.here, "corp", &ON_THE_LAN);
    filter(&stage);
    let web = container(&stage.here, "web", 101);
    let said = eventually!(within 30 s, trouble(&stage.here, "corp"));
    for words in [
        "198.18.0.254 on adapter eth0 answers the host and not its containers",
        "MAC address spoofing",
        "L2Bridge",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let finding = told_by_doctor(&stage.here).expect("a finding of the LAN");
    assert!(finding["Detail"].as_str().is_some_and(|detail| detail.contains("\"corp\"")), "{finding}");
    // It is so, and the host has what it had.
    assert!(!web.netns.ping(stage.client.v4()) && stage.here.host().ping(stage.client.v4()));
    assert!(web.netns.ping(stage.here.host().v4()));
    no_filter(&stage);
    eventually!(within 30 s, trouble(&stage.here, "corp").is_none());
    assert_eq!(told_by_doctor(&stage.here), None);
    eventually!(web.netns.ping(stage.client.v4()));
}

/// With the adapter's link-local address the host asks where it is not itself.
#[test]
fn a_filtered_vlan_with_ipv6_alone_is_told_as_well() {
    needs!(root, "nft", "ping");
    let stage = Stage::bare();
    let options =
        ["--type", "transparent", "--interface", "eth0", "--vlan", "7", "--subnet", "fd00:1018::/64"];
    network(&stage.here, "v7", &[&options[..], &["--gateway", "fd00:1018::fe"]].concat());
    network(&stage.there, "v7", &options);
    let router = container_at(&stage.there, "v7", "router", &["fd00:1018::fe".to_owned()]);
    filter(&stage);
    let web = container_at(&stage.here, "v7", "web", &["fd00:1018::5".to_owned()]);
    let said = eventually!(within 30 s, trouble(&stage.here, "v7"));
    assert!(said.contains("fd00:1018::fe on VLAN 7 of adapter eth0 answers the host"), "{said}");
    assert_eq!(trouble(&stage.there, "v7"), None);
    // Nobody is left who could suffer.
    stage.here.hnsctl(&["endpoint", "rm", "web"]);
    eventually!(within 30 s, trouble(&stage.here, "v7").is_none());
    no_filter(&stage);
    let again = stage::container_at(&stage.here, "v7", "again", &["fd00:1018::6".to_owned()]);
    eventually!(again.netns.ping(router.v6()));
    drop(web);
}
