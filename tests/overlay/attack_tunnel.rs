//! A machine that is a host of the network, sends whatever it likes, and has one prefix and no more.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use hns_testbed::raw::{self, Capture, Link, Mac};
use hns_testbed::{eventually, needs};
use hns_tests::story_support::Container;

use crate::stage::{Stage, dropped};

const ITS_V4: Ipv4Addr = Ipv4Addr::new(10, 244, 3, 5);
const ITS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x244, 3, 0, 0, 0, 0, 5);
/// Where what comes out of the tunnel is sent.
const PORT: u16 = 999;

/// The client, which `here` knows as a host, and what is for it.
struct Peer {
    stage: Stage,
    vni: u32,
}

impl Peer {
    fn new() -> Self {
        let stage = Stage::new(0);
        let end = stage.client.v4();
        let prefixes = ["10.244.3.0/24", "fd00:244:3::/64"].map(|prefix| format!("{prefix}={end}"));
        stage.here.hnsctl(&["network", "peer", "add", "blue", &prefixes[0], &prefixes[1]]);
        let network = stage.here.hnsctl_json(&["network", "inspect", "blue"]);
        let vni = network["Ipams"][0]["Subnets"][0]["Policies"][0]["Settings"]["IsolationId"].as_u64();
        let vni = u32::try_from(vni.expect("it has one")).expect("a VNI has 24 bits");
        Self { stage, vni }
    }

    /// Sends a packet through the tunnel, from router to router (RFC 7348 section 5).
    fn sends(&self, packet: &[u8]) {
        let (from, to) = (self.stage.client.v4(), self.stage.here.host().v4());
        let frame = Link { to: router_of(to), from: router_of(from) }.packet(packet);
        let datagram = [&[8, 0, 0, 0][..], &(self.vni << 8).to_be_bytes(), &frame].concat();
        self.stage.client.inside(move || {
            let socket = UdpSocket::bind((from, 0)).expect("a port is free");
            socket.send_to(&datagram, (to, 4789)).expect("it is sent");
        });
    }

    /// Sends a datagram from this address to a container.
    fn says(&self, from: IpAddr, to: &Container, words: &[u8]) {
        let at = if from.is_ipv4() { to.v4().into() } else { IpAddr::from(to.v6()) };
        self.sends(&raw::udp((from, PORT), (at, PORT), words));
    }
}

const fn router_of(host: Ipv4Addr) -> Mac {
    let [a, b, c, d] = host.octets();
    [0x0e, 0x2a, a, b, c, d]
}

fn heard(seen: &Capture, words: &[u8]) -> bool {
    seen.take().iter().any(|frame| frame.windows(words.len()).any(|part| part == words))
}

#[test]
fn a_host_sends_under_the_addresses_of_its_prefix_alone() {
    needs!(root, "nft");
    let peer = Peer::new();
    let web = peer.stage.container_here("web", 11);
    let seen = Capture::at(&web.netns, "eth0");
    let own = peer.stage.here.host().v4().to_string();
    // This host's own container and router, another host's, the host, and nobody's.
    let others = ["10.244.1.12", "10.244.1.1", "10.244.2.11", &own, "127.0.0.1", "0.0.0.0", "224.0.0.1"];
    let others = others.into_iter().chain(["fd00:244:1::12", "fd00:244:2::11", "fe80::1", "::1", "::"]);
    let before = dropped(&peer.stage.here, None, "spoofed-tunnel");
    let mut sent = 0;
    for from in others {
        peer.says(from.parse().expect("it is an address"), &web, b"not its own");
        sent += 1;
    }
    eventually!(dropped(&peer.stage.here, None, "spoofed-tunnel") == before + sent);
    for from in [ITS_V4.into(), IpAddr::from(ITS_V6)] {
        peer.says(from, &web, b"its own");
        eventually!(heard(&seen, b"its own"));
    }
    // To nobody, to everybody, and to the router itself.
    let before = dropped(&peer.stage.here, None, "unrouted");
    let to = ["10.244.1.1", "10.244.1.255", "255.255.255.255", "224.0.0.1", "10.244.2.11", &own];
    for address in to {
        let to: IpAddr = address.parse().expect("it is an address");
        peer.sends(&raw::udp((ITS_V4.into(), PORT), (to, PORT), b"not for it"));
    }
    eventually!(dropped(&peer.stage.here, None, "unrouted") == before + 6);
    assert!(!heard(&seen, b"not"));
}

/// Hop limits say nothing, since the routers of an overlay leave them alone.
#[test]
fn a_host_does_not_tell_containers_where_their_router_is() {
    needs!(root, "nft", "ping");
    let peer = Peer::new();
    let (web, far) = (peer.stage.container_here("web", 11), peer.stage.container_there("far", 11));
    eventually!(web.netns.ping(far.v6()));
    let (router, to) = (Ipv6Addr::new(0xfd00, 0x244, 1, 0, 0, 0, 0, 1), web.v6());
    let wrong = [2, 1, 2, 0xde, 0xad, 0xbe, 0xef, 1];
    // An advertisement that nobody asked for, in place of what was known (RFC 4861 section 4.4).
    let body = [&[0xa0, 0, 0, 0][..], &router.octets(), &wrong].concat();
    let message = raw::icmpv6(ITS_V6, to, 136, &body);
    let before = dropped(&peer.stage.here, None, "spoofed-nd");
    peer.sends(&raw::ip(ITS_V6.into(), to.into(), raw::ICMPV6, &message));
    eventually!(dropped(&peer.stage.here, None, "spoofed-nd") == before + 1);
    let known = web.netns.command("ip").args(["-6", "neigh", "show", &router.to_string()]).output();
    let known = String::from_utf8_lossy(&known.expect("ip runs").stdout).into_owned();
    assert!(known.contains("0e:2a:") && !known.contains("de:ad"), "{known}");
    assert!(web.netns.ping(far.v6()));
}
