//! Rules and limits by the options of Docker and podman: for a new container, a restarted one, one that joins later, and by compose.

use std::net::{IpAddr, SocketAddr};
use std::thread;

use hns_testbed::engines::IMAGE;
use hns_testbed::{Netns, eventually, needs, tcp};
use hns_tests::story_support::docker::fetch;
use hns_tests::story_support::{DockerScene, FLOOD, PodmanScene, Scene, flood, text};
use serde_json::{Value, json};

/// Whether each gets the page of each address; at once, since what is dropped takes its time.
#[track_caller]
fn fetches(rows: &[(&Netns, &[IpAddr], bool)]) {
    thread::scope(|scope| {
        for (from, addresses, reached) in rows {
            for address in *addresses {
                let at = SocketAddr::new(*address, 80);
                scope.spawn(move || {
                    if *reached {
                        eventually!(within 10 s, fetch(from, at).map_err(|error| format!("{at}: {error}")));
                    } else {
                        assert!(fetch(from, at).is_err(), "{at} was reached");
                    }
                });
            }
        }
    });
}

/// That of a flood to each address the burst alone gets through.
#[track_caller]
fn is_limited(scene: &Scene, endpoint: &Value, reason: &str, from: &Netns, to: &[IpAddr]) {
    let dropped = || scene.dropped(&text(endpoint, "ID"), reason);
    for address in to {
        let before = dropped();
        flood(from, *address);
        eventually!(match dropped() - before {
            count if count >= FLOOD - 150 => Ok(()),
            count => Err(format!("{count} of the flood to {address} were dropped")),
        });
    }
}

fn listed(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join("+")
}

#[test]
fn rules_of_docker_hold_over_restarts_and_for_who_joins_later() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.dual_network("n", 7, &[]);
    for name in ["friend", "foe"] {
        stage.idle(name, &["--network", "n"]);
    }
    let netns = |name: &str| stage.docker.netns(name);
    let rule = format!("in allow tcp from {} port 80; out allow", listed(&stage.addresses("friend", "n")));
    stage.web("web", &["--network", &format!("name=n,driver-opt=hns.acl={rule}")]);
    let web = || stage.addresses("web", "n");
    let as_ruled = |web: &[IpAddr]| fetches(&[(&netns("friend"), web, true), (&netns("foe"), web, false)]);
    as_ruled(&web());
    // The rule for what leaves has its answers come back.
    let _server = tcp::Echo::serve(&netns("foe"), "[::]:90");
    for address in stage.addresses("foe", "n") {
        eventually!(tcp::ask(&netns("web"), (address, 90)));
    }
    let policies = stage.endpoint("web", "n")["Policies"].clone();
    assert_eq!(policies.as_array().map(Vec::len), Some(2), "{policies:#}");
    stage.docker.run(&["restart", "-t", "0", "web"]);
    as_ruled(&web());
    assert_eq!(stage.endpoint("web", "n")["Policies"], policies);

    stage.web("late", &[]);
    stage.docker.run(&["network", "connect", "--driver-opt", &format!("acl={rule}"), "n", "late"]);
    as_ruled(&stage.addresses("late", "n"));

    let file = json!({"services": {"box": {"image": IMAGE, "networks": {"n": {"driver_opts": {"hns.acl": rule}}}}},
        "networks": {"n": {"external": true}}});
    stage.docker.root().write("/rules.json", &file.to_string());
    stage.docker.run(&["compose", "-p", "demo", "-f", "/rules.json", "up", "-d"]);
    as_ruled(&stage.addresses("demo-box-1", "n"));
}

#[test]
fn limits_of_docker_hold_in_the_direction_they_name() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.dual_network("n", 7, &[]);
    stage.idle("friend", &["--network", "n"]);
    let friend = (stage.docker.netns("friend"), stage.addresses("friend", "n"));
    stage.idle("in", &["--network", "name=n,driver-opt=hns.bandwidth-in=160kbit"]);
    // In Docker's own words, whose quotes its reader of options has doubled.
    let windows = r#"[{""MaxEgressBandwidth"":20000}]"#;
    let given = format!("name=n,\"driver-opt=com.docker.endpoint.windowsshim.qospolicies={windows}\"");
    stage.idle("out", &["--network", &given]);
    let limit = |field: &str| json!([{"Type": "QOS", "Settings": {field: 20_000}}]);
    let [incoming, outgoing] = ["in", "out"].map(|name| stage.endpoint(name, "n"));
    assert_eq!(incoming["Policies"], limit("MaximumIncomingBandwidthInBytes"));
    assert_eq!(outgoing["Policies"], limit("MaximumOutgoingBandwidthInBytes"));
    is_limited(&stage.scene, &incoming, "meter-in", &friend.0, &stage.addresses("in", "n"));
    is_limited(&stage.scene, &outgoing, "meter-out", &stage.docker.netns("out"), &friend.1);
    // What goes the other way is not limited.
    for address in &friend.1 {
        flood(&stage.docker.netns("in"), *address);
    }
    for address in stage.addresses("out", "n") {
        flood(&friend.0, address);
    }
    for (endpoint, other) in [(&incoming, "meter-out"), (&outgoing, "meter-in")] {
        assert_eq!(stage.scene.dropped(&text(endpoint, "ID"), other), 0, "{other}");
    }
}

#[test]
fn rules_and_limits_of_podman_hold_and_change_while_the_container_runs() {
    needs!(root, engines);
    let stage = PodmanScene::new();
    stage.network(&["--subnet", "10.66.0.0/24", "--subnet", "fd00:66::/64", "n"]);
    let [friend, foe] = ["friend", "foe"].map(|name| stage.container(name, &["--network", "n"]));
    let endpoint = |name: &str| stage.endpoints(name).into_iter().next().expect("it has one");
    let addresses = |name: &str| {
        let configured = endpoint(name)["IpConfigurations"].as_array().cloned().unwrap_or_default();
        configured
            .iter()
            .map(|one| text(one, "IpAddress").parse().expect("an address"))
            .collect::<Vec<IpAddr>>()
    };
    let rule = format!("in allow tcp,udp from {} port 80,9; out allow", listed(&addresses("friend")))
        .replace(',', "+");
    let given = format!("n:acl={rule},bandwidth-in=160kbit,bandwidth-out=160kbit");
    stage.podman.run(&["run", "-d", "--name", "web", "--network", &given, IMAGE]);
    let web = addresses("web");
    fetches(&[(&friend, &web, true), (&foe, &web, false)]);
    is_limited(&stage.scene, &endpoint("web"), "meter-in", &friend, &web);
    is_limited(&stage.scene, &endpoint("web"), "meter-out", &stage.podman.netns("web"), &addresses("friend"));

    let open = json!([{"Type": "ACL", "Settings": {"Action": "Allow", "Direction": "In", "Priority": 1,
        "RemoteAddresses": addresses("foe").iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")}},
        {"Type": "ACL", "Settings": {"Action": "Allow", "Direction": "Out", "Priority": 1}},
        {"Type": "QOS", "Settings": {}}]);
    let request = json!({"ResourceType": "Policy", "RequestType": "Update", "Settings": {"Policies": open}});
    let path = format!("/v2/endpoints/{}/modify", text(&endpoint("web"), "ID"));
    let changed = stage.scene.hnsd.api().post(&path, &request).expect("the daemon answers").expect_success();
    assert_eq!(changed["Policies"], open);
    fetches(&[(&friend, &web, false), (&foe, &web, true)]);

    for (option, said) in [
        ("acl=in blok", "a rule begins with in or out"),
        ("acl=in allow from any", "no address"),
        ("bandwidth-in=fast", "is no rate"),
    ] {
        let refused = stage.refused_container(&["--network", &format!("n:{option}")]);
        assert!(refused.contains(option) && refused.contains(said), "{refused}");
    }
    assert_eq!(stage.scene.get("/v2/endpoints").as_array().map(Vec::len), Some(3));
}
