//! What is closed whatever anybody sets up: bridges on which the host has no port, vNICs without IPv6, addresses of
//! containers used by others.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hns_host::Scope;
use hns_planner::{Element, NamespaceSpec, Port, Step, Switch, Target};
use support::{World, address, name, on_real, output, output_in, port, route, run, switch};

fn path(port: &Port) -> &Path {
    match &port.target {
        Target::Path(path) => path,
        other => panic!("{other:?}"),
    }
}

fn pings(from: &Path, to: &str) -> bool {
    output_in(from, &["sh", "-c", &format!("ping -c1 -W0.3 {to} || true")]).contains(" 0% packet loss")
}

fn host_pings(to: &str) -> bool {
    output(&["sh", "-c", &format!("ping -c1 -W0.3 {to} || true")]).contains(" 0% packet loss")
}

fn counted(counter: &str) -> u64 {
    let shown = output(&["nft", "list", "counter", "inet", "hns", counter]);
    let mut words = shown.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).unwrap().parse().unwrap()
}

/// A namespace beyond the host, 198.51.100.2 and 2001:db8::2, that routes everything to it.
fn outside(world: &World) -> PathBuf {
    let path = world.container("outside");
    let shown = path.display();
    run(&[
        "sh",
        "-ec",
        &format!(
            "ip link add up0 type veth peer name eth0 netns '{shown}'
         ip addr add 198.51.100.1/24 dev up0; ip addr add 2001:db8::1/64 dev up0 nodad; ip link set up0 up
         sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
         sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.up0.rp_filter=0
         nsenter --net='{shown}' sh -ec 'ip link set lo up; ip addr add 198.51.100.2/24 dev eth0
             ip addr add 2001:db8::2/64 dev eth0 nodad; ip link set eth0 up
             ip route add default via 198.51.100.1; ip -6 route add default via 2001:db8::1'"
        ),
    ]);
    path
}

fn load(world: &World, elements: Vec<Element>) {
    world.host.execute(&Step::LoadTable { chains: true }).unwrap();
    world.host.execute(&Step::AddElements(elements)).unwrap();
}

fn private() -> Switch {
    let gateways = BTreeSet::new();
    Switch {
        name: name("hns00000009"),
        mac: "02-00-00-00-00-09".parse().unwrap(),
        gateways,
        loopback: false,
        hosted: false,
        ..switch()
    }
}

/// A container at 10.9.0.n and fd00:9::n on the private switch.
fn on_private(world: &World, n: u8) -> Port {
    let plugged = Port {
        bridge: private().name,
        addresses: vec![address(&format!("10.9.0.{n}/24")), address(&format!("fd00:9::{n}/64"))],
        routes: vec![route("0.0.0.0/0", "10.9.0.1"), route("::/0", "fd00:9::1")],
        ..port(n, &world.container(&format!("p{n}")))
    };
    world.plug(&plugged);
    plugged
}

#[test]
fn the_host_is_not_on_a_private_switch_even_if_it_has_an_address_there() {
    on_real(|world| {
        load(world, Vec::new());
        let _outside = outside(world);
        world.host.execute(&Step::MakeSwitch(private())).unwrap();
        let (one, two) = (on_private(world, 11), on_private(world, 12));
        support::wait_until("they reach each other", || {
            pings(path(&one), "10.9.0.12") && pings(path(&one), "fd00:9::12")
        });
        // An administrator does all that he can, but for saying that the switch is the host's.
        run(&[
            "sh",
            "-ec",
            "ip link set hns00000009 arp on; sysctl -qw net.ipv6.conf.hns00000009.disable_ipv6=0
             sysctl -qw net.ipv4.conf.hns00000009.forwarding=1 net.ipv4.conf.hns00000009.rp_filter=0
             ip addr add 10.9.0.1/24 dev hns00000009; ip addr add fd00:9::1/64 dev hns00000009 nodad",
        ]);
        let attempts = || {
            [host_pings("10.9.0.12"), host_pings("fd00:9::12")]
                .into_iter()
                .chain(
                    ["10.9.0.1", "fd00:9::1", "198.51.100.1", "198.51.100.2"].map(|to| pings(path(&two), to)),
                )
                .collect::<Vec<bool>>()
        };
        let seen = counted("private_drops");
        let reached = attempts();
        assert!(!reached.contains(&true), "{reached:?}");
        assert!(counted("private_drops") > seen);
        // It is the missing element that closes it.
        world.host.execute(&Step::AddElements(vec![Element::Switch(private().name)])).unwrap();
        support::wait_until("it is open", || attempts()[..5] == [true; 5]);
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        assert!(!attempts().contains(&true), "an empty table is closed");
    });
}

#[test]
fn a_private_switch_stays_closed_while_others_have_flushed_the_rules() {
    on_real(|world| {
        let outside = outside(world);
        world.host.execute(&Step::MakeSwitch(private())).unwrap();
        let one = on_private(world, 11);
        run(&[
            "nsenter",
            &format!("--net={}", outside.display()),
            "ip",
            "route",
            "add",
            "10.9.0.0/24",
            "via",
            "198.51.100.1",
        ]);
        run(&[
            "sh",
            "-ec",
            "ip route add 10.9.0.0/24 dev hns00000009; ip neigh replace 10.9.0.11 lladdr 00:15:5d:00:01:0b dev hns00000009",
        ]);
        let neighbour = "ip neigh replace 10.9.0.1 lladdr 02:00:00:00:00:09 dev eth0";
        output_in(path(&one), &["sh", "-c", neighbour]);
        assert!(!pings(path(&one), "198.51.100.2"));
    });
}

#[test]
fn a_further_segment_is_no_way_to_the_host_or_out() {
    on_real(|world| {
        let switch = Switch { extra_segments: 1, ..switch() };
        let elements = vec![
            Element::Switch(switch.name.clone()),
            Element::Internal(switch.name.clone()),
            Element::Inside { switch: switch.name.clone(), prefix: "172.16.0.0/16".parse().unwrap() },
        ];
        load(world, elements);
        let outside = outside(world);
        world.host.execute(&Step::MakeSwitch(switch.clone())).unwrap();
        let mut far = port(1, &world.container("far"));
        far.bridge = Switch::segment_name(&switch.name, 1).unwrap();
        world.plug(&far);
        support::wait_until("the gateway answers over the trunk", || pings(path(&far), "172.16.0.1"));
        assert!(!pings(path(&far), "198.51.100.2"), "an Internal network");
        // The bridge it is plugged into has a MAC, too, and here all that it may have to forward what is sent there.
        let shown = output(&["ip", "-o", "link", "show", "dev", far.bridge.as_str()]);
        let mac = shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
        output_in(
            path(&far),
            &["ip", "neigh", "replace", "172.16.0.1", "lladdr", mac, "dev", "eth0", "nud", "permanent"],
        );
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{}/forwarding", far.bridge), "1").unwrap();
        run(&[
            "sh",
            "-c",
            "sysctl -qw net.ipv4.conf.hns0a1b2c3d.rp_filter=0; echo 0 > /proc/sys/net/ipv4/conf/hns0a1b2c3d.1/rp_filter",
        ]);
        output_in(
            &outside,
            &[
                "nft",
                "add table inet probe; add counter inet probe leaked; \
            add chain inet probe pre { type filter hook prerouting priority -500; }; \
            add rule inet probe pre ip saddr 172.16.0.0/16 counter name leaked",
            ],
        );
        let seen = counted("private_drops");
        for to in ["198.51.100.2", "172.16.0.1"] {
            assert!(!pings(path(&far), to), "{to}");
        }
        output_in(path(&far), &["sh", "-c", "echo leak | socat -u - UDP-SENDTO:198.51.100.2:9"]);
        support::wait_until("counted", || counted("private_drops") >= seen + 3);
        let leaked = output_in(&outside, &["nft", "list", "counter", "inet", "probe", "leaked"]);
        assert!(leaked.contains("packets 0 "), "{leaked}");
    });
}

/// A router advertisement by `fe80::1` to all nodes: a default route, and the prefix 2001:db8:bad::/64 to take an
/// address from.
fn router_advertisement() -> Vec<u8> {
    let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend([3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0]);
    message.extend([0x20, 1, 0x0d, 0xb8, 0x0b, 0xad, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let from: [u8; 16] = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).octets();
    let to: [u8; 16] = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
    let length = u8::try_from(message.len()).unwrap();
    let pseudo = [&from[..], &to, &[0, 0, 0, length, 0, 0, 0, 58], &message].concat();
    let sum: u32 = pseudo.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    message[2..4].copy_from_slice(&(!folded).to_be_bytes());
    let ethernet = [0x33, 0x33, 0, 0, 0, 1, 0, 0x15, 0x5d, 0, 1, 1, 0x86, 0xdd];
    [&ethernet[..], &[0x60, 0, 0, 0, 0, length, 58, 255], &from, &to, &message].concat()
}

#[test]
fn a_container_without_ipv6_takes_nothing_from_a_rogue_router() {
    on_real(|world| {
        let switch = Switch { gateways: [address("172.16.0.1/16")].into(), ..switch() };
        world.host.execute(&Step::MakeSwitch(switch)).unwrap();
        let [rogue, victim, witness] = [1, 2, 3].map(|n| {
            let container = world.container(&format!("c{n}"));
            output_in(
                &container,
                &["sysctl", "-qw", "net.ipv6.conf.default.accept_ra=1", "net.ipv6.conf.default.accept_dad=0"],
            );
            let mut port = port(n, &container);
            port.addresses.truncate(1);
            port.routes.truncate(1);
            world.plug(&port);
            port
        });
        // Its owner wants it so; he shows that the advertisement is one.
        output_in(
            path(&witness),
            &["sysctl", "-qw", "net.ipv6.conf.eth0.addr_gen_mode=0", "net.ipv6.conf.eth0.disable_ipv6=0"],
        );
        let octal: String = router_advertisement().iter().map(|byte| format!("\\{byte:03o}")).collect();
        let advertise = format!("printf '{octal}' | socat -u - INTERFACE:eth0");
        let taken = |port: &Port| {
            let shown = "ip -6 addr show dev eth0; ip -6 route show";
            output_in(path(port), &["sh", "-c", shown])
        };
        support::wait_until("the witness takes an address and a route", || {
            output_in(path(&rogue), &["sh", "-c", &advertise]);
            let taken = taken(&witness);
            taken.contains("2001:db8:bad:") && taken.contains("default via fe80::1")
        });
        assert_eq!(taken(&victim), "");
    });
}

#[test]
fn an_address_of_a_container_comes_from_its_own_switch_only() {
    on_real(|world| {
        let other = Switch {
            name: name("hns00000002"),
            mac: "02-00-00-00-00-02".parse().unwrap(),
            gateways: [address("10.2.0.1/24"), address("fd00:2::1/64")].into(),
            ..switch()
        };
        let inside = |switch: &Switch, prefix: &str| Element::Inside {
            switch: switch.name.clone(),
            prefix: prefix.parse().unwrap(),
        };
        load(
            world,
            vec![
                Element::Switch(switch().name),
                Element::Switch(other.name.clone()),
                inside(&switch(), "172.16.0.0/16"),
                inside(&switch(), "fd00:16::/64"),
                inside(&other, "10.2.0.0/24"),
                inside(&other, "fd00:2::/64"),
            ],
        );
        let outside = outside(world);
        for switch in [switch(), other.clone()] {
            world.host.execute(&Step::MakeSwitch(switch)).unwrap();
        }
        run(&[
            "sh",
            "-ec",
            "for i in hns0a1b2c3d hns00000002; do sysctl -qw net.ipv4.conf.$i.rp_filter=0; done",
        ]);
        let victim = port(1, &world.container("victim"));
        world.plug(&victim);
        let neighbour = Port {
            bridge: other.name,
            addresses: vec![address("10.2.0.9/24"), address("fd00:2::9/64")],
            routes: vec![route("0.0.0.0/0", "10.2.0.1"), route("::/0", "fd00:2::1")],
            ..port(2, &world.container("neighbour"))
        };
        world.plug(&neighbour);
        // Whether the host itself sees a datagram that says it comes from there.
        run(&[
            "nft",
            "add table inet probe; add counter inet probe seen; \
            add chain inet probe in { type filter hook input priority 0; }; \
            add rule inet probe in udp dport 4242 counter name seen",
        ]);
        let seen = || output(&["nft", "list", "counter", "inet", "probe", "seen"]);
        let send = |from: &Path, source: &str, to: &str| {
            let (flag, kind, nodad) =
                if to.contains('[') { ("-6", "UDP6", "nodad") } else { ("-4", "UDP4", "") };
            let bind = if to.contains('[') { format!("[{source}]") } else { source.to_owned() };
            output_in(
                from,
                &[
                    "sh",
                    "-ec",
                    &format!(
                        "ip {flag} addr show to {source} | grep -q . || ip addr add {source} dev lo {nodad}
                 echo x | socat -u - {kind}-SENDTO:{to}:4242,bind={bind}"
                    ),
                ],
            );
        };
        for from in [outside.as_path(), path(&neighbour)] {
            for (source, to) in [("172.16.0.2", "198.51.100.1"), ("fd00:16::2", "[2001:db8::1]")] {
                let before = counted("stray_drops");
                support::wait_until(&format!("{source} by {from:?} is counted"), || {
                    send(from, source, to);
                    counted("stray_drops") > before
                });
            }
        }
        assert!(seen().contains("packets 0 "), "{}", seen());
        // Its own.
        let before = counted("stray_drops");
        for (source, to) in [("172.16.0.2", "198.51.100.1"), ("fd00:16::2", "[2001:db8::1]")] {
            let so_far = seen();
            support::wait_until(&format!("the host sees {source}"), || {
                send(path(&victim), source, to);
                seen() != so_far
            });
        }
        // And the host's, to itself.
        assert!(
            output(&["ping", "-c1", "-W1", "-I", "172.16.0.1", "198.51.100.1"]).contains(" 0% packet loss")
        );
        assert_eq!(counted("stray_drops"), before);
    });
}

#[test]
fn a_namespace_in_which_an_earlier_daemon_kept_a_switch_goes_with_its_ports() {
    on_real(|world| {
        let old = world.namespace_path("old");
        world.host.execute(&Step::MakeNamespace(NamespaceSpec { path: old.clone() })).unwrap();
        let container = world.container("a");
        let port = port(1, &container);
        output_in(
            &old,
            &[
                "sh",
                "-ec",
                &format!(
                    "ip link add hns0a1b2c3d group 0x686e7300 type bridge
             ip link add {} group 0x686e7300 type veth peer name eth0 netns '{}'
             ip link set {} master hns0a1b2c3d",
                    port.name,
                    container.display(),
                    port.name
                ),
            ],
        );
        assert_eq!(world.host.observe(&Scope::Everything).unwrap().namespaces, [old.clone()].into());
        world.host.execute(&Step::RemoveNamespace(NamespaceSpec { path: old })).unwrap();
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        // At once: the name of its far end is free.
        world.plug(&port);
        assert_eq!(world.host.observe(&Scope::Everything).unwrap().namespaces, [].into());
    });
}
