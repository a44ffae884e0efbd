//! Each verb, in each version.

use hns_cni::Verb;
use serde_json::{Value, json};

use crate::scripted_daemon::{Daemon, MAC, NAMESPACE, NETWORK, endpoint, granted, queried};
use crate::{Runtime, VERSIONS, conf, spec_rules};

/// The id of container c1's eth0 on the network web: it must stay what it is, since a DEL after an upgrade of the
/// plugin finds the endpoint by nothing else.
const ID: &str = "C0D8690B-F7F2-59EE-90AA-3B6433565CFB";

#[test]
fn an_add_is_one_request_with_everything_in_it() {
    let daemon = Daemon::generous();
    Runtime::new(&daemon).add(&conf("1.0.0", &json!({})));
    let path = daemon.namespace();
    assert_eq!(daemon.asked(), ["POST /v2/endpoints"]);
    assert_eq!(
        daemon.created(),
        json!({
            "SchemaVersion": {"Major": 2, "Minor": 0},
            "ID": ID,
            "Name": "c1_web",
            "Owner": "cni",
            "HostComputeNetwork": {"Name": "web", "Owner": "cni", "Type": "NAT"},
            "HostComputeNamespace": {"Type": "Host", "AdditionalParams": {"Path": path}},
            "IpConfigurations": [],
            "Dns": {},
            "Routes": [],
            "Policies": [],
            "AdditionalParams": {"InterfaceName": "eth0",
                "Cni": {"ContainerId": "c1", "IfName": "eth0", "NetworkName": "web"}},
        })
    );
}

#[test]
fn each_version_has_its_result() {
    let daemon = Daemon::generous();
    let runtime = Runtime::new(&daemon);
    let more = json!({"dns": {"nameservers": ["192.0.2.53"], "domain": "lab.test", "search": ["a.test"],
        "options": ["ndots:5"]}});
    for version in VERSIONS {
        let result = runtime.add(&conf(version, &more));
        spec_rules::result(&result, version).unwrap();
    }
    let sandbox = daemon.namespace();
    let dns = json!({"nameservers": ["192.0.2.53"], "domain": "lab.test", "search": ["a.test"],
        "options": ["ndots:5"]});
    let routes = json!([{"dst": "0.0.0.0/0", "gw": "172.16.0.1"}]);
    assert_eq!(
        runtime.add(&conf("0.2.0", &more)),
        json!({"cniVersion": "0.2.0",
            "ip4": {"ip": "172.16.0.5/16", "gateway": "172.16.0.1", "routes": routes}, "dns": dns})
    );
    assert_eq!(
        runtime.add(&conf("0.4.0", &more)),
        json!({"cniVersion": "0.4.0",
            "interfaces": [{"name": "hnv0123456789ab"},
                {"name": "eth0", "mac": "00:15:5d:0a:00:05", "sandbox": sandbox}],
            "ips": [{"interface": 1, "version": "4", "address": "172.16.0.5/16", "gateway": "172.16.0.1"}],
            "routes": routes, "dns": dns})
    );
    assert_eq!(
        runtime.add(&conf("1.1.0", &more)),
        json!({"cniVersion": "1.1.0",
            "interfaces": [{"name": "hnv0123456789ab", "mtu": 1500},
                {"name": "eth0", "mac": "00:15:5d:0a:00:05", "sandbox": sandbox, "mtu": 1500}],
            "ips": [{"interface": 1, "address": "172.16.0.5/16", "gateway": "172.16.0.1"}],
            "routes": routes, "dns": dns})
    );
}

#[test]
fn a_verb_is_refused_in_a_version_that_has_it_not() {
    let daemon = Daemon::generous();
    let runtime = Runtime::new(&daemon);
    for (verb, since) in [(Verb::Check, "0.4.0"), (Verb::Gc, "1.1.0"), (Verb::Status, "1.1.0")] {
        for version in VERSIONS.iter().take_while(|version| **version != since) {
            let refused = runtime.refused(verb, &conf(version, &json!({})));
            assert_eq!(refused["code"], 1, "{verb} {version}: {refused}");
        }
    }
    for unknown in ["1.2.0", "0.5.0", "x"] {
        let refused = runtime.refused(Verb::Add, &conf(unknown, &json!({})));
        assert_eq!(refused["code"], 1);
        assert!(refused["details"].as_str().unwrap().contains("0.3.1, 0.4.0, 1.0.0, 1.1.0"), "{refused}");
    }
    assert!(daemon.asked().is_empty());
}

#[test]
fn version_answers_in_the_version_it_was_asked_in() {
    let daemon = Daemon::generous();
    let runtime = Runtime::new(&daemon);
    for asked in ["0.3.1", "1.0.0", "1.1.0", "9.9.9"] {
        let answer = runtime.call(Verb::Version, &json!({"cniVersion": asked})).unwrap().unwrap();
        assert_eq!(answer["cniVersion"], asked);
    }
    for odd in [json!({}), json!([]), json!({"cniVersion": 7}), json!({"cniVersion": "\u{7}"})] {
        let answer = runtime.call(Verb::Version, &odd).unwrap().unwrap();
        assert_eq!(answer["cniVersion"], "1.1.0");
    }
}

#[test]
fn a_del_needs_nothing_but_names() {
    let daemon = Daemon::start(|line, _| match line {
        _ if line.starts_with("DELETE") => (404, json!({"ErrorCode": 0x803B_0002_u32, "Error": "gone"})),
        _ => (500, Value::Null),
    });
    let runtime = Runtime::new(&daemon);
    for version in VERSIONS {
        // A configuration that went wrong since, a namespace that is gone, an endpoint that is gone.
        let broken =
            conf(version, &json!({"subnet": "no subnet", "ipam": 7, "unknown": 7, "prevResult": "x"}));
        for namespace in ["", "/run/netns/gone"] {
            let outcome = runtime.call_at(Verb::Del, &broken, namespace.as_ref());
            assert_eq!(outcome.unwrap(), None);
        }
    }
    let asked = daemon.asked();
    assert_eq!(asked.len(), 2 * VERSIONS.len());
    assert!(asked.iter().all(|line| *line == format!("DELETE /v2/endpoints/{ID}")), "{asked:?}");
}

#[test]
fn a_daemon_that_is_away_is_to_be_tried_again() {
    let daemon = Daemon::generous();
    std::fs::remove_file(daemon.socket()).unwrap();
    let runtime = Runtime::new(&daemon);
    let attachments = json!({"cni.dev/valid-attachments": []});
    for (verb, more, code) in [
        (Verb::Add, json!({}), 11),
        (Verb::Del, json!({}), 11),
        (Verb::Gc, attachments, 11),
        (Verb::Status, json!({}), 50),
    ] {
        let refused = runtime.refused(verb, &conf("1.1.0", &more));
        assert_eq!(refused["code"], code, "{verb}: {refused}");
        assert!(refused["details"].as_str().unwrap().contains("is hnsd running?"), "{refused}");
    }
    let stopping = Daemon::start(|_, _| (503, json!({"ErrorCode": 0x803B_0020_u32, "Error": "stopping"})));
    assert_eq!(Runtime::new(&stopping).refused(Verb::Add, &conf("1.1.0", &json!({})))["code"], 11);
}

#[test]
fn the_configuration_says_where_the_daemon_is() {
    let elsewhere = Daemon::generous();
    let here = Daemon::generous();
    let more = json!({"socket": elsewhere.socket()});
    Runtime::new(&here).add(&conf("1.0.0", &more));
    assert_eq!((here.asked().len(), elsewhere.asked().len()), (0, 1));
}

#[test]
fn an_answer_that_cannot_be_read_is_undone() {
    let daemon = Daemon::start(|line, body| match line {
        "POST /v2/endpoints" => (201, json!({"ID": 7})),
        _ => granted(line, body),
    });
    let refused = Runtime::new(&daemon).refused(Verb::Add, &conf("1.0.0", &json!({})));
    assert_eq!(refused["code"], 100);
    assert_eq!(daemon.asked(), ["POST /v2/endpoints".to_owned(), format!("DELETE /v2/endpoints/{ID}")]);
}

#[test]
fn an_address_from_beyond_the_ranges_is_given_back() {
    let daemon = Daemon::start(|line, body| match line {
        "POST /v2/endpoints" => {
            let mut made = endpoint(body);
            made["IpConfigurations"] = json!([{"IpAddress": "10.1.0.99", "PrefixLength": 24}]);
            (201, made)
        }
        _ => granted(line, body),
    });
    let runtime = Runtime::new(&daemon);
    let wide = json!({"subnet": "10.1.0.0/24", "rangeEnd": "10.1.0.127"});
    runtime.add(&conf("1.0.0", &wide));
    let narrow = json!({"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.20"});
    let refused = runtime.refused(Verb::Add, &conf("1.0.0", &narrow));
    assert_eq!(refused["code"], 7);
    assert!(refused["msg"].as_str().unwrap().contains("10.1.0.99"), "{refused}");
    assert_eq!(daemon.asked().last(), Some(&format!("DELETE /v2/endpoints/{ID}")));
}

/// A daemon with the endpoint of an ADD, shown with `change` made to it, in a container that is as it should be.
fn daemon_with(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Daemon {
    daemon_seeing(json!({"Addresses": ["172.16.0.5/16"], "Differences": []}), change)
}

/// The same; inside the container it sees this.
fn daemon_seeing(inside: Value, change: impl Fn(&mut Value) + Send + Sync + 'static) -> Daemon {
    let namespace = std::sync::OnceLock::<Value>::new();
    let made = std::sync::OnceLock::<Value>::new();
    Daemon::start(move |line, body| match line {
        "POST /v2/endpoints" => {
            let answer = made.get_or_init(|| endpoint(body));
            namespace.get_or_init(|| answer["HostComputeNamespace"].clone());
            (201, answer.clone())
        }
        _ if line == format!("GET /v2/namespaces/{NAMESPACE}") => (200, namespace.get().unwrap().clone()),
        _ if line == format!("GET /v2/networks/{NETWORK}") => {
            (200, made.get().unwrap()["HostComputeNetwork"].clone())
        }
        _ if line == format!("GET /v2/endpoints/{ID}/check") => (200, inside.clone()),
        _ if line == format!("GET /v2/endpoints/{ID}") => {
            let mut shown = queried(made.get().unwrap());
            change(&mut shown);
            (200, shown)
        }
        _ => (404, json!({"ErrorCode": 0x803B_0002_u32, "Error": "gone"})),
    })
}

#[test]
fn a_check_is_content_with_what_was_added() {
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let daemon = daemon_with(|_| ());
        let runtime = Runtime::new(&daemon);
        let mut told = runtime.add(&conf(version, &json!({})));
        assert_eq!(runtime.call(Verb::Check, &conf(version, &json!({"prevResult": told}))).unwrap(), None);
        // A later plugin of the chain brought an interface of its own.
        told["interfaces"].as_array_mut().unwrap().push(json!({"name": "net1", "sandbox": "/x"}));
        let mut other = json!({"interface": 2, "address": "10.9.0.1/24"});
        if version == "0.4.0" {
            other["version"] = json!("4");
        }
        told["ips"].as_array_mut().unwrap().push(other);
        assert_eq!(runtime.call(Verb::Check, &conf(version, &json!({"prevResult": told}))).unwrap(), None);
    }
}

#[test]
fn a_check_names_what_is_not_as_it_was_added() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 5] = [
        (|shown| shown["Health"]["Extra"]["Interface"] = json!("eth7"), "the daemon has it as eth7"),
        (|shown| shown["Health"]["Data"] = json!({"LastError": "its port is lost"}), "its port is lost"),
        (
            |shown| shown["MacAddress"] = json!("00-15-5D-0A-00-06"),
            "prevResult.interfaces[1].mac is 00:15:5d:0a:00:05, not 00:15:5d:0a:00:06",
        ),
        (
            |shown| shown["IpConfigurations"] = json!([{"IpAddress": "172.16.0.6", "PrefixLength": 16}]),
            "prevResult.ips does not name 172.16.0.6/16",
        ),
        (
            |shown| shown["HostComputeNamespace"] = json!("00000000-0000-0000-0000-000000000000"),
            "it is not in the container's namespace",
        ),
    ];
    for (change, said) in cases {
        let daemon = daemon_with(change);
        let runtime = Runtime::new(&daemon);
        let told = runtime.add(&conf("1.0.0", &json!({})));
        let refused = runtime.refused(Verb::Check, &conf("1.0.0", &json!({"prevResult": told})));
        assert_eq!(refused["code"], 101);
        assert_eq!(refused["msg"], format!("interface eth0 is not as it was added: {said}"));
    }
}

/// What `prevResult` of version 1.1.0 must say, field by field.
#[test]
fn a_check_compares_the_whole_of_what_was_told() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 20] = [
        (|told| told["interfaces"][1]["name"] = json!("eth7"), "prevResult does not name it"),
        (|told| told["interfaces"][1]["sandbox"] = json!(""), "prevResult does not name it"),
        (
            |told| told["interfaces"][1]["mac"] = json!("02:00:00:00:00:01"),
            "interfaces[1].mac is 02:00:00:00:00:01, not 00:15:5d:0a:00:05",
        ),
        (|told| told["interfaces"][1]["sandbox"] = json!("/"), "interfaces[1].sandbox is /, not "),
        (|told| told["interfaces"][1]["mtu"] = json!(1400), "interfaces[1].mtu is 1400, not 1500"),
        (|told| told["interfaces"][0]["mtu"] = json!(1400), "interfaces[0].mtu is 1400, not 1500"),
        (|told| told["interfaces"][0]["name"] = json!("x"), "interfaces does not name hnv0123456789ab"),
        (|told| told["ips"][0]["address"] = json!("172.16.0.5/24"), "ips does not name 172.16.0.5/16"),
        (|told| told["ips"][0]["address"] = json!("172.16.0.9/16"), "it does not have 172.16.0.9/16"),
        (|told| told["ips"] = json!([]), "ips does not name 172.16.0.5/16"),
        (
            |told| told["ips"][0]["gateway"] = json!("172.16.0.9"),
            "ips[0].gateway is 172.16.0.9, not 172.16.0.1",
        ),
        (|told| told["ips"][0]["gateway"] = json!(""), "ips[0].gateway is absent, not 172.16.0.1"),
        (|told| told["ips"][0]["interface"] = json!(0), "ips[0].interface is 0, not 1"),
        (
            |told| told["routes"][0]["dst"] = json!("10.0.0.0/8"),
            "routes does not name 0.0.0.0/0 via 172.16.0.1",
        ),
        (
            |told| told["routes"][0]["gw"] = json!("172.16.0.9"),
            "routes does not name 0.0.0.0/0 via 172.16.0.1",
        ),
        (|told| told["routes"][1]["priority"] = json!(9), "routes[1].priority is 9, not 7"),
        (
            |told| told["dns"]["nameservers"] = json!(["192.0.2.9"]),
            "dns.nameservers does not name 192.0.2.53",
        ),
        (|told| told["dns"]["domain"] = json!("x"), "dns.domain is x, not lab.test"),
        (|told| told["dns"]["search"] = json!([]), "dns.search does not name a.test"),
        (|told| told["dns"] = json!({}), "dns.options does not name ndots:5"),
    ];
    let more = json!({"dns": {"nameservers": ["192.0.2.53"], "domain": "lab.test", "search": ["a.test"],
            "options": ["ndots:5"]},
        "additionalRoutes": [{"dst": "0.0.0.0/0", "gw": "172.16.0.1"},
            {"dst": "10.9.0.0/16", "gw": "172.16.0.1", "priority": 7}]});
    let daemon = daemon_with(|_| ());
    let runtime = Runtime::new(&daemon);
    let mut told = runtime.add(&conf("1.1.0", &more));
    let check = |told: &Value| {
        let mut checked = more.clone();
        checked["prevResult"] = told.clone();
        conf("1.1.0", &checked)
    };
    assert_eq!(runtime.call(Verb::Check, &check(&told)).unwrap(), None);
    for (change, said) in cases {
        let mut altered = told.clone();
        change(&mut altered);
        let refused = runtime.refused(Verb::Check, &check(&altered));
        assert_eq!(refused["code"], 101);
        assert!(refused["msg"].as_str().unwrap().contains(said), "{said}: {refused}");
    }
    // What later plugins add, and what HNS sets nowhere.
    told["dns"]["nameservers"].as_array_mut().unwrap().push(json!("192.0.2.9"));
    told["routes"].as_array_mut().unwrap().push(json!({"dst": "10.8.0.0/16", "table": 5}));
    told["routes"][0]["advmss"] = json!(1400);
    told["interfaces"].as_array_mut().unwrap().push(json!({"name": "bwp0", "mac": "no address"}));
    assert_eq!(runtime.call(Verb::Check, &check(&told)).unwrap(), None);
}

/// A later plugin may change what a result can say, when it says so.
#[test]
fn a_check_takes_what_is_inside_from_whoever_told_of_it() {
    let difference = |property: &str, wanted: Value, found: Value| {
        let detail = format!("the {property} differs");
        let one = json!({"Property": property, "Wanted": wanted, "Found": found, "Detail": detail});
        json!({"Addresses": ["172.16.0.9/16"], "Differences": [one]})
    };
    let route = |via: &str| json!({"DestinationPrefix": "0.0.0.0/0", "NextHop": via, "Metric": 20_000});
    let other_address = |told: &mut Value| told["ips"][0]["address"] = json!("172.16.0.9/16");
    let other_route = |told: &mut Value| {
        told["routes"][0]["gw"] = json!("172.16.0.9");
        told["ips"][0]["gateway"] = json!("172.16.0.9");
    };
    type Telling<'a> = &'a dyn Fn(&mut Value);
    let mac = |told: &mut Value| told["interfaces"][1]["mac"] = json!("02:00:00:00:00:09");
    let mtu = |told: &mut Value| told["interfaces"][1]["mtu"] = json!(1400);
    let cases: [(Value, Option<Telling<'_>>); 6] = [
        (difference("MacAddress", json!(MAC), json!("02-00-00-00-00-09")), Some(&mac)),
        (difference("Mtu", json!(1500), json!(1400)), Some(&mtu)),
        (difference("Address", json!("172.16.0.5/16"), Value::Null), Some(&other_address)),
        (difference("Route", route("172.16.0.1"), route("172.16.0.9")), Some(&other_route)),
        (difference("Up", json!(true), json!(false)), None),
        (difference("Interface", json!("eth0"), json!("eth9")), None),
    ];
    for (inside, telling) in cases {
        let daemon = daemon_seeing(inside.clone(), |_| ());
        let runtime = Runtime::new(&daemon);
        let mut told = runtime.add(&conf("1.1.0", &json!({})));
        let refused = runtime.refused(Verb::Check, &conf("1.1.0", &json!({"prevResult": told})));
        let said = inside["Differences"][0]["Detail"].as_str().unwrap();
        assert_eq!(refused["code"], 101);
        assert!(refused["msg"].as_str().unwrap().contains(said), "{refused}");
        if let Some(telling) = telling {
            telling(&mut told);
            let checked = runtime.call(Verb::Check, &conf("1.1.0", &json!({"prevResult": told})));
            assert_eq!(checked.unwrap(), None, "{inside}");
        }
    }
}

#[test]
fn a_check_needs_what_was_told_and_an_endpoint() {
    let daemon = Daemon::start(|line, body| match line {
        _ if line.starts_with("GET") => (404, json!({"ErrorCode": 0x803B_0002_u32, "Error": "gone"})),
        _ => granted(line, body),
    });
    let runtime = Runtime::new(&daemon);
    assert_eq!(runtime.refused(Verb::Check, &conf("1.0.0", &json!({})))["code"], 7);
    let mut told = runtime.add(&conf("1.0.0", &json!({})));
    let refused = runtime.refused(Verb::Check, &conf("1.0.0", &json!({"prevResult": told})));
    assert!(refused["msg"].as_str().unwrap().ends_with("the daemon has no such endpoint"), "{refused}");
    told["interfaces"] = json!([]);
    let refused = runtime.refused(Verb::Check, &conf("1.0.0", &json!({"prevResult": told})));
    assert!(refused["msg"].as_str().unwrap().ends_with("prevResult does not name it"), "{refused}");
}

/// A daemon with endpoints of several owners and networks; refuses to remove the one of container `stuck`.
fn crowded() -> Daemon {
    let endpoint = |container: &str, interface: &str, network: &str| {
        json!({"ID": NETWORK, "Owner": "cni", "Name": container, "MacAddress": MAC, "AdditionalParams":
            {"Cni": {"ContainerId": container, "IfName": interface, "NetworkName": network}}})
    };
    let all = json!([
        endpoint("c1", "eth0", "web"),
        endpoint("c1", "eth1", "web"),
        endpoint("c2", "eth0", "web"),
        endpoint("c3", "eth0", "db"),
        {"ID": NETWORK, "Owner": "cni", "AdditionalParams": {}},
    ]);
    Daemon::start(move |line, _| match line {
        _ if line.starts_with("GET /v2/endpoints?query=") && line.contains("Owner") => (200, all.clone()),
        _ if line.starts_with("DELETE") => (204, Value::Null),
        _ => (500, Value::Null),
    })
}

#[test]
fn a_gc_removes_exactly_what_is_valid_no_more() {
    let daemon = crowded();
    let runtime = Runtime::new(&daemon);
    let gc = |valid: &Value| {
        let before = daemon.asked().len();
        let more = json!({"cni.dev/valid-attachments": valid});
        assert_eq!(runtime.call(Verb::Gc, &conf("1.1.0", &more)).unwrap(), None);
        daemon.asked().split_off(before).into_iter().filter(|line| line.starts_with("DELETE")).count()
    };
    let valid = |container: &str, interface: &str| json!({"containerID": container, "ifname": interface});
    assert_eq!(gc(&json!([valid("c1", "eth0"), valid("c1", "eth1"), valid("c2", "eth0")])), 0);
    assert_eq!(gc(&json!([valid("c1", "eth1"), valid("c2", "eth0"), valid("c9", "eth0")])), 1);
    assert_eq!(daemon.asked().last(), Some(&format!("DELETE /v2/endpoints/{ID}")));
    assert_eq!(gc(&json!([])), 3);
}

#[test]
fn a_gc_without_a_list_removes_nothing() {
    let daemon = crowded();
    let runtime = Runtime::new(&daemon);
    let refused = runtime.refused(Verb::Gc, &conf("1.1.0", &json!({})));
    assert_eq!(refused["code"], 7);
    let half = json!({"cni.dev/valid-attachments": [{"containerID": "c1"}]});
    assert_eq!(runtime.refused(Verb::Gc, &conf("1.1.0", &half))["code"], 7);
    assert!(daemon.asked().is_empty());
}

#[test]
fn a_gc_goes_on_after_a_failure_and_tells_it() {
    let all = json!([
        {"Owner": "cni", "AdditionalParams": {"Cni": {"ContainerId": "c1", "IfName": "eth0", "NetworkName": "web"}}},
        {"Owner": "cni", "AdditionalParams": {"Cni": {"ContainerId": "c2", "IfName": "eth0", "NetworkName": "web"}}},
        {"Owner": "cni", "AdditionalParams": {"Cni": {"ContainerId": "c3", "IfName": "eth0", "NetworkName": "web"}}},
    ]);
    let daemon = Daemon::start(move |line, _| match line {
        _ if line.starts_with("GET") => (200, all.clone()),
        _ if line.ends_with(ID) => (204, Value::Null),
        _ => (500, json!({"ErrorCode": 0x8000_4005_u32, "Error": "the host refused"})),
    });
    let more = json!({"cni.dev/valid-attachments": []});
    let refused = Runtime::new(&daemon).refused(Verb::Gc, &conf("1.1.0", &more));
    assert_eq!(refused["code"], 102);
    assert_eq!(refused["msg"], "2 stale attachments could not be removed");
    assert_eq!(daemon.asked().len(), 4);
}

#[test]
fn status_is_one_cheap_request() {
    let daemon = Daemon::generous();
    assert_eq!(Runtime::new(&daemon).call(Verb::Status, &conf("1.1.0", &json!({}))).unwrap(), None);
    assert_eq!(daemon.asked(), ["GET /v2/version"]);
}
