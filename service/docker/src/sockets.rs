use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hns_server::{Admitted, Door, Limits, Openness, ServerError, converse, listen_at};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::drivers::{DRIVERS, IPAM};
use crate::front::{Front, Plugin, Routers};

/// Where Docker looks for plugins.
pub const PLUGINS: &str = "/run/docker/plugins";

/// How long calls that are under way may take to end once the daemon stops.
const DRAIN: Duration = Duration::from_secs(5);

/// The sockets of all plugins, bound. Docker finds a plugin by the name of its socket.
pub struct Sockets {
    listeners: Vec<(UnixListener, Plugin)>,
}

impl Sockets {
    /// Binds every socket in this folder, for root alone: whoever may speak here is as good as Docker. One that
    /// nobody listens on any more is replaced.
    ///
    /// # Errors
    /// When somebody else listens on one, when something else is in its place, or when one cannot be made.
    pub async fn bind(folder: &Path) -> Result<Self, ServerError> {
        std::fs::create_dir_all(folder).map_err(|source| ServerError::Socket {
            operation: "make",
            path: folder.to_owned(),
            source,
        })?;
        let drivers = DRIVERS.iter().map(|driver| (driver.name, Plugin::Network(driver)));
        let mut listeners = Vec::new();
        for (name, plugin) in drivers.chain([(IPAM, Plugin::Ipam)]) {
            let path = folder.join(format!("{name}.sock"));
            listeners.push((listen_at(&path, Openness::Nobody).await?, plugin));
        }
        Ok(Self { listeners })
    }
}

/// Serves every plugin until `front.stopping` is cancelled, then lets calls end. `limits` are those of all plugins
/// together.
///
/// The sockets stay in their folder: to a plugin whose socket is there Docker tries again for fifteen seconds, in
/// which a restart is done; one whose socket is gone is "not found" at once.
pub async fn serve(sockets: Sockets, front: Front, limits: Limits) {
    let tasks = TaskTracker::new();
    let stopping = front.stopping.clone();
    let routers = Routers::new(front);
    let door = Arc::new(Door::new(limits));
    for (listener, plugin) in sockets.listeners {
        let (door, routes) = (Arc::clone(&door), routers.of(plugin));
        let (calls, stopping) = (tasks.clone(), stopping.clone());
        tasks.spawn(async move { serve_plugin(&listener, &door, routes, &calls, &stopping).await });
    }
    stopping.cancelled().await;
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("some calls of Docker did not end in time");
    }
}

async fn serve_plugin(
    listener: &UnixListener,
    door: &Door,
    routes: Router,
    calls: &TaskTracker,
    stopping: &CancellationToken,
) {
    loop {
        let Admitted { stream, seat, .. } = tokio::select! {
            admitted = door.next(listener) => admitted,
            () = stopping.cancelled() => return,
        };
        let (routes, stopping) = (routes.clone(), stopping.clone());
        calls.spawn(async move {
            converse(stream, routes, stopping).await;
            drop(seat);
        });
    }
}
