//! While the daemon is gone, starts, or is replaced by another version, and while the host's rules are gone, nothing passes that
//! policy stops; what it lets pass passes again by itself.

#[path = "fail_shut/siege.rs"]
mod siege;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

use hns_testbed::{Host, eventually, needs};
use hns_tests::story_support::{Scene, text};
use serde_json::{Value, json};

use siege::Siege;

const ROUNDS: usize = 50;
/// The state of an endpoint with something wrong.
const DEGRADED: u64 = 5;

/// Whether the host shows our table with a published port.
fn is_whole(host: &Host) -> bool {
    host.try_sh("nft list map inet hns publish4 | grep -q 8080").success()
}

fn cries_for_repair(scene: &Scene) -> bool {
    let said = scene.hnsd.try_hnsctl(&["doctor", "-o", "json"]).stdout;
    let findings: Vec<Value> = serde_json::from_str(&said).unwrap_or_default();
    findings.iter().any(|finding| finding["Check"] == "repair" && finding["Level"] == "Problem")
}

/// How many packets ports have dropped for this reason.
#[track_caller]
fn dropped(scene: &Scene, reason: &str) -> u64 {
    let drops = scene.get("/v2/drops");
    let of_reason = drops.as_array().into_iter().flatten().filter(|drop| drop["Reason"] == reason);
    of_reason.filter_map(|drop| drop["Packets"].as_u64()).sum()
}

/// Fifty times `trouble` under fire, each followed by some more fire.
fn holds_against(trouble: impl Fn(&mut Scene)) {
    let mut siege = Siege::begin(Scene::new());
    siege.under_fire(|scene, barrage| {
        for _ in 0..ROUNDS {
            let before = barrage.sent();
            trouble(scene);
            barrage.go_on(before, 1);
        }
    });
    siege.nothing_came_in();
    eventually!(siege.is_served());
}

#[test]
fn a_daemon_that_is_killed_and_starts_lets_nothing_in() {
    needs!(root, "nft");
    holds_against(|scene| {
        scene.hnsd.kill9();
        scene.hnsd.start_again();
    });
}

#[test]
fn a_daemon_that_ends_and_starts_lets_nothing_in() {
    needs!(root, "nft");
    holds_against(|scene| scene.hnsd.restart());
}

/// The table is another's once the chain that bears its version is gone; programs are new at every start.
#[test]
fn a_new_version_of_table_and_programs_lets_nothing_in() {
    needs!(root, "nft");
    let is_ours = "nft list table inet hns | grep -q 'chain text_'";
    holds_against(|scene| {
        scene.hnsd.terminate();
        scene.host.sh("chain=$(nft list table inet hns | sed -n 's/.*chain \\(text_[0-9a-f]*\\).*/\\1/p')
            nft rename chain inet hns $chain older");
        assert!(!scene.host.try_sh(is_ours).success());
        scene.hnsd.start_again();
        assert!(scene.host.try_sh(is_ours).success());
    });
}

#[test]
fn a_flush_of_all_rules_lets_nothing_in() {
    needs!(root, "nft");
    let mut siege = Siege::begin(Scene::new());
    siege.under_fire(|scene, barrage| {
        for _ in 0..ROUNDS {
            scene.host.sh("nft flush ruleset");
            let before = barrage.sent();
            eventually!(is_whole(&scene.host));
            barrage.go_on(before, 1);
        }
    });
    siege.nothing_came_in();
    for reason in ["unruled", "loopback", "spoofed-ip", "confined"] {
        assert!(dropped(&siege.scene, reason) > 0, "the ports were never asked of {reason}");
    }
    eventually!(siege.is_served());
}

/// A program of the daemon's that fails, in the host's own mount namespace, where the daemon lives.
const BREAK_NFT: &str = "cp $(command -v nft) /run/nft-that-works; mount --bind /bin/false $(command -v nft)";

#[test]
fn while_nft_fails_nothing_comes_in() {
    needs!(root, "nft");
    let mut siege = Siege::begin(Scene::new());
    siege.under_fire(|scene, barrage| {
        for _ in 0..ROUNDS {
            scene.host.sh(BREAK_NFT);
            scene.host.sh("/run/nft-that-works flush ruleset");
            eventually!(cries_for_repair(scene));
            barrage.go_on(barrage.sent(), 200);
            // The daemon is told of this change, and does not wait for its next try.
            scene.host.sh("umount -l $(command -v nft); nft add table inet hns");
            eventually!(is_whole(&scene.host));
        }
    });
    siege.nothing_came_in();
    eventually!(siege.is_served());
}

#[test]
fn a_table_that_nft_cannot_load_is_told_and_comes_when_nft_works() {
    needs!(root, "nft");
    let mut siege = Siege::begin(Scene::new());
    siege.scene.host.sh(BREAK_NFT);
    siege.scene.host.sh("/run/nft-that-works flush ruleset");
    eventually!(cries_for_repair(&siege.scene));
    says_that_it_is_closed(&siege);
    siege.scene.hnsd.restart();
    eventually!(cries_for_repair(&siege.scene));
    says_that_it_is_closed(&siege);
    siege.scene.host.sh("umount -l $(command -v nft)");
    // By itself: nothing happens any more that it could be told of.
    eventually!(siege.is_served());
    eventually!(!cries_for_repair(&siege.scene));
    let shown = siege.scene.inspect(&siege.web);
    assert_eq!((&shown["State"], &shown["Health"]["Data"]), (&json!(3), &Value::Null));
}

#[track_caller]
fn says_that_it_is_closed(siege: &Siege) {
    assert!(!siege.is_served(), "published ports are closed with the rest");
    let shown = siege.scene.inspect(&siege.web);
    let why = shown["Health"]["Data"]["LastError"].as_str().unwrap_or_default();
    assert!(why.starts_with("closed to what the host forwards: cannot load the nftables table"), "{shown}");
    assert_eq!(shown["State"], DEGRADED);
}

#[test]
fn endpoints_made_amid_flushes_are_all_made() {
    needs!(root, "nft");
    const EACH: usize = 25;
    let scene = Scene::new();
    let network = scene.network("blue", 7, &[]);
    let namespaces: Vec<_> = (0..4).map(|number| format!("c{number}")).collect();
    let _kept: Vec<_> = namespaces.iter().map(|name| scene.host.add_netns(name)).collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flush = || {
            while !over.load(Ordering::Relaxed) {
                scene.host.sh("nft flush ruleset");
                eventually!(scene.host.try_sh("nft list table inet hns").success());
            }
        };
        scope.spawn(flush);
        let create = |name: &str| {
            for _ in 0..EACH {
                let document = json!({
                    "HostComputeNetwork": network["ID"], "Policies": [{"Type": "PortMapping", "Settings": {"InternalPort": 80}}],
                    "HostComputeNamespace": {"AdditionalParams": {"Path": format!("/run/netns/{name}")}},
                });
                let made = scene.hnsd.api().post("/v2/endpoints", &document).expect("the daemon answers");
                let made = made.expect_success();
                let gone = scene.hnsd.api().delete(&format!("/v2/endpoints/{}", text(&made, "ID")));
                let _gone = gone.expect("the daemon answers").expect_success();
            }
        };
        let clients: Vec<_> = namespaces.iter().map(|name| scope.spawn(move || create(name))).collect();
        let outcomes: Vec<_> = clients.into_iter().map(ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        assert!(outcomes.iter().all(Result::is_ok));
    });
}
