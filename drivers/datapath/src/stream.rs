//! Events on their way from the programs to those who follow them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Events wait here for their reader; what comes beyond that many is only counted.
const WAITING_MAX: usize = 1024;

/// Events as they happen: where there are many, a sample.
pub struct Stream<E> {
    events: Receiver<E>,
    missed: Arc<AtomicU64>,
    stopper: Stopper<E>,
    end: Option<End>,
}

/// What is done when a stream is dropped.
type End = Box<dyn FnOnce() + Send>;

/// Ends a [`Stream`] from another thread: its reader then sees the end.
pub struct Stopper<E> {
    hub: Arc<Hub<E>>,
    number: u64,
}

/// The outcome of waiting for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<E> {
    Event(Box<E>),
    Nothing,
    End,
}

impl<E> Stopper<E> {
    pub fn stop(&self) {
        self.hub.leave(self.number);
    }
}

impl<E> Clone for Stopper<E> {
    fn clone(&self) -> Self {
        Self { hub: Arc::clone(&self.hub), number: self.number }
    }
}

impl<E> fmt::Debug for Stream<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("number", &self.stopper.number).finish_non_exhaustive()
    }
}

impl<E> Stream<E> {
    /// Does this, too, when the stream is dropped, behind its last event.
    pub(crate) fn ending_with(mut self, end: impl FnOnce() + Send + 'static) -> Self {
        self.end = Some(Box::new(end));
        self
    }

    #[must_use]
    pub fn stopper(&self) -> Stopper<E> {
        self.stopper.clone()
    }

    /// Waits for the next event; nothing once the stream was stopped.
    #[must_use]
    pub fn next_event(&self) -> Option<E> {
        self.events.recv().ok()
    }

    /// The next event within `limit`.
    #[must_use]
    pub fn next_within(&self, limit: Duration) -> Next<E> {
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

impl<E> Drop for Stream<E> {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(end) = self.end.take() {
            end();
        }
    }
}

/// To whom an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    /// Ns of `CLOCK_MONOTONIC`: to those who followed then.
    pub time: u64,
    /// To those who follow one of these.
    pub topics: u32,
}

/// Of events that are for all who follow.
pub(crate) const EVERY_TOPIC: u32 = u32::MAX;

/// Hands every event to those who follow it.
pub(crate) struct Hub<E> {
    state: Mutex<State<E>>,
}

struct State<E> {
    followers: Vec<Follower<E>>,
    next: u64,
    /// Whether somebody feeds this hub.
    fed: bool,
}

struct Follower<E> {
    number: u64,
    from: Address,
    sender: SyncSender<E>,
    missed: Arc<AtomicU64>,
}

impl<E> Follower<E> {
    fn follows(&self, event: Address) -> bool {
        event.time >= self.from.time && event.topics & self.from.topics != 0
    }
}

impl<E> Default for Hub<E> {
    fn default() -> Self {
        Self { state: Mutex::new(State { followers: Vec::new(), next: 0, fed: false }) }
    }
}

impl<E> Hub<E> {
    /// A new stream, and whether its caller has to start feeding the hub.
    pub(crate) fn follow(self: &Arc<Self>, from: Address) -> (Stream<E>, bool) {
        let (sender, events) = sync_channel(WAITING_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.followers.push(Follower { number, from, sender, missed: Arc::clone(&missed) });
        let feed = !std::mem::replace(&mut state.fed, true);
        let stopper = Stopper { hub: Arc::clone(self), number };
        (Stream { events, missed, stopper, end: None }, feed)
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

    fn leave(&self, number: u64) {
        self.lock().followers.retain(|follower| follower.number != number);
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Clone> Hub<E> {
    pub(crate) fn tell(&self, address: Address, event: &E) {
        for follower in self.lock().followers.iter().filter(|follower| follower.follows(address)) {
            // A follower that left is taken off the list by its stream.
            if let Err(TrySendError::Full(_)) = follower.sender.try_send(event.clone()) {
                follower.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
