//! Endpoints of Docker from their creation to their deletion.

mod rig;

use std::path::Path;

use hns_hcn as hcn;
use rig::{Rig, endpoint_body, id, network_body, of_endpoint};
use serde_json::{Value, json};

const SANDBOX: &str = "/run/docker/netns/895fd36fa483";

fn join(rig: &Rig, network: &str, endpoint: &str) -> Value {
    rig.nat(
        "Join",
        &json!({
            "NetworkID": network, "EndpointID": endpoint, "SandboxKey": SANDBOX,
            "Options": { "com.docker.network.endpoint.exposedports": [], "com.docker.network.portmap": [] },
        }),
    )
}

#[test]
fn the_recorded_endpoint_is_made() {
    let rig = Rig::new();
    rig.network(&id('a'), 51, &json!({}));
    let recorded = json!({
        "NetworkID": id('a'), "EndpointID": id('e'),
        "Interface": { "Address": "10.51.0.77/24", "AddressIPv6": "", "MacAddress": "02:11:22:33:44:55" },
        "Options": {
            "com.docker.network.endpoint.dnsservers": ["9.9.9.9"],
            "com.docker.network.endpoint.exposedports": [
                { "Proto": 6, "Port": 99 }, { "Proto": 6, "Port": 80 }, { "Proto": 17, "Port": 53 },
            ],
            "com.docker.network.endpoint.macaddress": "AhEiM0RV",
            "com.docker.network.portmap": [
                { "Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8081, "HostPortEnd": 8081 },
                { "Proto": 17, "IP": "", "Port": 53, "HostIP": "127.0.0.1", "HostPort": 5353, "HostPortEnd": 5353 },
            ],
        },
    });
    for _ in 0..2 {
        // Nothing that was set comes back, the second time neither.
        assert_eq!(rig.nat("CreateEndpoint", &recorded), json!({ "Interface": {} }));
    }
    let endpoint = rig.find_endpoint(&id('e')).unwrap();
    assert_eq!(endpoint.addresses().next().unwrap().to_string(), "10.51.0.77/24");
    assert_eq!(endpoint.mac().unwrap().colons(), "02:11:22:33:44:55");
    assert_eq!(endpoint.document().dns.servers[0].to_string(), "9.9.9.9");
    assert_eq!(endpoint.port_mappings().count(), 0, "ports are published for a gateway only");
}

#[test]
fn a_mac_address_is_always_chosen_and_comes_back_with_the_address() {
    let rig = Rig::new();
    rig.network(&id('a'), 51, &json!({}));
    let body = endpoint_body(&id('a'), &id('e'), "10.51.0.77/24");
    let first = rig.nat("CreateEndpoint", &body);
    rig.nat("DeleteEndpoint", &of_endpoint(&id('a'), &id('e')));
    let again = rig.nat("CreateEndpoint", &endpoint_body(&id('a'), &id('f'), "10.51.0.77/24"));
    assert_eq!(first, again);
    assert_eq!(first["Interface"]["MacAddress"].as_str().unwrap().len(), 17);
}

#[test]
fn a_container_gets_a_link_and_a_way_out() {
    let rig = Rig::new();
    rig.network(&id('a'), 51, &json!({}));
    rig.endpoint(&id('a'), &id('e'), "10.51.0.77/24");
    let answer = join(&rig, &id('a'), &id('e'));
    assert_eq!(answer["Gateway"], "10.51.0.1");
    assert_eq!(answer["GatewayIPv6"], "");
    assert_eq!(answer["DisableGatewayService"], false);
    assert_eq!(answer["StaticRoutes"], json!([]));
    let name = &answer["InterfaceName"];
    assert_eq!(name["DstPrefix"], "eth");
    let attachment = rig.find_endpoint(&id('e')).unwrap().attachment().unwrap().clone();
    assert_eq!(name["SrcName"], attachment.interface.as_str());
    assert_eq!(attachment.sandbox(), Some(Path::new(SANDBOX)));
    assert!(rig.host.links().contains(&attachment.port));
    assert_eq!(join(&rig, &id('a'), &id('e')), answer, "joining again changes nothing");

    for _ in 0..2 {
        assert_eq!(rig.nat("Leave", &of_endpoint(&id('a'), &id('e'))), json!({}));
        assert!(rig.find_endpoint(&id('e')).unwrap().attachment().is_none());
    }
    for _ in 0..2 {
        assert_eq!(rig.nat("DeleteEndpoint", &of_endpoint(&id('a'), &id('e'))), json!({}));
        assert!(rig.find_endpoint(&id('e')).is_none());
    }
    assert_eq!(rig.nat("Leave", &of_endpoint(&id('a'), &id('e'))), json!({}));
}

#[test]
fn an_internal_network_says_that_it_has_no_way_out() {
    let rig = Rig::new();
    let mut body = network_body(&id('a'), 51, &json!({}));
    body["Options"]["com.docker.network.internal"] = json!(true);
    rig.nat("CreateNetwork", &body);
    rig.endpoint(&id('a'), &id('e'), "10.51.0.77/24");
    let answer = join(&rig, &id('a'), &id('e'));
    assert_eq!((&answer["Gateway"], &answer["GatewayIPv6"]), (&json!(""), &json!("")));
    assert_eq!(answer["DisableGatewayService"], true);
}

#[test]
fn both_families_have_their_gateway() {
    let rig = Rig::new();
    let mut body = network_body(&id('a'), 51, &json!({ "container_iface_prefix": "lan" }));
    body["Options"]["com.docker.network.enable_ipv6"] = json!(true);
    body["IPv6Data"] = json!([{ "Pool": "fd51::/64", "Gateway": "fd51::1/64" }]);
    rig.nat("CreateNetwork", &body);
    let mut endpoint = endpoint_body(&id('a'), &id('e'), "10.51.0.77/24");
    endpoint["Interface"]["AddressIPv6"] = json!("fd51::77/64");
    rig.nat("CreateEndpoint", &endpoint);
    let answer = join(&rig, &id('a'), &id('e'));
    assert_eq!((&answer["Gateway"], &answer["GatewayIPv6"]), (&json!("10.51.0.1"), &json!("fd51::1")));
    let name = &answer["InterfaceName"];
    assert_eq!(name["DstPrefix"], "lan");
}

#[test]
fn an_endpoint_that_a_killed_docker_left_behind_makes_way() {
    let rig = Rig::new();
    rig.network(&id('a'), 51, &json!({}));
    rig.endpoint(&id('a'), &id('d'), "10.51.0.77/24");
    join(&rig, &id('a'), &id('d'));
    rig.endpoint(&id('a'), &id('e'), "10.51.0.77/24");
    assert!(rig.find_endpoint(&id('d')).is_none());
}

#[test]
fn a_mac_address_that_a_killed_docker_left_behind_is_free() {
    let rig = Rig::new();
    rig.network(&id('a'), 51, &json!({}));
    let with_mac = |endpoint: &str, address: &str| {
        let mut body = endpoint_body(&id('a'), endpoint, address);
        body["Interface"]["MacAddress"] = json!("02:11:22:33:44:55");
        body
    };
    rig.nat("CreateEndpoint", &with_mac(&id('d'), "10.51.0.7/24"));
    // Its sandbox is a file that is not there.
    join(&rig, &id('a'), &id('d'));
    rig.nat("CreateEndpoint", &with_mac(&id('e'), "10.51.0.8/24"));
    assert!(rig.find_endpoint(&id('d')).is_none());

    // One that is there is a container that lives.
    let sandbox = rig.folder.path().join("sandbox");
    std::fs::write(&sandbox, "").unwrap();
    rig.nat("Join", &json!({ "NetworkID": id('a'), "EndpointID": id('e'), "SandboxKey": sandbox }));
    let text = rig.refusal("CreateEndpoint", &with_mac(&id('f'), "10.51.0.9/24"));
    assert!(
        text.contains("MAC address 02-11-22-33-44-55") && text.contains("belongs to endpoint EEEE"),
        "{text}"
    );
}

#[test]
fn the_address_of_another_engine_is_refused_with_its_holder() {
    let rig = Rig::new();
    let network = rig.network(&id('a'), 51, &json!({ "networkname": "shared" })).id();
    let pod = json!({
        "Name": "web_shared", "HostComputeNetwork": network.to_string(), "Owner": "cni",
        "IpConfigurations": [{ "IpAddress": "10.51.0.77" }],
    });
    rig.engine.create_endpoint(hcn::Endpoint::from_v2(&pod).unwrap()).unwrap();
    let text = rig.refusal("CreateEndpoint", &endpoint_body(&id('a'), &id('e'), "10.51.0.77/24"));
    assert!(text.starts_with("address 10.51.0.77 of network \"shared\" is in use by endpoint "), "{text}");
    assert!(text.ends_with("\"web_shared\" of cni"), "{text}");
    let text = rig.refusal("CreateEndpoint", &endpoint_body(&id('a'), &id('e'), "10.51.0.1/24"));
    assert!(text.contains("10.51.0.1") && text.contains("reserved"), "{text}");
}

#[test]
fn two_dockers_on_one_network_do_not_take_each_others_addresses() {
    let rig = Rig::new();
    let network = rig.network(&id('a'), 51, &json!({})).id();
    rig.nat("CreateNetwork", &network_body(&id('b'), 51, &json!({ "hnsid": network.to_string() })));
    rig.endpoint(&id('a'), &id('d'), "10.51.0.77/24");
    let text = rig.refusal("CreateEndpoint", &endpoint_body(&id('b'), &id('e'), "10.51.0.77/24"));
    assert!(text.contains("in use by endpoint DDDD") && text.ends_with("of docker"), "{text}");
}

#[test]
fn what_is_unknown_is_refused_by_name() {
    let rig = Rig::new();
    let network = id('a');
    let cases = [
        (
            "CreateEndpoint",
            endpoint_body(&network, &id('e'), ""),
            format!("network {network} of Docker has no"),
        ),
        (
            "Join",
            json!({ "NetworkID": network, "EndpointID": id('e'), "SandboxKey": SANDBOX }),
            format!("endpoint {} is not known", id('e')),
        ),
        ("ProgramExternalConnectivity", of_endpoint(&network, &id('e')), "is not known".to_owned()),
    ];
    for (method, body, expected) in cases {
        let text = rig.refusal(method, &body);
        assert!(text.contains(&expected), "{text}");
    }
    rig.network(&network, 51, &json!({}));
    let fields = [
        ("Address", "10.51.0.77", "Address \"10.51.0.77\" is not an address with the length of its subnet"),
        ("Address", "10.52.0.77/24", "has no subnet that holds 10.52.0.77"),
        ("AddressIPv6", "fd00::1/64", "has no subnet that holds fd00::1"),
        ("MacAddress", "03:00:00:00:00:01", "MacAddress \"03:00:00:00:00:01\" is not the MAC address of one"),
    ];
    for (field, value, expected) in fields {
        let mut body = endpoint_body(&network, &id('e'), "");
        body["Interface"][field] = json!(value);
        let text = rig.refusal("CreateEndpoint", &body);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_restart_of_docker_leaves_endpoints_alone() {
    let rig = Rig::new();
    rig.network(&id('a'), 51, &json!({}));
    rig.endpoint(&id('a'), &id('e'), "10.51.0.77/24");
    join(&rig, &id('a'), &id('e'));
    let before = rig.find_endpoint(&id('e'));
    for method in ["Plugin.Activate", "NetworkDriver.GetCapabilities", "NetworkDriver.EndpointOperInfo"] {
        assert_eq!(rig.send("nat", method, &of_endpoint(&id('a'), &id('e')).to_string()).status, 200);
    }
    assert_eq!(rig.find_endpoint(&id('e')), before);
}
