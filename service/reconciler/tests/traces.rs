//! A trace asks what is programmed, and the objects for the ways between ports.

#![expect(clippy::unwrap_used, reason = "a rig that cannot be built fails the test")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hns_abi::{Direction, Reason};
use hns_datapath::{Datapath, FakeDatapath, Next, Onward, Packet, Sighting};
use hns_hcn::{Endpoint, LiveTraceRequest, Namespace, Network, TraceRequest};
use hns_host::{BridgeNetfilter, FakeHost};
use hns_net::{Guid, IfAddr};
use hns_reconciler::{
    Beyond, DefaultNetwork, Engine, EngineError, EngineSettings, Fate, TableDrop, Trace, Untraceable,
};
use hns_resolver::FakeResolver;
use hns_store::MemoryStore;
use hns_vfp::Port;
use hns_wireguard::FakeWireguard;
use serde_json::{Value, json};

struct Rig {
    engine: Arc<Engine>,
    datapath: FakeDatapath,
}

impl Rig {
    fn new() -> Self {
        let settings = EngineSettings {
            namespaces: PathBuf::from("/run/hns/netns"),
            default_network: DefaultNetwork::Suppressed,
            bridge_netfilter: BridgeNetfilter::Auto,
            boot_id: "boot".to_owned(),
        };
        let datapath = FakeDatapath::new();
        let (host, store) = (Arc::new(FakeHost::new()), Arc::new(MemoryStore::new()));
        let engine = Engine::start(
            host,
            Arc::new(datapath.clone()),
            Arc::new(FakeResolver::new()),
            Arc::new(FakeWireguard::new()),
            store,
            settings,
        )
        .unwrap();
        Self { engine, datapath }
    }

    fn network(&self, kind: &str, number: u8, params: &Value) -> Guid {
        let prefix = |prefix: String| json!({"IpAddressPrefix": prefix});
        let subnets = [prefix(format!("10.{number}.0.0/24")), prefix(format!("fd00:{number}::/64"))];
        let document = json!({"Name": format!("{kind}{number}"), "Type": kind, "Ipams": [{"Subnets": subnets}],
            "AdditionalParams": params});
        self.engine.create_network(Network::from_v2(&document).unwrap()).unwrap().id.unwrap()
    }

    fn endpoint(&self, network: Guid, more: &Value) -> Guid {
        let namespace = Namespace::from_v2(&json!({"Type": "Host"})).unwrap();
        let namespace = self.engine.create_namespace(namespace).unwrap().id.unwrap();
        let mut document =
            json!({"HostComputeNetwork": network.to_string(), "HostComputeNamespace": namespace.to_string()});
        more.as_object().into_iter().flatten().for_each(|(key, value)| document[key] = value.clone());
        self.engine.create_endpoint(Endpoint::from_v2(&document).unwrap()).unwrap().id.unwrap()
    }

    fn try_trace(&self, from: Value, to: Value) -> Result<Trace, EngineError> {
        let request = TraceRequest::from_v2(&json!({"From": from, "To": to})).unwrap();
        self.engine.trace(&request)
    }

    #[track_caller]
    fn trace(&self, from: Value, to: Value) -> (Fate, Vec<Beyond>) {
        let trace = self.try_trace(from, to).unwrap();
        (trace.fate, trace.beyond)
    }
}

fn of(endpoint: Guid) -> Value {
    json!({"Endpoint": endpoint.to_string()})
}

fn at(address: &str, port: u16) -> Value {
    json!({"Address": address, "Port": port})
}

#[test]
fn what_is_programmed_counts_and_not_what_is_planned() {
    let rig = Rig::new();
    let network = rig.network("NAT", 7, &json!({}));
    let [web, db] = [(); 2].map(|()| rig.endpoint(network, &json!({})));
    assert_eq!(rig.trace(of(web), of(db)), (Fate::Delivered(db), vec![]));
    let port = rig.engine.world().endpoint(db).unwrap().attachment().unwrap().port.clone();
    let held = rig.datapath.port(&port).unwrap();
    rig.datapath.set_port(&port, &Arc::new(Port { blocked: true, ..held })).unwrap();
    let trace = rig.try_trace(of(web), of(db)).unwrap();
    assert_eq!(trace.fate, Fate::Dropped(Reason::Blocked));
    assert_eq!(trace.steps.last().map(|last| last.step.endpoint), Some(db));
    assert_eq!(rig.trace(of(db), of(web)).0, Fate::Dropped(Reason::Blocked));
    rig.datapath.remove_port(&port).unwrap();
    let refused = rig.try_trace(of(db), of(web)).unwrap_err();
    let unknown = Untraceable::NotProgrammed { field: "From.Endpoint", endpoint: db };
    assert!(matches!(&refused, EngineError::Untraceable(why) if *why == unknown), "{refused}");
    rig.datapath.fail_next(0);
    let failed = rig.try_trace(of(web), of(db)).unwrap_err();
    assert!(failed.is_internal() && failed.to_string().starts_with("cannot read"), "{failed}");
}

#[test]
fn routes_say_over_whom_a_packet_goes() {
    let rig = Rig::new();
    let network = rig.network("NAT", 7, &json!({}));
    let router = rig.endpoint(network, &json!({}));
    let via = rig.engine.world().endpoint(router).unwrap().addresses().next().unwrap().address();
    let route = json!({"DestinationPrefix": "192.0.2.0/24", "NextHop": via.to_string()});
    let web = rig.endpoint(network, &json!({"Routes": [route]}));
    assert_eq!(
        rig.trace(of(web), at("192.0.2.9", 80)),
        (Fate::Delivered(router), vec![Beyond::Router(router)])
    );
    let out = |to| rig.trace(of(web), to);
    let routed = vec![Beyond::Routed { translated: true }];
    assert_eq!(out(at("198.51.100.9", 80)), (Fate::Passed, routed.clone()));
    assert_eq!(out(at("2001:db8::9", 80)), (Fate::Passed, routed));
    assert_eq!(out(of(web)), (Fate::Unsent, vec![Beyond::Itself]));
    for to in ["10.7.0.255", "224.0.0.251", "ff02::fb"] {
        assert_eq!(out(json!({"Address": to})), (Fate::Passed, vec![Beyond::Everybody]), "{to}");
    }
    let nobody = "10.7.0.99".parse().unwrap();
    assert_eq!(out(at("10.7.0.99", 80)), (Fate::Unsent, vec![Beyond::Nobody(nobody)]));
}

#[test]
fn a_routed_network_is_entered_by_its_open_ports_and_a_private_one_not_at_all() {
    let rig = Rig::new();
    let routed = json!({"GatewayMode": {"IPv4": "routed", "IPv6": "nat"}});
    let open = rig.network("NAT", 7, &routed);
    let mapping = json!({"Type": "PortMapping", "Settings":
        {"InternalPort": 80, "ExternalPort": 8080, "Protocol": 6, "VIP": "", "Flags": 0}});
    let web = rig.endpoint(open, &json!({"Policies": [mapping]}));
    let other = rig.endpoint(rig.network("NAT", 8, &json!({})), &json!({}));
    let alone = rig.endpoint(rig.network("Private", 9, &json!({})), &json!({}));
    let to = |endpoint: Guid, port: u16| json!({"Endpoint": endpoint.to_string(), "Port": port});
    let client = json!({"Address": "192.0.2.1"});
    assert_eq!(rig.trace(client.clone(), to(web, 80)), (Fate::Delivered(web), vec![Beyond::ByOpenPort]));
    let closed = Fate::Refused(TableDrop::Closed);
    assert_eq!(rig.trace(client.clone(), to(web, 81)), (closed, vec![Beyond::NoMapping]));
    let way = vec![Beyond::OtherNetwork(web), Beyond::ByOpenPort];
    assert_eq!(rig.trace(of(other), to(web, 80)), (Fate::Delivered(web), way));
    let out = rig.trace(of(web), at("192.0.2.1", 80));
    assert_eq!(out, (Fate::Passed, vec![Beyond::Routed { translated: false }]));
    let shut = (Fate::Refused(TableDrop::Private), vec![Beyond::NoWay]);
    assert_eq!(rig.trace(client, to(alone, 80)), shut);
    assert_eq!(rig.trace(json!({"Address": "127.0.0.1"}), to(alone, 80)), shut);
}

#[test]
fn what_is_followed_is_between_the_ends_at_their_own_networks() {
    let rig = Rig::new();
    let network = rig.network("NAT", 7, &json!({}));
    let [web, db] = [(); 2].map(|()| rig.endpoint(network, &json!({})));
    let addresses = |endpoint: Guid| {
        let world = rig.engine.world();
        world.endpoint(endpoint).unwrap().addresses().map(IfAddr::address).collect::<Vec<_>>()
    };
    let (own, others) = (addresses(web), addresses(db));
    let packet = |source, destination, port| Packet {
        source: Some(source),
        destination: Some(destination),
        protocol: Some(6),
        source_port: Some(40000),
        destination_port: Some(port),
        ..Packet::default()
    };
    let see = |network, packet: &Packet| {
        rig.datapath.see(&Sighting {
            at: SystemTime::UNIX_EPOCH,
            endpoint: web,
            network,
            direction: Direction::Out,
            asked: None,
            observed: None,
            onward: Onward::Port(Some(db)),
            length: 74,
            packet: packet.clone(),
            missed: 0,
        });
    };
    let to = |document: Value| {
        let request = LiveTraceRequest::from_v2(&document).unwrap();
        rig.engine.trace_live(&request).unwrap()
    };
    let port_80 = to(json!({"From": of(web), "To": {"Endpoint": db.to_string(), "Port": 80}}));
    let by_address = to(json!({"From": {"Address": own[1].to_string()}}));
    assert_eq!(own.len(), 2, "both families");
    see(network, &packet(own[0], others[0], 80));
    see(network, &packet(own[1], others[1], 81));
    see(network, &packet(others[0], "192.0.2.1".parse().unwrap(), 80));
    see(Guid::ZERO, &packet(own[1], others[1], 80));
    for (stream, family) in [(port_80, 0), (by_address, 1)] {
        assert_eq!(stream.next_event().map(|seen| seen.packet.source), Some(Some(own[family])));
        assert_eq!(stream.next_within(Duration::from_millis(1)), Next::Nothing);
    }
}
