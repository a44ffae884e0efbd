//! What one daemon exports, another imports: the same networks, namespaces and endpoints, by the same documents.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

use hns_testbed::{Hnsd, Host, Lab, eventually, needs, tcp};
use serde_json::{Value, json};

/// A host with a daemon that has no network yet, and a container that both hosts have under one name.
fn daemon(host: &Host) -> Hnsd {
    let _kept_by_its_name = host.add_netns("given");
    Hnsd::builder(host).env("HNS_DEFAULT_NETWORK", "false").start()
}

/// Something of every kind, in every state that an export can meet.
fn populate(hnsd: &Hnsd) {
    let mut api = hnsd.api();
    let web = json!({"Name": "web", "Type": "NAT", "Owner": "tests",
        "Dns": {"Domain": "lab.test", "Search": ["a.test", "b.test"], "ServerList": ["192.0.2.53"], "Options": ["ndots:2"]},
        "MacPool": {"Ranges": [{"StartMacAddress": "02-00-00-00-10-00", "EndMacAddress": "02-00-00-00-1F-FF"}]},
        "Ipams": [{"Subnets": [{"IpAddressPrefix": "10.21.0.0/24",
            "Routes": [{"NextHop": "10.21.0.254", "DestinationPrefix": "0.0.0.0/0"}]}, {"IpAddressPrefix": "fd00:21::/64"}]}],
        "AdditionalParams": {"Mtu": 1400, "IpRange": ["10.21.0.128/25"], "AuxAddresses": {"printer": "10.21.0.9"},
            "GatewayMode": {"IPv6": "routed"}, "Ours": {"kept": true}}});
    let web = api.post("/v2/networks", &web).unwrap().id();
    for kind in ["Internal", "Private"] {
        let _id = api.post("/v2/networks", &json!({"Name": kind, "Type": kind})).unwrap().id();
    }
    let temporary = json!({"Name": "temporary", "Flags": 8});
    let _id = api.post("/v2/networks", &temporary).unwrap().id();

    let given = json!({"Name": "pod", "AdditionalParams": {"Path": "/run/netns/given"}});
    let given = api.post("/v2/namespaces", &given).unwrap().id();
    let own = api.post("/v2/namespaces", &json!({"Type": "Host", "Owner": "tests"})).unwrap().id();
    let attached = json!({"Name": "server", "HostComputeNetwork": web, "HostComputeNamespace": given,
        "MacAddress": "02-00-00-00-17-42", "AdditionalParams": {"InterfaceName": "lan0", "GatewayPriority": 5},
        "IpConfigurations": [{"IpAddress": "10.21.0.7", "PrefixLength": 24}],
        "Policies": [{"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}},
            {"Type": "InterfaceParameters", "Settings": {"Mtu": 1300}}]});
    let _id = api.post("/v2/endpoints", &attached).unwrap().id();
    let in_own = json!({"HostComputeNetwork": web, "HostComputeNamespace": own});
    let _id = api.post("/v2/endpoints", &in_own).unwrap().id();
    let _id = api.post("/v2/endpoints", &json!({"Name": "loose", "HostComputeNetwork": web})).unwrap().id();
}

/// An export without what belongs to the host and the moment: health, numbers of compartments, folders.
fn comparable(mut export: Value) -> Value {
    for list in ["Networks", "Namespaces", "Endpoints"] {
        for object in export[list].as_array_mut().unwrap() {
            let fields = object.as_object_mut().unwrap();
            fields.retain(|name, _| {
                !["Health", "NamespaceId", "NamespaceGuid", "State"].contains(&name.as_str())
            });
            if let Some(path) = object["AdditionalParams"].get_mut("Path") {
                *path = json!(path.as_str().unwrap().rsplit('/').next().unwrap());
            }
        }
    }
    export
}

#[test]
fn an_export_is_imported_whole_and_twice_is_once() {
    needs!(root, "nft");
    let lab = Lab::new();
    let (old, new, outside) = (lab.host("old"), lab.host("new"), lab.host("outside"));
    let (from, to) = (daemon(&old), daemon(&new));
    populate(&from);
    let file = lab.folder().join("export.json");
    let file = file.to_str().unwrap();
    from.hnsctl(&["export", file]);

    let said = to.hnsctl(&["import", file]);
    assert_eq!(said.lines().filter(|line| line.contains("created")).count(), 9, "{said}");
    let exported = from.hnsctl_json(&["export"]);
    assert_eq!(exported["Networks"].as_array().unwrap().len(), 4);
    assert_eq!(exported["Endpoints"].as_array().unwrap().len(), 3);
    let imported = to.hnsctl_json(&["export"]);
    assert_eq!(comparable(imported.clone()), comparable(exported));

    // What was imported works as it did where it came from.
    let _server = tcp::Echo::serve(&new.netns_at("/run/netns/given"), "0.0.0.0:80");
    eventually!(within 5 s, tcp::ask(&outside.netns(), (new.v4(), 8080)));

    let again = to.hnsctl(&["import", file]);
    assert_eq!(again.lines().filter(|line| line.ends_with("is there")).count(), 9, "{again}");
    assert_eq!(to.hnsctl_json(&["export"]), imported);
}

#[test]
fn endpoints_of_the_default_network_move_to_the_default_network_there() {
    needs!(root, "nft");
    let lab = Lab::new();
    let (from, to) = (Hnsd::start(&lab.island("old")), Hnsd::start(&lab.island("new")));
    let mut api = from.api();
    let nat = api.get("/v2/networks").unwrap().expect_success()[0]["ID"].clone();
    let mut endpoint =
        api.post("/v2/endpoints", &json!({"HostComputeNetwork": nat})).unwrap().expect_success();
    let file = lab.folder().join("export.json");
    let file = file.to_str().unwrap();
    from.hnsctl(&["export", file]);

    let said = to.hnsctl(&["import", file]);
    assert!(said.contains("is there under another id"), "{said}");
    let mut api = to.api();
    let nat_there = api.get("/v2/networks").unwrap().expect_success()[0]["ID"].clone();
    assert_ne!(nat_there, nat);
    let path = format!("/v2/endpoints/{}", endpoint["ID"].as_str().unwrap());
    endpoint["HostComputeNetwork"] = nat_there;
    assert_eq!(api.get(&path).unwrap().expect_success(), endpoint);
}

#[test]
fn an_import_names_what_it_could_not_create_and_does_the_rest() {
    needs!(root, "nft");
    let lab = Lab::new();
    let (from, to) = (daemon(&lab.island("old")), daemon(&lab.island("new")));
    populate(&from);
    let file = lab.folder().join("export.json");
    let file = file.to_str().unwrap();
    from.hnsctl(&["export", file]);
    // Its container does not exist on the new host, so neither the namespace nor the endpoint in it can.
    to.host().sh("ip netns del given");

    let finished = to.try_hnsctl(&["import", file]);
    assert!(!finished.success(), "{finished}");
    assert!(
        finished.stdout.contains("pod: failed") && finished.stdout.contains("server: failed"),
        "{finished}"
    );
    assert!(finished.stderr.contains("/run/netns/given"), "{finished}");
    let there = to.hnsctl_json(&["export"]);
    assert_eq!(there["Networks"].as_array().unwrap().len(), 4, "{there:#}");
    assert_eq!(there["Endpoints"].as_array().unwrap().len(), 2, "{there:#}");
}
