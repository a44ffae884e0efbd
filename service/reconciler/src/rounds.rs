//! When everything is looked at without an event: again, ever more seldom, while a repair has left something undone; and from time
//! to time in any case, for what nobody was told of.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// After how many ticks a repair that failed is tried again at the latest.
const RETRY_MAX: u32 = 64;

/// After how many ticks everything is looked at, in one without a request, ...
const LOOK_AFTER: u32 = 300;

/// ... or after so many, since requests wait for it.
const LOOK_MAX: u32 = 3_600;

/// How repairs went, whoever asked for them.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    /// By the last one.
    undone: AtomicBool,
    /// How many left nothing undone.
    whole: Mutex<u64>,
    another: Condvar,
}

impl Repairs {
    pub fn succeeded(&self) {
        self.undone.store(false, Ordering::Relaxed);
        *self.lock() += 1;
        self.another.notify_all();
    }

    pub fn failed(&self) {
        self.undone.store(true, Ordering::Relaxed);
    }

    /// How many have left nothing undone.
    pub fn whole(&self) -> u64 {
        *self.lock()
    }

    /// Waits until there are more than `before` of them; says whether there are.
    pub fn wait_for_another(&self, before: u64, patience: Duration) -> bool {
        let waited = self.another.wait_timeout_while(self.lock(), patience, |whole| *whole <= before);
        *waited.unwrap_or_else(PoisonError::into_inner).0 > before
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the last one did.
    pub fn left_something_undone(&self) -> bool {
        self.undone.load(Ordering::Relaxed)
    }
}

/// Counts ticks; knows no clock.
#[derive(Debug)]
pub(crate) struct Rounds {
    pause: u32,
    /// How many repairs had left nothing undone at the last tick.
    whole: u64,
    /// Since the last look.
    ticks: u32,
    /// How many requests there had been at the last tick.
    requests: u64,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { pause: 1, whole: 0, ticks: 0, requests: 0 }
    }
}

impl Rounds {
    /// Why everything is to be looked at in this tick, if it is.
    pub fn tick(&mut self, repairs: &Repairs, requests: u64) -> Option<&'static str> {
        let lull = std::mem::replace(&mut self.requests, requests) == requests;
        let whole = repairs.whole();
        self.ticks += 1;
        // What fails after a success is another failure.
        if std::mem::replace(&mut self.whole, whole) != whole {
            self.pause = 1;
        }
        if !repairs.left_something_undone() {
            let due = self.ticks >= LOOK_MAX || (lull && self.ticks >= LOOK_AFTER);
            return due.then(|| self.look("it was long ago"));
        }
        if self.ticks < self.pause {
            return None;
        }
        self.pause = (self.pause * 2).min(RETRY_MAX);
        Some(self.look("the last repair left something undone"))
    }

    fn look(&mut self, cause: &'static str) -> &'static str {
        self.ticks = 0;
        cause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In which of so many ticks something is looked at.
    fn looks(rounds: &mut Rounds, ticks: u32, unrepaired: bool, busy: bool) -> Vec<u32> {
        let repairs =
            Repairs { undone: unrepaired.into(), whole: Mutex::new(rounds.whole), ..Repairs::default() };
        let mut requests = rounds.requests;
        let mut tick = || {
            requests += u64::from(busy);
            rounds.tick(&repairs, requests).is_some()
        };
        (1..=ticks).filter(|_| tick()).collect()
    }

    #[test]
    fn what_failed_is_tried_again_ever_more_seldom_for_ever() {
        let mut rounds = Rounds::default();
        assert_eq!(looks(&mut rounds, 300, true, true), [1, 3, 7, 15, 31, 63, 127, 191, 255]);
        assert!(looks(&mut rounds, 10, false, true).is_empty());
    }

    #[test]
    fn a_failure_between_two_ticks_is_another_one() {
        let mut rounds = Rounds::default();
        let repairs = Repairs::default();
        repairs.failed();
        let due = (1..=100).filter(|_| rounds.tick(&repairs, 0).is_some()).count();
        assert_eq!(due, 6);
        repairs.succeeded();
        repairs.failed();
        assert!(rounds.tick(&repairs, 0).is_some(), "it is tried again at once");
    }

    #[test]
    fn everything_is_looked_at_in_a_lull_and_at_last_without_one() {
        let mut rounds = Rounds::default();
        assert_eq!(looks(&mut rounds, 900, false, false), [300, 600, 900]);
        assert_eq!(looks(&mut rounds, LOOK_MAX, false, true), [LOOK_MAX]);
        assert!(looks(&mut rounds, LOOK_AFTER, false, true).is_empty());
        assert_eq!(looks(&mut rounds, 1, false, false), [1], "the first lull after it was due");
    }
}
