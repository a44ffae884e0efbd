use std::collections::BTreeMap;

use hns_net::{Cidr, Family, Transport};

use super::describe;
use super::region::{Drop, Region, disjoint};
use super::walk::{self, Decisions, Outcome};

fn about(source: &str, transport: Transport, first: u16, last: u16) -> Region {
    let mut region = Region::everything(Family::V4);
    region.only_source(source.parse().unwrap());
    region.only_transports(|other| other == transport);
    region.only_ports(&[(first, last)]);
    region
}

fn tcp(source: &str, first: u16, last: u16) -> Region {
    about(source, Transport::Tcp, first, last)
}

fn unclear(mut region: Region) -> Region {
    region.exact = false;
    region
}

fn anything() -> Region {
    Region::everything(Family::V4)
}

type Rules<'a> = &'a [(Region, Outcome)];

fn drops(chains: &[(&str, Rules<'_>)]) -> String {
    let mut all: BTreeMap<String, Vec<Decisions>> = BTreeMap::new();
    for (name, rules) in chains {
        all.insert((*name).to_owned(), rules.iter().map(|rule| vec![rule.clone()]).collect());
    }
    describe(&walk::drops(&all, "input", Family::V4))
}

const ANY: &str = "0.0.0.0/0";

#[test]
fn what_is_accepted_before_is_not_dropped() {
    use Outcome::{Pass, Stop};
    let of = |accept: Region, drop: Region| drops(&[("input", &[(accept, Pass), (drop, Stop)])]);
    assert_eq!(of(tcp(ANY, 8080, 8080), tcp(ANY, 8080, 8080)), "");
    assert_eq!(of(tcp(ANY, 8080, 8080), tcp(ANY, 8079, 8081)), "tcp 8079, tcp 8081");
    assert_eq!(of(about(ANY, Transport::Udp, 1, 9), tcp(ANY, 1, 9)), "tcp 1-9");
    // A narrower accept leaves the rest of the addresses.
    let left = of(tcp("128.0.0.0/2", 80, 80), tcp(ANY, 80, 80));
    assert_eq!(left, "tcp 80 from 0.0.0.0/1, tcp 80 from 192.0.0.0/2");
    assert_eq!(of(tcp("10.0.0.0/8", 80, 80), tcp("10.1.0.0/16", 80, 80)), "");
    // Taken for as wide as it may be, when it has a test that is not understood.
    assert_eq!(of(unclear(anything()), tcp(ANY, 80, 80)), "");
    assert_eq!(of(unclear(tcp(ANY, 81, 81)), tcp(ANY, 80, 80)), "tcp 80");
}

#[test]
fn only_certain_drops_of_ports_count() {
    use Outcome::Stop;
    assert_eq!(drops(&[("input", &[(unclear(tcp(ANY, 80, 80)), Stop)])]), "");
    assert_eq!(drops(&[("input", &[(anything(), Stop)])]), "");
    assert_eq!(drops(&[("input", &[(tcp("10.0.0.0/8", 80, 80), Stop)])]), "tcp 80 from 10.0.0.0/8");
}

#[test]
fn jumps_are_followed_and_come_back() {
    use Outcome::{Goto, Jump, Pass, Return, Stop};
    let user: Rules<'_> = &[(tcp(ANY, 1, 5), Return), (tcp(ANY, 4, 8), Stop)];
    let to = |how: fn(String) -> Outcome| how("user".to_owned());
    let before = |how| {
        let input = [(anything(), to(how)), (tcp(ANY, 2, 2), Stop)];
        drops(&[("input", &input), ("user", user)])
    };
    assert_eq!(before(Jump), "tcp 2, tcp 6-8");
    assert_eq!(before(Goto), "tcp 6-8");
    // Where it is not sure that the chain is entered, its drops are not sure either; its accepts may be.
    let inner: Rules<'_> = &[(tcp(ANY, 3, 3), Pass), (tcp(ANY, 4, 4), Stop)];
    let input = [(unclear(anything()), to(Jump)), (tcp(ANY, 3, 4), Stop)];
    assert_eq!(drops(&[("input", &input), ("user", inner)]), "tcp 4");
    // What is tested on the way holds for the drop.
    let input = [(about("10.0.0.0/8", Transport::Tcp, 0, u16::MAX), to(Jump))];
    assert_eq!(drops(&[("input", &input), ("user", inner)]), "tcp 4 from 10.0.0.0/8");
}

#[test]
fn no_two_elements_overlap() {
    let drop = |source: &str, first, last| Drop {
        source: source.parse::<Cidr>().unwrap(),
        transport: Transport::Tcp,
        ports: (first, last),
    };
    let mixed = [
        drop("10.0.0.0/8", 80, 90),
        drop("10.1.0.0/16", 85, 95),
        drop("0.0.0.0/0", 88, 88),
        drop("192.0.2.0/24", 65_535, 65_535),
    ];
    let parts = disjoint(&mixed);
    for (place, one) in parts.iter().enumerate() {
        for other in &parts[place + 1..] {
            let ports = one.ports.0 <= other.ports.1 && other.ports.0 <= one.ports.1;
            assert!(!(ports && one.source.overlaps(other.source)), "{one} and {other}");
        }
    }
    assert_eq!(
        describe(&mixed),
        "tcp 65535 from 192.0.2.0/24, tcp 80-87 from 10.0.0.0/8, tcp 88, tcp 89-90 from 10.0.0.0/8, \
         tcp 91-95 from 10.1.0.0/16"
    );
    assert_eq!(disjoint(&[drop("10.0.0.0/8", 1, 2), drop("10.0.0.0/8", 3, 4)]).len(), 1);
}
