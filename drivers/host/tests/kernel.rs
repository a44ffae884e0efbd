//! What only the real host does: settings, other programs' rules, announcements.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use hns_host::{BridgeNetfilter, Finding, HostError, HostEvent, Level, Scope, Settings};
use hns_net::Cidr;
use hns_planner::{Announcement, Element, Forwarding, Step, Target};
use support::{World, handed, name, on_real, open, output, output_in, port, run, switch};

fn setting(name: &str) -> String {
    fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap().trim().to_owned()
}

fn set(name: &str, value: &str) {
    fs::write(format!("/proc/sys/net/{name}"), value).unwrap();
}

const CALLS: &str = "bridge/bridge-nf-call-iptables";

#[test]
fn turning_on_forwarding_keeps_router_discovery_alive() {
    on_real(|world| {
        run(&["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
        set("ipv6/conf/up1/accept_ra", "0");
        world.host.execute(&Step::Forward(Forwarding { v4: true, v6: true })).unwrap();
        assert_eq!(setting("ipv6/conf/up0/accept_ra"), "2");
        assert_eq!(setting("ipv6/conf/up1/accept_ra"), "0");
        assert_eq!(setting("ipv6/conf/default/accept_ra"), "2");
        assert_eq!(setting("ipv4/ip_forward"), "1");
        assert_eq!(setting("ipv6/conf/all/forwarding"), "1");
    });
}

#[test]
fn bridge_netfilter_goes_off_unless_somebody_needs_it() {
    on_real(|world| {
        let prepare = |bridge_netfilter| {
            set(CALLS, "1");
            world.host.prepare(&Settings { bridge_netfilter }).unwrap();
            setting(CALLS)
        };
        assert_eq!(prepare(BridgeNetfilter::Keep), "1");
        assert_eq!(prepare(BridgeNetfilter::Auto), "0");
        run(&["nft", "add table ip filter; add chain ip filter DOCKER-USER"]);
        assert_eq!(prepare(BridgeNetfilter::Auto), "1");
        assert_eq!(prepare(BridgeNetfilter::Off), "0");
        assert!(world.path("netns").is_dir());
    });
}

#[test]
fn where_bridged_frames_pass_ip_rules_a_port_may_send_back() {
    on_real(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let (a, b) = (world.container("a"), world.container("b"));
        set(CALLS, "0");
        world.plug(&port(1, &a));
        set(CALLS, "1");
        world.plug(&port(2, &b));
        let hairpin = |n| output(&["bridge", "-d", "link", "show", "dev", port(n, &a).name.as_str()]);
        assert!(hairpin(1).contains("hairpin off"));
        assert!(hairpin(2).contains("hairpin on"));
        world.host.execute(&Step::ReplugPort(port(1, &a))).unwrap();
        world.host.execute(&open(&port(1, &a))).unwrap();
        assert!(hairpin(1).contains("hairpin on"));
    });
}

#[test]
fn a_port_looks_as_it_should_from_inside() {
    on_real(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let a = world.container("a");
        // As a runtime that wants no IPv6 leaves it; who asks for an address wants it.
        output_in(&a, &["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]);
        world.plug(&port(1, &a));
        let shown = output_in(&a, &["ip", "-o", "address", "show"]);
        for expected in [
            "inet 172.16.0.2/16 brd 172.16.255.255 scope global eth0",
            "inet6 fd00:16::2/64 scope global nodad",
            "inet6 fe80::215:5dff:fe00:101/64 scope link nodad",
            "inet 127.0.0.1/8 scope host lo",
        ] {
            assert!(shown.contains(expected), "{expected} in\n{shown}");
        }
        assert!(!shown.contains("tentative"), "{shown}");
        assert!(output_in(&a, &["ip", "route"]).contains("default via 172.16.0.1 dev eth0"));
        assert!(output_in(&a, &["ip", "-6", "route"]).contains("default via fd00:16::1 dev eth0"));
        assert_eq!(output_in(&a, &["sysctl", "-n", "net.ipv6.conf.eth0.accept_ra"]).trim(), "0");

        let b = world.container("b");
        let mut only_v4 = port(2, &b);
        only_v4.addresses.truncate(1);
        only_v4.routes.truncate(1);
        world.plug(&only_v4);
        let shown = output_in(&b, &["ip", "-o", "-6", "address", "show", "dev", "eth0"]);
        assert_eq!(shown, "");
        let host_end = port(1, &a).name;
        assert_eq!(output(&["ip", "-o", "-6", "address", "show", "dev", host_end.as_str()]), "");
        output_in(&a, &["ping", "-c1", "-W5", "fd00:16::1"]);
        output_in(&a, &["ping", "-c1", "-W5", "172.16.0.3"]);
        let stats = world.host.stats(&host_end).unwrap();
        assert!(stats.packets_sent >= 2 && stats.bytes_sent > 0, "{stats:?}");
        assert!(stats.packets_received >= 2, "{stats:?}");
    });
}

#[test]
fn a_port_carries_frames_from_the_moment_it_is_opened_and_not_before() {
    on_real(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let a = world.container("a");
        let port = port(1, &a);
        world.host.execute(&Step::PlugPort(port.clone())).unwrap();
        let host_end = || output(&["ip", "-o", "link", "show", "dev", port.name.as_str()]);
        assert!(
            host_end().contains("master hns0a1b2c3d") && host_end().contains("state DOWN"),
            "{}",
            host_end()
        );
        let said = output_in(&a, &["sh", "-c", "ping -c1 -W1 172.16.0.1 || true"]);
        assert!(said.contains("100% packet loss"), "{said}");
        assert_eq!(world.host.stats(&port.name).unwrap().packets_sent, 0);

        set(CALLS, "1");
        for _ in 0..2 {
            world.host.execute(&open(&port)).unwrap();
            for gateway in ["172.16.0.1", "fd00:16::1"] {
                output_in(&a, &["ping", "-c1", "-W5", gateway]);
            }
            assert_eq!(output(&["ip", "-o", "-6", "address", "show", "dev", port.name.as_str()]), "");
            assert!(
                output(&["bridge", "-d", "link", "show", "dev", port.name.as_str()]).contains("hairpin on")
            );
            world.host.execute(&Step::UnplugPort { name: port.name.clone() }).unwrap();
            world.host.execute(&Step::ReplugPort(port.clone())).unwrap();
            assert!(host_end().contains("state DOWN"), "{}", host_end());
        }
    });
}

#[test]
fn a_vnic_that_its_engine_has_moved_is_a_port_like_any_other() {
    on_real(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let (a, port) = (world.container("a"), handed());
        world.plug(&port);
        // It has no address of its own while it waits, on which the host could answer.
        let waiting = output(&["ip", "-o", "address", "show", "dev", port.interface.as_str()]);
        assert_eq!(waiting, "");
        let target = a.display().to_string();
        output(&["ip", "link", "set", port.interface.as_str(), "netns", &target, "name", "eth7"]);
        output_in(&a, &["ip", "address", "add", "172.16.0.2/16", "dev", "eth7"]);
        output_in(&a, &["ip", "link", "set", "eth7", "up"]);
        output_in(&a, &["ping", "-c1", "-W5", "172.16.0.1"]);
        let scope = Scope::Port(port.name.clone());
        let shown = &world.host.observe(&scope).unwrap().ports[&port.name];
        assert!(shown.up && shown.forwards, "{shown:?}");
        world.host.execute(&Step::UnplugPort { name: port.name.clone() }).unwrap();
        world.host.reap().unwrap();
        assert!(!output_in(&a, &["ip", "-o", "link"]).contains("eth7"));
    });
}

#[test]
fn neighbours_learn_where_an_address_went() {
    on_real(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let a = world.container("a");
        world.plug(&port(1, &a));
        for neighbour in ["172.16.0.9", "fd00:16::9"] {
            for words in [
                vec![
                    "ip",
                    "neigh",
                    "add",
                    neighbour,
                    "lladdr",
                    "00:15:5d:00:00:99",
                    "dev",
                    "eth0",
                    "nud",
                    "stale",
                ],
                vec!["ip", "neigh", "show", neighbour],
            ] {
                output_in(&a, &words);
            }
        }
        run(&["ip", "neigh", "add", "172.16.0.9", "lladdr", "00:15:5d:00:00:99", "dev", support::SWITCH]);
        let announcement = Announcement {
            link: switch().name,
            mac: "00-15-5D-00-01-09".parse().unwrap(),
            addresses: vec!["172.16.0.9".parse().unwrap(), "fd00:16::9".parse().unwrap()],
        };
        world.host.announce(&announcement).unwrap();
        world.host.announce(&announcement).unwrap();
        let seen = || output_in(&a, &["ip", "neigh", "show"]);
        eventually!(seen().matches("lladdr 00:15:5d:00:01:09").count() == 2);
        assert_eq!(output(&["ip", "neigh", "show", "172.16.0.9"]), "");
    });
}

#[test]
fn routes_of_others_are_told() {
    on_real(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let watch = world.host.watch().unwrap();
        run(&["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
        run(&["ip", "link", "set", "up1", "up"]);
        run(&["ip", "link", "set", "up0", "up"]);
        run(&["ip", "addr", "add", "192.0.2.1/24", "dev", "up0"]);
        run(&["ip", "-6", "addr", "add", "2001:db8::1/64", "dev", "up0", "nodad"]);
        run(&["ip", "route", "add", "10.0.0.0/8", "via", "192.0.2.9", "table", "77"]);
        run(&["ip", "route", "add", "default", "via", "192.0.2.9"]);
        let expected =
            ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/64"].map(|text| text.parse::<Cidr>().unwrap());
        assert_eq!(world.host.routes(None).unwrap(), expected);
        let mut missing: Vec<HostEvent> = expected.map(HostEvent::RoutesChanged).into();
        while !missing.is_empty() {
            let event = watch.next_event().unwrap();
            let others = matches!(event, HostEvent::RoutesChanged(_) | HostEvent::HostsOwnChanged);
            assert!(others, "{event:?}");
            missing.retain(|wanted| *wanted != event);
        }
    });
}

/// A classifier that every kernel with eBPF has. Its one instruction returns -1: it matches.
const PASS: &str = "pref 1 bpf bytecode '1,6 0 0 4294967295'";

#[test]
fn a_filter_that_is_taken_off_is_told() {
    on_real(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let (a, b, c) = (world.container("a"), world.container("b"), world.container("c"));
        let ports = [port(1, &a), port(2, &b), port(3, &c)];
        run(&["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
        let watch = world.host.watch().unwrap();
        let tc = |words: &str| run(&["sh", "-c", &format!("tc {words}")]);
        // As the datapath does it.
        for port in &ports {
            world.plug(port);
            tc(&format!("qdisc add dev {} ingress_block 22 egress_block 23 clsact", port.name));
        }
        for block in [22, 23] {
            tc(&format!("filter add block {block} {PASS}"));
        }
        // Nor is it ours what happens elsewhere, to a port that is going, or behind the filter.
        tc("qdisc add dev up0 clsact");
        tc(&format!("filter add dev up0 ingress {PASS}"));
        tc("qdisc del dev up0 clsact");
        tc("qdisc add dev up0 root handle 467: htb");
        tc("class add dev up0 parent 467: classid 467:1 htb rate 1gbit");
        tc("class del dev up0 classid 467:1");
        tc("qdisc del dev up0 root");
        world.host.execute(&Step::UnplugPort { name: ports[2].name.clone() }).unwrap();
        tc(&format!("qdisc del dev {} clsact", ports[2].name));
        world.host.reap().unwrap();

        tc(&format!("qdisc del dev {} clsact", ports[0].name));
        assert_eq!(watch.next_event(), Some(HostEvent::FilterChanged(ports[0].name.clone())));
        tc(&format!("qdisc add dev {} clsact", ports[0].name));
        tc(&format!("filter add dev {} ingress {PASS}", ports[0].name));
        assert_eq!(watch.next_event(), Some(HostEvent::FilterChanged(ports[0].name.clone())));
        tc(&format!("qdisc add dev {} root handle 467: htb", ports[0].name));
        tc(&format!("class add dev {} parent 467: classid 467:1 htb rate 1gbit", ports[0].name));
        tc(&format!("class del dev {} classid 467:1", ports[0].name));
        assert_eq!(watch.next_event(), Some(HostEvent::FilterChanged(ports[0].name.clone())));
        tc(&format!("qdisc del dev {} root", ports[0].name));
        assert_eq!(watch.next_event(), Some(HostEvent::FilterChanged(ports[0].name.clone())));
        tc("filter del block 22 pref 1 bpf");
        assert_eq!(watch.next_event(), Some(HostEvent::FiltersChanged));
        tc("filter del block 23");
        assert_eq!(watch.next_event(), Some(HostEvent::FiltersChanged));
        world.host.execute(&Step::UnplugPort { name: ports[1].name.clone() }).unwrap();
        world.host.reap().unwrap();
        world.delete_link(&switch().name);
        assert_eq!(watch.next_event(), Some(HostEvent::PortChanged(ports[0].name.clone())));
    });
}

#[test]
fn a_damaged_table_is_not_whole() {
    on_real(|world| {
        let whole = |world: &World| {
            let scope = hns_host::Scope::Everything;
            world.host.observe(&scope).unwrap().rules.is_some()
        };
        for damage in [
            "flush chain inet hns forward",
            "insert rule inet hns forward accept",
            "delete table inet hns",
            "delete element inet hns same { hns0a1b2c3d . hns0a1b2c3d }",
        ] {
            world.host.execute(&Step::LoadTable { chains: true }).unwrap();
            world.host.execute(&Step::AddElements(vec![Element::Switch(switch().name)])).unwrap();
            assert!(whole(world));
            run(&["nft", damage]);
            assert!(!whole(world), "{damage}");
        }
        let port = name("hnv0a1b2c3d4e01");
        for damage in ["flush chain bridge hns forward", "flush chain bridge hns guard"] {
            world.host.execute(&Step::LoadTable { chains: true }).unwrap();
            world.host.execute(&Step::AddElements(vec![Element::QuietPort(port.clone())])).unwrap();
            assert!(whole(world));
            run(&["nft", damage]);
            assert!(!whole(world), "{damage}");
        }
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        assert!(whole(world));
    });
}

fn foreign(world: &World) -> Vec<Finding> {
    let mut findings = world.host.diagnose(&[]).unwrap();
    findings.retain(|finding| finding.check == "foreign-rules");
    findings
}

#[test]
fn foreign_rules_that_block_us_are_named() {
    on_real(|world| {
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        let [fine] = &foreign(world)[..] else { panic!("one finding when there is nothing") };
        assert_eq!(fine.level, Level::Ok);

        run(&[
            "nft",
            "table inet site { chain pass { type filter hook forward priority 0; policy drop; }; }",
        ]);
        let [policy] = &foreign(world)[..] else { panic!("one finding") };
        assert_eq!(policy.level, Level::Problem);
        assert!(policy.detail.contains("inet site pass"), "{policy:?}");
        run(&["sh", "-c", policy.hint.as_deref().unwrap()]);
        let [opened] = &foreign(world)[..] else { panic!("one finding") };
        assert_eq!(opened.level, Level::Ok, "{opened:?}");
        run(&["nft", "delete", "table", "inet", "site"]);

        run(&[
            "nft",
            "table ip6 site { chain deep { tcp dport 80 reject; }; chain pass { type filter hook forward priority 0; jump deep; }; }",
        ]);
        let [rule] = &foreign(world)[..] else { panic!("one finding") };
        assert_eq!(rule.level, Level::Warn);
        assert!(rule.detail.contains("deep"), "{rule:?}");
        run(&["nft", "delete", "table", "ip6", "site"]);

        run(&[
            "nft",
            "table inet site { chain pass { type filter hook forward priority 0; iifname eth7 oifname eth8 drop; }; }",
        ]);
        let [elsewhere] = &foreign(world)[..] else { panic!("one finding") };
        assert_eq!(elsewhere.level, Level::Ok, "{elsewhere:?}");
    });
}

#[test]
fn the_chain_that_docker_reserves_is_opened_once() {
    on_real(|world| {
        world.host.open_reserved_chain().unwrap();
        let watch = world.host.watch().unwrap();
        for tool in ["iptables", "ip6tables"] {
            run(&[tool, "-P", "FORWARD", "DROP"]);
            run(&[tool, "-N", "DOCKER-USER"]);
            run(&[tool, "-A", "FORWARD", "-j", "DOCKER-USER"]);
        }
        run(&["iptables", "-A", "DOCKER-USER", "-j", "RETURN"]);
        let told =
            std::iter::from_fn(|| watch.next_event()).find(|event| *event != HostEvent::HostFirewallChanged);
        assert_eq!(told, Some(HostEvent::RulesChanged));
        drop(watch);
        let blocked = foreign(world);
        assert!(blocked.iter().filter(|finding| finding.level == Level::Problem).count() == 2, "{blocked:?}");
        world.host.open_reserved_chain().unwrap();
        world.host.open_reserved_chain().unwrap();
        let rules = |tool| output(&[tool, "-S", "DOCKER-USER"]);
        assert_eq!(
            rules("iptables"),
            "-N DOCKER-USER\n-A DOCKER-USER -i hns+ -m mark --mark 0x40000000/0x40000000 -j ACCEPT\n-A DOCKER-USER -o hns+ -j ACCEPT\n-A DOCKER-USER -j RETURN\n"
        );
        assert_eq!(
            rules("ip6tables"),
            "-N DOCKER-USER\n-A DOCKER-USER -i hns+ -m mark --mark 0x40000000/0x40000000 -j ACCEPT\n-A DOCKER-USER -o hns+ -j ACCEPT\n"
        );
        let opened = foreign(world);
        assert!(opened.iter().all(|finding| finding.level == Level::Ok), "{opened:?}");
        for tool in ["iptables", "ip6tables"] {
            let mark = ["-m", "mark", "--mark", "0x40000000/0x40000000"];
            run(&[&[tool, "-D", "DOCKER-USER", "-i", "hns+"], &mark[..], &["-j", "ACCEPT"]].concat());
        }
        world.host.open_reserved_chain().unwrap();
        assert!(rules("iptables").contains("-i hns+"));
    });
}

/// Whoever gives us a path may change what is there while we look.
#[test]
fn a_path_that_flips_to_a_fifo_keeps_nobody_waiting() {
    on_real(|world| {
        let [fifo, flipping, next] = ["fifo", "flipping", "next"].map(|name| world.path(name));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let container = world.container("a");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let flip = || {
                for target in [&container, &fifo].into_iter().cycle() {
                    std::os::unix::fs::symlink(target, &next).unwrap();
                    std::fs::rename(&next, &flipping).unwrap();
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            };
            scope.spawn(flip);
            let mut outcomes = [0, 0];
            while outcomes.iter().any(|count| *count < 200) {
                match world.host.identify(&Target::Path(flipping.clone())) {
                    Ok(_) => outcomes[0] += 1,
                    Err(HostError::NotANamespace { .. }) => outcomes[1] += 1,
                    // Before the first turn.
                    Err(HostError::NoSuchNamespace { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            over.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn the_hosts_own_namespace_is_no_containers() {
    on_real(|world| {
        let own = PathBuf::from(format!("/proc/{}/ns/net", nix::unistd::gettid()));
        let error = world.host.identify(&Target::Path(own.clone())).unwrap_err();
        assert!(matches!(error, HostError::OwnNamespace { .. }), "{error:?}");
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let error = world.host.execute(&Step::PlugPort(port(1, &own))).unwrap_err();
        assert!(matches!(error, HostError::OwnNamespace { .. }), "{error:?}");
        assert!(world.host.identify(&Target::Host).is_ok());
    });
}

#[test]
fn only_network_namespaces_are_taken_for_such() {
    on_real(|world| {
        let fifo = world.path("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [fifo, "/etc/hostname".into(), "/proc/self/ns/mnt".into(), "/proc".into()] {
            let error = world.host.identify(&Target::Path(path.clone())).unwrap_err();
            assert!(matches!(error, HostError::NotANamespace { .. }), "{path:?}: {error:?}");
        }
        for path in ["/proc/999999999/ns/net", "/etc/hostname/net"] {
            let error = world.host.identify(&Target::Path(path.into())).unwrap_err();
            assert!(matches!(error, HostError::NoSuchNamespace { .. }), "{path:?}: {error:?}");
        }
    });
}

/// More than one message to the kernel can say.
#[test]
fn of_a_switch_that_cannot_be_made_nothing_stays() {
    on_real(|world| {
        let gateway = |number: u32| {
            let address = std::net::Ipv4Addr::from(0x0a00_0001 + (number << 8));
            hns_net::IfAddr::new(address.into(), 24).unwrap()
        };
        let wide = hns_planner::Switch { gateways: (0..5000).map(gateway).collect(), ..switch() };
        assert!(world.host.execute(&Step::MakeSwitch(wide)).is_err());
        assert_eq!(output(&["ip", "-o", "link", "show", "type", "bridge"]), "");
    });
}

#[test]
fn refusals_carry_the_kernels_own_words() {
    on_real(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let a = world.container("a");
        let mut wrong = port(1, &a);
        wrong.routes = vec![support::route("0.0.0.0/0", "10.99.0.1")];
        let error = world.host.execute(&Step::PlugPort(wrong)).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(error.to_string(), "cannot add route to 0.0.0.0/0");
        assert!(source.contains("Nexthop has invalid gateway"), "{source}");
        // Half a port is handed to the reaper.
        assert_eq!(world.host.reap().unwrap(), 1);
        assert_eq!(output_in(&a, &["ip", "-o", "link"]).lines().count(), 1);
    });
}
