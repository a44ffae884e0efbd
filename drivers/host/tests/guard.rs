//! The guard, asked with frames: what comes from a port without its filter's mark does not come in.
//!
//! The filter's part is played by an nftables chain on the port's host end, which runs where the filter does: before
//! the bridge sees the frame.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod support;

use std::path::Path;

use hns_host::{HostError, Scope};
use hns_planner::{Element, Port, Step};
use support::{PASSED, World, on_real, open, output, output_in, pass, port, run, switch};

/// A port into a new container. It has no filter.
fn bare(world: &World, n: u8) -> Port {
    let port = port(n, &world.container(&format!("c{n}")));
    for step in [Step::PlugPort(port.clone()), open(&port)] {
        world.host.execute(&step).unwrap();
    }
    port
}

fn on_a_switch(test: impl Fn(&World) + Send + Sync) {
    on_real(|world| {
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        world.host.execute(&Step::AddElements(vec![Element::Switch(switch().name)])).unwrap();
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        test(world);
    });
}

fn path(port: &Port) -> &Path {
    match &port.target {
        hns_planner::Target::Path(path) => path,
        other => panic!("{other:?}"),
    }
}

/// Whether an answer comes back. Nothing is in the neighbour tables, so this takes ARP or ND both ways.
fn reaches(port: &Port, to: &str) -> bool {
    let script = format!("ip neigh flush all; ping -c1 -W0.3 {to} || true");
    output_in(path(port), &["sh", "-c", &script]).contains(" 0% packet loss")
}

fn unfiltered_drops() -> u64 {
    let shown = output(&["nft", "list", "counter", "bridge", "hns", "unfiltered_drops"]);
    let mut words = shown.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).unwrap().parse().unwrap()
}

const GATEWAYS: [&str; 2] = ["172.16.0.1", "fd00:16::1"];

#[test]
fn nothing_comes_from_a_port_that_has_no_filter() {
    on_a_switch(|world| {
        let (bare, other) = (bare(world, 1), bare(world, 2));
        pass(&other, PASSED);
        let mut seen = unfiltered_drops();
        for to in ["172.16.0.1", "fd00:16::1", "172.16.0.3", "fd00:16::3"] {
            assert!(!reaches(&bare, to), "{to}");
            let now = unfiltered_drops();
            assert!(now > seen, "{to}: not counted");
            seen = now;
        }
        assert!(GATEWAYS.iter().all(|to| reaches(&other, to)));
        // Its filter comes back.
        pass(&bare, PASSED);
        assert!(GATEWAYS.iter().all(|to| reaches(&bare, to)));
        run(&["nft", "delete", "table", "netdev", "filter"]);
        assert!(GATEWAYS.iter().all(|to| !reaches(&bare, to) && !reaches(&other, to)));
    });
}

#[test]
fn a_container_cannot_mark_its_own_frames() {
    on_a_switch(|world| {
        let port = bare(world, 1);
        output_in(
            path(&port),
            &[
                "nft",
                &format!(
                    "add table inet own; \
             add chain inet own out {{ type filter hook output priority 0; }}; \
             add rule inet own out meta mark set {PASSED:#x}; \
             add table netdev own; \
             add chain netdev own out {{ type filter hook egress device eth0 priority 0; }}; \
             add rule netdev own out meta mark set {PASSED:#x} counter"
                ),
            ],
        );
        let before = unfiltered_drops();
        assert!(GATEWAYS.iter().all(|to| !reaches(&port, to)));
        assert!(unfiltered_drops() > before);
        let own = output_in(path(&port), &["nft", "list", "table", "netdev", "own"]);
        assert!(!own.contains("counter packets 0 "), "it did mark them: {own}");
    });
}

#[test]
fn the_filters_mark_is_gone_once_a_frame_is_in() {
    on_a_switch(|world| {
        let port = bare(world, 1);
        run(&[
            "nft",
            "add table inet probe; \
            add chain inet probe look { type filter hook prerouting priority -400; }; \
            add rule inet probe look iifname hns0a1b2c3d meta mark 0 counter; \
            add rule inet probe look iifname hns0a1b2c3d meta mark 0x42 counter; \
            add rule inet probe look iifname hns0a1b2c3d meta mark & 0x20000000 != 0 counter",
        ]);
        let seen = || -> Vec<bool> {
            let shown = output(&["nft", "list", "chain", "inet", "probe", "look"]);
            shown
                .lines()
                .filter(|line| line.contains("counter"))
                .map(|line| !line.contains("packets 0 "))
                .collect()
        };
        pass(&port, PASSED);
        assert!(GATEWAYS.iter().all(|to| reaches(&port, to)));
        assert_eq!(seen(), [true, false, false]);
        // Marks of others stay.
        run(&["nft", "flush", "table", "netdev", "filter"]);
        run(&["nft", &format!("add rule netdev filter {} meta mark set {:#x}", port.name, PASSED | 0x42)]);
        assert!(GATEWAYS.iter().all(|to| reaches(&port, to)));
        assert_eq!(seen(), [true, true, false]);
    });
}

#[test]
fn the_guard_holds_on_further_segments_and_frames_cross_the_trunk() {
    on_real(|world| {
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        world.host.execute(&Step::AddElements(vec![Element::Switch(switch().name)])).unwrap();
        world.host.execute(&Step::MakeSwitch(hns_planner::Switch { extra_segments: 1, ..switch() })).unwrap();
        let near = bare(world, 1);
        let mut far = port(2, &world.container("far"));
        far.bridge = hns_planner::Switch::segment_name(&far.bridge, 1).unwrap();
        for step in [Step::PlugPort(far.clone()), open(&far)] {
            world.host.execute(&step).unwrap();
        }
        pass(&near, PASSED);
        assert!(!reaches(&far, "172.16.0.1") && !reaches(&far, "172.16.0.2"));
        pass(&far, PASSED);
        for to in ["172.16.0.1", "fd00:16::1", "172.16.0.2", "fd00:16::2"] {
            assert!(reaches(&far, to), "{to}");
        }
    });
}

#[test]
fn both_tables_stand_or_fall_together() {
    on_real(|world| {
        let host = &world.host;
        let shown = || host.observe(&Scope::Everything).unwrap().rules;
        let element = Element::QuietPort(port(1, Path::new("/nowhere")).name);
        for damage in ["delete table bridge hns", "delete table inet hns", "flush ruleset"] {
            host.execute(&Step::LoadTable { chains: true }).unwrap();
            host.execute(&Step::AddElements(vec![element.clone()])).unwrap();
            assert_eq!(shown(), Some([element.clone()].into()));
            run(&["nft", damage]);
            assert_eq!(shown(), None, "{damage}");
        }
        let refused = host.execute(&Step::AddElements(vec![element.clone(), Element::Switch(switch().name)]));
        assert!(matches!(refused, Err(HostError::NoTable)), "{refused:?}");
    });
}
