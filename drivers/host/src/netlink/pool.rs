use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Family, Netlink};
use crate::HostError;

/// How many senders are remembered: more than there are sockets, and enough for the `nft` processes whose
/// messages may still be on the way to the watch.
const SENDERS_MAX: usize = 256;

/// The netlink ports from which we change netfilter: our sockets', and those of `nft` when we start it. What
/// comes from any other port is somebody else's doing.
#[derive(Debug, Default)]
pub(crate) struct Senders(Mutex<VecDeque<u32>>);

impl Senders {
    pub(crate) fn add(&self, port: u32) {
        let mut ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ports.len() == SENDERS_MAX {
            ports.pop_front();
        }
        ports.push_back(port);
    }

    pub(crate) fn contains(&self, port: u32) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&port)
    }
}

/// How many idle sockets are kept. More callers than that at once open one and close it again.
const IDLE_MAX: usize = 32;

/// Sockets of the host's namespace, ready for use by any thread.
#[derive(Debug)]
pub(crate) struct Pool {
    family: Family,
    idle: Mutex<Vec<Netlink>>,
    senders: Arc<Senders>,
}

impl Pool {
    pub(crate) const fn new(family: Family, senders: Arc<Senders>) -> Self {
        Self { family, idle: Mutex::new(Vec::new()), senders }
    }

    /// Lends a socket to `talk`. One whose conversation broke off is not lent again: an answer to the old
    /// question may still be waiting in it.
    pub(crate) fn with<T>(
        &self,
        talk: impl FnOnce(&mut Netlink) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let idle = self.lock().pop();
        let mut netlink = match idle {
            Some(netlink) => netlink,
            None => {
                let netlink = Netlink::open(self.family)?;
                self.senders.add(netlink.port());
                netlink
            }
        };
        let result = talk(&mut netlink);
        if !matches!(result, Err(HostError::Conversation { .. })) {
            let mut idle = self.lock();
            if idle.len() < IDLE_MAX {
                idle.push(netlink);
            }
        }
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Netlink>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
