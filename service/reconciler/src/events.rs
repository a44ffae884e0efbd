use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use hns_hcn::Notification;
use tokio::sync::broadcast;

/// One notification with its place in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub revision: u64,
    pub notification: Notification,
}

/// How many past events a reader can resume from, and how many a slow one may lag behind.
const HISTORY_MAX: usize = 8192;

/// Revisions of this run start at the store's revision times this, so that they go on rising over
/// restarts: no run sends that many events between two commits.
const REVISIONS_PER_COMMIT: u64 = 1 << 20;

/// The past and the future of the notifications.
pub(crate) struct Events {
    state: Mutex<State>,
    live: broadcast::Sender<Event>,
}

struct State {
    last: u64,
    first_known: u64,
    history: VecDeque<Event>,
}

/// Events from some revision on: first those of the past, then the live ones.
pub struct EventStream {
    pub past: Vec<Event>,
    pub live: broadcast::Receiver<Event>,
}

#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    #[error("events after revision {from} are no longer known; the oldest is {oldest}")]
    Forgotten { from: u64, oldest: u64 },
}

impl Events {
    pub fn new(store_revision: u64) -> Self {
        let last = store_revision.saturating_mul(REVISIONS_PER_COMMIT);
        let state = State { last, first_known: last, history: VecDeque::new() };
        Self { state: Mutex::new(state), live: broadcast::channel(HISTORY_MAX).0 }
    }

    pub fn send(&self, notification: Notification) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last += 1;
        let event = Event { revision: state.last, notification };
        state.history.push_back(event.clone());
        if state.history.len() > HISTORY_MAX
            && let Some(dropped) = state.history.pop_front()
        {
            state.first_known = dropped.revision;
        }
        // An error only says that nobody listens.
        let _ = self.live.send(event);
    }

    /// Events after `from`; absent: only those to come.
    pub fn stream(&self, from: Option<u64>) -> Result<EventStream, EventsError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.live.subscribe();
        let Some(from) = from else { return Ok(EventStream { past: Vec::new(), live }) };
        if from < state.first_known {
            return Err(EventsError::Forgotten { from, oldest: state.first_known });
        }
        let past = state.history.iter().filter(|event| event.revision > from).cloned().collect();
        Ok(EventStream { past, live })
    }
}
