//! Keeping the LAN's leases: renewed in time, given up when they end, asked for again until there is one.
//!
//! ```text
//!            T1: the server is asked     T2: everybody is asked      end, or a server's NAK
//!   bound ──────────► renewing ──────────────► rebinding ──────────────────► without: the port lets out questions for an address alone,
//!     ▲                  │ ACK                     │ ACK                       the container has none, its health says so
//!     └──────────────────┴─────────────────────────┴────────────── asked anew ◄──────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use hns_model::{Endpoint, LanLease, LeaseKind, LeasePhase, ModelError, Term};
use hns_net::{Family, Guid, IfName};
use hns_planner::{Port, Step, compile_endpoint, plan, readdress};

use crate::agenda::{LeaseOf, Need, Try};
use crate::dhcp::Lessee;
use crate::endpoints::announcement;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::locks::Key;
use crate::repair::chain;

/// After how many seconds an endpoint without an address asks again, at first and at most.
const AGAIN_MIN: u64 = 2;
const AGAIN_MAX: u64 = 60;

/// A server with long leases is not asked more often than this, in seconds (RFC 2131 section 4.4.5).
const PAUSE_MIN: u64 = 60;

/// When a lease that could not be renewed is tried again: half of what is left of its phase later.
fn pause_after(term: &Term, now: u64) -> u64 {
    let at = |seconds: u32| (term.obtained + u64::from(seconds)).saturating_sub(now);
    let left = match term.phase(now) {
        LeasePhase::Renewing => at(term.rebind_after),
        // One that holds long after its router is none any more is looked after all the same.
        _ => at(term.lifetime).min(u64::from(term.rebind_after / 4)),
    };
    (left / 2).max(PAUSE_MIN.min(u64::from(term.lifetime) / 20)).max(1)
}

impl Engine {
    /// Looks after all leases. Called again and again; what takes time goes on behind it.
    pub(crate) fn keep_leases(self: &Arc<Self>) {
        for (need, lease) in self.needy_leases() {
            let Some(turn) = self.renewals.begin(need, lease) else { continue };
            let engine = Arc::clone(self);
            let keeping = std::thread::Builder::new().name("hns-lease".to_owned()).spawn(move || {
                let _turn = turn;
                engine.keep_lease(lease);
            });
            if let Err(error) = keeping {
                tracing::warn!(endpoint = %lease.0, %error, "no thread for its lease");
            }
        }
    }

    /// The endpoints for which something is to be done by now, the most urgent first.
    fn needy_leases(&self) -> BTreeSet<(Need, LeaseOf)> {
        let now = self.resolver.now();
        let world = self.world();
        let served: BTreeMap<Guid, Vec<Family>> = world
            .networks()
            .filter(|network| network.has_dhcp())
            .map(|network| (network.id(), network.families_of_lan().collect()))
            .collect();
        if served.is_empty() {
            return BTreeSet::new();
        }
        let leases_of = |endpoint: &Endpoint| -> Vec<(LeaseOf, Option<Term>)> {
            let families = served.get(&endpoint.network()).filter(|_| endpoint.attachment().is_some());
            let kinds = endpoint.wanted_leases(families.into_iter().flatten().copied());
            let term = |kind: LeaseKind| endpoint.lease(kind).map(|lease| lease.term);
            kinds.into_iter().map(|kind| ((endpoint.id(), kind), term(kind))).collect()
        };
        let leased: BTreeMap<LeaseOf, Option<Term>> = world.endpoints().flat_map(leases_of).collect();
        drop(world);
        self.renewals.due(&leased, now)
    }

    fn keep_lease(&self, (id, kind): LeaseOf) {
        let _held = self.locks.hold(Key::Lease(id, kind));
        let Some((lessee, lease, port)) = self.lessee_at_port(id, kind) else { return };
        let now = self.resolver.now();
        match lease {
            None => self.lease_again(&lessee, &port),
            Some(lease) if lease.term.phase(now) == LeasePhase::Expired => {
                self.lose_lease(&lessee, &port, &lease, "it has ended and was not renewed");
            }
            Some(lease) => match self.renew_lease(&lessee, &lease) {
                Ok(renewed) => self.hold_lease(&lessee, &port, Some(renewed)),
                Err(EngineError::NoLease { source, .. }) if source.is_final() => {
                    self.lose_lease(&lessee, &port, &lease, &source.to_string());
                }
                Err(error) => {
                    let next = now + pause_after(&lease.term, now);
                    self.renewals.set_try(lessee.lease(), Try { next, pause: AGAIN_MIN, former: None });
                    tracing::warn!(endpoint = %id, error = &error as &dyn std::error::Error, "its lease is not renewed yet");
                    if lease.term.phase(now) == LeasePhase::Rebinding {
                        let trouble =
                            format!("its lease of {} is not renewed: {}", lease.subject(), chain(&error));
                        let _ = self.world().set_lease_trouble(id, kind, Some(trouble));
                    }
                }
            },
        }
    }

    fn lessee_at_port(&self, id: Guid, kind: LeaseKind) -> Option<(Lessee, Option<LanLease>, IfName)> {
        let world = self.world();
        let endpoint = world.endpoint(id).ok()?;
        let port = endpoint.attachment()?.port.clone();
        let lessee = Lessee::of(endpoint, world.network(endpoint.network()).ok()?, kind)?;
        Some((lessee, endpoint.lease(kind).cloned(), port))
    }

    /// Takes the address away from the container. It asks for another one at once.
    fn lose_lease(&self, lessee: &Lessee, port: &IfName, lease: &LanLease, why: &str) {
        let id = lessee.endpoint;
        tracing::warn!(endpoint = %id, lease = lease.subject(), why, "its lease is lost");
        let former = lease.address();
        self.renewals.set_try(lessee.lease(), Try { next: 0, pause: AGAIN_MIN, former });
        self.hold_lease(lessee, port, None);
        let trouble = format!("its lease of {} is lost: {why}", lease.subject());
        let _ = self.world().set_lease_trouble(id, lessee.kind, Some(trouble));
    }

    fn lease_again(&self, lessee: &Lessee, port: &IfName) {
        let id = lessee.endpoint;
        let last = self.renewals.last_try(lessee.lease());
        match self.ask_for_lease(lessee, last.and_then(|last| last.former)) {
            Ok(lease) => {
                tracing::info!(endpoint = %id, lease = lease.subject(), "the LAN gave a lease again");
                self.hold_lease(lessee, port, Some(lease));
            }
            Err(error) => self.ask_later(lessee, &error),
        }
    }

    /// It has no lease, for this reason, and asks again after a while.
    fn ask_later(&self, lessee: &Lessee, error: &EngineError) {
        let id = lessee.endpoint;
        let last = self.renewals.last_try(lessee.lease());
        let pause = last.map_or(AGAIN_MIN, |last| last.pause);
        let next = self.resolver.now() + pause;
        // What somebody has is not asked for again.
        let wanted = |_: &IpAddr| !matches!(error, EngineError::LeaseTaken { .. });
        let former = last.and_then(|last| last.former).filter(wanted);
        self.renewals.set_try(lessee.lease(), Try { next, pause: (pause * 2).min(AGAIN_MAX), former });
        let _ = self.world().set_lease_trouble(id, lessee.kind, Some(chain(error)));
    }

    /// Holds the endpoint to another lease, or to none: its port's filter first, then the container.
    fn hold_lease(&self, lessee: &Lessee, port: &IfName, lease: Option<LanLease>) {
        let id = lessee.endpoint;
        let Err(error) = self.try_to_hold_lease(lessee, port, lease.as_ref()) else { return };
        let error = match (lease, error) {
            // Nothing was changed for it.
            (Some(lease), error @ EngineError::Model(ModelError::AddressTaken { .. })) => {
                let taken = self.turn_down(lessee, &lease, error);
                tracing::warn!(endpoint = %id, error = &taken as &dyn std::error::Error, "an address of the LAN was declined");
                return self.ask_later(lessee, &taken);
            }
            (Some(lease), error) => {
                self.give_up(lessee, &lease);
                error
            }
            (None, error) => error,
        };
        tracing::error!(endpoint = %id, error = &error as &dyn std::error::Error, "its lease is not in force");
        let _ = self.world().set_lease_trouble(id, lessee.kind, Some(chain(&error)));
        // It knows what the filter should be by now.
        self.background.repair_everything("a lease changed");
    }

    /// A lease that the container could not be given is of no use. It is asked for again later.
    fn give_up(&self, lessee: &Lessee, lease: &LanLease) {
        let id = lessee.endpoint;
        let next = self.resolver.now() + AGAIN_MIN;
        self.renewals.set_try(lessee.lease(), Try { next, pause: AGAIN_MIN, former: lease.address() });
        if let Err(error) = self.forget_lease(lessee) {
            tracing::warn!(endpoint = %id, error = &error as &dyn std::error::Error, "its record has a lease that is gone");
        }
        self.release_lease(lessee, lease);
    }

    fn forget_lease(&self, lessee: &Lessee) -> Result<(), EngineError> {
        let id = lessee.endpoint;
        let _pass = self.locks.pass();
        let lock = self.locks.network(self.world().endpoint(id)?.network());
        let _shared = lock.read().unwrap_or_else(PoisonError::into_inner);
        let _held = self.locks.hold(Key::Endpoint(id));
        self.world().withdraw_lease(id, lessee.kind)?;
        self.record_endpoint(id).map(drop)
    }

    fn try_to_hold_lease(
        &self,
        lessee: &Lessee,
        port: &IfName,
        lease: Option<&LanLease>,
    ) -> Result<(), EngineError> {
        let id = lessee.endpoint;
        let _pass = self.locks.pass();
        let network = self.world().endpoint(id)?.network();
        let lock = self.locks.network(network);
        let _shared = lock.read().unwrap_or_else(PoisonError::into_inner);
        let _held = self.locks.hold(Key::Endpoint(id));
        let is_at_port = |endpoint: &Endpoint| endpoint.attachment().is_some_and(|there| there.port == *port);
        if !self.world().endpoint(id).is_ok_and(is_at_port) {
            // Detached meanwhile, or deleted; what it had went back then.
            if let Some(lease) = lease {
                self.release_lease(lessee, lease);
            }
            return Ok(());
        }
        let observed = self.observed_endpoint(id)?;
        let (before, after, news, steps) = {
            let mut world = self.world();
            let port_of = |world: &hns_model::World| -> Option<Port> {
                compile_endpoint(world.endpoint(id).ok()?, world).ports.remove(port)
            };
            let before = port_of(&world);
            match lease {
                Some(lease) => world.set_lease(id, lease.clone())?,
                None => world.withdraw_lease(id, lessee.kind)?,
            };
            world.set_lease_trouble(id, lessee.kind, None)?;
            let after = port_of(&world);
            let endpoint = world.endpoint(id)?;
            let news = announcement(endpoint, world.network(network)?);
            (before, after, news, plan(&compile_endpoint(endpoint, &world), &observed).steps)
        };
        self.record_endpoint(id)?;
        let both = before.zip(after);
        let is_other = both.as_ref().is_some_and(|(before, after)| before.addresses != after.addresses);
        let address = both.and_then(|(before, after)| readdress(&before, &after));
        steps.into_iter().chain(address).try_for_each(|step: Step| self.execute_one(&step))?;
        if lease.is_some() {
            self.renewals.succeeded(lessee.lease());
        }
        if let Some(news) = news.filter(|news| is_other && !news.addresses.is_empty()) {
            self.background.announce(news);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_renewed_is_tried_again_ever_sooner_but_not_all_the_time() {
        let tries = |lifetime: u32, from: u64, to: u64| {
            let term =
                Term { obtained: 0, renew_after: lifetime / 2, rebind_after: lifetime / 8 * 7, lifetime };
            let after = |now: &u64| Some(now + pause_after(&term, *now)).filter(|next| *next < to);
            std::iter::successors(Some(from), after).collect::<Vec<_>>()
        };
        assert_eq!(tries(8, 4, 8), [4, 5, 6, 7]);
        for lifetime in [3_600, 86_400] {
            let all = tries(lifetime, u64::from(lifetime / 2), lifetime.into());
            assert!((10..40).contains(&all.len()), "{all:?}");
            assert!(all.windows(2).all(|pair| pair[1] - pair[0] >= PAUSE_MIN), "{all:?}");
        }
    }
}
