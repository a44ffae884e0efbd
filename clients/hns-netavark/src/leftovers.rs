//! What podman removed without telling its plugin: a network after `podman network rm`, and endpoints of containers
//! that died while no teardown could reach the daemon.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use hns_client::Kind;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::document::{MARK, OWNER};
use crate::error::{Doing, PluginError};

/// The file podman locks around every change of its networks (containers' common library, `libnetwork/netavark`).
pub const LOCK: &str = "/run/lock/netavark.lock";

/// Podman's lock, held until dropped.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for whoever holds it.
    pub fn take(path: &Path) -> Result<Self, PluginError> {
        let failed = |source| PluginError::Lock { path: path.to_owned(), source };
        let file = File::options().create(true).append(true).open(path).map_err(failed)?;
        let whole = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        fcntl(&file, FcntlArg::F_OFD_SETLKW(&whole)).map_err(|errno| failed(errno.into()))?;
        Ok(Self { _file: file })
    }
}

/// Removes them; gives a line for each.
pub async fn remove(daemon: &Daemon, folder: &Path) -> Result<Vec<String>, PluginError> {
    let mut removed = remove_dead_endpoints(daemon).await?;
    // Without the folder nothing is known about podman's networks: they may be kept elsewhere.
    let Some(known) = known_networks(folder)? else { return Ok(removed) };
    for network in idle_networks(daemon).await? {
        let mark = &network["AdditionalParams"][MARK];
        let is_known = |key: &str| mark[key].as_str().is_none_or(|said| known.contains(said));
        if !is_known("NetworkId") {
            removed.push(remove_one(daemon, Kind::Network, &network).await?);
        }
    }
    Ok(removed)
}

/// Removes a network that podman made under this name and nobody is on; false when there is none.
pub async fn remove_namesake(daemon: &Daemon, name: &str) -> Result<bool, PluginError> {
    for network in idle_networks(daemon).await? {
        if network["AdditionalParams"][MARK]["NetworkName"] == json!(name) {
            remove_one(daemon, Kind::Network, &network).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes endpoints of podman's whose namespace is gone: no container lives in them.
pub async fn remove_dead_endpoints(daemon: &Daemon) -> Result<Vec<String>, PluginError> {
    let mut removed = Vec::new();
    for endpoint in daemon.list(Kind::Endpoint, Doing::LookForLeftovers).await? {
        let namespace = endpoint["AdditionalParams"][MARK]["Namespace"].as_str();
        let is_dead = namespace.is_some_and(|path| !Path::new(path).exists());
        if is_ours(&endpoint) && is_dead {
            removed.push(remove_one(daemon, Kind::Endpoint, &endpoint).await?);
        }
    }
    Ok(removed)
}

/// The networks podman made that have no endpoint of anybody's.
async fn idle_networks(daemon: &Daemon) -> Result<Vec<Value>, PluginError> {
    let mut networks = daemon.list(Kind::Network, Doing::LookForLeftovers).await?;
    networks.retain(|network| is_ours(network) && network["AdditionalParams"][MARK].is_object());
    networks.retain(|network| network["Health"]["Extra"]["CurrentEndpointCount"] == json!(0));
    Ok(networks)
}

fn is_ours(object: &Value) -> bool {
    object["Owner"] == json!(OWNER)
}

async fn remove_one(daemon: &Daemon, kind: Kind, object: &Value) -> Result<String, PluginError> {
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    let line = format!("{kind} {} {}", text("ID"), text("Name"));
    daemon.remove(kind, text("ID"), Doing::RemoveLeftover { object: line.clone() }).await?;
    Ok(line)
}

/// Ids of the networks that podman keeps in this folder; nothing when there is no such folder.
fn known_networks(folder: &Path) -> Result<Option<BTreeSet<String>>, PluginError> {
    let failed = |source| PluginError::Networks { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut known = BTreeSet::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read(&path).map_err(failed)?;
        let document: Value =
            serde_json::from_slice(&text).map_err(|source| failed(std::io::Error::from(source)))?;
        known.extend(document["id"].as_str().map(str::to_owned));
    }
    Ok(Some(known))
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{FcntlArg, fcntl};

    use super::*;

    #[test]
    fn the_lock_keeps_others_out_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netavark.lock");
        let other = File::options().create(true).append(true).open(&path).unwrap();
        let whole = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        let lock = Lock::take(&path).unwrap();
        // As containers' storage library locks: by process.
        assert!(fcntl(&other, FcntlArg::F_SETLK(&whole)).is_err());
        drop(lock);
        assert!(fcntl(&other, FcntlArg::F_SETLK(&whole)).is_ok());
    }

    #[test]
    fn networks_are_known_by_their_files() {
        let folder = tempfile::tempdir().unwrap();
        assert!(known_networks(&folder.path().join("missing")).unwrap().is_none());
        std::fs::write(folder.path().join("web.json"), r#"{"name":"web","id":"w1"}"#).unwrap();
        std::fs::write(folder.path().join("notes.txt"), "w2").unwrap();
        assert_eq!(known_networks(folder.path()).unwrap().unwrap(), BTreeSet::from(["w1".to_owned()]));
        std::fs::write(folder.path().join("torn.json"), "{").unwrap();
        assert!(
            known_networks(folder.path()).is_err(),
            "a file that cannot be read may stand for any network"
        );
    }
}
