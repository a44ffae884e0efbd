use anyhow::Context;
use hns_docker::{Front, MirrorSettings, Sockets};
use hns_server::Limits;
use tokio::task::JoinHandle;

use crate::config::{Config, DockerChoice};

/// Serves Docker's plugins and mirrors its networks as the configuration says, until `front.stopping`,
/// over no more connections than these.
pub(crate) async fn serve(config: &Config, front: Front, limits: Limits) -> anyhow::Result<JoinHandle<()>> {
    if config.docker == DockerChoice::Off {
        return Ok(tokio::spawn(async {}));
    }
    let mirror = MirrorSettings { socket: config.docker_socket.clone() };
    match Sockets::bind(&config.docker_plugins).await {
        Ok(sockets) => Ok(tokio::spawn(async move {
            tokio::join!(
                hns_docker::serve(sockets, front.clone(), limits),
                hns_docker::mirror(mirror, front)
            );
        })),
        Err(error) if config.docker == DockerChoice::Auto => {
            tracing::warn!(error = &error as &dyn std::error::Error, "Docker is not served");
            Ok(tokio::spawn(async {}))
        }
        Err(error) => Err(error).context("cannot serve Docker"),
    }
}
