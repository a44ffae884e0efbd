use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use hns_net::{Guid, PublicKey};
use hns_vfp::model::Encryption;

use crate::key::KeyPair;
use crate::peers::Peers;
use crate::worker::{Shared, Worker};
use crate::{Session, Wireguard, WireguardError};

/// WireGuard in this process: one thread serves the device.
pub struct DaemonWireguard {
    key_file: PathBuf,
    udp_port: u16,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    key: Option<KeyPair>,
    networks: BTreeMap<Guid, Encryption>,
    worker: Option<(Arc<Shared>, JoinHandle<()>)>,
}

impl DaemonWireguard {
    /// With the key that this file holds, which is made when it is needed first.
    #[must_use]
    pub fn new(key_file: PathBuf, udp_port: u16) -> Self {
        Self { key_file, udp_port, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key_pair(&self, state: &mut State) -> Result<KeyPair, WireguardError> {
        if let Some(key) = &state.key {
            return Ok(key.clone());
        }
        let key = KeyPair::kept_at(&self.key_file)?;
        Ok(state.key.insert(key).clone())
    }
}

impl State {
    fn serving(&self) -> Option<&Arc<Shared>> {
        self.worker.as_ref().filter(|(_, thread)| !thread.is_finished()).map(|(shared, _)| shared)
    }

    fn stop(&mut self) {
        if let Some((shared, thread)) = self.worker.take() {
            shared.stop();
            // It has nothing to say that its log did not.
            let _ = thread.join();
        }
    }
}

impl Drop for DaemonWireguard {
    fn drop(&mut self) {
        self.state().stop();
    }
}

impl Wireguard for DaemonWireguard {
    fn key(&self) -> Result<PublicKey, WireguardError> {
        Ok(self.key_pair(&mut self.state())?.public)
    }

    fn udp_port(&self) -> u16 {
        self.udp_port
    }

    fn runs(&self) -> bool {
        self.state().serving().is_some()
    }

    fn run(&self, device: File) -> Result<(), WireguardError> {
        let mut state = self.state();
        state.stop();
        let peers = Peers::new(self.key_pair(&mut state)?, self.udp_port);
        let shared = Arc::new(Shared::new(state.networks.clone())?);
        let worker = Worker::new(device, peers, Arc::clone(&shared))?;
        let thread = thread::Builder::new().name("hns-wireguard".into()).spawn(move || worker.serve());
        let thread =
            thread.map_err(|source| WireguardError::Device { operation: "start a thread", source })?;
        state.worker = Some((shared, thread));
        Ok(())
    }

    fn set(&self, network: Guid, encryption: Option<&Encryption>) {
        let mut state = self.state();
        match encryption {
            Some(encryption) => drop(state.networks.insert(network, encryption.clone())),
            None => drop(state.networks.remove(&network)),
        }
        if state.networks.is_empty() {
            state.stop();
        } else if let Some(shared) = state.serving() {
            shared.tell(state.networks.clone());
        }
    }

    fn sessions(&self) -> BTreeMap<PublicKey, Session> {
        self.state().serving().map(|shared| shared.sessions()).unwrap_or_default()
    }

    fn trouble(&self) -> Option<String> {
        let state = self.state();
        match state.serving() {
            Some(shared) => shared.trouble(),
            None if state.networks.is_empty() => None,
            None => Some(
                "nobody encrypts what goes to other hosts, so that nothing does; hnsd tries again".to_owned(),
            ),
        }
    }
}
