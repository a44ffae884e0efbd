use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, yield_now};

use super::error::ContainerError;

/// What a container gets to hear in our place.
const PASSED_ON: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// How many signals wait for their turn; more of them say nothing new.
const WAITING_MAX: usize = 16;

/// Signals that no longer end us: they wait until we have tidied up, or go to the container.
#[derive(Debug)]
pub struct Signals {
    waiting: mpsc::Receiver<Signal>,
    _listeners: JoinSet<()>,
}

impl Signals {
    pub fn hold_back() -> Result<Self, ContainerError> {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let mut listeners = JoinSet::new();
        for kind in PASSED_ON {
            let mut stream = signal(SignalKind::from_raw(kind as i32))
                .map_err(|source| ContainerError::Signals { source })?;
            let sender = sender.clone();
            listeners.spawn(async move {
                while stream.recv().await.is_some() && sender.send(kind).await.is_ok() {}
            });
        }
        Ok(Self { waiting, _listeners: listeners })
    }

    /// Fails when somebody has asked us to end in the meantime.
    pub async fn check(&mut self) -> Result<(), ContainerError> {
        // Lets the listeners have their turn.
        yield_now().await;
        match self.waiting.try_recv() {
            Ok(signal) => Err(ContainerError::Interrupted { signal }),
            Err(_) => Ok(()),
        }
    }

    pub async fn next(&mut self) -> Option<Signal> {
        self.waiting.recv().await
    }
}
