//! The host's ports that are published are nobody else's.

#![allow(clippy::unwrap_used, reason = "the whole file is a test")]

mod support;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use hns_host::{HostError, HostPorts, PortHolder, TakenPort};
use hns_net::{Family, Guid, Transport};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::{World, on_real, run};

const V4: [Family; 1] = [Family::V4];
const BOTH: [Family; 2] = [Family::V4, Family::V6];

fn holder(number: u8) -> Guid {
    Guid::from_bytes([number; 16])
}

fn ports(at: Option<&str>, families: &[Family], transport: Transport, ports: &str) -> HostPorts {
    let at = at.map(|at| at.parse().unwrap());
    HostPorts { at, families: families.to_vec(), transport, ports: ports.parse().unwrap() }
}

fn tcp(families: &[Family], numbers: &str) -> HostPorts {
    ports(None, families, Transport::Tcp, numbers)
}

/// As any program binds it: the standard library sets SO_REUSEADDR.
fn listen(at: &str) -> io::Result<()> {
    TcpListener::bind(at).map(drop)
}

#[track_caller]
fn is_taken(outcome: io::Result<()>) {
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[test]
fn a_held_port_is_in_use_in_its_families_and_at_its_addresses() {
    on_real(|world: &World| {
        let host = &world.host;
        let all = [tcp(&BOTH, "80-81"), tcp(&V4, "82"), ports(Some("127.0.0.2"), &V4, Transport::Tcp, "83")];
        assert_eq!(host.hold_ports(holder(1), &all).unwrap(), []);
        for at in [
            "0.0.0.0:80",
            "127.0.0.1:81",
            "[::]:80",
            "[::1]:81",
            "0.0.0.0:82",
            "[::]:82",
            "127.0.0.2:83",
            "0.0.0.0:83",
        ] {
            // What listens on `::` listens on every address of IPv4 as well.
            is_taken(listen(at));
        }
        for at in ["[::1]:82", "127.0.0.3:83", "0.0.0.0:84"] {
            listen(at).unwrap();
        }
        UdpSocket::bind("0.0.0.0:80").unwrap();
        host.hold_ports(holder(2), &[ports(None, &BOTH, Transport::Udp, "53")]).unwrap();
        is_taken(UdpSocket::bind("127.0.0.1:53").map(drop));
        is_taken(UdpSocket::bind("[::1]:53").map(drop));
        host.release_ports(holder(1));
        listen("[::]:80").unwrap();
        is_taken(UdpSocket::bind("0.0.0.0:53").map(drop));
    });
}

#[test]
fn what_is_held_is_what_was_asked_for_last() {
    on_real(|world: &World| {
        let host = &world.host;
        assert_eq!(host.hold_ports(holder(1), &[tcp(&V4, "80-82")]).unwrap(), []);
        // One port in another way, which the first is in the way of.
        assert_eq!(host.hold_ports(holder(1), &[tcp(&BOTH, "82-83")]).unwrap(), []);
        listen("0.0.0.0:80").unwrap();
        for at in ["[::1]:82", "0.0.0.0:83"] {
            is_taken(listen(at));
        }
        assert_eq!(host.hold_ports(holder(1), &[]).unwrap(), []);
        listen("[::]:83").unwrap();
    });
}

#[test]
fn who_has_a_port_is_named_and_the_others_are_held() {
    on_real(|world: &World| {
        let host = &world.host;
        assert_eq!(host.hold_ports(holder(1), &[tcp(&V4, "70")]).unwrap(), []);
        let _listener = TcpListener::bind("127.0.0.1:443").unwrap();
        let command = std::fs::read_to_string("/proc/self/comm").unwrap().trim().to_owned();
        let (at, pid) = (IpAddr::from([0, 0, 0, 0]), Some(std::process::id()));
        let expected = TakenPort { transport: Transport::Tcp, port: 443, at };
        assert_eq!(host.port_holder(&expected), PortHolder { pid, command: Some(command) });
        let wanted = [tcp(&V4, "60"), tcp(&V4, "440-445")];
        assert_eq!(host.hold_ports(holder(1), &wanted).unwrap(), [expected]);
        for held in ["0.0.0.0:60", "0.0.0.0:440"] {
            is_taken(listen(held));
        }
        listen("0.0.0.0:70").unwrap();
        let elsewhere = ports(Some("127.0.0.2"), &V4, Transport::Tcp, "443");
        assert_eq!(host.hold_ports(holder(1), &[elsewhere]).unwrap(), []);
        let _socket = UdpSocket::bind("[::]:53").unwrap();
        for families in [&V4[..], &[Family::V6], &BOTH] {
            let others = host.hold_ports(holder(2), &[ports(None, families, Transport::Udp, "53")]).unwrap();
            let [other] = &others[..] else { panic!("{families:?}: {others:?}") };
            let pid = host.port_holder(other).pid;
            assert_eq!((other.port, pid), (53, Some(std::process::id())), "{families:?}");
        }
    });
}

/// As when a port is published by one endpoint a moment after another gave it up.
#[test]
fn of_ours_who_asks_last_has_a_port() {
    on_real(|world: &World| {
        let host = &world.host;
        assert_eq!(host.hold_ports(holder(1), &[tcp(&V4, "80-82")]).unwrap(), []);
        assert_eq!(host.hold_ports(holder(2), &[tcp(&BOTH, "81")]).unwrap(), []);
        host.release_ports(holder(1));
        listen("0.0.0.0:80").unwrap();
        is_taken(listen("0.0.0.0:81"));
        host.release_ports(holder(2));
        listen("[::]:81").unwrap();
    });
}

/// What is left is for connections, netlink, and whatever a repair starts.
#[test]
fn ports_take_a_quarter_of_the_descriptors_at_most() {
    on_real(|world: &World| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 400, hard).unwrap();
        let host = &world.host;
        assert_eq!(host.hold_ports(holder(1), &[tcp(&V4, "1000-1089")]).unwrap(), []);
        let refused = host.hold_ports(holder(2), &[tcp(&V4, "2000-2010")]);
        assert!(
            matches!(refused, Err(HostError::TooManyPorts { held: 90, wanted: 11, most: 100 })),
            "{refused:?}"
        );
        assert_eq!(host.hold_ports(holder(2), &[tcp(&V4, "2000-2009")]).unwrap(), []);
        listen("0.0.0.0:2010").unwrap();
    });
}

/// Whoever comes while our rules are away is neither accepted nor refused, and nothing he sends is kept.
#[test]
fn nothing_is_heard_at_a_held_port() {
    on_real(|world: &World| {
        run(&["ip", "link", "set", "lo", "up"]);
        let both = [tcp(&BOTH, "80"), ports(None, &BOTH, Transport::Udp, "80")];
        world.host.hold_ports(holder(1), &both).unwrap();
        for at in ["127.0.0.1:80", "[::1]:80"] {
            let at: SocketAddr = at.parse().unwrap();
            let outcome = TcpStream::connect_timeout(&at, Duration::from_millis(300)).map(drop);
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TimedOut, "{at}");
            let client = UdpSocket::bind(if at.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
            client.send_to(&[0; 1024], at).unwrap();
        }
        let queues: BTreeMap<String, String> = ["udp", "udp6"]
            .into_iter()
            .flat_map(|table| {
                let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
                let lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
                lines.into_iter().filter_map(|line| {
                    let fields: Vec<&str> = line.split_whitespace().collect();
                    fields[1].ends_with(":0050").then(|| (fields[1].to_owned(), fields[4].to_owned()))
                })
            })
            .collect();
        assert!(
            !queues.is_empty() && queues.values().all(|queue| queue == "00000000:00000000"),
            "{queues:?}"
        );
    });
}

/// An address that the host gets later is published from the start.
#[test]
fn an_address_may_come_later() {
    on_real(|world: &World| {
        let at = Some("192.0.2.7");
        let wanted =
            [ports(at, &V4, Transport::Tcp, "80"), ports(Some("2001:db8::7"), &BOTH, Transport::Udp, "80")];
        assert_eq!(world.host.hold_ports(holder(1), &wanted).unwrap(), []);
        run(&["ip", "address", "add", "192.0.2.7/32", "dev", "lo"]);
        is_taken(listen("192.0.2.7:80"));
    });
}
