//! Leases of the LAN over time: renewed, lost, given again, whatever fails on the way.

#![expect(clippy::unwrap_used, reason = "a rig that cannot be built fails the test")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hns_datapath::FakeDatapath;
use hns_hcn::{Endpoint, ModifyRequest, Namespace, NamespaceResource, Network};
use hns_host::{BridgeNetfilter, FakeHost, Host};
use hns_model::{EndpointState, LeaseKind};
use hns_net::{Family, Guid, IfAddr, Mac};
use hns_planner::{Inside, port_of};
use hns_reconciler::{DefaultNetwork, Engine, EngineError, EngineSettings, HostThreads};
use hns_resolver::{Advertised, FakeResolver};
use hns_store::{MemoryStore, Store};
use hns_testbed::eventually;
use hns_wireguard::FakeWireguard;
use serde_json::{Value, json};

struct Rig {
    host: FakeHost,
    resolver: FakeResolver,
    store: Arc<dyn Store>,
    engine: Arc<Engine>,
    boot: &'static str,
}

impl Rig {
    fn new() -> Self {
        let host = FakeHost::new();
        host.add_adapter(&"eth0".parse().unwrap());
        Self::on(host, FakeResolver::new(), Arc::new(MemoryStore::new()), "boot")
    }

    fn on(host: FakeHost, resolver: FakeResolver, store: Arc<dyn Store>, boot: &'static str) -> Self {
        let settings = EngineSettings {
            namespaces: PathBuf::from("/run/hns/netns"),
            default_network: DefaultNetwork::Suppressed,
            bridge_netfilter: BridgeNetfilter::Auto,
            boot_id: boot.to_owned(),
        };
        let datapath = Arc::new(FakeDatapath::new());
        let (lan, records) = (Arc::new(resolver.clone()), Arc::clone(&store));
        let engine = Engine::start(
            Arc::new(host.clone()),
            datapath,
            lan,
            Arc::new(FakeWireguard::new()),
            records,
            settings,
        )
        .unwrap();
        Self { host, resolver, store, engine, boot }
    }

    fn restarted(self) -> Self {
        let boot = self.boot;
        Self::on(self.host, self.resolver, self.store, boot)
    }

    fn network(&self) -> Guid {
        self.network_of(&json!({}))
    }

    fn network_of(&self, params: &Value) -> Guid {
        let document = json!({"Name": "home", "Type": "Transparent", "AdditionalParams": params,
            "Policies": [{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}}]});
        self.engine.create_network(Network::from_v2(&document).unwrap()).unwrap().id.unwrap()
    }

    fn namespace(&self, name: &str) -> Guid {
        let path = format!("/run/netns/{name}");
        self.host.add_foreign_namespace(&path);
        let document = json!({"AdditionalParams": {"Path": path}});
        self.engine.create_namespace(Namespace::from_v2(&document).unwrap()).unwrap().id.unwrap()
    }

    fn endpoint(&self, network: Guid, name: &str) -> Result<Guid, EngineError> {
        let namespace = self.namespace(name);
        let document = json!({"HostComputeNetwork": network.to_string(), "Name": name,
            "HostComputeNamespace": namespace.to_string()});
        Ok(self.engine.create_endpoint(Endpoint::from_v2(&document).unwrap())?.id.unwrap())
    }

    /// Puts an endpoint into a namespace.
    fn attach(&self, id: Guid, namespace: Guid) -> Result<Namespace, EngineError> {
        let request = json!({"ResourceType": "Endpoint", "RequestType": "Add",
            "Settings": {"EndpointId": id.to_string()}});
        self.engine
            .modify_namespace(namespace, &ModifyRequest::<NamespaceResource>::from_v2(&request).unwrap())
    }

    fn mac(&self, id: Guid) -> Mac {
        self.engine.world().endpoint(id).unwrap().mac().unwrap()
    }

    fn addresses(&self, id: Guid) -> Vec<IfAddr> {
        self.engine.world().endpoint(id).unwrap().addresses().collect()
    }

    fn state(&self, id: Guid) -> EndpointState {
        let world = self.engine.world();
        world.state_of(world.endpoint(id).unwrap())
    }

    /// What the container has.
    fn inside(&self, id: Guid) -> Vec<IfAddr> {
        let port = {
            let world = self.engine.world();
            let endpoint = world.endpoint(id).unwrap();
            port_of(endpoint, world.network(endpoint.network()).unwrap(), &world).unwrap()
        };
        match self.host.look_inside(&port) {
            Ok(Inside::Here(vnic)) => vnic.addresses,
            // The look itself was the call that had to fail.
            _ => Vec::new(),
        }
    }
}

#[test]
fn a_lease_is_renewed_in_time_and_kept_over_a_restart() {
    let rig = Rig::new();
    let id = rig.endpoint(rig.network(), "web").unwrap();
    let had = rig.addresses(id);
    assert_eq!(rig.inside(id), had);
    for _ in 0..3 {
        rig.resolver.pass_time(310);
        let left = || {
            let world = rig.engine.world();
            world.endpoint(id).unwrap().lease(LeaseKind::Dhcp).unwrap().term.rest(rig.engine.now())
        };
        eventually!(left() == Some(600));
    }
    let rig = rig.restarted();
    assert_eq!((rig.addresses(id), rig.inside(id)), (had.clone(), had));
    assert_eq!(rig.state(id), EndpointState::AttachedSharing);
}

#[test]
fn a_lease_that_ends_leaves_the_container_and_there_is_another_one_when_there_is_a_server() {
    let rig = Rig::new();
    let id = rig.endpoint(rig.network(), "web").unwrap();
    let had = rig.addresses(id);
    rig.resolver.fall_silent(true);
    rig.resolver.pass_time(560);
    // Nobody answers, and there is still time.
    eventually!(rig.state(id) == EndpointState::Degraded);
    assert_eq!((rig.addresses(id), rig.inside(id)), (had.clone(), had.clone()));
    rig.resolver.pass_time(50);
    eventually!(rig.addresses(id).is_empty() && rig.inside(id).is_empty());
    assert_eq!(rig.state(id), EndpointState::Degraded);
    // A restart changes nothing of it.
    let rig = rig.restarted();
    assert!(rig.addresses(id).is_empty() && rig.inside(id).is_empty());
    eventually!(rig.state(id) == EndpointState::Degraded);
    rig.resolver.fall_silent(false);
    rig.resolver.pass_time(100);
    eventually!(rig.addresses(id) == had && rig.inside(id) == had);
    eventually!(rig.state(id) == EndpointState::AttachedSharing);
}

#[test]
fn an_address_that_the_server_takes_back_is_replaced() {
    let rig = Rig::new();
    let id = rig.endpoint(rig.network(), "web").unwrap();
    let had = rig.addresses(id);
    rig.resolver.give(Mac::new([2, 0, 0, 0, 0, 9]), v4(&had[0]));
    rig.resolver.pass_time(310);
    eventually!(!rig.addresses(id).is_empty() && rig.addresses(id) != had);
    eventually!(rig.inside(id) == rig.addresses(id));
}

/// Nothing tells how long a boot took.
#[test]
fn after_a_boot_a_lease_is_asked_for_anew() {
    let Rig { host, resolver, store, engine, .. } = {
        let rig = Rig::new();
        rig.endpoint(rig.network(), "web").unwrap();
        rig
    };
    let id = engine.world().endpoints().next().unwrap().id();
    drop(engine);
    let rig = Rig::on(host, resolver, store, "another boot");
    eventually!(rig.addresses(id).len() == 1 && rig.inside(id) == rig.addresses(id));
}

#[test]
fn an_attach_without_an_answer_leaves_nothing() {
    let rig = Rig::new();
    let network = rig.network();
    rig.resolver.fall_silent(true);
    let said = rig.endpoint(network, "web").unwrap_err();
    assert!(
        said.to_string().contains("\"home\" has no address for it from the LAN of adapter eth0"),
        "{said}"
    );
    assert_eq!(rig.engine.world().endpoints().count(), 0);
    assert_eq!(rig.engine.world().network(network).unwrap().endpoints().count(), 0);
}

/// Who cannot be attached anyway asks nobody for an address.
#[test]
fn no_address_is_asked_for_a_namespace_that_is_not_there() {
    let rig = Rig::new();
    let network = rig.network();
    rig.resolver.fall_silent(true);
    let nowhere = Guid::from_bytes([7; 16]);
    let document =
        json!({"HostComputeNetwork": network.to_string(), "HostComputeNamespace": nowhere.to_string()});
    let said = rig.engine.create_endpoint(Endpoint::from_v2(&document).unwrap()).unwrap_err();
    assert!(said.to_string().contains(&nowhere.to_string()) && !said.to_string().contains("LAN"), "{said}");
    let document = json!({"HostComputeNetwork": network.to_string()});
    let id = rig.engine.create_endpoint(Endpoint::from_v2(&document).unwrap()).unwrap().id.unwrap();
    let said = rig.attach(id, nowhere).unwrap_err();
    assert!(said.to_string().contains(&nowhere.to_string()) && !said.to_string().contains("LAN"), "{said}");
    // Docker's way is not open: it would come too late for its own address book.
    let said = rig.engine.join_endpoint(id, Path::new("/run/docker/netns/c1")).unwrap_err();
    assert!(said.to_string().contains("has no address"), "{said}");
}

/// Whatever fails while an address is taken away or given, the container ends up with what the endpoint shows.
#[test]
fn a_change_that_fails_is_tried_until_it_holds() {
    for call in 0..6 {
        let rig = Rig::new();
        let id = rig.endpoint(rig.network(), "web").unwrap();
        let had = rig.addresses(id);
        rig.resolver.fall_silent(true);
        rig.host.fail_next(call);
        rig.resolver.pass_time(610);
        eventually!(rig.addresses(id).is_empty());
        rig.host.fail_next(call);
        rig.resolver.fall_silent(false);
        let holds = || {
            rig.resolver.pass_time(1);
            rig.addresses(id) == had && rig.inside(id) == had
        };
        eventually!(holds());
        rig.host.fail_next(1 << 40);
        eventually!(holds() && rig.state(id) == EndpointState::AttachedSharing);
    }
}

/// Whoever has an address keeps it, and loses it at its end, however many wait for a server that does not answer.
#[test]
fn endpoints_without_a_server_keep_nobody_elses_lease_from_being_looked_after() {
    let rig = Rig::new();
    let network = rig.network();
    let many: Vec<_> = (0..140).map(|n| rig.endpoint(network, &format!("c{n}")).unwrap()).collect();
    rig.resolver.fall_silent(true);
    rig.resolver.keep_waiting(many.iter().map(|id| rig.mac(*id)));
    rig.resolver.pass_time(610);
    eventually!(within 20 s, many.iter().all(|id| rig.addresses(*id).is_empty()));
    rig.resolver.fall_silent(false);
    let ids: Vec<_> = (0..3).map(|n| rig.endpoint(network, &format!("web{n}")).unwrap()).collect();
    let left = |id: &Guid| {
        let world = rig.engine.world();
        world.endpoint(*id).unwrap().lease(LeaseKind::Dhcp).map(|lease| lease.term.rest(rig.engine.now()))
    };
    // They have all the seats that they get.
    eventually!(rig.resolver.waiting() == 64);
    rig.resolver.pass_time(310);
    eventually!(ids.iter().all(|id| left(id) == Some(Some(600))));
    rig.resolver.fall_silent(true);
    rig.resolver.pass_time(610);
    eventually!(ids.iter().all(|id| rig.addresses(*id).is_empty() && rig.inside(*id).is_empty()));
    rig.resolver.keep_waiting([]);
}

/// Whoever asks, when they are attached or when their lease has ended.
#[test]
fn what_a_server_gives_to_two_is_declined_by_the_second() {
    let rig = Rig::new();
    let network = rig.network();
    let twice = Ipv4Addr::new(198, 18, 0, 77);
    rig.resolver.give_to_everybody(twice);
    let ids: Vec<_> = std::thread::scope(|scope| {
        let (rig, names) = (&rig, 0..8);
        let asking: Vec<_> =
            names.map(|n| scope.spawn(move || rig.endpoint(network, &format!("c{n}")).unwrap())).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let all: BTreeSet<_> = ids.iter().flat_map(|id| rig.addresses(*id)).collect();
    assert_eq!((all.len(), rig.resolver.declined()), (8, BTreeSet::from([twice])));
    assert!(ids.iter().all(|id| rig.inside(*id) == rig.addresses(*id)));

    // Another one loses its own.
    let held = rig.addresses(ids[0]);
    let twice = v4(&held[0]);
    rig.resolver.give(Mac::new([2, 0, 0, 0, 0, 9]), v4(&rig.addresses(ids[1])[0]));
    rig.resolver.give_to_everybody(twice);
    rig.resolver.pass_time(310);
    let is_whole = || {
        rig.resolver.pass_time(1);
        let all: BTreeSet<_> = ids.iter().flat_map(|id| rig.addresses(*id)).collect();
        all.len() == 8 && rig.resolver.declined().contains(&twice)
    };
    eventually!(is_whole());
    assert_eq!(rig.addresses(ids[0]), held);
}

/// Of the host's own address as well, which it is told at the latest when it has it.
#[test]
fn what_the_host_has_is_declined_and_the_refusal_says_so() {
    let rig = Rig::new();
    let network = rig.network();
    let own = Ipv4Addr::new(198, 18, 0, 5);
    rig.host.add_address(&"eth0".parse().unwrap(), "198.18.0.5/24".parse().unwrap());
    rig.resolver.give_to_everybody(own);
    let id = rig.endpoint(network, "web").unwrap();
    assert_eq!(
        (rig.addresses(id)[0].to_string(), rig.resolver.declined()),
        ("198.18.0.1/24".to_owned(), BTreeSet::from([own]))
    );
}

/// Clients repeat what takes long, and each of them waits for the same endpoint.
#[test]
fn whoever_waits_for_one_endpoints_lease_keeps_no_thread_from_others() {
    let rig = Rig::new();
    let (network, namespace) = (rig.network(), rig.namespace("web"));
    let document = json!({"HostComputeNetwork": network.to_string()});
    let id = rig.engine.create_endpoint(Endpoint::from_v2(&document).unwrap()).unwrap().id.unwrap();
    rig.resolver.keep_waiting([rig.mac(id)]);
    let threads = HostThreads::start(2).unwrap();
    let run = |job: Box<dyn FnOnce() -> Result<Guid, EngineError> + Send>| {
        let threads = threads.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(threads.run(job))
        })
    };
    let rig = Arc::new(rig);
    let attach = |_| {
        let rig = Arc::clone(&rig);
        run(Box::new(move || rig.attach(id, namespace).map(|_| id)))
    };
    let asking: Vec<_> = (0..6).map(attach).collect();
    eventually!(rig.resolver.waiting() == 1);
    // All of them have begun when somebody answers those who come behind.
    let others: Vec<_> = (0..6)
        .map(|n| {
            let rig = Arc::clone(&rig);
            run(Box::new(move || Ok(rig.namespace(&format!("other{n}")))))
        })
        .collect();
    eventually!(others.iter().all(std::thread::JoinHandle::is_finished));
    assert!(asking.iter().all(|one| !one.is_finished()));
    rig.resolver.keep_waiting([]);
    asking.into_iter().for_each(|one| assert_eq!(one.join().unwrap().unwrap(), id));
    others.into_iter().for_each(|one| _ = one.join().unwrap().unwrap());
    assert_eq!(rig.inside(id).len(), 1);
}

fn v4(address: &IfAddr) -> Ipv4Addr {
    let IpAddr::V4(address) = address.address() else { unreachable!("it is of IPv4") };
    address
}

/// An endpoint needs the first family that its network asks for, and gets the other one whenever there is a router.
#[test]
fn addresses_of_ipv6_come_beside_those_of_ipv4_and_go_with_their_router() {
    let rig = Rig::new();
    let network = rig.network_of(&json!({"EnableIPv6": true}));
    let id = rig.endpoint(network, "web").unwrap();
    let families = || rig.addresses(id).iter().map(|address| address.family()).collect::<Vec<_>>();
    assert_eq!(families(), [Family::V4]);
    assert_eq!(rig.state(id), EndpointState::Degraded);
    rig.resolver.advertise(true);
    rig.resolver.pass_time(2);
    eventually!(families() == [Family::V4, Family::V6] && rig.state(id) == EndpointState::AttachedSharing);
    assert_eq!(rig.inside(id), rig.addresses(id));

    // Both are renewed, each by itself.
    let left = |kind| {
        let world = rig.engine.world();
        world.endpoint(id).unwrap().lease(kind).map(|lease| lease.term.rest(rig.engine.now()))
    };
    rig.resolver.pass_time(310);
    eventually!([LeaseKind::Dhcp, LeaseKind::Advertised].map(left) == [Some(Some(600)); 2]);
    rig.resolver.advertise(false);
    rig.resolver.pass_time(310);
    eventually!(left(LeaseKind::Dhcp) == Some(Some(600)));
    rig.resolver.pass_time(295);
    eventually!(families() == [Family::V4] && rig.inside(id) == rig.addresses(id));
    eventually!(rig.state(id) == EndpointState::Degraded);

    // From the start, and without IPv4.
    rig.resolver.advertise(true);
    let both = rig.endpoint(network, "both").unwrap();
    assert_eq!((rig.addresses(both).len(), rig.state(both)), (2, EndpointState::AttachedSharing));
    assert_eq!(rig.inside(both), rig.addresses(both));
    let had = rig.addresses(both);
    let rig = rig.restarted();
    assert_eq!((rig.addresses(both), rig.inside(both)), (had.clone(), had));
}

#[test]
fn an_endpoint_of_ipv6_alone_needs_a_router() {
    let rig = Rig::new();
    let network = rig.network_of(&json!({"EnableIPv6": true, "EnableIPv4": false}));
    let said = rig.endpoint(network, "web").unwrap_err();
    assert!(std::error::Error::source(&said).is_some_and(|why| why.to_string().contains("no IPv6 router")));
    assert!(said.hint().is_some_and(|hint| hint.contains("autonomous")), "{said}");
    assert_eq!(rig.engine.world().endpoints().count(), 0);
    rig.resolver.advertise(true);
    let id = rig.endpoint(network, "db").unwrap();
    assert_eq!(rig.addresses(id).iter().map(|address| address.family()).collect::<Vec<_>>(), [Family::V6]);
    assert_eq!((rig.inside(id), rig.resolver.leases().len()), (rig.addresses(id), 0));
}

impl Rig {
    /// Which kinds it has, and for how many seconds each.
    fn held(&self, id: Guid) -> Vec<(LeaseKind, u64)> {
        let (world, now) = (self.engine.world(), self.engine.now());
        let endpoint = world.endpoint(id).unwrap();
        endpoint.leases().map(|lease| (lease.kind(), lease.term.rest(now).unwrap())).collect()
    }

    fn trouble(&self, id: Guid) -> String {
        let world = self.engine.world();
        world.trouble_of(world.endpoint(id).unwrap()).unwrap_or_default().to_owned()
    }
}

/// On a LAN whose router leaves all addresses to a server.
#[test]
fn a_dhcpv6_servers_address_is_renewed_lost_given_again_and_given_back() {
    let rig = Rig::new();
    let network = rig.network_of(&json!({"EnableIPv6": true, "EnableIPv4": false}));
    rig.resolver.advertise_as(Some(Advertised::Managed));
    let said = rig.endpoint(network, "web").unwrap_err();
    assert!(std::error::Error::source(&said).is_some_and(|why| why.to_string().contains("no DHCPv6 server")));
    assert!(said.hint().is_some_and(|hint| hint.contains("port 547")), "{said}");
    assert_eq!(rig.engine.world().endpoints().count(), 0);

    rig.resolver.serve_dhcp6(true);
    let id = rig.endpoint(network, "db").unwrap();
    let both = |seconds| vec![(LeaseKind::Dhcp6, seconds), (LeaseKind::Advertised, seconds)];
    assert_eq!(rig.held(id), both(600));
    let had = rig.addresses(id);
    assert_eq!((had.len(), had[0].length(), rig.inside(id)), (1, 128, had.clone()));
    assert_eq!(rig.state(id), EndpointState::AttachedSharing);

    let rig = rig.restarted();
    assert_eq!((rig.addresses(id), rig.inside(id)), (had.clone(), had.clone()));
    rig.resolver.pass_time(310);
    eventually!(rig.held(id) == both(600));

    // A server without its notes takes the address away, and gives another one at once.
    rig.resolver.forget_dhcp6();
    rig.resolver.pass_time(310);
    eventually!(rig.held(id) == both(600) && rig.resolver.leases_dhcp6().len() == 1);
    eventually!(rig.inside(id) == had && rig.trouble(id).is_empty());

    // Nobody answers until it ends. The router's way stays.
    rig.resolver.serve_dhcp6(false);
    rig.resolver.pass_time(530);
    eventually!(rig.trouble(id).contains("not renewed"));
    rig.resolver.pass_time(75);
    eventually!(rig.addresses(id).is_empty() && rig.inside(id).is_empty());
    eventually!(rig.trouble(id).contains("DHCPv6"));
    eventually!(rig.held(id).iter().map(|(kind, _)| *kind).eq([LeaseKind::Advertised]));
    rig.resolver.serve_dhcp6(true);
    rig.resolver.pass_time(60);
    eventually!(rig.inside(id) == had && rig.state(id) == EndpointState::AttachedSharing);

    rig.engine.delete_endpoint(id).unwrap();
    assert!(rig.resolver.leases_dhcp6().is_empty());
}

#[test]
fn an_endpoint_with_another_address_does_without_a_dhcpv6_server_until_there_is_one() {
    for (params, has_ipv4) in
        [(json!({"EnableIPv6": true, "EnableIPv4": false}), false), (json!({"EnableIPv6": true}), true)]
    {
        let rig = Rig::new();
        let network = rig.network_of(&params);
        let router = if has_ipv4 { Advertised::Managed } else { Advertised::Both };
        rig.resolver.advertise_as(Some(router));
        let id = rig.endpoint(network, "web").unwrap();
        assert_eq!((rig.addresses(id).len(), rig.inside(id)), (1, rig.addresses(id)), "{params}");
        assert_eq!(rig.state(id), EndpointState::Degraded);
        assert!(rig.trouble(id).contains("no address for it"), "{}", rig.trouble(id));

        // A router that does not name it any more ends the wait.
        rig.resolver.advertise_as(Some(Advertised::Prefix));
        rig.resolver.pass_time(310);
        eventually!(rig.state(id) == EndpointState::AttachedSharing);
        rig.resolver.advertise_as(Some(Advertised::Both));
        rig.resolver.serve_dhcp6(true);
        rig.resolver.pass_time(310);
        let kinds = || rig.held(id).into_iter().map(|(kind, _)| kind).collect::<BTreeSet<_>>();
        eventually!(kinds().contains(&LeaseKind::Dhcp6));
        eventually!(
            rig.inside(id) == rig.addresses(id) && rig.addresses(id).len() == 2 + usize::from(has_ipv4)
        );
        // What a server has given stays, whatever the router says of others.
        rig.resolver.advertise_as(Some(Advertised::Prefix));
        rig.resolver.pass_time(310);
        eventually!(rig.held(id).iter().all(|(_, left)| *left == 600));
        assert!(kinds().contains(&LeaseKind::Dhcp6));
    }
}
