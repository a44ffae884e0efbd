//! Drop events: from the ring buffer to those who follow. The ring is read only while somebody does.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use hns_abi::Reason;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use zerocopy::FromBytes;

use crate::load::Events;
use crate::stream::Hub;
use crate::{DatapathError, DropEvent, DropStream, clock};

const THREAD: &str = "hns-drops";
/// After this many milliseconds the reader looks whether anybody still follows.
const PATIENCE: u16 = 1000;

/// Turns an event into what is shown of it; nothing for a reason that this daemon does not know.
pub(crate) type Explain = dyn Fn(&hns_abi::DropEvent, Reason) -> DropEvent + Send + Sync;

pub(crate) struct Feeder {
    hub: Arc<Hub>,
    events: Arc<Mutex<Events>>,
    explain: Arc<Explain>,
    stop: Arc<EventFd>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Feeder {
    pub(crate) fn new(events: Events, explain: Arc<Explain>) -> Result<Self, DatapathError> {
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| DatapathError::Thread { name: THREAD, source: errno.into() })?;
        Ok(Self {
            hub: Arc::default(),
            events: Arc::new(Mutex::new(events)),
            explain,
            stop: Arc::new(stop),
            thread: Mutex::new(None),
        })
    }

    pub(crate) fn follow(&self) -> Result<DropStream, DatapathError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let (stream, must_feed) = self.hub.follow();
        if must_feed {
            if let Some(ended) = thread.take() {
                // A panicked reader has already been reported by the panic hook.
                let _ = ended.join();
            }
            *thread = Some(self.start().inspect_err(|_| self.hub.close())?);
        }
        Ok(stream)
    }

    fn start(&self) -> Result<JoinHandle<()>, DatapathError> {
        let (hub, events) = (Arc::clone(&self.hub), Arc::clone(&self.events));
        let (explain, stop) = (Arc::clone(&self.explain), Arc::clone(&self.stop));
        let begin = clock::now();
        thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || {
                let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
                feed(&hub, &mut events, &*explain, &stop, begin);
                hub.close();
            })
            .map_err(|source| DatapathError::Thread { name: THREAD, source })
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        // A counter that is full already wakes the reader as well.
        let _ = self.stop.write(1);
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// Until `stop`, or until nobody follows.
fn feed(hub: &Hub, events: &mut Events, explain: &Explain, stop: &EventFd, begin: u64) {
    loop {
        while let Some(bytes) = events.next() {
            let Ok(event) = hns_abi::DropEvent::read_from_bytes(&bytes) else { continue };
            // What nobody was there to read has no reader now.
            if event.time >= begin
                && let Some(reason) = Reason::from_number(event.reason)
            {
                hub.tell(&explain(&event, reason));
            }
        }
        if hub.is_deserted() {
            return;
        }
        let mut fds =
            [PollFd::new(events.as_fd(), PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(PATIENCE)) {
            Ok(_) if fds[1].any() == Some(true) => return,
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => {
                tracing::error!(error = %io::Error::from(errno), "drop events are not read any more");
                return;
            }
        }
    }
}
