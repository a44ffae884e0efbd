//! Policies of a network: rules of all its endpoints, address sets that rules name, defaults of its ports; changed live.

use std::net::IpAddr;

use hns_testbed::{eventually, needs, tcp};
use hns_tests::story_support::policies::{Stage, acl, asks, of};
use hns_tests::story_support::{Container, text};
use serde_json::{Value, json};

fn network_acl(action: &str, direction: &str, priority: u16, more: &Value) -> Value {
    let mut rule = acl(action, direction, priority, more);
    rule["Type"] = json!("NetworkACL");
    rule
}

fn set(id: &str, members: &str) -> Value {
    json!({"Type": "SetPolicy", "Settings": {"Id": id, "Name": id, "PolicyType": "IPSET", "Values": members}})
}

fn nested(id: &str, sets: &str) -> Value {
    json!({"Type": "SetPolicy", "Settings": {"Id": id, "Name": id, "PolicyType": "NESTEDIPSET", "Values": sets}})
}

/// What lets everything pass that nothing blocks.
fn rest(kind: &str) -> Vec<Value> {
    let of = |direction| {
        let mut rule = acl("Allow", direction, 65_500, &json!({}));
        rule["Type"] = json!(kind);
        rule
    };
    vec![of("In"), of("Out")]
}

fn with_rest(kind: &str, mut policies: Vec<Value>) -> Value {
    policies.extend(rest(kind));
    json!(policies)
}

/// Something changes about the network of the stage.
fn modify(stage: &Stage, request: &str, policies: &Value) -> Value {
    stage.scene.modify_network(&stage.network, request, policies)
}

fn sets_decide(kind: &str) {
    let stage = Stage::on(kind);
    let unknown = acl("Block", "In", 100, &json!({"LocalAddresses": "bad"}));
    let document = json!({
        "ResourceType": "Policy", "RequestType": "Add", "Settings": {"Policies": [unknown]},
    });
    let path = format!("/v2/endpoints/{}/modify", stage.web.id);
    let refused = stage.scene.hnsd.api().post(&path, &document).expect("the daemon answers");
    refused.expect_error(0x803b_000d, "address set");

    // With sets the local field is the source (hcn-api 5.6).
    modify(&stage, "Add", &json!([set("bad", &of(&stage.foe))]));
    stage.modify("Add", &with_rest("ACL", vec![unknown]));
    stage.reach(&[("friend", 80, true), ("foe", 80, false), ("foe", 53, false)]);

    // Members come and go, while a connection of somebody else goes on.
    let mut talk = tcp::Conversation::open(&stage.friend.netns, (stage.web.v4(), 80)).expect("it is served");
    modify(&stage, "Update", &json!([set("bad", "")]));
    stage.reach(&[("foe", 80, true), ("foe", 53, true)]);
    let mut foes = tcp::Conversation::open(&stage.foe.netns, (stage.web.v4(), 81)).expect("it is served");
    let prefix = format!("{},10.7.0.128/25,fd00:7::8000/113", of(&stage.foe));
    modify(&stage, "Add", &json!([set("bad", &prefix)]));
    assert!(foes.say("it is in the set now").is_err());
    stage.reach(&[("foe", 80, false), ("foe", 53, false)]);
    talk.say("nobody has touched it").expect("an answer");

    // Of several sets in one field an address must be in all; a nested one is what they are together.
    modify(&stage, "Add", &json!([set("friends", &of(&stage.friend)), nested("anybody", "bad,friends")]));
    let both = |sets: &str| with_rest("ACL", vec![acl("Block", "In", 100, &json!({"LocalAddresses": sets}))]);
    stage.modify("Update", &both("bad,friends"));
    stage.reach(&[("friend", 80, true), ("foe", 80, true)]);
    stage.modify("Update", &both("anybody,friends"));
    stage.reach(&[("friend", 80, false), ("foe", 80, true)]);
    stage.modify("Update", &both("anybody"));
    stage.reach(&[("friend", 80, false), ("foe", 80, false)]);
    modify(&stage, "Update", &json!([nested("anybody", "bad")]));
    stage.reach(&[("friend", 80, true), ("foe", 80, false)]);

    // What is named stays, and says by whom.
    let refused = |policies: &Value, code: u32, word: &str| {
        stage.scene.try_to_modify_network(&stage.network, "Remove", policies).expect_error(code, word);
    };
    refused(&json!([set("anybody", "")]), 0x803b_002c, "endpoint");
    refused(&json!([set("bad", "")]), 0x803b_002c, "anybody");
    refused(&json!([set("nowhere", "")]), 0x803b_0008, "nowhere");
    stage.modify("Reset", &json!([]));
    modify(&stage, "Remove", &json!([set("anybody", ""), set("bad", ""), set("friends", "")]));
    stage.reach(&[("friend", 80, true), ("foe", 80, true)]);
}

#[test]
fn sets_decide_on_a_nat_network() {
    needs!(root, "nft");
    sets_decide("nat");
}

#[test]
fn sets_decide_on_a_private_network() {
    needs!(root, "nft");
    sets_decide("private");
}

#[test]
fn a_rule_of_the_network_is_one_of_each_endpoint() {
    needs!(root, "nft");
    let stage = Stage::on("nat");
    let no_web =
        network_acl("Block", "In", 100, &json!({"Protocols": "6", "LocalPorts": "80", "Id": "no-web"}));
    modify(&stage, "Add", &with_rest("NetworkACL", vec![no_web.clone()]));
    stage.reach(&[("friend", 80, false), ("friend", 81, true), ("foe", 80, false), ("foe", 53, true)]);
    // One that comes later has it as well, with its first packet.
    let late = stage.scene.container("blue", "late", &[]);
    let server = tcp::Echo::serve(&late.netns, (late.v4(), 80));
    assert!(asks(&stage.friend.netns, late.v4().into(), 80).is_err());
    // The endpoint's own stand among them, by priority.
    stage.modify("Add", &json!([acl("Allow", "In", 90, &json!({"RemoteAddresses": of(&stage.friend)}))]));
    stage.reach(&[("friend", 80, true), ("foe", 80, false)]);
    // A restart changes nothing, and the rule goes as it came.
    let mut stage = stage;
    stage.scene.hnsd.restart();
    stage.reach(&[("friend", 80, true), ("foe", 80, false), ("foe", 81, true)]);
    modify(&stage, "Remove", &json!([no_web]));
    stage.reach(&[("foe", 80, true)]);
    eventually!(asks(&stage.foe.netns, late.v4().into(), 80));
    drop(server);
    let shown = modify(&stage, "Reset", &json!([]));
    assert_eq!(shown["Policies"], json!([]), "{shown:#}");
}

/// What a rule has decided on at this port.
fn packets(stage: &Stage, endpoint: &Container, id: &str) -> u64 {
    let shown = stage.scene.get(&format!("/v2/endpoints/{}/rules", endpoint.id));
    let rules = shown["Rules"].as_array().expect("a list of rules");
    rules
        .iter()
        .find(|rule| rule["Id"] == id)
        .and_then(|rule| rule["Packets"].as_u64())
        .expect("it is a rule there")
}

#[test]
fn each_port_counts_for_itself_and_a_rule_that_stays_goes_on() {
    needs!(root, "nft");
    let stage = Stage::on("nat");
    let counted = |number: u16, id: &str| {
        network_acl(
            "Allow",
            "In",
            number,
            &json!({"Id": id, "Protocols": "6", "LocalPorts": number.to_string()}),
        )
    };
    modify(&stage, "Add", &with_rest("NetworkACL", vec![counted(80, "eighty")]));
    for _ in 0..3 {
        asks(&stage.friend.netns, stage.web.v4().into(), 80).expect("it is served");
    }
    let counts = || [&stage.web, &stage.friend, &stage.foe].map(|it| packets(&stage, it, "eighty"));
    assert_eq!(counts(), [3, 0, 0]);
    modify(&stage, "Add", &json!([counted(81, "eighty-one")]));
    asks(&stage.foe.netns, stage.web.v4().into(), 80).expect("it is served");
    assert_eq!(counts(), [4, 0, 0]);
    assert_eq!(packets(&stage, &stage.web, "eighty-one"), 0);
}

/// A network that is made with sets and rules, in one document.
#[test]
fn a_network_is_made_with_its_policies() {
    needs!(root, "nft");
    let stage = Stage::on("nat");
    let blocked = network_acl("Block", "Out", 100, &json!({"RemoteAddresses": "hosts"}));
    let policies = with_rest("NetworkACL", vec![set("hosts", "10.9.0.1,fd00:9::1"), blocked]);
    let subnets = json!([{"IpAddressPrefix": "10.9.0.0/24"}, {"IpAddressPrefix": "fd00:9::/64"}]);
    let document =
        json!({"Name": "red", "Type": "NAT", "Ipams": [{"Subnets": subnets}], "Policies": policies});
    let made =
        stage.scene.hnsd.api().post("/v2/networks", &document).expect("the daemon answers").expect_success();
    assert_eq!(made["Policies"], policies);
    let [one, two] = ["one", "two"].map(|name| stage.scene.container("red", name, &[]));
    for to in two.addresses() {
        eventually!(one.netns.ping(to));
    }
    for gateway in ["10.9.0.1", "fd00:9::1"] {
        assert!(!one.netns.ping(gateway.parse::<IpAddr>().expect("an address")), "{gateway}");
    }
    stage.scene.hnsd.hnsctl(&["network", "rm", "red", "--force"]);
}

fn set_defaults(stage: &Stage, path: &str, request: &str, settings: &Value) {
    let document = json!({"ResourceType": "AdditionalParams", "RequestType": request, "Settings": settings});
    let answer = stage.scene.hnsd.api().post(&format!("/v2/{path}/modify"), &document);
    let shown = answer.expect("the daemon answers").expect_success();
    assert!(shown["ID"].is_string(), "{shown}");
}

#[test]
fn what_no_rule_decides_changes_for_a_whole_network() {
    needs!(root, "nft");
    let stage = Stage::on("nat");
    let (network, web) =
        (format!("networks/{}", text(&stage.network, "ID")), format!("endpoints/{}", stage.web.id));
    set_defaults(&stage, &network, "Add", &json!({"AclDefaultIn": "Block"}));
    stage.reach(&[("friend", 80, false), ("foe", 53, false)]);
    // What the endpoint says itself counts more.
    set_defaults(&stage, &web, "Add", &json!({"AclDefaultIn": "Allow"}));
    stage.reach(&[("friend", 80, true), ("foe", 53, true)]);
    set_defaults(&stage, &web, "Remove", &json!({"AclDefaultIn": "Allow"}));
    stage.reach(&[("friend", 80, false)]);
    set_defaults(&stage, &network, "Reset", &json!({}));
    stage.reach(&[("friend", 80, true), ("foe", 53, true)]);
}

/// Fifty thousand addresses, and what they cost in the daemon's time is not more than a client waits for.
#[test]
fn a_large_set_is_taken_as_a_whole() {
    needs!(root, "nft");
    let stage = Stage::on("nat");
    let mut members: Vec<String> = (0..50_000_u32)
        .map(|number| std::net::Ipv4Addr::from(0x0b00_0000 + number * 2).to_string())
        .collect();
    modify(&stage, "Add", &json!([set("many", &members.join(","))]));
    stage.modify("Add", &with_rest("ACL", vec![acl("Block", "In", 100, &json!({"LocalAddresses": "many"}))]));
    stage.reach(&[("friend", 80, true), ("foe", 80, true)]);
    members.push(of(&stage.foe));
    modify(&stage, "Update", &json!([set("many", &members.join(","))]));
    stage.reach(&[("friend", 80, true), ("foe", 80, false)]);
    members.pop();
    modify(&stage, "Update", &json!([set("many", &members.join(","))]));
    stage.reach(&[("friend", 80, true), ("foe", 80, true)]);
}

#[test]
fn bad_policies_of_a_network_are_refused_by_name() {
    needs!(root, "nft");
    let stage = Stage::on("nat");
    modify(&stage, "Add", &json!([set("good", "10.7.0.0/24")]));
    let tries: [(&str, Value, u32, &str); 8] = [
        ("Add", json!([set("any", "10.7.0.1")]), 0x803b_000d, "any"),
        ("Add", json!([nested("new", "nobody")]), 0x803b_000d, "nobody"),
        ("Add", json!([nested("a", "b"), nested("b", "a")]), 0x803b_000d, "nested in itself"),
        ("Update", json!([nested("good", "good")]), 0x803b_000d, "nested in itself"),
        (
            "Add",
            json!([network_acl("Block", "In", 1, &json!({"LocalAddresses": "nobody"}))]),
            0x803b_000d,
            "nobody",
        ),
        (
            "Add",
            json!([network_acl(
                "Block",
                "In",
                1,
                &json!({"LocalAddresses": "good", "RemoteAddresses": "10.7.0.9"})
            )]),
            0x803b_000d,
            "same end",
        ),
        (
            "Add",
            json!([{"Type": "ACL", "Settings": {"Action": "Block", "Direction": "In"}}]),
            0x803b_000e,
            "ACL",
        ),
        ("Remove", json!([network_acl("Block", "In", 1, &json!({}))]), 0x803b_0008, "NetworkACL"),
    ];
    for (request, policies, code, word) in tries {
        stage.scene.try_to_modify_network(&stage.network, request, &policies).expect_error(code, word);
    }
    let shown = stage.scene.get(&format!("/v2/networks/{}", text(&stage.network, "ID")));
    assert_eq!(shown["Policies"], json!([set("good", "10.7.0.0/24")]), "{shown:#}");
    // Update of a set that is not there is passed over (hcn-api 5.6).
    modify(&stage, "Update", &json!([set("other", "10.7.0.1")]));
    assert_eq!(
        stage.scene.get(&format!("/v2/networks/{}", text(&stage.network, "ID")))["Policies"],
        shown["Policies"]
    );
}
