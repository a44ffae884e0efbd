//! What a container shows of its port, and in what it differs from what was asked for. Only told, never repaired: the
//! inside of a container is its owner's.

use std::fmt;
use std::net::IpAddr;

use hns_net::{Cidr, Family, IfAddr, IfName, Mac};

use crate::desired::{Port, Route};

/// What the kernel makes of the metric 0 of an IPv6 route.
const METRIC_OF_NONE_V6: u32 = 1024;

/// What is seen of a port in its target's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inside {
    /// There is no namespace where the port's should be.
    NoNamespace,
    /// The host end is not there, and the vNIC with it.
    NoPort,
    /// The vNIC is not in the namespace. `namesake`: another interface there has its name.
    Elsewhere {
        namesake: bool,
    },
    Here(Vnic),
}

/// The vNIC as its namespace shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vnic {
    pub name: String,
    pub up: bool,
    /// Whether it answers and asks ARP.
    pub arp: bool,
    pub mac: Option<Mac>,
    /// In bytes; a container may set what no network of ours may have.
    pub mtu: u32,
    pub addresses: Vec<IfAddr>,
    /// Those out of it, in any table: plugins behind ours (`sbr`) move routes to tables of their own.
    pub routes: Vec<Route>,
}

impl Vnic {
    /// A vNIC that shows what is asked for.
    #[must_use]
    pub fn in_line_with(port: &Port) -> Self {
        Self {
            name: port.interface.to_string(),
            up: true,
            arp: true,
            mac: Some(port.mac),
            mtu: port.mtu.bytes().into(),
            addresses: port.addresses.clone(),
            routes: port.routes.iter().map(|route| Route { metric: metric(route), ..*route }).collect(),
        }
    }
}

/// One thing inside that is not as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    Namespace { interface: IfName },
    Port { name: IfName },
    Interface { wanted: IfName, namesake: bool },
    Name { wanted: IfName, found: String },
    Down { interface: IfName },
    Arp { interface: IfName },
    Mac { interface: IfName, wanted: Mac, found: Option<Mac> },
    Mtu { interface: IfName, wanted: u32, found: u32 },
    Address { wanted: IfAddr, found: Option<IfAddr> },
    Route { wanted: Route, found: Option<Route> },
}

/// In what the inside of a container differs from its port. What it has beside is none: more addresses, more routes.
#[must_use]
pub fn differences(port: &Port, inside: &Inside) -> Vec<Difference> {
    let interface = port.interface.clone();
    match inside {
        Inside::NoNamespace => vec![Difference::Namespace { interface }],
        Inside::NoPort => vec![Difference::Port { name: port.name.clone() }],
        Inside::Elsewhere { namesake } => {
            vec![Difference::Interface { wanted: interface, namesake: *namesake }]
        }
        Inside::Here(vnic) => {
            let mut found = of_the_link(port, vnic);
            found.extend(of_addresses(port, vnic));
            found.extend(of_routes(port, vnic));
            found
        }
    }
}

fn of_the_link(port: &Port, vnic: &Vnic) -> Vec<Difference> {
    let interface = || port.interface.clone();
    let mut differences = Vec::new();
    if vnic.name != port.interface.as_str() {
        differences.push(Difference::Name { wanted: interface(), found: vnic.name.clone() });
    }
    if !vnic.up {
        differences.push(Difference::Down { interface: interface() });
    }
    if !vnic.arp {
        differences.push(Difference::Arp { interface: interface() });
    }
    if vnic.mac != Some(port.mac) {
        differences.push(Difference::Mac { interface: interface(), wanted: port.mac, found: vnic.mac });
    }
    let wanted = port.mtu.bytes().into();
    if vnic.mtu != wanted {
        differences.push(Difference::Mtu { interface: interface(), wanted, found: vnic.mtu });
    }
    differences
}

fn of_addresses(port: &Port, vnic: &Vnic) -> Vec<Difference> {
    let missing = port.addresses.iter().filter(|wanted| !vnic.addresses.contains(wanted));
    let difference = |wanted: &IfAddr| {
        let similar = vnic.addresses.iter().find(|found| found.address() == wanted.address());
        Difference::Address { wanted: *wanted, found: similar.copied() }
    };
    missing.map(difference).collect()
}

fn of_routes(port: &Port, vnic: &Vnic) -> Vec<Difference> {
    let missing = port.routes.iter().filter(|wanted| !vnic.routes.iter().any(|found| is_same(wanted, found)));
    let difference = |wanted: &Route| {
        let mut similar = vnic.routes.iter().filter(|found| found.destination == wanted.destination);
        // Of several, the one that differs least: it leads the same way.
        let nearest = similar.clone().find(|found| found.via == wanted.via).or_else(|| similar.next());
        Difference::Route { wanted: *wanted, found: nearest.copied() }
    };
    missing.map(difference).collect()
}

fn is_same(wanted: &Route, found: &Route) -> bool {
    (wanted.destination, wanted.via, metric(wanted)) == (found.destination, found.via, found.metric)
}

/// The metric that the kernel shows of a route asked for.
fn metric(wanted: &Route) -> u32 {
    match (wanted.metric, wanted.destination.family()) {
        (0, Family::V6) => METRIC_OF_NONE_V6,
        (metric, _) => metric,
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace { interface } => write!(f, "the namespace of {interface} is gone"),
            Self::Port { name } => write!(f, "port {name} is missing"),
            Self::Interface { wanted, namesake: false } => write!(f, "{wanted} is not in its namespace"),
            Self::Interface { wanted, namesake: true } => {
                write!(f, "{wanted} is not in its namespace: what has this name there is another interface")
            }
            Self::Name { wanted, found } => write!(f, "{wanted} is called {found}"),
            Self::Down { interface } => write!(f, "{interface} is down"),
            Self::Arp { interface } => write!(f, "{interface} has ARP off, not on"),
            Self::Mac { interface, wanted, found } => {
                let found = found.map_or_else(|| "none".to_owned(), Mac::colons);
                write!(f, "{interface} has MAC address {found}, not {}", wanted.colons())
            }
            Self::Mtu { interface, wanted, found } => write!(f, "{interface} has MTU {found}, not {wanted}"),
            Self::Address { wanted, found: None } => write!(f, "address {wanted} is missing"),
            Self::Address { wanted, found: Some(found) } => {
                write!(
                    f,
                    "address {} has prefix length {}, not {}",
                    wanted.address(),
                    found.length(),
                    wanted.length()
                )
            }
            Self::Route { wanted, found: None } => {
                write!(f, "route {}{} is missing", shown(wanted.destination), way(wanted.via))
            }
            Self::Route { wanted, found: Some(found) } if found.via == wanted.via => write!(
                f,
                "route {}{} has metric {}, not {}",
                shown(wanted.destination),
                way(wanted.via),
                found.metric,
                metric(wanted)
            ),
            Self::Route { wanted, found: Some(found) } => write!(
                f,
                "route {}{} is missing: it leads{}",
                shown(wanted.destination),
                way(wanted.via),
                found.via.map_or_else(|| " out of the interface directly".to_owned(), |via| way(Some(via)))
            ),
        }
    }
}

fn shown(destination: Cidr) -> String {
    if destination.is_default() { "default".to_owned() } else { destination.to_string() }
}

fn way(via: Option<IpAddr>) -> String {
    via.map_or_else(String::new, |via| format!(" via {via}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Target;
    use hns_net::Mtu;
    use proptest::prelude::*;

    fn route(destination: &str, via: Option<&str>, metric: u32) -> Route {
        let via = via.map(|via| via.parse().unwrap());
        Route { destination: destination.parse().unwrap(), via, metric }
    }

    fn port() -> Port {
        Port {
            name: "hnv0123456789ab".parse().unwrap(),
            bridge: "hns01234567".parse().unwrap(),
            target: Target::Path("/run/netns/a".into()),
            interface: "eth0".parse().unwrap(),
            mac: Mac::new([2, 0, 0, 0, 0, 7]),
            mtu: Mtu::ETHERNET,
            addresses: vec!["10.7.0.2/24".parse().unwrap(), "fd00:7::2/64".parse().unwrap()],
            routes: vec![
                route("0.0.0.0/0", Some("10.7.0.1"), 20_000),
                route("::/0", Some("fd00:7::1"), 20_000),
                route("10.9.0.0/16", None, 5),
                route("fd00:9::/64", None, 0),
            ],
            until: std::collections::BTreeMap::new(),
        }
    }

    fn whole() -> Vnic {
        Vnic::in_line_with(&port())
    }

    fn said(inside: &Inside) -> Vec<String> {
        differences(&port(), inside).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_whole_inside_differs_in_nothing_whatever_it_has_beside() {
        let mut vnic = whole();
        vnic.addresses.extend(["fe80::7/64", "10.7.0.9/24"].map(|more| more.parse::<IfAddr>().unwrap()));
        vnic.routes.push(route("10.7.0.0/24", None, 0));
        vnic.routes.insert(0, route("0.0.0.0/0", Some("10.7.0.9"), 1));
        assert_eq!(said(&Inside::Here(vnic)), [""; 0]);
    }

    #[test]
    fn each_damage_is_named_with_what_is_wanted_and_found() {
        type Damage = fn(&mut Vnic);
        let cases: [(Damage, &str); 15] = [
            (|vnic| vnic.name = "eth9".into(), "eth0 is called eth9"),
            (|vnic| vnic.up = false, "eth0 is down"),
            (|vnic| vnic.arp = false, "eth0 has ARP off, not on"),
            (
                |vnic| vnic.mac = Some(Mac::new([2, 0, 0, 0, 0, 9])),
                "eth0 has MAC address 02:00:00:00:00:09, not 02:00:00:00:00:07",
            ),
            (|vnic| vnic.mac = None, "eth0 has MAC address none, not 02:00:00:00:00:07"),
            (|vnic| vnic.mtu = 1400, "eth0 has MTU 1400, not 1500"),
            (|vnic| _ = vnic.addresses.remove(0), "address 10.7.0.2/24 is missing"),
            (|vnic| _ = vnic.addresses.remove(1), "address fd00:7::2/64 is missing"),
            (
                |vnic| vnic.addresses[0] = "10.7.0.2/16".parse().unwrap(),
                "address 10.7.0.2 has prefix length 16, not 24",
            ),
            (|vnic| _ = vnic.routes.remove(0), "route default via 10.7.0.1 is missing"),
            (|vnic| _ = vnic.routes.remove(1), "route default via fd00:7::1 is missing"),
            (
                |vnic| vnic.routes[0].via = Some("10.7.0.9".parse().unwrap()),
                "route default via 10.7.0.1 is missing: it leads via 10.7.0.9",
            ),
            (|vnic| vnic.routes[0].metric = 7, "route default via 10.7.0.1 has metric 7, not 20000"),
            (
                |vnic| vnic.routes[0].via = None,
                "route default via 10.7.0.1 is missing: it leads out of the interface directly",
            ),
            (|vnic| _ = vnic.routes.remove(2), "route 10.9.0.0/16 is missing"),
        ];
        for (damage, wanted) in cases {
            let mut vnic = whole();
            damage(&mut vnic);
            assert_eq!(said(&Inside::Here(vnic)), [wanted]);
        }
    }

    #[test]
    fn what_is_not_there_at_all_is_one_difference() {
        for (inside, wanted) in [
            (Inside::NoNamespace, "the namespace of eth0 is gone"),
            (Inside::NoPort, "port hnv0123456789ab is missing"),
            (Inside::Elsewhere { namesake: false }, "eth0 is not in its namespace"),
            (
                Inside::Elsewhere { namesake: true },
                "eth0 is not in its namespace: what has this name there is another interface",
            ),
        ] {
            assert_eq!(said(&inside), [wanted]);
        }
    }

    proptest! {
        /// As many differences as things were taken away, in whichever order the rest is shown.
        #[test]
        fn exactly_what_was_taken_is_missed(
            keep_addresses in prop::collection::vec(any::<bool>(), 2),
            keep_routes in prop::collection::vec(any::<bool>(), 4),
            turned in any::<bool>(),
        ) {
            let mut vnic = whole();
            let mut keep = keep_addresses.iter();
            vnic.addresses.retain(|_| *keep.next().unwrap());
            let mut keep = keep_routes.iter();
            vnic.routes.retain(|_| *keep.next().unwrap());
            if turned {
                vnic.addresses.reverse();
                vnic.routes.reverse();
            }
            let taken = keep_addresses.iter().chain(&keep_routes).filter(|kept| !**kept).count();
            let found = said(&Inside::Here(vnic));
            prop_assert_eq!(found.len(), taken);
            prop_assert!(found.iter().all(|one| one.ends_with("is missing")));
        }
    }
}
