use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::Group;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, Right};
use crate::api::{Api, router};
use crate::closed_socket::{Openness, listen_at};
use crate::conversation::converse;
use crate::door::{Admitted, Door};
use crate::seats::Limits;

/// How long requests that are under way may take to end once the daemon stops.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("another daemon listens on {}", socket.display())]
    InUse { socket: PathBuf },
    #[error("{} exists and is not a socket", path.display())]
    NotASocket { path: PathBuf },
    #[error("cannot {operation} {}", path.display())]
    Socket { operation: &'static str, path: PathBuf, source: io::Error },
}

/// The socket, bound and open to those who may speak.
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Binds the socket. The members of `groups` may connect; what they may do is decided at each request. One that
    /// nobody listens on any more is replaced.
    ///
    /// # Errors
    /// When somebody else listens there, when something else is there, or when it cannot be made.
    pub async fn bind(path: &Path, groups: &[&str]) -> Result<Self, ServerError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| ServerError::Socket {
                operation: "make the folder of",
                path: path.to_owned(),
                source,
            })?;
        }
        let openness = match groups.iter().find_map(|name| Group::from_name(name).ok().flatten()) {
            // Two groups cannot own one file: where there is a group of readers, everyone may connect, and whoever
            // is in neither is turned away by its credentials.
            Some(_) if has_group(groups.get(1)) => Openness::Everyone,
            Some(group) => Openness::Group(group.gid),
            None => Openness::Nobody,
        };
        Ok(Self { listener: listen_at(path, openness).await?, path: path.to_owned() })
    }
}

fn has_group(name: Option<&&str>) -> bool {
    name.is_some_and(|name| matches!(Group::from_name(name), Ok(Some(_))))
}

/// Serves until `api.stopping` is cancelled, then lets requests end.
pub async fn serve(listener: Listener, api: Api, limits: Limits) {
    let tasks = TaskTracker::new();
    let (stopping, access) = (api.stopping.clone(), api.access.clone());
    let routes = router(api);
    let door = Arc::new(Door::new(limits));
    loop {
        let admitted = tokio::select! {
            admitted = door.next(&listener.listener) => admitted,
            () = stopping.cancelled() => break,
        };
        let (door, access) = (Arc::clone(&door), access.clone());
        let (routes, stopping) = (routes.clone(), stopping.clone());
        tasks.spawn(async move { receive(admitted, &door, &access, routes, stopping).await });
    }
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    if let Err(error) = std::fs::remove_file(&listener.path) {
        tracing::debug!(error = &error as &dyn std::error::Error, "the socket was gone already");
    }
}

/// Speaks with a peer that may at least look. It has a seat already while it is looked up, so that strangers, too, are
/// looked up a few at a time.
async fn receive(
    admitted: Admitted,
    door: &Door,
    access: &Access,
    routes: axum::Router,
    stopping: CancellationToken,
) {
    let Admitted { stream, peer, seat } = admitted;
    if access.right_of(peer).await == Right::None {
        drop(seat);
        door.turn_away(stream, || access.refusal(peer, Right::Read));
        return;
    }
    converse(stream, routes.layer(axum::Extension(peer)), stopping).await;
    drop(seat);
}
