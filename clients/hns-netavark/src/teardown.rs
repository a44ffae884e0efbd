use hns_client::Kind;

use crate::daemon::Daemon;
use crate::error::{Doing, PluginError};
use crate::podman::Container;
use crate::{ports, warn_of};

/// Takes a container off a network; one that is not there has left. Its namespace may be gone.
pub async fn teardown(daemon: &Daemon, container: &Container) -> Result<(), PluginError> {
    let leaving =
        Doing::Disconnect { container: container.name().to_owned(), network: container.network.name.clone() };
    let id = container.endpoint_guid().to_string();
    let was_there = daemon.remove(Kind::Endpoint, &id, leaving).await?;
    if was_there
        && !container.port_mappings.is_empty()
        && let Err(error) = ports::hand_over(daemon, container).await
    {
        // The network is left; that another one did not take the ports is no reason to say otherwise.
        warn_of(&error);
    }
    Ok(())
}
