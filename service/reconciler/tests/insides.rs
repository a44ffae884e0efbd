//! The engine looks into containers, and tells without touching anything.

#![expect(clippy::unwrap_used, reason = "a rig that cannot be built fails the test")]

use std::path::PathBuf;
use std::sync::Arc;

use hns_datapath::FakeDatapath;
use hns_hcn::{Endpoint, Namespace, Network};
use hns_host::{BridgeNetfilter, FakeHost, Finding, Host, Level, Scope};
use hns_net::{Guid, IfName};
use hns_reconciler::{DefaultNetwork, Engine, EngineSettings};
use hns_resolver::FakeResolver;
use hns_store::MemoryStore;
use hns_wireguard::FakeWireguard;
use serde_json::json;

fn engine(host: &FakeHost) -> Arc<Engine> {
    let settings = EngineSettings {
        namespaces: PathBuf::from("/run/hns/netns"),
        default_network: DefaultNetwork::Suppressed,
        bridge_netfilter: BridgeNetfilter::Auto,
        boot_id: "boot".to_owned(),
    };
    Engine::start(
        Arc::new(host.clone()),
        Arc::new(FakeDatapath::new()),
        Arc::new(FakeResolver::new()),
        Arc::new(FakeWireguard::new()),
        Arc::new(MemoryStore::new()),
        settings,
    )
    .unwrap()
}

/// Endpoints of one network, each in a namespace of its own: their ids and ports.
fn endpoints(engine: &Engine, count: usize) -> Vec<(Guid, IfName)> {
    let network = json!({"Name": "lan", "Type": "NAT",
        "Ipams": [{"Subnets": [{"IpAddressPrefix": "10.7.0.0/16"}]}]});
    let network = engine.create_network(Network::from_v2(&network).unwrap()).unwrap().id.unwrap();
    let one = |_| {
        let namespace = Namespace::from_v2(&json!({"Type": "Host"})).unwrap();
        let namespace = engine.create_namespace(namespace).unwrap().id.unwrap();
        let document =
            json!({"HostComputeNetwork": network.to_string(), "HostComputeNamespace": namespace.to_string()});
        let id = engine.create_endpoint(Endpoint::from_v2(&document).unwrap()).unwrap().id.unwrap();
        let port = engine.world().endpoint(id).unwrap().attachment().unwrap().port.clone();
        (id, port)
    };
    (0..count).map(one).collect()
}

fn insides(engine: &Engine) -> Vec<Finding> {
    engine.diagnose().unwrap().into_iter().filter(|finding| finding.check == "inside").collect()
}

#[test]
fn what_a_container_changed_is_told_and_stays_as_it_is() {
    let host = FakeHost::new();
    let engine = engine(&host);
    let (id, port) = endpoints(&engine, 2).remove(1);
    assert_eq!(engine.examine_endpoint(id).unwrap().differences, []);
    host.change_inside(&port, |vnic| {
        vnic.up = false;
        vnic.addresses.clear();
    });
    let before = host.observe(&Scope::Everything).unwrap();
    for _ in 0..2 {
        let examination = engine.examine_endpoint(id).unwrap();
        let said: Vec<String> = examination.differences.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["eth0 is down", "address 10.7.0.3/16 is missing"]);
        assert_eq!((examination.trouble, examination.addresses), (None, Vec::new()));
    }
    let found = insides(&engine);
    assert_eq!(found[0].detail, "looked into 2 of 2 containers");
    assert_eq!((found.len(), found[1].level), (2, Level::Warn));
    assert_eq!(found[1].detail, format!("endpoint {id}: eth0 is down; address 10.7.0.3/16 is missing"));
    assert_eq!(host.observe(&Scope::Everything).unwrap(), before);
    engine.delete_endpoint(id).unwrap();
    assert!(engine.examine_endpoint(id).is_err());
}

#[test]
fn an_examination_of_the_whole_host_has_an_end() {
    let host = FakeHost::new();
    let engine = engine(&host);
    endpoints(&engine, 203);
    assert_eq!(insides(&engine)[0].detail, "looked into 200 of 203 containers");
}
