//! Three ports: A and B on one network, GUEST on another.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::IpAddr;

use hns_net::{Guid, Mac};
use hns_vfp::Switch;
use hns_vfp::generate::{Content, Datagram, Link};
use hns_vfp::model::{Acl, Action, Addresses, Guards, Match, Origin, Port, Rule, Switchboard, Verdict, both};

pub const A: u32 = 1;
pub const B: u32 = 2;
pub const GUEST: u32 = 3;
/// Somewhere behind the gateway.
pub const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

pub const fn mac(number: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, number])
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub struct Bed {
    pub switch: Switch,
}

impl Bed {
    /// No rules, all guards.
    pub fn open() -> Self {
        let mut board = Switchboard::default();
        for (number, network) in [(1u8, 0xa), (2, 0xa), (3, 0xb)] {
            let port = Port {
                endpoint: Guid::from_bytes([number; 16]),
                network: Guid::from_bytes([network; 16]),
                mac: mac(number),
                addresses: vec![ip(&format!("10.0.0.{number}")), ip(&format!("fd00::{number}"))],
                guards: Guards::ALL,
                blocked: false,
                quiet: false,
                plain_redirect: false,
                external: None,
                reflected: false,
                overlay: false,
                behind_host: [false; 2],
                ruled: false,
                confined: None,
                acl: [Acl::open(), Acl::open()],
                meters: [None, None],
            };
            board.ports.insert(u32::from(number), port);
        }
        Self { switch: Switch::new(board) }
    }

    pub fn change(&mut self, ifindex: u32, edit: impl FnOnce(&mut Port)) {
        let mut port = self.switch.board().ports[&ifindex].clone();
        edit(&mut port);
        self.switch.set_port(ifindex, port, 0);
    }

    pub fn rules(&mut self, ifindex: u32, inward: Vec<Rule>, outward: Vec<Rule>) {
        let acl = |rules| Acl { tiers: Vec::new(), rules, fallback: Verdict::Block };
        self.change(ifindex, |port| port.acl = both(acl(inward), acl(outward)));
    }

    pub fn link(&self, from: u32, to: u32) -> Link {
        let mac = |number: u32| mac(u8::try_from(number).unwrap());
        Link { destination: mac(to), source: mac(from) }
    }

    pub fn address(&self, number: u32) -> IpAddr {
        ip(&format!("10.0.0.{number}"))
    }

    pub fn frame(&self, from: u32, to: u32, content: Content) -> Vec<u8> {
        Datagram::new(self.address(from), self.address(to), content).frame(self.link(from, to))
    }

    pub fn tcp(&self, from: u32, to: u32, (source, destination): (u16, u16), flags: u8) -> Vec<u8> {
        self.frame(from, to, Content::Tcp { source, destination, flags, bytes: 0 })
    }

    pub fn udp(&self, from: u32, to: u32, (source, destination): (u16, u16)) -> Vec<u8> {
        self.frame(from, to, Content::Udp { source, destination, bytes: 8 })
    }
}

pub fn rule(action: Action, priority: u16, matches: Match) -> Rule {
    Rule { id: format!("{action:?}-{priority}"), origin: Origin::Endpoint, priority, action, matches }
}

pub fn protocol(number: u8) -> Match {
    Match { protocols: vec![number], ..Match::default() }
}

pub fn to_port(number: u8, port: u16) -> Match {
    let remote_ports = vec![hns_net::PortRange::single(port).unwrap()];
    Match { remote_ports, ..protocol(number) }
}

pub fn at_port(number: u8, port: u16) -> Match {
    let local_ports = vec![hns_net::PortRange::single(port).unwrap()];
    Match { local_ports, ..protocol(number) }
}

pub fn remote(prefix: &str) -> Match {
    Match { remote: Addresses::Prefixes(vec![prefix.parse().unwrap()]), ..Match::default() }
}
