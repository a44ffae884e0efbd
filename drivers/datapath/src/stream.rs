//! Drop events on their way to those who follow them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::DropEvent;

/// Events wait here for their reader; what comes beyond that many is only counted.
const WAITING_MAX: usize = 1024;

/// A stream of [`DropEvent`]s: a sample, for counters see [`drops`](crate::Datapath::drops).
#[derive(Debug)]
pub struct DropStream {
    events: Receiver<DropEvent>,
    missed: Arc<AtomicU64>,
    stopper: Stopper,
}

/// Ends a [`DropStream`] from another thread: its reader then sees the end.
#[derive(Debug, Clone)]
pub struct Stopper {
    hub: Arc<Hub>,
    number: u64,
}

/// The outcome of waiting for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Event(Box<DropEvent>),
    Nothing,
    End,
}

impl Stopper {
    pub fn stop(&self) {
        self.hub.leave(self.number);
    }
}

impl DropStream {
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits for the next event; nothing once the stream was stopped.
    #[must_use]
    pub fn next_event(&self) -> Option<DropEvent> {
        self.events.recv().ok()
    }

    /// The next event within `limit`.
    #[must_use]
    pub fn next_within(&self, limit: Duration) -> Next {
        match self.events.recv_timeout(limit) {
            Ok(event) => Next::Event(Box::new(event)),
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    /// How many events were lost since this was last asked, because their reader was slow.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

impl Drop for DropStream {
    fn drop(&mut self) {
        self.stopper.stop();
    }
}

/// Hands every event to all who follow.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    followers: Vec<Follower>,
    next: u64,
    /// Whether somebody feeds this hub.
    fed: bool,
}

#[derive(Debug)]
struct Follower {
    number: u64,
    sender: SyncSender<DropEvent>,
    missed: Arc<AtomicU64>,
}

impl Hub {
    /// A new stream, and whether its caller has to start feeding the hub.
    pub(crate) fn follow(self: &Arc<Self>) -> (DropStream, bool) {
        let (sender, events) = sync_channel(WAITING_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.followers.push(Follower { number, sender, missed: Arc::clone(&missed) });
        let feed = !std::mem::replace(&mut state.fed, true);
        (DropStream { events, missed, stopper: Stopper { hub: Arc::clone(self), number } }, feed)
    }

    /// Whether its feeder may stop: nobody follows any more. Who follows next has to start it again.
    pub(crate) fn is_deserted(&self) -> bool {
        let mut state = self.lock();
        state.fed = !state.followers.is_empty();
        !state.fed
    }

    /// Ends all streams.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.followers.clear();
        state.fed = false;
    }

    pub(crate) fn tell(&self, event: &DropEvent) {
        for follower in &self.lock().followers {
            // A follower that left is taken off the list by its stream.
            if let Err(TrySendError::Full(_)) = follower.sender.try_send(event.clone()) {
                follower.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn leave(&self, number: u64) {
        self.lock().followers.retain(|follower| follower.number != number);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
