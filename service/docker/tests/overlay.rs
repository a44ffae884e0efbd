//! Networks over several hosts: what `docker network create -d hns-overlay` says becomes their document.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

mod rig;

use hns_hcn::NetworkType;
use hns_model::Network;
use hns_net::Family;
use rig::{Rig, endpoint_body, id, network_body};
use serde_json::{Value, json};

const PEERS: &str = "10.244.2.0/24=198.51.100.2; fd00:244:2::/64=198.51.100.2";

/// With a subnet of each family, and these options of its user.
fn body(options: &Value) -> Value {
    let mut body = network_body(&id('a'), 50, options);
    body["Options"]["com.docker.network.enable_ipv6"] = json!(true);
    body["IPv6Data"] =
        json!([{"AddressSpace": "LocalDefault", "Pool": "fd00:50::/64", "Gateway": "fd00:50::1/64"}]);
    body
}

#[track_caller]
fn create(rig: &Rig, options: &Value) -> Network {
    let answer = rig.answer("hns-overlay", "NetworkDriver.CreateNetwork", &body(options));
    assert_eq!(answer, json!({}), "{options}");
    rig.find_network(&id('a')).unwrap()
}

#[track_caller]
fn refused(rig: &Rig, body: &Value) -> String {
    let answer = rig.answer("hns-overlay", "NetworkDriver.CreateNetwork", body);
    assert!(rig.find_network(&id('a')).is_none(), "{body}");
    answer["Err"].as_str().unwrap_or_else(|| panic!("{body} was answered {answer}")).to_owned()
}

fn numbers(network: &Network) -> Vec<u32> {
    network.vnis().map(hns_net::Vni::number).collect()
}

#[test]
fn an_overlay_is_made_by_the_names_of_windows_and_ours() {
    for (list, peers) in [
        ("com.docker.network.driver.overlay.vxlanid_list", "hns.peers"),
        ("vxlanid_list", "peers"),
        ("com.docker.network.windowsshim.vsid", "hns.peers"),
        ("vsid", "peers"),
    ] {
        let rig = Rig::new();
        let network =
            create(&rig, &json!({ list: "4097", peers: PEERS, "mtu": "1400", "dnsservers": "9.9.9.9" }));
        assert_eq!(network.kind(), NetworkType::Overlay);
        assert!(network.has_family(Family::V4) && network.has_family(Family::V6));
        let gateways: Vec<_> = network.gateways().map(|(_, gateway)| gateway.to_string()).collect();
        assert_eq!(gateways, ["10.50.0.1", "fd00:50::1"]);
        assert_eq!(numbers(&network), [4097, 4097]);
        assert_eq!(network.mtu().bytes(), 1400);
        assert_eq!(network.document().dns.servers.len(), 1);
        let routes: Vec<(String, String, u32)> = network
            .remote_subnets()
            .map(|route| {
                let vni = route.vni.unwrap().number();
                (route.destination.to_string(), route.provider.to_string(), vni)
            })
            .collect();
        let route = |prefix: &str| (prefix.to_owned(), "198.51.100.2".to_owned(), 4097);
        assert_eq!(routes, [route("10.244.2.0/24"), route("fd00:244:2::/64")]);
        // Docker tells a call again whose answer it did not see.
        create(&rig, &json!({ list: "4097", peers: PEERS, "mtu": "1400", "dnsservers": "9.9.9.9" }));
    }
}

#[test]
fn a_list_of_numbers_is_one_for_each_subnet() {
    let rig = Rig::new();
    let peers = "10.244.2.0/24=198.51.100.2;fd00:244:2::/64=198.51.100.2;10.244.3.0/24=198.51.100.3,vni=9";
    let network = create(&rig, &json!({ "vxlanid_list": "4097, 4098", "hns.peers": peers }));
    assert_eq!(numbers(&network), [4097, 4098]);
    let to: Vec<u32> = network.remote_subnets().filter_map(|route| Some(route.vni?.number())).collect();
    assert_eq!(to, [4097, 4098, 9]);
}

#[test]
fn tunnels_end_where_options_say() {
    let rig = Rig::new();
    rig.host.add_adapter(&"eth0".parse().unwrap());
    rig.host.add_address(&"eth0".parse().unwrap(), "198.51.100.1/24".parse().unwrap());
    for options in [
        json!({ "vsid": "4097", "com.docker.network.windowsshim.interface": "eth0", "hns.vxlan-port": "8472" }),
        json!({ "vsid": "4097", "interface": "eth0", "vxlan-port": "8472" }),
        json!({ "vsid": "4097", "hns.provider": "198.51.100.1", "hns.vxlan-port": "8472" }),
        json!({ "vsid": "4097", "provider": "198.51.100.1", "vxlan-port": "8472" }),
    ] {
        let tunnel = create(&rig, &options).tunnel().unwrap();
        assert_eq!((tunnel.provider, tunnel.udp_port), ("198.51.100.1".parse().unwrap(), 8472), "{options}");
        let gone = rig.answer("hns-overlay", "NetworkDriver.DeleteNetwork", &json!({ "NetworkID": id('a') }));
        assert_eq!(gone, json!({}));
    }
}

/// Docker tells a driver no name, and what it tells in its place is another on each host.
#[test]
fn hosts_agree_on_the_number_by_the_name_that_hns_has() {
    let rig = Rig::new();
    let said = refused(&rig, &body(&json!({})));
    assert!(said.contains("vxlanid_list=NUMBER") && said.contains("networkname=NAME"), "{said}");
    let network = create(&rig, &json!({ "networkname": "blue" }));
    let other = Rig::new();
    let mut there = body(&json!({ "networkname": "blue" }));
    there["NetworkID"] = json!(id('b'));
    assert_eq!(other.answer("hns-overlay", "NetworkDriver.CreateNetwork", &there), json!({}));
    assert_eq!(numbers(&network), numbers(&other.find_network(&id('b')).unwrap()));
}

#[test]
fn what_an_overlay_cannot_be_is_refused_by_name() {
    let rig = Rig::new();
    let also = |key: &str, value: &str| json!({ "vxlanid_list": "4097", key: value });
    for (options, words) in [
        (json!({ "vxlanid_list": "0" }), vec!["option vxlanid_list: \"0\"", "1 to 16777215"]),
        (json!({ "vxlanid_list": "4097,4098,4099" }), vec!["vxlanid_list: 3 numbers for 2 subnets"]),
        (json!({ "vsid": "16777216" }), vec!["option vsid", "1 to 16777215"]),
        (also("vsid", "4097"), vec!["vsid contradicts vxlanid_list"]),
        (also("hns.peers", "10.244.2.0/24"), vec!["option hns.peers", "10.244.2.0/24=198.51.100.2"]),
        (also("hns.peers", "10.244.2.0/24=127.0.0.1"), vec!["option hns.peers", "127.0.0.1"]),
        (also("peers", "10.50.0.0/16=198.51.100.2"), vec!["10.50.0.0/16 overlaps 10.50.0.0/24"]),
        (also("hns.provider", "eth0"), vec!["option hns.provider", "an IP address"]),
        (also("hns.provider", "203.0.113.7"), vec!["203.0.113.7"]),
        (also("hns.vxlan-port", "0"), vec!["option hns.vxlan-port", "1 to 65535"]),
        (also("interface", "eth7"), vec!["no adapter eth7"]),
        (also("interface", "eth0,eth1"), vec!["option interface", "name of one adapter"]),
        (also("vlanid", "7"), vec!["option vlanid has no meaning on hns-overlay networks"]),
        (also("sourcemac", "00-15-5D-52-C0-00"), vec!["option sourcemac has no meaning on hns-overlay"]),
        (
            also("enable_outboundnat", "true"),
            vec!["enable_outboundnat contradicts the missing hns.host-route"],
        ),
        (
            also("gateway_mode_ipv4", "routed"),
            vec!["gateway_mode_ipv4 contradicts the missing hns.host-route"],
        ),
        (
            also("host_binding_ipv4", "192.0.2.1"),
            vec!["host_binding_ipv4 contradicts the missing hns.host-route"],
        ),
        (also("disable_gatewaydns", "true"), vec!["option disable_gatewaydns has no meaning"]),
        (also("hns.host-route", "on"), vec!["option hns.host-route", "true or false"]),
        (also("internal", "true"), vec!["option --internal has no meaning on hns-overlay networks"]),
        (also("mtu", "1451"), vec!["1451", "1450"]),
        (
            also("peer", "10.244.2.0/24=198.51.100.2"),
            vec!["option peer is not known", "vxlanid_list", "peers"],
        ),
        (
            json!({ "vxlanid_list": "4097", "interface": "eth0", "provider": "192.0.2.10" }),
            vec!["hns.provider contradicts interface"],
        ),
    ] {
        let said = refused(&rig, &body(&options));
        assert!(words.iter().all(|word| said.contains(word)), "{options}: {said}");
    }
    let mut without = body(&json!({ "vxlanid_list": "4097" }));
    without["IPv4Data"] = json!([{ "AddressSpace": "null", "Pool": "0.0.0.0/0" }]);
    without["IPv6Data"] = json!([]);
    let said = refused(&rig, &without);
    assert!(said.contains("need the prefix that their containers on this host have"), "{said}");
}

/// Whatever else is said of it.
#[test]
fn an_overlay_that_shall_be_encrypted_is_never_made_in_clear() {
    let rig = Rig::new();
    let peers = "10.4.2.0/24=192.0.2.2";
    for (value, peers, word) in [
        ("false", peers, "said without a value, or not at all"),
        ("maybe", peers, "said without a value, or not at all"),
        ("", peers, "the key of host 192.0.2.2 is absent"),
        ("true", &format!("{peers},key=x"), "\"x\" is no public key"),
    ] {
        let said =
            refused(&rig, &body(&json!({ "vxlanid_list": "4097", "encrypted": value, "hns.peers": peers })));
        assert!(said.contains(word), "{value}, {peers}: {said}");
    }
    let key = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
    let said =
        refused(&rig, &body(&json!({ "vxlanid_list": "4097", "hns.peers": format!("{peers},key={key}") })));
    assert!(said.contains("this network is not encrypted"), "{said}");
    assert_eq!(rig.engine.world().networks().count(), 0);
    create(
        &rig,
        &json!({ "vxlanid_list": "4097", "encrypted": "", "hns.peers": format!("{peers},key={key}") }),
    );
    let world = rig.engine.world();
    assert!(world.networks().next().is_some_and(|network| network.encryption().is_some()));
}

#[test]
fn an_endpoint_has_its_router_and_publishes_nothing() {
    let rig = Rig::new();
    create(&rig, &json!({ "vxlanid_list": "4097", "hns.peers": PEERS }));
    let mut wish = endpoint_body(&id('a'), &id('e'), "10.50.0.9/24");
    wish["Interface"]["AddressIPv6"] = json!("fd00:50::9/64");
    let answer =
        |method: &str, body: &Value| rig.answer("hns-overlay", &format!("NetworkDriver.{method}"), body);
    assert!(answer("CreateEndpoint", &wish)["Err"].is_null());
    let ports = json!([{ "Proto": 6, "Port": 80, "HostPort": 8080 }]);
    let publish = json!({
        "NetworkID": id('a'), "EndpointID": id('e'), "Options": { "com.docker.network.portmap": ports },
    });
    let said = answer("ProgramExternalConnectivity", &publish);
    assert!(said["Err"].as_str().is_some_and(|said| said.contains("Overlay")), "{said}");
    assert_eq!(rig.published(&id('e')), Vec::<String>::new());
    let join = json!({ "NetworkID": id('a'), "EndpointID": id('e'), "SandboxKey": "/run/docker/netns/1" });
    let joined = answer("Join", &join);
    assert_eq!((&joined["Gateway"], &joined["GatewayIPv6"]), (&json!("10.50.0.1"), &json!("fd00:50::1")));
    // For a container that has its default route from another network.
    let route =
        |prefix: &str, router: &str| json!({"Destination": prefix, "RouteType": 0, "NextHop": router});
    assert_eq!(
        joined["StaticRoutes"],
        json!([route("10.244.2.0/24", "10.50.0.1"), route("fd00:244:2::/64", "fd00:50::1")])
    );
}

#[test]
fn a_host_that_is_on_an_overlay_leads_out_and_publishes() {
    let rig = Rig::new();
    let options = json!({
        "vxlanid_list": "4097", "host-route": "true", "gateway_mode_ipv6": "routed", "enable_outboundnat": "true",
    });
    let network = create(&rig, &options);
    assert_eq!(network.gateway_mode(Family::V6), hns_hcn::GatewayMode::Routed);
    let wish = endpoint_body(&id('a'), &id('e'), "10.50.0.9/24");
    let answer =
        |method: &str, body: &Value| rig.answer("hns-overlay", &format!("NetworkDriver.{method}"), body);
    assert!(answer("CreateEndpoint", &wish)["Err"].is_null());
    let ports = json!([{ "Proto": 6, "Port": 80, "HostPort": 8080 }]);
    let publish = json!({
        "NetworkID": id('a'), "EndpointID": id('e'), "Options": { "com.docker.network.portmap": ports },
    });
    assert_eq!(answer("ProgramExternalConnectivity", &publish), json!({}));
    assert_eq!(rig.published(&id('e')), ["tcp * 8080 -> 80"]);
}

/// By its id, as the mirror does it: nothing of its tunnels can be said anew.
#[test]
fn an_overlay_of_hns_serves_docker() {
    let rig = Rig::new();
    let made = create(&rig, &json!({ "networkname": "blue" }));
    let mut shown = body(&json!({ "hnsid": made.id().to_string(), "hnsowned": "true" }));
    shown["NetworkID"] = json!(id('b'));
    let create = |body: &Value| rig.answer("hns-overlay", "NetworkDriver.CreateNetwork", body);
    assert_eq!(create(&shown), json!({}));
    for (key, value) in [
        ("vxlanid_list", "4097"),
        ("vsid", "4097"),
        ("hns.peers", PEERS),
        ("hns.provider", "192.0.2.10"),
        ("hns.vxlan-port", "8472"),
        ("hns.host-route", "true"),
    ] {
        let mut late = body(&json!({ "hnsid": made.id().to_string(), key: value }));
        late["NetworkID"] = json!(id('c'));
        let said = create(&late);
        assert!(said["Err"].as_str().is_some_and(|said| said.contains("contradicts hnsid")), "{key}: {said}");
    }
}
