//! IPAM plugins of others, played by shell scripts that write down how they were called.

use std::os::unix::fs::PermissionsExt;

use hns_cni::Verb;
use serde_json::{Value, json};

use crate::scripted_daemon::{Daemon, endpoint, granted};
use crate::{Runtime, conf};

/// An IPAM plugin that answers ADD with `result`, and everything with exit code `code`.
fn install(daemon: &Daemon, name: &str, result: &Value, code: u8) {
    let folder = daemon.folder();
    let log = folder.join("calls");
    let script = format!(
        "#!/bin/sh\nprintf '%s ' \"$CNI_COMMAND\" \"$CNI_CONTAINERID\" \"$CNI_IFNAME\" >> {log}\ncat >> {log}\n\
         echo >> {log}\n[ \"$CNI_COMMAND\" = ADD ] || [ {code} != 0 ] && printf '%s' '{result}'\nexit {code}\n",
        log = log.display()
    );
    std::fs::write(folder.join(name), script).unwrap();
    std::fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o755)).unwrap();
}

fn calls(daemon: &Daemon) -> Vec<String> {
    let text = std::fs::read_to_string(daemon.folder().join("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn verbs(daemon: &Daemon) -> Vec<String> {
    calls(daemon).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

fn runtime(daemon: &Daemon) -> Runtime<'_> {
    Runtime { path: daemon.folder().display().to_string(), ..Runtime::new(daemon) }
}

fn lease() -> Value {
    json!({"cniVersion": "1.0.0",
        "ips": [{"address": "10.7.0.9/24", "gateway": "10.7.0.254"}, {"address": "fd07::9/64"}],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.8.0.0/16", "gw": "10.7.0.8"}],
        "dns": {"nameservers": ["192.0.2.7"], "search": ["seven.test"]}})
}

#[test]
fn what_an_ipam_plugin_gives_becomes_the_endpoints() {
    let daemon = Daemon::generous();
    install(&daemon, "by-others", &lease(), 0);
    let more = json!({"ipam": {"type": "by-others", "x": [1]}, "dns": {"search": ["ours.test"]}});
    let conf = conf("1.0.0", &more);
    let result = runtime(&daemon).add(&conf);
    assert_eq!(calls(&daemon), [format!("ADD c1 eth0 {conf}")]);
    let asked = daemon.created();
    assert_eq!(
        asked["IpConfigurations"],
        json!([{"IpAddress": "10.7.0.9", "PrefixLength": 24}, {"IpAddress": "fd07::9", "PrefixLength": 64}])
    );
    assert_eq!(
        asked["Routes"],
        json!([{"NextHop": "10.7.0.8", "DestinationPrefix": "10.8.0.0/16", "Metric": 0},
            {"NextHop": "10.7.0.254", "DestinationPrefix": "0.0.0.0/0", "Metric": 0}])
    );
    assert_eq!(asked["Dns"], json!({"Search": ["ours.test"], "ServerList": ["192.0.2.7"]}));
    assert_eq!(
        asked["HostComputeNetwork"]["Ipams"][0]["Subnets"],
        json!([{"IpAddressPrefix": "10.7.0.0/24",
                "Routes": [{"NextHop": "10.7.0.254", "DestinationPrefix": "0.0.0.0/0"}]},
            {"IpAddressPrefix": "fd07::/64"}])
    );
    assert_eq!(result["ips"][0]["address"], "10.7.0.9/24");
}

#[test]
fn the_subnets_of_host_local_are_the_networks() {
    let daemon = Daemon::generous();
    install(&daemon, "host-local", &lease(), 0);
    let ranges = json!([[{"subnet": "10.7.0.0/24", "rangeStart": "10.7.0.9"}, {"subnet": "10.6.0.0/24"}]]);
    let more = json!({"ipam": {"type": "host-local", "ranges": ranges}});
    runtime(&daemon).add(&conf("1.0.0", &more));
    let network = &daemon.created()["HostComputeNetwork"];
    let prefixes: Vec<&Value> = network["Ipams"][0]["Subnets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|subnet| &subnet["IpAddressPrefix"])
        .collect();
    assert_eq!(prefixes, ["10.7.0.0/24", "10.6.0.0/24", "fd07::/64"]);
    assert_eq!(network["Ipams"][0]["Subnets"][0]["Routes"][0]["NextHop"], "10.7.0.254");
    assert!(network["AdditionalParams"].is_null(), "the range is the IPAM plugin's to keep");
}

#[test]
fn every_verb_is_passed_on() {
    let daemon = Daemon::start(|line, body| match line {
        _ if line.starts_with("GET /v2/endpoints/") => (404, json!({"ErrorCode": 0x803B_0002_u32})),
        _ => granted(line, body),
    });
    install(&daemon, "by-others", &lease(), 0);
    let runtime = runtime(&daemon);
    let ipam = json!({"type": "by-others"});
    let told = runtime.add(&conf("1.1.0", &json!({"ipam": ipam})));
    let more = json!({"ipam": ipam, "prevResult": told, "cni.dev/valid-attachments": []});
    for verb in [Verb::Check, Verb::Gc, Verb::Status, Verb::Del] {
        // The endpoint that CHECK looks for is not there; that is another matter.
        let outcome = runtime.call(verb, &conf("1.1.0", &more));
        assert_eq!(outcome.is_err(), verb == Verb::Check, "{outcome:?}");
    }
    assert_eq!(verbs(&daemon), ["ADD", "CHECK", "GC", "STATUS", "DEL"]);
}

#[test]
fn nothing_leaks_when_the_daemon_refuses() {
    for answer in [
        (409, json!({"ErrorCode": 0x803B_002F_u32, "Error": "address 10.7.0.9 is in use"})),
        (201, json!({"ID": 7})),
    ] {
        let daemon = Daemon::start(move |line, body| match line {
            "POST /v2/endpoints" => answer.clone(),
            _ => granted(line, body),
        });
        install(&daemon, "by-others", &lease(), 0);
        let more = json!({"ipam": {"type": "by-others"}});
        let refused = runtime(&daemon).refused(Verb::Add, &conf("1.0.0", &more));
        assert_eq!(refused["code"], 100);
        assert_eq!(verbs(&daemon), ["ADD", "DEL"]);
    }
}

#[test]
fn a_lease_that_cannot_be_used_goes_back() {
    for (result, code) in [
        (json!({"cniVersion": "1.0.0", "ips": []}), 999),
        (json!({"cniVersion": "1.0.0", "ips": [{"address": "x"}]}), 7),
        (json!("no result"), 6),
    ] {
        let daemon = Daemon::generous();
        install(&daemon, "by-others", &result, 0);
        let more = json!({"ipam": {"type": "by-others"}});
        assert_eq!(runtime(&daemon).refused(Verb::Add, &conf("1.0.0", &more))["code"], code);
        assert_eq!(verbs(&daemon), ["ADD", "DEL"]);
        assert!(daemon.asked().is_empty());
    }
}

#[test]
fn what_an_ipam_plugin_refuses_is_told_in_its_words() {
    let daemon = Daemon::generous();
    let said = json!({"cniVersion": "1.0.0", "code": 103, "msg": "no address left", "details": "of 253"});
    install(&daemon, "by-others", &said, 1);
    let more = json!({"ipam": {"type": "by-others"}});
    let refused = runtime(&daemon).refused(Verb::Add, &conf("1.0.0", &more));
    assert_eq!(
        refused,
        json!({"cniVersion": "1.1.0", "code": 103, "msg": "IPAM plugin by-others: no address left",
            "details": "of 253"})
    );
    assert!(daemon.asked().is_empty());
}

#[test]
fn an_ipam_plugin_that_is_missing_is_named() {
    let daemon = Daemon::generous();
    let refused = |ipam: &str| {
        let more = json!({"ipam": {"type": ipam}});
        runtime(&daemon).refused(Verb::Add, &conf("1.0.0", &more))
    };
    let missing = refused("azure-vnet-ipam");
    assert_eq!(missing["code"], 7);
    assert!(missing["msg"].as_str().unwrap().contains("azure-vnet-ipam"), "{missing}");
    assert!(refused("../bin/sh")["msg"].as_str().unwrap().contains("not the file name of a plugin"));
    assert!(daemon.asked().is_empty());
}

#[test]
fn the_port_goes_before_the_address_is_given_back() {
    let daemon = Daemon::start(|line, body| match line {
        _ if line.starts_with("DELETE") => (500, json!({"ErrorCode": 0x8000_4005_u32, "Error": "stuck"})),
        "POST /v2/endpoints" => (201, endpoint(body)),
        _ => (500, Value::Null),
    });
    install(&daemon, "by-others", &lease(), 0);
    let more = json!({"ipam": {"type": "by-others"}});
    assert_eq!(runtime(&daemon).refused(Verb::Del, &conf("1.0.0", &more))["code"], 100);
    assert!(calls(&daemon).is_empty(), "the address still answers on the port");
}
