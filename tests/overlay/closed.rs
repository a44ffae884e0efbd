//! What does not get in, and what does not get out.

use hns_testbed::{eventually, needs, tcp};

use crate::stage::{Stage, dropped};

/// A host that nobody has named, with the kernel's own VXLAN device and the right numbers.
fn intrude(stage: &Stage, vni: u64, address: &str) {
    let (here, router) = (stage.here.host().v4(), "0e:2a:c6:12:00:01");
    let there = stage.there.host().v4().octets().map(|octet| format!("{octet:02x}")).join(":");
    stage.client.sh(&format!(
        "ip link add vx0 address 0e:2a:{there} type vxlan id {vni} remote {here} dstport 4789
         ip addr add {address}/24 dev vx0; ip link set vx0 up
         ip neigh replace 10.244.1.1 lladdr {router} dev vx0; ip route replace 10.244.1.0/24 via 10.244.1.1 dev vx0 onlink"
    ));
}

#[test]
fn who_is_no_host_of_the_network_gets_nothing_in() {
    needs!(root, "nft", "ping");
    let stage = Stage::new(0);
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    for to in web.addresses() {
        eventually!(far.netns.ping(to));
    }
    let network = stage.here.hnsctl_json(&["network", "inspect", "blue"]);
    let vni = network["Ipams"][0]["Subnets"][0]["Policies"][0]["Settings"]["IsolationId"].as_u64();
    let vni = vni.expect("it has one");
    // Under the address of a container that another host has.
    intrude(&stage, vni, "10.244.2.77");
    assert!(!stage.client.ping(web.v4()));
    assert!(dropped(&stage.here, None, "spoofed-tunnel") > 0);
    // Under a number that no network here has.
    stage.client.sh("ip link del vx0");
    intrude(&stage, vni - 1, "10.244.2.77");
    assert!(!stage.client.ping(web.v4()));
    assert!(dropped(&stage.here, None, "unknown-vni") > 0);
}

/// Neither by the bridge nor by the tunnel's device.
#[test]
fn the_host_and_its_lan_are_not_on_an_overlay() {
    needs!(root, "nft", "ping");
    let stage = Stage::new(0);
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    eventually!(web.netns.ping(far.v4()));
    let host = stage.here.host();
    let _listening = tcp::Echo::serve(&host.netns(), (std::net::Ipv6Addr::UNSPECIFIED, 90));
    for to in host.addresses() {
        assert!(!web.netns.ping(to) && tcp::ask(&web.netns, (to, 90)).is_err(), "{to}");
    }
    for to in web.addresses() {
        assert!(!host.ping(to), "{to}");
    }
    host.sh("ip route add 10.244.1.0/24 dev hnx4789 || true");
    assert!(!host.ping(web.v4()));
    // Neither does another network of the host's lead there.
    stage.here.hnsctl(&["network", "create", "nat7", "--subnet", "10.7.0.0/24"]);
    let netns = host.add_netns("beside");
    stage.here.hnsctl(&["namespace", "create", "beside", "--path", "/run/netns/beside"]);
    stage.here.hnsctl(&[
        "endpoint",
        "create",
        "--network",
        "nat7",
        "--namespace",
        "beside",
        "--ip",
        "10.7.0.9",
    ]);
    assert!(!netns.ping(web.v4()) && !netns.ping(far.v4()));
}

/// `DisableInterComputeCommunication`, also where the other one is on another host.
#[test]
fn a_container_that_talks_to_no_other_does_not_through_the_tunnel_either() {
    needs!(root, "nft", "ping");
    let stage = Stage::new(0);
    let (near, far) = (stage.container_here("near", 12), stage.container_there("far", 11));
    let netns = stage.here.host().add_netns("quiet");
    stage.here.hnsctl(&["namespace", "create", "quiet", "--path", "/run/netns/quiet"]);
    let words = [
        "endpoint",
        "create",
        "--network",
        "blue",
        "--namespace",
        "quiet",
        "--ip",
        "10.244.1.33",
        "--disable-icc",
    ];
    stage.here.hnsctl(&words);
    eventually!(near.netns.ping(far.v4()));
    let quiet = std::net::IpAddr::from([10, 244, 1, 33]);
    assert!(!far.netns.ping(quiet) && !near.netns.ping(quiet));
    assert!(!netns.ping(far.v4()) && !netns.ping(near.v4()));
}
