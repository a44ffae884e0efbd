//! What survives the daemon's death, its restart and the host's: everything that was acknowledged, and nothing else.
//!
//! LIFE-1, LIFE-5, LIFE-6, LIFE-7. The rounds of the last one are `hns_testbed::crash`, which `./x bench crash` runs too.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

use std::time::{Duration, Instant};

use hns_store::{Durability, SqliteStore, Store, Txn};
use hns_testbed::{Api, Hnsd, Host, Lab, eventually, needs};
use serde_json::{Value, json};

fn get(api: &mut Api, path: &str) -> Value {
    api.get(path).unwrap().expect_success()
}

fn post(api: &mut Api, path: &str, document: &Value) -> Value {
    api.post(path, document).unwrap().expect_success()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A container that exists already, taken into the daemon's books.
fn given(host: &Host, api: &mut Api, name: &str) -> Value {
    let _kept_by_its_name = host.add_netns(name);
    let document = json!({"Name": name, "AdditionalParams": {"Path": format!("/run/netns/{name}")}});
    post(api, "/v2/namespaces", &document)["ID"].clone()
}

fn names(api: &mut Api, kind: &str) -> Vec<String> {
    let all = get(api, &format!("/v2/{kind}"));
    all.as_array().unwrap().iter().map(|one| text(&one["Name"]).to_owned()).collect()
}

/// Makes the records those of an earlier boot, as they are after the host has started anew.
fn reboot(hnsd: &mut Hnsd) {
    assert!(hnsd.terminate().success(), "{}", hnsd.log());
    let store = SqliteStore::open(&hnsd.state_dir().join("hns.db")).unwrap();
    assert!(store.get("meta/boot").unwrap().is_some());
    store.commit(Txn::new(Durability::Power).put("meta/boot", b"another".to_vec())).unwrap();
    drop(store);
    let folder = hnsd.run_dir();
    // With the kernel go our links, rules, and mounts.
    hnsd.host().sh(&format!(
        "for link in $(ls /sys/class/net | grep '^hn'); do ip link del $link 2>/dev/null || true; done
         nft flush ruleset; umount {0}/netns/* 2>/dev/null || true; rm -rf {0}",
        folder.display()
    ));
}

#[test]
fn two_hundred_kills_at_random_moments_lose_nothing_and_leave_nothing_in_all_rounds() {
    needs!(root, "nft", "ip");
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let rounds = number("HNS_CRASH_ROUNDS").unwrap_or(200);
    let seed = number("HNS_CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let lab = Lab::new();
    let report = hns_testbed::crash::rounds(&lab.host("host"), seed, u32::try_from(rounds).unwrap());
    assert!(report.acknowledged > rounds && report.unanswered > 0, "seed {seed}: {report}");
}

/// The first start makes the network `nat`, once, however often it takes a start to get there.
#[test]
fn a_first_start_that_is_killed_is_made_up_for_by_the_next() {
    needs!(root, "nft", "ip");
    let lab = Lab::new();
    for number in 0..12_u64 {
        let host = lab.host(&format!("h{number}"));
        let setup = Hnsd::builder(&host);
        let mut first = setup.launch();
        let end = Instant::now() + Duration::from_millis(number * 12);
        while Instant::now() < end {
            std::thread::yield_now();
        }
        first.kill9();
        let hnsd = setup.start();
        let networks = get(&mut hnsd.api(), "/v2/networks");
        assert_eq!(networks.as_array().unwrap().len(), 1, "killed after {} ms: {networks:#}", number * 12);
        assert_eq!(networks[0]["Ipams"][0]["Subnets"][0]["IpAddressPrefix"], "172.16.0.0/16");
        let switch = text(&networks[0]["Health"]["Extra"]["Switch"]).to_owned();
        let ours: Vec<String> = host.links().into_iter().filter(|name| name.starts_with("hn")).collect();
        assert_eq!(ours, [switch]);
    }
}

#[test]
fn networks_come_back_after_a_reboot_and_containers_that_are_gone_do_not() {
    needs!(root, "nft", "ip");
    let lab = Lab::new();
    let host = lab.host("h1");
    let mut hnsd = Hnsd::start(&host);
    let mut api = hnsd.api();
    let both = json!({"Name": "both", "Ipams": [{"Subnets": [{"IpAddressPrefix": "10.70.0.0/24"}, {"IpAddressPrefix": "fd00:70::/64"}]}]});
    let both = post(&mut api, "/v2/networks", &both);
    for (name, kind, flags) in [("inner", "Internal", 0), ("closed", "Private", 0), ("fleeting", "NAT", 8)] {
        post(&mut api, "/v2/networks", &json!({"Name": name, "Type": kind, "Flags": flags}));
    }
    let (stays, goes) = (given(&host, &mut api, "stays"), given(&host, &mut api, "goes"));
    let ours = post(&mut api, "/v2/namespaces", &json!({"Name": "ours"}))["ID"].clone();
    let own = post(&mut api, "/v2/namespaces", &json!({"Type": "HostDefault", "Name": "host"}))["ID"].clone();
    let mapping =
        json!({"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}});
    let mut endpoint = |name: &str, namespace: &Value, address: &str, policies: &[&Value]| {
        let document = json!({"Name": name, "HostComputeNetwork": both["ID"], "HostComputeNamespace": namespace,
            "IpConfigurations": [{"IpAddress": address}], "Policies": policies});
        post(&mut api, "/v2/endpoints", &document)
    };
    let kept = endpoint("kept", &stays, "10.70.0.10", &[]);
    endpoint("lost", &goes, "10.70.0.11", &[&mapping]);
    endpoint("in ours", &ours, "10.70.0.12", &[]);
    endpoint("loose", &Value::Null, "10.70.0.13", &[]);

    reboot(&mut hnsd);
    // The runtime has started one of its containers again, under the same name, and not the other.
    host.sh("ip netns del stays; ip netns del goes; ip netns add stays");
    hnsd.start_again();
    let mut api = hnsd.api();
    assert_eq!(names(&mut api, "networks"), ["nat", "both", "inner", "closed"]);
    assert_eq!(get(&mut api, &format!("/v2/networks/{}", text(&both["ID"])))["Ipams"], both["Ipams"]);
    assert_eq!(names(&mut api, "endpoints"), ["kept"]);
    let mut namespaces = get(&mut api, "/v2/namespaces");
    let left: Vec<Value> = namespaces.as_array_mut().unwrap().iter().map(|one| one["ID"].clone()).collect();
    assert_eq!(left, [stays.clone(), own]);

    // What is there is there in the kernel too, and works.
    let shown = get(&mut api, &format!("/v2/endpoints/{}", text(&kept["ID"])));
    assert_eq!((&shown["State"], &shown["HostComputeNamespace"]), (&json!(3), &stays), "{}", hnsd.log());
    let stays = host.netns_at("/run/netns/stays");
    assert!(stays.ping([10, 70, 0, 1]));
    assert!(stays.ping("fd00:70::1".parse::<std::net::Ipv6Addr>().unwrap()));
    let bridges = host.sh("ip -o link show type bridge | wc -l");
    assert_eq!(bridges.trim(), "4");

    // Addresses and ports of the dropped ones are free.
    let ids: Vec<String> = ["10.70.0.11", "10.70.0.12", "10.70.0.13"]
        .map(|address| {
            let policies = if address.ends_with("11") { json!([mapping]) } else { json!([]) };
            let document = json!({"HostComputeNetwork": both["ID"], "IpConfigurations": [{"IpAddress": address}], "Policies": policies});
            api.post("/v2/endpoints", &document).unwrap().id()
        })
        .into();
    assert_eq!(ids.len(), 3);
    assert!(!hnsd.log().contains("ERROR"), "{}", hnsd.log());
}

/// They are on another host, which did not boot.
#[test]
fn containers_of_other_hosts_outlive_a_reboot_of_this_one() {
    needs!(root, "nft", "ip");
    let lab = Lab::new();
    let mut hnsd = Hnsd::start(&lab.host("h1"));
    let mut api = hnsd.api();
    let subnets = json!([{"Subnets": [{"IpAddressPrefix": "10.70.0.0/24"}]}]);
    let flat = post(&mut api, "/v2/networks", &json!({"Name": "flat", "Type": "Overlay", "Ipams": subnets}));
    let provider = json!({"Type": "ProviderAddress", "Settings": {"ProviderAddress": "198.18.0.99"}});
    let far = json!({"Name": "far", "HostComputeNetwork": flat["ID"], "Flags": 1, "MacAddress": "02-00-00-00-00-09",
        "IpConfigurations": [{"IpAddress": "10.70.0.9"}], "Policies": [provider]});
    let far = post(&mut api, "/v2/endpoints", &far);
    reboot(&mut hnsd);
    hnsd.start_again();
    let shown = get(&mut hnsd.api(), &format!("/v2/endpoints/{}", text(&far["ID"])));
    assert_eq!((&shown["MacAddress"], &shown["Policies"]), (&far["MacAddress"], &far["Policies"]));
}

#[test]
fn a_non_persistent_network_outlives_the_daemon_only_for_the_containers_on_it() {
    needs!(root, "nft", "ip");
    let lab = Lab::new();
    let host = lab.host("h1");
    let mut hnsd = Hnsd::start(&host);
    let mut api = hnsd.api();
    let namespace = given(&host, &mut api, "web");
    for (name, kind) in [("busy", "NAT"), ("idle", "NAT"), ("shut", "Private")] {
        let network = json!({"Name": name, "Type": kind, "Flags": 8});
        let network = post(&mut api, "/v2/networks", &network)["ID"].clone();
        let endpoint = json!({"Name": name, "HostComputeNetwork": network});
        let endpoint = post(&mut api, "/v2/endpoints", &endpoint)["ID"].clone();
        if name == "busy" {
            let member = json!({"ResourceType": "Endpoint", "RequestType": "Add", "Settings": {"EndpointId": endpoint}});
            post(&mut api, &format!("/v2/namespaces/{}/modify", text(&namespace)), &member);
        }
    }
    let gateway = get(&mut api, "/v2/networks")[1]["Ipams"][0]["Subnets"][0]["Routes"][0]["NextHop"].clone();
    let gateway: std::net::IpAddr = text(&gateway).parse().unwrap();
    let web = host.netns_at("/run/netns/web");
    for ending in ["TERM", "KILL"] {
        if ending == "TERM" {
            assert!(hnsd.terminate().success());
        } else {
            hnsd.kill9();
        }
        hnsd.start_again();
        let mut api = hnsd.api();
        assert_eq!(names(&mut api, "networks"), ["nat", "busy"], "after {ending}");
        assert_eq!(names(&mut api, "endpoints"), ["busy"], "after {ending}");
        assert!(web.ping(gateway), "after {ending}");
        assert_eq!(host.sh("ip -o link show type bridge | wc -l").trim(), "2");
        let left = host.sh(&format!("ls {}/netns 2>/dev/null | wc -l", hnsd.run_dir().display()));
        assert_eq!(left.trim(), "0", "the private network's namespace goes with it");
    }
    let mut api = hnsd.api();
    let busy = get(&mut api, "/v2/endpoints")[0]["ID"].clone();
    assert_eq!(api.delete(&format!("/v2/endpoints/{}", text(&busy))).unwrap().status, 204);
    hnsd.restart();
    assert_eq!(names(&mut hnsd.api(), "networks"), ["nat"]);
}

#[test]
fn a_namespace_that_vanished_while_the_daemon_was_down_takes_no_endpoint_along() {
    needs!(root, "nft", "ip");
    let lab = Lab::new();
    let host = lab.host("h1");
    let mut hnsd = Hnsd::start(&host);
    let mut api = hnsd.api();
    let nat = get(&mut api, "/v2/networks")[0]["ID"].clone();
    let (gone, renewed) = (given(&host, &mut api, "gone"), given(&host, &mut api, "renewed"));
    for namespace in [&gone, &renewed] {
        post(
            &mut api,
            "/v2/endpoints",
            &json!({"HostComputeNetwork": nat, "HostComputeNamespace": namespace}),
        );
    }
    hnsd.kill9();
    host.sh("ip netns del gone; ip netns del renewed; ip netns add renewed");
    hnsd.start_again();
    let mut api = hnsd.api();
    let endpoints = get(&mut api, "/v2/endpoints");
    assert_eq!(endpoints.as_array().unwrap().len(), 2);
    for endpoint in endpoints.as_array().unwrap() {
        // Detached, and to be attached anew by whoever made the new namespace; deleting works as ever (EP-7).
        assert_eq!(endpoint["State"], 4, "{endpoint}\n{}", hnsd.log());
        assert_eq!(api.delete(&format!("/v2/endpoints/{}", text(&endpoint["ID"]))).unwrap().status, 204);
    }
    assert_eq!(host.sh("ip -o link | grep -c hnv || true").trim(), "0");
    assert_eq!(host.sh("ip -n renewed -o link | wc -l").trim(), "1");
}

/// These keep a constant stream alive, so they have the machine to themselves.
mod alone {
    use super::*;
    use hns_testbed::udp;

    #[test]
    fn no_packet_is_lost_over_restarts_with_two_hundred_endpoints() {
        needs!(root, "nft", "ip");
        let lab = Lab::new();
        let (host, outside) = (lab.host("h1"), lab.host("outside"));
        let mut hnsd = Hnsd::start(&host);
        let mut api = hnsd.api();
        let nat = get(&mut api, "/v2/networks")[0]["ID"].clone();
        let (client, server) = (given(&host, &mut api, "client"), given(&host, &mut api, "server"));
        let crowd: Vec<Value> =
            (0..10).map(|number| given(&host, &mut api, &format!("crowd{number}"))).collect();
        let mut endpoint = |namespace: &Value, external: u16| {
            let mapping = json!({"Type": "PortMapping", "Settings": {"Protocol": 17, "InternalPort": 53, "ExternalPort": external}});
            let document =
                json!({"HostComputeNetwork": nat, "HostComputeNamespace": namespace, "Policies": [mapping]});
            post(&mut api, "/v2/endpoints", &document)
        };
        endpoint(&client, 5_001);
        let address = endpoint(&server, 5_000)["IpConfigurations"][0]["IpAddress"].clone();
        let address: std::net::Ipv4Addr = text(&address).parse().unwrap();
        for number in 0..198 {
            endpoint(&crowd[number % 10], 6_000 + u16::try_from(number).unwrap());
        }
        let _echo = udp::Echo::serve(&host.netns_at("/run/netns/server"), "0.0.0.0:53");
        let (client, outside) = (host.netns_at("/run/netns/client"), outside.netns());
        eventually!(within 5 s, udp::ask(&client, (address, 53)));
        eventually!(within 5 s, udp::ask(&outside, (host.v4(), 5_000)));
        let links = host.sh("ip -o link");
        let within = udp::Stream::start(&client, (address, 53), 1_000);
        let inwards = udp::Stream::start(&outside, (host.v4(), 5_000), 1_000);
        for _ in 0..3 {
            hnsd.restart();
            hnsd.kill9();
            hnsd.start_again();
        }
        assert_eq!(get(&mut hnsd.api(), "/v2/endpoints").as_array().unwrap().len(), 200);
        for (what, stream) in [("between containers", within), ("from outside", inwards)] {
            let report = stream.stop();
            assert!(report.sent > 200, "{what}: {report:?}");
            assert_eq!(report.lost, 0, "{what}: {report:?}\n{}", hnsd.log());
        }
        assert_eq!(host.sh("ip -o link"), links, "nothing that is right was touched");
    }
}
