use std::path::Path;

use hns_client::Kind;
use hns_hcn::ErrorCode;
use serde_json::{Map, Value, json};

use crate::daemon::Daemon;
use crate::document::{self, Moment};
use crate::error::{Doing, PluginError};
use crate::options::{self, NetworkOptions};
use crate::podman::Network;
use crate::{leftovers, status, warn_of};

/// `podman network create`: makes the network in HNS, or binds podman's to one that exists, and completes the document.
pub async fn create(
    daemon: &Daemon,
    networks: &Path,
    mut asked: Map<String, Value>,
) -> Result<Value, PluginError> {
    let mut network: Network = serde_json::from_value(Value::Object(asked.clone()))
        .map_err(|source| PluginError::Document { verb: "create", source })?;
    take_name_servers(&mut asked, &mut network);
    let options = options::of_network(&network.name, &network.options)?;
    check(&network)?;
    let made = match &options.existing {
        Some(existing) => bind(daemon, &network, &options, existing).await?,
        None => make(daemon, networks, &network, &options).await?,
    };
    let mut answer = status::of_network(asked, &network.name, &made)?;
    settle_ipam(&mut answer);
    Ok(Value::Object(answer))
}

/// Moves `podman network create --dns` into our option: podman keeps such servers only for networks whose addresses
/// are its own.
fn take_name_servers(asked: &mut Map<String, Value>, network: &mut Network) {
    asked.remove("network_dns_servers");
    let servers = std::mem::take(&mut network.network_dns_servers);
    if servers.is_empty() {
        return;
    }
    let mut servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
    let option = options::said_as(&network.options, options::NAME_SERVERS);
    servers.extend(network.options.remove(&option));
    network.options.insert(option, servers.join(","));
    asked.insert("options".into(), json!(network.options));
}

/// Podman asks nobody else for addresses: HNS hands them out. Who asks for podman's own book gets it, and HNS refuses
/// an address that somebody else has.
fn settle_ipam(answer: &mut Map<String, Value>) {
    let chosen = answer.get("ipam_options").and_then(|options| options.get("driver")).and_then(Value::as_str);
    if chosen != Some("host-local") {
        answer.insert("ipam_options".into(), json!({"driver": "none"}));
    }
    // Its name server knows no containers of plugins.
    answer.insert("dns_enabled".into(), json!(false));
}

/// What HNS has no way to honour.
fn check(network: &Network) -> Result<(), PluginError> {
    let name = || network.name.clone();
    match network.ipam_options.get("driver").map(String::as_str) {
        None | Some("" | "none" | "host-local") => {}
        Some(driver) => return Err(PluginError::IpamDriver { network: name(), driver: driver.to_owned() }),
    }
    if network.network_interface.is_empty() {
        Ok(())
    } else {
        let interface = network.network_interface.clone();
        Err(PluginError::InterfaceName { network: name(), interface })
    }
}

/// Finds the network that podman's is to stand for.
async fn bind(
    daemon: &Daemon,
    network: &Network,
    options: &NetworkOptions,
    existing: &str,
) -> Result<Value, PluginError> {
    let belongs_to_it = [
        ("--subnet", !network.subnets.is_empty()),
        ("--ipv6", network.ipv6_enabled),
        ("--internal", network.internal),
        ("option type", options.kind.is_some()),
        ("option networkname", options.name.is_some()),
        ("option interface", options.interface.is_some()),
        ("option vlan", options.vlan.is_some()),
        ("option encrypted", options.encrypted),
        ("option mtu", options.mtu.is_some()),
        ("option dnsservers", !options.dns_servers.is_empty()),
        ("option dnssuffix", options.dns_suffix.is_some()),
        ("option macpool", !options.mac_pool.is_empty()),
        ("option gateway_mode", options.gateway_mode_v4.or(options.gateway_mode_v6).is_some()),
    ];
    if let Some((what, _)) = belongs_to_it.iter().find(|(_, said)| *said) {
        return Err(PluginError::Bound {
            network: network.name.clone(),
            what: (*what).to_owned(),
            existing: existing.to_owned(),
        });
    }
    let doing = Doing::FindNetwork { network: network.name.clone(), existing: existing.to_owned() };
    daemon.find(Kind::Network, existing, doing).await
}

async fn make(
    daemon: &Daemon,
    networks: &Path,
    network: &Network,
    options: &NetworkOptions,
) -> Result<Value, PluginError> {
    let document = document::network(network, options, Moment::Creation)?;
    // `podman network rm` tells nobody; what it left would stand in the way of new names and prefixes. Podman's own
    // lock is held by whoever calls us, so its folder does not change in between.
    if let Err(error) = leftovers::remove(daemon, networks).await {
        warn_of(&error);
    }
    let doing = || Doing::CreateNetwork { network: network.name.clone() };
    match daemon.create(Kind::Network, &document, doing()).await {
        Err(error) if error.code() == Some(ErrorCode::NETWORK_ALREADY_EXISTS) => {
            // Podman has no network of this name, or it would not ask; so one of ours with it is a leftover, wherever
            // podman keeps its networks.
            if leftovers::remove_namesake(daemon, &network.name).await? {
                daemon.create(Kind::Network, &document, doing()).await
            } else {
                Err(error)
            }
        }
        outcome => outcome,
    }
}
