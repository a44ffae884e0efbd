//! Overlays on which the host has a port: the way out, the host itself, and published ports.

use std::net::{IpAddr, SocketAddr};

use hns_testbed::{FAR_V4, FAR_V6, eventually, needs, tcp};
use hns_tests::story_support::Container;
use hns_tests::story_support::daemon::modify_policies;
use serde_json::json;

use crate::stage::{Stage, container, overlay_with, prefixes};

/// `blue` on both hosts, each with a port on it.
fn stage() -> Stage {
    let stage = Stage::bare();
    let ends = [stage.here.host().v4(), stage.there.host().v4()];
    overlay_with(&stage.here, "blue", 1, &[(2, ends[1].into())], &["--host-route"]);
    overlay_with(&stage.there, "blue", 2, &[(1, ends[0].into())], &["--host-route"]);
    stage
}

#[test]
fn containers_reach_the_outside_and_the_host_and_each_other() {
    needs!(root, "nft", "ping");
    let stage = stage();
    let (web, app) = (stage.container_here("web", 11), stage.container_here("app", 12));
    let far = stage.container_there("far", 11);
    for (from, to) in [(&web, &far), (&far, &web), (&web, &app)] {
        for address in to.addresses() {
            eventually!(from.netns.ping(address));
        }
    }
    // Under the host's address outside, and under its own where the other one is on another host.
    let host = stage.here.host();
    for outside in [IpAddr::from(FAR_V4), IpAddr::from(FAR_V6)] {
        let server = tcp::Echo::serve(&stage.lab.router().netns(), (outside, 80));
        let seen = eventually!(tcp::ask(&web.netns, server.address()));
        assert!(host.addresses().contains(&seen.ip()), "{seen}");
        assert!(web.netns.ping(outside));
    }
    let listening = tcp::Echo::serve(&far.netns, (far.v4(), 80));
    assert_eq!(eventually!(tcp::ask(&web.netns, listening.address())).ip(), web.v4());
    for to in web.addresses() {
        eventually!(host.ping(to));
    }
    for gateway in ["10.244.1.1", "fd00:244:1::1"] {
        assert!(web.netns.ping(gateway.parse::<IpAddr>().expect("an address")), "{gateway}");
    }
    for own in host.addresses() {
        assert!(web.netns.ping(own), "{own}");
    }
    // Nobody outside gets in, and no other network of the host's.
    stage.client.sh(&format!("ip route add 10.244.1.0/24 via {}", host.v4()));
    assert!(!stage.client.ping(web.v4()));
    stage.here.hnsctl(&["network", "create", "nat7", "--subnet", "10.7.0.0/24"]);
    let beside = host.add_netns("beside");
    stage.here.hnsctl(&["namespace", "create", "beside", "--path", "/run/netns/beside"]);
    stage.here.hnsctl(&["endpoint", "create", "--network", "nat7", "--namespace", "beside"]);
    eventually!(beside.ping(FAR_V4));
    assert!(!beside.ping(web.v4()) && !beside.ping(far.v4()));
}

/// Exceptions of its policy are met by the container's own address, and by nobody else's word.
#[test]
fn a_container_keeps_its_address_to_where_its_policy_says_so() {
    needs!(root, "nft", "ping");
    let stage = stage();
    let (web, app) = (stage.container_here("web", 11), stage.container_here("app", 12));
    let (client, host) = (stage.client.netns(), stage.here.host());
    let via = host.addresses();
    stage.client.sh(&format!(
        "ip route add 10.244.1.0/24 via {}; ip -6 route add fd00:244:1::/64 via {}",
        via[0], via[1]
    ));
    let _at_client = stage.client.addresses().map(|address| tcp::Echo::serve(&client, (address, 80)));
    let seen_by =
        |at: IpAddr, container: &Container| tcp::ask(&container.netns, (at, 80)).map(|seen| seen.ip());
    for (hosts, at) in via.into_iter().zip(stage.client.addresses()) {
        eventually!(seen_by(at, &web).is_ok_and(|seen| seen == hosts));
    }
    let [v4, v6] = stage.client.addresses();
    let kept = json!([{"Type": "OutBoundNAT", "Settings": {"Exceptions": [format!("{v4}/32"), format!("{v6}/128")]}}]);
    let _changed = modify_policies(&stage.here, &web, "Add", &kept);
    for ((own, hosts), at) in web.addresses().into_iter().zip(via).zip(stage.client.addresses()) {
        eventually!(seen_by(at, &web).is_ok_and(|seen| seen == own));
        assert!(web.netns.ping(at));
        assert!(seen_by(at, &app).is_ok_and(|seen| seen == hosts));
        // Who is known by its address gets in as little as before.
        assert!(!stage.client.ping(own));
    }
    // What is no exception meets the host's address.
    let server = tcp::Echo::serve(&stage.lab.router().netns(), (FAR_V4, 80));
    assert_eq!(eventually!(tcp::ask(&web.netns, server.address())).ip(), via[0]);
    // The policies add up: one without settings translates all.
    let _changed =
        modify_policies(&stage.here, &web, "Add", &json!([{"Type": "OutBoundNAT", "Settings": {}}]));
    eventually!(seen_by(v4, &web).is_ok_and(|seen| seen == via[0]));
    let _changed = modify_policies(&stage.here, &web, "Update", &kept);
    eventually!(seen_by(v4, &web).is_ok_and(|seen| seen == web.v4()));
    let _changed = modify_policies(&stage.here, &web, "Remove", &kept);
    eventually!(seen_by(v4, &web).is_ok_and(|seen| seen == via[0]));
    let elements = host.sh("nft list set inet hns kept4; nft list set inet hns kept6");
    assert!(!elements.contains("elements"), "{elements}");
}

#[test]
fn ports_are_published_on_each_host() {
    needs!(root, "nft");
    let stage = stage();
    let netns = stage.here.host().add_netns("web");
    stage.here.hnsctl(&["namespace", "create", "web", "--path", "/run/netns/web"]);
    let words =
        ["endpoint", "create", "--network", "blue", "--name", "web", "--namespace", "web", "-p", "8080:80"];
    let web = Container::new("web", netns, stage.here.hnsctl_json(&words));
    let far = stage.container_there("far", 11);
    let _servers: Vec<tcp::Echo> =
        web.addresses().into_iter().map(|address| tcp::Echo::serve(&web.netns, (address, 80))).collect();
    for own in stage.here.host().addresses() {
        let at = SocketAddr::new(own, 8080);
        eventually!(tcp::ask(&stage.client.netns(), at));
        eventually!(tcp::ask(&stage.here.host().netns(), at));
        // A container of another host goes out by its own host, and comes as that.
        let seen = eventually!(tcp::ask(&far.netns, at));
        assert!(stage.there.host().addresses().contains(&seen.ip()), "{seen}");
    }
    eventually!(tcp::ask(&stage.here.host().netns(), "127.0.0.1:8080"));
}

/// What it must not talk to is every other container, wherever; the outside is none.
#[test]
fn a_container_that_talks_to_no_other_has_the_outside() {
    needs!(root, "nft", "ping");
    let stage = stage();
    let (near, far) = (stage.container_here("near", 12), stage.container_there("far", 11));
    let quiet = stage.here.host().add_netns("quiet");
    stage.here.hnsctl(&["namespace", "create", "quiet", "--path", "/run/netns/quiet"]);
    stage.here.hnsctl(&["endpoint", "create", "--network", "blue", "--namespace", "quiet", "--disable-icc"]);
    eventually!(quiet.ping(FAR_V4));
    for other in [&near, &far] {
        assert!(!quiet.ping(other.v4()) && !quiet.ping(other.v6()), "{}", other.name);
    }
}

/// Its prefix is the host's, too.
#[test]
fn a_prefix_that_the_host_has_already_is_refused() {
    needs!(root, "nft");
    let stage = stage();
    let words = ["network", "create", "red", "-t", "overlay", "--host-route", "--subnet", &prefixes(1)[0]];
    let said = stage.here.try_hnsctl(&words).expect_failure();
    assert!(said.contains("overlaps"), "{said}");
    let words = ["network", "create", "red", "-t", "overlay", "--subnet", &prefixes(1)[0]];
    stage.here.hnsctl(&words);
    let _web = container(&stage.here, "blue", "web", 1, 11);
    stage.here.hnsctl(&["network", "rm", "-f", "blue"]);
    eventually!(!stage.here.host().sh("ip route").contains("10.244.1.0"));
}
