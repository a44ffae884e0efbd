//! Events of the programs: from a ring buffer to those who follow. A ring is read only while somebody does.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::load::Ring;
use crate::stream::{Address, Hub, Stream};
use crate::{DatapathError, clock};

/// After this many milliseconds the reader looks whether anybody still follows.
const PATIENCE: u16 = 1000;

/// Turns what stands in the ring into what is shown of it; nothing when there is nothing that this daemon knows.
pub(crate) type Explain<E> = dyn Fn(&[u8]) -> Option<(Address, E)> + Send + Sync;

pub(crate) struct Feeder<E> {
    /// The thread's name.
    name: &'static str,
    hub: Arc<Hub<E>>,
    events: Arc<Mutex<Ring>>,
    explain: Arc<Explain<E>>,
    stop: Arc<EventFd>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<E: Clone + Send + 'static> Feeder<E> {
    pub(crate) fn new(
        name: &'static str,
        events: Ring,
        explain: Arc<Explain<E>>,
    ) -> Result<Self, DatapathError> {
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| DatapathError::Thread { name, source: errno.into() })?;
        Ok(Self {
            name,
            hub: Arc::default(),
            events: Arc::new(Mutex::new(events)),
            explain,
            stop: Arc::new(stop),
            thread: Mutex::new(None),
        })
    }

    /// What happens from now on, of these topics.
    pub(crate) fn follow(&self, topics: u32) -> Result<Stream<E>, DatapathError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let (stream, must_feed) = self.hub.follow(Address { time: clock::now(), topics });
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
        let name = self.name;
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = feed(&hub, &mut events, &*explain, &stop) {
                    tracing::error!(%error, "{name}: the programs' events are not read any more");
                }
                hub.close();
            })
            .map_err(|source| DatapathError::Thread { name, source })
    }
}

impl<E> Drop for Feeder<E> {
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
fn feed<E: Clone>(hub: &Hub<E>, events: &mut Ring, explain: &Explain<E>, stop: &EventFd) -> io::Result<()> {
    loop {
        while let Some(bytes) = events.next() {
            if let Some((address, event)) = explain(&bytes) {
                hub.tell(address, &event);
            }
        }
        if hub.is_deserted() {
            return Ok(());
        }
        let mut fds =
            [PollFd::new(events.as_fd(), PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(PATIENCE)) {
            Ok(_) if fds[1].any() == Some(true) => return Ok(()),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
