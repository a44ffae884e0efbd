//! What the kernel tells of changes to our objects.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use hns_net::{Cidr, IfName};

/// Something that may need repair. What one tells may be out of date when it is read: observe, then act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostEvent {
    /// The host end of a port is gone (not told for links handed to the reaper).
    PortGone(IfName),
    /// The host end of a port lost its bridge or went down.
    PortChanged(IfName),
    SwitchGone(IfName),
    /// A switch went down, lost an address, or lost a segment or trunk.
    SwitchChanged(IfName),
    /// Another program changed or removed our table, or the chain that Docker reserves for others (see
    /// [`open_reserved_chain`](crate::Host::open_reserved_chain)). Our own changes are not told.
    RulesChanged,
    /// Another program changed tables of its own, which may be the host's firewall (see
    /// [`follow_host_firewall`](crate::Host::follow_host_firewall)).
    HostFirewallChanged,
    /// Another default route, or another adapter in a bridge of others (see
    /// [`follow_ways_out`](crate::Host::follow_ways_out)).
    WaysOutChanged,
    /// Another bridge of others, another port of one or address on it, or another default route (see
    /// [`bridges`](crate::Host::bridges)). Not told of those of programs that have networks of their own.
    BridgesChanged,
    /// A VXLAN device of ours is gone, or down.
    TunnelChanged,
    /// The host itself has other addresses, on a link that is not ours.
    HostsOwnChanged,
    /// What filters the frames of this port was taken off it or changed. Our own doing is told as well: look before
    /// anything is done about it.
    FilterChanged(IfName),
    /// A filter was taken out of a shared block, by which it stands at many ports. Told of every block, and of our own
    /// doing as well.
    FiltersChanged,
    /// Another program's route or address now leads to this prefix.
    RoutesChanged(Cidr),
    /// Events were lost: observe everything.
    Overrun,
}

/// Events wait here for their reader; beyond that many, [`HostEvent::Overrun`] stands for the lost ones.
const WAITING_EVENTS_MAX: usize = 4096;

/// A stream of [`HostEvent`]s. Ends its source when dropped.
#[derive(Debug)]
pub struct Watch {
    events: Receiver<HostEvent>,
    stopper: Stopper,
    source: Option<JoinHandle<()>>,
}

/// Ends a [`Watch`] from another thread: its reader then sees the end of the stream.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<dyn Wake>);

/// Makes the source of events stop.
pub(crate) trait Wake: Send + Sync + std::fmt::Debug {
    fn stop(&self);
}

impl Stopper {
    pub fn stop(&self) {
        self.0.stop();
    }
}

impl Watch {
    pub(crate) fn channel() -> (SyncSender<HostEvent>, Receiver<HostEvent>) {
        sync_channel(WAITING_EVENTS_MAX)
    }

    pub(crate) fn new(
        events: Receiver<HostEvent>,
        stop: Arc<dyn Wake>,
        source: Option<JoinHandle<()>>,
    ) -> Self {
        Self { events, stopper: Stopper(stop), source }
    }

    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits for the next event; nothing once the stream was stopped.
    pub fn next_event(&self) -> Option<HostEvent> {
        self.events.recv().ok()
    }

    /// The next event within `limit`.
    pub fn next_within(&self, limit: Duration) -> Next {
        match self.events.recv_timeout(limit) {
            Ok(event) => Next::Event(event),
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }
}

/// The outcome of waiting for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Event(HostEvent),
    Nothing,
    End,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(source) = self.source.take() {
            // A panicked source has already been reported by the panic hook; nothing is left to do here.
            let _ = source.join();
        }
    }
}
