//! What a container says of itself is true: frames of others, of routers, of DHCP servers and of protocols that nobody asked
//! for reach nobody, whatever the network, and each is counted under its reason.

#[path = "guards/claims.rs"]
mod claims;
#[path = "guards/honest.rs"]
mod honest;
#[path = "guards/malformed.rs"]
mod malformed;
#[path = "guards/probes.rs"]
mod probes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use hns_testbed::raw::{self, Capture, Injector};
use hns_testbed::{Barrage, Netns, eventually, needs};
use hns_tests::story_support::{Scene, text};
use serde_json::{Value, json};

use probes::{MARK, Party, Probe, Town};

/// How often each frame is sent.
const TIMES: u64 = 3;
/// So long a frame may take through the programs of a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// A container, and how the others know it.
struct Resident {
    id: String,
    netns: Netns,
    party: Party,
}

/// A network with two containers, one of which lies; other networks; and ears in all places.
struct Street {
    scene: Scene,
    network: Value,
    neighbour: Resident,
    town: Town,
    /// Whether nothing leaves the network, whatever the guards.
    leads_nowhere: bool,
    ears: Vec<(&'static str, Capture)>,
}

impl Street {
    #[track_caller]
    fn new(options: &[&str]) -> Self {
        let scene = Scene::new();
        let network = scene.network("blue", 7, options);
        let others = [scene.network("green", 8, &[]), scene.network("quiet", 9, &["--type", "internal"])];
        let neighbour = resident(&scene, &network, "neighbour", &json!({}));
        let [other, internal] =
            [(0, "other"), (1, "internal")].map(|(at, name)| resident(&scene, &others[at], name, &json!({})));
        let switch = scene.switch(&network);
        let gateway = Party {
            mac: raw::mac_of(&scene.host.netns(), &switch),
            v4: Ipv4Addr::new(10, 7, 0, 1),
            v6: "fd00:7::1".parse().expect("an address"),
        };
        let host = Party { mac: gateway.mac, v4: scene.host.v4(), v6: scene.host.v6() };
        let outside = Party { mac: gateway.mac, v4: scene.outside.v4(), v6: scene.outside.v6() };
        let router = scene.lab.router();
        let ears = vec![
            ("the neighbour", Capture::open(&neighbour.netns)),
            ("the host, at the switch", Capture::at(&scene.host.netns(), &switch)),
            ("the host, at the LAN", Capture::at(&scene.host.netns(), "eth0")),
            ("another network's container", Capture::open(&other.netns)),
            ("an Internal network's container", Capture::open(&internal.netns)),
            ("the outside", Capture::open(&scene.outside.netns())),
            ("the LAN", Capture::open(&router.netns())),
        ];
        let (other, internal) = (other.party, internal.party);
        let own = neighbour.party;
        let town = Town { own, neighbour: own, gateway, other, internal, host, outside };
        let leads_nowhere = options.contains(&"internal") || options.contains(&"private");
        Self { scene, network, neighbour, town, leads_nowhere, ears }
    }

    /// A container that may say anything, and what it sees of the others.
    #[track_caller]
    fn liar(&self, name: &str, params: &Value) -> (Resident, Injector, Town) {
        let liar = resident(&self.scene, &self.network, name, params);
        let injector = Injector::open(&liar.netns, "eth0");
        let town = Town { own: liar.party, ..self.town };
        (liar, injector, town)
    }

    /// Whether the frame is for somebody beyond a network that leads nowhere.
    fn is_confined(&self, probe: &Probe) -> bool {
        const BEYOND: [&str; 3] = ["to the outside", "to another network", "to the Internal network"];
        self.leads_nowhere && BEYOND.iter().any(|to| probe.name.ends_with(to))
    }

    /// How many packets of the endpoint were dropped, by reason.
    #[track_caller]
    fn drops(&self, of: &Resident) -> BTreeMap<String, u64> {
        let drops = self.scene.get(&format!("/v2/drops?endpoint={}", of.id));
        let drops = drops.as_array().cloned().unwrap_or_default();
        let outward = drops.iter().filter(|drop| drop["Direction"] == "Out");
        outward.map(|drop| (text(drop, "Reason"), drop["Packets"].as_u64().unwrap_or_default())).collect()
    }

    /// Sends frames and says which of them are not dropped for their reason as often as they are sent, or for another.
    #[track_caller]
    fn miscounted(&self, liar: &Resident, injector: &Injector, probes: &[Probe]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut counted = self.drops(liar);
        for probe in probes {
            let mut expected = counted;
            if let Some(reason) = probe.reason {
                *expected.entry(reason.to_owned()).or_default() += TIMES;
            }
            say(injector, probe);
            let begin = Instant::now();
            counted = self.drops(liar);
            while counted != expected && begin.elapsed() < PATIENCE {
                counted = self.drops(liar);
            }
            if counted != expected {
                wrong.push(format!("{}: counted {counted:?}, not {expected:?}", probe.name));
            }
        }
        wrong
    }

    /// Where which frames were seen since the last call, by their numbers.
    fn heard(&self) -> BTreeMap<u32, BTreeSet<&'static str>> {
        let mut heard: BTreeMap<u32, BTreeSet<&'static str>> = BTreeMap::new();
        for (place, ear) in &self.ears {
            for number in ear.take().iter().filter_map(|frame| number(frame)) {
                heard.entry(number).or_default().insert(place);
            }
        }
        heard
    }
}

fn say(injector: &Injector, probe: &Probe) {
    for _ in 0..TIMES {
        injector.send(&probe.frame).expect("the interface is up");
    }
}

/// The number that a probe bears.
fn number(frame: &[u8]) -> Option<u32> {
    let at = frame.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    Some(u32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?))
}

#[track_caller]
fn resident(scene: &Scene, network: &Value, name: &str, params: &Value) -> Resident {
    let netns = scene.host.add_netns(name);
    let path = format!("/run/netns/{name}");
    let namespace = scene.hnsd.hnsctl_json(&["namespace", "create", name, "--path", &path]);
    let document = json!({
        "Name": name, "SchemaVersion": {"Major": 2, "Minor": 0}, "HostComputeNetwork": network["ID"],
        "HostComputeNamespace": namespace["ID"], "AdditionalParams": params,
    });
    let made =
        scene.hnsd.api().post("/v2/endpoints", &document).expect("the daemon answers").expect_success();
    let address = |at: usize| text(&made["IpConfigurations"][at], "IpAddress");
    let party = Party {
        mac: raw::mac(&text(&made, "MacAddress")),
        v4: address(0).parse().expect("IPv4 comes first"),
        v6: address(1).parse().expect("IPv6 comes second"),
    };
    Resident { id: text(&made, "ID"), netns, party }
}

#[track_caller]
fn nothing_is_wrong(wrong: &[String], of: usize) {
    assert!(wrong.is_empty(), "{} of {of} frames:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every lie reaches nobody and is counted; every truth passes, and is not.
#[track_caller]
fn lies_reach_nobody(options: &[&str]) {
    let street = Street::new(options);
    let (evil, injector, town) = street.liar("evil", &json!({}));
    let lies = probes::lies(&town, 0);
    let mut truths = honest::truths(&town, 10_000);
    let confined = truths.extract_if(.., |truth| street.is_confined(truth));
    let confined: Vec<Probe> = confined.map(|truth| Probe { reason: Some("confined"), ..truth }).collect();
    let mut wrong = street.miscounted(&evil, &injector, &lies);
    wrong.extend(street.miscounted(&evil, &injector, &truths));
    wrong.extend(street.miscounted(&evil, &injector, &confined));
    let mut heard = BTreeMap::new();
    let missing = |heard: &BTreeMap<u32, _>| -> Vec<String> {
        let silent = truths.iter().filter(|truth| !heard.contains_key(&truth.number));
        silent.map(|truth| format!("{}: arrived nowhere", truth.name)).collect()
    };
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE && (heard.is_empty() || !missing(&heard).is_empty()) {
        heard.append(&mut street.heard());
    }
    wrong.extend(missing(&heard));
    for lie in lies.iter().chain(&confined) {
        wrong.extend(heard.get(&lie.number).map(|places| format!("{}: arrived at {places:?}", lie.name)));
    }
    nothing_is_wrong(&wrong, lies.len() + truths.len());
    // Who lied still talks, under its own name, and others to whom it lied are not misled.
    for address in [IpAddr::V4(town.neighbour.v4), town.neighbour.v6.into()] {
        eventually!(evil.netns.ping(address));
    }
    if !options.contains(&"private") {
        for address in [IpAddr::V4(town.gateway.v4), town.gateway.v6.into()] {
            eventually!(evil.netns.ping(address));
            eventually!(street.neighbour.netns.ping(address));
        }
    }
}

#[test]
fn on_a_nat_network_lies_reach_nobody() {
    needs!(root, "nft", "ping");
    lies_reach_nobody(&[]);
}

#[test]
fn on_a_routed_network_lies_reach_nobody() {
    needs!(root, "nft", "ping");
    lies_reach_nobody(&["--gateway-mode", "routed"]);
}

#[test]
fn on_an_internal_network_lies_reach_nobody() {
    needs!(root, "nft", "ping");
    lies_reach_nobody(&["--type", "internal"]);
}

#[test]
fn on_a_private_network_lies_reach_nobody() {
    needs!(root, "nft", "ping");
    lies_reach_nobody(&["--type", "private"]);
}

/// What arrives nowhere even without guards: the bridge takes no frame from a group address, and keeps what is meant for
/// bridges alone.
const KEPT_BY_THE_BRIDGE: [&str; 6] = [
    "v4: the broadcast MAC to everybody",
    "v6: the broadcast MAC to everybody",
    "v4: a multicast MAC to everybody",
    "v6: a multicast MAC to everybody",
    "LLDP",
    "LACP",
];

/// Behind a tag that has no number a receiver finds what no guard has seen: whatever the guards, it passes nowhere.
fn is_hidden(lie: &Probe) -> bool {
    lie.name.ends_with("behind a tag of priority")
}

/// The lies are frames that somebody would see: without guards each arrives, but for those that can mean nothing to anybody.
#[track_caller]
fn lies_arrive_without_guards(options: &[&str]) {
    let street = Street::new(options);
    let (evil, injector, town) =
        street.liar("evil", &json!({"SpoofGuard": false, "RaGuard": false, "DhcpGuard": false}));
    let lies = probes::lies(&town, 0);
    lies.iter().for_each(|lie| say(&injector, lie));
    let of = |reason: &str| lies.iter().filter(|lie| lie.reason == Some(reason)).count() as u64 * TIMES;
    let confined = lies.iter().filter(|lie| street.is_confined(lie)).count() as u64 * TIMES;
    let hidden = lies.iter().filter(|lie| is_hidden(lie)).count() as u64 * TIMES;
    let expected = [("malformed", of("malformed")), ("confined", confined), ("ethertype", hidden)];
    let mut dropped = BTreeMap::from(expected.map(|(reason, packets)| (reason.to_owned(), packets)));
    dropped.retain(|_, packets| *packets > 0);
    eventually!(if street.drops(&evil) == dropped { Ok(()) } else { Err(street.drops(&evil)) });
    let arrives = |lie: &Probe| {
        let kept = KEPT_BY_THE_BRIDGE.contains(&lie.name.as_str());
        lie.reason != Some("malformed") && !kept && !street.is_confined(lie) && !is_hidden(lie)
    };
    let mut heard = BTreeSet::new();
    eventually!({
        heard.extend(street.heard().into_keys());
        let wrong = lies.iter().filter(|lie| heard.contains(&lie.number) != arrives(lie));
        let wrong: Vec<_> = wrong.map(|lie| &lie.name).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:#?}")) }
    });
}

#[test]
fn on_a_nat_network_lies_arrive_without_guards() {
    needs!(root, "nft");
    lies_arrive_without_guards(&[]);
}

#[test]
fn on_a_routed_network_lies_arrive_without_guards() {
    needs!(root, "nft");
    lies_arrive_without_guards(&["--gateway-mode", "routed"]);
}

#[test]
fn on_an_internal_network_lies_arrive_without_guards() {
    needs!(root, "nft");
    lies_arrive_without_guards(&["--type", "internal"]);
}

#[test]
fn on_a_private_network_lies_arrive_without_guards() {
    needs!(root, "nft");
    lies_arrive_without_guards(&["--type", "private"]);
}

#[test]
fn without_one_guard_the_others_hold() {
    needs!(root, "nft");
    let street = Street::new(&[]);
    for (begin, guard, own) in [
        (0, "SpoofGuard", &["spoofed-mac", "spoofed-ip", "spoofed-arp", "spoofed-nd", "ethertype"][..]),
        (10_000, "RaGuard", &["rogue-ra"]),
        (20_000, "DhcpGuard", &["rogue-dhcp"]),
    ] {
        let (evil, injector, town) = street.liar(guard, &json!({ guard: false }));
        let held = probes::lies(&town, begin)
            .into_iter()
            .filter(|lie| !lie.reason.is_some_and(|why| own.contains(&why)));
        let mut expected = BTreeMap::new();
        for lie in held {
            say(&injector, &lie);
            *expected.entry(lie.reason.unwrap_or_default().to_owned()).or_default() += TIMES;
        }
        eventually!({
            let counted = street.drops(&evil);
            if counted == expected { Ok(()) } else { Err(format!("{guard}: {counted:?}, not {expected:?}")) }
        });
    }
    assert_eq!(street.heard(), BTreeMap::new());
}

#[test]
fn a_container_gains_nothing_by_changing_its_own_interface() {
    needs!(root, "nft", "ping");
    let street = Street::new(&[]);
    let (evil, _, town) = street.liar("evil", &json!({}));
    let neighbour = [IpAddr::V4(town.neighbour.v4), town.neighbour.v6.into()];
    let inside = |script: &str| {
        let done = evil.netns.command("sh").args(["-ec", script]).output().expect("sh runs");
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let is_silent = |why: &str, counted: &str| {
        let before = street.drops(&evil).get(counted).copied();
        for to in neighbour {
            assert!(!evil.netns.ping(to), "{why} is heard at {to}");
        }
        assert!(street.drops(&evil).get(counted).copied() > before, "{why}: {:?}", street.drops(&evil));
    };
    let (v4, v6) = (town.own.v4, town.own.v6);
    inside(
        "ip addr flush dev eth0 scope global
         ip addr add 10.7.0.99/24 dev eth0; ip -6 addr add fd00:7::99/64 dev eth0 nodad",
    );
    is_silent("an address of its own choice", "spoofed-arp");
    let own = format!(
        "ip addr flush dev eth0 scope global
         ip addr add {v4}/24 dev eth0; ip -6 addr add {v6}/64 dev eth0 nodad"
    );
    inside(&own);
    for to in neighbour {
        eventually!(evil.netns.ping(to));
    }
    inside("ip link set eth0 down; ip link set eth0 address 02:ee:00:00:00:01; ip link set eth0 up");
    inside(&own);
    is_silent("a station of its own choice", "spoofed-mac");
}

#[test]
fn a_filter_that_is_taken_off_comes_back_and_nothing_passes_meanwhile() {
    needs!(root, "nft", "ping");
    let street = Street::new(&[]);
    let (evil, injector, town) = street.liar("evil", &json!({}));
    let port = text(&street.scene.get(&format!("/v2/endpoints/{}", evil.id))["Health"]["Extra"], "Port");
    let lies = probes::lies(&town, 0);
    let frames: Vec<_> = lies.iter().map(|lie| (&injector, &lie.frame[..])).collect();
    Barrage::during(&frames, |barrage| {
        for _ in 0..100 {
            street.scene.host.sh(&format!("tc qdisc del dev {port} clsact"));
            let before = barrage.sent();
            eventually!(street.scene.host.sh(&format!("tc qdisc show dev {port}")).contains("ingress_block"));
            barrage.go_on(before, 1);
            eventually!(evil.netns.ping(town.neighbour.v4));
        }
    });
    assert_eq!(street.heard(), BTreeMap::new());
    let guard = street.scene.host.sh("nft list counter bridge hns unfiltered_drops");
    assert!(!guard.contains("packets 0 "), "the bridge's guard was never asked: {guard}");
}

/// The same of what comes to a container whose policy lets nothing in: the host's own frames, to it and to everybody.
#[test]
fn a_lock_that_is_taken_off_comes_back_and_nothing_comes_in_meanwhile() {
    needs!(root, "nft", "ping");
    let street = Street::new(&[]);
    let (shut, _, town) = street.liar("shut", &json!({"AclDefaultIn": "Block"}));
    let port = text(&street.scene.get(&format!("/v2/endpoints/{}", shut.id))["Health"]["Extra"], "Port");
    // As if the host's rules had let them in.
    let switch = Injector::open(&street.scene.host.netns(), &street.scene.switch(&street.network))
        .marked(hns_abi::MARK_RULED);
    let frames: Vec<_> = [(town.own.mac, town.own.v4), (raw::EVERYBODY, Ipv4Addr::new(10, 7, 0, 255))]
        .into_iter()
        .map(|(mac, to)| {
            let link = raw::Link { to: mac, from: town.gateway.mac };
            let payload = [&MARK[..], &[0; 4]].concat();
            link.packet(&raw::udp((town.gateway.v4.into(), 4000), (to.into(), 9), &payload))
        })
        .collect();
    let ear = Capture::open(&shut.netns);
    let frames: Vec<_> = frames.iter().map(|frame| (&switch, &frame[..])).collect();
    Barrage::during(&frames, |barrage| {
        for lock in ["clsact", "root"].repeat(50) {
            street.scene.host.sh(&format!("tc qdisc del dev {port} {lock}"));
            let before = barrage.sent();
            eventually!({
                let locks = street.scene.host.sh(&format!("tc qdisc show dev {port}"));
                let both = locks.contains("egress_block") && locks.contains("htb 467: root");
                if both { Ok(()) } else { Err(locks) }
            });
            barrage.go_on(before, 1);
            eventually!(shut.netns.ping(town.neighbour.v4));
        }
    });
    assert_eq!(ear.take().iter().filter_map(|frame| number(frame)).count(), 0, "came in");
}
