use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_abi::Direction;
use hns_net::Mac;

use super::Random;
use super::policy::{PORTS, mac, own};
use crate::frame::{Content, Datagram, Link, arp, ethernet};
use crate::layers::security::link_local;
use crate::model::{Port, Switchboard};

/// One packet at one port. Out: from the container; In: from the bridge.
#[derive(Debug, Clone)]
pub struct Shot {
    pub ifindex: u32,
    pub direction: Direction,
    pub frame: Vec<u8>,
    /// Of a packet from the bridge: whether the host's rules have marked it.
    pub ruled: bool,
}

/// What happens at the ports of a board: connections with replies among new ones, broken frames among whole ones.
#[must_use]
pub fn story(random: &mut Random, board: &Switchboard, length: usize) -> Vec<Shot> {
    let mut shots: Vec<Shot> = Vec::with_capacity(length);
    let mut talks: Vec<(u32, Datagram)> = Vec::new();
    let ifindexes: Vec<u32> = board.ports.keys().copied().collect();
    while shots.len() < length && !ifindexes.is_empty() {
        let ifindex = random.pick(&ifindexes);
        let direction = if random.chance(60) { Direction::Out } else { Direction::In };
        let shot = if !talks.is_empty() && random.chance(55) {
            let (ifindex, first) = talks[random.below(talks.len())].clone();
            go_on(random, board, ifindex, direction, &first)
        } else {
            let Some(port) = board.ports.get(&ifindex) else { continue };
            let (frame, talk) = begin(random, port, direction);
            talks.extend(talk.map(|datagram| (ifindex, outward(datagram, direction))));
            Shot { ifindex, direction, frame, ruled: true }
        };
        let frame = broken(random, shot.frame);
        // Without a draw, so that older seeds keep their stories.
        let ruled = !frame.len().is_multiple_of(4);
        shots.push(Shot { frame, ruled, ..shot });
    }
    shots
}

/// An address that packets of these stories come from or go to.
pub(super) fn address(random: &mut Random) -> IpAddr {
    let pair: [IpAddr; 2] = match random.below(6) {
        0..=3 => own(random.below(4)),
        4 => [Ipv4Addr::new(192, 0, 2, 1).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()],
        _ => [Ipv4Addr::new(198, 51, 100, 7).into(), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 7).into()],
    };
    random.pick(&pair)
}

fn of_family(random: &mut Random, v4: bool) -> IpAddr {
    loop {
        let address = address(random);
        if address.is_ipv4() == v4 {
            return address;
        }
    }
}

/// The datagram as one from the container.
fn outward(datagram: Datagram, direction: Direction) -> Datagram {
    if direction == Direction::Out { datagram } else { turned(&datagram) }
}

fn station(random: &mut Random) -> Mac {
    match random.below(8) {
        0 => Mac::new([0xff; 6]),
        1 => Mac::new([0x33, 0x33, 0, 0, 0, 1]),
        2 => Mac::new([2, 0, 0, 0, 0x99, 1]),
        _ => mac(random.below(4)),
    }
}

fn begin(random: &mut Random, port: &Port, direction: Direction) -> (Vec<u8>, Option<Datagram>) {
    let spoofs = random.chance(6);
    let source = if spoofs || direction == Direction::In { mac(random.below(6)) } else { port.mac };
    let destination =
        if direction == Direction::In && random.chance(90) { port.mac } else { station(random) };
    let link = Link { destination, source };
    match random.below(100) {
        0..=7 => (some_arp(random, port, link), None),
        8..=15 => (discovery(random, port, link), None),
        16..=19 => {
            let ethertype = random.pick(&[0x8100, 0x88a8, 0x88cc, 0x0042, 0x86de]);
            (ethernet(link, ethertype, &[0; 46]), None)
        }
        20..=23 => (dhcp(random, port, link), None),
        _ => {
            let datagram = datagram(random, port, direction);
            (datagram.frame(link), Some(datagram))
        }
    }
}

fn some_arp(random: &mut Random, port: &Port, link: Link) -> Vec<u8> {
    let v4 = |address| match address {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let sender = if random.chance(70) { port.addresses[0] } else { of_family(random, true) };
    let sender_mac = if random.chance(85) { port.mac } else { mac(5) };
    let target = of_family(random, true);
    arp(link, 1 + random.byte() % 2, sender_mac, v4(sender), v4(target))
}

/// Neighbour discovery, router messages and reports of groups, honest and not.
fn discovery(random: &mut Random, port: &Port, link: Link) -> Vec<u8> {
    let kind = random.pick(&[130, 131, 132, 133, 134, 135, 136, 137, 143]);
    let source = match random.below(5) {
        0 => Ipv6Addr::UNSPECIFIED.into(),
        1 => link_local(port.mac).into(),
        2 => of_family(random, false),
        _ => port.addresses[1],
    };
    let mut rest = vec![0; 4];
    if matches!(kind, 135..=137) {
        let target = if random.chance(70) { port.addresses[1] } else { of_family(random, false) };
        if let IpAddr::V6(target) = target {
            rest.extend(target.octets());
        }
    }
    for _ in 0..random.below(3) {
        let owner = if random.chance(80) { port.mac } else { mac(5) };
        rest.extend([random.pick(&[1, 2, 14]), if random.chance(92) { 1 } else { random.byte() % 3 }]);
        rest.extend(owner.octets());
    }
    let content = Content::Icmp { kind, code: 0, rest };
    let group: IpAddr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into();
    let destination = if random.chance(80) { group } else { of_family(random, false) };
    let hop_limit = random.pick(&[255, 255, 255, 1, 1, 64]);
    Datagram { hop_limit, ..Datagram::new(source, destination, content) }.frame(link)
}

fn dhcp(random: &mut Random, port: &Port, link: Link) -> Vec<u8> {
    let (source, destination) = random.pick(&[(68, 67), (67, 68), (546, 547), (547, 546)]);
    let content = Content::Udp { source, destination, bytes: 20 };
    let v4 = random.chance(50);
    let from: IpAddr = match (v4, random.chance(50)) {
        (true, true) => Ipv4Addr::UNSPECIFIED.into(),
        (true, false) => port.addresses[0],
        (false, _) => port.addresses[1],
    };
    let to = if v4 { Ipv4Addr::BROADCAST.into() } else { of_family(random, false) };
    Datagram::new(from, to, content).frame(link)
}

fn datagram(random: &mut Random, port: &Port, direction: Direction) -> Datagram {
    let v4 = random.chance(50);
    let own = *port.addresses.iter().find(|address| address.is_ipv4() == v4).unwrap_or(&port.addresses[0]);
    let own = if random.chance(5) { of_family(random, own.is_ipv4()) } else { own };
    let other = of_family(random, own.is_ipv4());
    let (source, destination) = if direction == Direction::Out { (own, other) } else { (other, own) };
    let content = content(random, v4);
    let extras = if random.chance(12) { random.byte() % 9 } else { 0 };
    let mut datagram = Datagram { extras, ..Datagram::new(source, destination, content) };
    if random.chance(8) {
        datagram.fragment = (random.short() % 4, random.pick(&[0x2000, 0x2001, 0x0002, 0x0005, 0x2010]));
    }
    datagram
}

fn content(random: &mut Random, v4: bool) -> Content {
    let near = 40_000 + random.short() % 6;
    let far = random.pick(&PORTS);
    let (source, destination) = if random.chance(75) { (near, far) } else { (far, near) };
    match random.below(12) {
        0..=4 => {
            let flags = random.pick(&[0x02, 0x02, 0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x03, 0x14, 0x00]);
            Content::Tcp { source, destination, flags, bytes: random.below(40) }
        }
        5..=7 => Content::Udp { source, destination, bytes: random.below(40) },
        8 => Content::Sctp { source, destination },
        9 | 10 => {
            let kinds: &[u8] = if v4 { &[8, 8, 0, 13, 3, 5] } else { &[128, 128, 129, 1, 3, 200] };
            let rest = vec![0, random.byte() % 4, 0, 1, 9, 9, 9, 9];
            Content::Icmp { kind: random.pick(kinds), code: random.byte() % 2, rest }
        }
        _ => Content::Other {
            protocol: random.pick(&[2, 47, 50, 59, 89, if v4 { 58 } else { 1 }]),
            bytes: vec![7; random.below(30)],
        },
    }
}

/// Another packet of a conversation that began with `first` (as one from the container): either way, or an error about it.
fn go_on(
    random: &mut Random,
    board: &Switchboard,
    ifindex: u32,
    direction: Direction,
    first: &Datagram,
) -> Shot {
    let port_mac = board.ports.get(&ifindex).map_or_else(|| mac(0), |port| port.mac);
    let mut datagram = if direction == Direction::Out { first.clone() } else { turned(first) };
    if let Content::Tcp { flags, .. } = &mut datagram.content {
        *flags = random.pick(&[0x02, 0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0x14, 0x03]);
    }
    if random.chance(10) {
        datagram = error_about(random, first, direction);
    }
    let link = match direction {
        Direction::Out => Link { destination: station(random), source: port_mac },
        Direction::In => Link { destination: port_mac, source: mac(random.below(4)) },
    };
    Shot { ifindex, direction, frame: datagram.frame(link), ruled: true }
}

/// The answer's ends.
fn turned(datagram: &Datagram) -> Datagram {
    let content = match datagram.content.clone() {
        Content::Tcp { source, destination, flags, bytes } => {
            Content::Tcp { source: destination, destination: source, flags, bytes }
        }
        Content::Udp { source, destination, bytes } => {
            Content::Udp { source: destination, destination: source, bytes }
        }
        Content::Sctp { source, destination } => Content::Sctp { source: destination, destination: source },
        Content::Icmp { kind: 8, code, rest } => Content::Icmp { kind: 0, code, rest },
        Content::Icmp { kind: 128, code, rest } => Content::Icmp { kind: 129, code, rest },
        other => other,
    };
    Datagram { source: datagram.destination, destination: datagram.source, content, ..datagram.clone() }
}

/// An ICMP error that runs in `direction` about a packet that ran the other way.
fn error_about(random: &mut Random, first: &Datagram, direction: Direction) -> Datagram {
    let about = if direction == Direction::In { first.clone() } else { turned(first) };
    let mut rest = vec![0; 4];
    rest.extend(about.packet());
    rest.truncate(random.pick(&[4 + 28, 4 + 20, 4 + 48, 4 + 200]));
    let v4 = about.source.is_ipv4();
    let kind = random.pick(if v4 { &[3, 11, 12] } else { &[1, 2, 3] });
    let from = if random.chance(60) { about.destination } else { of_family(random, v4) };
    let to = if random.chance(85) { about.source } else { of_family(random, v4) };
    Datagram::new(from, to, Content::Icmp { kind, code: 1, rest })
}

/// Now and then cut short, with a byte changed, or padded.
fn broken(random: &mut Random, mut frame: Vec<u8>) -> Vec<u8> {
    match random.below(100) {
        0..=2 => frame.truncate(14 + random.below(frame.len().saturating_sub(13))),
        3..=5 => {
            let at = 12 + random.below(frame.len() - 12);
            frame[at] = random.byte();
        }
        6..=8 => frame.resize(frame.len() + random.below(30), 0),
        _ => {}
    }
    frame
}
