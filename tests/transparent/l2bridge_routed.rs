//! Containers in a subnet of their host's own, whose gateway the host is by an endpoint, under the MAC address of the host's adapter: who
//! reaches whom by routes to the hosts, and that everything passes the host in both directions.

use std::net::IpAddr;

use hns_testbed::raw::Capture;
use hns_testbed::{Hnsd, Host, eventually, needs, tcp};
use hns_tests::story_support::Container;

use crate::filtered::trouble;
use crate::stage::{Party, Stage, container_at, network};

/// The host's subnets are `10.244.N.0/24` and `fd00:244:N::/64`.
fn pods(hnsd: &Hnsd, number: u8) {
    let prefixes = [format!("10.244.{number}.0/24"), format!("fd00:244:{number}::/64")];
    let gateways = [format!("--gateway=10.244.{number}.1"), format!("--gateway=fd00:244:{number}::1")];
    let mut words = vec!["--type", "l2bridge", "--interface", "eth0"];
    for (prefix, gateway) in prefixes.iter().zip(&gateways) {
        words.extend(["--subnet", prefix, gateway]);
    }
    network(hnsd, "pods", &words);
    hnsd.hnsctl(&["namespace", "create", "the-host", "--host-default"]);
}

/// The host's endpoint at `.LAST`.
fn gateway(hnsd: &Hnsd, number: u8, last: u8) -> Container {
    let ips = [format!("10.244.{number}.{last}"), format!("fd00:244:{number}::{last}")];
    let words = ["endpoint", "create", "--network", "pods", "--name", "gw", "--namespace", "the-host"];
    let words = [&words[..], &["--interface", "pods0", "--ip", &ips[0], "--ip", &ips[1]]].concat();
    Container::new("gw", hnsd.host().netns(), hnsd.hnsctl_json(&words))
}

/// A container whose gateway is the network's own, `.1`.
fn pod(hnsd: &Hnsd, number: u8, name: &str, last: u8) -> Container {
    let addresses = [format!("10.244.{number}.{last}"), format!("fd00:244:{number}::{last:x}")];
    container_at(hnsd, "pods", name, &addresses)
}

/// Routes to the subnet of `number` by that host.
fn route(from: &Host, by: &Host, number: u8) {
    let (v4, v6) = (by.v4(), by.v6());
    from.sh(&format!(
        "ip route add 10.244.{number}.0/24 via {v4}; ip -6 route add fd00:244:{number}::/64 via {v6}"
    ));
}

/// What belongs to no connection that a host has seen from its beginning goes no further: each host sees both directions.
const WATCHFUL: &str = "nft 'add table inet watchful
    add chain inet watchful f { type filter hook forward priority 0; policy accept; }
    add rule inet watchful f ct state invalid counter drop
    add rule inet watchful f tcp flags & (syn|ack) != syn ct state new counter drop'";

/// Two hosts with routes to each other's subnets, a client on the LAN with routes to both, and what the LAN's switch sees.
fn stage() -> (Stage, Capture) {
    let stage = Stage::bare();
    let (here, there) = (stage.here.host(), stage.there.host());
    for host in [here, there] {
        host.sh(WATCHFUL);
    }
    route(here, there, 2);
    route(there, here, 1);
    route(&stage.client, here, 1);
    route(&stage.client, there, 2);
    let wire = Capture::open(&stage.lab.router().netns());
    pods(&stage.here, 1);
    pods(&stage.there, 2);
    (stage, wire)
}

fn reaches(from: &Party, address: IpAddr) -> Result<(), String> {
    tcp::ask(&from.netns, (address, 80)).map_err(|error| format!("{} to {address}: {error}", from.name))?;
    from.netns.ping(address).then_some(()).ok_or_else(|| format!("{} hears nothing of {address}", from.name))
}

/// Everybody reaches everybody, by connections in both families.
#[track_caller]
fn all_meet(parties: &[Party]) {
    for to in parties {
        let servers: Vec<tcp::Echo> =
            to.addresses.iter().map(|address| tcp::Echo::serve(&to.netns, (*address, 80))).collect();
        for from in parties.iter().filter(|from| from.name != to.name) {
            for address in &to.addresses {
                eventually!(reaches(from, *address));
            }
        }
        drop(servers);
    }
}

#[test]
fn containers_of_routed_subnets_meet_everybody_and_the_wire_sees_the_hosts_alone() {
    needs!(root, "nft", "ping");
    let (stage, wire) = stage();
    let gateways = [gateway(&stage.here, 1, 1), gateway(&stage.there, 2, 1)];
    let web = pod(&stage.here, 1, "web", 7);
    let db = pod(&stage.here, 1, "db", 8);
    let far = pod(&stage.there, 2, "far", 7);
    all_meet(&[
        Party::container("web", &web),
        Party::container("db", &db),
        Party::container("far", &far),
        Party::host("here", stage.here.host()),
        Party::host("there", stage.there.host()),
        Party::host("client", &stage.client),
    ]);
    // The host is reached at the gateway's addresses, also from afar.
    for address in gateways[0].addresses() {
        for from in [&web.netns, &far.netns, &stage.client.netns(), &stage.there.host().netns()] {
            eventually!(from.ping(address));
        }
    }
    let frames = wire.take();
    assert!(frames.len() > 100, "{} frames", frames.len());
    for container in [&web, &db, &far, &gateways[0], &gateways[1]] {
        let mac = container.mac();
        let told = frames.iter().find(|frame| frame.windows(6).any(|six| six == mac));
        assert_eq!(told, None, "{}", container.name);
    }
    for hnsd in [&stage.here, &stage.there] {
        assert_eq!(trouble(hnsd, "pods"), None);
    }
}
