//! What only the kernel's datapath has: traffic, other programs' filters, restarts.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aya::maps::MapInfo;
use hns_abi::{Direction, Map, Reason};
use hns_datapath::{
    BLOCK_IN, BLOCK_OUT, Datapath, DropCount, Next, Onward, Packet, RealDatapath, Watch, WatchedConnection,
    test_run,
};
use hns_net::{Cidr, PortRange};
use hns_testbed::{eventually, needs, tcp, udp};
use hns_vfp::generate::{Content, Datagram, Link};
use hns_vfp::model::{Action, Addresses, Match, Origin, Port, Rule, Verdict};
use hns_vfp::tables::Capacity;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use support::{
    Containers, address, attached, chain, guid, index_of, isolated, link, port, run, settings, start,
};

const PLACE: u16 = 7000;

fn at(n: u8) -> SocketAddr {
    SocketAddr::new(address(n).parse().unwrap(), PLACE)
}

fn set(datapath: &RealDatapath, ports: &[Port]) {
    for (n, port) in (1..).zip(ports) {
        datapath
            .set_port(&link(n), &Arc::new(port.clone()))
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
    }
}

/// A rule that names one thing the kernel has to count.
fn allow_everything() -> Rule {
    Rule {
        id: "all".into(),
        origin: Origin::Endpoint,
        priority: 100,
        action: Action::Allow,
        matches: Match::default(),
    }
}

fn about_port(number: u16) -> Match {
    let local_ports = vec![PortRange::single(number).unwrap()];
    Match { protocols: vec![17], local_ports, ..Match::default() }
}

fn filtered(n: u8) -> Port {
    let mut port = port(n);
    for acl in &mut port.acl {
        acl.rules = vec![allow_everything()];
    }
    port
}

fn blocked(n: u8) -> Port {
    Port { blocked: true, ..port(n) }
}

#[test]
fn traffic_passes_set_ports_and_no_others() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let containers = Containers::new(folder, 2);
        let datapath = start(folder);
        let _echo = udp::Echo::serve(&containers.netns(2), at(2));
        let ask = || udp::ask(&containers.netns(1), at(2)).is_ok();
        assert!(eventually_true(ask), "a link that never was a port is nobody's concern");

        set(&datapath, &[port(1), port(2)]);
        assert!(eventually_true(ask));
        let drops = datapath.follow_drops().unwrap();
        datapath.set_port(&link(1), &Arc::new(blocked(1))).unwrap();
        assert!(!ask());
        let counts = datapath.drops().unwrap();
        let ours = |count: &&DropCount| count.endpoint == Some(guid(1)) && count.reason == Reason::Blocked;
        assert!(counts.iter().any(|count| ours(&count) && count.packets > 0), "{counts:?}");
        let event = eventually!(within 5 s, match drops.next_within(Duration::from_millis(100)) {
            Next::Event(event) if event.endpoint == Some(guid(1)) => Some(event),
            _ => None,
        });
        assert_eq!(event.reason, Reason::Blocked);

        datapath.remove_port(&link(1)).unwrap();
        assert!(!ask(), "a port that was removed stays closed");
        datapath.collect().unwrap();
        let counts = datapath.drops().unwrap();
        assert!(counts.iter().all(|count| count.endpoint != Some(guid(1))), "{counts:?}");
        assert!(counts.iter().any(|count| count.reason == Reason::Blocked), "{counts:?}");
        assert!(counts.iter().any(|count| count.reason == Reason::UnknownPort), "{counts:?}");
        datapath.set_port(&link(1), &Arc::new(port(1))).unwrap();
        assert!(eventually_true(ask));
    });
}

fn eventually_true(ask: impl Fn() -> bool) -> bool {
    (0..5).any(|_| ask())
}

#[test]
fn a_connection_is_shown_with_its_rule_and_counted() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let containers = Containers::new(folder, 2);
        let datapath = start(folder);
        set(&datapath, &[filtered(1), filtered(2)]);
        let _echo = tcp::Echo::serve(&containers.netns(2), at(2));
        let mut talk = eventually!(tcp::Conversation::open(&containers.netns(1), at(2)));
        talk.say("hello").unwrap();

        let filter = hns_datapath::FlowFilter {
            endpoint: Some(guid(1)),
            protocol: Some(6),
            ..hns_datapath::FlowFilter::default()
        };
        let flows = datapath.flows(&filter).unwrap();
        assert_eq!(flows.len(), 1, "{flows:?}");
        assert_eq!(flows[0].tuple.remote, (at(2).ip(), PLACE));
        assert_eq!(flows[0].origin, Direction::Out);
        assert_eq!(flows[0].state, hns_datapath::FlowState::Established);
        assert_eq!(flows[0].rule.as_ref().map(|rule| rule.id.as_str()), Some("all"));
        let counters = datapath.rule_counters(guid(1)).unwrap();
        assert_eq!(counters.len(), 2, "{counters:?}");
        assert!(counters.iter().any(|count| count.direction == Direction::Out && count.packets > 0));

        datapath.remove_port(&link(1)).unwrap();
        assert_eq!(datapath.flows(&filter).unwrap(), []);
        let others = hns_datapath::FlowFilter { endpoint: Some(guid(2)), ..filter };
        datapath.collect().unwrap();
        let flows = datapath.flows(&others).unwrap();
        assert_eq!(flows.len(), 1, "the port at the other end still knows it: {flows:?}");
        assert_eq!((flows[0].tuple.local, flows[0].origin), ((at(2).ip(), PLACE), Direction::In));
        datapath.remove_port(&link(2)).unwrap();
        assert!(datapath.collect().unwrap().flows >= 1);
        assert_eq!(datapath.flows(&others).unwrap(), []);
    });
}

#[test]
fn what_others_do_to_filters_is_seen_and_repaired() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let containers = Containers::new(folder, 2);
        run(&["tc", "qdisc", "add", "dev", "hnv1", "clsact"]);
        let datapath = start(folder);
        set(&datapath, &[port(1), port(2)]);
        assert_eq!(attached(&datapath), [link(1), link(2)].into(), "another's qdisc is replaced");
        for block in [BLOCK_OUT, BLOCK_IN] {
            run(&["tc", "filter", "delete", "block", &block.to_string()]);
            assert_eq!(attached(&datapath), [].into());
            set(&datapath, &[port(1), port(2)]);
            assert_eq!(attached(&datapath), [link(1), link(2)].into());
        }
        let _echo = udp::Echo::serve(&containers.netns(2), at(2));
        assert!(eventually_true(|| udp::ask(&containers.netns(1), at(2)).is_ok()));
    });
}

#[test]
fn a_port_that_reads_what_comes_is_barred_without_its_filter() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let containers = Containers::new(folder, 2);
        let datapath = start(folder);
        let _echo = udp::Echo::serve(&containers.netns(2), at(2));
        let ask = || udp::ask(&containers.netns(1), at(2)).is_ok();
        set(&datapath, &[port(1), filtered(2)]);
        assert!(eventually_true(ask));
        // What the other one sends takes no short way, and meets no filter.
        for link in ["hnv1", "hnv2"] {
            run(&["tc", "qdisc", "delete", "dev", link, "clsact"]);
        }
        assert!(!ask());
        set(&datapath, &[port(1), filtered(2)]);
        assert!(eventually_true(ask));
        // The bridge's way, on which the gate stands.
        run(&["tc", "qdisc", "delete", "dev", "hnv1", "clsact"]);
        assert!(eventually_true(ask));
        // One that reads nothing any more is not left barred.
        set(&datapath, &[port(1), port(2)]);
        run(&["tc", "qdisc", "delete", "dev", "hnv1", "clsact"]);
        assert!(eventually_true(ask));
    });
}

#[test]
fn what_others_do_to_the_gate_is_seen_and_repaired() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let _containers = Containers::new(folder, 2);
        let datapath = start(folder);
        let ports = [port(1), filtered(2)];
        run(&["tc", "qdisc", "add", "dev", "hnv2", "root", "handle", "1:", "htb"]);
        set(&datapath, &ports);
        for damage in [
            "tc qdisc delete dev hnv2 root",
            "tc qdisc replace dev hnv2 root handle 1: pfifo",
            "tc class delete dev hnv2 classid 467:1",
            "tc qdisc delete dev hnv2 root; tc qdisc add dev hnv2 root handle 467: htb",
        ] {
            assert_eq!(attached(&datapath), [link(1), link(2)].into(), "before {damage}");
            assert!(datapath.held_at(&link(2)).unwrap().is_some(), "before {damage}");
            run(&["sh", "-ec", damage]);
            assert_eq!(attached(&datapath), [link(1)].into(), "{damage}");
            assert_eq!(datapath.held_at(&link(2)).unwrap(), None, "{damage}");
            set(&datapath, &ports);
        }
        assert_eq!(attached(&datapath), [link(1), link(2)].into());
    });
}

/// `HNS_DATAPATH_RESTARTS` asks for fewer restarts, where the processor is emulated and each takes seconds.
#[test]
fn a_restarted_daemon_takes_over_without_loss() {
    const RESTARTS: u32 = 100;
    needs!(root, "ip", "tc");
    let asked = std::env::var("HNS_DATAPATH_RESTARTS").ok();
    let restarts = asked.map_or(RESTARTS, |text| text.parse().unwrap());
    isolated(|folder| {
        let containers = Containers::new(folder, 2);
        let mut datapath = start(folder);
        set(&datapath, &[filtered(1), filtered(2)]);
        let _echo = udp::Echo::serve(&containers.netns(2), at(2));
        assert!(eventually_true(|| udp::ask(&containers.netns(1), at(2)).is_ok()));
        let stream = udp::Stream::start(&containers.netns(1), at(2), 500);
        for _ in 0..restarts {
            drop(datapath);
            datapath = start(folder);
            set(&datapath, &[filtered(1), filtered(2)]);
            datapath.upgrade().unwrap();
        }
        let report = stream.stop();
        assert_eq!(report.lost, 0, "{report:?}");
        assert!(report.sent > 0);
    });
}

#[test]
fn policy_and_connections_outlive_the_daemon() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let containers = Containers::new(folder, 3);
        let first = start(folder);
        set(&first, &[filtered(1), filtered(2), blocked(3)]);
        let _echo = tcp::Echo::serve(&containers.netns(2), at(2));
        let mut talk = eventually!(tcp::Conversation::open(&containers.netns(1), at(2)));
        talk.say("before").unwrap();
        drop(first);
        talk.say("alone").unwrap();
        assert!(tcp::ask(&containers.netns(3), at(2)).is_err());

        let second = start(folder);
        talk.say("beside").unwrap();
        assert!(tcp::ask(&containers.netns(3), at(2)).is_err(), "the older policy holds");
        set(&second, &[filtered(1), filtered(2), port(3)]);
        assert!(tcp::ask(&containers.netns(3), at(2)).is_err(), "the older policy holds until the change");
        second.upgrade().unwrap();
        talk.say("after").unwrap();
        assert!(eventually_true(|| tcp::ask(&containers.netns(3), at(2)).is_ok()));
        let flows = second.flows(&hns_datapath::FlowFilter {
            endpoint: Some(guid(1)),
            protocol: Some(6),
            ..hns_datapath::FlowFilter::default()
        });
        assert!(flows.unwrap()[0].packets.iter().sum::<u64>() > 6, "one connection from the first day on");
    });
}

#[test]
fn pins_of_other_versions_go_with_the_change() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let _containers = Containers::new(folder, 1);
        drop(start(folder));
        let pins = settings(folder).pins;
        fs::create_dir(pins.join("v0")).unwrap();
        fs::create_dir(pins.join("other")).unwrap();
        let datapath = start(folder);
        assert!(pins.join("v0").exists());
        set(&datapath, &[port(1)]);
        assert!(!pins.join("v0").exists());
        assert!(pins.join("other").exists());
        assert!(pins.join(format!("v{}", hns_datapath::VERSION)).join("ports").exists());
    });
}

#[test]
fn a_program_runs_on_a_packet_of_a_test() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let _containers = Containers::new(folder, 1);
        let datapath = start(folder);
        let ifindex = index_of("hnv1");
        let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
        frame.resize(60, 0);
        let outcome = test_run::run(&datapath, Direction::Out, &frame, ifindex, 0).unwrap();
        assert_eq!(outcome.retval, test_run::DROP);
        assert_eq!(outcome.cb[hns_abi::CB_REASON], u32::from(Reason::UnknownPort.number()));
        datapath.set_port(&link(1), &Arc::new(port(1))).unwrap();
        let outcome = test_run::run(&datapath, Direction::Out, &frame, ifindex, 0).unwrap();
        assert_eq!((outcome.retval, outcome.mark), (test_run::PASS, hns_abi::MARK_PASSED), "{outcome:?}");
        assert_eq!(outcome.packet, frame);
        test_run::time(&datapath, Direction::Out, &frame, ifindex, 100).unwrap();
    });
}

/// An echo that either end may begin: it is the rules of the last request's direction that the rest obeys.
#[test]
fn an_echo_that_the_other_end_opens_anew_is_judged_anew() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let _containers = Containers::new(folder, 1);
        let datapath = start(folder);
        let with_fallbacks = |fallbacks: [Verdict; 2]| {
            let mut port = filtered(1);
            for (acl, fallback) in port.acl.iter_mut().zip(fallbacks) {
                (acl.rules, acl.fallback) = (Vec::new(), fallback);
            }
            // Something must be refused, or nobody follows connections.
            port.acl[0].rules =
                vec![Rule { action: Action::Block, matches: about_port(9), ..allow_everything() }];
            datapath.set_port(&link(1), &Arc::new(port)).unwrap();
        };
        let echo = |direction: Direction, kind: u8| {
            let ends = [address(1), address(9)].map(|end| end.parse().unwrap());
            let macs = [port(1).mac, port(9).mac];
            let (from, to) = if direction == Direction::Out { (0, 1) } else { (1, 0) };
            let content = Content::Icmp { kind, code: 0, rest: vec![0, 7, 0, 1] };
            let ends = Datagram::new(ends[from], ends[to], content);
            let frame = ends.frame(Link { source: macs[from], destination: macs[to] });
            test_run::run(&datapath, direction, &frame, index_of("hnv1"), 0).unwrap().retval
        };
        with_fallbacks([Verdict::Allow, Verdict::Allow]);
        assert_eq!(echo(Direction::Out, 8), test_run::PASS);
        assert_eq!(echo(Direction::In, 0), test_run::PASS);
        assert_eq!(echo(Direction::In, 8), test_run::PASS);
        with_fallbacks([Verdict::Block, Verdict::Allow]);
        assert_eq!(echo(Direction::In, 0), test_run::DROP, "nobody inside has asked since");
    });
}

/// No story of the comparison goes there.
#[test]
fn nothing_goes_to_a_loopback_address() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let _containers = Containers::new(folder, 1);
        let datapath = start(folder);
        datapath.set_port(&link(1), &Arc::new(port(1))).unwrap();
        let ends = Link { destination: port(9).mac, source: port(1).mac };
        let reason = |from: &str, to: &str| {
            let content = Content::Udp { source: 1000, destination: 80, bytes: 4 };
            let frame = Datagram::new(from.parse().unwrap(), to.parse().unwrap(), content).frame(ends);
            let outcome = test_run::run(&datapath, Direction::Out, &frame, index_of("hnv1"), 0).unwrap();
            Reason::from_number(u16::try_from(outcome.cb[hns_abi::CB_REASON]).unwrap())
        };
        for (from, to) in [("10.9.0.1", "127.0.0.1"), ("10.9.0.1", "127.9.9.9"), ("fd00::1", "::1")] {
            assert_eq!(reason(from, to), Some(Reason::Loopback), "{to}");
        }
        for (from, to) in [("10.9.0.1", "128.0.0.1"), ("10.9.0.1", "126.0.0.1"), ("fd00::1", "::2")] {
            assert_eq!(reason(from, to), None, "{to}");
        }
    });
}

/// Connections of all kinds, between ends of which some are the same.
fn watched() -> Vec<WatchedConnection> {
    let all = WatchedConnection::default();
    let address = |text: &str| Some(text.parse().unwrap());
    let pair = WatchedConnection { source: address("10.9.0.1"), destination: address("10.9.0.2"), ..all };
    vec![
        pair,
        WatchedConnection { destination_port: Some(80), ..pair },
        WatchedConnection { source_port: Some(80), protocol: Some(6), ..pair },
        WatchedConnection { protocol: Some(17), ..all },
        WatchedConnection { protocol: Some(58), ..all },
        WatchedConnection { destination: address("10.9.0.3"), ..all },
        WatchedConnection { source: address("fd00::1"), destination_port: Some(53), ..all },
        WatchedConnection { source: address("fd00::1"), destination: address("fd00::2"), ..all },
        WatchedConnection { source_port: Some(80), destination_port: Some(80), ..all },
        all,
    ]
}

/// No packets come by the first port but the test's.
fn silence() {
    run(&["ip", "-n", "c1", "link", "set", "eth0", "down"]);
    run(&["ip", "link", "set", "hnv1", "down"]);
}

#[test]
fn the_programs_see_what_a_watch_names_and_nothing_else() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let _containers = Containers::new(folder, 1);
        let datapath = start(folder);
        set(&datapath, &[port(1)]);
        silence();
        let watch = |connection| Watch { networks: vec![guid(200)], connections: vec![connection] };
        let elsewhere = Watch { networks: vec![guid(201)], ..watch(WatchedConnection::default()) };
        let elsewhere = datapath.watch(&elsewhere).unwrap();
        let streams: Vec<_> = watched()
            .into_iter()
            .map(|connection| (connection, datapath.watch(&watch(connection)).unwrap()))
            .collect();
        let ends = Link { destination: port(9).mac, source: port(1).mac };
        let tcp = |source, destination| Content::Tcp { source, destination, flags: 2, bytes: 0 };
        let udp = |source, destination| Content::Udp { source, destination, bytes: 4 };
        let echo = |kind| Content::Icmp { kind, code: 0, rest: vec![0, 80, 0, 1] };
        let contents =
            [tcp(4000, 80), tcp(80, 4000), tcp(80, 80), udp(4000, 80), udp(53, 4000), echo(8), echo(128)];
        let mut seen = 0;
        for pair in [("10.9.0.1", "10.9.0.2"), ("10.9.0.2", "10.9.0.1"), ("10.9.0.1", "10.9.0.3")]
            .into_iter()
            .chain([("fd00::1", "fd00::2"), ("fd00::3", "fd00::1")])
        {
            for content in &contents {
                let addresses = (pair.0.parse().unwrap(), pair.1.parse().unwrap());
                let frame = Datagram::new(addresses.0, addresses.1, content.clone()).frame(ends);
                let packet = Packet::of(&frame);
                test_run::run(&datapath, Direction::Out, &frame, index_of("hnv1"), 0).unwrap();
                for (number, (connection, stream)) in streams.iter().rev().enumerate() {
                    // The last one sees everything, and is told last.
                    let patience = Duration::from_secs(if number == 0 { 10 } else { 0 });
                    let found = match stream.next_within(patience) {
                        Next::Event(sighting) => Some(sighting),
                        Next::Nothing => None,
                        Next::End => panic!("the stream ended"),
                    };
                    assert_eq!(found.is_some(), connection.matches(&packet), "{connection:?}: {packet:?}");
                    let Some(found) = found else { continue };
                    assert_eq!((&found.packet, found.endpoint), (&packet, guid(1)));
                    assert_eq!((found.onward, found.direction), (Onward::Switch, Direction::Out));
                    seen += 1;
                }
            }
        }
        assert!(seen > 2 * 5 * contents.len(), "{seen}");
        assert_eq!(elsewhere.next_within(Duration::ZERO), Next::Nothing);
    });
}

#[test]
fn what_is_left_out_of_a_flood_is_counted() {
    const FLOOD: u32 = 20_000;
    needs!(root, "ip", "tc");
    isolated(|folder| {
        // Each processor counts for itself, and tells with the next packet that it shows.
        let mut one = CpuSet::new();
        one.set(0).unwrap();
        sched_setaffinity(Pid::from_raw(0), &one).unwrap();
        let _containers = Containers::new(folder, 1);
        let datapath = start(folder);
        set(&datapath, &[port(1)]);
        silence();
        let connections = vec![WatchedConnection::default()];
        let stream = datapath.watch(&Watch { networks: vec![guid(200)], connections }).unwrap();
        let ends = Link { destination: port(9).mac, source: port(1).mac };
        let content = Content::Udp { source: 1000, destination: 80, bytes: 4 };
        let frame =
            Datagram::new("10.9.0.1".parse().unwrap(), "10.9.0.2".parse().unwrap(), content).frame(ends);
        test_run::time(&datapath, Direction::Out, &frame, index_of("hnv1"), FLOOD).unwrap();
        let (mut sent, mut shown, mut missed) = (u64::from(FLOOD), 0, 0);
        eventually!({
            test_run::run(&datapath, Direction::Out, &frame, index_of("hnv1"), 0).unwrap();
            sent += 1;
            while let Next::Event(sighting) = stream.next_within(Duration::from_millis(50)) {
                shown += 1;
                missed += u64::from(sighting.missed);
            }
            missed += stream.missed();
            if shown + missed == sent { Ok(()) } else { Err((shown, missed, sent)) }
        });
        assert!(shown > 0 && missed > sent / 2, "{shown} of {sent}");
    });
}

/// The maps that the driver made, not what their header says.
#[test]
fn the_tables_count_on_the_room_that_the_maps_have() {
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let _containers = Containers::new(folder, 1);
        let datapath = start(folder);
        set(&datapath, &[port(1)]);
        let pins = settings(folder).pins.join(format!("v{}", hns_datapath::VERSION));
        let elements = |map: Map| MapInfo::from_pin(pins.join(map.name())).unwrap().max_entries();
        let capacity = Capacity::default();
        for (map, logarithm) in [
            (Map::Directory, capacity.directory),
            (Map::Chunks, capacity.chunks),
            (Map::Ports, capacity.ports),
            (Map::Rulesets, capacity.rulesets),
            (Map::Rules, capacity.rules),
            (Map::AddressClasses, capacity.classes),
            (Map::PortClasses, capacity.classes),
            (Map::SetClasses, capacity.set_classes),
            (Map::SetRows, capacity.set_rows),
        ] {
            assert_eq!(elements(map), 1 << logarithm, "{}", map.name());
        }
    });
}

/// `core/vfp` has the same with more rules and rounds, on tables alone.
#[test]
fn rules_of_a_port_are_replaced_without_end() {
    const RULES: u32 = 2_000;
    const ROUNDS: u32 = 20;
    needs!(root, "ip", "tc");
    isolated(|folder| {
        let _containers = Containers::new(folder, 1);
        let datapath = start(folder);
        let mut full = filtered(1);
        full.acl[Direction::In.index()].rules = (0..RULES).map(rule_about).collect();
        set(&datapath, &[full.clone()]);
        for round in 0..ROUNDS {
            let place = usize::try_from(round * 97 % RULES).unwrap();
            full.acl[Direction::In.index()].rules[place] = rule_about(RULES + round);
            set(&datapath, &[full.clone()]);
        }
        let counters = datapath.rule_counters(guid(1)).unwrap();
        assert_eq!(counters.len(), usize::try_from(RULES).unwrap() + 1);
    });
}

fn rule_about(number: u32) -> Rule {
    let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
    let remote = Addresses::Prefixes(vec![Cidr::host(address.into())]);
    Rule { matches: Match { remote, ..Match::default() }, ..allow_everything() }
}

#[test]
fn without_the_right_to_ebpf_the_error_says_so() {
    needs!(root);
    // A thread gives its rights away for good; the kernel keeps them by thread.
    isolated(|folder| {
        give_rights_away();
        let error = RealDatapath::start(&settings(Path::new(folder))).err().unwrap();
        assert!(error.is_unavailable(), "{}", chain(&error));
    });
}

#[expect(unsafe_code, reason = "the C library's own call would change every thread of the process")]
fn give_rights_away() {
    const NOBODY: libc::c_long = 65534;
    // SAFETY: it takes three numbers and no memory.
    let outcome = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
    assert_eq!(outcome, 0);
}
