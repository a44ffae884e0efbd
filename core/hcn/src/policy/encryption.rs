//! What other hosts of an overlay get from this one is encrypted (hcn-api 5.4): HCN names IPsec, ours is WireGuard.

use hns_net::PublicKey;
use serde_json::{Map, Value, json};

use super::{Policy, PolicySettings};
use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};

const CODE: ErrorCode = ErrorCode::INVALID_POLICY;
const METHOD: &str = "WireGuard";

/// Of an overlay: `Encryption`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Encryption {
    /// By which other hosts know this one; the server says it.
    pub public_key: Option<PublicKey>,
    /// The UDP port of WireGuard, the same on all hosts; the server says it.
    pub udp_port: Option<u16>,
}

impl Encryption {
    pub(super) fn from_settings(settings: &Value, path: &str) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(settings, path, CODE)?;
        let method = fields.text(&["EncryptionMethodType"])?;
        let field = fields.path("EncryptionMethodType");
        match method.as_deref() {
            Some(method) if method.eq_ignore_ascii_case(METHOD) => {}
            Some(method) if method.eq_ignore_ascii_case("Ipsec") => {
                let problem = "IPsec with its keys is not supported here; say \"WireGuard\", whose keys each host makes by itself \
                               (hnsctl network create --encrypted), and give each peer its host's (PublicKey)";
                return Err(DocumentError::new(field, problem, CODE));
            }
            Some(method) => {
                let problem = format!("\"{method}\" is no method of encryption; known: {METHOD}");
                return Err(DocumentError::new(field, problem, CODE));
            }
            None => return Err(DocumentError::new(field, format!("absent; known: {METHOD}"), CODE)),
        }
        let public_key = fields.parsed(&["PublicKey"], CODE)?;
        let udp_port = fields.number_u16(&["UdpPort"])?.filter(|port| *port != 0);
        fields.finish()?;
        Ok(Self { public_key, udp_port })
    }

    fn to_settings(self) -> Map<String, Value> {
        let mut out = Map::from_iter([("EncryptionMethodType".to_owned(), json!(METHOD))]);
        out.extend(self.public_key.map(|key| ("PublicKey".to_owned(), json!(key.to_string()))));
        out.extend(self.udp_port.map(|port| ("UdpPort".to_owned(), json!(port))));
        out
    }
}

impl Policy {
    #[must_use]
    pub fn encryption(encryption: Encryption) -> Self {
        let settings = encryption.to_settings();
        Self { kind: "Encryption", settings, meaning: PolicySettings::Encryption(encryption) }
    }

    #[must_use]
    pub const fn as_encryption(&self) -> Option<&Encryption> {
        match &self.meaning {
            PolicySettings::Encryption(encryption) => Some(encryption),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_wireguard_and_reads_as_it_was_written() {
        let whole = json!({"EncryptionMethodType": "WireGuard",
            "PublicKey": "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=", "UdpPort": 14789});
        let read = Encryption::from_settings(&whole, "P").unwrap();
        assert_eq!(Value::Object(Policy::encryption(read).settings), whole);
        let hcn = json!({"EncryptionMethodType": "Ipsec",
            "AuthenticationMethods": [{"Type": "PresharedKey", "Settings": {"Key": "secret"}}]});
        let error = Encryption::from_settings(&hcn, "P").unwrap_err().to_string();
        assert!(error.contains("IPsec") && error.contains("WireGuard"), "{error}");
        for wrong in [json!({}), json!({"EncryptionMethodType": "Rot13"})] {
            assert!(Encryption::from_settings(&wrong, "P").is_err(), "{wrong}");
        }
    }
}
