//! What is for everybody, or for a group, is heard by everybody else, and once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use hns_testbed::{Netns, eventually, needs};

use crate::stage::{Party, Stage, container};

const GROUP4: Ipv4Addr = Ipv4Addr::new(239, 18, 4, 2);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0x1842, 1);
const PORT: u16 = 9999;
const PORT6: u16 = 9998;

/// Hears what comes to a port, of groups as well.
struct Ear {
    v4: UdpSocket,
    v6: UdpSocket,
}

fn index(netns: &Netns) -> u32 {
    let shown = netns.command("ip").args(["-o", "link", "show", "dev", "eth0"]).output().expect("ip runs");
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    text.split(':').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

fn bound(netns: &Netns, at: SocketAddr) -> UdpSocket {
    netns.enter(move || UdpSocket::bind(at)).unwrap_or_else(|error| panic!("{at}: {error}"))
}

impl Ear {
    fn open(party: &Party, interface: u32) -> Self {
        let v4 = bound(&party.netns, (Ipv4Addr::UNSPECIFIED, PORT).into());
        let v6 = bound(&party.netns, (Ipv6Addr::UNSPECIFIED, PORT6).into());
        let IpAddr::V4(own) = party.addresses[0] else { panic!("IPv4 comes first: {:?}", party.addresses) };
        v4.join_multicast_v4(&GROUP4, &own).expect("a group can be joined");
        v6.join_multicast_v6(&GROUP6, interface).expect("a group can be joined");
        for socket in [&v4, &v6] {
            socket.set_nonblocking(true).expect("always");
        }
        Self { v4, v6 }
    }

    /// How often each text came.
    fn heard(&self, into: &mut BTreeMap<String, usize>) {
        let mut buffer = [0; 256];
        for socket in [&self.v4, &self.v6] {
            while let Ok(size) = socket.recv(&mut buffer) {
                *into.entry(String::from_utf8_lossy(&buffer[..size]).into_owned()).or_default() += 1;
            }
        }
    }
}

/// Says each of these to everybody.
fn shout(from: &Party, interface: u32, words: &str) {
    let v4 = bound(&from.netns, (from.addresses[0], 0).into());
    v4.set_broadcast(true).expect("always");
    v4.set_multicast_loop_v4(false).expect("always");
    let own: IpAddr = from.addresses[1];
    let v6 = bound(&from.netns, (own, 0).into());
    v6.set_multicast_loop_v6(false).expect("always");
    let group = std::net::SocketAddrV6::new(GROUP6, PORT6, 0, interface);
    let say = |socket: &UdpSocket, to: SocketAddr, what: &str| {
        socket
            .send_to(format!("{words} {what}").as_bytes(), to)
            .unwrap_or_else(|error| panic!("{to}: {error}"));
    };
    say(&v4, (Ipv4Addr::new(198, 18, 0, 255), PORT).into(), "broadcast");
    say(&v4, (Ipv4Addr::BROADCAST, PORT).into(), "everybody");
    say(&v4, (GROUP4, PORT).into(), "group");
    say(&v6, group.into(), "group6");
}

const SAID: [&str; 4] = ["broadcast", "everybody", "group", "group6"];

#[test]
fn what_is_for_everybody_is_heard_once_by_everybody_else() {
    needs!(root, "nft");
    all_hear_all_once(&Stage::new());
}

pub fn all_hear_all_once(stage: &Stage) {
    let containers = [
        container(&stage.here, "one", 101),
        container(&stage.here, "two", 102),
        container(&stage.here, "three", 103),
        container(&stage.there, "four", 104),
        container(&stage.there, "five", 105),
    ];
    let names = ["one", "two", "three", "four", "five"];
    let mut parties: Vec<Party> =
        names.iter().zip(&containers).map(|(name, one)| Party::container(name, one)).collect();
    parties.push(Party::host("here", stage.here.host()));
    parties.push(Party::host("there", stage.there.host()));
    parties.push(Party::host("client", &stage.client));
    let ears: Vec<Ear> = parties.iter().map(|party| Ear::open(party, index(&party.netns))).collect();
    for party in &parties {
        party
            .netns
            .command("ip")
            .args(["route", "add", "239.0.0.0/8", "dev", "eth0"])
            .status()
            .expect("ip runs");
        party
            .netns
            .command("ip")
            .args(["route", "add", "255.255.255.255", "dev", "eth0"])
            .status()
            .expect("ip runs");
    }
    let mut heard: Vec<BTreeMap<String, usize>> = vec![BTreeMap::new(); parties.len()];
    for from in &parties {
        shout(from, index(&from.netns), from.name);
    }
    let others = (parties.len() - 1) * SAID.len();
    for (place, party) in parties.iter().enumerate() {
        let what = format!("{} hears all others", party.name);
        eventually!({
            ears[place].heard(&mut heard[place]);
            let missing = parties
                .iter()
                .filter(|from| from.name != party.name)
                .flat_map(|from| SAID.iter().map(move |said| format!("{} {said}", from.name)));
            let missing: Vec<_> = missing.filter(|text| !heard[place].contains_key(text)).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{what}: {missing:?}")) }
        });
    }
    // What comes behind a second copy would have let it come before.
    for from in &parties {
        for to in &parties {
            let socket = bound(&from.netns, (from.addresses[0], 0).into());
            socket
                .send_to(format!("{} end", from.name).as_bytes(), (to.addresses[0], PORT))
                .expect("it is up");
        }
    }
    for (place, party) in parties.iter().enumerate() {
        eventually!({
            ears[place].heard(&mut heard[place]);
            heard[place].keys().filter(|text| text.ends_with(" end")).count() == parties.len()
        });
        let twice: Vec<_> = heard[place].iter().filter(|(_, times)| **times != 1).collect();
        assert!(twice.is_empty(), "{} heard {twice:?}", party.name);
        let of_others = heard[place].keys().filter(|text| !text.starts_with(party.name)).count();
        assert_eq!(of_others, others + parties.len() - 1, "{}: {:?}", party.name, heard[place]);
    }
}
