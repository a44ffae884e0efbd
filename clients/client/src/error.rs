use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::lookup::Kind;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket, or we may not speak to it.
    #[error("cannot reach the daemon on {}", socket.display())]
    Unreachable {
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The daemon said no; the text is its own.
    #[error("{message}")]
    Refused { status: u16, code: u32, message: String, hint: Option<String> },
    /// The connection broke: whether the daemon has done what was asked is unknown.
    #[error("the connection to the daemon broke during {method} {path}")]
    Interrupted {
        method: String,
        path: String,
        #[source]
        source: hyper::Error,
    },
    #[error("the daemon has not answered {method} {path} for {} seconds", patience.as_secs())]
    Silent { method: String, path: String, patience: Duration },
    #[error("the daemon's answer to {method} {path} is not JSON")]
    NotJson {
        method: String,
        path: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path} is not a path of the API")]
    Path {
        path: String,
        #[source]
        source: hyper::http::Error,
    },
    /// Found by us in the daemon's lists, in its words and with its code for the kind.
    #[error("there is no {kind} {reference:?}")]
    NotFound { kind: Kind, reference: String },
    #[error("{kind} {reference:?} is ambiguous: {}", ids.join(", "))]
    Ambiguous { kind: Kind, reference: String, ids: Vec<String> },
}

impl ClientError {
    /// HCN's code, where the failure has one.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::NotFound { kind, .. } => Some(kind.not_found_code()),
            _ => None,
        }
    }

    /// Whether the object that was asked for is not there: for whoever removes, that is success.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. } | Self::NotFound { .. })
    }

    /// What the reader could do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } => hint.clone(),
            Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("root and members of the group hns may use the socket".to_owned())
            }
            Self::Unreachable { .. } => {
                Some("is hnsd running? `systemctl status hnsd`, or pass its socket with --socket".to_owned())
            }
            Self::NotFound { kind, .. } => Some(format!("`hnsctl {kind} ls` shows what there is")),
            Self::Ambiguous { .. } => Some("use the full id".to_owned()),
            Self::Interrupted { .. } | Self::Silent { .. } => {
                Some("the daemon's log says more: `journalctl -u hnsd`".to_owned())
            }
            Self::NotJson { .. } | Self::Path { .. } => None,
        }
    }

    /// Reads the daemon's error document. Anything else that came with an error status is its own message.
    pub(crate) fn from_answer(status: u16, body: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let text = |key: &str| document.get(key).and_then(Value::as_str).map(str::to_owned);
        let code = document.get("ErrorCode").and_then(Value::as_u64);
        Self::Refused {
            status,
            code: code.and_then(|code| u32::try_from(code).ok()).unwrap_or(E_FAIL),
            message: text("Error").unwrap_or_else(|| match String::from_utf8_lossy(body).trim() {
                "" => format!("the daemon answered with status {status}"),
                said => said.to_owned(),
            }),
            hint: text("Hint").filter(|hint| !hint.is_empty()),
        }
    }
}

/// The HRESULT that says nothing more than "failed".
const E_FAIL: u32 = 0x8000_4005;
