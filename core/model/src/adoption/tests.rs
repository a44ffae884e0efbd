use super::*;
use crate::ModelError;

fn bridge(name: &str, ports: &[(&str, Device)]) -> Bridge {
    Bridge {
        name: name.parse().unwrap(),
        mac: Mac::new([2, 0, 0, 0, 0, 1]),
        mtu: Mtu::ETHERNET,
        addresses: BTreeSet::new(),
        routers: BTreeSet::new(),
        ports: ports.iter().map(|(name, device)| (name.parse().unwrap(), device.clone())).collect(),
    }
}

fn on(lower: &str, device: Device) -> Device {
    Device::On { lower: lower.parse().unwrap(), device: Box::new(device) }
}

const CABLE: Device = Device::Veth { leads_elsewhere: true };
const PATCH: Device = Device::Veth { leads_elsewhere: false };

#[test]
fn which_ports_lead_to_a_lan() {
    let rows = [
        ("eth0", Device::Hardware, true),
        ("wlan0", Device::Hardware, true),
        ("bond0", Device::Bond, true),
        ("team0", Device::Team, true),
        // The adapter of a host that is a container, and the far ends of containers'.
        ("eth0", CABLE, true),
        ("enp1s0", CABLE, true),
        ("veth12ab34c", CABLE, false),
        ("vb-machine", CABLE, false),
        ("eth0", PATCH, false),
        ("eth0.7", on("eth0", Device::Hardware), true),
        ("lan7", on("bond0.7", on("bond0", Device::Bond)), true),
        ("eth0.7", on("eth0", CABLE), true),
        ("eth0.7", on("veth1", CABLE), false),
        ("eth0.7", on("dummy0", Device::Other), false),
        ("tap0", Device::Other, false),
    ];
    for (name, device, leads) in rows {
        assert_eq!(
            is_external_switch(&bridge("CORP", &[(name, device.clone())])),
            leads,
            "{name}: {device:?}"
        );
    }
    assert!(!is_external_switch(&bridge("CORP", &[])));
    assert!(is_external_switch(&bridge("CORP", &[("tap0", Device::Other), ("eth0", Device::Hardware)])));
}

#[test]
fn bridges_of_programs_are_not_adopted_whatever_is_in_them() {
    let theirs = [
        "docker0",
        "docker_gwbridge",
        "br-0123456789ab",
        "virbr0",
        "virbr17",
        "incusbr0",
        "lxdbr0",
        "lxcbr0",
        "cni0",
        "cbr0",
        "cni-podman0",
        "podman0",
        "podman12",
        "nerdctl0",
        "kube-bridge",
        "weave",
        "hns0a1b2c3d",
    ];
    let others =
        ["CORP", "br0", "br-lan", "br-0123456789a", "br-wlan", "vmbr0", "docker1", "cni0x", "bridge0"];
    for (names, adopted) in [(&theirs[..], false), (&others[..], true)] {
        for name in names {
            assert_eq!(is_external_switch(&bridge(name, &[("eth0", Device::Hardware)])), adopted, "{name}");
        }
    }
}

fn corp(addresses: &[&str], routers: &[&str]) -> Bridge {
    Bridge {
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        routers: routers.iter().map(|router| router.parse().unwrap()).collect(),
        ..bridge("CORP", &[("eth0", Device::Hardware)])
    }
}

/// A world with ids that count.
struct Scene {
    world: World,
    ids: u8,
}

impl Scene {
    fn new() -> Self {
        Self { world: World::default(), ids: 0 }
    }

    fn follow(&mut self, seen: &[Bridge]) -> Followed {
        let followed = self.world.follow_bridges(seen);
        for id in &followed.idle {
            self.world.forget_network(*id).unwrap();
        }
        assert!(!self.world.is_behind(seen));
        followed
    }

    fn corp(&self) -> &Network {
        self.world.network(network_id(&"CORP".parse().unwrap())).unwrap()
    }

    /// With addresses, whose prefix length may be said.
    fn endpoint(&mut self, addresses: &[&str]) -> Result<Guid, ModelError> {
        let configured = |address: &&str| match address.split_once('/') {
            Some((ip, length)) => {
                serde_json::json!({"IpAddress": ip, "PrefixLength": length.parse::<u8>().unwrap()})
            }
            None => serde_json::json!({"IpAddress": address}),
        };
        let document = serde_json::json!({
            "HostComputeNetwork": self.corp().id().to_string(),
            "IpConfigurations": addresses.iter().map(configured).collect::<Vec<_>>(),
        });
        self.ids += 1;
        let id = Guid::from_bytes([self.ids; 16]);
        self.world.reserve_endpoint(hcn::Endpoint::from_v2(&document).unwrap(), id)
    }
}

#[test]
fn a_bridge_is_a_network_with_the_prefixes_of_the_host_on_it() {
    let mut scene = Scene::new();
    let seen = [corp(
        &["198.18.0.1/24", "198.18.0.77/32", "198.18.0.5/25", "fd00::1/64", "fd00::abcd/64"],
        &["198.18.0.254", "fe80::1"],
    )];
    let followed = scene.follow(&seen);
    let corp = scene.corp();
    assert_eq!(followed.appeared, [corp.id()]);
    let prefixes: Vec<String> = corp.prefixes().map(|prefix| prefix.to_string()).collect();
    assert_eq!(prefixes, ["198.18.0.0/24", "fd00::/64"]);
    let gateways: Vec<IpAddr> = corp.gateways().map(|(_, gateway)| gateway).collect();
    assert_eq!(gateways, ["198.18.0.254".parse::<IpAddr>().unwrap()]);
    assert_eq!((corp.name(), corp.kind()), ("CORP", NetworkType::Transparent));
    assert!(!corp.has_host_port() && corp.uplink().is_none() && corp.is_present());
    // What the host and the router have is nobody else's.
    for taken in ["198.18.0.1", "198.18.0.77", "198.18.0.254", "fd00::abcd"] {
        let refused = scene.endpoint(&[taken]);
        assert!(matches!(refused, Err(ModelError::AddressTaken { .. })), "{taken}: {refused:?}");
    }
    scene.endpoint(&["198.18.0.101"]).unwrap();
}

#[test]
fn a_network_follows_its_bridge_and_goes_with_it_unless_it_is_used() {
    let mut scene = Scene::new();
    let seen = [corp(&["198.18.0.1/24"], &[])];
    scene.follow(&seen);
    assert_eq!(scene.follow(&seen), Followed::default());
    assert_eq!(scene.follow(&[]).idle.len(), 1);
    assert_eq!(scene.world.networks().count(), 0);

    scene.follow(&seen);
    let web = scene.endpoint(&["198.18.0.101"]).unwrap();
    let moved = [corp(&["198.18.0.1/24", "10.5.0.1/16"], &["198.18.0.254"])];
    let followed = scene.follow(&moved);
    assert_eq!((followed.changed.len(), followed.renumbered.len()), (1, 1));
    assert!(matches!(scene.endpoint(&["198.18.0.101"]), Err(ModelError::AddressTaken { .. })));
    // Without addresses the prefixes stay; without the bridge, the network does, for its endpoint.
    scene.follow(&[corp(&[], &[])]);
    assert_eq!(scene.corp().prefixes().count(), 2);
    assert_eq!(scene.follow(&[]), Followed::default());
    assert!(!scene.corp().is_present());
    assert_eq!(scene.follow(&seen).changed.len(), 1);
    let jumbo = [Bridge { mtu: Mtu::new(9000).unwrap(), ..seen[0].clone() }];
    let followed = scene.follow(&jumbo);
    assert_eq!((followed.changed.len(), followed.renumbered.len()), (1, 0));
    assert_eq!(scene.corp().mtu().bytes(), 9000);
    assert!(scene.corp().is_present());
    scene.follow(&[]);
    scene.world.forget_endpoint(web).unwrap();
    assert_eq!(scene.follow(&[]).idle.len(), 1);
}

/// A host may have its bridge later than its daemon.
#[test]
fn rules_do_not_go_with_the_bridge() {
    let mut scene = Scene::new();
    let seen = [corp(&["198.18.0.1/24"], &[])];
    scene.follow(&seen);
    let id = scene.corp().id();
    let rule = serde_json::json!({"Type": "NetworkACL", "Settings": {"Action": "Block", "Direction": "In"}});
    let rule = hcn::Network::from_v2(&serde_json::json!({"Policies": [rule]})).unwrap().policies;
    scene.world.change_network_policies(id, hcn::RequestType::Add, &rule).unwrap();
    assert_eq!(scene.follow(&[]), Followed::default());
    scene.follow(&seen);
    assert_eq!(scene.corp().policies(), rule);
    scene.world.change_network_policies(id, hcn::RequestType::Remove, &rule).unwrap();
    assert_eq!(scene.follow(&[]).idle, [id]);
}

#[test]
fn a_bridge_is_the_same_network_after_a_restart_and_another_one_on_another_host() {
    let seen = corp(&["198.18.0.1/24", "fd00::1/64"], &[]);
    let document = |seen: &Bridge| {
        let mut scene = Scene::new();
        scene.follow(std::slice::from_ref(seen));
        scene.corp().document().clone()
    };
    let here = document(&seen);
    assert_eq!(document(&seen), here);
    let there = document(&Bridge { mac: Mac::new([2, 0, 0, 0, 0, 2]), ..seen });
    assert_ne!(there.mac_pool, here.mac_pool);
    assert_ne!(there.params.ip_range, here.params.ip_range);
    assert_eq!(there.id, here.id);
}

#[test]
fn a_network_of_the_same_name_was_there_first() {
    let mut scene = Scene::new();
    let document = serde_json::json!({"Name": "CORP", "Type": "Internal"});
    let mut fresh = || Guid::from_bytes([99; 16]);
    let mut around =
        crate::Surroundings { id: Guid::from_bytes([98; 16]), fresh_id: &mut fresh, routes: &[] };
    let ours =
        scene.world.reserve_network(hcn::Network::from_v2(&document).unwrap(), &mut around).unwrap().id();
    let seen = [corp(&["198.18.0.1/24"], &[])];
    assert_eq!(scene.follow(&seen), Followed::default());
    let missed: Vec<_> = scene.world.missed_bridges().map(|(name, id)| (name.to_string(), id)).collect();
    assert_eq!(missed, [("CORP".to_owned(), ours)]);
    scene.world.forget_network(ours).unwrap();
    assert!(scene.world.is_behind(&seen));
    assert_eq!(scene.follow(&seen).appeared.len(), 1);
    assert_eq!(scene.world.missed_bridges().count(), 0);
}

#[test]
fn addresses_of_a_lan_are_not_given_out_unless_there_is_room_for_chance() {
    let mut scene = Scene::new();
    scene.follow(&[corp(&["198.18.0.1/24", "fd00::1/64", "fd00:1::1/120"], &[])]);
    let refused = scene.endpoint(&[]);
    assert!(matches!(refused, Err(ModelError::AddressNeeded { family: Family::V4, .. })), "{refused:?}");
    let id = scene.endpoint(&["198.18.0.101"]).unwrap();
    let [v4, v6] = [0, 1].map(|n| scene.world.endpoint(id).unwrap().addresses().nth(n).unwrap());
    let ranges = &scene.corp().document().params.ip_range;
    assert_eq!((v4.to_string(), ranges.len()), ("198.18.0.101/24".to_owned(), 1));
    assert!(ranges[0].length() == 112 && ranges[0].contains(v6.address()) && v6.length() == 64);
    // Docker's IPAM asks for an address of the network before there is an endpoint.
    let wish =
        |family| crate::PoolWish { family, prefix: None, range: None, network: Some("CORP".to_owned()) };
    let pools =
        [Family::V4, Family::V6].map(|family| scene.world.open_pool(&wish(family), Guid::ZERO, &[]).unwrap());
    let [leased4, leased6] = pools.map(|pool| scene.world.lease(&pool, None, crate::LeasePurpose::Holder));
    assert!(matches!(leased4, Err(ModelError::AddressNeeded { .. })), "{leased4:?}");
    let leased6 = leased6.unwrap();
    let ranges = &scene.corp().document().params.ip_range;
    assert!(ranges[0].contains(leased6.address()) && leased6.address() != v6.address(), "{leased6}");
}

#[test]
fn where_the_host_has_no_address_prefixes_are_said() {
    let mut scene = Scene::new();
    scene.follow(&[corp(&[], &[])]);
    assert!(matches!(scene.endpoint(&[]), Err(ModelError::AddressNeeded { .. })));
    let refused = scene.endpoint(&["198.18.0.101"]).unwrap_err().to_string();
    assert!(refused.contains("IpConfigurations[0].PrefixLength") && refused.contains("CORP"), "{refused}");
    let web = scene.endpoint(&["198.18.0.101/24"]).unwrap();
    assert!(matches!(scene.endpoint(&["198.18.0.101/24"]), Err(ModelError::AddressTaken { .. })));
    // What an endpoint has, it keeps when the host tells the prefix, too, and when it is gone others may have it.
    scene.follow(&[corp(&["198.18.0.1/24"], &[])]);
    assert!(matches!(scene.endpoint(&["198.18.0.101"]), Err(ModelError::AddressTaken { .. })));
    scene.world.forget_endpoint(web).unwrap();
    let web = scene.endpoint(&["198.18.0.101"]).unwrap();
    scene.world.forget_endpoint(web).unwrap();
    let far = scene.endpoint(&["10.1.1.1/16"]).unwrap();
    scene.world.forget_endpoint(far).unwrap();
    scene.endpoint(&["10.1.1.1/16"]).unwrap();
}
