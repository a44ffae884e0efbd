//! The IPAM driver `hns`: pools and addresses, also for networks of other drivers.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

mod rig;

use hns_hcn as hcn;
use rig::{Rig, endpoint_body, id, network_body, of_endpoint};
use serde_json::{Value, json};

const GATEWAY: &str = "com.docker.network.gateway";

fn pool(rig: &Rig, pool: &str, sub_pool: &str, options: &Value, v6: bool) -> Value {
    let body = json!({
        "AddressSpace": "hns", "Pool": pool, "SubPool": sub_pool, "Options": options, "V6": v6,
    });
    rig.ipam("RequestPool", &body)
}

fn address(rig: &Rig, pool: &Value, wanted: &str, options: &Value) -> String {
    let body = json!({ "PoolID": pool["PoolID"], "Address": wanted, "Options": options });
    rig.ipam("RequestAddress", &body)["Address"].as_str().unwrap().to_owned()
}

fn refusal(rig: &Rig, method: &str, body: &Value) -> String {
    let answer = rig.answer("hns", &format!("IpamDriver.{method}"), body);
    answer["Error"].as_str().unwrap_or_else(|| panic!("{body} was answered {answer}")).to_owned()
}

#[test]
fn the_recorded_pool_is_opened_and_closed() {
    let rig = Rig::new();
    let first = pool(&rig, "10.76.0.0/24", "10.76.0.128/25", &json!({}), false);
    assert_eq!((&first["Pool"], &first["Data"]), (&json!("10.76.0.0/24"), &json!({})));
    let gateway = json!({ "RequestAddressType": GATEWAY });
    assert_eq!(address(&rig, &first, "10.76.0.1", &gateway), "10.76.0.1/24");
    assert_eq!(address(&rig, &first, "10.76.0.9", &Value::Null), "10.76.0.9/24");
    let mac = json!({ "com.docker.network.endpoint.macaddress": "02:7d:a2:7d:dd:2c" });
    assert_eq!(address(&rig, &first, "10.76.0.200", &mac), "10.76.0.200/24");
    assert_eq!(address(&rig, &first, "", &json!({})), "10.76.0.128/24");

    // Docker starts again: pools and gateways are asked for as before.
    assert_eq!(pool(&rig, "10.76.0.0/24", "10.76.0.128/25", &json!({}), false), first);
    assert_eq!(address(&rig, &first, "10.76.0.1", &gateway), "10.76.0.1/24");

    for address in ["10.76.0.200", "10.76.0.128", "10.76.0.9", "10.76.0.1", "10.76.0.1"] {
        let body = json!({ "PoolID": first["PoolID"], "Address": address });
        assert_eq!(rig.ipam("ReleaseAddress", &body), json!({}));
    }
    for _ in 0..2 {
        assert_eq!(rig.ipam("ReleasePool", &json!({ "PoolID": first["PoolID"] })), json!({}));
    }
    assert_eq!(rig.engine.world().pools_of_leases().count(), 0);
}

#[test]
fn a_pool_of_our_choice_avoids_networks_pools_and_routes() {
    let rig = Rig::new();
    let first = pool(&rig, "", "", &json!({}), false)["Pool"].as_str().unwrap().to_owned();
    let second = pool(&rig, "", "", &json!({}), false)["Pool"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    let sixth = pool(&rig, "", "", &json!({}), true)["Pool"].as_str().unwrap().to_owned();
    assert!(sixth.starts_with("fd"), "{sixth}");
}

#[test]
fn a_network_with_both_drivers_gives_its_containers_addresses() {
    let rig = Rig::new();
    let pool = pool(&rig, "10.51.0.0/24", "", &json!({}), false);
    let gateway = address(&rig, &pool, "", &json!({ "RequestAddressType": GATEWAY }));
    assert_eq!(gateway, "10.51.0.1/24");
    rig.nat("CreateNetwork", &network_body(&id('a'), 51, &json!({})));
    let leased = address(&rig, &pool, "", &json!({}));
    rig.endpoint(&id('a'), &id('e'), &leased);
    assert_ne!(address(&rig, &pool, "", &json!({})), leased);
    // The lease outlives the endpoint: a container that starts again keeps its address.
    rig.nat("DeleteEndpoint", &of_endpoint(&id('a'), &id('e')));
    rig.endpoint(&id('a'), &id('f'), &leased);
}

#[test]
fn containers_of_all_engines_on_a_network_get_different_addresses() {
    let rig = Rig::new();
    let document = json!({
        "Name": "lan", "Type": "NAT",
        "Ipams": [{ "Subnets": [{
            "IpAddressPrefix": "10.60.0.0/29",
            "Routes": [{ "DestinationPrefix": "0.0.0.0/0", "NextHop": "10.60.0.6" }],
        }] }],
    });
    let network = rig.engine.create_network(hcn::Network::from_v2(&document).unwrap()).unwrap().id.unwrap();
    let open = json!({ "Pool": "", "Options": { "network": "lan" }, "V6": false });
    let text = refusal(&rig, "RequestPool", &open);
    assert_eq!(text, "--ipam-opt network=lan: name the subnet as well: --subnet 10.60.0.0/29");
    let pool = pool(&rig, "10.60.0.0/29", "", &json!({ "network": "lan" }), false);
    assert_eq!(pool["Pool"], "10.60.0.0/29");
    let gateway = address(&rig, &pool, "", &json!({ "RequestAddressType": GATEWAY }));
    assert_eq!(gateway, "10.60.0.6/29", "the network's own gateway");
    let mut body = network_body(&id('a'), 60, &json!({ "hnsid": network.to_string() }));
    body["IPv4Data"][0]["Pool"] = pool["Pool"].clone();
    body["IPv4Data"][0]["Gateway"] = json!(gateway);
    rig.nat("CreateNetwork", &body);

    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(address(&rig, &pool, "", &json!({})));
        let pod = json!({ "HostComputeNetwork": network.to_string(), "Owner": "cni" });
        let pod = rig.engine.create_endpoint(hcn::Endpoint::from_v2(&pod).unwrap()).unwrap();
        held.push(format!("{}/29", pod.addresses[0].address.unwrap()));
    }
    held.sort();
    held.dedup();
    assert_eq!(held.len(), 4);
    let last = address(&rig, &pool, "", &json!({}));
    rig.nat("CreateEndpoint", &endpoint_body(&id('a'), &id('e'), &last));
    let text = refusal(&rig, "RequestAddress", &json!({ "PoolID": pool["PoolID"], "Address": "" }));
    assert!(text.contains("no free address left"), "{text}");
    let text = refusal(&rig, "RequestAddress", &json!({ "PoolID": pool["PoolID"], "Address": last[..9] }));
    assert!(text.contains(&last[..9]) && text.contains("in use"), "{text}");
}

#[test]
fn what_cannot_be_leased_is_refused_by_name() {
    let rig = Rig::new();
    let request = |key: &str, value: Value| {
        let mut body = json!({ "Pool": "10.76.0.0/24", "SubPool": "", "Options": {}, "V6": false });
        body[key] = value;
        body
    };
    let cases = [
        (request("Pool", json!("10.76.0.0")), "Pool \"10.76.0.0\" is not an IPv4 prefix"),
        (request("Pool", json!("fd00::/64")), "Pool \"fd00::/64\" is not an IPv4 prefix"),
        (request("V6", json!(true)), "Pool \"10.76.0.0/24\" is not an IPv6 prefix"),
        (request("SubPool", json!("10.77.0.0/25")), "SubPool \"10.77.0.0/25\" is not a part of the subnet"),
        (
            request("Options", json!({ "dhcp": "true" })),
            "--ipam-opt dhcp is not known; the IPAM driver hns takes network",
        ),
        (request("Options", json!({ "network": "" })), "option network: \"\" is not the name or the id"),
        (request("Options", json!({ "network": "wan" })), "wan"),
    ];
    for (body, expected) in cases {
        let text = refusal(&rig, "RequestPool", &body);
        assert!(text.contains(expected), "{text}");
    }
    let body = request("Options", json!({ "com.docker.network.ipam.serial": "true" }));
    let pool = rig.ipam("RequestPool", &body);
    for (address, expected) in
        [("10.77.0.1", "10.77.0.1"), ("first", "Address \"first\" is not an IP address")]
    {
        let text = refusal(&rig, "RequestAddress", &json!({ "PoolID": pool["PoolID"], "Address": address }));
        assert!(text.contains(expected), "{text}");
    }
    let text = refusal(&rig, "RequestAddress", &json!({ "PoolID": "?", "Address": "" }));
    assert!(text.contains('?'), "{text}");
    assert_eq!(rig.ipam("ReleasePool", &json!({ "PoolID": "?" })), json!({}));
    assert_eq!(rig.ipam("ReleaseAddress", &json!({ "PoolID": "?", "Address": "?" })), json!({}));
}
