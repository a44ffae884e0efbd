//! Containers whose every frame goes to the switch outside, which sends back what is for their own host: who reaches whom, that nothing
//! takes a shorter way, who hears what is for everybody, and what an administrator is told when nothing comes back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_testbed::raw::{self, Capture, EVERYBODY, Injector, Link};
use hns_testbed::{Netns, eventually, needs};
use hns_tests::story_support::Container;

use crate::everybody::all_hear_all_once;
use crate::filtered::{told_by_doctor, trouble};
use crate::l2bridge::{hosts_alone_pass, nobody_is_told};
use crate::stage::{Stage, container, container_at, dropped, network, on_the_lan};
use crate::{meets_its_lan, talks_to_the_lan_alone};

const ON_THE_LAN: [&str; 10] = on_the_lan("l2tunnel");

/// The ports of the LAN's switch that lead to the hosts.
const PORTS: [&str; 2] = ["p1", "p2"];

fn reflect(stage: &Stage, on: bool) {
    let word = if on { "on" } else { "off" };
    for port in PORTS {
        stage.lab.router().sh(&format!("bridge link set dev {port} hairpin {word}"));
    }
}

/// Two hosts with the network `corp` behind a switch that lets their own stations alone through and sends back what is for them.
fn stage() -> Stage {
    let stage = Stage::bare();
    hosts_alone_pass(&stage);
    reflect(&stage, true);
    network(&stage.here, "corp", &ON_THE_LAN);
    network(&stage.there, "corp", &ON_THE_LAN);
    stage
}

#[test]
fn containers_the_lan_and_both_hosts_reach_each_other_by_the_switch_outside() {
    needs!(root, "nft", "ping");
    let stage = stage();
    let wire = Capture::open(&stage.lab.router().netns());
    let web = container(&stage.here, "web", 101);
    let db = container(&stage.here, "db", 102);
    let far = container(&stage.there, "far", 103);
    meets_its_lan(&stage, &web, &db, &far);
    nobody_is_told(&wire, &[&web, &db, &far]);
    assert_eq!(trouble(&stage.here, "corp"), None);
}

/// How many frames carry a ping's request from one of these to the other, and under which stations.
fn requests(capture: &Capture, from: impl Into<IpAddr>, to: impl Into<IpAddr>) -> Vec<[raw::Mac; 2]> {
    let (from, to) = (from.into(), to.into());
    let mut seen = Vec::new();
    for frame in capture.take() {
        let (addresses, kind) = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                (frame.get(26..34) == Some(&[from.octets(), to.octets()].concat()), frame.get(34) == Some(&8))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => (
                frame.get(22..54) == Some(&[from.octets(), to.octets()].concat()),
                frame.get(54) == Some(&128),
            ),
            _ => panic!("{from} and {to} are of two families"),
        };
        if addresses && kind {
            let station = |at: usize| frame[at..at + 6].try_into().expect("six octets");
            seen.push([station(0), station(6)]);
        }
    }
    seen
}

#[test]
fn a_packet_to_a_neighbour_is_on_the_wire_twice_and_the_switch_outside_decides_on_it() {
    needs!(root, "nft", "ping");
    let stage = stage();
    let web = container(&stage.here, "web", 101);
    let db = container(&stage.here, "db", 102);
    let host = stage.here.host();
    let own = raw::mac_of(&host.netns(), "eth0");
    let pairs = [
        (&web.netns, web.addresses(), db.addresses()),
        (&web.netns, web.addresses(), host.addresses().to_vec()),
        (&host.netns(), host.addresses().to_vec(), web.addresses()),
    ];
    for (netns, from, to) in pairs {
        for (from, to) in from.into_iter().zip(to) {
            eventually!(netns.ping(to));
            let capture = Capture::at(&host.netns(), "eth0");
            assert!(netns.ping(to));
            assert_eq!(requests(&capture, from, to), [[own, own]; 2], "{from} to {to}");
        }
    }
    // What the switch refuses between two of its own port arrives nowhere; all else does.
    stage.lab.router().sh(&format!(
        "nft 'add table bridge outer; add chain bridge outer f {{ type filter hook forward priority 0; }}
         add rule bridge outer f ip saddr {} ip daddr {} drop; add rule bridge outer f ip6 saddr {} ip6 daddr {} drop'",
        web.v4(),
        db.v4(),
        web.v6(),
        db.v6()
    ));
    let beside = [stage.client.addresses().to_vec(), host.addresses().to_vec()].concat();
    for to in db.addresses() {
        assert!(!web.netns.ping(to), "{to}");
    }
    for to in beside {
        assert!(web.netns.ping(to), "{to}");
    }
    stage.lab.router().sh("nft delete table bridge outer");
    for to in db.addresses() {
        eventually!(web.netns.ping(to));
    }
}

#[test]
fn what_comes_back_is_heard_once_by_everybody_else() {
    needs!(root, "nft");
    all_hear_all_once(&stage());
}

#[test]
fn a_container_that_talks_to_no_other_talks_to_the_lan_by_the_switch_outside() {
    needs!(root, "nft", "ping");
    talks_to_the_lan_alone(&stage());
}

#[test]
fn a_switch_that_sends_nothing_back_is_told_with_the_way_out() {
    needs!(root, "nft", "ping");
    let stage = stage();
    let web = container(&stage.here, "web", 101);
    let db = container(&stage.here, "db", 102);
    let far = container(&stage.there, "far", 103);
    for to in db.addresses() {
        eventually!(web.netns.ping(to));
    }
    assert_eq!(told_by_doctor(&stage.here), None);
    reflect(&stage, false);
    // Whoever comes next asks.
    let next = container(&stage.here, "next", 104);
    let said = eventually!(within 30 s, trouble(&stage.here, "corp"));
    for words in ["adapter eth0 leads to does not send back", "hairpin on", "L2Bridge"] {
        assert!(said.contains(words), "{said}");
    }
    let finding = told_by_doctor(&stage.here).expect("a finding of the LAN");
    assert!(finding["Detail"].as_str().is_some_and(|detail| detail.contains("hairpin on")), "{finding}");
    for to in [db.addresses(), stage.here.host().addresses().to_vec()].concat() {
        assert!(!web.netns.ping(to), "{to}");
    }
    for to in [far.addresses(), stage.client.addresses().to_vec()].concat() {
        assert!(web.netns.ping(to), "{to}");
    }
    reflect(&stage, true);
    eventually!(within 30 s, trouble(&stage.here, "corp").is_none());
    assert_eq!(told_by_doctor(&stage.here), None);
    for to in [db.addresses(), next.addresses(), stage.here.host().addresses().to_vec()].concat() {
        eventually!(web.netns.ping(to));
    }
}

fn ip(netns: &Netns, words: &str) -> String {
    let output = netns.command("ip").args(words.split_whitespace()).output().expect("ip runs");
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a container's own duplicate address detection makes of an address that it takes anew, without the number that tells a probe from
/// its own echo (RFC 7527).
fn takes_anew(netns: &Netns, address: Ipv6Addr) -> String {
    let script = "cd /proc/sys/net/ipv6/conf; for place in all eth0; do echo 0 > $place/enhanced_dad; echo 1 > $place/accept_dad; done";
    assert!(netns.command("sh").args(["-ec", script]).status().expect("sh runs").success());
    let before = ip(netns, &format!("-6 -o addr show dev eth0 to {address}"));
    if !before.is_empty() {
        ip(netns, &format!("addr del {address}/64 dev eth0"));
    }
    ip(netns, &format!("addr add {address}/64 dev eth0"));
    let shown = || ip(netns, &format!("-6 -o addr show dev eth0 to {address}"));
    eventually!(within 10 s, !shown().contains(" tentative") || shown().contains("dadfailed"));
    shown()
}

#[test]
fn a_container_does_not_take_its_own_probe_for_a_rivals_and_others_hear_it() {
    needs!(root, "nft", "ping");
    let stage = stage();
    let web = container(&stage.here, "web", 101);
    let db = container(&stage.here, "db", 102);
    eventually!(web.netns.ping(db.v4()));
    let link_local = raw::link_local(web.mac());
    for address in [web.v6(), link_local] {
        let shown = takes_anew(&web.netns, address);
        assert!(!shown.contains("dadfailed") && shown.contains(&address.to_string()), "{shown}");
    }
    assert!(dropped(&stage.here, &web, "reflected") > 0);
    // A rival elsewhere, whose probe the container answers, and who answers the container's.
    let shown = takes_anew(&stage.client.netns(), web.v6());
    assert!(shown.contains("dadfailed"), "{shown}");
    ip(&stage.client.netns(), &format!("addr del {}/64 dev eth0", web.v6()));
    ip(&web.netns, &format!("addr del {}/64 dev eth0", web.v6()));
    let shown = takes_anew(&stage.client.netns(), web.v6());
    assert!(!shown.contains("dadfailed"), "{shown}");
    let shown = takes_anew(&web.netns, web.v6());
    assert!(shown.contains("dadfailed"), "{shown}");

    // ARP (RFC 5227): a probe without a sender, and an announcement.
    let (own, mac) = (web.v4(), web.mac());
    let probe = raw::arp(1, (mac, Ipv4Addr::UNSPECIFIED), ([0; 6], own));
    let announced = raw::arp(1, (mac, own), ([0; 6], own));
    let injector = Injector::open(&web.netns, "eth0");
    let parties = [&web.netns, &db.netns, &stage.here.host().netns(), &stage.client.netns()];
    let ears = parties.map(|netns| Capture::at(netns, "eth0"));
    for body in [&probe, &announced] {
        injector.send(&Link { to: EVERYBODY, from: mac }.frame(raw::ARP, body)).expect("the link is up");
    }
    let behind = |netns: &Netns| eventually!(netns.ping(db.v4()));
    behind(&web.netns);
    let heard = |ear: &Capture| {
        let about = |frame: &&Vec<u8>| {
            frame.get(12..14) == Some(&[8, 6]) && frame.get(38..42) == Some(&own.octets()[..])
        };
        let asks = |frame: &&Vec<u8>| frame[0] == 0xff;
        ear.take().iter().filter(about).filter(asks).count()
    };
    let [at_web, at_db, at_host, at_client] = ears.each_ref().map(heard);
    // Its own sending is seen at its vNIC; at the adapter, the way out and the way back.
    assert_eq!([at_web, at_db, at_host, at_client], [2, 2, 4, 2]);
}

#[test]
fn a_vlan_of_another_type_is_a_switch_of_its_own() {
    needs!(root, "nft", "ping");
    let stage = stage();
    let options = |kind: &'static str| {
        ["network", "create", "other", "--type", kind, "--interface", "eth0", "--subnet", "198.18.7.0/24"]
    };
    for kind in ["transparent", "l2bridge"] {
        let said = stage.here.try_hnsctl(&options(kind)).expect_failure();
        assert!(
            said.contains("cannot share the switch on adapter eth0, which is of the type L2Tunnel"),
            "{said}"
        );
    }
    let seven = |kind: &str, name: &str, numbers: [u8; 2]| -> [Container; 2] {
        let words = ["--type", kind, "--interface", "eth0", "--vlan", "7", "--subnet", "10.18.0.0/24"];
        network(&stage.here, "seven", &words);
        numbers.map(|number| {
            let name = format!("{name}{number}");
            container_at(&stage.here, "seven", &name, &[format!("10.18.0.{number}")])
        })
    };
    let web = container(&stage.here, "web", 101);
    for kind in ["l2tunnel", "l2bridge"] {
        let [one, two] = seven(kind, kind, [5, 6]);
        let wire = Capture::at(&stage.lab.router().netns(), "p1");
        eventually!(one.netns.ping(two.v4()) && two.netns.ping(one.v4()));
        let on_the_wire = requests(&wire, one.v4(), two.v4()).len();
        assert_eq!(on_the_wire > 0, kind == "l2tunnel", "{kind}: {on_the_wire}");
        assert!(!one.netns.ping(web.v4()));
        stage.here.hnsctl(&["network", "rm", "--force", "seven"]);
    }
    eventually!(web.netns.ping(stage.client.v4()));
    stage.here.hnsctl(&["network", "rm", "--force", "corp"]);
    eventually!(!stage.here.host().links().iter().any(|link| link.starts_with("hn")));
}

#[test]
fn the_host_is_no_gateway_on_such_a_network() {
    needs!(root, "nft");
    let stage = stage();
    stage.here.hnsctl(&["endpoint", "create", "--network", "corp", "--name", "gw", "--ip", "198.18.0.99"]);
    stage.here.hnsctl(&["namespace", "create", "own", "--host-default"]);
    let said = stage.here.try_hnsctl(&["endpoint", "attach", "gw", "own"]).expect_failure();
    assert!(said.contains("the host itself is on adapter eth0 already"), "{said}");
}
