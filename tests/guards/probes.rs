//! Frames that no honest container sends, and why they are dropped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_testbed::raw::{self, ARP, EVERYBODY, IPV4, IPV6, Link, Mac};

use crate::{claims, malformed};

/// Begins the number of a probe, somewhere in its frame.
pub const MARK: &[u8; 6] = b"HNSraw";

pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Nobody's station, and nobody's address in a network: `10.7.0.99`, `fd00:7::99`.
pub const NOBODY: Mac = [0x02, 0xee, 0, 0, 0, 1];
pub const NOBODY_V4: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 99);
pub const NOBODY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 7, 0, 0, 0, 0, 0, 0x99);

/// One row: what is sent, and why it is dropped; nothing where it may pass.
#[derive(Debug, Clone)]
pub struct Probe {
    pub name: String,
    pub reason: Option<&'static str>,
    pub frame: Vec<u8>,
    pub number: u32,
}

/// Somebody with addresses.
#[derive(Debug, Clone, Copy)]
pub struct Party {
    pub mac: Mac,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl Party {
    pub fn link_local(self) -> Ipv6Addr {
        raw::link_local(self.mac)
    }
}

/// Everybody whom a liar can name.
#[derive(Debug, Clone, Copy)]
pub struct Town {
    pub own: Party,
    pub neighbour: Party,
    pub gateway: Party,
    /// Containers of another NAT network and of an Internal one.
    pub other: Party,
    pub internal: Party,
    /// The host itself, by its addresses on the LAN, and another host there.
    pub host: Party,
    pub outside: Party,
}

pub struct Table {
    rows: Vec<Probe>,
    begin: u32,
}

impl Table {
    pub fn new(begin: u32) -> Self {
        Self { rows: Vec::new(), begin }
    }

    pub fn rows(self) -> Vec<Probe> {
        self.rows
    }

    pub fn add(&mut self, reason: Option<&'static str>, name: &str, frame: impl FnOnce(&[u8]) -> Vec<u8>) {
        let number = self.begin + u32::try_from(self.rows.len()).expect("a table is short");
        let mark = [&MARK[..], &number.to_be_bytes()].concat();
        self.rows.push(Probe { name: name.to_owned(), reason, frame: frame(&mark), number });
    }

    pub fn lie(&mut self, reason: &'static str, name: &str, frame: impl FnOnce(&[u8]) -> Vec<u8>) {
        self.add(Some(reason), name, frame);
    }

    /// What is marked behind its end, where a frame may have anything (IEEE 802.3).
    pub fn trailed(&mut self, reason: &'static str, name: &str, frame: Vec<u8>) {
        self.lie(reason, name, |mark| [&frame, mark].concat());
    }
}

pub fn udp_frame(link: Link, from: impl Into<IpAddr>, to: impl Into<IpAddr>, mark: &[u8]) -> Vec<u8> {
    link.packet(&raw::udp((from.into(), 4000), (to.into(), 9), mark))
}

/// The links from the own station, and from nobody's.
pub fn links(town: &Town) -> [Link; 4] {
    let to = |to| Link { to, from: town.own.mac };
    [to(town.neighbour.mac), to(town.gateway.mac), to(EVERYBODY), to(raw::multicast(ALL_NODES))]
}

/// Every frame that must not pass, numbered from `begin`.
pub fn lies(town: &Town, begin: u32) -> Vec<Probe> {
    let mut table = Table::new(begin);
    stations(&mut table, town);
    sources(&mut table, town);
    unlikely_sources(&mut table, town);
    other_protocols(&mut table, town);
    claims::add(&mut table, town);
    malformed::add(&mut table, town);
    table.rows()
}

fn stations(table: &mut Table, town: &Town) {
    let (own, neighbour) = (town.own, town.neighbour);
    for (name, from) in [
        ("nobody's MAC", NOBODY),
        ("the neighbour's MAC", neighbour.mac),
        ("the gateway's MAC", town.gateway.mac),
        ("the broadcast MAC", EVERYBODY),
        ("a multicast MAC", [1, 0, 0x5e, 0, 0, 1]),
    ] {
        for (to, at) in [("the neighbour", neighbour.mac), ("everybody", EVERYBODY)] {
            let link = Link { to: at, from };
            table.lie("spoofed-mac", &format!("v4: {name} to {to}"), |mark| {
                udp_frame(link, own.v4, neighbour.v4, mark)
            });
            table.lie("spoofed-mac", &format!("v6: {name} to {to}"), |mark| {
                udp_frame(link, own.v6, neighbour.v6, mark)
            });
        }
    }
    let link = Link { to: EVERYBODY, from: NOBODY };
    let honest = raw::arp(1, (own.mac, own.v4), ([0; 6], neighbour.v4));
    table.trailed("spoofed-mac", "v4: ARP of its own from nobody's MAC", link.frame(ARP, &honest));
}

/// Somebody else's source, to the neighbour, to everybody and through the gateway.
fn sources(table: &mut Table, town: &Town) {
    let [to_neighbour, to_gateway, to_all, to_nodes] = links(town);
    let Town { neighbour, gateway, other, internal, host, outside, .. } = *town;
    let nobody = Party { mac: NOBODY, v4: NOBODY_V4, v6: NOBODY_V6 };
    for (name, from) in [
        ("nobody's", nobody),
        ("the neighbour's", neighbour),
        ("the gateway's", gateway),
        ("another network's", other),
        ("the Internal network's", internal),
        ("the host's", host),
        ("the outside's", outside),
    ] {
        for (to, at, link) in [
            ("the neighbour", neighbour, to_neighbour),
            ("the gateway", gateway, to_gateway),
            ("the outside", outside, to_gateway),
            ("another network", other, to_gateway),
            ("the Internal network", internal, to_gateway),
        ] {
            table.lie("spoofed-ip", &format!("v4: {name} source to {to}"), |mark| {
                udp_frame(link, from.v4, at.v4, mark)
            });
            table.lie("spoofed-ip", &format!("v6: {name} source to {to}"), |mark| {
                udp_frame(link, from.v6, at.v6, mark)
            });
        }
        table.lie("spoofed-ip", &format!("v4: {name} source to everybody"), |mark| {
            udp_frame(to_all, from.v4, Ipv4Addr::BROADCAST, mark)
        });
        table.lie("spoofed-ip", &format!("v6: {name} source to every node"), |mark| {
            udp_frame(to_nodes, from.v6, ALL_NODES, mark)
        });
    }
}

/// Sources that are nobody's anywhere.
fn unlikely_sources(table: &mut Table, town: &Town) {
    let [to_neighbour, to_gateway, _, to_nodes] = links(town);
    let (own, neighbour, gateway) = (town.own, town.neighbour, town.gateway);
    table.lie("spoofed-ip", "v4: a redirect as the gateway", |mark| {
        let content = [&[5, 1, 0, 0][..], &own.v4.octets(), mark].concat();
        to_neighbour.packet(&raw::ip(gateway.v4.into(), neighbour.v4.into(), 1, &content))
    });
    let [a, b, c, _] = own.v4.octets();
    for (name, from) in [
        ("the network's broadcast", Ipv4Addr::new(a, b, c, 255)),
        ("the network's own", Ipv4Addr::new(a, b, c, 0)),
        ("the limited broadcast", Ipv4Addr::BROADCAST),
        ("a multicast", Ipv4Addr::new(224, 0, 0, 1)),
        ("a loopback", Ipv4Addr::LOCALHOST),
        ("no", Ipv4Addr::UNSPECIFIED),
        ("a link-local", Ipv4Addr::new(169, 254, 7, 7)),
    ] {
        for (to, at, link) in
            [("the neighbour", neighbour.v4, to_neighbour), ("the gateway", gateway.v4, to_gateway)]
        {
            let name = format!("v4: {name} source to {to}");
            table.lie("spoofed-ip", &name, |mark| udp_frame(link, from, at, mark));
        }
    }
    for (name, from) in [
        ("the neighbour's link-local", neighbour.link_local()),
        ("the gateway's link-local", gateway.link_local()),
        ("a made up link-local", Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99)),
        ("a multicast", ALL_NODES),
        ("a loopback", Ipv6Addr::LOCALHOST),
        ("no", Ipv6Addr::UNSPECIFIED),
    ] {
        for (to, at, link) in [
            ("the neighbour", neighbour.v6, to_neighbour),
            ("the gateway", gateway.v6, to_gateway),
            ("every node", ALL_NODES, to_nodes),
        ] {
            let name = format!("v6: {name} source to {to}");
            table.lie("spoofed-ip", &name, |mark| udp_frame(link, from, at, mark));
        }
    }
    for (name, from, to) in [
        ("v6: the own IPv4 address, mapped", own.v4.to_ipv6_mapped(), neighbour.v6),
        ("v6: the neighbour's IPv4 address, mapped", neighbour.v4.to_ipv6_mapped(), neighbour.v6),
        ("v6: to the neighbour's IPv4 address, mapped", own.v6, neighbour.v4.to_ipv6_mapped()),
    ] {
        table.lie("malformed", name, |mark| udp_frame(to_neighbour, from, to, mark));
    }
}

/// What is neither ARP nor IP, and what is hidden behind VLAN tags.
fn other_protocols(table: &mut Table, town: &Town) {
    let [to_neighbour, _, to_all, to_nodes] = links(town);
    let Town { own, neighbour, gateway, .. } = *town;
    let to = |to| Link { to, from: town.own.mac };
    let bridges = to([0x01, 0x80, 0xc2, 0, 0, 0]);
    let mut lie = |name: &str, frame: Vec<u8>| table.trailed("ethertype", name, frame);
    // A bridge that says it is the root (IEEE 802.1D section 9.3.1).
    let bpdu = [&[0x42, 0x42, 3][..], &[0; 5], &[0; 8], &[0; 4], &[0x80, 0], &own.mac, &[0; 9]].concat();
    lie("STP", bridges.frame(38, &bpdu));
    lie("STP to everybody", to_all.frame(38, &bpdu));
    let lldp = [&[2, 7, 4][..], &own.mac, &[4, 2, 7, b'1', 6, 2, 0, 120, 0, 0]].concat();
    lie("LLDP", to([0x01, 0x80, 0xc2, 0, 0, 0x0e]).frame(0x88cc, &lldp));
    lie("LLDP to the neighbour", to_neighbour.frame(0x88cc, &lldp));
    let cdp = [0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0, 2, 180, 0, 0];
    lie("CDP", to([0x01, 0, 0x0c, 0xcc, 0xcc, 0xcc]).frame(22, &cdp));
    let snap = [0xaa, 0xaa, 3, 0, 0, 0, 8, 6];
    let hidden = [&snap[..], &raw::arp(2, (own.mac, gateway.v4), (EVERYBODY, gateway.v4))].concat();
    lie("v4: ARP for the gateway in IEEE 802.3", to_all.frame(36, &hidden));
    lie("LACP", to([0x01, 0x80, 0xc2, 0, 0, 2]).frame(0x8809, &[1, 1, 1, 20]));
    for (name, kind) in [
        ("an experiment", 0x88b5),
        ("RARP", 0x8035),
        ("PPPoE", 0x8863),
        ("EAPOL", 0x888e),
        ("MPLS", 0x8847),
        ("HSR", 0x892f),
    ] {
        lie(&format!("{name} to everybody"), to_all.frame(kind, &[0; 46]));
        lie(&format!("{name} to the neighbour"), to_neighbour.frame(kind, &[0; 46]));
    }
    let claim = raw::arp(2, (own.mac, gateway.v4), (EVERYBODY, gateway.v4));
    let (v4, v6) = (
        udp_frame(to_neighbour, own.v4, neighbour.v4, &[]),
        udp_frame(to_neighbour, own.v6, neighbour.v6, &[]),
    );
    for (how, tags) in [
        ("a tag", &[(0x8100, 7)][..]),
        ("a tag of priority", &[(0x8100, 0)]),
        ("a service tag", &[(0x88a8, 7)]),
        ("two tags", &[(0x88a8, 7), (0x8100, 8)]),
        ("two tags of one kind", &[(0x8100, 7), (0x8100, 8)]),
    ] {
        for (what, link, kind, payload) in [
            ("v4: ARP for the gateway", to_all, ARP, &claim[..]),
            ("v4: an honest packet", to_neighbour, IPV4, &v4[14..]),
            ("v6: an honest packet", to_neighbour, IPV6, &v6[14..]),
            ("v6: an honest packet to all", to_nodes, IPV6, &v6[14..]),
        ] {
            let (mut kind, mut content): (u16, _) = (kind, payload.to_vec());
            for (tag, vlan) in tags.iter().rev() {
                content = [&[0, *vlan][..], &kind.to_be_bytes(), &content].concat();
                kind = *tag;
            }
            lie(&format!("{what} behind {how}"), link.frame(kind, &content));
        }
    }
}
