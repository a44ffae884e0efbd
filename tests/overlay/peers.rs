//! Hosts that come and go while traffic flows.

use hns_testbed::{eventually, needs, tcp};
use hns_tests::story_support::live::{Live, at};
use serde_json::json;

use crate::stage::{Stage, dropped, overlay, prefixes};

#[test]
fn a_peer_is_added_moved_and_forgotten_while_containers_run() {
    needs!(root, "nft", "ping");
    let stage = Stage::bare();
    let (here, there) = (stage.here.host().v4(), stage.there.host().v4());
    overlay(&stage.here, "blue", 1, &[]);
    overlay(&stage.there, "blue", 2, &[(1, here.into())]);
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    for to in far.addresses() {
        assert!(!web.netns.ping(to));
    }
    assert!(dropped(&stage.here, Some(&web), "unrouted") > 0);
    let peers = prefixes(2).map(|prefix| format!("{prefix}={there}"));
    stage.here.hnsctl(&["network", "peer", "add", "blue", &peers[0], &peers[1]]);
    for to in far.addresses() {
        eventually!(web.netns.ping(to));
    }
    let listed = stage.here.hnsctl(&["network", "peer", "ls", "blue"]);
    let words: Vec<&str> = listed.split_whitespace().collect();
    let first: [&str; 2] = ["10.244.2.0/24", &there.to_string()];
    assert!(words.windows(2).any(|pair| pair == first), "{listed}");
    // Again is the same.
    stage.here.hnsctl(&["network", "peer", "add", "blue", &peers[0]]);
    let count = |listed: &str| listed.matches("10.244.2.0/24").count();
    assert_eq!(count(&stage.here.hnsctl(&["network", "peer", "ls", "blue"])), 1);
    stage.here.hnsctl(&["network", "peer", "rm", "blue", "10.244.2.0/24"]);
    assert!(!web.netns.ping(far.v4()));
    eventually!(web.netns.ping(far.v6()));
    let said = stage.here.try_hnsctl(&["network", "peer", "rm", "blue", "10.244.2.0/24"]).expect_failure();
    assert!(said.contains("no other host has 10.244.2.0/24 of network blue"), "{said}");
    // The policy that flannel removes is the one it has sent, not ours with everything chosen.
    let short = serde_json::json!({"ResourceType": "Policy", "RequestType": "Remove", "Settings": {"Policies": [{
        "Type": "RemoteSubnetRoute",
        "Settings": {"DestinationPrefix": prefixes(2)[1], "ProviderAddress": there.to_string()},
    }]}});
    let network = stage.here.hnsctl_json(&["network", "inspect", "blue"]);
    let path = format!("/v2/networks/{}/modify", network["ID"].as_str().expect("it has one"));
    let _changed = stage.here.api().post(&path, &short).expect("the daemon answers").expect_success();
    assert!(!web.netns.ping(far.v6()));
}

/// Two of them, with one device, that have nothing to do with each other.
#[test]
fn one_prefix_is_on_two_overlays_at_once() {
    needs!(root, "nft", "ping");
    let stage = Stage::new(0);
    let ends = [stage.here.host().v4(), stage.there.host().v4()];
    overlay(&stage.here, "red", 1, &[(2, ends[1].into())]);
    overlay(&stage.there, "red", 2, &[(1, ends[0].into())]);
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    let red_web = crate::stage::container(&stage.here, "red", "red-web", 1, 11);
    for to in far.addresses() {
        eventually!(web.netns.ping(to));
        assert!(!red_web.netns.ping(to), "{to} is of another network");
    }
    let red_far = crate::stage::container(&stage.there, "red", "red-far", 2, 11);
    for to in red_far.addresses() {
        eventually!(red_web.netns.ping(to));
    }
    // The device goes with the last.
    stage.here.hnsctl(&["network", "rm", "-f", "blue"]);
    for to in red_far.addresses() {
        eventually!(red_web.netns.ping(to));
    }
    assert!(stage.here.host().links().contains(&"hnx4789".to_owned()));
    stage.here.hnsctl(&["network", "rm", "-f", "red"]);
    eventually!(!stage.here.host().links().contains(&"hnx4789".to_owned()));
}

/// On the host that sends, and on the one that receives.
#[test]
fn a_connection_is_followed_through_both_hosts() {
    needs!(root, "nft", "bpftool");
    let stage = Stage::new(0);
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    let _server = tcp::Echo::serve(&far.netns, (far.v4(), 80));
    eventually!(tcp::ask(&web.netns, (far.v4(), 80)));
    let (source, to) = (web.v4().to_string(), far.v4().to_string());
    let out = Live::start(&stage.here, &["--from", "web", "--to", &format!("{to}:80")]);
    let inward = Live::start(&stage.there, &["--from", &source, "--to", "far:80"]);
    eventually!(tcp::ask(&web.netns, (far.v4(), 80)));
    out.sees(&at(&web, "Out", &[("/Onward", json!("Tunnel"))]));
    inward.sees(&at(&far, "In", &[("/Onward", json!("Container"))]));
    // The same as a trial, of which each host knows its part.
    let said = stage.here.hnsctl(&["trace", "--from", "web", "--to", &format!("{to}:80")]);
    assert!(said.contains(&format!("host {} has this address", stage.there.host().v4())), "{said}");
    let said = stage.there.hnsctl(&["trace", "--from", &source, "--to", "far:80"]);
    assert!(said.contains(&format!("host {} has this source", stage.here.host().v4())), "{said}");
    assert!(said.contains("delivered"), "{said}");
    let said = stage.here.try_hnsctl(&["trace", "--from", "web", "--to", "10.244.9.9"]).stdout;
    assert!(said.contains("unrouted"), "{said}");
}
