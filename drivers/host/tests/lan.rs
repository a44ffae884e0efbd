//! Whether a LAN answers, on both bodies of the host.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod support;

use hns_host::{Asker, HostError, Question};
use hns_net::{Mac, Uplink, UplinkMode};
use support::{name, on_both};

fn question(adapter: &str, asker: Asker) -> Question {
    Question {
        uplink: Uplink { adapter: name(adapter), vlan: None, mode: UplinkMode::Stations },
        asker,
        of: "198.18.0.254".parse().unwrap(),
    }
}

#[test]
fn a_lan_answers_whom_what_lies_before_it_lets_through() {
    on_both(|world| {
        let container = Asker::Station(Mac::new([2, 0, 0, 0, 7, 1]), "198.18.0.5".parse().unwrap());
        let answered = |asker| world.host.is_answered(&question("eth7", asker));
        assert!(matches!(answered(container), Err(HostError::NoSuchAdapter { .. })));
        world.add_lan(&name("eth7"), "198.18.0.254/24");
        // The cable's carrier comes by a work queue.
        eventually!(answered(Asker::Host).unwrap());
        assert!(answered(container).unwrap());
        world.filter_stations(&name("eth7"));
        assert!(!answered(container).unwrap());
        assert!(answered(Asker::Host).unwrap());
    });
}
