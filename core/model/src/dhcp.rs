//! Addresses that a DHCP server of the LAN gives endpoints, each for a time (RFC 2131).
//!
//! ```text
//!   obtained ── renew (T1): the server is asked ── rebind (T2): everybody is ── expiry: the address is somebody else's
//! ```

use std::net::{IpAddr, Ipv4Addr};

use hns_hcn::{self as hcn, IpConfiguration, Route};
use hns_net::{Family, Guid, IfAddr, Mac};

use crate::endpoint::Endpoint;
use crate::error::ModelError;
use crate::ipam::Claim;
use crate::network::Network;
use crate::world::World;

/// What a server has granted an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpLease {
    pub address: IfAddr,
    /// Those of the address's network that it names: the default route, and others.
    pub routes: Vec<Route>,
    pub dns: Vec<Ipv4Addr>,
    pub domain: Option<String>,
    pub server: DhcpServer,
    pub term: Term,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhcpServer {
    /// By which it calls itself.
    pub address: Ipv4Addr,
    /// What its answers came from: the server, or the router that leads to it.
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

impl DhcpLease {
    /// Its address without the length of its prefix.
    #[must_use]
    pub fn ipv4(&self) -> Ipv4Addr {
        match self.address.address() {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => unreachable!("DHCPv4 gives no addresses of IPv6"),
        }
    }

    fn servers(&self) -> Vec<IpAddr> {
        self.dns.iter().copied().map(Into::into).collect()
    }

    /// Writes into the document what it leaves to the LAN.
    fn fill(&self, document: &mut hcn::Endpoint) {
        document.addresses.insert(0, IpConfiguration::of(self.address.address(), self.address.length()));
        let is_own = |route: &Route| route.is_default() && route.destination.family() == Family::V4;
        let says_default = document.routes.iter().any(is_own);
        document.routes.extend(self.routes.iter().filter(|route| !(says_default && is_own(route))));
        if document.dns.servers.is_empty() {
            document.dns.servers = self.servers();
        }
        if document.dns.domain.is_none() {
            document.dns.domain.clone_from(&self.domain);
        }
    }

    /// Takes out of the document what the lease has written there.
    pub fn withdraw(&self, document: &mut hcn::Endpoint) {
        document.addresses.retain(|configured| configured.address != Some(self.address.address()));
        document.routes.retain(|route| !self.routes.contains(route));
        if document.dns.servers == self.servers() {
            document.dns.servers.clear();
        }
        if document.dns.domain == self.domain {
            document.dns.domain = None;
        }
    }
}

impl Endpoint {
    /// What it has from the LAN's server.
    #[must_use]
    pub fn dhcp_lease(&self) -> Option<&DhcpLease> {
        self.dhcp.as_ref()
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
        let leased =
            endpoints.filter_map(|id| Some(self.endpoint(id).ok()?.dhcp.as_ref()?.address.address()));
        Ok(leased.collect())
    }

    /// Refuses an address that the host has, or another endpoint on the switch of this one's network.
    fn check_leased(&self, id: Guid, lease: &DhcpLease) -> Result<(), ModelError> {
        let endpoint = self.endpoint(id)?;
        let address = lease.address.address();
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

    /// Gives an endpoint what a server has granted it, instead of what it had; gives that. Servers make mistakes: what somebody here has
    /// already is refused.
    pub fn set_dhcp_lease(
        &mut self,
        id: Guid,
        lease: Option<DhcpLease>,
    ) -> Result<Option<DhcpLease>, ModelError> {
        if let Some(lease) = &lease {
            self.check_leased(id, lease)?;
        }
        let endpoint = self.endpoint_mut(id)?;
        let before = std::mem::replace(&mut endpoint.dhcp, lease);
        if let Some(before) = &before {
            before.withdraw(&mut endpoint.document);
        }
        if let Some(lease) = &endpoint.dhcp {
            lease.fill(&mut endpoint.document);
        }
        Ok(before)
    }

    /// Says why an endpoint has no lease, or will have none soon; or that all is well.
    pub fn set_lease_trouble(&mut self, id: Guid, trouble: Option<String>) -> Result<(), ModelError> {
        self.endpoint_mut(id)?.lease_trouble = trouble;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(address: &str) -> DhcpLease {
        let mac = Mac::new([2, 0, 0, 0, 0, 1]);
        let default = Route {
            destination: Family::V4.default_route(),
            next_hop: Some("198.18.0.254".parse().unwrap()),
            metric: 0,
        };
        DhcpLease {
            address: address.parse().unwrap(),
            routes: vec![default],
            dns: vec!["198.18.0.53".parse().unwrap()],
            domain: Some("corp.example".into()),
            server: DhcpServer { address: "198.18.0.254".parse().unwrap(), mac },
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
