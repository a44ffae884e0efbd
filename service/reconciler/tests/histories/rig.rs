//! An engine on a fake host, and what must be true of the two after every request.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use hns_datapath::{Datapath, FakeDatapath};
use hns_host::{BridgeNetfilter, FakeHost, Host, Scope};
use hns_model::{Bridge, Device, Endpoint, LeaseKind};
use hns_net::{Guid, IfName, Mac, Mtu};
use hns_planner::{Observed, Step, compile, plan};
use hns_reconciler::{DefaultNetwork, Engine, EngineError, EngineSettings};
use hns_resolver::FakeResolver;
use hns_store::{MemoryStore, Store};
use hns_wireguard::FakeWireguard;
use serde_json::Value;

use super::{NAMESPACES, change_bridge};

/// A host, its records, and the engine that is running on them.
pub struct Rig {
    pub host: FakeHost,
    pub datapath: FakeDatapath,
    pub resolver: FakeResolver,
    pub store: Arc<dyn Store>,
    pub engine: Arc<Engine>,
}

/// A bridge of the administrator's, on which the host has as many addresses.
pub fn corp(addresses: u16) -> Bridge {
    let address = |n: u16| format!("fd00:250:{n}::1/64").parse().unwrap();
    Bridge {
        name: "CORP".parse().unwrap(),
        mac: Mac::new([2, 0, 0, 0, 250, 1]),
        mtu: Mtu::ETHERNET,
        addresses: (0..addresses).map(address).collect(),
        routers: BTreeSet::new(),
        ports: BTreeMap::from([("eth1".parse().unwrap(), Device::Hardware)]),
    }
}

impl Rig {
    pub fn new() -> Self {
        let (host, store) = (FakeHost::new(), Arc::new(MemoryStore::new()) as Arc<dyn Store>);
        host.add_adapter(&"eth0".parse().unwrap());
        host.add_adapter(&"eth2".parse().unwrap());
        Self::on(host, FakeResolver::new(), store)
    }

    /// Beside a bridge of the administrator's.
    pub fn beside_a_bridge() -> Self {
        let rig = Self::new();
        change_bridge(&rig, 1);
        rig
    }

    /// A daemon that starts on what another one left. It knows of no filter what that holds its port to.
    pub fn on(host: FakeHost, resolver: FakeResolver, store: Arc<dyn Store>) -> Self {
        let datapath = FakeDatapath::new();
        let engine = Self::start(&host, &datapath, &resolver, &store).unwrap();
        Self { host, datapath, resolver, store, engine }
    }

    pub fn restarted(self) -> Self {
        Self::on(self.host, self.resolver, self.store)
    }

    pub fn start(
        host: &FakeHost,
        datapath: &FakeDatapath,
        resolver: &FakeResolver,
        store: &Arc<dyn Store>,
    ) -> Result<Arc<Engine>, EngineError> {
        let settings = EngineSettings {
            namespaces: PathBuf::from(NAMESPACES),
            default_network: DefaultNetwork::Suppressed,
            bridge_netfilter: BridgeNetfilter::Auto,
            boot_id: "boot".to_owned(),
        };
        Engine::start(
            Arc::new(host.clone()),
            Arc::new(datapath.clone()),
            Arc::new(resolver.clone()),
            Arc::new(FakeWireguard::new()),
            Arc::clone(store),
            settings,
        )
    }

    pub fn observed(&self) -> Observed {
        // Links that wait for the reaper are neither asked for nor leaked.
        self.host.reap().unwrap();
        let shown = self.host.observe(&Scope::Everything).unwrap();
        let (policies, sets) = (self.datapath.held().unwrap(), self.datapath.held_sets().unwrap());
        let switch = |port: IfName| port.as_str().replacen("hnw", "hns", 1).parse().unwrap();
        let uplinks = self.datapath.held_uplinks().unwrap();
        let uplinks = uplinks.into_iter().map(|(port, held)| (switch(port), held.uplink)).collect();
        let overlays = self.datapath.held_overlays().unwrap();
        Observed { policies, sets, uplinks, overlays, ..shown }
    }

    pub fn left_to_do(&self) -> Vec<Step> {
        let desired = compile(&self.engine.world());
        plan(&desired, &self.observed()).steps
    }

    /// What the host shows and what the objects ask for are the same.
    #[track_caller]
    pub fn check(&self) {
        let desired = compile(&self.engine.world());
        let steps = self.left_to_do();
        assert!(steps.is_empty(), "left to do: {steps:#?}");
        let held = self.datapath.held().unwrap();
        assert!(held.keys().eq(desired.ports.keys()), "filters of ports that are gone: {held:#?}");
        let world = self.engine.world();
        let publishes = |endpoint: &&Endpoint| endpoint.port_mappings().next().is_some();
        let publishers: BTreeSet<Guid> = world.endpoints().filter(publishes).map(Endpoint::id).collect();
        let holders: BTreeSet<Guid> = self.host.held_ports().into_keys().collect();
        assert_eq!(holders, publishers, "who holds ports of the host, and who publishes some");
        let leased =
            world.endpoints().filter_map(|one| Some((one.mac()?, one.lease(LeaseKind::Dhcp)?.address()?)));
        assert_eq!(
            self.resolver
                .leases()
                .into_iter()
                .map(|(mac, address)| (mac, address.into()))
                .collect::<BTreeMap<_, _>>(),
            leased.collect(),
            "what the LAN's server has given, and who has it"
        );
        let asks = |one: &&Endpoint| {
            one.attachment().is_some() && world.network(one.network()).is_ok_and(hns_model::Network::has_dhcp)
        };
        assert!(world.endpoints().filter(asks).all(|one| one.lease(LeaseKind::Dhcp).is_some()));
    }

    /// Every object as it is shown to clients.
    pub fn documents(&self) -> BTreeMap<Guid, Value> {
        let world = self.engine.world();
        // Those that stand for nothing any more go a moment later.
        let networks = world.networks().filter(|network| !network.is_leaving());
        let networks = networks.map(|network| (network.id(), network.document().to_v2()));
        let endpoints = world.endpoints().map(|endpoint| (endpoint.id(), endpoint.document().to_v2()));
        let namespaces = world.namespaces().map(|namespace| (namespace.id(), namespace.document().to_v2()));
        networks.chain(endpoints).chain(namespaces).collect()
    }
}
