use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::unistd::{Group, chown};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::TaskTracker;

use crate::access::Peer;
use crate::api::{Api, router};

/// How long a connection may take over the head of a request, and stay idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

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
    /// Binds the socket with mode 0660. The members of `groups` may connect; what they may do is decided
    /// at each request. One that nobody listens on any more is replaced.
    pub async fn bind(path: &Path, groups: &[&str]) -> Result<Self, ServerError> {
        remove_stale(path).await?;
        let failed =
            |operation| move |source| ServerError::Socket { operation, path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
        }
        let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
        let mode = match groups.iter().find_map(|name| Group::from_name(name).ok().flatten()) {
            // Two groups cannot own one file: where there is a group of readers, everyone may connect and
            // is refused by name, request by request.
            Some(_) if has_group(groups.get(1)) => 0o666,
            Some(group) => {
                chown(path, None, Some(group.gid)).map_err(|errno| failed("hand over")(errno.into()))?;
                0o660
            }
            None => 0o660,
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed("protect"))?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

fn has_group(name: Option<&&str>) -> bool {
    name.is_some_and(|name| matches!(Group::from_name(name), Ok(Some(_))))
}

async fn remove_stale(path: &Path) -> Result<(), ServerError> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(ServerError::NotASocket { path: path.to_owned() });
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(ServerError::InUse { socket: path.to_owned() });
    }
    std::fs::remove_file(path).map_err(|source| ServerError::Socket {
        operation: "remove the stale socket",
        path: path.to_owned(),
        source,
    })
}

/// Serves until `api.stopping` is cancelled, then lets requests end.
pub async fn serve(listener: Listener, api: Api) {
    let tasks = TaskTracker::new();
    let stopping = api.stopping.clone();
    let routes = router(api);
    loop {
        let accepted = tokio::select! {
            accepted = listener.listener.accept() => accepted,
            () = stopping.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (routes, stopping) = (routes.clone(), stopping.clone());
                tasks.spawn(async move { converse(stream, routes, stopping).await });
            }
            Err(error) => {
                // Out of file descriptors, most likely: the next accept may succeed once some are free.
                tracing::warn!(error = &error as &dyn std::error::Error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    if let Err(error) = std::fs::remove_file(&listener.path) {
        tracing::debug!(error = &error as &dyn std::error::Error, "the socket was gone already");
    }
}

async fn converse(stream: UnixStream, routes: axum::Router, stopping: tokio_util::sync::CancellationToken) {
    let peer = match stream.peer_cred() {
        Ok(credentials) => Peer { uid: credentials.uid(), gid: credentials.gid() },
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a peer without credentials is not served"
            );
            return;
        }
    };
    let service = TowerToHyperService::new(routes.layer(axum::Extension(peer)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
    }
}
