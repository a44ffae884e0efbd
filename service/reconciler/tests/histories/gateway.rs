//! Networks whose gateway the host is by an endpoint of its own, and what becomes of the ports of their containers when it comes and goes.

use hns_datapath::Datapath;
use hns_hcn::{self as hcn, NetworkType};
use hns_model::NamespaceOrigin;
use hns_net::Guid;
use hns_reconciler::{Engine, EngineError};
use hns_testbed::eventually;
use serde_json::{Value, json};

use super::membership;
use super::rig::Rig;

/// Of another type than the switch on the other adapter.
pub fn adapter() -> Value {
    json!({ "Type": "NetAdapterName", "Settings": { "NetworkAdapterName": "eth2" } })
}

/// What the host's own endpoint on such a network has: the address of its gateway.
pub fn of_host(engine: &Engine, network: Guid, namespace: Guid) -> Vec<Value> {
    let world = engine.world();
    let is_hosts = world.namespace(namespace).is_ok_and(|there| there.origin() == NamespaceOrigin::Host);
    let network =
        world.network(network).ok().filter(|there| is_hosts && there.kind() == NetworkType::L2Bridge);
    let gateways = network.into_iter().flat_map(|network| network.gateways().map(|(_, own)| own));
    gateways.map(|own| json!({ "IpAddress": own.to_string() })).collect()
}

struct Stage {
    rig: Rig,
    network: Guid,
    host: Guid,
}

impl Stage {
    /// A network with a container, and the host's own namespace.
    fn new() -> Self {
        let rig = Rig::new();
        let route = json!({ "NextHop": "10.244.1.1", "DestinationPrefix": "0.0.0.0/0" });
        let subnet = json!({ "IpAddressPrefix": "10.244.1.0/24", "Routes": [route] });
        let network = json!({ "Name": "pods", "Type": "L2Bridge", "Policies": [adapter()],
            "Ipams": [{ "Subnets": [subnet] }] });
        let network =
            rig.engine.create_network(hcn::Network::from_v2(&network).unwrap()).unwrap().id.unwrap();
        let [own, host] = [json!({}), json!({ "Type": "HostDefault" })].map(|namespace| {
            rig.engine.create_namespace(hcn::Namespace::from_v2(&namespace).unwrap()).unwrap().id.unwrap()
        });
        let stage = Self { rig, network, host };
        stage.endpoint(own, "10.244.1.7").unwrap();
        stage
    }

    fn endpoint(&self, namespace: Guid, address: &str) -> Result<Guid, EngineError> {
        let document = json!({ "HostComputeNetwork": self.network.to_string(),
            "HostComputeNamespace": namespace.to_string(), "IpConfigurations": [{ "IpAddress": address }] });
        let made = self.rig.engine.create_endpoint(hcn::Endpoint::from_v2(&document).unwrap())?;
        Ok(made.id.unwrap())
    }

    /// How many ports are behind the host, as they are programmed.
    #[track_caller]
    fn behind_host(&self, expected: usize) {
        self.rig.check();
        let held = self.rig.datapath.held().unwrap();
        assert_eq!(held.values().filter(|policy| policy.behind_host[0]).count(), expected);
    }
}

#[test]
fn ports_follow_the_hosts_own_endpoint() {
    let stage = Stage::new();
    let (engine, host) = (&stage.rig.engine, stage.host);
    stage.behind_host(0);
    let gateway = stage.endpoint(host, "10.244.1.1").unwrap();
    stage.behind_host(2);
    membership(engine, "Remove", host, gateway).unwrap();
    stage.behind_host(0);
    membership(engine, "Add", host, gateway).unwrap();
    stage.behind_host(2);
    engine.delete_namespace(host).unwrap();
    stage.behind_host(0);
    let again = json!({ "Type": "HostDefault" });
    let host = engine.create_namespace(hcn::Namespace::from_v2(&again).unwrap()).unwrap().id.unwrap();
    membership(engine, "Add", host, gateway).unwrap();
    stage.behind_host(2);
    engine.delete_endpoint(gateway).unwrap();
    stage.behind_host(0);
}

#[test]
fn ports_that_could_not_follow_do_so_behind_the_answer() {
    for call in 0..8 {
        let stage = Stage::new();
        stage.rig.datapath.fail_next(call);
        let made = stage.endpoint(stage.host, "10.244.1.1");
        stage.rig.datapath.fail_next(1 << 40);
        eventually!(stage.rig.left_to_do().is_empty());
        stage.behind_host(if made.is_ok() { 2 } else { 0 });
    }
}
