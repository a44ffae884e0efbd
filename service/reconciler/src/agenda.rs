//! Which of the LAN's leases are looked after next, and how many at one time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hns_model::{LeaseKind, LeasePhase, Term};
use hns_net::Guid;

/// How many leases are renewed at one time, and how many endpoints without one ask at one time: each takes a thread for as long as a
/// server is waited for, which is longest where there is none. So those have seats of their own.
const RENEWED_MAX: usize = 64;
const ASKING_MAX: usize = 64;

/// How many leases are ended at one time. Nobody outside is waited for.
const ENDED_MAX: usize = 16;

/// What an endpoint needs. The most urgent comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Its lease has ended at this moment, and its address may be somebody else's.
    End(u64),
    /// Its lease ends at this moment.
    Renewal(u64),
    /// It has no lease, and may ask since this moment.
    Lease(u64),
}

impl Need {
    const fn seats(self) -> usize {
        match self {
            Self::End(_) => ENDED_MAX,
            Self::Renewal(_) => RENEWED_MAX,
            Self::Lease(_) => ASKING_MAX,
        }
    }

    fn has_seat_of(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// An endpoint's lease of a kind.
pub(crate) type LeaseOf = (Guid, LeaseKind);

/// What is under way, and when what failed is tried again.
#[derive(Debug, Default)]
pub(crate) struct Renewals(Arc<Mutex<Agenda>>);

#[derive(Debug, Default)]
struct Agenda {
    seated: BTreeMap<LeaseOf, Need>,
    tries: BTreeMap<LeaseOf, Try>,
}

/// After a try that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Try {
    pub next: u64,
    /// Seconds to the one after that, of an endpoint without an address.
    pub pause: u64,
    /// The address it had.
    pub former: Option<IpAddr>,
}

/// An endpoint's lease is looked after for as long as this is there.
#[derive(Debug)]
pub(crate) struct Turn {
    agenda: Arc<Mutex<Agenda>>,
    id: LeaseOf,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner).seated.remove(&self.id);
    }
}

impl Renewals {
    fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who of these needs something by now. All that are not among them are forgotten.
    pub fn due(&self, leased: &BTreeMap<LeaseOf, Option<Term>>, now: u64) -> BTreeSet<(Need, LeaseOf)> {
        let mut agenda = self.agenda();
        agenda.tries.retain(|id, _| leased.contains_key(id));
        let need = |(id, term): (&LeaseOf, &Option<Term>)| {
            let next = agenda.tries.get(id).map_or(0, |last| last.next);
            let phase = term.as_ref().map(|term| (term.phase(now), term.end().unwrap_or(u64::MAX)));
            let need = match phase {
                Some((LeasePhase::Bound, _)) => return None,
                // It is over, whenever the next try would be.
                Some((LeasePhase::Expired, end)) => Need::End(end),
                _ if next > now => return None,
                Some((LeasePhase::Renewing | LeasePhase::Rebinding, end)) => Need::Renewal(end),
                None => Need::Lease(next),
            };
            Some((need, *id))
        };
        leased.iter().filter_map(need).collect()
    }

    /// Gives an endpoint its turn, unless it has it already or too many others have theirs.
    pub fn begin(&self, need: Need, id: LeaseOf) -> Option<Turn> {
        let mut agenda = self.agenda();
        let taken = agenda.seated.values().filter(|other| need.has_seat_of(**other)).count();
        if taken >= need.seats() || agenda.seated.contains_key(&id) {
            return None;
        }
        agenda.seated.insert(id, need);
        Some(Turn { agenda: Arc::clone(&self.0), id })
    }

    pub fn last_try(&self, id: LeaseOf) -> Option<Try> {
        self.agenda().tries.get(&id).copied()
    }

    pub fn set_try(&self, id: LeaseOf, failed: Try) {
        self.agenda().tries.insert(id, failed);
    }

    pub fn succeeded(&self, id: LeaseOf) {
        self.agenda().tries.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guid(number: u8) -> LeaseOf {
        (Guid::from_bytes([number; 16]), LeaseKind::Dhcp)
    }

    #[test]
    fn what_ends_soonest_comes_first_and_who_has_waited_longest_for_a_lease() {
        let term = |obtained| Some(Term { obtained, renew_after: 50, rebind_after: 80, lifetime: 100 });
        let leased =
            [(1, None), (2, None), (3, term(40)), (4, term(20)), (5, term(0)), (6, term(90)), (7, None)];
        let leased = leased.map(|(number, term)| (guid(number), term)).into_iter().collect();
        let renewals = Renewals::default();
        for (number, next) in [(1, 90), (2, 80), (5, 500), (7, 101), (9, 0)] {
            renewals.set_try(guid(number), Try { next, pause: 2, former: None });
        }
        let due: Vec<_> = renewals.due(&leased, 100).into_iter().collect();
        assert_eq!(
            due,
            [
                (Need::End(100), guid(5)),
                (Need::Renewal(120), guid(4)),
                (Need::Renewal(140), guid(3)),
                (Need::Lease(80), guid(2)),
                (Need::Lease(90), guid(1)),
            ]
        );
        assert!(renewals.last_try(guid(9)).is_none() && renewals.last_try(guid(7)).is_some());
    }

    #[test]
    fn each_need_has_its_seats_and_a_turn_gives_its_own_back() {
        let renewals = Renewals::default();
        let ids: Vec<_> = (0..=u8::try_from(ASKING_MAX).unwrap()).map(guid).collect();
        let mut turns: Vec<_> = ids.iter().filter_map(|id| renewals.begin(Need::Lease(0), *id)).collect();
        assert_eq!(turns.len(), ASKING_MAX);
        let other = guid(200);
        for need in [Need::Renewal(9), Need::End(9)] {
            let turn = renewals.begin(need, other).unwrap();
            assert!(renewals.begin(need, other).is_none());
            // A thread that panics gives it back as well.
            assert!(std::thread::spawn(move || drop_while_panicking(turn)).join().is_err());
        }
        assert!(renewals.begin(Need::Lease(0), other).is_none());
        turns.pop();
        assert!(renewals.begin(Need::Lease(0), other).is_some());
    }

    fn drop_while_panicking(_turn: Turn) {
        std::panic::resume_unwind(Box::new("this thread ends here"));
    }
}
