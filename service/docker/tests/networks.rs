//! Networks of Docker and the HNS networks behind them.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

mod rig;

use hns_hcn::{self as hcn, GatewayMode, NetworkType};
use hns_net::{Family, Guid};
use rig::{Rig, endpoint_body, id, network_body};
use serde_json::{Value, json};

/// The recorded body: `docker network create -d nat --subnet 10.50.0.0/24 --gateway 10.50.0.1 --ip-range 10.50.0.128/25
/// --aux-address dns=10.50.0.2 --internal --ipv6 --subnet fd50::/64 --gateway fd50::1 -o com.example.k=v --label a=b n1`.
fn recorded() -> Value {
    json!({
        "NetworkID": id('a'),
        "Options": {
            "com.docker.network.enable_ipv4": true,
            "com.docker.network.enable_ipv6": true,
            "com.docker.network.generic": { "com.example.k": "v" },
            "com.docker.network.internal": true,
        },
        "IPv4Data": [{
            "AddressSpace": "LocalDefault", "Pool": "10.50.0.0/24", "Gateway": "10.50.0.1/24",
            "AuxAddresses": { "dns": "10.50.0.2/24" },
        }],
        "IPv6Data": [{ "AddressSpace": "LocalDefault", "Pool": "fd50::/64", "Gateway": "fd50::1/64" }],
    })
}

#[test]
fn the_recorded_network_is_made() {
    let rig = Rig::new();
    assert_eq!(rig.nat("CreateNetwork", &recorded()), json!({}));
    let network = rig.find_network(&id('a')).unwrap();
    assert_eq!((network.kind(), network.name()), (NetworkType::Internal, id('a').as_str()));
    let prefixes: Vec<_> = network.prefixes().map(|prefix| prefix.to_string()).collect();
    assert_eq!(prefixes, ["10.50.0.0/24", "fd50::/64"]);
    let document = network.document();
    assert_eq!(document.owner.as_deref(), Some("docker"));
    assert_eq!(document.params.aux_addresses["dns"].to_string(), "10.50.0.2");
    assert_eq!(document.params.others["DockerNetworks"], json!([id('a')]));
}

/// `docker network create -d transparent` as Windows documents it, with the whole names of options and the short ones.
#[test]
fn a_network_on_the_lan_is_made() {
    let rig = Rig::new();
    rig.host.add_adapter(&"eth0".parse().unwrap());
    for (number, options) in [
        (
            50,
            json!({ "com.docker.network.windowsshim.interface": "eth0", "com.docker.network.windowsshim.vlanid": "7" }),
        ),
        (51, json!({ "interface": "eth0", "vlanid": "7" })),
    ] {
        let docker = id(if number == 50 { 'a' } else { 'b' });
        let answer = rig.answer(
            "transparent",
            "NetworkDriver.CreateNetwork",
            &network_body(&docker, number, &options),
        );
        assert_eq!(answer, json!({}));
        let network = rig.find_network(&docker).unwrap();
        assert_eq!(network.kind(), NetworkType::Transparent);
        assert_eq!(network.uplink().unwrap().to_string(), "VLAN 7 of adapter eth0");
        let gateways: Vec<_> = network.gateways().map(|(_, gateway)| gateway.to_string()).collect();
        assert_eq!(gateways, [format!("10.{number}.0.1")]);
    }
    for (options, words) in [
        (json!({}), ["needs an adapter", "NetAdapterName"]),
        (json!({ "interface": "eth1" }), ["there is no adapter", "eth1"]),
        (json!({ "interface": "eth0,eth1" }), ["eth0,eth1", "name of one adapter"]),
        (json!({ "interface": "eth0", "vlanid": "0" }), ["option vlanid", "1 to 4094"]),
        (
            json!({ "interface": "eth0", "gateway_mode_ipv4": "routed" }),
            ["gateway_mode_ipv4", "does not translate"],
        ),
    ] {
        let body = network_body(&id('c'), 52, &options);
        let answer = rig.answer("transparent", "NetworkDriver.CreateNetwork", &body);
        let said = answer["Err"].as_str().unwrap_or_else(|| panic!("{options} was answered {answer}"));
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(rig.find_network(&id('c')).is_none());
    }
}

#[test]
fn a_call_that_is_repeated_is_answered_as_the_first_time() {
    let rig = Rig::new();
    for _ in 0..2 {
        assert_eq!(rig.nat("CreateNetwork", &recorded()), json!({}));
    }
    let mut other = recorded();
    other["IPv4Data"][0]["Pool"] = json!("10.51.0.0/24");
    let text = rig.refusal("CreateNetwork", &other);
    assert!(text.contains("10.50.0.0/24") && text.contains("10.51.0.0/24"), "{text}");
}

#[test]
fn a_subnet_that_another_network_has_is_refused_with_its_holder() {
    let rig = Rig::new();
    rig.network(&id('a'), 50, &json!({ "networkname": "first" }));
    let text = rig.refusal("CreateNetwork", &network_body(&id('b'), 50, &json!({})));
    assert!(text.contains("10.50.0.0/24") && text.contains("\"first\""), "{text}");
    assert!(rig.find_network(&id('b')).is_none());
}

#[test]
fn a_null_ipam_driver_leaves_the_choice_to_hns() {
    let rig = Rig::new();
    let mut body = network_body(&id('a'), 50, &json!({}));
    body["IPv4Data"] = json!([{ "AddressSpace": "null", "Pool": "0.0.0.0/0" }]);
    rig.nat("CreateNetwork", &body);
    let network = rig.find_network(&id('a')).unwrap();
    assert!(network.has_family(Family::V4) && !network.has_family(Family::V6));
    let answer = rig.nat("CreateEndpoint", &endpoint_body(&id('a'), &id('e'), ""));
    let endpoint = rig.find_endpoint(&id('e')).unwrap();
    let address = endpoint.addresses().next().unwrap().to_string();
    assert_eq!(answer["Interface"]["Address"], json!(address));
    assert_eq!(answer["Interface"]["MacAddress"], json!(endpoint.mac().unwrap().colons()));
}

/// Docker would give its containers addresses of its own, not the LAN's.
#[test]
fn a_network_on_a_lan_needs_its_subnet() {
    let rig = Rig::new();
    let mut body = network_body(&id('a'), 50, &json!({ "interface": "eth0" }));
    body["IPv4Data"] = json!([{ "AddressSpace": "null", "Pool": "0.0.0.0/0" }]);
    let answer = rig.answer("transparent", "NetworkDriver.CreateNetwork", &body);
    let text = answer["Err"].as_str().unwrap_or_default();
    assert!(text.contains("transparent networks of Docker need a subnet"), "{text}");
    assert!(rig.find_network(&id('a')).is_none());
}

#[test]
fn a_network_can_do_without_ipv4() {
    let rig = Rig::new();
    let body = json!({
        "NetworkID": id('a'),
        "Options": { "com.docker.network.enable_ipv4": false, "com.docker.network.enable_ipv6": true },
        "IPv4Data": null,
        "IPv6Data": [{ "Pool": "fd50::/64", "Gateway": "fd50::1/64" }],
    });
    rig.nat("CreateNetwork", &body);
    assert!(!rig.find_network(&id('a')).unwrap().has_family(Family::V4));
    let endpoint = json!({
        "NetworkID": id('a'), "EndpointID": id('e'), "Interface": { "AddressIPv6": "fd50::5/64" },
    });
    let answer = rig.nat("CreateEndpoint", &endpoint);
    let fields: Vec<_> = answer["Interface"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["MacAddress"]);
}

#[test]
fn the_gateway_mode_decides_the_type() {
    let rig = Rig::new();
    let routed = rig.network(&id('a'), 50, &json!({ "gateway_mode_ipv4": "routed" }));
    assert_eq!(routed.gateway_mode(Family::V4), GatewayMode::Routed);
    assert_eq!(routed.gateway_mode(Family::V6), GatewayMode::Nat);
    let plain = rig.network(&id('b'), 51, &json!({ "enable_ip_masquerade": "false" }));
    assert_eq!(plain.gateway_mode(Family::V4), GatewayMode::Routed);

    let mut body = network_body(&id('c'), 52, &json!({ "gateway_mode_ipv4": "isolated" }));
    let text = rig.refusal("CreateNetwork", &body);
    assert!(text.contains("contradicts the missing --internal"), "{text}");
    body["Options"]["com.docker.network.internal"] = json!(true);
    rig.nat("CreateNetwork", &body);
    let isolated = rig.find_network(&id('c')).unwrap();
    assert_eq!(isolated.kind(), NetworkType::Private);
    assert_eq!(isolated.gateways().count(), 0);
    let check = rig.nat("GwAllocCheck", &json!({ "Options": body["Options"] }));
    assert_eq!(check, json!({ "SkipIPv4": true, "SkipIPv6": false }));
}

#[test]
fn docker_reserves_gateways_of_nat_networks() {
    let rig = Rig::new();
    let body = json!({ "Options": {
        "com.docker.network.enable_ipv4": true,
        "com.docker.network.enable_ipv6": false,
        "com.docker.network.generic": {},
    }});
    assert_eq!(rig.nat("GwAllocCheck", &body), json!({ "SkipIPv4": false, "SkipIPv6": false }));
}

#[test]
fn what_is_no_subnet_is_refused_by_name() {
    let rig = Rig::new();
    let cases = [
        (json!([{ "Pool": "10.50.0.0" }]), "Pool \"10.50.0.0\" is not an address prefix"),
        (json!([{ "Pool": "fd50::/64" }]), "Pool \"fd50::/64\" is not an IPv4 prefix"),
        (json!([{ "Pool": "10.50.0.0/24", "Gateway": "first" }]), "Gateway \"first\" is not an address"),
        (json!([{ "Pool": "10.50.0.0/24", "Gateway": "10.51.0.1/24" }]), "gateway 10.51.0.1"),
        (
            json!([{ "Pool": "10.50.0.0/24", "AuxAddresses": { "dns": "10.9.0.1" } }]),
            "AuxAddresses.dns: 10.9.0.1 lies in no subnet",
        ),
    ];
    for (data, expected) in cases {
        let mut body = network_body(&id('a'), 50, &json!({}));
        body["IPv4Data"] = data;
        let text = rig.refusal("CreateNetwork", &body);
        assert!(text.contains(expected), "{text}");
    }
    let mut body = network_body("swarm", 50, &json!({}));
    let text = rig.refusal("CreateNetwork", &body);
    assert!(text.contains("\"swarm\" is not an id of a local network"), "{text}");
    body["NetworkID"] = json!(id('a'));
    rig.nat("CreateNetwork", &body);
}

#[test]
fn deleting_what_is_gone_succeeds() {
    let rig = Rig::new();
    rig.network(&id('a'), 50, &json!({}));
    for _ in 0..2 {
        assert_eq!(rig.nat("DeleteNetwork", &json!({ "NetworkID": id('a') })), json!({}));
        assert!(rig.find_network(&id('a')).is_none());
    }
    assert_eq!(rig.host.links(), []);
}

/// A network that `hnsctl` made, with its GUID.
fn existing(rig: &Rig) -> Guid {
    let document = json!({
        "Name": "lan", "Type": "NAT",
        "Ipams": [{ "Subnets": [{ "IpAddressPrefix": "10.60.0.0/24" }] }],
    });
    let made = rig.engine.create_network(hcn::Network::from_v2(&document).unwrap()).unwrap();
    made.id.unwrap()
}

fn bound(docker: &str, network: Guid, options: &Value) -> Value {
    let mut all = json!({ "com.docker.network.windowsshim.hnsid": network.to_string(), "hnsowned": "true" });
    for (key, value) in options.as_object().unwrap() {
        all[key] = value.clone();
    }
    network_body(docker, 60, &all)
}

fn served(rig: &Rig, network: Guid) -> Value {
    let world = rig.engine.world();
    let others = &world.network(network).unwrap().document().params.others;
    others.get("DockerNetworks").cloned().unwrap_or(Value::Null)
}

#[test]
fn a_network_of_docker_is_bound_to_one_that_exists() {
    let rig = Rig::new();
    let network = existing(&rig);
    rig.nat("CreateNetwork", &bound(&id('a'), network, &json!({})));
    rig.nat("CreateNetwork", &bound(&id('b'), network, &json!({ "enable_icc": "false" })));
    assert_eq!(served(&rig, network), json!([id('a'), id('b')]));

    // Each with its own options.
    let talks = rig.endpoint(&id('a'), &id('e'), "10.60.0.5/24");
    let silent = rig.endpoint(&id('b'), &id('f'), "10.60.0.6/24");
    assert_eq!((talks.network(), silent.network()), (network, network));
    let flag = hcn::EndpointFlags::DISABLE_ICC;
    assert_eq!((talks.has_flag(flag), silent.has_flag(flag)), (false, true));

    // The binding goes with its endpoints, the network stays.
    rig.nat("DeleteNetwork", &json!({ "NetworkID": id('b') }));
    assert_eq!(served(&rig, network), json!([id('a')]));
    assert!(rig.find_endpoint(&id('f')).is_none() && rig.find_endpoint(&id('e')).is_some());
    rig.nat("DeleteNetwork", &json!({ "NetworkID": id('a') }));
    assert_eq!(served(&rig, network), Value::Null);
    assert_eq!(rig.engine.world().network(network).unwrap().name(), "lan");
}

#[test]
fn a_binding_that_means_another_network_is_refused() {
    let rig = Rig::new();
    let network = existing(&rig);
    let mut pool = bound(&id('a'), network, &json!({}));
    pool["IPv4Data"][0]["Pool"] = json!("10.61.0.0/24");
    let mut gateway = bound(&id('a'), network, &json!({}));
    gateway["IPv4Data"][0]["Gateway"] = json!("10.60.0.9/24");
    let mut internal = bound(&id('a'), network, &json!({}));
    internal["Options"]["com.docker.network.internal"] = json!(true);
    let cases = [
        (bound(&id('a'), Guid::ZERO, &json!({})), "there is no HNS network 00000000-0000"),
        (pool, "\"lan\" has the subnets 10.60.0.0/24, but 10.61.0.0/24 was asked for"),
        (gateway, "\"lan\" has the gateway 10.60.0.1, but 10.60.0.9 was asked for"),
        (internal, "\"lan\" is of type NAT, not Internal"),
        (bound(&id('a'), network, &json!({ "networkname": "wan" })), "has the name \"lan\""),
        (bound(&id('a'), network, &json!({ "mtu": "1400" })), "contradicts hnsid: the HNS network exists"),
    ];
    for (body, expected) in cases {
        let text = rig.refusal("CreateNetwork", &body);
        assert!(text.contains(expected), "{text}");
        assert_eq!(served(&rig, network), Value::Null);
    }
}

#[test]
fn a_network_that_others_use_survives_its_docker_network() {
    let rig = Rig::new();
    let network = rig.network(&id('a'), 50, &json!({ "networkname": "shared" })).id();
    let pod = json!({ "HostComputeNetwork": network.to_string(), "Owner": "cni" });
    let pod = rig.engine.create_endpoint(hcn::Endpoint::from_v2(&pod).unwrap()).unwrap().id.unwrap();
    rig.endpoint(&id('a'), &id('e'), "10.50.0.9/24");
    rig.nat("DeleteNetwork", &json!({ "NetworkID": id('a') }));
    assert!(rig.engine.world().endpoint(pod).is_ok());
    assert!(rig.find_endpoint(&id('e')).is_none());
    assert_eq!(served(&rig, network), Value::Null);
}
