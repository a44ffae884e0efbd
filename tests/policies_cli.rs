//! An operator allows, blocks, counts and limits in the words of `hnsctl`, with real traffic.

use std::net::IpAddr;

use hns_testbed::{eventually, needs, program, tcp};
use hns_tests::story_support::{Container, Scene};
use serde_json::{Value, json};

/// A container that serves TCP on 80 and 81, and two others on its network.
struct Stage {
    scene: Scene,
    web: Container,
    friend: Container,
    foe: Container,
    _servers: Vec<tcp::Echo>,
}

impl Stage {
    /// `options`: of the web server's `hnsctl endpoint create`.
    #[track_caller]
    fn with(options: &[&str]) -> Self {
        let scene = Scene::new();
        scene.network("blue", 7, &[]);
        let [friend, foe] = ["friend", "foe"].map(|name| scene.container("blue", name, &[]));
        let web = scene.container("blue", "web", options);
        let addresses = web.addresses();
        let places = addresses.iter().flat_map(|address| [(*address, 80), (*address, 81)]);
        let servers = places.map(|at| tcp::Echo::serve(&web.netns, at)).collect();
        Self { scene, web, friend, foe, _servers: servers }
    }

    /// Runs `hnsctl policy`, which must succeed.
    #[track_caller]
    fn policy(&self, words: &[&str]) -> String {
        self.scene.hnsd.hnsctl(&[&["policy"], words].concat())
    }

    /// Whether the web server is reached at every address.
    #[track_caller]
    fn reaches(&self, from: &Container, port: u16, reached: bool) {
        for to in self.web.addresses() {
            let what = format!("{} -> {to} port {port}", from.name);
            if reached {
                eventually!(tcp::ask(&from.netns, (to, port)).map_err(|error| format!("{what}: {error}")));
            } else {
                assert!(tcp::ask(&from.netns, (to, port)).is_err(), "{what} got through");
            }
        }
    }

    /// The rows of `policy ls web`: type, packets, and the policy in words.
    #[track_caller]
    fn rows(&self) -> Vec<(String, Option<u64>, String)> {
        let table = self.policy(&["ls", "web"]);
        let row = |line: &str| {
            let mut cells = line.splitn(3, "  ").map(str::trim);
            let mut cell = || cells.next().unwrap_or_default().to_owned();
            let kind = cell();
            let rest = line[kind.len()..].trim_start();
            let (packets, words) = rest.split_once(' ').unwrap_or((rest, ""));
            (kind, packets.parse().ok(), words.trim().to_owned())
        };
        table.lines().skip(1).map(row).collect()
    }

    /// The policies in words, without their counts.
    #[track_caller]
    fn words(&self) -> Vec<String> {
        self.rows().into_iter().map(|(kind, _, words)| format!("{kind}: {words}")).collect()
    }

    #[track_caller]
    fn packets(&self, words: &str) -> Option<u64> {
        let rows = self.rows();
        let row = rows.iter().find(|(_, _, own)| own == words);
        row.unwrap_or_else(|| panic!("no \"{words}\" in {rows:#?}")).1
    }

    /// The same with a document on standard input.
    #[track_caller]
    fn piped(&self, words: &str, document: &Value) -> String {
        let (hnsctl, socket) = (program("hnsctl"), self.scene.hnsd.socket());
        let (hnsctl, socket) = (hnsctl.display(), socket.display());
        self.scene.host.sh(&format!("echo '{document}' | {hnsctl} --socket {socket} policy {words} -f -"))
    }
}

fn of(container: &Container) -> String {
    container.addresses().iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn a_rule_in_words_blocks_is_counted_and_goes_again() {
    needs!(root, "nft");
    let stage = Stage::with(&[]);
    stage.reaches(&stage.foe, 80, true);
    assert_eq!(stage.words(), ["Default: in allow", "Default: out allow"]);
    let block = format!("in block tcp from {} port 80 prio 100 id no-foe", of(&stage.foe));
    stage.policy(&["add", "web", "--acl", &block, "--acl", "allow in", "--acl", "out allow"]);
    stage.reaches(&stage.foe, 80, false);
    stage.reaches(&stage.foe, 81, true);
    stage.reaches(&stage.friend, 80, true);
    let expected = ["ACL: in allow", "Default: in block", "ACL: out allow", "Default: out block"];
    assert_eq!(stage.words(), [&[format!("ACL: {block}").as_str()][..], &expected].concat());
    let note = stage.scene.hnsd.try_hnsctl(&["policy", "add", "friend", "--acl", "in block tcp port 9999"]);
    assert!(note.success() && note.stderr.contains("blocked from now on, in and out"), "{note}");
    stage.policy(&["clear", "friend"]);
    // Each of its attempts was dropped, and each connection counts once.
    assert!(stage.packets(&block) >= Some(2), "{:?}", stage.rows());
    assert!(stage.packets("in allow") >= Some(4), "{:?}", stage.rows());
    assert!(stage.packets("out allow").is_some());
    let documents = stage.scene.hnsd.hnsctl_json(&["policy", "ls", "web"]);
    assert_eq!(
        (&documents[0]["Settings"]["Id"], &documents[3]["Type"]),
        (&json!("no-foe"), &json!("Default"))
    );
    assert!(documents[0]["Packets"].as_u64() >= Some(2), "{documents:#}");
    // Other words, the same rule.
    let same = format!("block in prio 100 id no-foe port 80 from {} tcp", of(&stage.foe));
    stage.policy(&["rm", "web", "--acl", &same]);
    stage.reaches(&stage.foe, 80, true);
    assert_eq!(stage.words(), expected);
    let gone = stage.scene.hnsd.try_hnsctl(&["policy", "rm", "web", "--acl", &same]);
    assert!(
        !gone.success() && gone.stderr.contains(&format!("endpoint web has no rule \"{block}\"")),
        "{gone}"
    );
}

#[test]
fn an_endpoint_is_created_with_rules_and_limits_in_words() {
    needs!(root, "nft");
    let scene_options =
        ["--acl", "in allow tcp port 80", "--acl", "out allow prio 7", "--bandwidth-out", "20kB"];
    let stage = Stage::with(&scene_options);
    stage.reaches(&stage.friend, 80, true);
    stage.reaches(&stage.friend, 81, false);
    let rules =
        ["ACL: in allow tcp port 80", "Default: in block", "ACL: out allow prio 7", "Default: out block"];
    let with = |limits: &'static str| [&[limits][..], &rules].concat();
    assert_eq!(stage.words(), with("QOS: bandwidth-out 160kbit"));
    // A limit of the other direction is one more, not one instead.
    stage.policy(&["add", "web", "--bandwidth-in", "1mbit"]);
    assert_eq!(stage.words(), with("QOS: bandwidth-out 160kbit bandwidth-in 1mbit"));
    stage.policy(&["add", "web", "--bandwidth-out", "2mbit"]);
    assert_eq!(stage.words(), with("QOS: bandwidth-out 2mbit bandwidth-in 1mbit"));
    // What comes with a rule that is refused is not there either, and what was there is.
    let double = ["policy", "add", "web", "--bandwidth-in", "3mbit", "--acl", "in block from blocklist"];
    assert!(!stage.scene.hnsd.try_hnsctl(&double).success());
    assert_eq!(stage.words(), with("QOS: bandwidth-out 2mbit bandwidth-in 1mbit"));
    let wrong = stage.scene.hnsd.try_hnsctl(&["policy", "rm", "web", "--bandwidth-in", "2mbit"]);
    assert!(wrong.stderr.contains("endpoint web has no limit bandwidth-in 2mbit"), "{wrong}");
    stage.policy(&["rm", "web", "--bandwidth-out", "2mbit"]);
    assert_eq!(stage.words(), with("QOS: bandwidth-in 1mbit"));
    stage.policy(&["rm", "web", "--bandwidth-in", "1mbit"]);
    assert_eq!(stage.words(), rules);
    // While it is in no namespace nobody counts, and the rules are there.
    stage.scene.hnsd.hnsctl(&["endpoint", "detach", "web"]);
    assert_eq!(stage.words(), rules);
    assert_eq!(stage.packets("in allow tcp port 80"), None);
}

#[test]
fn a_rule_that_is_observed_counts_and_drops_nothing() {
    needs!(root, "nft");
    let stage = Stage::with(&[]);
    let watch = format!("in block tcp from {} port 80 prio 100 id watch observe", of(&stage.foe));
    stage.policy(&["add", "web", "--acl", &watch]);
    stage.reaches(&stage.foe, 80, true);
    stage.reaches(&stage.friend, 81, true);
    assert_eq!(stage.words(), [&format!("ACL: {watch}"), "Default: in allow", "Default: out allow"]);
    // Each of its connections, once for each of the two families.
    assert_eq!(stage.packets(&watch), Some(2), "{:?}", stage.rows());
    let drops = stage.scene.hnsd.hnsctl_json(&["drops", "web"]);
    let observed = drops.as_array().into_iter().flatten().find(|drop| drop["Reason"] == "observed");
    assert_eq!(observed.map(|drop| &drop["Packets"]), Some(&json!(2)), "{drops:#}");
    let to = format!("{}:80", stage.web.v4());
    let trace = stage.scene.hnsd.hnsctl_json(&["trace", "--from", "foe", "--to", &to]);
    assert_eq!(trace["Verdict"], "Delivered", "{trace:#}");
    let steps = trace["Steps"].as_array().into_iter().flatten();
    let named: Vec<_> =
        steps.filter(|step| step["Result"] == "Observed").map(|step| &step["Rule"]["Id"]).collect();
    assert_eq!(named, ["watch"], "{trace:#}");
    // Enforced, it drops what it counted.
    stage.policy(&[
        "set",
        "web",
        "--acl",
        watch.trim_end_matches(" observe"),
        "--acl",
        "in allow",
        "--acl",
        "out allow",
    ]);
    stage.reaches(&stage.foe, 80, false);
    stage.reaches(&stage.friend, 80, true);
    let refused = stage.scene.hnsd.try_hnsctl(&["policy", "add", "web", "--acl", "in allow observe"]);
    assert!(refused.expect_failure().contains("rules that block"));
}

#[test]
fn all_rules_are_replaced_at_once_from_words_or_documents() {
    needs!(root, "nft");
    let stage = Stage::with(&["-p", "8080:80", "--acl", "in allow", "--acl", "out allow"]);
    let published = "PortMapping: 8080:80/tcp";
    stage.policy(&["set", "web", "--acl", "in allow tcp port 81"]);
    stage.reaches(&stage.friend, 81, true);
    stage.reaches(&stage.friend, 80, false);
    assert_eq!(
        stage.words(),
        [published, "ACL: in allow tcp port 81", "Default: in block", "Default: out block"]
    );
    let tier = json!({"Type": "TierAcl", "Settings": {"Name": "first", "Direction": "In", "Order": 5, "TierAclRules": [
        {"TierAclRuleAction": "Block", "Priority": 9, "RemoteAddresses": of(&stage.foe)}, {"TierAclRuleAction": "Pass", "Priority": 10}]}});
    let open = json!({"Type": "ACL", "Settings": {"Action": "Allow", "Direction": "In", "Priority": 1000}});
    stage.piped("set web", &json!({"Policies": [tier, open]}));
    stage.reaches(&stage.friend, 80, true);
    stage.reaches(&stage.foe, 80, false);
    let block = format!("in block from {} prio 9 (tier 5: first)", of(&stage.foe));
    let pass = "TierAcl: in pass prio 10 (tier 5: first)";
    let tiers = [&format!("TierAcl: {block}"), pass];
    let defaults = ["Default: in block", "Default: out block"];
    assert_eq!(stage.words(), [&[published], &tiers[..], &["ACL: in allow"], &defaults].concat());
    assert!(stage.packets(&block) >= Some(2), "{:?}", stage.rows());
    stage.piped("rm web", &json!([tier]));
    stage.reaches(&stage.foe, 80, true);
    assert_eq!(stage.words(), [published, "ACL: in allow", "Default: in block", "Default: out block"]);
    stage.policy(&["clear", "web"]);
    assert_eq!(stage.words(), [published, "Default: in allow", "Default: out allow"]);
}

#[test]
fn wrong_words_are_refused_by_the_word_and_change_nothing() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    scene.hnsd.hnsctl(&["endpoint", "create", "--network", "blue", "--name", "web"]);
    let before = scene.hnsd.hnsctl_json(&["endpoint", "inspect", "web"]);
    let rows: [(&[&str], &str); 12] = [
        (&["add", "web"], "a policy is needed"),
        (
            &["add", "web", "--acl", "in blok tcp"],
            "begins with in or out and with allow or block, not with \"in blok\"",
        ),
        (&["add", "web", "--acl", "in block tpc"], "\"tpc\" is no word of a rule"),
        (&["add", "web", "--acl", "in block port 22"], "\"port 22\": only TCP, UDP and SCTP have ports"),
        (&["add", "web", "--acl", "in block from port 22"], "behind \"from\" expected addresses"),
        (
            &["add", "web", "--acl", "in block from 10.0.0.300"],
            "\"10.0.0.300\" is not an address or a prefix",
        ),
        (&["add", "web", "--acl", "in block from blocklist"], "blocklist"),
        (&["set", "web", "--bandwidth-in", "10mb"], "\"10mb\" is no rate"),
        (&["rm", "web", "--acl", "in block tcp port 22"], "has no rule \"in block tcp port 22\""),
        (&["rm", "web", "--bandwidth-out", "1mbit"], "has no limit bandwidth-out 1mbit"),
        (&["add", "web", "-f", "/proc/version"], "is not a JSON document"),
        (&["ls", "nobody"], "nobody"),
    ];
    for (words, expected) in rows {
        let refused = scene.hnsd.try_hnsctl(&[&["policy"], words].concat());
        assert!(!refused.success() && refused.stderr.contains(expected), "{words:?}: {refused}");
    }
    assert_eq!(scene.hnsd.hnsctl_json(&["endpoint", "inspect", "web"]), before);
    let rows: [(&[&str], &str); 5] = [
        (&["set", "--set", "bad=10.0.0.3"], "network blue has no set bad"),
        (&["add", "--set", "bad=10.0.0.300"], "\"10.0.0.300\" is not an address or a prefix"),
        (&["add", "--set", "bad"], "the members of set bad are missing"),
        (&["rm", "--set", "bad"], "network blue has no set bad"),
        (&["rm", "--acl", "in block"], "network blue has no rule \"in block\""),
    ];
    for (words, expected) in rows {
        let refused = scene.hnsd.try_hnsctl(&[&["policy"], words, &["--network", "blue"]].concat());
        assert!(!refused.success() && refused.stderr.contains(expected), "{words:?}: {refused}");
    }
    assert_eq!(scene.hnsd.hnsctl(&["policy", "ls", "--network", "blue"]), "TYPE  POLICY\n");
}
