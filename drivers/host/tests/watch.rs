//! What a watch tells of what others do, and that it keeps silent about our own doing: on the fake host and on the kernel.

mod support;

use hns_host::{HostEvent, Next, Scope};
use hns_planner::Step;
use support::{elements, on_both, open, port, switch};

#[test]
fn a_container_that_ends_takes_its_port_along() {
    on_both(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let container = world.container("a");
        let port = port(1, &container);
        world.plug(&port);
        let watch = world.host.watch().unwrap();
        world.remove_container(&container);
        assert!(tells(&watch, &HostEvent::PortGone(port.name.clone())));
        eventually!(world.host.observe(&Scope::Everything).unwrap().ports.is_empty());
    });
}

/// Whether the watch tells this event within five seconds, whatever else it tells.
fn tells(watch: &hns_host::Watch, wanted: &HostEvent) -> bool {
    let limit = std::time::Duration::from_secs(5);
    loop {
        match watch.next_within(limit) {
            Next::Event(event) if event == *wanted => return true,
            Next::Event(_) => {}
            Next::Nothing | Next::End => return false,
        }
    }
}

#[test]
fn drift_is_told() {
    on_both(|world| {
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        let (first, second) = (world.container("a"), world.container("b"));
        let (one, two) = (port(1, &first), port(2, &second));
        world.plug(&one);
        world.plug(&two);
        let watch = world.host.watch().unwrap();
        world.unplug(&one.name);
        assert!(tells(&watch, &HostEvent::PortChanged(one.name)));
        world.delete_link(&two.name);
        assert!(tells(&watch, &HostEvent::PortGone(two.name)));
        world.flush_rules();
        assert!(tells(&watch, &HostEvent::RulesChanged));
        world.delete_link(&switch().name);
        assert!(tells(&watch, &HostEvent::SwitchGone(switch().name)));
    });
}

#[test]
fn our_own_doing_is_no_drift() {
    on_both(|world| {
        let watch = world.host.watch().unwrap();
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        world.host.execute(&Step::MakeSwitch(switch())).unwrap();
        let container = world.container("a");
        let port = port(1, &container);
        world.host.execute(&Step::PlugPort(port.clone())).unwrap();
        let other = world.container("b");
        let opened = support::port(2, &other);
        world.host.execute(&Step::PlugPort(opened.clone())).unwrap();
        world.host.execute(&open(&opened)).unwrap();
        world.host.execute(&Step::UnplugPort { name: opened.name }).unwrap();
        world.host.execute(&Step::AddElements(elements())).unwrap();
        world.host.execute(&Step::RemoveElements(elements())).unwrap();
        world.host.execute(&Step::RemoveChains).unwrap();
        world.host.execute(&Step::AddChains).unwrap();
        world.host.execute(&Step::UnplugPort { name: port.name }).unwrap();
        world.host.reap().unwrap();
        world.host.execute(&Step::RemoveSwitch { name: switch().name }).unwrap();
        world.host.execute(&Step::LoadTable { chains: true }).unwrap();
        let quiet = std::time::Duration::from_millis(300);
        assert_eq!(watch.next_within(quiet), Next::Nothing);
    });
}

#[test]
fn a_watch_ends_when_it_is_stopped() {
    on_both(|world| {
        let watch = world.host.watch().unwrap();
        watch.stopper().stop();
        assert_eq!(watch.next_event(), None);
    });
}
