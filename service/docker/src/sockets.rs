use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::TaskTracker;

use crate::drivers::{DRIVERS, IPAM};
use crate::front::{Front, Plugin, Routers};

/// Where Docker looks for plugins.
pub const PLUGINS: &str = "/run/docker/plugins";

/// How long calls that are under way may take to end once the daemon stops.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("another program serves the Docker plugin {}", socket.display())]
    InUse { socket: PathBuf },
    #[error("{} exists and is not a socket", path.display())]
    NotASocket { path: PathBuf },
    #[error("cannot {operation} {}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
}

/// The sockets of all plugins, bound. Docker finds a plugin by the name of its socket.
pub struct Sockets {
    listeners: Vec<(UnixListener, Plugin)>,
}

impl Sockets {
    /// Binds every socket in this folder, for root alone: whoever may speak here is as good as Docker. One that
    /// nobody listens on any more is replaced.
    pub async fn bind(folder: &Path) -> Result<Self, SocketError> {
        let make = |source| SocketError::Io { operation: "make", path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(make)?;
        let drivers = DRIVERS.iter().map(|driver| (driver.name, Plugin::Network(driver)));
        let mut listeners = Vec::new();
        for (name, plugin) in drivers.chain([(IPAM, Plugin::Ipam)]) {
            listeners.push((bind(&folder.join(format!("{name}.sock"))).await?, plugin));
        }
        Ok(Self { listeners })
    }
}

async fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    remove_stale(path).await?;
    let failed = |operation| move |source| SocketError::Io { operation, path: path.to_owned(), source };
    let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed("protect"))?;
    Ok(listener)
}

async fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket { path: path.to_owned() });
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(SocketError::InUse { socket: path.to_owned() });
    }
    std::fs::remove_file(path).map_err(|source| SocketError::Io {
        operation: "remove the stale socket",
        path: path.to_owned(),
        source,
    })
}

/// Serves every plugin until `front.stopping` is cancelled, then lets calls end.
///
/// The sockets stay in their folder: to a plugin whose socket is there Docker tries again for fifteen seconds, in
/// which a restart is done; one whose socket is gone is "not found" at once.
pub async fn serve(sockets: Sockets, front: Front) {
    let tasks = TaskTracker::new();
    let stopping = front.stopping.clone();
    let routers = Routers::new(front);
    for (listener, plugin) in sockets.listeners {
        let served = axum::serve(listener, routers.of(plugin));
        let served = served.with_graceful_shutdown(stopping.clone().cancelled_owned());
        tasks.spawn(async move {
            if let Err(error) = served.await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, ?plugin, "a Docker plugin is no longer served");
            }
        });
    }
    tasks.close();
    stopping.cancelled().await;
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("some calls of Docker did not end in time");
    }
}
