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

/// A daemon with the endpoint of an ADD, shown with `change` made to it.
fn daemon_with(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Daemon {
    let namespace = std::sync::OnceLock::<Value>::new();
    let made = std::sync::OnceLock::<Value>::new();
    Daemon::start(move |line, body| match line {
        "POST /v2/endpoints" => {
            let answer = made.get_or_init(|| endpoint(body));
            namespace.get_or_init(|| answer["HostComputeNamespace"].clone());
            (201, answer.clone())
        }
        _ if line == format!("GET /v2/namespaces/{NAMESPACE}") => (200, namespace.get().unwrap().clone()),
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
        (|shown| shown["MacAddress"] = json!("00-15-5D-0A-00-06"), "its MAC address is 00:15:5d:0a:00:06"),
        (
            |shown| shown["IpConfigurations"] = json!([{"IpAddress": "172.16.0.6", "PrefixLength": 16}]),
            "it does not have 172.16.0.5/16",
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
