//! One subnet on several hosts: each container of another host is a remote endpoint here, with its address, its MAC address and its host.

use std::net::IpAddr;

use hns_testbed::raw::{self, Injector, Link};
use hns_testbed::{Hnsd, eventually, needs, tcp};
use hns_tests::story_support::Container;
use hns_tests::story_support::daemon::{container_at, get};
use hns_tests::story_support::policies::acl;
use serde_json::{Value, json};

use crate::stage::{Stage, carries, dropped, introduce, key_of, rules, vni_of};

/// A part of `flat`, which all hosts have whole.
fn flat(hnsd: &Hnsd, outer: usize, options: &[&str]) {
    let provider = format!("--provider={}", hnsd.host().addresses()[outer]);
    let words =
        ["network", "create", "flat", "-t", "overlay", "--subnet=10.247.0.0/24", "--subnet=fd00:247::/64"];
    hnsd.hnsctl(&[&words[..], &[provider.as_str()], options].concat());
}

fn container(hnsd: &Hnsd, name: &str, number: u8) -> Container {
    container_at(hnsd, "flat", name, &[format!("10.247.0.{number}"), format!("fd00:247::{number}")])
}

fn mac_of(container: &Container) -> String {
    container.document["MacAddress"].as_str().expect("it has one").to_owned()
}

/// Tells a host of a container that another one has.
fn tell(hnsd: &Hnsd, container: &Container, host: IpAddr) -> Value {
    let (host, mac) = (host.to_string(), mac_of(container));
    let addresses: Vec<String> = container.addresses().iter().map(|one| format!("--ip={one}")).collect();
    let mut words =
        vec!["endpoint", "create", "--network=flat", "--name", &container.name, "--remote", &host];
    words.extend(["--mac", &mac].into_iter().chain(addresses.iter().map(String::as_str)));
    hnsd.hnsctl_json(&words)
}

/// Which station a container has for an address.
fn station_for(container: &Container, address: IpAddr) -> String {
    let shown = container
        .netns
        .command("ip")
        .args(["neigh", "show", &address.to_string()])
        .output()
        .expect("ip runs");
    String::from_utf8_lossy(&shown.stdout).into_owned()
}

fn told_each_other(stage: &Stage, outer: usize, web: &Container, far: &Container) {
    tell(&stage.here, far, stage.there.host().addresses()[outer]);
    tell(&stage.there, web, stage.here.host().addresses()[outer]);
}

#[test]
fn containers_of_one_subnet_are_neighbours_on_whichever_hosts() {
    needs!(root, "nft", "ping", "socat");
    for outer in [0, 1] {
        let mut stage = Stage::bare();
        [&stage.here, &stage.there].into_iter().for_each(|hnsd| flat(hnsd, outer, &[]));
        let (web, far) = (container(&stage.here, "web", 11), container(&stage.there, "far", 12));
        // Nobody is asked for whom no document names.
        assert!(!web.netns.ping(far.v4()) && !far.netns.ping(web.v6()));
        told_each_other(&stage, outer, &web, &far);
        for (place, (from, to)) in [(&web, &far), (&far, &web)].into_iter().enumerate() {
            for (port, address) in (9000..).zip(to.addresses()) {
                eventually!(from.netns.ping(address));
                let station = station_for(from, address);
                assert!(station.contains(&mac_of(to).replace('-', ":").to_lowercase()), "{station}");
                carries(&stage.lab, from, to, address, port + 10 * u16::try_from(place).expect("small"));
            }
        }
        let listed = stage.here.hnsctl(&["endpoint", "ls"]);
        assert!(listed.contains(&format!("on {}", stage.there.host().addresses()[outer])), "{listed}");
        // Its rules see who it is.
        rules(
            &stage.here,
            &web,
            &json!([acl("Block", "In", 100, &json!({"RemoteAddresses": far.v4().to_string()}))]),
        );
        rules(&stage.there, &far, &json!([]));
        assert!(!far.netns.ping(web.v4()));
        rules(&stage.here, &web, &json!([]));
        eventually!(far.netns.ping(web.v4()));
        let address = format!("{}", far.v4());
        let trace = stage.here.hnsctl(&["trace", "--from", "web", "--to", &address, "--protocol", "icmp"]);
        assert!(trace.contains(&format!("{}", stage.there.host().addresses()[outer])), "{trace}");
        let network = stage.here.hnsctl_json(&["network", "inspect", "flat"]);
        let network =
            get(&stage.here, &format!("/v2/networks/{}", network["ID"].as_str().expect("it has one")));
        assert!(network["Health"]["Extra"]["Hosts"][0]["HeardSeconds"].is_u64(), "{network}");
        // It outlives the daemon, and ends with its document.
        stage.here.kill9();
        assert!(web.netns.ping(far.v4()) && far.netns.ping(web.v6()));
        stage.here.start_again();
        eventually!(web.netns.ping(far.v4()) && far.netns.ping(web.v6()));
        let before = dropped(&stage.here, None, "spoofed-tunnel");
        stage.here.hnsctl(&["endpoint", "rm", "far"]);
        assert!(!web.netns.ping(far.v4()) && !far.netns.ping(web.v6()));
        assert!(dropped(&stage.here, Some(&web), "unrouted") > 0);
        assert!(dropped(&stage.here, None, "spoofed-tunnel") > before);
        tell(&stage.here, &far, stage.there.host().addresses()[outer]);
        eventually!(web.netns.ping(far.v4()) && far.netns.ping(web.v6()));
    }
}

/// Its address and its MAC address are the same, and so is its neighbours' entry for it.
#[test]
fn a_container_that_moves_to_another_host_is_found_there() {
    needs!(root, "nft", "ping");
    let stage = Stage::bare();
    let third = Hnsd::builder(&stage.client).arg("--default-network").arg("false").start();
    [&stage.here, &stage.there, &third].into_iter().for_each(|hnsd| flat(hnsd, 0, &[]));
    let (web, far) = (container(&stage.here, "web", 11), container(&stage.there, "far", 12));
    told_each_other(&stage, 0, &web, &far);
    tell(&third, &web, stage.here.host().v4().into());
    eventually!(web.netns.ping(far.v4()));
    stage.there.hnsctl(&["endpoint", "rm", "far"]);
    let netns = third.host().add_netns("moved");
    third.hnsctl(&["namespace", "create", "moved", "--path", "/run/netns/moved"]);
    let (v4, v6) = (far.v4().to_string(), far.v6().to_string());
    third.hnsctl(&[
        "endpoint",
        "create",
        "--network=flat",
        "--name=far",
        "--namespace=moved",
        "--ip",
        &v4,
        "--ip",
        &v6,
        "--mac",
        &mac_of(&far),
    ]);
    assert!(!web.netns.ping(far.v4()));
    stage.here.hnsctl(&["endpoint", "rm", "far"]);
    tell(&stage.here, &far, third.host().v4().into());
    for (from, to) in [(&web.netns, far.addresses()), (&netns, web.addresses())] {
        for address in to {
            eventually!(within 1 s, from.ping(address));
        }
    }
}

/// With the keys that hosts know of each other by a prefix.
#[test]
fn neighbours_on_an_encrypted_network_are_reached_by_those_with_a_key() {
    needs!(root, "nft", "ping");
    let stage = Stage::bare();
    let hosts = [&stage.here, &stage.there];
    hosts.into_iter().for_each(|hnsd| flat(hnsd, 0, &["--encrypted"]));
    let (web, far) = (container(&stage.here, "web", 11), container(&stage.there, "far", 12));
    let there = stage.there.host().v4().to_string();
    let (v4, mac) = (far.v4().to_string(), mac_of(&far));
    let words = ["endpoint", "create", "--network=flat", "--remote", &there, "--ip", &v4, "--mac", &mac];
    let refusal = stage.here.try_hnsctl(&words).expect_failure();
    assert!(refusal.contains(&format!("the key of host {there} is not known")), "{refusal}");
    let keys = hosts.map(|hnsd| key_of(hnsd, "flat").expect("it is encrypted"));
    introduce(&stage.here, "flat", 2, stage.there.host().v4().into(), &keys[1]);
    introduce(&stage.there, "flat", 1, stage.here.host().v4().into(), &keys[0]);
    told_each_other(&stage, 0, &web, &far);
    for (from, to) in [(&web, &far), (&far, &web)] {
        for address in to.addresses() {
            eventually!(from.netns.ping(address));
        }
    }
    // As long as there is a record the key stays.
    let prefixes = crate::stage::prefixes(2);
    let words = ["network", "peer", "rm", "flat", &prefixes[0], &prefixes[1]];
    let refusal = stage.here.try_hnsctl(&words).expect_failure();
    assert!(refusal.contains(&format!("the key of host {there} is needed")), "{refusal}");
    assert!(web.netns.ping(far.v4()));
    stage.here.hnsctl(&["endpoint", "rm", "far"]);
    stage.here.hnsctl(&words);
}

/// Orchestrators know of thousands.
#[test]
fn many_are_known_by_one_request_or_none_of_them() {
    needs!(root, "nft", "ping");
    let mut stage = Stage::bare();
    let words = ["network", "create", "flat", "-t", "overlay", "--subnet=10.247.0.0/16"];
    stage.here.hnsctl(&words);
    flat(&stage.there, 0, &[]);
    let far = container(&stage.there, "far", 12);
    let web = container_at(&stage.here, "flat", "web", &["10.247.0.11".to_owned()]);
    tell(&stage.there, &web, stage.here.host().v4().into());
    let there = stage.there.host().v4().to_string();
    let network = stage.here.hnsctl_json(&["network", "inspect", "flat"])["ID"].clone();
    let host = json!([{"Type": "ProviderAddress", "Settings": {"ProviderAddress": there}}]);
    let one = |address: String, mac: String| {
        json!({"HostComputeNetwork": network, "Flags": 1, "MacAddress": mac, "Policies": host,
            "IpConfigurations": [{"IpAddress": address}]})
    };
    let mut all: Vec<Value> = (0..2_000_u16)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            one(format!("10.247.{}.{low}", 100 + high), format!("02-00-0A-F7-{high:02X}-{low:02X}"))
        })
        .collect();
    all.push(one(far.v4().to_string(), mac_of(&far)));
    let post =
        |document: &Value| stage.here.api().post("/v2/endpoints", document).expect("the daemon answers");
    let count = || stage.here.hnsctl_json(&["endpoint", "ls"]).as_array().map(Vec::len);
    let wrong = one("10.247.0.11".to_owned(), "02-00-00-00-00-99".to_owned());
    let refusal = post(&Value::Array(all.iter().cloned().chain([wrong]).collect()));
    assert!(refusal.text.contains("10.247.0.11") && refusal.text.contains("in use"), "{}", refusal.text);
    assert_eq!(count(), Some(1));
    assert!(!web.netns.ping(far.v4()));
    let made = post(&Value::Array(all)).expect_success();
    assert_eq!(made.as_array().map(Vec::len), Some(2_001));
    eventually!(web.netns.ping(far.v4()));
    stage.here.kill9();
    stage.here.start_again();
    assert!(web.netns.ping(far.v4()));
    stage.here.hnsctl(&["network", "rm", "-f", "flat"]);
}

/// Under its address and MAC address, from a host that does not have it.
#[test]
fn what_another_host_says_in_a_neighbours_name_reaches_nobody() {
    needs!(root, "nft", "ping");
    let stage = Stage::bare();
    [&stage.here, &stage.there].into_iter().for_each(|hnsd| flat(hnsd, 0, &[]));
    let (web, far) = (container(&stage.here, "web", 11), container(&stage.there, "far", 12));
    told_each_other(&stage, 0, &web, &far);
    eventually!(web.netns.ping(far.v4()));
    let heard = raw::Capture::at(&web.netns, "eth0");
    let injector = Injector::open(&stage.client.netns(), "eth0");
    let ends = [stage.client.v4(), stage.here.host().v4()].map(IpAddr::from);
    let link = Link {
        to: raw::mac_of(&stage.here.host().netns(), "eth0"),
        from: raw::mac_of(&stage.client.netns(), "eth0"),
    };
    let says = |inner: Link, from: IpAddr, word: &[u8]| {
        let frame = inner.packet(&raw::udp((from, 7), (web.v4().into(), 9), word));
        let datagram =
            [&[8, 0, 0, 0][..], &(vni_of(&stage.here, "flat") << 8).to_be_bytes(), &frame].concat();
        injector
            .send(&link.packet(&raw::udp((ends[0], 40_000), (ends[1], 4789), &datagram)))
            .expect("it is sent");
    };
    let refused = || dropped(&stage.here, None, "spoofed-tunnel");
    let own = Link { to: web.mac(), from: far.mac() };
    says(own, far.v4().into(), b"a-forged-word");
    says(own, [10, 247, 0, 99].into(), b"a-forged-word");
    eventually!(refused() == 2);
    let shows =
        |word: &[u8]| heard.take().iter().any(|frame| frame.windows(word.len()).any(|part| part == word));
    assert!(!shows(b"a-forged-word"));
    let _server = tcp::Echo::serve(&far.netns, "[::]:80");
    eventually!(tcp::ask(&web.netns, (far.v4(), 80)));
}

#[test]
fn what_a_remote_endpoint_cannot_be_is_refused_by_name_and_leaves_nothing() {
    needs!(root, "nft");
    let stage = Stage::bare();
    flat(&stage.here, 0, &[]);
    let web = container(&stage.here, "web", 11);
    let network = stage.here.hnsctl_json(&["network", "inspect", "flat"])["ID"].clone();
    let nat = stage.here.hnsctl_json(&["network", "create", "plain", "--subnet=10.9.9.0/24"])["ID"].clone();
    let namespace = stage.here.hnsctl_json(&["namespace", "create", "pod"])["ID"].clone();
    let there = stage.there.host().v4().to_string();
    let host = |address: &str| json!({"Type": "ProviderAddress", "Settings": {"ProviderAddress": address}});
    let whole = json!({
        "HostComputeNetwork": network, "Flags": 1, "MacAddress": "02-00-0A-F7-00-0C",
        "IpConfigurations": [{"IpAddress": "10.247.0.12"}], "Policies": [host(&there)],
    });
    let post =
        |document: &Value| stage.here.api().post("/v2/endpoints", document).expect("the daemon answers");
    let mapping =
        json!({"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 80}});
    let own_mac = json!(mac_of(&web));
    for (field, value, code, said) in [
        ("HostComputeNetwork", nat, 0x803b_0015_u32, "RemoteEndpoint is not available on NAT networks"),
        ("HostComputeNamespace", namespace.clone(), 0x803b_000f, "no port on this host"),
        ("IpConfigurations", json!([]), 0x803b_001e, "the address that its host has given it"),
        ("IpConfigurations", json!([{"IpAddress": "224.0.0.5"}]), 0x803b_001e, "is no address of a host"),
        ("IpConfigurations", json!([{"IpAddress": "10.247.0.11"}]), 0x803b_002f, "in use by endpoint"),
        ("IpConfigurations", json!([{"IpAddress": "10.247.0.1"}]), 0x803b_002f, "reserved"),
        ("MacAddress", Value::Null, 0x803b_000c, "the MAC address that its host has given it"),
        ("MacAddress", own_mac, 0x803b_002f, "belongs to"),
        ("Flags", json!(3), 0x803b_000f, "DisableInterComputeCommunication is of a port"),
        ("AdditionalParams", json!({"AclDefaultIn": "Block"}), 0x803b_000f, "is of a port"),
        ("Policies", json!([]), 0x803b_000d, "needs a ProviderAddress"),
        ("Policies", json!([host(&there), host(&there)]), 0x803b_000d, "on one host"),
        ("Policies", json!([host("fd00::9")]), 0x803b_000d, "not of the family"),
        ("Policies", json!([host(&there), mapping]), 0x803b_000f, "no port here for a PortMapping"),
        (
            "Routes",
            json!([{"DestinationPrefix": "0.0.0.0/0", "NextHop": "10.247.0.1"}]),
            0x803b_000c,
            "its host's",
        ),
    ] {
        let mut document = whole.clone();
        document[field] = value;
        let refusal = post(&document);
        assert!(refusal.text.contains(said), "{field}: {}", refusal.text);
        assert_eq!(refusal.body["ErrorCode"], code, "{field} {said}");
    }
    let listed = stage.here.hnsctl_json(&["endpoint", "ls"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    // With an id of the client's, as orchestrators do.
    let mut document = whole.clone();
    document["ID"] = json!("11111111-2222-3333-4444-555555555555");
    let made = post(&document).expect_success();
    assert_eq!(made["ID"].as_str().map(str::to_lowercase).as_deref(), document["ID"].as_str());
    let again = post(&whole);
    assert!(again.text.contains("10.247.0.12") && again.text.contains("in use"), "{}", again.text);
    let id = made["ID"].as_str().expect("it has one");
    let namespace = namespace.as_str().expect("it has one");
    let refusal = stage.here.try_hnsctl(&["endpoint", "attach", id, namespace]).expect_failure();
    assert!(refusal.contains("is remote: it has no port on this host"), "{refusal}");
    // What a container of this host gets by itself is none of its addresses.
    stage.here.hnsctl(&["endpoint", "create", "--network=flat", "--name=two"]);
    let two = stage.here.hnsctl_json(&["endpoint", "inspect", "two"]);
    assert_ne!(two["IpConfigurations"][0]["IpAddress"], "10.247.0.12");
    // This host's own is known by name alone; so is what a load balancer has.
    document = whole;
    document["Policies"] = json!([host(&stage.here.host().v4().to_string())]);
    document["IpConfigurations"] = json!([{"IpAddress": "10.96.0.10"}]);
    document["MacAddress"] = json!(mac_of(&web));
    let _made = post(&document).expect_success();
    stage.here.hnsctl(&["network", "rm", "-f", "flat"]);
    assert_eq!(stage.here.hnsctl_json(&["endpoint", "ls"]), json!([]));
}
