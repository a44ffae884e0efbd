//! Many clients at once, and many endpoints on one network: no error, no address twice, nothing left behind.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hns_testbed::{Api, Hnsd, Host, Lab, eventually, needs, tcp, until};
use serde_json::{Value, json};

const CLIENTS: usize = 64;
const ENDPOINTS: usize = 2_000;
const NAMESPACES: usize = 32;

/// Makes `count` containers and takes them into the daemon's books; gives the ids of their namespaces.
fn namespaces(host: &Host, api: &mut Api, count: usize) -> Vec<String> {
    host.sh(&format!("for number in $(seq 0 {}); do ip netns add c$number; done", count - 1));
    let given = |number: usize| json!({"AdditionalParams": {"Path": format!("/run/netns/c{number}")}});
    (0..count).map(|number| api.post("/v2/namespaces", &given(number)).unwrap().id()).collect()
}

#[track_caller]
fn network(api: &mut Api, prefixes: &[&str]) -> String {
    let subnets: Vec<Value> = prefixes.iter().map(|prefix| json!({"IpAddressPrefix": prefix})).collect();
    let document = json!({"Name": "load", "Ipams": [{"Subnets": subnets}]});
    api.post("/v2/networks", &document).unwrap().id()
}

/// The sets whose elements are a network's own.
const OF_NETWORKS: [&str; 8] =
    ["switches", "masquerade4", "masquerade6", "same", "inside4", "inside6", "prefixes4", "prefixes6"];

/// The elements of our sets that are an endpoint's: all that a host without endpoints does not have.
fn elements(host: &Host) -> Vec<String> {
    let table = host.sh("nft -j list table inet hns");
    let table: Value = serde_json::from_str(&table).unwrap();
    let sets = table["nftables"].as_array().unwrap().iter();
    sets.flat_map(|object| [&object["set"], &object["map"]])
        .filter(|set| set["elem"].is_array() && !OF_NETWORKS.contains(&set["name"].as_str().unwrap()))
        .map(|set| format!("{}: {}", set["name"], set["elem"]))
        .collect()
}

/// Everything that one endpoint alone may have at any moment, taken out before its deletion is asked for.
#[derive(Default)]
struct Held(Mutex<BTreeSet<String>>);

impl Held {
    fn take(&self, endpoint: &Value) {
        let mut held = self.0.lock().unwrap();
        for word in words(endpoint) {
            assert!(held.insert(word.clone()), "{word} was given twice, now to {endpoint}");
        }
    }

    fn give_back(&self, endpoint: &Value) {
        let mut held = self.0.lock().unwrap();
        for word in words(endpoint) {
            assert!(held.remove(&word), "{word} of {endpoint}");
        }
    }
}

fn words(endpoint: &Value) -> Vec<String> {
    let addresses = endpoint["IpConfigurations"].as_array().unwrap().iter().map(|one| &one["IpAddress"]);
    let ports = endpoint["Policies"].as_array().unwrap().iter().map(|one| &one["Settings"]["ExternalPort"]);
    let all = addresses.chain(ports).chain([&endpoint["MacAddress"], &endpoint["ID"]]);
    all.map(ToString::to_string).collect()
}

/// One client: creates endpoints until enough are made, each third in no namespace, and deletes behind itself.
fn client(
    mut api: Api,
    number: usize,
    made: &AtomicUsize,
    held: &Held,
    network: &str,
    namespaces: &[String],
) {
    let mut mine: Vec<Value> = Vec::new();
    while made.fetch_add(1, Ordering::Relaxed) < ENDPOINTS {
        let mut document = json!({"HostComputeNetwork": network, "Policies": [
            {"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 0}}]});
        if mine.len() % 3 != 2 {
            document["HostComputeNamespace"] = json!(namespaces[(number + mine.len()) % namespaces.len()]);
        }
        let endpoint = api.post("/v2/endpoints", &document).unwrap().expect_success();
        held.take(&endpoint);
        mine.push(endpoint);
        if mine.len() >= 8 {
            delete(&mut api, held, &mine.remove(number % 8));
        }
    }
    for endpoint in &mine {
        delete(&mut api, held, endpoint);
    }
}

fn delete(api: &mut Api, held: &Held, endpoint: &Value) {
    held.give_back(endpoint);
    let answer = api.delete(&format!("/v2/endpoints/{}", endpoint["ID"].as_str().unwrap())).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text);
}

/// "Must hold" 7 of the first slice.
#[test]
fn sixty_four_clients_create_and_delete_two_thousand_endpoints_at_once() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.island("h1");
    let hnsd = Hnsd::builder(&host).env("HNS_DEFAULT_NETWORK", "false").start();
    let mut api = hnsd.api();
    let network = network(&mut api, &["10.60.0.0/16", "fd00:60::/64"]);
    let namespaces = namespaces(&host, &mut api, NAMESPACES);
    let links = host.links();
    let (made, held) = (Arc::new(AtomicUsize::new(0)), Arc::new(Held::default()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (api, made, held) = (hnsd.api(), Arc::clone(&made), Arc::clone(&held));
            let (network, namespaces) = (network.clone(), namespaces.clone());
            std::thread::spawn(move || client(api, number, &made, &held, &network, &namespaces))
        })
        .collect();
    for client in clients {
        client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }

    assert!(held.0.lock().unwrap().is_empty());
    assert_eq!(api.get("/v2/endpoints").unwrap().expect_success(), json!([]));
    assert_eq!(elements(&host), Vec::<String>::new());
    // The links go a moment after the answers.
    until(Duration::from_secs(20), "only the switch is left", || {
        let now = host.links();
        if now == links { Ok(()) } else { Err(now.len()) }
    });
    for number in 0..NAMESPACES {
        let left = host.sh(&format!("ip -n c{number} -o link | wc -l"));
        assert_eq!(left.trim(), "1", "c{number}: {}", host.sh(&format!("ip -n c{number} -o link")));
    }
    for namespace in api.get("/v2/namespaces").unwrap().expect_success().as_array().unwrap() {
        assert_eq!(namespace["Resources"], json!([]));
    }
    let next = api.post("/v2/endpoints", &json!({"HostComputeNetwork": network})).unwrap().expect_success();
    assert_eq!(next["IpConfigurations"][0]["IpAddress"], "10.60.0.2");
    assert_eq!(next["IpConfigurations"][1]["IpAddress"], "fd00:60::2");
    assert!(!hnsd.log().contains("WARN") && !hnsd.log().contains("ERROR"), "{}", hnsd.log());
}

/// A Linux bridge has 1,023 ports; a network has more (design section 6).
#[test]
fn one_network_carries_more_endpoints_than_a_bridge_has_ports() {
    needs!(root, "nft");
    let lab = Lab::new();
    let (host, outside) = (lab.host("h1"), lab.host("outside"));
    let mut hnsd = Hnsd::start(&host);
    let mut api = hnsd.api();
    let network = network(&mut api, &["10.61.0.0/16", "fd00:61::/64"]);
    let namespaces = namespaces(&host, &mut api, 16);
    // The first and the last have a container of their own; the others share.
    let home = |number: usize| match number {
        1 => &namespaces[0],
        1_450 => &namespaces[1],
        other => &namespaces[2 + other % 14],
    };
    let mut addresses: Vec<[std::net::IpAddr; 2]> = Vec::new();
    for number in 1..=1_500 {
        let mut document = json!({"HostComputeNetwork": network, "HostComputeNamespace": home(number)});
        if number == 1_450 {
            document["Policies"] = json!([{"Type": "PortMapping",
                "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}}]);
        }
        let endpoint = api.post("/v2/endpoints", &document).unwrap().expect_success();
        let of = |place: usize| {
            endpoint["IpConfigurations"][place]["IpAddress"].as_str().unwrap().parse().unwrap()
        };
        addresses.push([of(0), of(1)]);
    }
    let bridges = host.sh("ls /sys/class/net/*/brif -d").lines().count();
    assert!(bridges >= 2, "{bridges} bridges");
    let (first, last) = (host.netns_at("/run/netns/c0"), host.netns_at("/run/netns/c1"));
    let _server = tcp::Echo::serve(&last, "[::]:80");
    let reach = || {
        let gateways: [std::net::IpAddr; 2] = ["10.61.0.1".parse().unwrap(), "fd00:61::1".parse().unwrap()];
        for (from, to) in [(&first, 1_450), (&last, 1)] {
            for address in addresses[to - 1].into_iter().chain(gateways).chain(outside.addresses()) {
                // A question to all of 1,500 may be dropped once, as everywhere.
                eventually!(within 5 s, if from.ping(address) { Ok(()) } else { Err((to, address)) });
            }
        }
        let seen = tcp::ask(&first, (addresses[1_449][0], 80)).unwrap();
        assert_eq!(seen.ip(), addresses[0][0]);
        assert!(tcp::ask(&outside.netns(), (host.v4(), 8080)).is_ok());
        assert!(tcp::ask(&first, (host.v4(), 8080)).is_ok());
    };
    reach();
    // All of it is found again, and nothing of it touched.
    let before = host.sh("ip -o link | cut -d: -f1,2 | sort");
    hnsd.restart();
    assert_eq!(host.sh("ip -o link | cut -d: -f1,2 | sort"), before);
    reach();

    let gone = hnsd.api().delete(&format!("/v2/networks/{network}")).unwrap();
    assert_eq!(gone.status, 204, "{}", gone.text);
    until(Duration::from_secs(20), "no port and no bridge of the network is left", || {
        let left = host.links().iter().filter(|name| name.starts_with("hn")).count();
        if left == 1 { Ok(()) } else { Err(left) }
    });
}
