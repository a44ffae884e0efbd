//! The adapter lives: it is made anew, gets another name or size, and others use it too.

use hns_testbed::{eventually, needs};

use crate::filtered::trouble;
use crate::leases::WITH_DHCP;
use crate::stage::{Stage, container, container_at, network};

#[test]
fn an_adapter_that_went_is_told_and_one_that_came_back_serves_at_once() {
    needs!(root, "nft", "ping");
    let stage = Stage::new();
    let web = container(&stage.here, "web", 101);
    eventually!(web.netns.ping(stage.client.v4()));
    stage.here.host().sh("ip link delete eth0");
    let said = eventually!(trouble(&stage.here, "corp"));
    assert!(said.contains("there is no adapter eth0"), "{said}");
    stage.lab.plug_in(stage.here.host());
    eventually!(within 5 s, web.netns.ping(stage.client.v4()) && stage.client.ping(web.v6()));
    assert!(stage.here.host().ping(web.v4()) && web.netns.ping(stage.here.host().v6()));
    eventually!(trouble(&stage.here, "corp").is_none());
    // Under another name it is another adapter, until it has its own again.
    stage.here.host().sh("ip link set eth0 down; ip link set eth0 name lan0; ip link set lan0 up");
    let said = eventually!(trouble(&stage.here, "corp"));
    assert!(said.contains("there is no adapter eth0"), "{said}");
    stage.here.host().sh("ip link set lan0 down; ip link set lan0 name eth0; ip link set eth0 up");
    eventually!(within 5 s, web.netns.ping(stage.client.v4()) && stage.client.ping(web.v6()));
}

#[test]
fn an_adapter_that_carries_less_than_its_containers_send_is_told() {
    needs!(root, "nft", "ping");
    let stage = Stage::new();
    let web = container(&stage.here, "web", 101);
    stage.here.host().sh("ip link set eth0 mtu 1400");
    let said = eventually!(trouble(&stage.here, "corp"));
    assert!(said.contains("adapter eth0 carries 1400 bytes") && said.contains("1500"), "{said}");
    stage.here.host().sh("ip link set eth0 mtu 1500");
    eventually!(trouble(&stage.here, "corp").is_none());
    eventually!(web.netns.ping(stage.client.v4()));
}

/// What others have put on the adapter stays, works, and takes nothing from containers.
#[test]
fn an_adapter_is_shared_with_others_who_use_it() {
    needs!(root, "nft", "ping", "tc");
    let stage = Stage::bare();
    let host = stage.here.host();
    let beside = host.add_netns("beside");
    host.sh("tc qdisc add dev eth0 ingress
             ip link add mv0 link eth0 netns beside type macvlan mode bridge
             ip netns exec beside sh -c 'ip addr add 198.18.0.90/24 dev mv0; ip link set mv0 up'");
    eventually!(beside.ping(stage.client.v4()));
    network(&stage.here, "corp", &crate::stage::ON_THE_LAN);
    let web = container(&stage.here, "web", 101);
    let reaches = || {
        [
            web.netns.ping(stage.client.v4()),
            stage.client.ping(web.v6()),
            host.ping(web.v4()),
            beside.ping(stage.client.v4()),
            stage.client.ping([198, 18, 0, 90]),
            host.ping(stage.client.v4()),
        ]
    };
    eventually!(reaches() == [true; 6]);
    host.sh("tc qdisc delete dev eth0 ingress; tc qdisc add dev eth0 clsact; tc qdisc add dev eth0 root tbf rate 100mbit burst 32k latency 50ms");
    eventually!(reaches() == [true; 6]);
    stage.here.hnsctl(&["network", "rm", "--force", "corp"]);
    eventually!(beside.ping(stage.client.v4()) && host.ping(stage.client.v4()));
    assert!(host.sh("tc qdisc show dev eth0").contains("clsact"), "it is not ours");
}

/// Two with one MAC address on a LAN would have each other's frames.
#[test]
fn no_container_gets_a_mac_address_of_the_adapter_or_of_another_network_there() {
    needs!(root, "nft", "ping");
    let stage = Stage::bare();
    let adapter =
        stage.here.host().sh("cat /sys/class/net/eth0/address").trim().to_uppercase().replace(':', "-");
    for kind in ["transparent", "l2bridge"] {
        let on_it = ["--type", kind, "--interface", "eth0", "--subnet"];
        network(&stage.here, "corp", &[&on_it[..], &["198.18.0.0/24"]].concat());
        network(&stage.here, "lab", &[&on_it[..], &["198.19.0.0/24"]].concat());
        let mut networks = vec!["corp", "lab"];
        if kind == "transparent" {
            // Before the LAN is asked for an address.
            network(&stage.here, "leased", &WITH_DHCP);
            networks.push("leased");
        }
        let web = container_at(&stage.here, "corp", &format!("web-{kind}"), &["198.18.0.101".to_owned()]);
        let held = web.mac().map(|octet| format!("{octet:02X}")).join("-");
        let rows = networks.iter().map(|network| (*network, &adapter, "adapter eth0"));
        let beside = (networks[networks.len() - 1], &held, "network \"corp\"");
        for (network, mac, whose) in rows.chain([beside, ("lab", &held, &*web.name)]) {
            let words = [
                "endpoint",
                "create",
                "--network",
                network,
                "--name",
                "twin",
                "--namespace",
                &web.name,
                "--mac",
                mac,
            ];
            let said = stage.here.try_hnsctl(&words).expect_failure();
            for word in ["endpoint", "MacAddress", mac, whose, network] {
                assert!(said.contains(word), "{kind}: {word}: {said}");
            }
        }
        assert!(!stage.here.hnsctl(&["endpoint", "ls"]).contains("twin"));
        eventually!(web.netns.ping(stage.client.v4()) && stage.here.host().ping(web.v4()));
        for network in networks {
            stage.here.hnsctl(&["network", "rm", "--force", network]);
        }
    }
}
