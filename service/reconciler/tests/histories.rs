//! Random histories of requests against the fake host: after each the host shows exactly what the objects
//! ask for, a request that fails leaves no trace, and a restart finds everything that was acknowledged.

#![expect(clippy::unwrap_used, reason = "a rig that cannot be built fails the test")]

#[path = "histories/gateway.rs"]
mod gateway;
#[path = "histories/remote.rs"]
mod remote;
#[path = "histories/rig.rs"]
mod rig;

use std::path::Path;

use hns_datapath::FakeDatapath;
use hns_hcn::{self as hcn, EndpointResource, ModifyRequest, NamespaceResource, NetworkResource};
use hns_host::Host;
use hns_model::{LeasePurpose, PoolWish, network_id};
use hns_net::Guid;
use hns_reconciler::{Admission, Engine, EngineError, WantedNetwork};
use hns_testbed::eventually;
use proptest::prelude::*;
use serde_json::{Value, json};

use rig::{Rig, corp};

const NAMESPACES: &str = "/run/hns/netns";

#[derive(Debug, Clone)]
enum Request {
    CreateNetwork {
        kind: usize,
        v6: bool,
    },
    DeleteNetwork(usize),
    CreateNamespace(Place),
    DeleteNamespace(usize),
    CreateEndpoint {
        network: usize,
        namespace: Option<usize>,
        port: u16,
        quiet: bool,
    },
    DeleteEndpoint(usize),
    Attach {
        endpoint: usize,
        namespace: usize,
    },
    Detach(usize),
    Publish {
        endpoint: usize,
        port: u16,
        add: bool,
    },
    /// A rule of the endpoint names the set.
    Name {
        endpoint: usize,
        set: usize,
        add: bool,
    },
    /// Sets, rules and defaults of a network.
    Network {
        network: usize,
        change: NetworkChange,
        add: bool,
    },
    /// An engine asks for the vNIC, to move it by itself.
    Join(usize),
    Leave(usize),
    /// The administrator gives the host other addresses on his bridge, makes it anew, or deletes it.
    Bridge(u16),
    /// A runtime's whole request: a network of this name, a namespace at this place.
    Admit {
        network: usize,
        place: usize,
        port: u16,
    },
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Ours,
    Given,
    Host,
}

#[derive(Debug, Clone)]
enum NetworkChange {
    Set { set: usize, member: u8 },
    Rule { set: usize },
    Defaults,
}

fn network_change() -> impl Strategy<Value = NetworkChange> {
    prop_oneof![
        4 => (0usize..2, 0u8..3).prop_map(|(set, member)| NetworkChange::Set { set, member }),
        1 => (0usize..2).prop_map(|set| NetworkChange::Rule { set }),
        1 => Just(NetworkChange::Defaults),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let n = 0usize..6;
    prop_oneof![
        2 => (0usize..8, any::<bool>()).prop_map(|(kind, v6)| Request::CreateNetwork { kind, v6 }),
        1 => n.clone().prop_map(Request::DeleteNetwork),
        2 => prop_oneof![Just(Place::Ours), Just(Place::Given), Just(Place::Host)].prop_map(Request::CreateNamespace),
        1 => n.clone().prop_map(Request::DeleteNamespace),
        6 => (n.clone(), prop::option::of(0usize..6), 0u16..4, prop::bool::weighted(0.2)).prop_map(
            |(network, namespace, port, quiet)| Request::CreateEndpoint { network, namespace, port, quiet }),
        2 => n.clone().prop_map(Request::DeleteEndpoint),
        3 => (n.clone(), 0usize..6).prop_map(|(endpoint, namespace)| Request::Attach { endpoint, namespace }),
        2 => n.clone().prop_map(Request::Detach),
        2 => n.clone().prop_map(Request::Join),
        1 => n.clone().prop_map(Request::Leave),
        2 => (0u16..3).prop_map(Request::Bridge),
        3 => (0usize..2, 0usize..3, 0u16..4).prop_map(|(network, place, port)| Request::Admit { network, place, port }),
        3 => (n.clone(), 0usize..2, any::<bool>()).prop_map(|(endpoint, set, add)| Request::Name { endpoint, set, add }),
        6 => (n.clone(), network_change(), prop::bool::weighted(0.7)).prop_map(
            |(network, change, add)| Request::Network { network, change, add }),
        3 => (n, 0u16..4, any::<bool>()).prop_map(|(endpoint, port, add)| Request::Publish { endpoint, port, add }),
    ]
}

/// What a client asks for.
fn asked() -> impl Strategy<Value = Request> {
    request().prop_filter("nobody asks for it", |request| !matches!(request, Request::Bridge(_)))
}

fn pick(ids: impl Iterator<Item = Guid>, n: usize) -> Guid {
    let ids: Vec<Guid> = ids.collect();
    if ids.is_empty() { Guid::ZERO } else { ids[n % ids.len()] }
}

fn mapping(port: u16) -> Value {
    json!({ "Type": "PortMapping", "Settings": { "Protocol": 6, "InternalPort": 80, "ExternalPort": 8000 + port } })
}

fn rule(kind: &str, set: usize) -> Value {
    json!({ "Type": kind, "Settings": { "Action": "Block", "Direction": "Out", "RemoteAddresses": format!("set-{set}") } })
}

fn change_network(engine: &Engine, id: Guid, change: &NetworkChange, add: bool) -> Result<(), EngineError> {
    let (resource, settings) = match change {
        NetworkChange::Set { set, member } => {
            let settings = json!({ "Id": format!("set-{set}"), "Values": format!("10.0.0.{member}") });
            ("Policy", json!({ "Policies": [{ "Type": "SetPolicy", "Settings": settings }] }))
        }
        NetworkChange::Rule { set } => ("Policy", json!({ "Policies": [rule("NetworkACL", *set)] })),
        NetworkChange::Defaults => ("AdditionalParams", json!({ "AclDefaultIn": "Block" })),
    };
    let verb = if add { "Add" } else { "Remove" };
    let request = json!({ "ResourceType": resource, "RequestType": verb, "Settings": settings });
    engine.modify_network(id, ModifyRequest::<NetworkResource>::from_v2(&request).unwrap()).map(drop)
}

/// On one of two external switches, which all such networks share.
fn on_the_lan(document: &mut Value, number: usize, tagged: bool, v6: bool) {
    let mut subnets = vec![json!({ "IpAddressPrefix": format!("10.200.{}.0/24", number % 200) })];
    if v6 {
        subnets.push(json!({ "IpAddressPrefix": format!("fd00:200:{}::/64", number % 200) }));
    }
    document["Ipams"] = json!([{ "Subnets": subnets }]);
    let mut policies =
        vec![json!({ "Type": "NetAdapterName", "Settings": { "NetworkAdapterName": "eth0" } })];
    if tagged {
        policies.push(json!({ "Type": "VLAN", "Settings": { "IsolationId": 7 } }));
    }
    document["Policies"] = Value::Array(policies);
}

/// Sends one request; objects are picked among those there are.
fn send(rig: &Rig, request: &Request, number: usize) -> Result<(), EngineError> {
    let engine = &rig.engine;
    let network = |n| pick(engine.world().networks().map(hns_model::Network::id), n);
    let endpoint = |n| pick(engine.world().endpoints().map(hns_model::Endpoint::id), n);
    let namespace = |n| pick(engine.world().namespaces().map(hns_model::Namespace::id), n);
    match request {
        Request::CreateNetwork { kind, v6 } => {
            let named = [
                "NAT",
                "Internal",
                "Private",
                "Transparent",
                "Transparent",
                "Transparent",
                "L2Bridge",
                "L2Tunnel",
            ][*kind];
            let mut document = json!({ "Name": format!("n{number}"), "Type": named, "AdditionalParams": { "EnableIPv6": v6 } });
            if matches!(named, "Transparent" | "L2Bridge" | "L2Tunnel") {
                on_the_lan(&mut document, number, *kind == 4, *v6);
            }
            if named == "L2Bridge" {
                document["Policies"] = json!([gateway::adapter()]);
                let route = json!({ "NextHop": format!("10.200.{}.1", number % 200), "DestinationPrefix": "0.0.0.0/0" });
                document["Ipams"][0]["Subnets"][0]["Routes"] = json!([route]);
            }
            if *kind == 5 {
                document["Ipams"] = json!([{ "Type": "Dhcp" }]);
                document["AdditionalParams"] = json!({});
            }
            engine.create_network(hcn::Network::from_v2(&document).unwrap()).map(drop)
        }
        Request::DeleteNetwork(n) => engine.delete_network(network(*n)),
        Request::CreateNamespace(place) => {
            let mut document = json!({});
            if matches!(place, Place::Host) {
                document = json!({ "Type": "HostDefault" });
            }
            if matches!(place, Place::Given) {
                let path = format!("/run/netns/given{number}");
                rig.host.add_foreign_namespace(&path);
                document = json!({ "AdditionalParams": { "Path": path } });
            }
            engine.create_namespace(hcn::Namespace::from_v2(&document).unwrap()).map(drop)
        }
        Request::DeleteNamespace(n) => engine.delete_namespace(namespace(*n)),
        Request::CreateEndpoint { network: on, namespace: joined, port, quiet } => {
            let mut document = json!({
                "HostComputeNetwork": network(*on).to_string(), "Flags": if *quiet { 2 } else { 0 },
                "Policies": if *port == 0 { json!([]) } else { json!([mapping(*port)]) },
            });
            if let Some(n) = joined {
                document["HostComputeNamespace"] = json!(namespace(*n).to_string());
                document["IpConfigurations"] = json!(gateway::of_host(engine, network(*on), namespace(*n)));
            }
            engine.create_endpoint(hcn::Endpoint::from_v2(&document).unwrap()).map(drop)
        }
        Request::DeleteEndpoint(n) => engine.delete_endpoint(endpoint(*n)),
        Request::Attach { endpoint: e, namespace: n } => {
            membership(engine, "Add", namespace(*n), endpoint(*e))
        }
        Request::Detach(n) => {
            let id = endpoint(*n);
            let joined = engine.world().endpoint(id).ok().and_then(|e| e.attachment()?.namespace());
            membership(engine, "Remove", joined.unwrap_or(Guid::ZERO), id)
        }
        Request::Publish { endpoint: e, port, add } => policy(engine, endpoint(*e), &mapping(*port), *add),
        Request::Name { endpoint: e, set, add } => policy(engine, endpoint(*e), &rule("ACL", *set), *add),
        Request::Network { network: n, change, add } => change_network(engine, network(*n), change, *add),
        Request::Join(n) => engine.join_endpoint(endpoint(*n), Path::new("/run/docker/netns/c1")).map(drop),
        Request::Leave(n) => engine.leave_endpoint(endpoint(*n)),
        Request::Bridge(addresses) => {
            change_bridge(rig, *addresses);
            Ok(())
        }
        Request::Admit { network, place, port } => {
            engine.admit_endpoint(admission(rig, *network, *place, *port)).map(drop)
        }
    }
}

/// Returns when the engine has followed.
fn change_bridge(rig: &Rig, addresses: u16) {
    if addresses == 0 {
        rig.host.remove_bridge(&corp(0).name);
    }
    let on_it = network_id(&corp(0).name);
    let is_used = rig.engine.world().endpoints().any(|endpoint| endpoint.network() == on_it);
    if addresses > 0 || is_used {
        rig.host.set_bridge(corp(addresses.max(1)));
    }
    let seen = rig.host.bridges().unwrap();
    eventually!(!rig.engine.world().is_behind(&seen) && rig.left_to_do().is_empty());
}

fn policy(engine: &Engine, endpoint: Guid, policy: &Value, add: bool) -> Result<(), EngineError> {
    let verb = if add { "Add" } else { "Remove" };
    let request =
        json!({ "ResourceType": "Policy", "RequestType": verb, "Settings": { "Policies": [policy] } });
    let request = ModifyRequest::<EndpointResource>::from_v2(&request).unwrap();
    engine.modify_endpoint(endpoint, request).map(drop)
}

fn admission(rig: &Rig, network: usize, place: usize, port: u16) -> Admission {
    let path = format!("/run/netns/lent{place}");
    rig.host.add_foreign_namespace(&path);
    let network = json!({ "Name": format!("shared{network}"), "Type": "NAT" });
    let policies = if port == 0 { json!([]) } else { json!([mapping(port)]) };
    Admission {
        network: Some(WantedNetwork::Like(Box::new(hcn::Network::from_v2(&network).unwrap()))),
        namespace: Some(hcn::Namespace::from_v2(&json!({ "AdditionalParams": { "Path": path } })).unwrap()),
        endpoint: hcn::Endpoint::from_v2(&json!({ "Policies": policies })).unwrap(),
    }
}

fn membership(engine: &Engine, verb: &str, namespace: Guid, endpoint: Guid) -> Result<(), EngineError> {
    let request = json!({
        "ResourceType": "Endpoint", "RequestType": verb, "Settings": { "EndpointId": endpoint.to_string() },
    });
    let request = ModifyRequest::<NamespaceResource>::from_v2(&request).unwrap();
    engine.modify_namespace(namespace, &request).map(drop)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_host_shows_what_the_objects_ask_for(history in prop::collection::vec(request(), 1..40)) {
        let rig = Rig::beside_a_bridge();
        for (number, request) in history.iter().enumerate() {
            let before = rig.documents();
            if send(&rig, request, number).is_err() {
                prop_assert_eq!(rig.documents(), before, "{:?} was refused and changed something", request);
            }
            rig.check();
        }
        let before = rig.documents();
        let again = rig.restarted();
        prop_assert_eq!(again.documents(), before, "a restart lost or invented something");
        again.check();
    }

    #[test]
    fn a_request_that_fails_on_the_host_leaves_no_trace(
        history in prop::collection::vec(request(), 1..25), last in asked(), call in 0usize..6,
    ) {
        let rig = Rig::beside_a_bridge();
        for (number, request) in history.iter().enumerate() {
            let _ = send(&rig, request, number);
        }
        let (documents, observed) = (rig.documents(), rig.observed());
        rig.host.fail_next(call);
        let outcome = send(&rig, &last, 1000);
        // Behind the answer the reaper and the courier make calls too: the fault may still be pending.
        rig.host.fail_next(1 << 40);
        if outcome.is_err() {
            prop_assert_eq!(rig.documents(), documents, "{:?}", last);
            let now = rig.observed();
            prop_assert_eq!((now.ports, now.switches, now.namespaces), (observed.ports, observed.switches, observed.namespaces));
            prop_assert_eq!(now.policies, observed.policies);
            prop_assert_eq!(now.rules.unwrap_or_default(), observed.rules.unwrap_or_default());
            prop_assert_eq!(now.chains, observed.chains);
        }
        let again = rig.restarted();
        again.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_request_that_fails_on_the_datapath_leaves_no_trace(
        history in prop::collection::vec(request(), 1..25), last in asked(), call in 0usize..5,
    ) {
        let rig = Rig::beside_a_bridge();
        for (number, request) in history.iter().enumerate() {
            let _ = send(&rig, request, number);
        }
        let documents = rig.documents();
        rig.datapath.fail_next(call);
        let outcome = send(&rig, &last, 1000);
        // Behind the answer connections are collected: the fault may still be pending.
        rig.datapath.fail_next(1 << 40);
        if outcome.is_err() {
            prop_assert_eq!(rig.documents(), documents, "{:?}", last);
        }
        // A filter that could not be changed is put right behind the answer.
        eventually!(rig.left_to_do().is_empty());
        rig.restarted().check();
    }
}

#[test]
fn a_namespace_that_was_lent_leaves_the_books_with_its_last_endpoint() {
    let rig = Rig::new();
    let made = [0, 0].map(|network| rig.engine.admit_endpoint(admission(&rig, network, 0, 0)).unwrap());
    let namespace = made[0].namespace.unwrap();
    assert_eq!(made[1].namespace, Some(namespace), "one path is one namespace");
    rig.engine.delete_endpoint(made[0].id.unwrap()).unwrap();
    assert!(rig.engine.world().namespace(namespace).is_ok());
    rig.engine.delete_endpoint(made[1].id.unwrap()).unwrap();
    assert!(rig.engine.world().namespace(namespace).is_err());
    // A network goes with its endpoints, and so do the namespaces they were lent.
    let last = rig.engine.admit_endpoint(admission(&rig, 0, 0, 0)).unwrap();
    rig.engine.delete_network(last.network.unwrap()).unwrap();
    assert_eq!(rig.engine.world().namespaces().count(), 0);
    let again = rig.restarted();
    assert_eq!(again.engine.world().namespaces().count(), 0);
}

#[test]
fn a_namespace_out_of_sight_for_a_moment_is_not_lost() {
    for call in 0..8 {
        let rig = Rig::new();
        let first = rig.engine.admit_endpoint(admission(&rig, 0, 0, 0)).unwrap();
        let second = admission(&rig, 1, 0, 0);
        rig.host.fail_next(call);
        // Granted or not, it concerns the second alone.
        let _ = rig.engine.admit_endpoint(second);
        rig.host.fail_next(1 << 40);
        let world = rig.engine.world();
        let there = world.endpoint(first.id.unwrap()).unwrap().document();
        assert_eq!(there.namespace, first.namespace, "call {call}");
    }
}

#[test]
fn an_endpoint_whose_sandbox_died_with_its_link_is_collected() {
    let rig = Rig::new();
    let network = json!({ "Name": "n", "Type": "NAT" });
    let network = rig.engine.create_network(hcn::Network::from_v2(&network).unwrap()).unwrap().id.unwrap();
    let document = json!({ "HostComputeNetwork": network.to_string(), "Policies": [mapping(1)] });
    let document = hcn::Endpoint::from_v2(&document).unwrap();
    let subnet = rig.engine.world().network(network).unwrap().prefixes().next().unwrap();
    let wish = PoolWish { family: subnet.family(), prefix: Some(subnet), range: None, network: None };
    let pool = rig.engine.open_pool(&wish).unwrap();
    let sandboxes = ["/run/docker/netns/lives", "/run/docker/netns/died"];
    rig.host.add_foreign_namespace(sandboxes[0]);
    let [lives, died] = sandboxes.map(|sandbox| {
        let mut document = document.clone();
        document.policies.clear();
        let leased = rig.engine.lease_address(&pool, None, LeasePurpose::Holder).unwrap();
        document.addresses = vec![hcn::IpConfiguration::of(leased.address(), leased.length())];
        let id = rig.engine.create_endpoint(document).unwrap().id.unwrap();
        let link = rig.engine.join_endpoint(id, Path::new(sandbox)).unwrap();
        assert_eq!(rig.engine.join_endpoint(id, Path::new(sandbox)).unwrap(), link, "asked twice, done once");
        let port = rig.engine.world().endpoint(id).unwrap().attachment().unwrap().port.clone();
        rig.host.delete_link(&port);
        id
    });
    let again = rig.restarted();
    assert!(again.engine.world().endpoint(died).is_err());
    let world = again.engine.world();
    assert!(world.endpoint(lives).unwrap().trouble().is_some_and(|trouble| trouble.contains("restart")));
    assert_eq!(world.lease_book(&pool).unwrap().leases().count(), 1, "its address went with it");
}

#[test]
fn an_endpoint_whose_sandbox_goes_after_its_link_is_collected() {
    let rig = Rig::new();
    let network = json!({ "Name": "n", "Type": "NAT" });
    let network = rig.engine.create_network(hcn::Network::from_v2(&network).unwrap()).unwrap().id.unwrap();
    let document = hcn::Endpoint::from_v2(&json!({ "HostComputeNetwork": network.to_string() })).unwrap();
    let [lives, died] = ["/run/docker/netns/lives", "/run/docker/netns/died"].map(|sandbox| {
        rig.host.add_foreign_namespace(sandbox);
        let id = rig.engine.create_endpoint(document.clone()).unwrap().id.unwrap();
        rig.engine.join_endpoint(id, Path::new(sandbox)).unwrap();
        let port = rig.engine.world().endpoint(id).unwrap().attachment().unwrap().port.clone();
        rig.host.delete_link(&port);
        id
    });
    let is_in_trouble = |id| rig.engine.world().endpoint(id).is_ok_and(|there| there.trouble().is_some());
    eventually!(is_in_trouble(lives) && is_in_trouble(died));
    // Docker has a namespace at the path of a dead container's sandbox while it tidies up, and tells nobody that it goes.
    rig.host.remove_foreign_namespace("/run/docker/netns/died");
    eventually!(rig.engine.world().endpoint(died).is_err());
    assert!(is_in_trouble(lives));
}

/// What cannot be filtered is not opened, and is tried again.
#[test]
fn a_port_whose_filter_fails_stays_closed_until_it_has_one() {
    let Rig { host, resolver, store, engine, .. } = {
        let rig = Rig::new();
        let endpoint = Request::CreateEndpoint { network: 0, namespace: Some(0), port: 0, quiet: false };
        let requests =
            [Request::CreateNetwork { kind: 0, v6: false }, Request::CreateNamespace(Place::Ours), endpoint];
        requests.iter().enumerate().for_each(|(number, request)| send(&rig, request, number).unwrap());
        rig
    };
    let (id, port) = {
        let world = engine.world();
        let endpoint = world.endpoints().next().unwrap();
        (endpoint.id(), endpoint.attachment().unwrap().port.clone())
    };
    drop(engine);
    host.delete_link(&port);
    // The first four ask what there is; the fifth sets the filter.
    let datapath = FakeDatapath::new().fail_on_call(4);
    let engine = Rig::start(&host, &datapath, &resolver, &store).unwrap();
    let rig = Rig { host, datapath, resolver, store, engine };
    let trouble = || rig.engine.world().endpoint(id).unwrap().trouble().map(str::to_owned);
    let told = trouble();
    assert!(!rig.observed().ports[&port].up);
    assert!(told.is_some_and(|text| text.contains("filter")), "closed, and nobody is told");
    eventually!(rig.left_to_do().is_empty());
    eventually!(trouble().is_none());
}

#[test]
fn a_crash_at_any_call_converges_at_the_next_start() {
    // The fault stands for the death of the process: nothing after it happens, and a new engine starts.
    for call in 0..12 {
        let rig = Rig::new();
        for (number, request) in [
            Request::CreateNetwork { kind: 0, v6: true },
            Request::CreateNamespace(Place::Ours),
            Request::CreateEndpoint { network: 0, namespace: Some(0), port: 1, quiet: true },
        ]
        .iter()
        .enumerate()
        {
            send(&rig, request, number).unwrap();
        }
        let kept = rig.documents();
        rig.host.fail_next(call);
        let acknowledged =
            send(&rig, &Request::CreateEndpoint { network: 0, namespace: Some(0), port: 2, quiet: false }, 9);
        rig.host.fail_next(1 << 40);
        let expected = if acknowledged.is_ok() { rig.documents() } else { kept };
        let again = rig.restarted();
        assert_eq!(again.documents(), expected, "call {call}");
        again.check();
    }
}
