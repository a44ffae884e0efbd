//! Addresses: each handed out once, from where it should come, and free again afterwards.
//!
//! IPAM-1, -2, -7, and the options `--ip6`, `--aux-address`, `--ip-range` of the requirements (14.6, 14.8, 14.10).

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

use std::collections::BTreeSet;

use hns_testbed::{Answer, Api, Hnsd, Lab, eventually, needs};
use serde_json::{Value, json};

const ADDR_INVALID_OR_RESERVED: u64 = 0x803B_002F;
const INVALID_IP: u64 = 0x803B_001E;

/// A network of any type with these prefixes and these `AdditionalParams`.
#[track_caller]
fn network(api: &mut Api, name: &str, kind: &str, prefixes: &[&str], params: &Value) -> String {
    let subnets: Vec<Value> = prefixes.iter().map(|prefix| json!({"IpAddressPrefix": prefix})).collect();
    let document =
        json!({"Name": name, "Type": kind, "Ipams": [{"Subnets": subnets}], "AdditionalParams": params});
    api.post("/v2/networks", &document).unwrap().id()
}

fn endpoint(api: &mut Api, network: &str, wanted: &[&str]) -> Answer {
    let addresses: Vec<Value> = wanted.iter().map(|address| json!({"IpAddress": address})).collect();
    let document = json!({"HostComputeNetwork": network, "IpConfigurations": addresses});
    api.post("/v2/endpoints", &document).unwrap()
}

/// The addresses of an endpoint that must have been created.
#[track_caller]
fn addresses(answer: Answer) -> Vec<String> {
    let document = answer.expect_success();
    let configured = document["IpConfigurations"].as_array().unwrap();
    configured.iter().map(|one| one["IpAddress"].as_str().unwrap().to_owned()).collect()
}

/// The next address that a network hands out.
#[track_caller]
fn next(api: &mut Api, network: &str) -> String {
    addresses(endpoint(api, network, &[])).remove(0)
}

#[track_caller]
fn refused(answer: &Answer, code: u64, words: &[&str]) {
    assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text);
    assert_eq!(answer.body["ErrorCode"], code, "{}", answer.text);
    let error = answer.body["Error"].as_str().unwrap();
    for word in words {
        assert!(error.contains(word), "{error:?} does not say {word:?}");
    }
}

fn delete(api: &mut Api, id: &str) {
    assert_eq!(api.delete(&format!("/v2/endpoints/{id}")).unwrap().status, 204);
}

#[test]
fn a_subnet_with_auxiliary_addresses_hands_out_exactly_the_rest() {
    needs!(root, "nft");
    let lab = Lab::new();
    let mut hnsd = Hnsd::builder(&lab.island("h1")).env("HNS_DEFAULT_NETWORK", "false").start();
    let mut api = hnsd.api();
    let aux = json!({"AuxAddresses": {"router": "10.1.0.3", "printer": "10.1.0.5"}});
    let small = network(&mut api, "small", "NAT", &["10.1.0.0/29"], &aux);

    assert_eq!(next(&mut api, &small), "10.1.0.2");
    // What is reserved is known again after a restart.
    hnsd.restart();
    let mut api = hnsd.api();
    let shown = api.get(&format!("/v2/networks/{small}")).unwrap().expect_success();
    assert_eq!(shown["AdditionalParams"]["AuxAddresses"], aux["AuxAddresses"]);
    assert_eq!(next(&mut api, &small), "10.1.0.4");
    assert_eq!(next(&mut api, &small), "10.1.0.6");
    let full = endpoint(&mut api, &small, &[]);
    refused(&full, ADDR_INVALID_OR_RESERVED, &["\"small\"", "no free address", "10.1.0.0/29"]);
    assert!(full.body["Hint"].is_string(), "{}", full.text);

    for (address, why) in [
        ("10.1.0.0", "reserved"),
        ("10.1.0.1", "reserved"),
        ("10.1.0.3", "reserved"),
        ("10.1.0.5", "reserved"),
        ("10.1.0.7", "reserved"),
        ("10.1.0.4", "in use"),
    ] {
        refused(&endpoint(&mut api, &small, &[address]), ADDR_INVALID_OR_RESERVED, &[address, why]);
    }
    refused(&endpoint(&mut api, &small, &["10.1.0.8"]), INVALID_IP, &["10.1.0.8", "\"small\""]);
}

#[test]
fn dynamic_addresses_come_from_the_range_and_fixed_ones_from_the_whole_subnet() {
    needs!(root, "nft");
    let lab = Lab::new();
    let hnsd = Hnsd::start(&lab.island("h1"));
    let mut api = hnsd.api();
    let params = json!({"IpRange": ["10.2.0.128/30", "fd00:2::40/126"]});
    let ranged = network(&mut api, "ranged", "NAT", &["10.2.0.0/24", "fd00:2::/64"], &params);

    let fixed = addresses(endpoint(&mut api, &ranged, &["10.2.0.7", "fd00:2::7"]));
    assert_eq!(fixed, ["10.2.0.7", "fd00:2::7"]);
    let dynamic: Vec<_> = (0..4).map(|_| addresses(endpoint(&mut api, &ranged, &[]))).collect();
    for (number, pair) in dynamic.iter().enumerate() {
        let (four, six) = (format!("10.2.0.{}", 128 + number), format!("fd00:2::{:x}", 0x40 + number));
        assert_eq!(*pair, [four, six]);
    }
    let full = endpoint(&mut api, &ranged, &[]);
    refused(&full, ADDR_INVALID_OR_RESERVED, &["\"ranged\"", "no free address", "10.2.0.128/30"]);
    // A full range stands in nobody's way who brings addresses from beyond it.
    assert_eq!(addresses(endpoint(&mut api, &ranged, &["10.2.0.9", "fd00:2::9"]))[0], "10.2.0.9");
}

#[test]
fn the_smallest_prefixes_are_usable() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.island("h1");
    let hnsd = Hnsd::start(&host);
    let mut api = hnsd.api();
    let none = json!({});

    // With a gateway in it, a block of two has room for one endpoint (RFC 3021, RFC 6164), which reaches the gateway.
    let pair = network(&mut api, "pair", "NAT", &["10.3.0.0/31", "fd00:3::/127"], &none);
    let web = host.add_netns("web");
    let namespace = json!({"AdditionalParams": {"Path": "/run/netns/web"}});
    let namespace = api.post("/v2/namespaces", &namespace).unwrap().id();
    let document = json!({"HostComputeNetwork": pair, "HostComputeNamespace": namespace});
    let attached = addresses(api.post("/v2/endpoints", &document).unwrap());
    assert_eq!(attached, ["10.3.0.1", "fd00:3::1"]);
    assert!(web.ping([10, 3, 0, 0]));
    assert!(web.ping("fd00:3::".parse::<std::net::Ipv6Addr>().unwrap()));
    refused(&endpoint(&mut api, &pair, &[]), ADDR_INVALID_OR_RESERVED, &["10.3.0.0/31"]);

    // Without a host port there is no gateway, and every address is an endpoint's.
    let two = network(&mut api, "two", "Private", &["10.3.1.0/31"], &none);
    assert_eq!([next(&mut api, &two), next(&mut api, &two)], ["10.3.1.0", "10.3.1.1"]);
    let one = network(&mut api, "one", "Private", &["10.3.2.9/32", "fd00:3:2::9/128"], &none);
    assert_eq!(addresses(endpoint(&mut api, &one, &[])), ["10.3.2.9", "fd00:3:2::9"]);
    refused(&endpoint(&mut api, &one, &[]), ADDR_INVALID_OR_RESERVED, &["\"one\""]);
}

#[test]
fn a_prefix_of_our_choice_avoids_every_route_of_the_host() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.host("h1");
    host.sh("ip route add 172.16.0.0/16 via 198.18.0.254
             ip route add 172.17.128.0/20 via 198.18.0.254 table 100
             ip route add blackhole 172.18.0.0/15");
    let hnsd = Hnsd::start(&host);
    let mut api = hnsd.api();
    let prefixes = |api: &mut Api, name: &str| -> Vec<String> {
        let filter = format!("/v2/networks?query=%7B%22Name%22:%22{name}%22%7D");
        let found = api.get(&filter).unwrap().expect_success();
        let subnets = found[0]["Ipams"][0]["Subnets"].as_array().unwrap().clone();
        subnets.iter().map(|subnet| subnet["IpAddressPrefix"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(prefixes(&mut api, "nat"), ["172.20.0.0/16"]);
    let _second = network(&mut api, "second", "NAT", &[], &json!({"EnableIPv6": true}));
    let second = prefixes(&mut api, "second");
    assert_eq!(second[0], "172.21.0.0/16");
    assert!(second[1].starts_with("fd") && second[1].ends_with("/64"), "{second:?}");

    // A route that comes later changes nothing under the containers; the operator is told (IPAM-7).
    host.sh("ip route add 172.20.7.0/24 via 198.18.0.254");
    eventually!(within 5 s, hnsd.log().contains("172.20.7.0/24"));
    assert_eq!(prefixes(&mut api, "nat"), ["172.20.0.0/16"]);
}

#[test]
fn an_address_stays_with_its_endpoint_over_restarts_and_is_free_after_its_end() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.island("h1");
    let mut hnsd = Hnsd::start(&host);
    let mut api = hnsd.api();
    let both = network(&mut api, "both", "NAT", &["10.4.0.0/24", "fd00:4::/64"], &json!({}));
    let web = host.add_netns("web");
    let namespace = json!({"AdditionalParams": {"Path": "/run/netns/web"}});
    let namespace = api.post("/v2/namespaces", &namespace).unwrap().id();
    let fixed = json!({"HostComputeNetwork": both, "HostComputeNamespace": namespace,
        "MacAddress": "02:11:22:33:44:55",
        "IpConfigurations": [{"IpAddress": "10.4.0.77"}, {"IpAddress": "fd00:4::77"}]});
    let fixed = api.post("/v2/endpoints", &fixed).unwrap().expect_success();
    assert_eq!(fixed["MacAddress"], "02-11-22-33-44-55");
    let loose = endpoint(&mut api, &both, &[]).expect_success();
    let everything = api.get("/v2/endpoints").unwrap().expect_success();

    for ending in ["TERM", "KILL"] {
        if ending == "TERM" {
            assert!(hnsd.terminate().success());
        } else {
            hnsd.kill9();
        }
        hnsd.start_again();
        let mut api = hnsd.api();
        assert_eq!(api.get("/v2/endpoints").unwrap().expect_success(), everything, "after {ending}");
        let inside = web.command("ip").args(["-o", "address", "show", "eth0"]).output().unwrap();
        let inside = String::from_utf8(inside.stdout).unwrap();
        assert!(inside.contains(" 10.4.0.77/24 ") && inside.contains(" fd00:4::77/64 "), "{inside}");
        for address in ["10.4.0.77", "fd00:4::77"] {
            refused(&endpoint(&mut api, &both, &[address]), ADDR_INVALID_OR_RESERVED, &[address, "in use"]);
        }
        let same_mac = json!({"HostComputeNetwork": both, "MacAddress": "02-11-22-33-44-55"});
        let same_mac = api.post("/v2/endpoints", &same_mac).unwrap();
        refused(&same_mac, ADDR_INVALID_OR_RESERVED, &["02-11-22-33-44-55", fixed["ID"].as_str().unwrap()]);
    }

    let mut api = hnsd.api();
    delete(&mut api, fixed["ID"].as_str().unwrap());
    delete(&mut api, loose["ID"].as_str().unwrap());
    let again = addresses(endpoint(&mut api, &both, &["10.4.0.77", "fd00:4::77"]));
    assert_eq!(again, ["10.4.0.77", "fd00:4::77"]);
    assert_eq!(next(&mut api, &both), "10.4.0.2");
}

#[test]
fn no_address_is_handed_out_twice_and_a_failed_request_keeps_none() {
    needs!(root, "nft");
    let lab = Lab::new();
    let hnsd = Hnsd::start(&lab.island("h1"));
    let mut api = hnsd.api();
    let wide = network(&mut api, "wide", "Internal", &["10.5.0.0/24"], &json!({}));
    let mut held: Vec<(String, String)> = Vec::new();
    for round in 0..40_usize {
        let made = endpoint(&mut api, &wide, &[]).expect_success();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        held.push((text(&made["ID"]), text(&made["IpConfigurations"][0]["IpAddress"])));
        if round % 3 == 2 {
            let (id, _) = held.remove(round / 2 % held.len());
            delete(&mut api, &id);
        }
        let distinct: BTreeSet<&String> = held.iter().map(|(_, address)| address).collect();
        assert_eq!(distinct.len(), held.len(), "{held:?}");
    }

    // One family is full: the other family's address is given back with the refusal.
    let lame = network(&mut api, "lame", "Internal", &["10.6.0.0/24", "fd00:6::/127"], &json!({}));
    assert_eq!(addresses(endpoint(&mut api, &lame, &[])), ["10.6.0.2", "fd00:6::1"]);
    refused(&endpoint(&mut api, &lame, &[]), ADDR_INVALID_OR_RESERVED, &["fd00:6::/127"]);
    let all = api.get("/v2/endpoints").unwrap().expect_success();
    let of_lame = all.as_array().unwrap().iter().find(|one| one["HostComputeNetwork"] == lame.as_str());
    delete(&mut api, of_lame.unwrap()["ID"].as_str().unwrap());
    assert_eq!(addresses(endpoint(&mut api, &lame, &[])), ["10.6.0.2", "fd00:6::1"]);
}
