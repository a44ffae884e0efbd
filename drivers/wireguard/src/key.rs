//! The key pair of this host.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boringtun::x25519;
use hns_net::PublicKey;

use crate::WireguardError;

#[derive(Clone)]
pub(crate) struct KeyPair {
    pub secret: x25519::StaticSecret,
    pub public: PublicKey,
}

impl KeyPair {
    /// That of the file; a new one if there is no such file.
    pub fn kept_at(path: &Path) -> Result<Self, WireguardError> {
        let failed =
            |operation| move |source| WireguardError::Key { operation, path: path.to_owned(), source };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = drawn()?;
                write(path, &text).map_err(failed("keep"))?;
                text
            }
            Err(error) => return Err(failed("read")(error)),
        };
        let no_key = || WireguardError::NoKey { path: path.to_owned() };
        let bytes: [u8; 32] =
            STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(no_key)?;
        let secret = x25519::StaticSecret::from(bytes);
        let public = x25519::PublicKey::from(&secret).to_bytes();
        Ok(Self { secret, public: PublicKey::new(public).map_err(|_| no_key())? })
    }
}

fn drawn() -> Result<String, WireguardError> {
    let mut bytes = [0; 32];
    let mut drawn = 0;
    while drawn < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        drawn += rustix::rand::getrandom(&mut bytes[drawn..], flags)
            .map_err(|errno| WireguardError::Random(errno.into()))?;
    }
    Ok(STANDARD.encode(bytes) + "\n")
}

/// Whole or not at all, and for nobody else to read.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_for_nobody_else_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wireguard.key");
        let first = KeyPair::kept_at(&path).unwrap().public;
        assert_eq!(KeyPair::kept_at(&path).unwrap().public, first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "nothing").unwrap();
        assert!(matches!(KeyPair::kept_at(&path), Err(WireguardError::NoKey { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "nothing");
    }
}
