//! Containers on the LAN of their host under the MAC address of the host's adapter: who reaches whom, that the wire shows no other, what
//! rules hold.

use std::net::{IpAddr, Ipv6Addr};

use hns_testbed::raw::Capture;
use hns_testbed::{Hnsd, eventually, needs, tcp};
use hns_tests::story_support::Container;
use hns_tests::story_support::policies::acl;
use serde_json::json;

use crate::filtered::trouble;
use crate::meets_its_lan;
use crate::stage::{Party, Stage, container, container_at, dropped, network, on_the_lan, rules};

const ON_THE_LAN: [&str; 10] = on_the_lan("l2bridge");

/// Two hosts with the network `corp`, and what the LAN's switch sees of them.
fn stage() -> (Stage, Capture) {
    let stage = Stage::bare();
    hosts_alone_pass(&stage);
    let wire = Capture::open(&stage.lab.router().netns());
    network(&stage.here, "corp", &ON_THE_LAN);
    network(&stage.there, "corp", &ON_THE_LAN);
    (stage, wire)
}

/// Nothing but the host's station passes its port, as in a cloud.
pub fn hosts_alone_pass(stage: &Stage) {
    for (port, hnsd) in [("p1", &stage.here), ("p2", &stage.there)] {
        let mac = hnsd.host().sh("cat /sys/class/net/eth0/address");
        stage.lab.router().sh(&format!(
            "nft 'add table bridge {port}
             add chain bridge {port} in {{ type filter hook prerouting priority 0; }}
             add chain bridge {port} out {{ type filter hook postrouting priority 0; }}
             add rule bridge {port} in iifname {port} ether saddr != {0} counter drop
             add rule bridge {port} out oifname {port} ether daddr & 01:00:00:00:00:00 == 0 ether daddr != {0} drop'",
            mac.trim()
        ));
    }
}

/// Nowhere in any frame.
#[track_caller]
pub fn nobody_is_told(wire: &Capture, containers: &[&Container]) {
    let frames = wire.take();
    assert!(frames.len() > 20, "{} frames", frames.len());
    for container in containers {
        let mac = container.mac();
        let told = frames.iter().find(|frame| frame.windows(6).any(|six| six == mac));
        assert_eq!(told, None, "{}", container.name);
    }
}

#[test]
fn containers_the_lan_and_both_hosts_reach_each_other_under_the_hosts_mac_addresses() {
    needs!(root, "nft", "ping");
    let (stage, wire) = stage();
    let web = container(&stage.here, "web", 101);
    let db = container(&stage.here, "db", 102);
    let far = container(&stage.there, "far", 103);
    meets_its_lan(&stage, &web, &db, &far);
    // By the link-local address that its own MAC address gives, asked from the LAN.
    let link_local =
        web.netns.command("ip").args(["-6", "-br", "addr", "show", "dev", "eth0", "scope", "link"]).output();
    let link_local = String::from_utf8_lossy(&link_local.expect("ip runs").stdout).into_owned();
    let link_local = link_local.split_whitespace().last().and_then(|word| word.split('/').next());
    let link_local = format!("{}%eth0", link_local.expect("a vNIC with IPv6 has one"));
    let asked =
        stage.client.netns().command("ping").args(["-c1", "-W5", &link_local]).output().expect("ping runs");
    assert!(asked.status.success(), "{link_local}: {}", String::from_utf8_lossy(&asked.stdout));
    nobody_is_told(&wire, &[&web, &db, &far]);
    // Nor is the adapter told to take in another station's frames.
    let mac = web.mac().map(|octet| format!("{octet:02x}")).join(":");
    let fdb = stage.here.host().sh("bridge fdb show dev eth0");
    assert!(!fdb.contains(&mac), "{fdb}");
}

#[test]
fn rules_hold_for_who_comes_by_the_one_mac_address() {
    needs!(root, "nft");
    let (stage, _wire) = stage();
    let web = container(&stage.here, "web", 101);
    let far = container(&stage.there, "far", 103);
    let client = Party::host("client", &stage.client);
    let parties = [client, Party::container("far", &far), Party::host("here", stage.here.host())];
    let _servers: Vec<tcp::Echo> =
        web.addresses().into_iter().map(|address| tcp::Echo::serve(&web.netns, (address, 80))).collect();
    for chosen in &parties {
        let their = chosen.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let before = dropped(&stage.here, &web, "acl-in");
        rules(&stage.here, &web, &json!([acl("Allow", "In", 100, &json!({"RemoteAddresses": their}))]));
        for party in &parties {
            for to in web.addresses() {
                if party.name == chosen.name {
                    eventually!(tcp::ask(&party.netns, (to, 80)));
                } else {
                    assert!(tcp::ask(&party.netns, (to, 80)).is_err(), "{} reaches {to}", party.name);
                }
            }
        }
        assert!(dropped(&stage.here, &web, "acl-in") > before, "{}", chosen.name);
    }
}

/// Its frames would be the container's, who comes for the one MAC address by its address.
#[test]
fn no_container_gets_an_address_of_the_host() {
    needs!(root, "nft");
    let (stage, _wire) = stage();
    let own = stage.here.host().addresses().map(|address| address.to_string());
    for address in &own {
        let words = ["endpoint", "create", "--network", "corp", "--ip", address];
        let said = stage.here.try_hnsctl(&words).expect_failure();
        assert!(said.contains("is the host's own"), "{said}");
    }
    // Nor by chance: those are the first ones of the LAN.
    let free = stage.here.hnsctl_json(&["endpoint", "create", "--network", "corp"]);
    let configured = free["IpConfigurations"].to_string();
    assert!(own.iter().all(|own| !configured.contains(&format!("\"{own}\""))), "{configured}");
}

/// By hand, by its own DHCP client, or before its containers are back after a boot.
#[test]
fn what_the_host_comes_to_have_is_the_hosts() {
    needs!(root, "nft", "ping");
    let (mut stage, _wire) = stage();
    let web = container(&stage.here, "web", 101);
    let servers: Vec<tcp::Echo> =
        web.addresses().into_iter().map(|address| tcp::Echo::serve(&web.netns, (address, 80))).collect();
    let of_host = tcp::Echo::serve(&stage.here.host().netns(), (IpAddr::from(Ipv6Addr::UNSPECIFIED), 90));
    let client = stage.client.netns();
    for address in web.addresses() {
        eventually!(tcp::ask(&client, (address, 80)));
    }
    for (address, flag) in web.addresses().into_iter().zip(["", "nodad"]) {
        stage.here.host().sh(&format!("ip addr add {address}/24 dev eth0 {flag}"));
    }
    for address in web.addresses() {
        eventually!(tcp::ask(&client, (address, 90)));
        assert!(tcp::ask(&client, (address, 80)).is_err(), "{address} is the container's");
    }
    eventually!(
        trouble(&stage.here, "corp")
            .is_some_and(|said| said.contains("\"web\": what comes for it is for the host"))
    );
    // A daemon that starts finds them as they are.
    stage.here.restart();
    for address in web.addresses() {
        eventually!(tcp::ask(&client, (address, 90)));
        assert!(tcp::ask(&client, (address, 80)).is_err(), "{address} is the container's");
    }
    for address in web.addresses() {
        stage.here.host().sh(&format!("ip addr del {address}/24 dev eth0"));
        eventually!(tcp::ask(&client, (address, 80)));
    }
    drop((servers, of_host));
}

/// What a container is not held to by the guards does not show either.
#[test]
fn a_container_that_lies_about_its_station_is_not_seen_under_another() {
    needs!(root, "nft", "ping");
    let (stage, wire) = stage();
    let web = container(&stage.here, "web", 101);
    eventually!(web.netns.ping(stage.client.v4()));
    let script = "ip link set eth0 down; ip link set eth0 address 02:00:00:00:be:ef; ip link set eth0 up
        ip route replace default via 198.18.0.254; ip neigh flush all";
    assert!(web.netns.command("sh").args(["-c", script]).status().expect("sh runs").success());
    assert!(!web.netns.ping(stage.client.v4()));
    assert!(dropped(&stage.here, &web, "spoofed-mac") > 0);
    let frames = wire.take();
    assert!(frames.iter().all(|frame| !frame.windows(6).any(|six| six == [2, 0, 0, 0, 0xbe, 0xef])));
}

#[test]
fn a_vlan_and_a_neighbour_of_another_type_do_not_meet() {
    needs!(root, "nft", "ping");
    let (stage, wire) = stage();
    let said = stage.here.try_hnsctl(&[
        "network",
        "create",
        "other",
        "--type",
        "transparent",
        "--interface",
        "eth0",
        "--subnet",
        "198.18.7.0/24",
    ]);
    let said = said.expect_failure();
    assert!(
        said.contains("cannot share the switch on adapter eth0, which is of the type L2Bridge"),
        "{said}"
    );
    let seven = |hnsd: &Hnsd, name: &str, address: &str| {
        let options =
            ["--type", "l2bridge", "--interface", "eth0", "--vlan", "7", "--subnet", "10.18.0.0/24"];
        network(hnsd, "seven", &options);
        container_at(hnsd, "seven", name, &[address.to_owned()])
    };
    let (one, two) = (seven(&stage.here, "one", "10.18.0.5"), seven(&stage.there, "two", "10.18.0.6"));
    eventually!(one.netns.ping(two.v4()) && two.netns.ping(one.v4()));
    let web = container(&stage.here, "web", 101);
    eventually!(web.netns.ping(stage.client.v4()));
    assert!(!one.netns.ping(web.v4()));
    nobody_is_told(&wire, &[&one, &two, &web]);
    stage.here.hnsctl(&["network", "rm", "--force", "seven", "corp"]);
    eventually!(!stage.here.host().links().iter().any(|link| link.starts_with("hn")));
}
