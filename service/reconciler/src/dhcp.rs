//! Endpoints whose addresses a LAN gives: its DHCP server those of IPv4, its routers those of IPv6, and its DHCPv6 server where a router
//! says so.
//!
//! ```text
//!   attach:  the LAN is asked ─► the lease is in the world ─► as every attach: the port's first frame meets the leased address
//!   detach:  as every detach ─► nothing comes out of the port any more ─► the server is told
//! ```
//!
//! Both families are asked for at one time. An endpoint that has IPv4 is attached with it alone where no router answers, and goes on asking;
//! so does one without an address of a DHCPv6 server, where it has another one.
//!
//! A LAN may take seconds to answer, or never do: it is asked before the gate, so that nobody waits but who wants the address. A
//! lease belongs to an attachment, and is recorded with it; `renewal.rs` keeps it.

use std::io;
use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::Duration;

use hns_hcn as hcn;
use hns_host::{Ear, Host};
use hns_model::{Endpoint, LanLease, LeaseKind, ModelError, Network};
use hns_net::{Family, Guid, IfName, Uplink};
use hns_planner::switch_name;
use hns_resolver::{Client, Giver, PATIENCE, ResolverError, Wire, host_name};

use crate::agenda::LeaseOf;
use crate::engine::{Engine, fresh_id};
use crate::error::EngineError;
use crate::locks::{Held, Key};
use crate::repair::chain;
use crate::threads::while_waiting;

/// Nobody answers when an address is given back: what a server cannot read in time is lost to it. So many messages its socket holds for
/// sure, and then it gets time for each.
const AT_ONCE_MAX: usize = 32;
const SERVER_READS: Duration = Duration::from_millis(2);

/// How often a server is asked that gives what somebody here has.
const ROUNDS_MAX: usize = 4;

/// Who asks, and where.
pub(crate) struct Lessee {
    pub endpoint: Guid,
    pub kind: LeaseKind,
    network: String,
    network_id: Guid,
    switch: IfName,
    uplink: Uplink,
    client: Client,
}

impl Lessee {
    /// Nobody, on a network with addresses of its own.
    pub fn of(endpoint: &Endpoint, network: &Network, kind: LeaseKind) -> Option<Self> {
        let is_asked = network.families_of_lan().any(|asked| asked == kind.family());
        let uplink = network.uplink().filter(|_| is_asked)?;
        Some(Self {
            endpoint: endpoint.id(),
            kind,
            network: network.name().to_owned(),
            network_id: network.id(),
            switch: switch_name(network.switch_id()),
            uplink,
            client: Client { mac: endpoint.mac()?, host_name: host_name(&endpoint.document().name) },
        })
    }
}

impl Lessee {
    pub const fn lease(&self) -> LeaseOf {
        (self.endpoint, self.kind)
    }

    fn refusal(&self) -> impl Fn(ResolverError) -> EngineError {
        move |source| EngineError::NoLease {
            endpoint: self.endpoint,
            network: self.network.clone(),
            uplink: self.uplink.clone(),
            source,
        }
    }
}

/// The LAN of an external switch.
struct Segment<'e> {
    host: &'e dyn Host,
    switch: &'e IfName,
    /// Without one nothing is heard.
    ear: Option<Box<dyn Ear>>,
}

impl Wire for Segment<'_> {
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.host.transmit(self.switch, frame).map_err(io::Error::other)
    }

    fn receive(&self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        self.ear.as_ref().map_or(Ok(None), |ear| ear.hear(patience))
    }
}

/// An endpoint that has its addresses and is about to be attached. Where that fails they go back.
pub(crate) struct Ahead<'e> {
    engine: &'e Engine,
    id: Guid,
    _held: [Held<'e>; 3],
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        let unused = {
            let mut world = self.engine.world();
            let endpoint = world.endpoint(self.id).ok().filter(|endpoint| endpoint.attachment().is_none());
            let endpoint = endpoint.cloned();
            endpoint.inspect(|_| {
                // It was there just now.
                let _ = world.withdraw_leases(self.id);
                LeaseKind::ALL.into_iter().for_each(|kind| _ = world.set_lease_trouble(self.id, kind, None));
            })
        };
        if let Some(endpoint) = unused {
            self.engine.give_back_leases_of(&endpoint);
        }
    }
}

impl Engine {
    /// Seconds since the host's boot, by which leases count.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.resolver.now()
    }

    /// Whether this endpoint is to be attached with an address that the LAN must be asked for.
    pub(crate) fn needs_lease(&self, document: &hcn::Endpoint) -> bool {
        let world = self.world();
        let network = document.network.and_then(|id| world.network(id).ok());
        document.namespace.is_some() && network.is_some_and(Network::has_dhcp)
    }

    /// As every create, with the LAN being asked between the reservation and the rest.
    pub(crate) fn create_leased_endpoint(
        &self,
        mut document: hcn::Endpoint,
    ) -> Result<hcn::Endpoint, EngineError> {
        let namespace = document.namespace.take();
        if let Some(namespace) = namespace {
            self.world().namespace(namespace)?;
        }
        let id = self.reserve_to_lease(&document)?;
        let outcome = self.lease_ahead(id).and_then(|_ahead| match namespace {
            Some(namespace) => self.through_a_reload(|| self.attach_reserved(id, namespace)),
            None => self.record_endpoint(id),
        });
        if outcome.is_err() {
            let _pass = self.locks.pass();
            // Reserved above and shown to nobody since.
            let _ = self.world().forget_endpoint(id);
        }
        outcome
    }

    fn reserve_to_lease(&self, document: &hcn::Endpoint) -> Result<Guid, EngineError> {
        let _pass = self.locks.pass();
        let lock = document.network.map(|network| self.locks.network(network));
        let _shared = lock.as_ref().map(|lock| lock.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(network) = document.network {
            self.look_at_hosts_own(network)?;
        }
        Ok(self.world().reserve_endpoint(document.clone(), fresh_id())?)
    }

    fn attach_reserved(&self, id: Guid, namespace: Guid) -> Result<hcn::Endpoint, EngineError> {
        let _pass = self.locks.pass();
        let lock = self.locks.network(self.world().endpoint(id)?.network());
        let _shared = lock.read().unwrap_or_else(PoisonError::into_inner);
        let _joined = self.locks.hold(Key::Namespace(namespace));
        self.world().namespace(namespace)?;
        let _held = self.locks.hold(Key::Endpoint(id));
        self.plug(id, |world| world.reserve_attachment(id, namespace))
    }

    /// Gets an endpoint that is not attached its addresses, if the LAN gives them. Without any lock but this endpoint's of leases.
    pub(crate) fn lease_ahead(&self, id: Guid) -> Result<Option<Ahead<'_>>, EngineError> {
        let held = LeaseKind::ALL.map(|kind| self.locks.hold_patiently(Key::Lease(id, kind)));
        let families: Vec<Family> = {
            let world = self.world();
            let endpoint = world.endpoint(id)?;
            let network = world.network(endpoint.network())?;
            network.families_of_lan().filter(|_| endpoint.attachment().is_none()).collect()
        };
        let Some((first, others)) = families.split_first() else { return Ok(None) };
        // From here on what the LAN gave goes back, unless it is attached.
        let ahead = Ahead { engine: self, id, _held: held };
        while_waiting(|| {
            std::thread::scope(|scope| {
                // Those that it can do without are asked for again once it is attached.
                others.iter().for_each(|other| _ = scope.spawn(|| self.take_leases(id, *other)));
                self.take_leases(id, *first)
            })
        })?;
        Ok(Some(ahead))
    }

    /// Asks for an address of a family, and all others of it that there are. What is missing is the endpoint's trouble.
    fn take_leases(&self, id: Guid, family: Family) -> Result<(), EngineError> {
        match family {
            Family::V4 => self.take_or_miss(id, LeaseKind::Dhcp),
            Family::V6 => {
                self.take_or_miss(id, LeaseKind::Advertised)?;
                if !self.world().endpoint(id)?.wants_dhcp6() {
                    return Ok(());
                }
                let outcome = self.take_or_miss(id, LeaseKind::Dhcp6);
                if self.world().endpoint(id)?.is_addressed(family) { Ok(()) } else { outcome }
            }
        }
    }

    fn take_or_miss(&self, id: Guid, kind: LeaseKind) -> Result<(), EngineError> {
        let lessee = {
            let world = self.world();
            let endpoint = world.endpoint(id)?;
            Lessee::of(endpoint, world.network(endpoint.network())?, kind)
        };
        let outcome = lessee.map_or(Ok(()), |lessee| self.take_lease(&lessee));
        if let Err(error) = &outcome {
            tracing::warn!(
                endpoint = %id, ?kind, error = error as &dyn std::error::Error,
                "the LAN gave no address yet"
            );
            let _ = self.world().set_lease_trouble(id, kind, Some(chain(error)));
        }
        outcome
    }

    /// Asks for an address until it is one that nobody here has, and takes it.
    fn take_lease(&self, lessee: &Lessee) -> Result<(), EngineError> {
        let end = self.resolver.now() + PATIENCE.as_secs();
        let (mut rounds, mut refusal) = (0, None);
        loop {
            let lease = match (self.ask_for_lease(lessee, None), refusal) {
                (Ok(lease), _) => lease,
                (Err(_), Some(refusal)) => return Err(refusal),
                (Err(error), None) => return Err(error),
            };
            let taken = self.world().set_lease(lessee.endpoint, lease.clone());
            let Err(error) = taken else {
                tracing::info!(
                    endpoint = %lessee.endpoint, network = lessee.network, lease = lease.subject(),
                    of = %Giver::of(&lease), "the LAN gave a lease"
                );
                return Ok(());
            };
            let error = self.turn_down(lessee, &lease, error.into());
            rounds += 1;
            let is_over = rounds == ROUNDS_MAX || self.resolver.now() >= end;
            if is_over || !matches!(error, EngineError::LeaseTaken { .. }) {
                return Err(error);
            }
            refusal = Some(error);
        }
    }

    /// Asks for an address, best the one it had. That nobody here has it is seen when it is taken: what goes from one container to
    /// another's station is not heard at the adapter.
    pub(crate) fn ask_for_lease(
        &self,
        lessee: &Lessee,
        former: Option<IpAddr>,
    ) -> Result<LanLease, EngineError> {
        let wire = self.segment_of(lessee)?;
        let lease =
            self.resolver.acquire(&wire, &lessee.client, lessee.kind, former).map_err(lessee.refusal())?;
        match self.look_at_hosts_own(lessee.network_id) {
            Ok(()) => Ok(lease),
            Err(error) => Err(self.turn_down(lessee, &lease, error)),
        }
    }

    /// Gives a lease back that cannot be taken, or declines what somebody has (RFC 2131 section 3.1): a server would give it to the next
    /// one otherwise.
    pub(crate) fn turn_down(&self, lessee: &Lessee, lease: &LanLease, error: EngineError) -> EngineError {
        let EngineError::Model(source @ ModelError::AddressTaken { .. }) = error else {
            self.release_lease(lessee, lease);
            return error;
        };
        let wire = Segment { host: &*self.host, switch: &lessee.switch, ear: None };
        if let Err(error) = self.resolver.decline(&wire, &lessee.client, lease) {
            tracing::warn!(
                endpoint = %lessee.endpoint, error = &error as &dyn std::error::Error,
                "an address of the LAN that somebody has was not declined"
            );
        }
        EngineError::LeaseTaken { endpoint: lessee.endpoint, giver: Giver::of(lease), source }
    }

    pub(crate) fn renew_lease(&self, lessee: &Lessee, lease: &LanLease) -> Result<LanLease, EngineError> {
        let wire = self.segment_of(lessee)?;
        self.resolver.renew(&wire, &lessee.client, lease).map_err(lessee.refusal())
    }

    fn segment_of<'a>(&'a self, lessee: &'a Lessee) -> Result<Segment<'a>, EngineError> {
        let operation = || format!("cannot ask for an address on {}", lessee.uplink);
        let ear =
            self.host.listen(&lessee.uplink, lessee.client.mac).map_err(EngineError::host(operation))?;
        Ok(Segment { host: &*self.host, switch: &lessee.switch, ear: Some(ear) })
    }

    /// Gives back what an endpoint has from the LAN, if anything. Its port carries nothing any more, and its network is still there.
    pub(crate) fn give_back_leases_of(&self, endpoint: &Endpoint) {
        for lease in endpoint.leases() {
            let lessee = {
                let world = self.world();
                let network = world.network(endpoint.network()).ok();
                network.and_then(|network| Lessee::of(endpoint, network, lease.kind()))
            };
            if let Some(lessee) = lessee {
                self.release_lease(&lessee, lease);
            }
        }
    }

    /// The same of all these.
    pub(crate) fn give_back_leases(&self, endpoints: &[Guid]) {
        let leased = |id: &Guid| {
            let world = self.world();
            world.endpoint(*id).ok().filter(|endpoint| endpoint.leases().next().is_some()).cloned()
        };
        for (number, endpoint) in endpoints.iter().filter_map(leased).enumerate() {
            if number >= AT_ONCE_MAX {
                std::thread::park_timeout(SERVER_READS);
            }
            self.give_back_leases_of(&endpoint);
        }
    }

    pub(crate) fn release_lease(&self, lessee: &Lessee, lease: &LanLease) {
        let wire = Segment { host: &*self.host, switch: &lessee.switch, ear: None };
        if let Err(error) = self.resolver.release(&wire, &lessee.client, lease) {
            // The server takes it back by itself when its time is over.
            tracing::warn!(
                endpoint = %lessee.endpoint, error = &error as &dyn std::error::Error,
                "an address of the LAN was not given back"
            );
        }
    }

    /// Refuses an endpoint that has no address yet and would need one.
    pub(crate) fn check_addressed(&self, id: Guid) -> Result<(), ModelError> {
        let world = self.world();
        let endpoint = world.endpoint(id)?;
        let network = world.network(endpoint.network())?;
        // The first that it asks for is the one it must have.
        if network.families_of_lan().next().is_some_and(|family| !endpoint.is_addressed(family)) {
            let network = network.name().to_owned();
            return Err(ModelError::Unaddressed { endpoint: id, network });
        }
        Ok(())
    }
}
