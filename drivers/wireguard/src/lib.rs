//! WireGuard between the hosts of encrypted overlays, where the kernel has none: the daemon itself encrypts what the kernel gives it by a
//! TUN device, and gives the kernel what it has decrypted. The protocol is a library's (boringtun, its part `noise` alone); this is who
//! may speak, where it is sent, and when.
//!
//! A host has one key pair. Who its peers are is said by network ([`Wireguard::set`]); a peer of two networks is one peer. Each peer has
//! exactly one address inside, that which follows from its key: nothing else is sent to it, and nothing else is taken from it.
//!
//! ```text
//! VXLAN -> TUN -> by the inner destination: peer -> encrypt -> UDP socket at the provider address -> peer's provider address
//!          TUN <- inner source is the peer's? <- decrypt <- UDP
//! ```
//!
//! While nobody serves the device it is not there, so that nothing goes out by it.

mod fake;
mod key;
mod peers;
mod real;
mod worker;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hns_net::{Guid, PublicKey};
use hns_vfp::model::Encryption;

pub use fake::FakeWireguard;
pub use real::DaemonWireguard;

/// What carries packets between the hosts of encrypted overlays.
pub trait Wireguard: Send + Sync + 'static {
    /// By which key others know this host. Made when it is asked for first, and kept.
    fn key(&self) -> Result<PublicKey, WireguardError>;

    /// At which UDP port all hosts of a network send and take what is encrypted.
    fn udp_port(&self) -> u16;

    /// Whether the device is served.
    fn runs(&self) -> bool;

    /// Begins to serve this device, in the place of any other.
    fn run(&self, device: File) -> Result<(), WireguardError>;

    /// Between whom a network is encrypted from now on; `None`: it is not there any more. With the last one the device goes.
    fn set(&self, network: Guid, encryption: Option<&Encryption>);

    /// All peers, and how it stands with them.
    fn sessions(&self) -> BTreeMap<PublicKey, Session>;

    /// Why nothing is carried, although it should be.
    fn trouble(&self) -> Option<String>;
}

/// How it stands with a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Session {
    /// How long ago both sides agreed on keys that still hold.
    pub agreed: Option<Duration>,
    /// How long it has been asked to, or known.
    pub asked: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum WireguardError {
    #[error("cannot {operation} the key of this host, {}", path.display())]
    Key { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{} holds no key; restore it, or remove it and give all peers the new one", path.display())]
    NoKey { path: PathBuf },
    #[error("cannot draw a key")]
    Random(#[source] io::Error),
    #[error("cannot serve the encrypted device: {operation}")]
    Device { operation: &'static str, source: io::Error },
}
