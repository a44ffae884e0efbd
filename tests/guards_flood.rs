//! A container that floods its network, with other stations, with questions, with half-open connections: nobody else notices,
//! and no table grows with what it says.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use hns_testbed::raw::{self, ARP, Capture, EVERYBODY, ICMPV6, Injector, Link};
use hns_testbed::{eventually, needs, tcp, udp};
use hns_tests::story_support::{Container, Scene, text};
use serde_json::{Value, json};

const STATIONS: u32 = 4_000;
/// How many are sent before they are counted: a processor that is busy queues 1,000 packets and no more (`netdev_max_backlog`).
const VOLLEY: u32 = 200;
const QUESTIONS: u32 = 10_000;
const HALF_OPEN: u32 = 1_000_000;
/// What there is room for in the table of half-open connections (`EMBRYONIC_MAX` in bpf/lib/abi.h).
const HALF_OPEN_MAX: usize = 65_536;
/// What a flood may add to the memory of the daemon, which has nothing to keep of it.
const MEMORY_KIB: u64 = 16 << 10;
const PACKETS_PER_SECOND: u32 = 1_000;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// More than ports may have at once, in both tables of connections.
const ANSWERED: u32 = 140_000;
/// Of the table of connections that last (`FLOWS_OF_A_PORT_MAX` in bpf/lib/abi.h).
const LASTING_OF_A_PORT_MAX: usize = 65_536;
/// As `LASTING_PACKETS` in bpf/lib/timeouts.h.
const PACKETS_OF_A_LASTING_ONE: usize = 16;

/// A network with a container that floods it, and two that talk to each other and to the gateway.
struct Street {
    scene: Scene,
    switch: String,
    evil: Container,
    injector: Injector,
    client: Container,
    server: Container,
}

/// What must not grow.
struct Tables {
    stations: BTreeSet<String>,
    neighbours: BTreeSet<String>,
}

impl Street {
    #[track_caller]
    fn new() -> Self {
        let scene = Scene::new();
        let network = scene.network("blue", 7, &[]);
        let [evil, client, server] =
            ["evil", "client", "server"].map(|name| scene.container("blue", name, &[]));
        let (switch, injector) = (scene.switch(&network), Injector::open(&evil.netns, "eth0"));
        Self { scene, switch, evil, injector, client, server }
    }

    /// The gateway's addresses.
    fn gateway() -> [IpAddr; 2] {
        [Ipv4Addr::new(10, 7, 0, 1).into(), Ipv6Addr::new(0xfd00, 7, 0, 0, 0, 0, 0, 1).into()]
    }

    /// Runs a flood while the others talk, and looks at what it left.
    #[track_caller]
    fn endure(&self, flood: impl FnOnce()) {
        let host = self.scene.host.netns();
        let ends: Vec<(_, IpAddr)> = (self.server.addresses().into_iter().map(|to| (&self.server.netns, to)))
            .chain(Self::gateway().map(|to| (&host, to)))
            .collect();
        let servers: Vec<_> = ends.iter().map(|(at, to)| udp::Echo::serve(at, (*to, 7))).collect();
        for server in &servers {
            eventually!(udp::ask(&self.client.netns, server.address()));
        }
        // Who floods is known under its own name before.
        for to in Self::gateway() {
            eventually!(self.evil.netns.ping(to));
        }
        let (before, memory) = (self.tables(), self.scene.hnsd.resident_kib());
        let streams: Vec<_> = servers
            .iter()
            .map(|server| udp::Stream::start(&self.client.netns, server.address(), PACKETS_PER_SECOND))
            .collect();
        flood();
        let after = self.tables();
        // The kernel may forget meanwhile, but learns nothing.
        let new: Vec<_> = (after.stations.difference(&before.stations))
            .chain(after.neighbours.difference(&before.neighbours))
            .collect();
        assert!(new.is_empty(), "{} new entries, among them {:?}", new.len(), &new[..new.len().min(5)]);
        // Whom nobody has asked for yet is found, too.
        let late = self.scene.container("blue", "late", &[]);
        for to in late.addresses().into_iter().chain(Self::gateway()) {
            eventually!(self.client.netns.ping(to));
            eventually!(self.scene.host.ping(late.like(to)));
        }
        for (stream, server) in streams.into_iter().zip(&servers) {
            let report = stream.stop();
            assert_eq!(report.lost, 0, "{}: {report:?}", server.address());
        }
        let grown = self.scene.hnsd.resident_kib().saturating_sub(memory);
        assert!(grown < MEMORY_KIB, "hnsd has grown by {grown} KiB");
    }

    /// Which stations the switch knows, and which neighbours the host knows on it.
    #[track_caller]
    fn tables(&self) -> Tables {
        let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
        let of = |command: &str| self.scene.host.sh(command).lines().map(first).collect();
        Tables {
            stations: of(&format!("bridge fdb show br {}", self.switch)),
            neighbours: of(&format!(
                "ip neigh show dev {}; ip -6 neigh show dev {}",
                self.switch, self.switch
            )),
        }
    }

    /// How many packets of the flooder were dropped, by reason.
    #[track_caller]
    fn dropped(&self) -> Vec<(String, u64)> {
        let drops = self.scene.get(&format!("/v2/drops?endpoint={}", self.evil.id));
        let drops = drops.as_array().cloned().unwrap_or_default();
        drops
            .iter()
            .map(|drop| (text(drop, "Reason"), drop["Packets"].as_u64().unwrap_or_default()))
            .collect()
    }
}

#[test]
fn a_container_with_thousands_of_stations_fills_no_table() {
    needs!(root, "nft", "ping");
    let street = Street::new();
    street.endure(|| {
        for number in 0..STATIONS {
            let [_, _, high, low] = number.to_be_bytes();
            let link = Link { to: EVERYBODY, from: [2, 0xee, 0, 0, high, low] };
            let ends = ((street.evil.v4().into(), 4000), (Ipv4Addr::BROADCAST.into(), 9));
            street
                .injector
                .send(&link.packet(&raw::udp(ends.0, ends.1, b"lie")))
                .expect("the interface is up");
            if (number + 1) % VOLLEY == 0 {
                let all = vec![("spoofed-mac".to_owned(), u64::from(number + 1))];
                eventually!(if street.dropped() == all { Ok(()) } else { Err(street.dropped()) });
            }
        }
    });
}

/// An honest container may ask for everybody; who is not there is asked for in vain.
#[test]
fn a_container_that_asks_for_thousands_fills_no_table() {
    needs!(root, "nft", "ping");
    let street = Street::new();
    let own = street.evil.mac();
    let heard = Capture::at(&street.evil.netns, "eth0");
    street.endure(|| {
        for number in 0..QUESTIONS {
            // The first ones are the network's own.
            let [_, _, high, low] = number.to_be_bytes();
            let link = Link { to: EVERYBODY, from: own };
            let target = Ipv4Addr::new(10, 7, high, low);
            let question = raw::arp(1, (own, street.evil.v4()), ([0; 6], target));
            street.injector.send(&link.frame(ARP, &question)).expect("the interface is up");

            let number = number.to_be_bytes();
            let target = Ipv6Addr::from_bits(
                u128::from(Ipv6Addr::new(0xfd00, 7, 0, 0, 0, 0, 0, 0))
                    | u128::from(u32::from_be_bytes(number)),
            );
            let to = Ipv6Addr::new(
                0xff02,
                0,
                0,
                0,
                0,
                1,
                0xff00 | u16::from(number[1]),
                u16::from_be_bytes([number[2], number[3]]),
            );
            let body = [&[0; 4][..], &target.octets(), &[1, 1], &own].concat();
            let message = raw::icmpv6(street.evil.v6(), to, 135, &body);
            let packet = raw::ip(street.evil.v6().into(), to.into(), ICMPV6, &message);
            let link = Link { to: raw::multicast(to), from: own };
            street.injector.send(&link.packet(&packet)).expect("the interface is up");
        }
    });
    assert_eq!(street.dropped(), []);
    // Each answers for itself, and the host for the gateway alone.
    let own: Vec<IpAddr> = street.evil.addresses();
    let mut answers: BTreeSet<IpAddr> = heard.take().iter().filter_map(|frame| answer(frame)).collect();
    answers.retain(|address| !own.contains(address));
    let mut known: BTreeSet<IpAddr> = Street::gateway().into();
    known.extend(street.client.addresses().into_iter().chain(street.server.addresses()));
    assert!(known.is_subset(&answers), "{known:?} are not all among {answers:?}");
    answers.retain(|address| {
        !known.contains(address) && !matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
    });
    // The one that came after the flood tells of itself.
    assert!(answers.len() <= 2, "answered for {answers:?}");
}

/// The gateway is asked to forward to thousands of neighbours that nobody is: all namespaces of the host share the room for
/// those it looks for.
#[test]
fn a_container_that_has_thousands_looked_for_fills_no_table() {
    needs!(root, "nft", "ping");
    let street = Street::new();
    let switch = raw::mac_of(&street.scene.host.netns(), &street.switch);
    let link = Link { to: switch, from: street.evil.mac() };
    street.endure(|| {
        for number in 0..STATIONS {
            let [_, _, high, low] = number.to_be_bytes();
            let v4 = Ipv4Addr::new(10, 7, 0, 100 + low % 100);
            let v6 = Ipv6Addr::new(0xfd00, 7, 0, 0, 0, 0, 1, u16::from_be_bytes([high, low]));
            for (from, to) in [(street.evil.v4().into(), v4.into()), (street.evil.v6().into(), v6.into())] {
                let packet = raw::udp((from, 4000), (to, 9), b"anybody?");
                street.injector.send(&link.packet(&packet)).expect("the interface is up");
            }
            if (number + 1) % VOLLEY == 0 {
                let counter = || street.scene.host.sh("nft list counter inet hns absent_drops");
                let all = format!("packets {} ", 2 * (number + 1));
                eventually!(if counter().contains(&all) { Ok(()) } else { Err(counter()) });
            }
        }
    });
}

/// For which address an answer of ARP or neighbour discovery speaks.
fn answer(frame: &[u8]) -> Option<IpAddr> {
    let is_reply = frame.len() >= 42 && frame[12..14] == ARP.to_be_bytes() && frame[20..22] == [0, 2];
    if is_reply {
        return Some(IpAddr::from(<[u8; 4]>::try_from(&frame[28..32]).ok()?));
    }
    let is_advertisement = frame.len() >= 78
        && frame[12..14] == raw::IPV6.to_be_bytes()
        && frame[20] == ICMPV6
        && frame[54] == 136;
    is_advertisement.then(|| Some(IpAddr::from(<[u8; 16]>::try_from(&frame[62..78]).ok()?))).flatten()
}

/// A container whose port keeps flows, by a default (`AclDefaultIn`, `AclDefaultOut`) that would let nothing begin that way.
#[track_caller]
fn stateful(scene: &Scene, network: &Value, name: &str, default: &str) -> Container {
    let netns = scene.host.add_netns(name);
    let path = format!("/run/netns/{name}");
    let namespace = scene.hnsd.hnsctl_json(&["namespace", "create", name, "--path", &path]);
    let document = json!({
        "Name": name, "SchemaVersion": {"Major": 2, "Minor": 0}, "HostComputeNetwork": network["ID"],
        "HostComputeNamespace": namespace["ID"], "AdditionalParams": {default: "Block"},
    });
    let made =
        scene.hnsd.api().post("/v2/endpoints", &document).expect("the daemon answers").expect_success();
    Container { name: name.to_owned(), netns, id: text(&made, "ID"), document: made }
}

#[test]
fn a_million_half_open_connections_harm_nobody() {
    needs!(root, "nft");
    let scene = Scene::new();
    let network = scene.network("blue", 7, &[]);
    let [evil, client] = ["evil", "client"].map(|name| scene.container("blue", name, &[]));
    let [victim, server] = ["victim", "server"].map(|name| stateful(&scene, &network, name, "AclDefaultOut"));
    let _servers = [tcp::Echo::serve(&victim.netns, "[::]:80"), tcp::Echo::serve(&server.netns, "[::]:80")];
    // The flooded ports do not even say that they are closed.
    scene.host.sh(
        "ip netns exec victim nft 'add table inet t; add chain inet t in { type filter hook input priority 0; };
         add rule inet t in tcp dport 1000-1019 drop'",
    );
    let mut talks: Vec<tcp::Conversation> = Vec::new();
    for to in server.addresses().into_iter().chain(victim.addresses()) {
        talks.push(eventually!(tcp::Conversation::open(&client.netns, (to, 80))));
    }
    let memory = scene.hnsd.resident_kib();
    let injector = Injector::open(&evil.netns, "eth0");
    let link = Link { to: victim.mac(), from: evil.mac() };
    let mut frame = link.packet(&raw::tcp((evil.v4().into(), 0), (victim.v4().into(), 0), SYN));
    let over = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..HALF_OPEN {
                let ports = (1024 + number / 20) << 16 | (1000 + number % 20);
                frame[34..38].copy_from_slice(&ports.to_be_bytes());
                injector.send(&frame).expect("the interface is up");
            }
            over.store(true, Ordering::Relaxed);
        });
        let mut rounds = 0;
        while !over.load(Ordering::Relaxed) {
            for talk in &mut talks {
                talk.say("under the flood").expect("an established connection lives on");
            }
            tcp::ask(&client.netns, (server.v4(), 80)).expect("others take new connections");
            rounds += 1;
        }
        rounds
    });
    assert!(rounds > 10, "the flood was over after {rounds} rounds");
    for to in server.addresses().into_iter().chain(victim.addresses()) {
        tcp::ask(&client.netns, (to, 80)).expect("the ports take new connections");
    }
    for talk in &mut talks {
        talk.say("afterwards").expect("an established connection lives on");
    }
    let grown = scene.hnsd.resident_kib().saturating_sub(memory);
    assert!(grown < MEMORY_KIB, "hnsd has grown by {grown} KiB");
    let flows = scene.get(&format!("/v2/flows?endpoint={}&address={}&limit=100000", victim.id, evil.v4()));
    let kept = flows.as_array().map_or(0, Vec::len);
    assert!((1_000..=HALF_OPEN_MAX).contains(&kept), "{kept} half-open connections are kept");
}

/// Both ends play along: each connection is answered and goes on until it lasts, as far as the ports may have that.
#[test]
fn connections_without_end_leave_the_others_theirs() {
    needs!(root, "nft");
    let scene = Scene::new();
    let network = scene.network("blue", 7, &[]);
    let client = scene.container("blue", "client", &[]);
    let evil = stateful(&scene, &network, "evil", "AclDefaultIn");
    let [partner, server] =
        ["partner", "server"].map(|name| stateful(&scene, &network, name, "AclDefaultOut"));
    let _servers = [tcp::Echo::serve(&partner.netns, "[::]:80"), tcp::Echo::serve(&server.netns, "[::]:80")];
    // Their systems know nothing of these connections.
    for name in ["evil", "partner"] {
        scene.host.sh(&format!(
            "ip netns exec {name} nft 'add table inet t; add chain inet t in {{ type filter hook input priority 0; }};
             add rule inet t in tcp dport 1000-60000 drop'",
        ));
    }
    let mut talks: Vec<tcp::Conversation> = Vec::new();
    for to in server.addresses().into_iter().chain(partner.addresses()) {
        talks.push(eventually!(tcp::Conversation::open(&client.netns, (to, 80))));
    }
    let flood = Flood::new(&evil, &partner);
    let memory = scene.hnsd.resident_kib();
    let over = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..ANSWERED).for_each(|number| flood.open(number));
            over.store(true, Ordering::Relaxed);
        });
        let mut rounds = 0;
        while !over.load(Ordering::Relaxed) {
            for talk in &mut talks {
                talk.say("beside the flood").expect("an established connection lives on");
            }
            tcp::ask(&client.netns, (server.v4(), 80)).expect("others take new connections");
            rounds += 1;
        }
        rounds
    });
    assert!(rounds > 10, "the flood was over after {rounds} rounds");
    let grown = scene.hnsd.resident_kib().saturating_sub(memory);
    assert!(grown < MEMORY_KIB, "hnsd has grown by {grown} KiB");
    let kept = |limit: usize| {
        let flows =
            scene.get(&format!("/v2/flows?endpoint={}&address={}&limit={limit}", partner.id, evil.v4()));
        flows.as_array().map_or(0, Vec::len)
    };
    let all = kept(usize::try_from(ANSWERED).unwrap_or(usize::MAX));
    let most = LASTING_OF_A_PORT_MAX + HALF_OPEN_MAX;
    assert!((LASTING_OF_A_PORT_MAX..=most).contains(&all), "{all} connections are kept");

    // What is over makes room.
    (0..ANSWERED).for_each(|number| flood.reset(number));
    eventually!(within 60 s, match kept(10) {
        0 => Ok(()),
        some => Err(some),
    });
    (0..5).for_each(|number| flood.open(number));
    assert_eq!(kept(10), 5);
    for talk in &mut talks {
        talk.say("afterwards").expect("an established connection lives on");
    }
}

/// Connections of two containers of which their systems know nothing.
struct Flood {
    ends: [Injector; 2],
    frames: [Vec<u8>; 2],
}

impl Flood {
    fn new(from: &Container, to: &Container) -> Self {
        let frame = |from: &Container, to: &Container| {
            let link = Link { to: to.mac(), from: from.mac() };
            link.packet(&raw::tcp((from.v4().into(), 0), (to.v4().into(), 0), SYN))
        };
        let ends = [from, to].map(|end| Injector::open(&end.netns, "eth0"));
        Self { ends, frames: [frame(from, to), frame(to, from)] }
    }

    fn open(&self, number: u32) {
        self.send(number, 0, SYN);
        self.send(number, 1, SYN | ACK);
        for packet in 2..PACKETS_OF_A_LASTING_ONE {
            self.send(number, packet % 2, ACK);
        }
    }

    fn reset(&self, number: u32) {
        self.send(number, 0, RST);
    }

    fn send(&self, number: u32, end: usize, flags: u8) {
        let [own, others] = [1024 + number / 20, 1000 + number % 20].map(|port| {
            let [_, _, high, low] = port.to_be_bytes();
            [high, low]
        });
        let ports = if end == 0 { [own, others] } else { [others, own] };
        let mut frame = self.frames[end].clone();
        frame[34..38].copy_from_slice(ports.as_flattened());
        frame[47] = flags;
        self.ends[end].send(&frame).expect("the interface is up");
    }
}
