//! A LAN in memory, with one DHCP server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use hns_hcn::Route;
use hns_model::{DhcpLease, DhcpServer, Term};
use hns_net::{Family, IfAddr, Mac};

use crate::{Client, Resolver, ResolverError, Wire};

const SERVER: DhcpServer =
    DhcpServer { address: Ipv4Addr::new(198, 18, 0, 254), mac: Mac::new([0x02, 0, 0, 0, 0, 0xfe]) };
const LIFETIME: u32 = 600;

/// Gives addresses of 198.18.0.0/24 without a look at the wire. Clones are the same server.
#[derive(Debug, Clone, Default)]
pub struct FakeResolver {
    lan: Arc<Mutex<Lan>>,
    answers: Arc<Condvar>,
}

#[derive(Debug, Default)]
struct Lan {
    now: u64,
    is_silent: bool,
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

    fn lease(&self, address: Ipv4Addr) -> DhcpLease {
        let default = Family::V4.default_route();
        DhcpLease {
            address: IfAddr::new(address.into(), 24).expect("an address of IPv4 has 32 bits"),
            routes: vec![Route { destination: default, next_hop: Some(SERVER.address.into()), metric: 0 }],
            dns: vec![SERVER.address],
            domain: None,
            server: SERVER,
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
        wanted: Option<Ipv4Addr>,
    ) -> Result<DhcpLease, ResolverError> {
        let mut lan = self.lan();
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

    fn renew(&self, _: &dyn Wire, client: &Client, lease: &DhcpLease) -> Result<DhcpLease, ResolverError> {
        let lan = self.lan();
        let server = SERVER.address;
        match lan.leases.get(&client.mac) {
            Some(held) if !lan.is_silent && lease.address.address() == *held => Ok(lan.lease(*held)),
            _ if lan.is_silent => {
                let address = server;
                Err(ResolverError::Unanswered { server, address })
            }
            _ => Err(ResolverError::Refused { server, message: None }),
        }
    }

    fn decline(&self, _: &dyn Wire, client: &Client, lease: &DhcpLease) -> Result<(), ResolverError> {
        let mut lan = self.lan();
        lan.leases.remove(&client.mac);
        lan.declined.insert(lease.ipv4());
        Ok(())
    }

    fn release(&self, _: &dyn Wire, client: &Client, _: &DhcpLease) -> Result<(), ResolverError> {
        self.lan().leases.remove(&client.mac);
        Ok(())
    }
}
