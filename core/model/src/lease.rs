//! Addresses that an engine's own IPAM asks for before there is an endpoint, or for networks that are not ours.
//!
//! A lease lies in a [`LeaseBook`], one a pool. Where a network of ours has the pool's subnet, the address is taken
//! there as well, so that whoever else joins that network is given another one; the endpoint that comes with the
//! address then finds it waiting.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hns_net::{Cidr, Family, Guid, IfAddr};

use crate::endpoint::Endpoint;
use crate::error::ModelError;
use crate::ipam::{Claim, Pool};
use crate::network::Network;
use crate::prefix;
use crate::world::World;

/// A pool: its subnet, the part of it that addresses of our choice come from, and the network it belongs to when it was
/// asked for one. Written `10.0.0.0/24,10.0.0.128/25@GUID`; it says all there is to say, so that a pool whose record
/// is gone can be opened again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolId {
    pub prefix: Cidr,
    pub range: Option<Cidr>,
    pub network: Option<Guid>,
}

/// The leases of one pool.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseBook {
    pub(crate) pool: Pool,
    /// Leases whose holder may be gone without having said so, since the engine was killed. Whoever asks for one of
    /// them by name gets it, once.
    doubtful: BTreeSet<IpAddr>,
}

/// What an engine asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolWish {
    pub family: Family,
    /// Absent: one of our choice.
    pub prefix: Option<Cidr>,
    pub range: Option<Cidr>,
    /// Addresses of this network, by its id or its name.
    pub network: Option<String>,
}

/// What an address is leased for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeasePurpose {
    /// A container, or an address that is never to be handed out.
    Holder,
    /// The gateway: the same one however often it is asked for.
    Gateway,
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.prefix)?;
        if let Some(range) = self.range {
            write!(f, ",{range}")?;
        }
        self.network.map_or(Ok(()), |network| write!(f, "@{network}"))
    }
}

impl FromStr for PoolId {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let unknown = || ModelError::NoPool(text.to_owned());
        let (block, network) = text.split_once('@').map_or((text, None), |(block, id)| (block, Some(id)));
        let (prefix, range) = block.split_once(',').map_or((block, None), |(p, range)| (p, Some(range)));
        Ok(Self {
            prefix: prefix.parse().map_err(|_| unknown())?,
            range: range.map(str::parse).transpose().map_err(|_| unknown())?,
            network: network.map(str::parse).transpose().map_err(|_| unknown())?,
        })
    }
}

impl LeaseBook {
    fn new(id: &PoolId) -> Self {
        Self { pool: Pool::new(id.prefix, id.range.into_iter().collect(), []), doubtful: BTreeSet::new() }
    }

    pub fn leases(&self) -> impl Iterator<Item = IpAddr> {
        self.pool.leases()
    }

    fn has(&self, address: IpAddr) -> bool {
        self.pool.is_leased(address)
    }
}

impl World {
    /// Opens a pool. Asking again for one that is open is how an engine that was restarted begins: its containers may
    /// ask again for the addresses that they had.
    pub fn open_pool(&mut self, wish: &PoolWish, fresh: Guid, routes: &[Cidr]) -> Result<PoolId, ModelError> {
        let id = match &wish.network {
            Some(reference) => self.pool_of_network(wish, reference)?,
            None => self.pool_of_its_own(wish, fresh, routes)?,
        };
        if let Some(range) = id.range.filter(|range| !id.prefix.covers(*range)) {
            return Err(ModelError::NoPool(format!("{range} of {}", id.prefix)));
        }
        let book = self.leases.entry(id.clone()).or_insert_with(|| LeaseBook::new(&id));
        book.doubtful = book.pool.leases().collect();
        Ok(id)
    }

    fn pool_of_network(&self, wish: &PoolWish, reference: &str) -> Result<PoolId, ModelError> {
        let by_id = reference.parse().ok().and_then(|id| self.network(id).ok());
        let network = by_id.or_else(|| self.networks().find(|network| network.name() == reference));
        let network = network.ok_or_else(|| ModelError::NoNetworkNamed(reference.to_owned()))?;
        let mut prefixes = network.prefixes().filter(|prefix| prefix.family() == wish.family);
        let found = prefixes.find(|prefix| wish.prefix.is_none_or(|wanted| wanted == *prefix));
        let prefix = found.ok_or_else(|| ModelError::NoSuchSubnet {
            network: network.name().to_owned(),
            asked: wish.prefix.map_or_else(|| format!("of {}", wish.family), |prefix| prefix.to_string()),
        })?;
        Ok(PoolId { prefix, range: wish.range, network: Some(network.id()) })
    }

    fn pool_of_its_own(&self, wish: &PoolWish, fresh: Guid, routes: &[Cidr]) -> Result<PoolId, ModelError> {
        if let Some(prefix) = wish.prefix {
            let others = self.leases.keys().map(|id| (id.prefix, format!("pool {id}")));
            let networks = self.networks().flat_map(|network| {
                network.prefixes().map(move |prefix| (prefix, format!("network \"{}\"", network.name())))
            });
            // The same prefix again is a replay, or the network that was made with it.
            let overlap = |(other, _): &(Cidr, String)| other.overlaps(prefix) && *other != prefix;
            if let Some((other, holder)) = others.chain(networks).find(overlap) {
                return Err(ModelError::PoolTaken { prefix, other, holder });
            }
            return Ok(PoolId { prefix, range: wish.range, network: None });
        }
        let ours = self.networks().flat_map(Network::prefixes);
        let taken: Vec<Cidr> =
            routes.iter().copied().chain(ours).chain(self.leases.keys().map(|id| id.prefix)).collect();
        let free = |candidate: &Cidr| !taken.iter().any(|prefix| prefix.overlaps(*candidate));
        let found = prefix::candidates(wish.family, fresh).find(free);
        let nothing_left = || ModelError::NoPrefixLeft { network: "of a pool".into(), family: wish.family };
        Ok(PoolId { prefix: found.ok_or_else(nothing_left)?, range: None, network: None })
    }

    /// Closes a pool, unless containers still hold addresses of it; says whether it did.
    pub fn close_pool(&mut self, id: &PoolId) -> bool {
        let Some(book) = self.leases.get(id) else { return true };
        let gateway = self.gateway_of_pool(id);
        if book.leases().any(|address| address != gateway) {
            return false;
        }
        self.end_lease(id, gateway);
        self.leases.remove(id);
        true
    }

    /// Takes an address of a pool: this one, or a free one of the pool's range.
    pub fn lease(
        &mut self,
        id: &PoolId,
        wanted: Option<IpAddr>,
        purpose: LeasePurpose,
    ) -> Result<IfAddr, ModelError> {
        self.leases.entry(id.clone()).or_insert_with(|| LeaseBook::new(id));
        let address = match (wanted, purpose) {
            (Some(address), LeasePurpose::Holder) => address,
            (None, LeasePurpose::Holder) => self.free_address(id)?,
            (wanted, LeasePurpose::Gateway) => wanted.unwrap_or_else(|| self.gateway_of_pool(id)),
        };
        match self.take_lease(id, address, purpose) {
            Claim::Granted => Ok(IfAddr::within(address, id.prefix)),
            Claim::Outside => Err(ModelError::NoSubnet { network: id.to_string(), address }),
            claim @ (Claim::Reserved | Claim::InUse) => {
                let why = if claim == Claim::InUse { "in use by another container" } else { "reserved" };
                Err(ModelError::AddressTaken { network: id.to_string(), address, why: why.to_owned() })
            }
        }
    }

    fn take_lease(&mut self, id: &PoolId, address: IpAddr, purpose: LeasePurpose) -> Claim {
        let network = self.network_of_pool(id).map(Network::id);
        let Some(book) = self.leases.get_mut(id) else { return Claim::Outside };
        let had_it = book.has(address);
        // On a network of ours its endpoint says whether an address has a holder; elsewhere nothing but the lease does.
        let is_repeated = had_it && purpose == LeasePurpose::Holder;
        if is_repeated && network.is_none() && !book.doubtful.remove(&address) {
            return Claim::InUse;
        }
        let claim = book.pool.lease(address);
        if claim != Claim::Granted || purpose == LeasePurpose::Gateway {
            return claim;
        }
        let Some(pool) = network.and_then(|network| self.pool_in(network, id.prefix)) else { return claim };
        let there = pool.lease(address);
        if there != Claim::Granted
            && !had_it
            && let Some(book) = self.leases.get_mut(id)
        {
            book.pool.end_lease(address);
        }
        there
    }

    fn free_address(&self, id: &PoolId) -> Result<IpAddr, ModelError> {
        let exhausted =
            || ModelError::Exhausted { network: id.to_string(), range: id.range.unwrap_or(id.prefix) };
        let book = self.leases.get(id).ok_or_else(exhausted)?;
        let network = self.network_of_pool(id);
        let there = network.and_then(|network| network.pools.iter().find(|pool| pool.prefix() == id.prefix));
        // Who asked for no part of it is given what the network gives out by itself.
        let (from, beside) = match there {
            Some(pool) if id.range.is_none() => (pool, Some(&book.pool)),
            _ => (&book.pool, there),
        };
        let own = network.and_then(|network| self.hosts_own_on(network.id()).ok());
        let mut candidate = from.free_after(None);
        while let Some(address) = candidate {
            if beside.is_none_or(|pool| pool.is_free(address))
                && !own.is_some_and(|own| own.contains(&address))
            {
                return Ok(address);
            }
            candidate = from.free_after(Some(address));
        }
        Err(network.and_then(|network| network.refuses_choice(id.prefix.family())).unwrap_or_else(exhausted))
    }

    /// Gives an address back; what was not leased is no error, since engines repeat themselves.
    pub fn end_lease(&mut self, id: &PoolId, address: IpAddr) {
        let network = self.network_of_pool(id).map(Network::id);
        if let Some(book) = self.leases.get_mut(id) {
            book.pool.end_lease(address);
            book.doubtful.remove(&address);
        }
        if let Some(pool) = network.and_then(|network| self.pool_in(network, id.prefix)) {
            pool.end_lease(address);
        }
    }

    /// The leases of an endpoint's addresses.
    #[must_use]
    pub fn leases_of(&self, endpoint: &Endpoint) -> Vec<(PoolId, IpAddr)> {
        let mut found = Vec::new();
        for (id, book) in &self.leases {
            if self.network_of_pool(id).is_some_and(|network| network.id() == endpoint.network()) {
                let leased = endpoint.addresses().map(IfAddr::address).filter(|held| book.has(*held));
                found.extend(leased.map(|address| (id.clone(), address)));
            }
        }
        found
    }

    #[must_use]
    pub fn lease_book(&self, id: &PoolId) -> Option<&LeaseBook> {
        self.leases.get(id)
    }

    pub fn pools_of_leases(&self) -> impl Iterator<Item = &PoolId> {
        self.leases.keys()
    }

    /// A pool as its record says; before the endpoints, which find their addresses waiting.
    pub fn restore_leases(&mut self, id: &PoolId, leases: impl IntoIterator<Item = IpAddr>) {
        self.leases.entry(id.clone()).or_insert_with(|| LeaseBook::new(id));
        let gateway = self.gateway_of_pool(id);
        for address in leases {
            let purpose = if address == gateway { LeasePurpose::Gateway } else { LeasePurpose::Holder };
            // What does not fit a network any more was leased before that network was changed.
            let _ = self.take_lease(id, address, purpose);
        }
    }

    /// The gateway that a pool has when nobody names one: its network's, or the first address.
    fn gateway_of_pool(&self, id: &PoolId) -> IpAddr {
        let network = self.network_of_pool(id);
        let there = network.and_then(|network| network.gateways().find(|(prefix, _)| *prefix == id.prefix));
        there.map_or_else(|| Pool::first_usable(id.prefix), |(_, gateway)| gateway)
    }

    /// The network whose subnet this pool is.
    #[must_use]
    pub fn network_of_pool(&self, id: &PoolId) -> Option<&Network> {
        match id.network {
            Some(network) => self.network(network).ok(),
            None => self.networks().find(|network| {
                network.leads_beyond_containers() && network.prefixes().any(|prefix| prefix == id.prefix)
            }),
        }
    }

    fn pool_in(&mut self, network: Guid, prefix: Cidr) -> Option<&mut Pool> {
        let network = self.network_mut(network).ok()?;
        network.pools.iter_mut().find(|pool| pool.prefix() == prefix)
    }

    /// Takes in a new network what was leased of its subnets before.
    pub(crate) fn take_over_leases(&self, network: &mut Network) {
        let id = network.id;
        for (pool_id, book) in &self.leases {
            let ours = match pool_id.network {
                Some(other) => other == id,
                None => network.leads_beyond_containers(),
            };
            if let Some(pool) = network.pools.iter_mut().find(|pool| ours && pool.prefix() == pool_id.prefix)
            {
                // The gateway is reserved there already.
                book.leases().for_each(|address| _ = pool.lease(address));
            }
        }
    }
}
