//! A LAN in memory, with one DHCP server, one router and one DHCPv6 server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use hns_hcn::Route;
use hns_model::{Grant, LanLease, LanServer, LeaseKind, Term};
use hns_net::{IfAddr, Mac};

use crate::{Client, Giver, Resolver, ResolverError, Wire};

const SERVER_AT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 254);
const MAC: Mac = Mac::new([0x02, 0, 0, 0, 0, 0xfe]);
const SERVER: LanServer = LanServer { address: IpAddr::V4(SERVER_AT), mac: MAC };
const ROUTER_AT: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe);
const ROUTER: LanServer = LanServer { address: IpAddr::V6(ROUTER_AT), mac: MAC };
const PREFIX: [u16; 4] = [0xfd00, 0x198, 0x18, 0];
const LIFETIME: u32 = 600;

/// Gives addresses of 198.18.0.0/24 and of fd00:198:18::/64, which it advertises, without a look at the wire. Clones are the same server.
#[derive(Debug, Clone, Default)]
pub struct FakeResolver {
    lan: Arc<Mutex<Lan>>,
    answers: Arc<Condvar>,
}

/// What the router says of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advertised {
    /// Stations make them of a prefix.
    Prefix,
    /// A server gives them.
    Managed,
    Both,
}

#[derive(Debug, Default)]
struct Lan {
    now: u64,
    is_silent: bool,
    router: Option<Advertised>,
    /// The DHCPv6 server answers.
    has_server6: bool,
    leases6: BTreeMap<Mac, Ipv6Addr>,
    /// Who has to wait, and how many do.
    waiting: BTreeSet<Mac>,
    asking: usize,
    leases: BTreeMap<Mac, Ipv4Addr>,
    /// What it gives to everybody.
    stuck: Option<Ipv4Addr>,
    declined: BTreeSet<Ipv4Addr>,
}

impl FakeResolver {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the server answers nobody, or everybody again.
    pub fn fall_silent(&self, is_silent: bool) {
        self.lan().is_silent = is_silent;
    }

    /// From now on these wait when they ask for an address, and are answered when they are not among these any more.
    pub fn keep_waiting(&self, clients: impl IntoIterator<Item = Mac>) {
        self.lan().waiting = clients.into_iter().collect();
        self.answers.notify_all();
    }

    /// How many wait for an answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lan().asking
    }

    /// From now on there is a router, or none any more.
    pub fn advertise(&self, has_router: bool) {
        self.advertise_as(has_router.then_some(Advertised::Prefix));
    }

    /// From now on there is a router that says this, or none any more.
    pub fn advertise_as(&self, router: Option<Advertised>) {
        self.lan().router = router;
    }

    /// From now on there is a DHCPv6 server, or none any more.
    pub fn serve_dhcp6(&self, has_server: bool) {
        self.lan().has_server6 = has_server;
    }

    /// The DHCPv6 server has lost its notes.
    pub fn forget_dhcp6(&self) {
        self.lan().leases6.clear();
    }

    /// Who has which address of the DHCPv6 server.
    #[must_use]
    pub fn leases_dhcp6(&self) -> BTreeMap<Mac, Ipv6Addr> {
        self.lan().leases6.clone()
    }

    pub fn pass_time(&self, seconds: u64) {
        self.lan().now += seconds;
    }

    /// The server gives an address to somebody else, whoever had it.
    pub fn give(&self, mac: Mac, address: Ipv4Addr) {
        let leases = &mut self.lan().leases;
        leases.retain(|_, held| *held != address);
        leases.insert(mac, address);
    }

    /// The server gives everybody who comes this address, until somebody declines it.
    pub fn give_to_everybody(&self, address: Ipv4Addr) {
        self.lan().stuck = Some(address);
    }

    /// What was declined. Nobody gets it any more.
    #[must_use]
    pub fn declined(&self) -> BTreeSet<Ipv4Addr> {
        self.lan().declined.clone()
    }

    /// Who has which address.
    #[must_use]
    pub fn leases(&self) -> BTreeMap<Mac, Ipv4Addr> {
        self.lan().leases.clone()
    }

    fn lan(&self) -> MutexGuard<'_, Lan> {
        self.lan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lan {
    fn free(&self) -> Option<Ipv4Addr> {
        let mut all = (1..=200).map(|number| Ipv4Addr::new(198, 18, 0, number));
        all.find(|address| self.is_free(*address))
    }

    fn is_free(&self, address: Ipv4Addr) -> bool {
        !self.leases.values().any(|held| *held == address) && !self.declined.contains(&address)
    }

    fn lease(&self, address: Ipv4Addr) -> LanLease {
        let address = IfAddr::new(address.into(), 24).expect("an address of IPv4 has 32 bits");
        self.lease_of(Grant::Dhcp, Some(address))
    }

    /// The one it has, or the next one.
    fn dhcp6(&mut self, station: Mac) -> Result<LanLease, ResolverError> {
        if !self.has_server6 {
            return Err(ResolverError::Silent6 { questions: 3, seconds: 7 });
        }
        let next = u16::try_from(self.leases6.len()).unwrap_or(u16::MAX);
        let [a, b, c, d] = PREFIX;
        let address = *self.leases6.entry(station).or_insert(Ipv6Addr::new(a, b, c, d, 0, 0, 1, next));
        let address = IfAddr::new(address.into(), 128).expect("an address of IPv6 has 128 bits");
        Ok(self.lease_of(Grant::Dhcp6 { server_id: vec![0, 3, 0, 1] }, Some(address)))
    }

    fn advertised(&self, station: Mac) -> Result<LanLease, ResolverError> {
        let Some(router) = self.router else {
            return Err(ResolverError::NoRouter { questions: 3, seconds: 5 });
        };
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(PREFIX.map(u16::to_be_bytes).as_flattened());
        octets[8..].copy_from_slice(&station.interface_id());
        let address =
            IfAddr::new(Ipv6Addr::from(octets).into(), 64).expect("an address of IPv6 has 128 bits");
        let is_managed = router != Advertised::Prefix;
        Ok(self.lease_of(
            Grant::Advertised { is_managed },
            Some(address).filter(|_| router != Advertised::Managed),
        ))
    }

    fn lease_of(&self, grant: Grant, address: Option<IfAddr>) -> LanLease {
        let server = if grant == Grant::Dhcp { SERVER } else { ROUTER };
        let destination = grant.kind().family().default_route();
        let way_out = Route { destination, next_hop: Some(server.address), metric: 0 };
        LanLease {
            routes: Some(way_out).filter(|_| grant.kind() != LeaseKind::Dhcp6).into_iter().collect(),
            grant,
            addresses: address.into_iter().collect(),
            dns: vec![SERVER.address],
            domain: None,
            search: Vec::new(),
            server,
            term: Term {
                obtained: self.now,
                renew_after: LIFETIME / 2,
                rebind_after: LIFETIME / 8 * 7,
                lifetime: LIFETIME,
            },
        }
    }
}

impl Resolver for FakeResolver {
    fn now(&self) -> u64 {
        self.lan().now
    }

    fn acquire(
        &self,
        _: &dyn Wire,
        client: &Client,
        kind: LeaseKind,
        wanted: Option<IpAddr>,
    ) -> Result<LanLease, ResolverError> {
        let mut lan = self.lan();
        match kind {
            LeaseKind::Dhcp => {}
            LeaseKind::Dhcp6 => return lan.dhcp6(client.mac),
            LeaseKind::Advertised => return lan.advertised(client.mac),
        }
        let wanted = wanted.and_then(ipv4);
        lan.asking += 1;
        let waits = |lan: &mut Lan| lan.waiting.contains(&client.mac);
        let mut lan = self.answers.wait_while(lan, waits).unwrap_or_else(PoisonError::into_inner);
        lan.asking -= 1;
        let silence = ResolverError::Silent { questions: 4, seconds: 10 };
        if lan.is_silent {
            return Err(silence);
        }
        let held = lan.leases.get(&client.mac).copied();
        let stuck = lan.stuck.filter(|address| !lan.declined.contains(address));
        let known = stuck.or(held).or_else(|| wanted.filter(|wanted| lan.is_free(*wanted)));
        let address = known.or_else(|| lan.free()).ok_or(silence)?;
        lan.leases.insert(client.mac, address);
        Ok(lan.lease(address))
    }

    fn renew(&self, _: &dyn Wire, client: &Client, lease: &LanLease) -> Result<LanLease, ResolverError> {
        let mut lan = self.lan();
        let giver = Giver::of(lease);
        let unanswered = || ResolverError::Unanswered { giver, subject: lease.subject() };
        let refused = || ResolverError::Refused { giver, message: None };
        match lease.kind() {
            LeaseKind::Dhcp => {}
            LeaseKind::Dhcp6 if !lan.has_server6 => return Err(unanswered()),
            LeaseKind::Dhcp6 if lan.leases6.contains_key(&client.mac) => return lan.dhcp6(client.mac),
            LeaseKind::Dhcp6 => return Err(refused()),
            LeaseKind::Advertised => return lan.advertised(client.mac),
        }
        match lan.leases.get(&client.mac) {
            Some(held) if !lan.is_silent && lease.address() == Some(IpAddr::from(*held)) => {
                Ok(lan.lease(*held))
            }
            _ if lan.is_silent => Err(unanswered()),
            _ => Err(refused()),
        }
    }

    fn decline(&self, _: &dyn Wire, client: &Client, lease: &LanLease) -> Result<(), ResolverError> {
        let mut lan = self.lan();
        if let Some(address) = lease.address().and_then(ipv4) {
            lan.leases.remove(&client.mac);
            lan.declined.insert(address);
        }
        Ok(())
    }

    fn release(&self, _: &dyn Wire, client: &Client, lease: &LanLease) -> Result<(), ResolverError> {
        match lease.kind() {
            LeaseKind::Dhcp => _ = self.lan().leases.remove(&client.mac),
            LeaseKind::Dhcp6 => _ = self.lan().leases6.remove(&client.mac),
            LeaseKind::Advertised => {}
        }
        Ok(())
    }
}

const fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
