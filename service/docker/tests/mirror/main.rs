//! The mirror against a Docker that is a script: what it asks for, and what it does when Docker comes, goes and refuses.

#![expect(clippy::unwrap_used, reason = "a stage that cannot be built fails the test")]

mod fake_docker;
#[path = "../rig/mod.rs"]
mod rig;

use fake_docker::FakeDocker;
use hns_docker::{MirrorSettings, mirror};
use hns_net::Guid;
use hns_testbed::eventually;
use rig::{Rig, id};
use serde_json::{Value, json};

struct Stage {
    docker: FakeDocker,
    rig: Rig,
}

impl Stage {
    /// The mirror looks for a Docker that is not there yet.
    fn new() -> Self {
        let rig = Rig::new();
        let socket = rig.folder.path().join("docker.sock");
        let docker = FakeDocker::new(&socket, rig.runtime.handle());
        rig.runtime.spawn(mirror(MirrorSettings { socket }, rig.front.clone()));
        Self { docker, rig }
    }

    /// A network that HNS made by itself.
    fn hns_network(&self, name: &str) -> Guid {
        let document = json!({ "Name": name, "Type": "NAT", "SchemaVersion": { "Major": 2, "Minor": 0 } });
        let document = hns_hcn::Network::from_v2(&document).unwrap();
        self.rig.engine.create_network(document).unwrap().id.unwrap()
    }

    /// Docker's network of this digit and the HNS network that was made for it.
    fn docker_network(&self, digit: char, name: &str, containers: &Value) {
        let number = u8::try_from(digit.to_digit(16).unwrap()).unwrap();
        self.rig.network(&id(digit), number, &json!({}));
        let subnet =
            json!([{ "Subnet": format!("10.{number}.0.0/24"), "Gateway": format!("10.{number}.0.1") }]);
        let ipam = json!({ "Driver": "default", "Options": null, "Config": subnet });
        self.docker.network(&id(digit), name, &json!({ "IPAM": ipam, "Containers": containers }));
    }

    fn hns_name(&self, digit: char) -> Option<String> {
        self.rig.find_network(&id(digit)).map(|network| network.name().to_owned())
    }

    fn endpoint_name(&self, digit: char) -> Option<String> {
        self.rig.find_endpoint(&id(digit)).map(|endpoint| endpoint.document().name)
    }
}

#[test]
fn a_network_is_shown_to_a_docker_that_comes_later() {
    let mut stage = Stage::new();
    let network = stage.hns_network("shop");
    stage.docker.start();
    let (verb, path, body) = eventually!(stage.docker.changes().first().cloned());
    assert_eq!((verb.as_str(), path.as_str()), ("POST", "networks/create"));
    assert_eq!(
        body,
        json!({
            "Name": "shop", "Driver": "nat", "EnableIPv4": true, "EnableIPv6": false,
            "IPAM": {
                "Driver": "hns",
                "Config": [{ "Subnet": "172.16.0.0/16", "Gateway": "172.16.0.1" }],
                "Options": { "network": network.to_string() },
            },
            "Options": {
                "com.docker.network.windowsshim.hnsid": network.to_string(),
                "com.docker.network.windowsshim.hnsowned": "true",
            },
        })
    );
    // Another one while connected, and only that one.
    let second = stage.hns_network("late");
    let (_, _, body) = eventually!(stage.docker.changes().get(1).cloned());
    assert_eq!(body["IPAM"]["Options"]["network"], json!(second.to_string()));
    assert_eq!(stage.docker.changes().len(), 2);
}

#[test]
fn names_come_with_the_connection_with_creations_connections_and_renamings() {
    let mut stage = Stage::new();
    stage.docker_network('1', "blue", &json!({ "c1": { "Name": "one", "EndpointID": id('e') } }));
    stage.rig.endpoint(&id('1'), &id('e'), "10.1.0.5/24");
    stage.docker.start();
    eventually!(stage.hns_name('1').as_deref() == Some("blue"));
    eventually!(stage.endpoint_name('e').as_deref() == Some("one"));
    let half: Vec<_> = stage.rig.find_network(&id('1')).unwrap().document().params.ip_range.clone();
    assert_eq!(half, ["10.1.0.128/25".parse().unwrap()]);

    eventually!(stage.docker.listeners() == 1);
    stage.docker_network('2', "green", &json!({}));
    stage.docker.tell("network", "create", &id('2'), &json!({ "name": "green", "type": "nat" }));
    eventually!(stage.hns_name('2').as_deref() == Some("green"));

    let container = |name: &str| {
        let networks = json!({ "green": { "NetworkID": id('2'), "EndpointID": id('f') } });
        json!({ "Id": "c2", "Name": format!("/{name}"), "NetworkSettings": { "Networks": networks } })
    };
    stage.rig.endpoint(&id('2'), &id('f'), "10.2.0.5/24");
    stage.docker.content.lock().unwrap().containers.insert("c2".to_owned(), container("two"));
    stage.docker.tell("network", "connect", &id('2'), &json!({ "container": "c2", "type": "nat" }));
    eventually!(stage.endpoint_name('f').as_deref() == Some("two"));
    stage.docker.content.lock().unwrap().containers.insert("c2".to_owned(), container("second"));
    stage.docker.tell("container", "rename", "c2", &json!({ "name": "second", "oldName": "/two" }));
    eventually!(stage.endpoint_name('f').as_deref() == Some("second"));
    assert_eq!(stage.docker.changes(), []);
}

#[test]
fn a_network_that_hns_deleted_is_removed_once_its_containers_have_left_it() {
    let mut stage = Stage::new();
    stage.docker_network('1', "blue", &json!({}));
    stage.docker.content.lock().unwrap().refusal = Some("network blue has active endpoints");
    stage.docker.start();
    eventually!(stage.hns_name('1').as_deref() == Some("blue"));
    eventually!(stage.docker.listeners() == 1);
    stage.rig.engine.delete_network(rig::guid(&id('1'))).unwrap();
    let removal = ("DELETE".to_owned(), format!("networks/{}", id('1')), Value::Null);
    eventually!(stage.docker.changes() == [removal.clone()]);
    stage.docker.content.lock().unwrap().refusal = None;
    stage.docker.tell("network", "disconnect", &id('1'), &json!({ "container": "c1", "type": "nat" }));
    eventually!(stage.docker.changes() == [removal.clone(), removal.clone()]);
}

#[test]
fn what_docker_deletes_is_not_deleted_twice() {
    let mut stage = Stage::new();
    stage.docker_network('1', "blue", &json!({}));
    stage.docker.start();
    eventually!(stage.hns_name('1').as_deref() == Some("blue"));
    eventually!(stage.docker.listeners() == 1);
    // Docker calls its driver, and still lists the network.
    stage.rig.nat("DeleteNetwork", &json!({ "NetworkID": id('1') }));
    assert_eq!(stage.hns_name('1'), None);
    // Whatever was to come of it has come when the next network is shown.
    stage.hns_network("next");
    let changes = eventually!(Some(stage.docker.changes()).filter(|changes| !changes.is_empty()));
    assert_eq!(changes[0].1, "networks/create", "{changes:?}");
    assert_eq!(changes.len(), 1);
}

#[test]
fn what_a_dead_docker_left_behind_is_collected_and_the_young_is_not() {
    let mut stage = Stage::new();
    stage.docker_network('1', "blue", &json!({ "c1": { "Name": "one", "EndpointID": id('a') } }));
    stage.rig.endpoint(&id('1'), &id('a'), "10.1.0.10/24");
    stage.rig.endpoint(&id('1'), &id('b'), "10.1.0.11/24");
    stage.docker.start();
    eventually!(stage.endpoint_name('a').as_deref() == Some("one"));
    // Docker may have been there for long; what it does not list yet may be on its way.
    assert!(stage.endpoint_name('b').is_some());
    eventually!(stage.docker.listeners() == 1);

    stage.docker.kill();
    stage.docker.start_again();
    // At once when the mirror saw that nobody listened, and after Docker's time for retries when it did not.
    eventually!(within 30 s, stage.endpoint_name('b').is_none());
    assert_eq!(stage.endpoint_name('a').as_deref(), Some("one"));
}

#[test]
fn what_a_docker_left_behind_that_nobody_saw_down_is_collected_at_once() {
    let mut stage = Stage::new();
    let one = json!({ "Name": "one", "EndpointID": id('a') });
    let two = json!({ "Name": "two", "EndpointID": id('b') });
    stage.docker_network('1', "blue", &json!({ "c1": one, "c2": two }));
    for (digit, address) in [('a', "10.1.0.10/24"), ('b', "10.1.0.11/24"), ('c', "10.1.0.12/24")] {
        stage.rig.endpoint(&id('1'), &id(digit), address);
    }
    stage.docker.start();
    eventually!(stage.endpoint_name('a').as_deref() == Some("one"));
    eventually!(stage.endpoint_name('b').as_deref() == Some("two"));
    eventually!(stage.docker.listeners() == 1);

    stage.docker.attach(&id('1'), &json!({ "c1": one }));
    stage.docker.hang_up();
    // Docker has shown it once, so it is not about to make it: this needs no time for its retries.
    eventually!(stage.endpoint_name('b').is_none());
    assert_eq!(stage.endpoint_name('a').as_deref(), Some("one"));
    // What Docker has not shown yet may be on its way.
    assert!(stage.endpoint_name('c').is_some());
}

#[test]
fn what_came_after_docker_was_seen_down_is_looked_at_again() {
    // Docker is down from the beginning, and a call of the last daemon is still on its way.
    let mut stage = Stage::new();
    stage.docker_network('1', "blue", &json!({}));
    stage.rig.endpoint(&id('1'), &id('c'), "10.1.0.12/24");
    stage.docker.start();
    eventually!(within 30 s, stage.endpoint_name('c').is_none());
}

#[test]
fn a_lost_network_is_made_again_under_its_id() {
    let mut stage = Stage::new();
    let config = json!([{ "Subnet": "10.7.0.0/24", "Gateway": "10.7.0.254" }]);
    let ipam = json!({ "Driver": "default", "Options": null, "Config": config });
    stage.docker.network(&id('7'), "blue", &json!({ "IPAM": ipam, "Options": { "mtu": "1400" } }));
    stage.docker.start();
    eventually!(stage.hns_name('7').as_deref() == Some("blue"));
    let network = stage.rig.find_network(&id('7')).unwrap();
    assert_eq!(network.mtu().to_string(), "1400");
    assert_eq!(network.gateways().next().unwrap().1.to_string(), "10.7.0.254");
    assert_eq!(stage.docker.changes(), []);
}

#[test]
fn podman_behind_the_same_socket_is_left_alone() {
    let mut stage = Stage::new();
    stage.hns_network("shop");
    stage.docker.content.lock().unwrap().component = "Podman Engine";
    stage.docker.start();
    // A Docker that takes its place is served: so the first one was asked before.
    eventually!(stage.docker.was_asked());
    stage.docker.kill();
    assert_eq!(stage.docker.changes(), []);
    stage.docker.content.lock().unwrap().component = "Engine";
    stage.docker.start_again();
    eventually!(stage.docker.changes().len() == 1);
}
