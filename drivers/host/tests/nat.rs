//! What the table means, asked with packets: who reaches whom, and who is seen as the sender.
//!
//! ```text
//!   lan (192.0.2.9) ── host (192.0.2.1) ─┬─ nat      172.16.0.0/16   a, b, quiet
//!                                        ├─ other    172.17.0.0/16   c
//!                                        ├─ internal 172.18.0.0/16   d, e
//!                                        └─ routed   172.19.0.0/16   f
//! ```

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hns_net::{Cidr, IfName, PortRange, Transport};
use hns_planner::{Element, Forwarding, Port, Step, Switch, Target};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use support::{World, address, name, on_real, output_in, route, run};

/// How long a packet that is dropped is waited for.
const PATIENCE: Duration = Duration::from_millis(250);

/// Runs `work` on a thread in this namespace, or in the calling thread's.
fn inside<T: Send>(namespace: Option<&Path>, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Some(path) = namespace {
                setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            }
            work()
        });
        thread.join().unwrap()
    })
}

/// Answers every TCP connection and UDP datagram on a port with the sender's address.
struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    fn start(namespace: Option<&Path>, port: u16) -> Self {
        let (tcp, udp) = inside(namespace, || {
            let place = format!("[::]:{port}");
            (TcpListener::bind(&place).unwrap(), UdpSocket::bind(&place).unwrap())
        });
        setsockopt(&tcp, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20)).unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (tcp_stop, udp_stop) = (Arc::clone(&stop), Arc::clone(&stop));
        let threads = vec![
            thread::spawn(move || {
                while !tcp_stop.load(Ordering::Relaxed) {
                    if let Ok((mut stream, peer)) = tcp.accept() {
                        let _ = write!(stream, "{}", peer.ip().to_canonical());
                    }
                }
            }),
            thread::spawn(move || {
                let mut buffer = [0; 16];
                while !udp_stop.load(Ordering::Relaxed) {
                    if let Ok((_, peer)) = udp.recv_from(&mut buffer) {
                        let _ = udp.send_to(peer.ip().to_canonical().to_string().as_bytes(), peer);
                    }
                }
            }),
        ];
        Self { stop, threads }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// Who the server says that we are, if it says anything.
fn ask(from: Option<&Path>, transport: Transport, to: &str) -> Option<IpAddr> {
    let to: SocketAddr = to.parse().unwrap();
    let answer = inside(from, || match transport {
        Transport::Tcp => {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            Some(text)
        }
        Transport::Udp => {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(to).ok()?;
            socket.send(b"?").ok()?;
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        }
        Transport::Sctp => None,
    });
    answer.map(|text| text.parse().unwrap())
}

/// As [`ask`], where an answer is expected: it gets the time that a busy machine takes.
fn wait_for(from: Option<&Path>, transport: Transport, to: &str) -> Option<IpAddr> {
    (0..20).find_map(|_| ask(from, transport, to))
}

/// Whether something answers there, asked with patience where it should.
fn answers(expected: bool, from: Option<&Path>, transport: Transport, to: &str) -> bool {
    let said = if expected { wait_for(from, transport, to) } else { ask(from, transport, to) };
    said.is_some()
}

struct Stage {
    lan: PathBuf,
}

const NAT: &str = "hns00000001";
const OTHER: &str = "hns00000002";
const INTERNAL: &str = "hns00000003";
const ROUTED: &str = "hns00000004";

fn switch(text: &str, n: u8) -> Switch {
    Switch {
        name: name(text),
        gateways: [address(&format!("172.{n}.0.1/16")), address(&format!("fd00:{n}::1/64"))].into(),
        mac: format!("00-15-5D-FF-00-{n:02X}").parse().unwrap(),
        ..support::switch()
    }
}

fn container(world: &World, switch: &str, n: u8, host: u8) -> PathBuf {
    let path = world.container(&format!("c{n}-{host}"));
    let port = Port {
        name: port_name(n, host),
        bridge: name(switch),
        target: Target::Path(path.clone()),
        interface: name("eth0"),
        mac: format!("00-15-5D-00-{n:02X}-{host:02X}").parse().unwrap(),
        mtu: hns_net::Mtu::ETHERNET,
        addresses: vec![address(&format!("172.{n}.0.{host}/16")), address(&format!("fd00:{n}::{host}/64"))],
        routes: vec![route("0.0.0.0/0", &format!("172.{n}.0.1")), route("::/0", &format!("fd00:{n}::1"))],
        until: std::collections::BTreeMap::new(),
    };
    world.plug(&port);
    let resident = |address: &hns_net::IfAddr| {
        let (switch, address) = (port.bridge.clone(), address.address());
        Element::Resident { switch, address }
    };
    world.host.execute(&Step::AddElements(port.addresses.iter().map(resident).collect())).unwrap();
    path
}

fn port_name(n: u8, host: u8) -> IfName {
    name(&format!("hnv00000000{n:02}{host:02}"))
}

fn network(switch: &Switch) -> Vec<Element> {
    let mut elements = vec![Element::Switch(switch.name.clone())];
    for gateway in &switch.gateways {
        let prefix = Cidr::new(gateway.address(), gateway.length()).unwrap();
        elements.push(Element::Inside { switch: switch.name.clone(), prefix });
    }
    elements
}

fn publish(at: Option<&str>, port: u16, to: &str, to_port: u16) -> Vec<Element> {
    let to: IpAddr = to.parse().unwrap();
    let at = at.map(|at| at.parse().unwrap());
    [Transport::Tcp, Transport::Udp]
        .into_iter()
        .flat_map(|transport| {
            let ports = PortRange::single(to_port).unwrap();
            [
                Element::Publish { at, transport, port, to, to_port },
                Element::Open { address: to, transport, ports },
            ]
        })
        .collect()
}

impl Stage {
    fn set(world: &World) -> Self {
        let host = &world.host;
        // The world's namespaces are new, but the VM's own may pass bridged frames through IP rules.
        host.prepare(&hns_host::Settings::default()).unwrap();
        host.execute(&Step::LoadTable { chains: true }).unwrap();
        host.execute(&Step::Forward(Forwarding { v4: true, v6: true })).unwrap();
        let lan = world.container("lan");
        lay_cable(&lan);
        let mut elements = Vec::new();
        for (text, n) in [(NAT, 16), (OTHER, 17), (INTERNAL, 18), (ROUTED, 19)] {
            let switch = switch(text, n);
            elements.extend(network(&switch));
            host.execute(&Step::MakeSwitch(switch)).unwrap();
        }
        for switch in [NAT, OTHER] {
            elements.extend([Element::Masquerade4(name(switch)), Element::Masquerade6(name(switch))]);
        }
        elements.push(Element::Internal(name(INTERNAL)));
        elements.extend([Element::Routed4(name(ROUTED)), Element::Routed6(name(ROUTED))]);
        host.execute(&Step::AddElements(elements)).unwrap();
        Self { lan }
    }
}

fn lay_cable(lan: &Path) {
    run(&["ip", "link", "add", "up0", "type", "veth", "peer", "name", "lan0"]);
    run(&["ip", "link", "set", "lan0", "netns", lan.to_str().unwrap()]);
    for words in ["addr add 192.0.2.1/24 dev up0", "addr add 2001:db8::1/64 dev up0 nodad", "link set up0 up"]
    {
        run(&[&["ip"], &words.split(' ').collect::<Vec<_>>()[..]].concat());
    }
    for words in [
        "addr add 192.0.2.9/24 dev lan0",
        "addr add 2001:db8::9/64 dev lan0 nodad",
        "link set lan0 up",
        // The routes of an attacker, or of a LAN that routes to the containers.
        "route add 172.16.0.0/14 via 192.0.2.1",
        "-6 route add fd00::/16 via 2001:db8::1",
    ] {
        output_in(lan, &[&["ip"], &words.split(' ').collect::<Vec<_>>()[..]].concat());
    }
}

const BOTH: [Transport; 2] = [Transport::Tcp, Transport::Udp];

#[test]
fn a_published_port_is_reached_from_everywhere_and_keeps_the_client() {
    on_real(|world| {
        let stage = Stage::set(world);
        let (a, b) = (container(world, NAT, 16, 2), container(world, NAT, 16, 3));
        let c = container(world, OTHER, 17, 2);
        let _server = Server::start(Some(&a), 80);
        let mut elements = publish(None, 8080, "172.16.0.2", 80);
        elements.extend(publish(None, 8080, "fd00:16::2", 80));
        world.host.execute(&Step::AddElements(elements.clone())).unwrap();

        let lan = Some(stage.lan.as_path());
        let (a, b, c) = (Some(a.as_path()), Some(b.as_path()), Some(c.as_path()));
        let cases = [
            ("from the LAN", lan, "192.0.2.1:8080", "192.0.2.9"),
            ("from the LAN, IPv6", lan, "[2001:db8::1]:8080", "2001:db8::9"),
            ("from the host by its address", None, "192.0.2.1:8080", "192.0.2.1"),
            ("from the host by its address, IPv6", None, "[2001:db8::1]:8080", "2001:db8::1"),
            ("from the host by the gateway", None, "172.16.0.1:8080", "172.16.0.1"),
            ("from the host by localhost", None, "127.0.0.1:8080", "172.16.0.1"),
            ("from the host by localhost, IPv6", None, "[::1]:8080", "fd00:16::1"),
            ("from the same network", b, "192.0.2.1:8080", "172.16.0.1"),
            ("from the same network, IPv6", b, "[2001:db8::1]:8080", "fd00:16::1"),
            ("from the same network by the gateway", b, "172.16.0.1:8080", "172.16.0.1"),
            ("from itself", a, "192.0.2.1:8080", "172.16.0.1"),
            ("from itself, IPv6", a, "[2001:db8::1]:8080", "fd00:16::1"),
            ("from another network", c, "192.0.2.1:8080", "172.17.0.2"),
            ("from another network, IPv6", c, "[2001:db8::1]:8080", "fd00:17::2"),
        ];
        for (what, from, to, seen) in cases {
            for transport in BOTH {
                let expected: IpAddr = seen.parse().unwrap();
                assert_eq!(wait_for(from, transport, to), Some(expected), "{what}: {transport} {to}");
            }
        }

        world.host.execute(&Step::RemoveElements(elements)).unwrap();
        let flushed = world.host.flush_flows(
            &["172.16.0.2", "fd00:16::2"].map(|ip| hns_host::FlowFilter::Of(ip.parse().unwrap())),
        );
        assert!(flushed.unwrap() > 0);
        for (what, from, to, _) in cases {
            assert_eq!(ask(from, Transport::Tcp, to), None, "{what}, withdrawn");
        }
    });
}

#[test]
fn where_bridged_frames_pass_ip_rules_published_ports_still_work() {
    on_real(|world| {
        std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1").unwrap();
        std::fs::write("/proc/sys/net/bridge/bridge-nf-call-ip6tables", "1").unwrap();
        run(&["nft", "add table ip filter; add chain ip filter DOCKER-USER"]);
        let stage = Stage::set(world);
        let (a, b) = (container(world, NAT, 16, 2), container(world, NAT, 16, 3));
        let _server = Server::start(Some(&a), 80);
        let mut elements = publish(None, 8080, "172.16.0.2", 80);
        elements.extend(publish(None, 8080, "fd00:16::2", 80));
        world.host.execute(&Step::AddElements(elements)).unwrap();
        let (a, b, lan) = (Some(a.as_path()), Some(b.as_path()), Some(stage.lan.as_path()));
        for from in [lan, a, b, None] {
            for to in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
                for transport in BOTH {
                    assert!(wait_for(from, transport, to).is_some(), "{from:?} {transport} {to}");
                }
            }
        }
        assert!(wait_for(None, Transport::Tcp, "127.0.0.1:8080").is_some());
        assert!(wait_for(b, Transport::Tcp, "172.16.0.2:80").is_some());
    });
}

#[test]
fn a_mapping_opens_only_what_it_names() {
    on_real(|world| {
        let stage = Stage::set(world);
        let lan = Some(stage.lan.as_path());
        let (a, c) = (container(world, NAT, 16, 2), container(world, OTHER, 17, 2));
        let _servers = [80, 81].map(|port| Server::start(Some(&a), port));
        let mut elements = publish(Some("127.0.0.1"), 8081, "172.16.0.2", 81);
        elements.extend(publish(Some("::1"), 8081, "fd00:16::2", 81));
        elements.extend(publish(Some("192.0.2.1"), 8080, "172.16.0.2", 80));
        world.host.execute(&Step::AddElements(elements)).unwrap();
        run(&["ip", "addr", "add", "192.0.2.2/24", "dev", "up0"]);

        let reached = |from, to, expected| BOTH.map(|transport| answers(expected, from, transport, to));
        let (a, c) = (Some(a.as_path()), Some(c.as_path()));
        let cases = [
            ("its address", lan, "192.0.2.1:8080", true),
            ("another address of the host", lan, "192.0.2.2:8080", false),
            ("another port", lan, "192.0.2.1:8081", false),
            ("the container itself", lan, "172.16.0.2:80", false),
            ("the container itself, IPv6", lan, "[fd00:16::2]:80", false),
            ("a port of localhost, on localhost", None, "127.0.0.1:8081", true),
            ("a port of localhost, on localhost, IPv6", None, "[::1]:8081", true),
            ("a port of localhost, on the host's address", None, "192.0.2.1:8081", false),
            ("the host's localhost from a container", a, "127.0.0.1:8081", false),
            ("another network", c, "172.16.0.2:80", false),
            ("another network, IPv6", c, "[fd00:16::2]:80", false),
        ];
        for (what, from, to, expected) in cases {
            assert_eq!(reached(from, to, expected), [expected; 2], "{what}: {to}");
        }

        // moby#45610: the LAN sends packets for 127.0.0.1 to our MAC.
        output_in(&stage.lan, &["ip", "route", "add", "127.0.0.1/32", "via", "192.0.2.1", "table", "7"]);
        output_in(&stage.lan, &["ip", "rule", "add", "pref", "0", "to", "127.0.0.1", "lookup", "7"]);
        output_in(&stage.lan, &["ip", "rule", "delete", "table", "local"]);
        output_in(&stage.lan, &["ip", "rule", "add", "pref", "10", "table", "local"]);
        output_in(&stage.lan, &["sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"]);
        assert_eq!(reached(lan, "127.0.0.1:8081", false), [false; 2]);
        // The same from a container, whose switch does route localnet.
        let path = a.unwrap();
        output_in(path, &["ip", "route", "add", "127.0.0.1/32", "via", "172.16.0.1", "table", "7"]);
        output_in(path, &["ip", "rule", "add", "pref", "0", "to", "127.0.0.1", "lookup", "7"]);
        output_in(path, &["ip", "rule", "delete", "table", "local"]);
        output_in(path, &["ip", "rule", "add", "pref", "10", "table", "local"]);
        output_in(path, &["sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"]);
        assert_eq!(reached(a, "127.0.0.1:8081", false), [false; 2]);
        let _of_the_host = Server::start(None, 9000);
        assert_eq!(reached(a, "127.0.0.1:9000", false), [false; 2]);
        // It is our guard that stopped it, not a mistake in the attack.
        run(&["nft", "flush", "chain", "inet", "hns", "guard"]);
        assert!(wait_for(a, Transport::Tcp, "127.0.0.1:9000").is_some());
    });
}

#[test]
fn ranges_keep_their_numbers() {
    on_real(|world| {
        let stage = Stage::set(world);
        let lan = Some(stage.lan.as_path());
        let a = container(world, NAT, 16, 2);
        let _servers = [8000, 8010].map(|port| Server::start(Some(&a), port));
        let ports: PortRange = "8000-8010".parse().unwrap();
        let elements: Vec<Element> = ["172.16.0.2", "fd00:16::2"]
            .iter()
            .flat_map(|to| BOTH.map(|transport| (to.parse::<IpAddr>().unwrap(), transport)))
            .flat_map(|(to, transport)| {
                [
                    Element::PublishRange { at: None, transport, ports, to },
                    Element::Open { address: to, transport, ports },
                ]
            })
            .collect();
        world.host.execute(&Step::AddElements(elements)).unwrap();
        for to in ["192.0.2.1:8000", "192.0.2.1:8010", "[2001:db8::1]:8000", "[2001:db8::1]:8010"] {
            for transport in BOTH {
                assert!(wait_for(lan, transport, to).is_some(), "{transport} {to}");
            }
        }
        assert_eq!(ask(lan, Transport::Tcp, "192.0.2.1:8011"), None);
        assert!(wait_for(None, Transport::Tcp, "127.0.0.1:8010").is_some());
    });
}

#[test]
fn outbound_traffic_of_every_protocol_leaves_with_the_hosts_address() {
    on_real(|world| {
        let stage = Stage::set(world);
        let a = container(world, NAT, 16, 2);
        let f = container(world, ROUTED, 19, 2);
        let _server = Server::start(Some(&stage.lan), 80);
        let seen = |from: &Path, to| BOTH.map(|transport| wait_for(Some(from), transport, to));
        let is = |text: &str| [Some(text.parse::<IpAddr>().unwrap()); 2];
        assert_eq!(seen(&a, "192.0.2.9:80"), is("192.0.2.1"));
        assert_eq!(seen(&a, "[2001:db8::9]:80"), is("2001:db8::1"));
        assert_eq!(seen(&f, "192.0.2.9:80"), is("172.19.0.2"));
        assert_eq!(seen(&f, "[2001:db8::9]:80"), is("fd00:19::2"));
        output_in(&stage.lan, &["ip", "route", "del", "172.16.0.0/14"]);
        output_in(&stage.lan, &["ip", "-6", "route", "del", "fd00::/16"]);
        for to in ["192.0.2.9", "2001:db8::9"] {
            output_in(&a, &["ping", "-c1", "-W5", to]);
        }
    });
}

#[test]
fn networks_are_isolated_as_their_kind_says() {
    on_real(|world| {
        let stage = Stage::set(world);
        let (a, b) = (container(world, NAT, 16, 2), container(world, NAT, 16, 3));
        let c = container(world, OTHER, 17, 2);
        let (d, e) = (container(world, INTERNAL, 18, 2), container(world, INTERNAL, 18, 3));
        let f = container(world, ROUTED, 19, 2);
        let open = ["172.19.0.2", "fd00:19::2"].iter().flat_map(|to| {
            let (address, ports) = (to.parse().unwrap(), PortRange::single(80).unwrap());
            BOTH.map(|transport| Element::Open { address, transport, ports })
        });
        world.host.execute(&Step::AddElements(open.collect())).unwrap();
        let all = [&a, &b, &c, &d, &e, &f, &stage.lan];
        let _servers: Vec<Server> =
            all.iter().flat_map(|path| [80, 81].map(|port| Server::start(Some(path), port))).collect();

        let cases = [
            ("within a network", &a, "172.16.0.3", "fd00:16::3", 81, true),
            ("between networks", &a, "172.17.0.2", "fd00:17::2", 81, false),
            ("within an internal network", &d, "172.18.0.3", "fd00:18::3", 81, true),
            ("from an internal network to the LAN", &d, "192.0.2.9", "2001:db8::9", 80, false),
            ("from an internal network to another", &d, "172.16.0.2", "fd00:16::2", 80, false),
            ("from another network to an internal one", &a, "172.18.0.2", "fd00:18::2", 80, false),
            ("from an internal network to a routed one", &d, "172.19.0.2", "fd00:19::2", 80, false),
            (
                "from the LAN to a routed network's open port",
                &stage.lan,
                "172.19.0.2",
                "fd00:19::2",
                80,
                true,
            ),
            ("from the LAN to its other ports", &stage.lan, "172.19.0.2", "fd00:19::2", 81, false),
            ("from another network to its open port", &a, "172.19.0.2", "fd00:19::2", 80, true),
            ("from the LAN to a container", &stage.lan, "172.16.0.2", "fd00:16::2", 80, false),
        ];
        for (what, from, v4, v6, port, expected) in cases {
            for to in [format!("{v4}:{port}"), format!("[{v6}]:{port}")] {
                for transport in BOTH {
                    assert_eq!(
                        answers(expected, Some(from), transport, &to),
                        expected,
                        "{what}: {transport} {to}"
                    );
                }
            }
        }
        assert!(
            wait_for(None, Transport::Tcp, "172.18.0.2:80").is_some(),
            "the host reaches an internal network"
        );
    });
}

#[test]
fn a_quiet_endpoint_reaches_out_but_not_its_neighbours() {
    on_real(|world| {
        let stage = Stage::set(world);
        let (a, b) = (container(world, NAT, 16, 2), container(world, NAT, 16, 3));
        let mut far = switch(NAT, 16);
        far.extra_segments = 1;
        world.host.execute(&Step::MakeSwitch(far)).unwrap();
        let q = container(world, &format!("{NAT}.1"), 16, 4);
        let _servers: Vec<Server> =
            [&a, &b, &q, &stage.lan].iter().map(|path| Server::start(Some(path), 80)).collect();
        let mut elements = publish(None, 8080, "172.16.0.4", 80);
        elements.extend(publish(None, 8081, "172.16.0.2", 80));
        world.host.execute(&Step::AddElements(elements)).unwrap();
        let ip = |text: &str| Element::QuietAddress(text.parse().unwrap());
        let cases = |quiet: bool| {
            [
                ("to a neighbour", &q, "172.16.0.2:80", !quiet),
                ("to a neighbour, IPv6", &q, "[fd00:16::2]:80", !quiet),
                ("from a neighbour", &a, "172.16.0.4:80", !quiet),
                ("from a neighbour, IPv6", &a, "[fd00:16::4]:80", !quiet),
                ("out", &q, "192.0.2.9:80", true),
                ("out, IPv6", &q, "[2001:db8::9]:80", true),
                ("to itself when published, from the LAN", &stage.lan, "192.0.2.1:8080", true),
                ("to itself when published, from a neighbour", &a, "192.0.2.1:8080", true),
                ("to a neighbour's published port", &q, "192.0.2.1:8081", true),
                ("between the others", &a, "172.16.0.3:80", true),
            ]
        };
        for quiet in [false, true, false] {
            let elements = vec![Element::QuietPort(port_name(16, 4)), ip("172.16.0.4"), ip("fd00:16::4")];
            if quiet {
                world.host.execute(&Step::AddElements(elements)).unwrap();
            } else {
                world.host.execute(&Step::RemoveElements(elements)).unwrap();
            }
            for (what, from, to, expected) in cases(quiet) {
                for transport in BOTH {
                    let reached = answers(expected, Some(from), transport, to);
                    assert_eq!(reached, expected, "quiet {quiet}, {what}: {transport} {to}");
                }
            }
        }
        // Routed by the gateway instead of bridged.
        world
            .host
            .execute(&Step::AddElements(vec![Element::QuietPort(port_name(16, 4)), ip("172.16.0.4")]))
            .unwrap();
        output_in(&q, &["ip", "route", "add", "172.16.0.2/32", "via", "172.16.0.1"]);
        assert_eq!(ask(Some(&q), Transport::Udp, "172.16.0.2:80"), None);
    });
}

#[test]
fn what_the_hosts_own_rules_drop_stays_dropped() {
    on_real(|world| {
        let stage = Stage::set(world);
        let a = container(world, NAT, 16, 2);
        let _server = Server::start(Some(&a), 80);
        world.host.execute(&Step::AddElements(publish(None, 8080, "172.16.0.2", 80))).unwrap();
        let reached = || ask(Some(&stage.lan), Transport::Tcp, "192.0.2.1:8080").is_some();
        eventually!(reached());
        for (chain, rule) in [
            ("type filter hook prerouting priority mangle;", "tcp dport 8080 drop"),
            ("type filter hook forward priority filter;", "meta l4proto tcp ct original proto-dst 8080 drop"),
        ] {
            run(&["nft", &format!("table inet site {{ chain own {{ {chain} {rule}; }}; }}")]);
            assert!(!reached(), "{chain}");
            run(&["nft", "delete", "table", "inet", "site"]);
            eventually!(reached());
        }
    });
}
