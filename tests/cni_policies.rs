//! Policies by the CNI plugin: those of a configuration, in the shape of either HNS, and what a runtime asks for, with real traffic of
//! both families; and changed while the container runs.

use std::net::IpAddr;
use std::thread;

use hns_testbed::{Netns, eventually, needs, tcp};
use hns_tests::story_support::cni::CniRuntime;
use hns_tests::story_support::{Container, FLOOD, Scene, flood};
use serde_json::{Value, json};

/// A container of CNI that serves three ports, and two others on its network.
struct Stage {
    scene: Scene,
    web: Container,
    friend: Container,
    foe: Container,
    _servers: Vec<tcp::Echo>,
}

impl Stage {
    /// `policies` is made from the addresses of the foe.
    #[track_caller]
    fn new(policies: impl FnOnce(&str) -> Value, wishes: &Value) -> Self {
        let scene = Scene::new();
        scene.network("blue", 7, &[]);
        let [friend, foe] = ["friend", "foe"].map(|name| scene.container("blue", name, &[]));
        let enemy = foe.addresses().iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
        let netns = scene.host.add_netns("web");
        let list = json!({"cniVersion": "1.0.0", "name": "blue", "plugins": [{"type": "hns-cni", "network": "blue",
            "capabilities": {"portMappings": true, "bandwidth": true},
            "optionalFlags": {"allowAclPortMapping": true}, "AdditionalArgs": policies(&enemy)}]});
        CniRuntime::new(&scene.host, scene.hnsd.socket(), &list).add("web", wishes).granted();
        let all = scene.get("/v2/endpoints");
        let document = all.as_array().into_iter().flatten().find(|endpoint| endpoint["Owner"] == "cni");
        let web = Container::new("web", netns, document.expect("an ADD makes an endpoint").clone());
        let places = web.addresses().into_iter().flat_map(|address| [80, 81, 82].map(|port| (address, port)));
        let servers = places.map(|at| tcp::Echo::serve(&web.netns, at)).collect();
        Self { scene, web, friend, foe, _servers: servers }
    }

    /// Whether each reaches the container's port, in both families; at once, since what is dropped takes its time.
    #[track_caller]
    fn reach(&self, rows: &[(&Container, u16, bool)]) {
        thread::scope(|scope| {
            for (from, port, reached) in rows {
                for to in self.web.addresses() {
                    scope.spawn(move || asks(&from.netns, to, *port, *reached));
                }
            }
        });
    }

    /// The same of a port of the host, from outside.
    #[track_caller]
    fn published(&self, port: u16, reached: bool) {
        for address in self.scene.host_addresses() {
            asks(&self.scene.outside.netns(), address, port, reached);
        }
    }
}

#[track_caller]
fn asks(from: &Netns, to: IpAddr, port: u16, reached: bool) {
    if reached {
        eventually!(within 5 s, tcp::ask(from, (to, port)).map_err(|error| format!("{to} port {port}: {error}")));
    } else {
        assert!(tcp::ask(from, (to, port)).is_err(), "{to} port {port} was reached");
    }
}

#[test]
fn rules_of_a_configuration_hold_from_the_first_packet_and_change_while_it_runs() {
    needs!(root, "nft");
    let policies = |enemy: &str| {
        json!([
            // As the first HNS generation has it, flat and with single values.
            {"Name": "EndpointPolicy", "Value": {"Type": "ACL", "Protocol": 256, "Action": "Block", "Direction": "In",
                "RemoteAddresses": enemy, "RuleType": "Switch", "Priority": 100}},
            {"Name": "EndpointPolicy", "Value": {"Type": "ACL", "Protocol": "TCP", "LocalPort": 80, "Action": "Allow",
                "Direction": "In", "Priority": 200}},
            {"Name": "EndpointPolicy", "Value": {"Type": "ACL", "Settings": {"Protocols": "1,58", "Action": "Allow",
                "Direction": "In", "Priority": 300}}},
            {"Name": "EndpointPolicy", "Value": {"Type": "TierAcl", "Settings": {"Name": "quiet", "Direction": "In",
                "Order": 1, "TierAclRules": [{"TierAclRuleAction": "Block", "Protocols": "58", "Priority": 1,
                    "IcmpTypes": "128"}]}}}
        ])
    };
    let ports = json!({"portMappings": [{"hostPort": 8081, "containerPort": 81, "protocol": "tcp"}]});
    let stage = Stage::new(policies, &ports);
    let (friend, foe) = (&stage.friend, &stage.foe);
    // The mapping brought a rule of its own, for port 81.
    stage.reach(&[
        (friend, 80, true),
        (friend, 81, true),
        (friend, 82, false),
        (foe, 80, false),
        (foe, 81, false),
    ]);
    stage.published(8081, true);
    // The rule lets the echo of both families in, the tier comes before it.
    assert!(friend.netns.ping(stage.web.v4()), "no answer by IPv4");
    assert!(!friend.netns.ping(stage.web.v6()), "the tier did not count");
    let rule = json!([{"Type": "ACL", "Settings": {"Protocols": "6", "LocalPorts": "82", "Action": "Allow",
        "Direction": "In", "Priority": 50}}]);
    stage.scene.modify_policies(&stage.web, "Update", &rule);
    stage.reach(&[(friend, 80, false), (foe, 82, true)]);
    // Its rule went with the others.
    stage.published(8081, false);
}

#[test]
fn a_configuration_without_rules_leaves_published_ports_and_all_others_open() {
    needs!(root, "nft");
    let ports = json!({"portMappings": [{"hostPort": 8081, "containerPort": 81, "protocol": "tcp"}]});
    let stage = Stage::new(|_| json!([]), &ports);
    stage.reach(&[(&stage.foe, 82, true)]);
    assert!(stage.web.netns.ping(stage.friend.v6()));
    stage.published(8081, true);
}

#[test]
fn the_capability_bandwidth_limits_the_direction_it_names() {
    needs!(root, "nft");
    let limits = json!({"bandwidth": {"ingressRate": 160_000, "ingressBurst": 0, "egressRate": 0}});
    let stage = Stage::new(|_| json!([]), &limits);
    let policy = json!({"Type": "QOS", "Settings": {"MaximumIncomingBandwidthInBytes": 20_000}});
    assert_eq!(stage.web.document["Policies"], json!([policy]));
    let dropped = || ["meter-in", "meter-out"].map(|reason| stage.scene.dropped(&stage.web.id, reason));
    let mut before = 0;
    for to in stage.web.addresses() {
        // Neighbours are found before the limit is used up.
        flood(&stage.friend.netns, to);
        flood(&stage.web.netns, stage.friend.like(to));
        eventually!({
            let [incoming, outgoing] = dropped();
            assert_eq!(outgoing, 0);
            // The burst lets 128 KiB through, or 93 of them, and a second 14.
            if incoming >= before + FLOOD - 150 { Ok(()) } else { Err(incoming) }
        });
        before = dropped()[0];
    }
    let outgoing = json!([{"Type": "QOS", "Settings": {"MaximumOutgoingBandwidthInBytes": 20_000}}]);
    stage.scene.modify_policies(&stage.web, "Update", &outgoing);
    let before = dropped()[0];
    flood(&stage.friend.netns, stage.web.v4().into());
    flood(&stage.web.netns, stage.friend.v4().into());
    eventually!(if dropped()[1] >= FLOOD - 150 { Ok(()) } else { Err(dropped()) });
    assert_eq!(dropped()[0], before, "the old limit is still there");
}
