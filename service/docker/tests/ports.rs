//! Published ports, as Docker moves them with the gateway role.

mod rig;

use std::net::Ipv4Addr;

use hns_hcn::{EndpointResource, ModifyRequest};
use hns_host::{PortHolder, TakenPort};
use hns_net::Transport;
use rig::{Rig, guid, id, of_endpoint};
use serde_json::{Value, json};

/// A network with one endpoint a digit.
fn rig(endpoints: &str, options: &Value) -> Rig {
    let rig = Rig::new();
    rig.network(&id('a'), 51, options);
    for (number, digit) in endpoints.chars().enumerate() {
        rig.endpoint(&id('a'), &id(digit), &format!("10.51.0.{}/24", 10 + number));
        let sandbox = json!(format!("/run/docker/netns/{number}"));
        rig.nat("Join", &json!({ "NetworkID": id('a'), "EndpointID": id(digit), "SandboxKey": sandbox }));
    }
    rig
}

fn binding(port: u16, address: &str, first: u16, last: u16) -> Value {
    json!({ "Proto": 6, "IP": "", "Port": port, "HostIP": address, "HostPort": first, "HostPortEnd": last })
}

fn publish(endpoint: char, bindings: &Value) -> Value {
    let mut body = of_endpoint(&id('a'), &id(endpoint));
    body["Options"] = json!({
        "com.docker.network.driver.private.no_proxy_6to4": false,
        "com.docker.network.endpoint.exposedports": [{ "Proto": 6, "Port": 80 }],
        "com.docker.network.portmap": bindings,
    });
    body
}

const PUBLISH: &str = "ProgramExternalConnectivity";
const WITHDRAW: &str = "RevokeExternalConnectivity";

#[test]
fn ports_come_and_go_with_the_gateway_role() {
    let rig = rig("e", &json!({}));
    let udp =
        json!({ "Proto": 17, "Port": 53, "HostIP": "127.0.0.1", "HostPort": 5353, "HostPortEnd": 5353 });
    let ports = publish('e', &json!([binding(80, "", 8081, 8081), udp]));
    for _ in 0..2 {
        assert_eq!(rig.nat(PUBLISH, &ports), json!({}));
        assert_eq!(rig.published(&id('e')), ["tcp * 8081 -> 80", "udp 127.0.0.1 5353 -> 53"]);
    }
    for _ in 0..2 {
        assert_eq!(rig.nat(WITHDRAW, &of_endpoint(&id('a'), &id('e'))), json!({}));
        assert_eq!(rig.published(&id('e')), [""; 0]);
    }
    rig.nat("DeleteEndpoint", &of_endpoint(&id('a'), &id('e')));
    assert_eq!(rig.nat(WITHDRAW, &of_endpoint(&id('a'), &id('e'))), json!({}));
}

#[test]
fn publishing_again_replaces_what_docker_had_published() {
    let rig = rig("e", &json!({}));
    rig.nat(PUBLISH, &publish('e', &json!([binding(80, "", 8081, 8081), binding(90, "", 0, 0)])));
    let before = rig.published(&id('e'));
    let chosen = before.iter().find(|text| text.ends_with("-> 90")).unwrap().clone();
    rig.nat(PUBLISH, &publish('e', &json!([binding(90, "", 0, 0), binding(81, "", 8081, 8081)])));
    let after = rig.published(&id('e'));
    assert_eq!(after, [chosen, "tcp * 8081 -> 81".to_owned()], "a chosen port stays");
    rig.nat(PUBLISH, &publish('e', &Value::Null));
    assert_eq!(rig.published(&id('e')), [""; 0]);
}

#[test]
fn what_an_operator_published_stays() {
    let rig = rig("e", &json!({}));
    let add = json!({
        "ResourceType": "Policy", "RequestType": "Add",
        "Settings": { "Policies": [
            { "Type": "PortMapping", "Settings": { "Protocol": 6, "InternalPort": 22, "ExternalPort": 2222 } },
        ] },
    });
    let add = ModifyRequest::<EndpointResource>::from_v2(&add).unwrap();
    rig.engine.modify_endpoint(guid(&id('e')), add).unwrap();
    rig.nat(PUBLISH, &publish('e', &json!([binding(80, "", 8081, 8081)])));
    rig.nat(PUBLISH, &publish('e', &json!([binding(80, "", 8082, 8082)])));
    assert_eq!(rig.published(&id('e')), ["tcp * 2222 -> 22", "tcp * 8082 -> 80"]);
    rig.nat(WITHDRAW, &of_endpoint(&id('a'), &id('e')));
    assert_eq!(rig.published(&id('e')), ["tcp * 2222 -> 22"]);
}

#[test]
fn a_port_that_is_taken_is_refused_with_its_holder_and_nothing_is_published() {
    let rig = rig("ef", &json!({}));
    rig.nat(PUBLISH, &publish('e', &json!([binding(80, "", 8081, 8081)])));
    let body = publish('f', &json!([binding(70, "", 7000, 7000), binding(80, "127.0.0.1", 8081, 8081)]));
    let text = rig.refusal(PUBLISH, &body);
    assert!(text.contains("host port 8081/tcp") && text.contains(&guid(&id('e')).to_string()), "{text}");
    assert_eq!(rig.published(&id('f')), [""; 0]);

    let (transport, at) = (Transport::Tcp, Ipv4Addr::UNSPECIFIED.into());
    let command = Some("nginx".to_owned());
    rig.host.occupy(TakenPort { transport, port: 9000, at }, PortHolder { pid: Some(42), command });
    let text = rig.refusal(PUBLISH, &publish('f', &json!([binding(80, "", 9000, 9000)])));
    assert!(text.contains("host port 9000/tcp") && text.contains("nginx (process 42)"), "{text}");
}

#[test]
fn one_of_a_range_is_the_first_that_is_free() {
    let rig = rig("ef", &json!({}));
    let range = |port| binding(port, "", 8000, 8002);
    rig.nat(PUBLISH, &publish('e', &json!([range(80), range(81), binding(82, "", 8000, 8000)])));
    let mut published = rig.published(&id('e'));
    published.sort();
    assert_eq!(published, ["tcp * 8000 -> 82", "tcp * 8001 -> 80", "tcp * 8002 -> 81"]);
    let text = rig.refusal(PUBLISH, &publish('f', &json!([range(80)])));
    assert!(
        text.starts_with("no host port of 8000-8002/tcp is free: host port 8002/tcp is taken by"),
        "{text}"
    );
    rig.nat(WITHDRAW, &of_endpoint(&id('a'), &id('e')));
    rig.nat(PUBLISH, &publish('f', &json!([range(80)])));
    assert_eq!(rig.published(&id('f')), ["tcp * 8000 -> 80"]);
}

#[test]
fn addresses_of_the_host_are_told_apart_by_family() {
    let rig = Rig::new();
    let mut body = rig::network_body(&id('a'), 51, &json!({}));
    body["Options"]["com.docker.network.enable_ipv6"] = json!(true);
    body["IPv6Data"] = json!([{ "Pool": "fd51::/64", "Gateway": "fd51::1/64" }]);
    rig.nat("CreateNetwork", &body);
    rig.endpoint(&id('a'), &id('e'), "10.51.0.10/24");
    let bindings = json!([
        binding(80, "0.0.0.0", 8080, 8080),
        binding(81, "::", 8080, 8080),
        binding(82, "::1", 8082, 8082),
        binding(83, "0.0.0.0", 8083, 8083),
        binding(83, "::", 8083, 8083),
    ]);
    rig.nat(PUBLISH, &publish('e', &bindings));
    let expected = ["tcp 0.0.0.0 8080 -> 80", "tcp :: 8080 -> 81", "tcp ::1 8082 -> 82", "tcp * 8083 -> 83"];
    assert_eq!(rig.published(&id('e')), expected);
}

#[test]
fn a_network_may_say_where_ports_are_published() {
    let rig = rig("e", &json!({ "com.docker.network.bridge.host_binding_ipv4": "127.0.0.1" }));
    let bindings = json!([binding(80, "", 8080, 8080), binding(81, "0.0.0.0", 8081, 8081)]);
    rig.nat(PUBLISH, &publish('e', &bindings));
    assert_eq!(rig.published(&id('e')), ["tcp 127.0.0.1 8080 -> 80", "tcp 0.0.0.0 8081 -> 81"]);
}

#[test]
fn an_internal_network_publishes_nothing() {
    let rig = rig("", &json!({}));
    let mut body = rig::network_body(&id('b'), 52, &json!({}));
    body["Options"]["com.docker.network.internal"] = json!(true);
    rig.nat("CreateNetwork", &body);
    rig.endpoint(&id('b'), &id('e'), "10.52.0.10/24");
    let mut body = publish('e', &json!([binding(80, "", 8080, 8080)]));
    body["NetworkID"] = json!(id('b'));
    let text = rig.refusal(PUBLISH, &body);
    assert!(text.contains("cannot be published from a network of type Internal"), "{text}");
    body["Options"]["com.docker.network.portmap"] = json!([]);
    assert_eq!(rig.nat(PUBLISH, &body), json!({}));
}
