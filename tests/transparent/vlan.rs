//! VLANs of one adapter.

use std::net::IpAddr;

use hns_testbed::raw::{self, Injector, Link};
use hns_testbed::{Hnsd, eventually, needs};
use hns_tests::story_support::Container;
use serde_json::json;

use crate::stage::{Stage, container, container_at, network, rules};
use hns_tests::story_support::policies::acl;

/// The same prefixes in both VLANs, which know nothing of each other.
fn vlan(hnsd: &Hnsd, number: &str) {
    let name = format!("v{number}");
    let options = ["--type", "transparent", "--interface", "eth0", "--vlan", number];
    let subnets = ["--subnet", "10.18.0.0/24", "--subnet", "fd00:1018::/64"];
    network(hnsd, &name, &[&options[..], &subnets].concat());
}

fn member(hnsd: &Hnsd, number: &str, name: &str, address: u8) -> Container {
    let addresses = [format!("10.18.0.{address}"), format!("fd00:1018::{address}")];
    container_at(hnsd, &format!("v{number}"), name, &addresses)
}

fn reaches(from: &Container, to: &Container) -> Vec<bool> {
    to.addresses().into_iter().map(|ip| from.netns.ping(ip)).collect()
}

/// How many frames the LAN's switch has seen with this tag.
fn tagged(stage: &Stage, counter: &str) -> u64 {
    let shown = stage.lab.router().sh(&format!("nft list counter bridge lan {counter}"));
    let words: Vec<&str> = shown.split_whitespace().collect();
    let packets = words.iter().position(|word| *word == "packets").map(|place| words[place + 1]);
    packets.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{shown}"))
}

#[test]
fn vlans_of_one_adapter_are_tagged_on_the_wire_and_meet_nowhere() {
    needs!(root, "nft", "ping");
    let stage = Stage::new();
    stage.lab.router().sh(
        "nft 'add table bridge lan; add counter bridge lan seven; add counter bridge lan eleven; add counter bridge lan none
         add chain bridge lan c { type filter hook prerouting priority 0; }
         add rule bridge lan c vlan id 7 counter name seven accept
         add rule bridge lan c vlan id 11 counter name eleven accept
         add rule bridge lan c ip saddr 10.18.0.0/24 counter name none'",
    );
    for hnsd in [&stage.here, &stage.there] {
        vlan(hnsd, "7");
        vlan(hnsd, "11");
    }
    let plain = container(&stage.here, "plain", 101);
    let seven = [
        member(&stage.here, "7", "s1", 1),
        member(&stage.here, "7", "s2", 2),
        member(&stage.there, "7", "s3", 3),
    ];
    let eleven = [member(&stage.here, "11", "e4", 4), member(&stage.there, "11", "e5", 5)];
    for group in [&seven[..], &eleven] {
        for from in group {
            for to in group.iter().filter(|to| to.name != from.name) {
                eventually!(reaches(from, to) == [true, true]);
            }
        }
    }
    assert!(tagged(&stage, "seven") > 0 && tagged(&stage, "eleven") > 0);
    assert_eq!(tagged(&stage, "none"), 0);
    for (one, other) in
        [(&seven[0], &eleven[0]), (&seven[0], &eleven[1]), (&eleven[1], &seven[0]), (&seven[2], &eleven[0])]
    {
        assert_eq!(reaches(one, other), [false, false], "{} reaches {}", one.name, other.name);
    }
    // Somebody on the wire who speaks to a container's station under a wrong tag, or without one.
    let injector = Injector::open(&stage.client.netns(), "eth0");
    let from = raw::mac_of(&stage.client.netns(), "eth0");
    let ears = raw::Capture::at(&seven[0].netns, "eth0");
    let ear_of_plain = raw::Capture::at(&plain.netns, "eth0");
    let packet = |word: &[u8]| {
        let ends: [IpAddr; 2] = [[10, 18, 0, 9].into(), [10, 18, 0, 1].into()];
        raw::udp((ends[0], 9), (ends[1], 9), word)
    };
    let with_tag = |to: raw::Mac, tag: Option<u16>, word: &[u8]| {
        let link = Link { to, from };
        match tag {
            None => link.packet(&packet(word)),
            Some(tag) => link
                .frame(0x8100, &[&tag.to_be_bytes()[..], &raw::IPV4.to_be_bytes(), &packet(word)].concat()),
        }
    };
    for to in [seven[0].mac(), raw::EVERYBODY] {
        for (tag, word) in [(Some(11), "eleven"), (None, "plain"), (Some(8), "eight"), (Some(7), "seven")] {
            injector.send(&with_tag(to, tag, word.as_bytes())).expect("the LAN is up");
        }
    }
    let mut heard: Vec<String> = Vec::new();
    let listen = |ears: &raw::Capture, heard: &mut Vec<String>| {
        heard.extend(ears.take().iter().filter_map(|frame| {
            let text = String::from_utf8_lossy(frame).into_owned();
            ["eleven", "plain", "eight", "seven"]
                .into_iter()
                .find(|word| text.contains(word))
                .map(str::to_owned)
        }));
    };
    // The last one sent is the last to come.
    eventually!({
        listen(&ears, &mut heard);
        heard.len() >= 2
    });
    assert_eq!(heard, ["seven", "seven"]);
    let mut others = Vec::new();
    listen(&ear_of_plain, &mut others);
    assert_eq!(others, ["plain"], "what is for everybody without a tag");
    // A rule of a port in a VLAN holds for what comes by the adapter.
    assert_eq!(reaches(&seven[2], &seven[0]), [true, true]);
    rules(&stage.here, &seven[0], &json!([acl("Block", "In", 100, &json!({"Protocols": "1,58"}))]));
    assert_eq!(reaches(&seven[2], &seven[0]), [false, false]);
    // A container that tags its frames itself is no way into another VLAN.
    let out = Injector::open(&seven[1].netns, "eth0");
    let tagged_by_itself = Link { to: eleven[0].mac(), from: seven[1].mac() };
    let frame = tagged_by_itself
        .frame(0x8100, &[&11_u16.to_be_bytes()[..], &raw::IPV4.to_be_bytes(), &packet(b"forged")].concat());
    out.send(&frame).expect("it is up");
    eventually!(crate::stage::dropped(&stage.here, &seven[1], "ethertype") == 1);
}
