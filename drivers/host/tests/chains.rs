//! The chains of our table come and go, on a real and on a fake host.

#![expect(clippy::unwrap_used, reason = "a host that fails fails the test")]

mod support;

use hns_host::{Host, HostError, Scope};
use hns_planner::{Observed, Step};

use support::{World, elements, on_both, on_real, run};

fn everything(host: &dyn Host) -> Observed {
    host.observe(&Scope::Everything).unwrap()
}

fn do_twice(host: &dyn Host, step: &Step) {
    host.execute(step).unwrap();
    host.execute(step).unwrap();
}

#[test]
fn the_chains_come_and_go_and_the_elements_stay() {
    on_both(|world| {
        let host = &*world.host;
        for step in [Step::AddChains, Step::RemoveChains] {
            let missing = host.execute(&step).unwrap_err();
            assert!(matches!(missing, HostError::NoTable), "{missing:?}");
        }
        do_twice(host, &Step::LoadTable { chains: false });
        let elements = elements();
        host.execute(&Step::AddElements(elements.clone())).unwrap();
        let all = Some(elements.iter().cloned().collect());
        let shown = || {
            let observed = everything(host);
            (observed.rules, observed.chains)
        };
        assert_eq!(shown(), (all.clone(), false));
        do_twice(host, &Step::AddChains);
        assert_eq!(shown(), (all.clone(), true));
        do_twice(host, &Step::RemoveChains);
        assert_eq!(shown(), (all, false));
        do_twice(host, &Step::LoadTable { chains: true });
        assert_eq!(shown(), (Some([].into()), true));
        world.flush_rules();
        assert_eq!(shown(), (None, false));
    });
}

#[test]
fn a_table_with_some_of_its_chains_is_not_whole() {
    on_real(|world| {
        let whole = |world: &World| everything(&*world.host).rules.is_some();
        for damage in [
            "add chain inet hns forward",
            "flush chain bridge hns to_host",
            "delete chain bridge hns from_host",
        ] {
            world.host.execute(&Step::LoadTable { chains: false }).unwrap();
            assert!(whole(world));
            run(&["nft", damage]);
            assert!(!whole(world), "{damage}");
        }
        // Half of the chains.
        world.host.execute(&Step::LoadTable { chains: false }).unwrap();
        run(&["nft", "add chain inet hns forward"]);
        world.host.execute(&Step::AddChains).unwrap();
        assert!(whole(world));
        run(&["nft", "add chain bridge hns to_host"]);
        world.host.execute(&Step::RemoveChains).unwrap();
        assert!(whole(world));
    });
}
