//! What a LAN gives endpoints, each for a time: its DHCP server (RFC 2131) addresses of IPv4, a router's advertisement (RFC 4862) those of
//! IPv6, and a DHCPv6 server (RFC 8415) others of IPv6 where the router says so.
//!
//! ```text
//!   obtained ── renew (T1): the giver is asked ── rebind (T2): everybody is ── expiry: the address is somebody else's
//! ```

use std::net::IpAddr;

use hns_hcn::{self as hcn, IpConfiguration, Route};
use hns_net::{Family, Guid, IfAddr, Mac};

use crate::endpoint::Endpoint;
use crate::error::ModelError;
use crate::ipam::Claim;
use crate::network::Network;
use crate::world::World;

/// By whom something is given. Where two give the same, the first one counts: a server knows the station, a router its LAN
/// (RFC 8106 section 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaseKind {
    Dhcp,
    Dhcp6,
    Advertised,
}

impl LeaseKind {
    pub const ALL: [Self; 3] = [Self::Dhcp, Self::Dhcp6, Self::Advertised];

    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::Dhcp => Family::V4,
            Self::Dhcp6 | Self::Advertised => Family::V6,
        }
    }
}

/// A kind of lease with what it alone has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    Dhcp,
    Dhcp6 {
        /// The server's DUID, under which it is asked again.
        server_id: Vec<u8>,
    },
    Advertised {
        /// There are addresses of a DHCPv6 server as well (the M flag), or nothing else.
        is_managed: bool,
    },
}

impl Grant {
    #[must_use]
    pub const fn kind(&self) -> LeaseKind {
        match self {
            Self::Dhcp => LeaseKind::Dhcp,
            Self::Dhcp6 { .. } => LeaseKind::Dhcp6,
            Self::Advertised { .. } => LeaseKind::Advertised,
        }
    }
}

/// What a LAN has given an endpoint, by one of its servers or routers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanLease {
    pub grant: Grant,
    /// A router gives one of each of its prefixes, or none.
    pub addresses: Vec<IfAddr>,
    /// Those that it names: the default route, and others.
    pub routes: Vec<Route>,
    pub dns: Vec<IpAddr>,
    pub domain: Option<String>,
    pub search: Vec<String>,
    pub server: LanServer,
    pub term: Term,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LanServer {
    /// By which it calls itself: a DHCP server, or a router.
    pub address: IpAddr,
    /// What its answers came from: the server or router, or the router that leads to it.
    pub mac: Mac,
}

/// How long a lease holds. All in seconds; moments count from the host's boot, sleep included, since no change of the host's clock may
/// lengthen a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    pub obtained: u64,
    pub renew_after: u32,
    pub rebind_after: u32,
    pub lifetime: u32,
}

/// A lease without an end (RFC 2131 section 3.3).
pub const FOREVER: u32 = u32::MAX;

/// What is to be done about a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeasePhase {
    Bound,
    Renewing,
    Rebinding,
    Expired,
}

impl Term {
    #[must_use]
    pub fn phase(&self, now: u64) -> LeasePhase {
        let passed = |seconds: u32| seconds != FOREVER && now >= self.obtained + u64::from(seconds);
        match () {
            () if passed(self.lifetime) => LeasePhase::Expired,
            () if passed(self.rebind_after) => LeasePhase::Rebinding,
            () if passed(self.renew_after) => LeasePhase::Renewing,
            () => LeasePhase::Bound,
        }
    }

    /// When it ends; none for one that does not.
    #[must_use]
    pub fn end(&self) -> Option<u64> {
        (self.lifetime != FOREVER).then(|| self.obtained + u64::from(self.lifetime))
    }

    /// Seconds until it ends; none for one that does not.
    #[must_use]
    pub fn rest(&self, now: u64) -> Option<u64> {
        self.end().map(|end| end.saturating_sub(now))
    }
}

impl LanLease {
    #[must_use]
    pub const fn kind(&self) -> LeaseKind {
        self.grant.kind()
    }

    /// The first one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.addresses.first().copied().map(IfAddr::address)
    }

    /// What it is of, in words.
    #[must_use]
    pub fn subject(&self) -> String {
        match self.addresses.as_slice() {
            [] => format!("the way by {}", self.server.address),
            addresses => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        }
    }

    /// Writes into the document what it leaves to the LAN.
    fn fill(&self, document: &mut hcn::Endpoint) {
        for given in &self.addresses {
            // A server may give what the prefix gives as well.
            if !document.addresses.iter().any(|there| there.address == Some(given.address())) {
                document.addresses.push(IpConfiguration::of(given.address(), given.length()));
            }
        }
        let is_own = |route: &Route| route.is_default() && route.destination.family() == self.kind().family();
        let says_default = document.routes.iter().any(is_own);
        document.routes.extend(self.routes.iter().filter(|route| !(says_default && is_own(route))));
        if document.dns.servers.is_empty() {
            document.dns.servers.clone_from(&self.dns);
        }
        if document.dns.domain.is_none() {
            document.dns.domain.clone_from(&self.domain);
        }
        if document.dns.search.is_empty() {
            document.dns.search.clone_from(&self.search);
        }
    }

    /// Takes out of the document what the lease has written there.
    pub fn withdraw(&self, document: &mut hcn::Endpoint) {
        let is_given = |address: IpAddr| self.addresses.iter().any(|given| given.address() == address);
        document.addresses.retain(|configured| !configured.address.is_some_and(is_given));
        document.routes.retain(|route| !self.routes.contains(route));
        if document.dns.servers == self.dns {
            document.dns.servers.clear();
        }
        if document.dns.domain == self.domain {
            document.dns.domain = None;
        }
        if document.dns.search == self.search {
            document.dns.search.clear();
        }
    }
}

impl Endpoint {
    /// What it has from the LAN, of this kind.
    #[must_use]
    pub fn lease(&self, kind: LeaseKind) -> Option<&LanLease> {
        self.leases.get(&kind)
    }

    /// Whether the LAN has given it an address of this family.
    #[must_use]
    pub fn is_addressed(&self, family: Family) -> bool {
        self.leases().any(|lease| lease.kind().family() == family && !lease.addresses.is_empty())
    }

    /// Whether a DHCPv6 server is to be asked: its router says so, or one has given an address before.
    #[must_use]
    pub fn wants_dhcp6(&self) -> bool {
        let is_managed = |lease: &LanLease| {
            matches!(lease.grant, Grant::Dhcp6 { .. } | Grant::Advertised { is_managed: true })
        };
        self.leases().any(is_managed)
    }

    /// What it is to have from the LAN, of these families.
    pub fn wanted_leases(&self, families: impl IntoIterator<Item = Family>) -> Vec<LeaseKind> {
        let is_wanted = |kind: &LeaseKind| *kind != LeaseKind::Dhcp6 || self.wants_dhcp6();
        let of = |family: Family| LeaseKind::ALL.into_iter().filter(move |kind| kind.family() == family);
        families.into_iter().flat_map(of).filter(is_wanted).collect()
    }

    /// What it has from the LAN.
    pub fn leases(&self) -> impl Iterator<Item = &LanLease> {
        self.leases.values()
    }
}

impl Endpoint {
    /// The document says at any time what all leases together give: where two give the same, the first kind counts.
    fn exchange_lease(&mut self, kind: LeaseKind, lease: Option<LanLease>) -> Option<LanLease> {
        self.leases.values().rev().for_each(|held| held.withdraw(&mut self.document));
        let before = match lease {
            Some(lease) => self.leases.insert(kind, lease),
            None => self.leases.remove(&kind),
        };
        self.leases.values().for_each(|held| held.fill(&mut self.document));
        if !self.wants_dhcp6() {
            // Nobody misses it any more.
            self.lease_trouble.remove(&LeaseKind::Dhcp6);
        }
        before
    }
}

impl Network {
    /// Does something while its pools do not give out these addresses.
    pub(crate) fn without<T>(&mut self, addresses: &[IpAddr], work: impl FnOnce(&mut Self) -> T) -> T {
        let mut kept = Vec::new();
        for (place, pool) in self.pools.iter_mut().enumerate() {
            let free = addresses.iter().filter(|address| pool.claim(**address) == Claim::Granted);
            kept.extend(free.map(|address| (place, *address)));
        }
        let done = work(self);
        for (place, address) in kept {
            self.pools[place].release(address);
        }
        done
    }
}

impl World {
    /// The addresses that a LAN has given to endpoints on the switch of this network.
    pub(crate) fn leased_beside(&self, network: Guid) -> Result<Vec<IpAddr>, ModelError> {
        let network = self.network(network)?;
        if network.uplink().is_none() {
            return Ok(Vec::new());
        }
        let beside = self.networks().filter(|other| other.switch_id() == network.switch_id());
        let endpoints = beside.filter(|other| other.has_dhcp()).flat_map(Network::endpoints);
        let leases = endpoints.filter_map(|id| self.endpoint(id).ok()).flat_map(Endpoint::leases);
        Ok(leases.flat_map(|lease| lease.addresses.iter().copied()).map(IfAddr::address).collect())
    }

    /// Refuses an address that the host has, or another endpoint on the switch of this one's network.
    fn check_leased(&self, id: Guid, address: IpAddr) -> Result<(), ModelError> {
        let endpoint = self.endpoint(id)?;
        let has_it = |endpoint: &Endpoint| endpoint.addresses().any(|held| held.address() == address);
        if has_it(endpoint) {
            return Ok(());
        }
        let network = self.network(endpoint.network())?;
        let taken =
            |why: String| Err(ModelError::AddressTaken { network: network.name().to_owned(), address, why });
        if self.hosts_own_on(network.id())?.contains(&address) {
            return taken("the host's own".to_owned());
        }
        let beside = self.networks().filter(|other| other.switch_id() == network.switch_id());
        let mut others = beside.flat_map(Network::endpoints).filter_map(|other| self.endpoint(other).ok());
        match others.find(|other| has_it(other)) {
            Some(holder) => taken(format!("in use by {}", self.describe_endpoint(holder.id()))),
            None => Ok(()),
        }
    }

    /// Gives an endpoint what the LAN has granted it, instead of what it had of that kind; gives that. Servers make mistakes: what
    /// somebody here has already is refused.
    pub fn set_lease(&mut self, id: Guid, lease: LanLease) -> Result<Option<LanLease>, ModelError> {
        lease.addresses.iter().try_for_each(|address| self.check_leased(id, address.address()))?;
        let kind = lease.kind();
        Ok(self.endpoint_mut(id)?.exchange_lease(kind, Some(lease)))
    }

    /// Takes from an endpoint what the LAN had granted it of a kind; gives it.
    pub fn withdraw_lease(&mut self, id: Guid, kind: LeaseKind) -> Result<Option<LanLease>, ModelError> {
        Ok(self.endpoint_mut(id)?.exchange_lease(kind, None))
    }

    /// Takes from an endpoint all that the LAN had granted it; gives it.
    pub fn withdraw_leases(&mut self, id: Guid) -> Result<Vec<LanLease>, ModelError> {
        let endpoint = self.endpoint_mut(id)?;
        Ok(LeaseKind::ALL.into_iter().filter_map(|kind| endpoint.exchange_lease(kind, None)).collect())
    }

    /// Says why an endpoint has no lease of a kind, or will have none soon; or that all is well. What is wanted no more, perhaps since
    /// a moment ago, is missed by nobody.
    pub fn set_lease_trouble(
        &mut self,
        id: Guid,
        kind: LeaseKind,
        trouble: Option<String>,
    ) -> Result<(), ModelError> {
        let endpoint = self.endpoint_mut(id)?;
        match trouble.filter(|_| kind != LeaseKind::Dhcp6 || endpoint.wants_dhcp6()) {
            Some(trouble) => endpoint.lease_trouble.insert(kind, trouble),
            None => endpoint.lease_trouble.remove(&kind),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(address: &str) -> LanLease {
        let mac = Mac::new([2, 0, 0, 0, 0, 1]);
        let default = Route {
            destination: Family::V4.default_route(),
            next_hop: Some("198.18.0.254".parse().unwrap()),
            metric: 0,
        };
        LanLease {
            grant: Grant::Dhcp,
            addresses: vec![address.parse().unwrap()],
            routes: vec![default],
            dns: vec!["198.18.0.53".parse().unwrap()],
            domain: Some("corp.example".into()),
            search: vec!["lab.example".into()],
            server: LanServer { address: "198.18.0.254".parse().unwrap(), mac },
            term: Term { obtained: 100, renew_after: 5, rebind_after: 8, lifetime: 10 },
        }
    }

    #[test]
    fn a_lease_grows_old_at_its_times_and_one_for_ever_does_not() {
        let term = lease("198.18.0.7/24").term;
        let phases = [100, 104, 105, 107, 108, 109, 110, 9_999].map(|now| term.phase(now));
        use LeasePhase::{Bound, Expired, Rebinding, Renewing};
        assert_eq!(phases, [Bound, Bound, Renewing, Renewing, Rebinding, Rebinding, Expired, Expired]);
        assert_eq!((term.rest(103), term.rest(300)), (Some(7), Some(0)));
        let term = Term { obtained: 0, renew_after: FOREVER, rebind_after: FOREVER, lifetime: FOREVER };
        assert_eq!((term.phase(u64::MAX), term.rest(5)), (Bound, None));
    }

    #[test]
    fn what_a_lease_writes_it_takes_back_and_nothing_else() {
        let bare = hcn::Endpoint::from_v2(&serde_json::json!({"Name": "web"})).unwrap();
        let mut own = bare.clone();
        own.dns.servers = vec!["192.0.2.53".parse().unwrap()];
        own.dns.domain = Some("mine.example".into());
        own.dns.search = vec!["mine.example".into()];
        own.routes = vec![Route { destination: Family::V4.default_route(), next_hop: None, metric: 0 }];
        for document in [bare, own.clone()] {
            let mut filled = document.clone();
            lease("198.18.0.7/24").fill(&mut filled);
            assert_eq!(filled.addresses[0].address, Some("198.18.0.7".parse().unwrap()));
            lease("198.18.0.7/24").withdraw(&mut filled);
            assert_eq!(filled, document);
        }
        let mut filled = own.clone();
        lease("198.18.0.7/24").fill(&mut filled);
        assert_eq!((&filled.dns, &filled.routes), (&own.dns, &own.routes));
    }
}
