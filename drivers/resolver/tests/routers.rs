//! Addresses of IPv6, of routers in memory.

#![expect(clippy::unwrap_used, reason = "a router that cannot answer fails the test")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::Ipv6Addr;
use std::time::Duration;

use hns_model::{FOREVER, Grant, LanLease, LeaseKind};
use hns_net::Mac;
use hns_resolver::{Client, DhcpClient, Resolver, ResolverError, Wire};

const CLIENT: Mac = Mac::new([2, 0, 0, 0, 0, 7]);
const ROUTER: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
const SOLICITATION: u8 = 133;

/// What a router of the LAN answers to every question.
struct Router {
    address: &'static str,
    lifetime: u16,
    managed: bool,
    /// Seconds for which they are valid.
    prefixes: &'static [(&'static str, u32)],
    flags: u8,
}

const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;
const USUAL: Router = Router {
    address: "fe80::1",
    lifetime: 1800,
    managed: false,
    prefixes: &[("fd00:198:18::", 7200)],
    flags: ON_LINK | AUTONOMOUS,
};

struct Lan<'a> {
    routers: &'a [Router],
    /// Who has which of the addresses that are asked for.
    holder: Option<(Ipv6Addr, Mac)>,
    said: RefCell<Vec<u8>>,
    heard: RefCell<VecDeque<Vec<u8>>>,
}

impl<'a> Lan<'a> {
    fn new(routers: &'a [Router], holder: Option<(Ipv6Addr, Mac)>) -> Self {
        Self { routers, holder, said: RefCell::default(), heard: RefCell::default() }
    }

    fn count(&self, kind: u8) -> usize {
        self.said.borrow().iter().filter(|said| **said == kind).count()
    }
}

impl Wire for Lan<'_> {
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        let kind = frame[54];
        self.said.borrow_mut().push(kind);
        let mut heard = self.heard.borrow_mut();
        if kind == SOLICITATION {
            heard.extend(self.routers.iter().map(advertisement));
        } else if let Some((held, mac)) = self.holder
            && frame[62..78] == held.octets()
        {
            let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
            message.extend(held.octets());
            heard.push_back(icmpv6(mac, held, &message));
        }
        Ok(())
    }

    /// Time passes at once.
    fn receive(&self, _patience: Duration) -> io::Result<Option<Vec<u8>>> {
        Ok(self.heard.borrow_mut().pop_front())
    }
}

fn icmpv6(mac: Mac, from: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut frame = [&[0x33, 0x33, 0, 0, 0, 1][..], &mac.octets(), &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    frame.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend([58, 255]);
    frame.extend(from.octets());
    frame.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    frame.extend(message);
    frame
}

fn advertisement(router: &Router) -> Vec<u8> {
    let mut message = vec![134, 0, 0, 0, 64, if router.managed { 0x80 } else { 0 }];
    message.extend(router.lifetime.to_be_bytes());
    message.extend([0; 8]);
    for (network, valid) in router.prefixes {
        message.extend([3, 4, 64, router.flags]);
        message.extend([valid.to_be_bytes(), valid.to_be_bytes(), [0; 4]].concat());
        message.extend(network.parse::<Ipv6Addr>().unwrap().octets());
    }
    icmpv6(ROUTER, router.address.parse().unwrap(), &message)
}

fn client() -> Client {
    Client { mac: CLIENT, host_name: None }
}

fn acquired(lan: &Lan) -> Result<LanLease, ResolverError> {
    DhcpClient.acquire(lan, &client(), LeaseKind::Advertised, None)
}

fn shown(lease: &LanLease) -> (String, Vec<String>) {
    let hops = lease.routes.iter().filter_map(|route| route.next_hop).map(|hop| hop.to_string());
    (lease.addresses[0].to_string(), hops.collect())
}

#[test]
fn a_router_gives_the_address_that_the_mac_makes_and_itself_as_the_way_out() {
    let lan = Lan::new(&[USUAL], None);
    let lease = acquired(&lan).unwrap();
    assert_eq!(shown(&lease), ("fd00:198:18::ff:fe00:7/64".into(), vec!["fe80::1".into()]));
    assert_eq!((lease.server.mac, lease.server.address), (ROUTER, "fe80::1".parse().unwrap()));
    // It is asked again in time for its own lifetime, which is shorter than the prefix's.
    let term = lease.term;
    assert_eq!((term.renew_after, term.rebind_after, term.lifetime), (900, 1575, 7200));
    assert_eq!(lan.count(SOLICITATION), 1);
}

#[test]
fn each_prefix_gives_an_address_and_the_shortest_holds_for_all() {
    let prefixes = &[("fd00:1::", 600), ("fd00:2::", 40), ("fd00:1::", 600)];
    let lease = acquired(&Lan::new(&[Router { prefixes, ..USUAL }], None)).unwrap();
    let addresses: Vec<_> = lease.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["fd00:1::ff:fe00:7/64", "fd00:2::ff:fe00:7/64"]);
    assert_eq!((lease.term.renew_after, lease.term.lifetime), (20, 40));
    let forever = Router { prefixes: &[("fd00::", FOREVER)], lifetime: 0, ..USUAL };
    let lease = acquired(&Lan::new(&[forever], None)).unwrap();
    assert_eq!((lease.term.end(), shown(&lease).1.len()), (None, 0));
}

#[test]
fn the_way_out_is_preferred_to_who_answers_first() {
    let none = Router { address: "fe80::2", lifetime: 0, ..USUAL };
    let lease = acquired(&Lan::new(&[none, USUAL], None)).unwrap();
    assert_eq!(shown(&lease).1, ["fe80::1"]);
}

#[test]
fn a_lan_that_gives_no_address_is_an_error_that_says_why() {
    let silent = Lan::new(&[], None);
    assert!(matches!(acquired(&silent), Err(ResolverError::NoRouter { questions: 3, seconds: 5 })));
    let bare = Router { prefixes: &[], ..USUAL };
    assert!(matches!(acquired(&Lan::new(&[bare], None)), Err(ResolverError::NoPrefix { .. })));
}

#[test]
fn a_router_may_leave_addresses_to_a_server_and_name_what_is_on_the_link() {
    let managed = |prefixes, flags| Router { prefixes, flags, managed: true, ..USUAL };
    let to =
        |lease: &LanLease| lease.routes.iter().map(|route| route.destination.to_string()).collect::<Vec<_>>();
    let lease = acquired(&Lan::new(&[managed(&[("fd00:198:18::", 600)], ON_LINK)], None)).unwrap();
    assert_eq!((&lease.grant, lease.addresses.len()), (&Grant::Advertised { is_managed: true }, 0));
    assert_eq!(to(&lease), ["::/0", "fd00:198:18::/64"]);
    assert_eq!((lease.term.renew_after, lease.term.lifetime), (300, 600));
    // Of a prefix for both an address of the container's says that it is on the link.
    let lease =
        acquired(&Lan::new(&[managed(&[("fd00:198:18::", 600)], ON_LINK | AUTONOMOUS)], None)).unwrap();
    assert_eq!((&lease.grant, lease.addresses.len()), (&Grant::Advertised { is_managed: true }, 1));
    assert_eq!(to(&lease), ["::/0"]);
    // What it says without a prefix counts as long as it does itself.
    let lease = acquired(&Lan::new(&[managed(&[], 0)], None)).unwrap();
    assert_eq!((to(&lease).len(), lease.term.lifetime), (1, 1800));
    let lease = acquired(&Lan::new(&[Router { lifetime: 0, ..managed(&[], 0) }], None)).unwrap();
    assert_eq!((to(&lease).len(), lease.term.renew_after, lease.term.lifetime), (0, 900, 1800));
    for everybodys in ["fe80::", "ff00::", "::"] {
        let prefixes: &'static [_] = Box::leak(Box::new([(everybodys, 600)]));
        let lease = acquired(&Lan::new(&[managed(prefixes, ON_LINK)], None)).unwrap();
        assert_eq!(to(&lease), ["::/0"], "{everybodys}");
    }
}

#[test]
fn an_address_that_somebody_has_is_not_taken() {
    let held: Ipv6Addr = "fd00:198:18::ff:fe00:7".parse().unwrap();
    let error = acquired(&Lan::new(&[USUAL], Some((held, ROUTER)))).unwrap_err();
    assert!(matches!(&error, ResolverError::Conflict { holder, .. } if *holder == ROUTER), "{error}");
    // An answer of its own station, which the LAN brings back, is none.
    assert!(acquired(&Lan::new(&[USUAL], Some((held, CLIENT)))).is_ok());
}

#[test]
fn a_lease_is_renewed_by_its_router_and_later_by_any() {
    let mut lease = acquired(&Lan::new(&[USUAL], None)).unwrap();
    let renewed = |lease: &LanLease, routers: &[Router]| {
        let lan = Lan::new(routers, None);
        let renewed = DhcpClient.renew(&lan, &client(), lease);
        // Nobody is asked for an address that is in use.
        assert_eq!(lan.said.borrow()[..], [SOLICITATION]);
        renewed
    };
    let other = || Router { address: "fe80::2", ..USUAL };
    assert_eq!(shown(&renewed(&lease, &[other(), USUAL]).unwrap()).1, ["fe80::1"]);
    assert!(matches!(renewed(&lease, &[other()]), Err(ResolverError::Unanswered { .. })));
    // It says that it is no way out any more, or that there are no addresses.
    assert!(matches!(renewed(&lease, &[Router { lifetime: 0, ..USUAL }]), Err(error) if !error.is_final()));
    assert!(matches!(renewed(&lease, &[Router { prefixes: &[], ..USUAL }]), Err(error) if error.is_final()));
    let longer = Router { prefixes: &[("fd00:198:18::", 9000)], ..USUAL };
    assert_eq!(renewed(&lease, &[longer]).unwrap().term.lifetime, 9000);
    lease.term.rebind_after = 0;
    assert_eq!(shown(&renewed(&lease, &[other()]).unwrap()).1, ["fe80::2"]);
}
