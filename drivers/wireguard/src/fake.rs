use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hns_net::{Guid, PublicKey};
use hns_vfp::model::Encryption;

use crate::{Session, Wireguard, WireguardError};

/// Says what it was told, and carries nothing.
#[derive(Debug, Default)]
pub struct FakeWireguard {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    runs: bool,
    networks: BTreeMap<Guid, Encryption>,
}

impl FakeWireguard {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wireguard for FakeWireguard {
    fn key(&self) -> Result<PublicKey, WireguardError> {
        let mut bytes = [0x42; 32];
        bytes[31] = 0x02;
        PublicKey::new(bytes).map_err(|_| WireguardError::NoKey { path: "fake".into() })
    }

    fn udp_port(&self) -> u16 {
        14789
    }

    fn runs(&self) -> bool {
        self.state().runs
    }

    fn run(&self, _device: File) -> Result<(), WireguardError> {
        self.state().runs = true;
        Ok(())
    }

    fn set(&self, network: Guid, encryption: Option<&Encryption>) {
        let mut state = self.state();
        match encryption {
            Some(encryption) => drop(state.networks.insert(network, encryption.clone())),
            None => drop(state.networks.remove(&network)),
        }
        state.runs &= !state.networks.is_empty();
    }

    fn sessions(&self) -> BTreeMap<PublicKey, Session> {
        let state = self.state();
        let keys = state.networks.values().flat_map(|encryption| encryption.peers.keys());
        keys.map(|key| (*key, Session::default())).collect()
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}
