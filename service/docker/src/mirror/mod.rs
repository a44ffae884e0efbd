//! Docker's networks and ours, kept the same.
//!
//! Docker's plugin protocol hides names, ranges and containers, and has no call by which a plugin shows a network. So we
//! ask Docker's API, as dockerd on Windows asks HNS when it starts; only that this goes on while both run.
//!
//! ```text
//!   mod.rs ─► session.rs: a connection ─► api.rs, view.rs: what both show ─► plan.rs: deeds ─► execute.rs
//!                                                           ranges.rs, replay.rs ┘
//!
//!   HNS network without a Docker network     shown in Docker, with addresses of the IPAM driver `hns`
//!   Docker network without an HNS network    made again (state lost), or removed (deleted in HNS)
//!   Docker network with its HNS network      HNS learns name and range
//!   container on an endpoint                 HNS learns its name
//!   endpoint or network that Docker lost     deleted in HNS
//! ```
//!
//! A network that the user removes from Docker stays away until Docker or we start again: networks are shown at a
//! connection, and when they are made.
//!
//! What Docker lost is known by three signs. An endpoint that bears its container's name was shown by Docker; shown no more,
//! it is gone. Of a daemon that was seen to be down, everything is a leftover that the next one does not know. And whatever
//! was there when a connection began, Docker knows twenty seconds later, or never.
//!
//! Never here: calls of Docker's API from within a call of Docker's plugin protocol, which would wait for each other.

mod api;
mod execute;
mod plan;
mod ranges;
mod replay;
mod session;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hns_reconciler::Engine;
use tokio::net::UnixStream;

use crate::front::Front;
use api::Api;
use execute::{Said, Sides};
use session::{Session, SessionError};
use view::{Hns, Suspects};

/// Where Docker's API listens.
pub const DOCKER_SOCKET: &str = "/run/docker.sock";

/// The longest and the shortest pause between two attempts to connect.
const PAUSE_MAX: Duration = Duration::from_secs(2);
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// Which Docker is mirrored.
#[derive(Debug, Clone)]
pub struct MirrorSettings {
    /// Its API's socket; there need not be one yet.
    pub socket: PathBuf,
}

/// Mirrors the networks of Docker until `front.stopping` is cancelled. Without Docker it waits for one.
pub async fn mirror(settings: MirrorSettings, front: Front) {
    let stopping = front.stopping.clone();
    tokio::select! {
        () = stopping.cancelled() => {}
        () = connect_again_and_again(&settings.socket, front) => {}
    }
}

async fn connect_again_and_again(socket: &Path, front: Front) {
    let mut ready = front.engine.clone();
    let engine = ready.wait_for(Option::is_some).await.ok().and_then(|engine| engine.clone());
    let Some(engine) = engine else { return };
    let mut said = Said::default();
    let mut pause = PAUSE_MIN;
    // What a daemon left behind that was seen to be down, until another one was asked about it.
    let mut dead: Option<Suspects> = None;
    loop {
        match probe(socket).await {
            Probe::Answers => {
                let served = match Api::connect(socket).await {
                    Ok(api) => serve(api, &front, &engine, &mut dead, &mut said).await,
                    Err(error) => Err(error.into()),
                };
                match served {
                    Ok(()) => pause = PAUSE_MIN,
                    Err(error) => said.complain(&error),
                }
            }
            Probe::Down => {
                dead.get_or_insert_with(|| Suspects::of(&Hns::of(&engine.world())));
            }
            Probe::Barred(error) => said.complain(&SessionError::Barred(error)),
        }
        tokio::time::sleep(pause).await;
        pause = PAUSE_MAX.min(pause * 2);
    }
}

/// One connection from its begin to its end.
async fn serve(
    api: Api,
    front: &Front,
    engine: &Arc<Engine>,
    dead: &mut Option<Suspects>,
    said: &mut Said,
) -> Result<(), SessionError> {
    let sides = Sides { front: front.clone(), engine: Arc::clone(engine), api };
    let session = Session::start(sides, said, dead).await?;
    tracing::info!("connected to Docker; its networks and ours are the same");
    let lost = session.run().await;
    tracing::info!("the connection to Docker is lost; its networks stay as they are");
    lost
}

enum Probe {
    Answers,
    /// Nobody listens: the daemon that did has ended.
    Down,
    Barred(io::Error),
}

async fn probe(socket: &Path) -> Probe {
    match UnixStream::connect(socket).await {
        Ok(_) => Probe::Answers,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Probe::Down
        }
        Err(error) => Probe::Barred(error),
    }
}
