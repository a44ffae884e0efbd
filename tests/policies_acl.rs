//! ACLs, tiers and limits of an endpoint, by create and by Modify, on every type of network, in both families, with real traffic.

use hns_testbed::raw::{self, Injector, Link};
use hns_testbed::{eventually, needs, tcp};
use hns_tests::story_support::policies::{Stage, acl, asks, of};
use hns_tests::story_support::{Container, text};
use serde_json::{Value, json};

fn rules_decide(kind: &str) {
    let stage = Stage::on(kind);
    let all = |direction| acl("Allow", direction, 65_500, &json!({}));
    let out = all("Out");
    // One rule, and what no rule lets pass is closed, in both directions (hcn-api 5.5).
    let web = acl("Allow", "In", 200, &json!({"Protocols": "6", "LocalPorts": "80", "Id": "web"}));
    stage.modify("Add", &json!([web]));
    stage.reach(&[("friend", 80, true), ("friend", 81, false), ("friend", 53, false), ("foe", 80, true)]);
    assert!(asks(&stage.web.netns, stage.friend.v4().into(), 80).is_err());
    // A lower number counts first, whoever came first.
    let foe = acl("Block", "In", 100, &json!({"RemoteAddresses": of(&stage.foe)}));
    stage.modify("Add", &json!([foe]));
    stage.reach(&[("friend", 80, true), ("foe", 80, false)]);
    // Of equals Block comes first; everything else is let in.
    let names = acl("Block", "In", 65_500, &json!({"Protocols": "17"}));
    stage.modify("Add", &json!([all("In"), names, out]));
    stage.reach(&[("friend", 81, true), ("friend", 53, false), ("foe", 81, false)]);
    stage.modify("Remove", &json!([names]));
    stage.reach(&[("friend", 53, true), ("foe", 53, false)]);
    // Update replaces them all, and Reset takes them away.
    stage.modify("Update", &json!([acl("Allow", "In", 300, &json!({"RemoteAddresses": of(&stage.foe)}))]));
    stage.reach(&[("friend", 80, false), ("foe", 80, true), ("foe", 53, true)]);
    stage.modify("Reset", &json!([]));
    stage.reach(&[("friend", 80, true), ("friend", 53, true), ("foe", 81, true)]);
    let shown = stage.scene.inspect(&stage.web);
    assert_eq!(shown["Policies"], json!([]), "{shown}");
}

#[test]
fn rules_decide_on_a_nat_network() {
    needs!(root, "nft");
    rules_decide("nat");
}

#[test]
fn rules_decide_on_an_internal_network() {
    needs!(root, "nft");
    rules_decide("internal");
}

#[test]
fn rules_decide_on_a_private_network() {
    needs!(root, "nft");
    rules_decide("private");
}

#[test]
fn a_first_packet_meets_the_rules_it_was_created_with() {
    needs!(root, "nft");
    let stage = Stage::on("nat");
    let netns = stage.scene.host.add_netns("late");
    let rules = json!([
        acl("Block", "Out", 100, &json!({"RemoteAddresses": of(&stage.web)})),
        acl("Allow", "Out", 200, &json!({}))
    ]);
    let namespace = json!({"AdditionalParams": {"Path": "/run/netns/late"}});
    let document = json!({"HostComputeNetwork": text(&stage.web.document, "HostComputeNetwork"), "HostComputeNamespace": namespace, "Policies": rules});
    let made =
        stage.scene.hnsd.api().post("/v2/endpoints", &document).expect("the daemon answers").expect_success();
    assert_eq!(made["Policies"], rules);
    for to in stage.web.addresses() {
        assert!(asks(&netns, to, 80).is_err(), "{to}");
    }
    for to in stage.friend.addresses() {
        eventually!(netns.ping(to));
    }
    // It is the same after a restart of the daemon.
    let mut stage = stage;
    stage.scene.hnsd.restart();
    assert!(asks(&netns, stage.web.v4().into(), 80).is_err());
    eventually!(netns.ping(stage.friend.v4()));
}

#[test]
fn tiers_and_the_firewall_of_the_endpoint_come_before_the_rules() {
    needs!(root, "nft");
    let stage = Stage::on("nat");
    let tier = |name: &str, order: u16, rules: Value| json!({"Type": "TierAcl", "Settings": {"Name": name, "Direction": "In", "Order": order, "TierAclRules": rules}});
    let rule = |action: &str, priority: u16, more: Value| {
        let mut rule = json!({"TierAclRuleAction": action, "Priority": priority});
        more.as_object().into_iter().flatten().for_each(|(key, value)| rule[key] = value.clone());
        rule
    };
    // The later tier blocks everything that the first does not pass on; what it passes, the second blocks on one port.
    let first = json!([
        rule(
            "Allow",
            10,
            json!({"RemoteAddresses": of(&stage.friend), "Protocols": "6", "LocalPorts": "81"})
        ),
        rule("Pass", 20, json!({}))
    ]);
    let second = json!([rule("Block", 10, json!({"Protocols": "6"}))]);
    stage.modify("Add", &json!([tier("second", 200, second), tier("first", 100, first)]));
    stage.reach(&[("friend", 81, true), ("friend", 80, false), ("foe", 81, false), ("friend", 53, true)]);
    // A rule of the type Host closes, and opens nothing that the tiers close.
    let host = |action: &str, more: Value| {
        let mut host = acl(action, "In", 0, &more);
        host["Settings"]["RuleType"] = json!("Host");
        host
    };
    stage.modify(
        "Add",
        &json!([host("Allow", json!({})), host("Block", json!({"RemoteAddresses": of(&stage.foe)}))]),
    );
    stage.reach(&[("friend", 81, true), ("friend", 80, false), ("foe", 53, false), ("friend", 53, true)]);
}

/// The first rules find connections that nobody has followed: TCP goes on where the rules let it begin on one of its sides. Later ones
/// know who began.
#[test]
fn rules_that_come_meet_the_connections_that_are_there() {
    needs!(root, "nft");
    let stage = Stage::on("nat");
    let open = |from: &Container| {
        let talk = tcp::Conversation::open(&from.netns, (stage.web.v4(), 80));
        talk.expect("it is served")
    };
    let (mut friend, mut foe) = (open(&stage.friend), open(&stage.foe));
    let friends = json!({"RemoteAddresses": of(&stage.friend)});
    let of_friends = ["In", "Out"].map(|direction| acl("Allow", direction, 200, &friends));
    stage.modify("Add", &json!(of_friends));
    friend.say("its connection goes on").expect("an answer");
    assert!(foe.say("nobody hears it").is_err());
    stage.modify("Reset", &json!([]));

    let all = ["In", "Out"].map(|direction| acl("Allow", direction, 200, &json!({})));
    stage.modify("Add", &json!(all));
    let (mut friend, mut foe) = (open(&stage.friend), open(&stage.foe));
    let block = acl("Block", "In", 100, &json!({"RemoteAddresses": of(&stage.foe)}));
    stage.modify("Add", &json!([block]));
    friend.say("its connection goes on").expect("an answer");
    assert!(foe.say("though it might have begun inside").is_err());
}

#[test]
fn what_a_rule_drops_is_counted_under_its_name() {
    needs!(root, "nft");
    let stage = Stage::on("nat");
    let rules = json!([
        acl("Block", "In", 100, &json!({"Id": "no-foe", "RemoteAddresses": of(&stage.foe)})),
        acl("Allow", "In", 200, &json!({}))
    ]);
    stage.modify("Add", &rules);
    assert!(asks(&stage.foe.netns, stage.web.v4().into(), 80).is_err());
    let drops = stage.scene.hnsd.hnsctl_json(&["drops", "web"]);
    let of_rules = |drop: &&Value| drop["Reason"] == "acl-in" && drop["Packets"].as_u64() > Some(0);
    assert!(drops.as_array().into_iter().flatten().any(|drop| of_rules(&drop)), "{drops:#}");
    let stats = stage.scene.get(&format!("/v2/endpoints/{}/stats", stage.web.id));
    assert!(stats["DroppedPacketsIncoming"].as_u64() > Some(0), "{stats:#}");
}

/// Of 1,000 large frames at once a limit of 20 kB/s lets through its burst.
#[test]
fn a_limit_holds_in_both_directions_and_goes_again() {
    needs!(root, "nft");
    let stage = Stage::on("nat");
    let limits =
        json!({"MaximumOutgoingBandwidthInBytes": 20_000, "MaximumIncomingBandwidthInBytes": 20_000});
    let limit = json!([{"Type": "QOS", "Settings": limits}]);
    let flood = |from: &Container, to: &Container| {
        let link = Link { to: to.mac(), from: from.mac() };
        let packet = raw::udp((from.v4().into(), 4000), (to.v4().into(), 9), &[0; 1400]);
        let injector = Injector::open(&from.netns, "eth0");
        for _ in 0..1000 {
            injector.send(&link.packet(&packet)).expect("the interface is up");
        }
    };
    let dropped = |reason: &str| {
        let drops = stage.scene.get(&format!("/v2/drops?endpoint={}", stage.web.id));
        let of_reason = drops.as_array().into_iter().flatten().filter(|drop| drop["Reason"] == reason);
        of_reason.filter_map(|drop| drop["Packets"].as_u64()).sum::<u64>()
    };
    stage.modify("Update", &limit);
    assert_eq!(stage.scene.inspect(&stage.web)["Policies"], limit);
    for (from, to, reason) in
        [(&stage.web, &stage.friend, "meter-out"), (&stage.friend, &stage.web, "meter-in")]
    {
        flood(from, to);
        // 128 KiB are 90 of them; others have had a part of it, and a few more come with time.
        eventually!({
            let count = dropped(reason);
            if (850..=950).contains(&count) { Ok(()) } else { Err(count) }
        });
    }
    stage.modify("Remove", &limit);
    let before = ["meter-out", "meter-in"].map(dropped);
    flood(&stage.web, &stage.friend);
    flood(&stage.friend, &stage.web);
    stage.reach(&[("friend", 80, true)]);
    assert_eq!(["meter-out", "meter-in"].map(dropped), before);
}
