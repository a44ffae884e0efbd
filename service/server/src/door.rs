use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use hns_hcn::ErrorCode;
use nix::unistd::Uid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::access::Peer;
use crate::answer::Refusal;
use crate::seats::{Full, Guest, Limits, Seat, Seats};

/// How long to wait when the process has no descriptor left for another connection.
const BREATH: Duration = Duration::from_millis(50);

/// How many of those who are turned away are told why at one time. The others are closed without a word.
const TOLD_AT_ONCE: usize = 16;

/// How long somebody who is to be told why may take to ask for anything.
const TELLING_TIMEOUT: Duration = Duration::from_secs(1);

/// Who comes in: decides by the credentials of the peer, before anything is read of what it sends.
#[derive(Debug)]
pub struct Door {
    seats: Arc<Seats>,
    telling: Arc<Semaphore>,
    told: TaskTracker,
    turned_away: AtomicU64,
}

/// Somebody who was let in, for as long as its seat is kept.
#[derive(Debug)]
pub struct Admitted {
    pub stream: UnixStream,
    pub seat: Seat,
    pub(crate) peer: Peer,
}

impl Door {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            seats: Seats::new(limits),
            telling: Arc::new(Semaphore::new(TOLD_AT_ONCE)),
            told: TaskTracker::new(),
            turned_away: AtomicU64::new(0),
        }
    }

    /// Waits for the next connection that has a seat.
    pub async fn next(&self, listener: &UnixListener) -> Admitted {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Some(admitted) = self.admit(stream) {
                        return admitted;
                    }
                }
                Err(error) => {
                    // Out of file descriptors, most likely: the next accept may succeed once some are free.
                    tracing::warn!(error = &error as &dyn std::error::Error, "a connection was not accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }

    fn admit(&self, stream: UnixStream) -> Option<Admitted> {
        let peer = match stream.peer_cred() {
            Ok(credentials) => Peer { uid: credentials.uid(), gid: credentials.gid() },
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "a peer without credentials is not served");
                return None;
            }
        };
        let guest = if peer.is_root() { Guest::Root } else { Guest::User(peer.uid) };
        match self.seats.take(guest) {
            Ok(seat) => Some(Admitted { stream, peer, seat }),
            Err(full) => {
                self.turn_away(stream, || full.refusal(peer));
                None
            }
        }
    }

    /// Closes a connection. The peer is told why where that costs little: some of a flood are, and a user who is
    /// alone always. Root waits in the same line, so for most of a flood there is not even a sentence made.
    pub(crate) fn turn_away(&self, stream: UnixStream, refusal: impl Fn() -> Refusal) {
        let count = self.turned_away.fetch_add(1, Ordering::Relaxed) + 1;
        // A flood is news, each of its connections is not: the log grows by one line when their number doubles.
        if count.is_power_of_two() {
            tracing::warn!(turned_away = count, last = refusal().text(), "connections are turned away");
        }
        let Ok(place) = Arc::clone(&self.telling).try_acquire_owned() else { return };
        let answer = refusal().into_http();
        self.told.spawn(async move {
            let _place = place;
            // Whoever it is may hang up first, and owes us nothing.
            let _told = tokio::time::timeout(TELLING_TIMEOUT, tell(stream, &answer)).await;
        });
    }
}

/// Answers whatever is asked. What a client has sent is thrown away unread, since an end that still holds some makes the
/// kernel report a broken connection in place of the answer.
async fn tell(stream: UnixStream, answer: &[u8]) -> std::io::Result<()> {
    let would_block = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    loop {
        // It may wake up for nothing, and a peer that is answered before it asks takes that for an error.
        stream.readable().await?;
        if !stream.try_read(&mut [0; 1024]).is_err_and(|error| would_block(&error)) {
            break;
        }
    }
    stream.try_write(answer).map(drop)
}

impl Peer {
    /// Root, or the user the daemon runs as.
    pub fn is_root(self) -> bool {
        self.uid == 0 || Uid::current().as_raw() == self.uid
    }
}

impl Full {
    fn refusal(self, peer: Peer) -> Refusal {
        let text = match self {
            Self::RootAlone => {
                let text = format!("user {} may not speak here: root alone may", peer.uid);
                return Refusal::new(ErrorCode::ACCESS_DENIED, text);
            }
            Self::User { limit } => {
                format!("user {} has {limit} connections, as many as a user may", peer.uid)
            }
            Self::Others { limit } => {
                format!("users other than root have {limit} connections, as many as they may")
            }
            Self::Root { limit } => format!("root has {limit} connections, as many as it may"),
        };
        Refusal::new(ErrorCode::FAIL, text)
            .with_status(StatusCode::SERVICE_UNAVAILABLE)
            .with_hint("close some, or try again later")
    }
}
