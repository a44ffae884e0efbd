//! Networks whose containers are on several hosts: who reaches whom, by which tunnel, what nobody else gets in, and that it stays so.

#[path = "overlay/attack_host.rs"]
mod attack_host;
#[path = "overlay/attack_tunnel.rs"]
mod attack_tunnel;
#[path = "overlay/bad_input.rs"]
mod bad_input;
#[path = "overlay/closed.rs"]
mod closed;
#[path = "overlay/direct.rs"]
mod direct;
#[path = "overlay/docker.rs"]
mod docker;
#[path = "overlay/doors.rs"]
mod doors;
#[path = "overlay/encrypted.rs"]
mod encrypted;
#[path = "overlay/guide.rs"]
mod guide;
#[path = "overlay/outside.rs"]
mod outside;
#[path = "overlay/peers.rs"]
mod peers;
#[path = "overlay/remote.rs"]
mod remote;
#[path = "overlay/repair.rs"]
mod repair;
#[path = "overlay/stage.rs"]
mod stage;

use hns_testbed::raw::Capture;
use hns_testbed::{eventually, needs, tcp};
use hns_tests::story_support::policies::acl;
use serde_json::json;

use stage::{Stage, carries, dropped, rules};

/// Both families inside, each of them outside.
#[test]
fn containers_of_two_hosts_reach_each_other_and_the_wire_shows_a_tunnel() {
    needs!(root, "nft", "ping");
    for outer in [0, 1] {
        let stage = Stage::new(outer);
        let wire = Capture::open(&stage.lab.router().netns());
        let (web, app) = (stage.container_here("web", 11), stage.container_here("app", 12));
        let far = stage.container_there("far", 11);
        for (from, to) in [(&web, &far), (&far, &web), (&app, &far), (&far, &app), (&web, &app)] {
            for address in to.addresses() {
                eventually!(from.netns.ping(address));
            }
        }
        for address in far.addresses() {
            let _server = tcp::Echo::serve(&far.netns, (address, 80));
            // Nobody in between puts another address in the container's place.
            let seen = eventually!(tcp::ask(&web.netns, (address, 80)));
            assert!(web.addresses().contains(&seen.ip()), "{seen}");
        }
        let frames = wire.take();
        let is_clear = |frame: &&Vec<u8>| web.addresses().iter().any(|own| is_of(frame, *own));
        assert_eq!(frames.iter().find(is_clear), None);
        let ends = [stage.here.host(), stage.there.host()].map(|host| host.addresses()[outer]);
        let is_tunnel = |frame: &&Vec<u8>| ends.iter().all(|end| is_of(frame, *end)) && has_vxlan_port(frame);
        assert!(frames.iter().filter(is_tunnel).count() > 10, "{} frames", frames.len());
    }
}

/// Whether the outer header names this address.
fn is_of(frame: &[u8], address: std::net::IpAddr) -> bool {
    let (kind, header) = (frame.get(12..14), frame.get(14..54).unwrap_or_default());
    match address {
        std::net::IpAddr::V4(address) => {
            kind == Some(&[0x08, 0x00]) && header[12..20].chunks(4).any(|octets| octets == address.octets())
        }
        std::net::IpAddr::V6(address) => {
            kind == Some(&[0x86, 0xdd]) && header[8..40].chunks(16).any(|octets| octets == address.octets())
        }
    }
}

fn has_vxlan_port(frame: &[u8]) -> bool {
    let transport = if frame[12..14] == [0x08, 0x00] { 34 } else { 54 };
    frame.get(transport + 2..transport + 4) == Some(&4789_u16.to_be_bytes())
}

/// Packets of every size, since what is too large for the tunnel is lost without a word.
#[test]
fn what_is_large_arrives_whole() {
    needs!(root, "nft", "socat");
    for outer in [0, 1] {
        let stage = Stage::new(outer);
        let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
        for (number, to) in far.addresses().into_iter().enumerate() {
            carries(&stage.lab, &web, &far, to, 7000 + u16::try_from(number).expect("two"));
        }
        let overhead = if outer == 0 { 50 } else { 70 };
        let shown = web.netns.command("ip").args(["-o", "link", "show", "eth0"]).output().expect("ip runs");
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains(&format!(" mtu {} ", 1500 - overhead)), "{shown}");
    }
}

/// As on every other network, also where the other end is on another host.
#[test]
fn rules_hold_for_who_comes_through_the_tunnel() {
    needs!(root, "nft");
    let stage = Stage::new(0);
    let web = stage.container_here("web", 11);
    let (near, far) = (stage.container_here("near", 12), stage.container_there("far", 11));
    let _servers: Vec<tcp::Echo> =
        web.addresses().into_iter().map(|address| tcp::Echo::serve(&web.netns, (address, 80))).collect();
    for (allowed, refused) in [(&near, &far), (&far, &near)] {
        let theirs = allowed.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let before = dropped(&stage.here, Some(&web), "acl-in");
        rules(&stage.here, &web, &json!([acl("Allow", "In", 100, &json!({"RemoteAddresses": theirs}))]));
        for to in web.addresses() {
            eventually!(tcp::ask(&allowed.netns, (to, 80)));
            assert!(tcp::ask(&refused.netns, (to, 80)).is_err(), "{} reaches {to}", refused.name);
        }
        assert!(dropped(&stage.here, Some(&web), "acl-in") > before);
    }
    // And on the way out.
    rules(&stage.here, &web, &json!([]));
    rules(&stage.there, &far, &json!([acl("Block", "Out", 100, &json!({"Protocols": "6"}))]));
    for to in web.addresses() {
        assert!(tcp::ask(&far.netns, (to, 80)).is_err(), "{to}");
        eventually!(tcp::ask(&near.netns, (to, 80)));
    }
    assert!(dropped(&stage.there, Some(&far), "acl-out") > 0);
}
