//! What every body of `Datapath` must do: each test runs on the fake one and, as root, on the kernel's.

mod support;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hns_abi::WATCHES_MAX;
use hns_datapath::{Collected, DatapathError, FlowFilter, HeldUplink, Next, Watch, WatchedConnection};
use hns_net::{IfName, Uplink, UplinkMode, VlanId};
use hns_vfp::Port;
use support::{attached, guid, link, name, on_both, port};

#[test]
fn an_untouched_datapath_shows_nothing() {
    on_both(|world| {
        assert_eq!(attached(&*world.datapath), BTreeSet::new());
        assert_eq!(world.datapath.drops().unwrap(), []);
        assert_eq!(world.datapath.flows(&FlowFilter::default()).unwrap(), []);
        assert_eq!(world.datapath.rule_counters(guid(1)).unwrap(), []);
        assert_eq!(world.datapath.collect().unwrap(), Collected::default());
    });
}

#[test]
fn a_port_is_attached_until_it_is_removed() {
    on_both(|world| {
        world.make_link(&link(1));
        world.make_link(&link(2));
        world.datapath.set_port(&link(1), &Arc::new(port(1))).unwrap();
        world.datapath.set_port(&link(1), &Arc::new(port(1))).unwrap();
        assert_eq!(attached(&*world.datapath), [link(1)].into());
        world.datapath.set_port(&link(2), &Arc::new(port(2))).unwrap();
        assert_eq!(attached(&*world.datapath), [link(1), link(2)].into());

        world.datapath.remove_port(&link(1)).unwrap();
        world.datapath.remove_port(&link(1)).unwrap();
        assert_eq!(attached(&*world.datapath), [link(2)].into());
        world.datapath.set_port(&link(1), &Arc::new(port(3))).unwrap();
        assert_eq!(attached(&*world.datapath), [link(1), link(2)].into());
    });
}

#[test]
fn a_port_is_held_to_what_was_set_last() {
    on_both(|world| {
        world.make_link(&link(1));
        assert_eq!(world.datapath.held_at(&link(1)).unwrap(), None);
        for last in [port(1), Port { quiet: true, ..port(1) }] {
            world.datapath.set_port(&link(1), &Arc::new(last.clone())).unwrap();
            assert_eq!(world.datapath.held_at(&link(1)).unwrap().as_deref(), Some(&last));
            assert_eq!(world.datapath.held().unwrap().into_values().collect::<Vec<_>>(), [Arc::new(last)]);
        }
        world.detach(&link(1));
        assert_eq!(world.datapath.held_at(&link(1)).unwrap(), None);
    });
}

#[test]
fn a_port_takes_a_link() {
    on_both(|world| {
        world.make_link(&link(1));
        world.delete_link(&link(1));
        let outcome = world.datapath.set_port(&link(1), &Arc::new(port(1)));
        assert!(
            matches!(&outcome, Err(DatapathError::NoSuchLink { name }) if *name == link(1)),
            "{outcome:?}"
        );
        assert_eq!(attached(&*world.datapath), BTreeSet::new());
    });
}

#[test]
fn a_link_that_is_made_again_must_be_set_again() {
    on_both(|world| {
        world.make_link(&link(1));
        world.datapath.set_port(&link(1), &Arc::new(port(1))).unwrap();
        world.delete_link(&link(1));
        assert_eq!(attached(&*world.datapath), BTreeSet::new());
        world.make_link(&link(1));
        assert_eq!(attached(&*world.datapath), BTreeSet::new());
        world.datapath.set_port(&link(1), &Arc::new(port(1))).unwrap();
        assert_eq!(attached(&*world.datapath), [link(1)].into());
        world.delete_link(&link(1));
        world.datapath.remove_port(&link(1)).unwrap();
    });
}

#[test]
fn an_uplink_is_joined_until_it_is_left() {
    on_both(|world| {
        let (adapter, seven, plain) = (name("eth0"), name("hnw7"), name("hnw0"));
        let uplink = |vlan| Uplink { adapter: adapter.clone(), vlan, mode: UplinkMode::Stations };
        let vlan = uplink(Some(VlanId::new(7).unwrap()));
        let own: BTreeSet<IpAddr> = [[192, 0, 2, 1].into()].into();
        let held = |port: &IfName, uplink: &Uplink, hosts_own: &BTreeSet<IpAddr>| {
            (port.clone(), HeldUplink { uplink: uplink.clone(), hosts_own: hosts_own.clone() })
        };
        let nothing = BTreeSet::new();
        [&adapter, &seven, &plain].into_iter().for_each(|link| world.make_link(link));
        match world.datapath.set_uplink(&plain, &uplink(None), &nothing) {
            // Before Linux 6.6; nothing is left of it.
            Err(DatapathError::NoSharing { .. }) => {
                assert_eq!(world.datapath.held_uplinks().unwrap(), [].into());
                return world.datapath.remove_uplink(&plain).unwrap();
            }
            outcome => outcome.unwrap(),
        }
        for _ in 0..2 {
            world.datapath.set_uplink(&plain, &uplink(None), &nothing).unwrap();
            world.datapath.set_uplink(&seven, &vlan, &own).unwrap();
        }
        let both = [held(&plain, &uplink(None), &nothing), held(&seven, &vlan, &own)];
        assert_eq!(world.datapath.held_uplinks().unwrap(), both.into());
        world.datapath.set_hosts_own(&plain, &own).unwrap();
        let both = [held(&plain, &uplink(None), &own), held(&seven, &vlan, &own)];
        assert_eq!(world.datapath.held_uplinks().unwrap(), both.into());
        world.datapath.upgrade().unwrap();
        world.datapath.remove_uplink(&plain).unwrap();
        world.datapath.remove_uplink(&plain).unwrap();
        world.datapath.set_hosts_own(&plain, &own).unwrap();
        assert_eq!(world.datapath.held_uplinks().unwrap(), [held(&seven, &vlan, &own)].into());

        // The bridge's port is made again, then the adapter.
        for link in [&seven, &adapter] {
            world.delete_link(link);
            assert_eq!(world.datapath.held_uplinks().unwrap(), [].into());
            let outcome = world.datapath.set_uplink(&seven, &vlan, &nothing);
            assert!(
                matches!(&outcome, Err(DatapathError::NoSuchLink { name }) if name == link),
                "{outcome:?}"
            );
            world.make_link(link);
            assert_eq!(world.datapath.held_uplinks().unwrap(), [].into());
            world.datapath.set_uplink(&seven, &vlan, &nothing).unwrap();
            assert_eq!(world.datapath.held_uplinks().unwrap(), [held(&seven, &vlan, &nothing)].into());
        }
        world.datapath.remove_uplink(&seven).unwrap();
        assert_eq!(world.datapath.held_uplinks().unwrap(), [].into());
    });
}

#[test]
fn what_others_take_off_a_link_is_repaired() {
    on_both(|world| {
        for n in [1, 2] {
            world.make_link(&link(n));
            world.datapath.set_port(&link(n), &Arc::new(port(n))).unwrap();
        }
        world.detach(&link(1));
        assert_eq!(attached(&*world.datapath), [link(2)].into());
        world.detach(&link(2));
        assert_eq!(attached(&*world.datapath), BTreeSet::new());
        for n in [1, 2] {
            world.datapath.set_port(&link(n), &Arc::new(port(n))).unwrap();
        }
        assert_eq!(attached(&*world.datapath), [link(1), link(2)].into());
    });
}

#[test]
fn programs_are_renewed_at_any_time() {
    on_both(|world| {
        world.datapath.upgrade().unwrap();
        world.make_link(&link(1));
        world.datapath.set_port(&link(1), &Arc::new(port(1))).unwrap();
        world.datapath.upgrade().unwrap();
        assert_eq!(attached(&*world.datapath), [link(1)].into());
    });
}

#[test]
fn a_snapshot_holds_what_was_set_and_changes_nothing() {
    on_both(|world| {
        let shown = || {
            let snapshot = world.datapath.snapshot(&|_| Vec::new()).unwrap();
            snapshot.switch.board().ports.values().cloned().collect::<Vec<Port>>()
        };
        assert_eq!(shown(), []);
        for n in [1, 2] {
            world.make_link(&link(n));
            world.datapath.set_port(&link(n), &Arc::new(port(n))).unwrap();
        }
        assert_eq!(shown(), [port(1), port(2)]);
        let quiet = Port { quiet: true, ..port(1) };
        world.datapath.set_port(&link(1), &Arc::new(quiet.clone())).unwrap();
        assert_eq!(shown(), [quiet, port(2)]);

        let mut snapshot = world.datapath.snapshot(&|_| Vec::new()).unwrap();
        let numbers: Vec<u32> = snapshot.switch.board().ports.keys().copied().collect();
        let frame = vec![0; 60];
        assert!(snapshot.switch.out(numbers[1], &frame, snapshot.now).reason().is_none());
        snapshot.switch.remove_port(numbers[1]);
        assert_eq!(shown().len(), 2);
        assert_eq!(world.datapath.flows(&FlowFilter::default()).unwrap(), []);
        assert_eq!(world.datapath.drops().unwrap(), []);

        world.datapath.remove_port(&link(1)).unwrap();
        assert_eq!(shown(), [port(2)]);
        // A link that is made again has another number; it shows once.
        world.delete_link(&link(2));
        world.make_link(&link(2));
        world.datapath.set_port(&link(2), &Arc::new(port(2))).unwrap();
        assert_eq!(shown(), [port(2)]);
    });
}

#[test]
fn many_threads_set_and_remove_at_once() {
    on_both(|world| {
        for n in 1..=8 {
            world.make_link(&link(n));
        }
        thread::scope(|scope| {
            for n in 1..=8 {
                scope.spawn(move || {
                    for _ in 0..5 {
                        world.datapath.set_port(&link(n), &Arc::new(port(n))).unwrap();
                        world.datapath.remove_port(&link(n)).unwrap();
                    }
                    world.datapath.set_port(&link(n), &Arc::new(port(n))).unwrap();
                });
            }
        });
        assert_eq!(attached(&*world.datapath), (1..=8).map(link).collect());
    });
}

#[test]
fn a_stream_of_drops_ends_when_it_is_told() {
    on_both(|world| {
        let stream = world.datapath.follow_drops().unwrap();
        let other = world.datapath.follow_drops().unwrap();
        assert_eq!(stream.next_within(Duration::from_millis(1)), Next::Nothing);
        let stopper = stream.stopper();
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                assert_eq!(stream.next_event(), None);
                assert_eq!(stream.next_within(Duration::from_millis(1)), Next::End);
            });
            stopper.stop();
            reader.join().unwrap();
        });
        assert_eq!(other.next_within(Duration::from_millis(1)), Next::Nothing);
        drop(other);
        let again = world.datapath.follow_drops().unwrap();
        assert_eq!(again.next_within(Duration::from_millis(1)), Next::Nothing);
    });
}

#[test]
fn there_are_as_many_watches_as_there_are_places() {
    on_both(|world| {
        let all = usize::try_from(WATCHES_MAX).unwrap();
        let watch = |connections| Watch {
            networks: vec![guid(200)],
            connections: vec![WatchedConnection::default(); connections],
        };
        let refused = |wanted, expected| match world.datapath.watch(&watch(wanted)) {
            Err(DatapathError::TooManyWatches { wanted: told, taken }) => {
                assert_eq!((told, taken), (wanted, expected));
            }
            outcome => panic!("{outcome:?}"),
        };
        refused(all + 1, 0);
        let most = world.datapath.watch(&watch(all - 1)).unwrap();
        refused(2, all - 1);
        let last = world.datapath.watch(&watch(1)).unwrap();
        refused(1, all);
        let stopper = last.stopper();
        stopper.stop();
        assert_eq!(last.next_event(), None);
        refused(1, all);
        // The place is free with the stream.
        drop(last);
        let last = world.datapath.watch(&watch(1)).unwrap();
        drop(most);
        let most = world.datapath.watch(&watch(all - 1)).unwrap();
        for stream in [&most, &last] {
            assert_eq!(stream.next_within(Duration::from_millis(1)), Next::Nothing);
        }
    });
}
