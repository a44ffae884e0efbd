//! `setup` and `teardown`, and what is no call at all.

use hns_testbed::eventually;
use serde_json::{Value, json};

use crate::daemon::{DIES, Daemon, error_in};
use crate::{
    ADDRESS_TAKEN, CONTAINER, NAME_TAKEN, NETNS, NETWORK, NETWORK_GUID, PORT_TAKEN, body_of, container,
    made_endpoint, refused, willing,
};

#[test]
fn setup_is_one_request_and_tells_podman_everything() {
    let daemon = willing();
    let answer = daemon.answer(&["setup", NETNS], &container());
    let asked = daemon.asked();
    assert_eq!(daemon.lines(), ["POST /v2/endpoints"]);
    let mut document = asked[0].1.clone();
    let id = document["ID"].take();
    assert_eq!(id.as_str().unwrap().len(), 36);
    assert_eq!(
        document,
        json!({
            "ID": null, "Name": "h1", "Owner": "podman",
            "HostComputeNetwork": {
                "ID": NETWORK_GUID, "Name": "hn", "Owner": "podman", "Type": "NAT",
                "AdditionalParams": {"Podman": {"NetworkId": NETWORK, "NetworkName": "hn", "Labels": {}}},
                "Ipams": [{"Type": "Static", "Subnets": [{"IpAddressPrefix": "10.66.0.0/24",
                    "Routes": [{"NextHop": "10.66.0.1", "DestinationPrefix": "0.0.0.0/0"}]}]}]},
            "HostComputeNamespace": {"Type": "Host", "AdditionalParams": {"Path": NETNS}},
            "IpConfigurations": [{"IpAddress": "10.66.0.150"}],
            "Policies": [
                {"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8081, "Flags": 4, "PortCount": 3}},
                {"Type": "PortMapping", "Settings": {"Protocol": 132, "InternalPort": 99, "ExternalPort": 43647, "Flags": 0}},
                {"Type": "PortMapping", "Settings": {"Protocol": 17, "InternalPort": 53, "ExternalPort": 5353, "Flags": 4, "VIP": "127.0.0.1"}}],
            "Routes": [],
            "AdditionalParams": {"InterfaceName": "eth0", "GatewayPriority": 0,
                "Podman": {"ContainerId": CONTAINER, "NetworkId": NETWORK, "NetworkName": "hn",
                    "Aliases": ["zz", "e2bd7d7a861f"], "Namespace": NETNS}},
            "MacAddress": "02-11-22-33-44-66",
        })
    );
    assert_eq!(
        answer,
        json!({
            "interfaces": {"eth0": {"mac_address": "02:11:22:33:44:66",
                "subnets": [{"ipnet": "10.66.0.150/24", "gateway": "10.66.0.1"}]}},
            "dns_server_ips": ["1.1.1.1", "9.9.9.9"],
            "dns_search_domains": ["corp.example", "lab.example"],
        })
    );
}

#[test]
fn setup_carries_the_options_of_network_and_container() {
    let daemon = willing();
    let mut asked = container();
    asked["port_mappings"] = Value::Null;
    asked["network"]["options"] = json!({"network": "lan", "metric": "300"});
    asked["network"]["routes"] = json!([{"destination": "10.9.0.0/16", "gateway": "10.66.0.9", "metric": 7}]);
    asked["network_options"] = json!({"interface_name": "eth2", "static_ips": null, "static_mac": null,
        "options": {"mtu": "1300", "disableicc": "true", "acl": "in allow tcp port 80+443; out allow prio 7",
            "bandwidth-in": "160kbit", "bandwidth-out": "1MB"}});
    daemon.answer(&["setup", NETNS], &asked);
    let document = body_of(&daemon, "POST /v2/endpoints");
    assert_eq!(document["HostComputeNetwork"], json!({"Name": "lan"}));
    assert_eq!(
        document["Policies"],
        json!([{"Type": "InterfaceParameters", "Settings": {"Mtu": 1300}},
            {"Type": "ACL", "Settings": {"Action": "Allow", "Direction": "In", "Protocols": "6", "LocalPorts": "80,443",
                "Priority": 1000}},
            {"Type": "ACL", "Settings": {"Action": "Allow", "Direction": "Out", "Priority": 7}},
            {"Type": "QOS", "Settings": {"MaximumIncomingBandwidthInBytes": 20_000,
                "MaximumOutgoingBandwidthInBytes": 1_000_000}}])
    );
    assert_eq!(document["Flags"], 2);
    assert_eq!(document["AdditionalParams"]["GatewayPriority"], -2);
    assert_eq!(
        document["Routes"],
        json!([{"NextHop": "10.66.0.9", "DestinationPrefix": "10.9.0.0/16", "Metric": 7},
            {"NextHop": "10.66.0.1", "DestinationPrefix": "0.0.0.0/0", "Metric": 300}])
    );

    asked["network"]["options"] = json!({"no_default_route": "true"});
    asked["network"]["routes"] = Value::Null;
    asked["network_options"]["options"] = json!({"gateway_priority": "9"});
    daemon.answer(&["setup", NETNS], &asked);
    let document = daemon.asked().pop().unwrap().1;
    assert_eq!(
        document["Routes"][0],
        json!({"NextHop": "0.0.0.0", "DestinationPrefix": "0.0.0.0/0", "Metric": 0})
    );
    assert_eq!(document["AdditionalParams"]["GatewayPriority"], 9);

    asked["network_options"]["options"] = json!({"vlan": "9"});
    let said = daemon.refusal(&["setup", NETNS], &asked);
    assert_eq!(
        said,
        "network \"hn\": there is no option vlan; known are gateway_priority, mtu, disableicc, acl, bandwidth-in, bandwidth-out"
    );
}

#[test]
fn setup_refuses_ports_that_are_none() {
    let daemon = willing();
    for (mapping, problem) in [
        (
            json!({"container_port": 80, "host_port": 80, "protocol": "icmp", "range": 1}),
            "none of tcp, udp, sctp",
        ),
        (
            json!({"container_port": 80, "host_port": 65535, "protocol": "tcp", "range": 9}),
            "published ports from 65535, 9 of them",
        ),
        (
            json!({"container_port": 80, "host_port": 80, "host_ip": "lan", "protocol": "tcp", "range": 1}),
            "\"lan\" is not an address of the host",
        ),
        (json!({"container_port": 65536, "host_port": 80}), "the document of setup is not one of podman's"),
    ] {
        let mut asked = container();
        asked["port_mappings"] = json!([mapping]);
        let said = daemon.refusal(&["setup", NETNS], &asked);
        assert!(said.contains(problem), "{said}");
    }
    assert_eq!(daemon.lines(), Vec::<String>::new());
}

#[test]
fn setup_publishes_nothing_from_an_internal_network_and_says_so() {
    let daemon = willing();
    let mut asked = container();
    asked["network"]["internal"] = json!(true);
    asked["network"]["options"] = Value::Null;
    let output = daemon.plugin(&["setup", NETNS], &asked.to_string());
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "hns-netavark: network \"hn\" is internal: no port is published through it\n");
    assert_eq!(body_of(&daemon, "POST /v2/endpoints")["Policies"], json!([]));
}

#[test]
fn setup_replaces_an_endpoint_that_a_crash_left() {
    let mut there = true;
    let daemon = Daemon::saying(move |line, document| match line {
        "POST /v2/endpoints" if there => refused(409, NAME_TAKEN, "ID is in use already"),
        "POST /v2/endpoints" => (201, made_endpoint(document)),
        _ => {
            there = false;
            (204, Value::Null)
        }
    });
    daemon.answer(&["setup", NETNS], &container());
    let id = daemon.asked()[0].1["ID"].as_str().unwrap().to_owned();
    assert_eq!(
        daemon.lines(),
        ["POST /v2/endpoints", &format!("DELETE /v2/endpoints/{id}"), "POST /v2/endpoints"]
    );
}

#[test]
fn setup_tells_who_has_an_address_and_a_port() {
    for (code, text) in [
        (ADDRESS_TAKEN, "address 10.66.0.150 of network \"hn\" is in use by endpoint X \"web\""),
        (PORT_TAKEN, "host port 8081/tcp is taken by endpoint X \"web\""),
    ] {
        let daemon = Daemon::saying(move |line, _| match line {
            "POST /v2/endpoints" => refused(409, code, text),
            _ => (200, json!([])),
        });
        let said = daemon.refusal(&["setup", NETNS], &container());
        assert_eq!(said, format!("container \"h1\" cannot join network \"hn\": {text}; try another"));
        assert_eq!(daemon.lines().iter().filter(|line| line.starts_with("POST")).count(), 1);
    }
}

#[test]
fn a_dead_container_gives_its_port_back_to_who_needs_it() {
    let mut dead = true;
    let daemon = Daemon::saying(move |line, document| match line {
        "POST /v2/endpoints" if dead => refused(409, PORT_TAKEN, "taken"),
        "POST /v2/endpoints" => (201, made_endpoint(document)),
        "GET /v2/endpoints" => (
            200,
            json!([
            {"ID": "E1", "Owner": "podman", "AdditionalParams": {"Podman": {"Namespace": "/nonexistent/netns"}}}]),
        ),
        "DELETE /v2/endpoints/E1" => {
            dead = false;
            (204, Value::Null)
        }
        _ => (200, json!([])),
    });
    daemon.answer(&["setup", NETNS], &container());
}

/// The same container's endpoint on another network, with its ports.
fn sibling(priority: i64) -> Value {
    json!({"ID": "00000000-0000-0000-0000-000000000009", "Name": "h1", "Owner": "podman",
        "Policies": [{"Type": "PortMapping", "Settings": {"InternalPort": 80}}],
        "AdditionalParams": {"GatewayPriority": priority, "Podman": {"ContainerId": CONTAINER}}})
}

#[test]
fn of_two_networks_the_one_with_the_default_route_has_the_ports() {
    for (priority, moves) in [(-1, true), (1, false)] {
        let mut taken = true;
        let daemon = Daemon::saying(move |line, document| match line {
            "POST /v2/endpoints" if taken && document["Policies"] != json!([]) => {
                refused(409, PORT_TAKEN, "taken")
            }
            "POST /v2/endpoints" => (201, made_endpoint(document)),
            _ if line.ends_with("/modify") => {
                taken = false;
                (200, json!({}))
            }
            _ => (200, json!([sibling(priority)])),
        });
        daemon.answer(&["setup", NETNS], &container());
        let asked = daemon.asked();
        let modified = asked.iter().find(|(line, _)| line.ends_with("/modify"));
        assert_eq!(modified.is_some(), moves);
        if let Some((_, document)) = modified {
            assert_eq!(
                (&document["RequestType"], &document["Settings"]["Policies"]),
                (&json!("Remove"), &sibling(0)["Policies"])
            );
        }
        assert_eq!(asked.last().unwrap().1["Policies"] == json!([]), !moves);
    }
}

#[test]
fn teardown_is_one_request_and_may_come_twice() {
    let mut there = true;
    let daemon = Daemon::saying(move |_, _| {
        let answer = if there { (204, Value::Null) } else { refused(404, 0x803B_0002, "not found") };
        there = false;
        answer
    });
    let mut asked = container();
    asked["port_mappings"] = Value::Null;
    for _ in 0..2 {
        let output = daemon.plugin(&["teardown", "/run/netns/gone"], &asked.to_string());
        assert!(output.status.success());
        assert_eq!(output.stdout, b"");
    }
    let lines = daemon.lines();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], lines[1]);
}

#[test]
fn setup_and_teardown_mean_the_same_endpoint_under_any_interface_name() {
    let daemon = willing();
    let mut asked = container();
    daemon.answer(&["setup", NETNS], &asked);
    let id = body_of(&daemon, "POST /v2/endpoints")["ID"].clone();
    asked["network_options"]["interface_name"] = json!("eth3");
    daemon.answer(&["teardown", NETNS], &asked);
    assert!(daemon.lines().contains(&format!("DELETE /v2/endpoints/{}", id.as_str().unwrap())));
}

#[test]
fn teardown_gives_the_ports_to_the_next_network() {
    let mut free = sibling(0);
    free["Policies"] = json!([]);
    let daemon = Daemon::saying(move |line, _| match line {
        _ if line.starts_with("DELETE") => (204, Value::Null),
        _ if line.ends_with("/modify") => (200, json!({})),
        _ => (200, json!([free])),
    });
    daemon.answer(&["teardown", NETNS], &container());
    let asked = daemon.asked().pop().unwrap();
    assert_eq!(asked.0, "POST /v2/endpoints/00000000-0000-0000-0000-000000000009/modify");
    assert_eq!(asked.1["RequestType"], "Add");
    assert_eq!(asked.1["Settings"]["Policies"].as_array().unwrap().len(), 3);
}

#[test]
fn a_restart_of_the_daemon_is_waited_for() {
    let daemon = Daemon::silent();
    let plugin = daemon.start(&["setup", NETNS], &container().to_string());
    // Its runtime waits for time to pass: it has found nobody.
    let fds = format!("/proc/{}/fd", plugin.id());
    let waits = |link: std::fs::DirEntry| {
        let to = std::fs::read_link(link.path()).unwrap_or_default();
        to.to_string_lossy().contains("eventpoll")
    };
    eventually!(within 2 s, std::fs::read_dir(&fds).unwrap().flatten().any(waits));
    let status = format!("/proc/{}/status", plugin.id());
    eventually!(within 2 s, std::fs::read_to_string(&status).unwrap().contains("State:\tS"));
    daemon.listen(|_, document| (201, made_endpoint(document)));
    let output = plugin.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["interfaces"]["eth0"]["mac_address"], "02:11:22:33:44:66");
}

#[test]
fn a_daemon_that_dies_or_stops_amid_a_request_is_asked_again() {
    let mut turn = 0;
    let daemon = Daemon::saying(move |line, document| {
        turn += 1;
        match turn {
            1 => (DIES, Value::Null),
            2 => refused(503, 0x803B_0020, "the service is stopping"),
            3 => refused(409, NAME_TAKEN, "ID is in use already"),
            _ if line.starts_with("DELETE") => (204, Value::Null),
            _ => (201, made_endpoint(document)),
        }
    });
    daemon.answer(&["setup", NETNS], &container());
    assert_eq!(daemon.lines().iter().filter(|line| line.starts_with("POST")).count(), 4);
}

#[test]
fn a_daemon_that_is_not_there_is_named() {
    let daemon = Daemon::silent();
    let said = daemon.refusal(&["setup", NETNS], &container());
    assert!(
        said.starts_with("container \"h1\" cannot join network \"hn\": cannot reach the daemon on "),
        "{said}"
    );
    assert!(said.contains("is hnsd running?"), "{said}");
}

#[test]
fn what_is_not_asked_rightly_is_an_error_document() {
    let daemon = willing();
    for (arguments, input) in [
        (&["setup"][..], "{}"),
        (&["destroy"], ""),
        (&["create"], ""),
        (&["create"], "[]"),
        (&["setup", NETNS], "{}"),
        (&["setup", NETNS], "\u{0}\u{1}"),
        (&["teardown", NETNS], "null"),
    ] {
        let output = daemon.plugin(arguments, input);
        assert_eq!(output.status.code(), Some(1));
        assert!(!error_in(&output).is_empty());
    }
    for arguments in [&["--help"][..], &["--version"], &["info"]] {
        assert!(daemon.plugin(arguments, "").status.success());
    }
}

#[test]
fn a_network_of_which_podman_keeps_no_subnets_is_described_as_it_was_asked_for() {
    let daemon = willing();
    let mut asked = container();
    asked["network"]["subnets"] = Value::Null;
    asked["network"]["ipv6_enabled"] = json!(true);
    daemon.answer(&["setup", NETNS], &asked);
    let network = body_of(&daemon, "POST /v2/endpoints")["HostComputeNetwork"].take();
    assert_eq!(network.get("Ipams"), None);
    assert_eq!(network["AdditionalParams"]["EnableIPv6"], true);
}
