use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use hns_client::ClientError;
use hns_hcn::{DocumentError, ErrorCode};
use serde_json::{Value, json};

use crate::environment::Verb;
use crate::version::Version;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("version {asked:?} of the CNI specification is not supported")]
    Version { asked: String },
    #[error("{verb} is not a verb of version {} of the CNI specification; it came with {}", conf.text(), since.text())]
    VerbOfLater { verb: Verb, conf: Version, since: Version },
    #[error("{field} = {value} is not supported: {why}")]
    Unsupported { field: String, value: Value, why: String },
    #[error("there is no network namespace at {}", path.display())]
    NoNamespace {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("environment variable {variable}: {problem}")]
    Environment { variable: &'static str, problem: String },
    #[error("cannot read the configuration from the standard input")]
    ReadInput {
        #[source]
        source: io::Error,
    },
    #[error("cannot start")]
    Runtime {
        #[source]
        source: io::Error,
    },
    #[error("the configuration is not JSON")]
    Decode {
        #[source]
        source: serde_json::Error,
    },
    #[error("{}{problem}", if field.is_empty() { String::new() } else { format!("{field}: ") })]
    Invalid { field: String, problem: String },
    #[error(transparent)]
    Daemon(#[from] ClientError),
    #[error("hnsd is not available")]
    Unavailable {
        #[source]
        source: ClientError,
    },
    #[error("the daemon's answer is not the document of an endpoint")]
    Answer {
        #[source]
        source: DocumentError,
    },
    #[error(
        "address {address} is not within the ranges of the configuration: network \"{network}\" exists with others"
    )]
    OutsideRanges { address: IpAddr, network: String },
    #[error("interface {interface} is not as it was added: {problem}")]
    NotAsAdded { interface: String, problem: String },
    #[error("there is no IPAM plugin {plugin:?} in CNI_PATH: {path:?}")]
    NoDelegate { plugin: String, path: String },
    #[error("cannot run the IPAM plugin {}", plugin.display())]
    RunDelegate {
        plugin: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The plugin said no, by an error document or by its exit code alone.
    #[error("IPAM plugin {plugin}: {msg}")]
    Delegate { plugin: String, code: u32, msg: String, details: String },
    #[error("the answer of the IPAM plugin {plugin} is not a result")]
    DelegateAnswer {
        plugin: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{} stale attachments could not be removed", failures.len())]
    Leftovers { failures: Vec<Failure> },
}

/// The specification's codes (1.1.0, section 2, "Error"; from 100 on each plugin's own).
mod code {
    pub const VERSION: u32 = 1;
    pub const UNSUPPORTED_FIELD: u32 = 2;
    pub const UNKNOWN_CONTAINER: u32 = 3;
    pub const ENVIRONMENT: u32 = 4;
    pub const IO: u32 = 5;
    pub const DECODE: u32 = 6;
    pub const INVALID_CONFIG: u32 = 7;
    pub const TRY_AGAIN: u32 = 11;
    pub const UNAVAILABLE: u32 = 50;
    /// The daemon refused because of what else is on the host: an address or a port is taken, say.
    pub const REFUSED: u32 = 100;
    pub const NOT_AS_ADDED: u32 = 101;
    pub const LEFTOVERS: u32 = 102;
}

impl Failure {
    pub(crate) fn invalid(field: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        Self::Invalid { field: field.into(), problem: problem.to_string() }
    }

    /// The code of the error document.
    pub fn code(&self) -> u32 {
        match self {
            Self::Version { .. } | Self::VerbOfLater { .. } => code::VERSION,
            Self::Unsupported { .. } => code::UNSUPPORTED_FIELD,
            Self::NoNamespace { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                code::UNKNOWN_CONTAINER
            }
            Self::Environment { .. } => code::ENVIRONMENT,
            Self::NoNamespace { .. }
            | Self::ReadInput { .. }
            | Self::Runtime { .. }
            | Self::RunDelegate { .. } => code::IO,
            Self::Decode { .. } | Self::DelegateAnswer { .. } => code::DECODE,
            Self::Invalid { .. } | Self::OutsideRanges { .. } | Self::NoDelegate { .. } => {
                code::INVALID_CONFIG
            }
            Self::Daemon(error) => daemon_code(error),
            Self::Unavailable { .. } => code::UNAVAILABLE,
            Self::Answer { .. } => code::REFUSED,
            Self::NotAsAdded { .. } => code::NOT_AS_ADDED,
            Self::Delegate { code, .. } => *code,
            Self::Leftovers { failures } => {
                let away = failures.iter().any(|failure| failure.code() == code::TRY_AGAIN);
                if away { code::TRY_AGAIN } else { code::LEFTOVERS }
            }
        }
    }

    /// What the operator can do about it.
    fn hint(&self) -> Option<String> {
        let fixed = match self {
            Self::Version { .. } => {
                let known: Vec<&str> = Version::texts().collect();
                return Some(format!("write one of {} as \"cniVersion\"", known.join(", ")));
            }
            Self::Unavailable { source } | Self::Daemon(source) => return daemon_hint(source),
            Self::Delegate { code: code::VERSION, .. } => {
                "write a \"cniVersion\" that the IPAM plugin knows too, or leave \"ipam\" to HNS"
            }
            Self::NoDelegate { .. } => {
                "install it beside hns-cni, or leave \"ipam\" without \"type\": HNS then gives the addresses"
            }
            Self::OutsideRanges { .. } => {
                "remove the network with `hnsctl network rm`, or write its ranges into the configuration"
            }
            _ => return None,
        };
        Some(fixed.to_owned())
    }

    /// The document for the standard output.
    pub fn document(&self, version: &str) -> Value {
        let mut details: Vec<String> = Vec::new();
        let mut cause = self.source();
        while let Some(error) = cause {
            details.push(error.to_string());
            cause = error.source();
        }
        match self {
            Self::Daemon(error) => details.extend(error.code().map(|code| {
                let code = ErrorCode(code);
                format!("HCN code {code} {}", code.name())
            })),
            Self::Delegate { details: said, .. } if !said.is_empty() => details.push(said.clone()),
            Self::Leftovers { failures } => details.extend(failures.iter().map(ToString::to_string)),
            _ => {}
        }
        details.extend(self.hint().map(|hint| format!("hint: {hint}")));
        let mut document = json!({"cniVersion": version, "code": self.code(), "msg": self.to_string()});
        if !details.is_empty() {
            document["details"] = json!(details.join("; "));
        }
        document
    }
}

/// Whether it pays to try the same again, or the configuration must change, or the host.
fn daemon_code(error: &ClientError) -> u32 {
    match error {
        ClientError::Unreachable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            code::IO
        }
        ClientError::Unreachable { .. }
        | ClientError::Interrupted { .. }
        | ClientError::Silent { .. }
        | ClientError::Refused { status: 503, .. } => code::TRY_AGAIN,
        ClientError::Refused { status: 400 | 501, .. } => code::INVALID_CONFIG,
        ClientError::Refused { code, .. } if *code == ErrorCode::NETWORK_NOT_FOUND.0 => code::INVALID_CONFIG,
        ClientError::Path { .. } => code::INVALID_CONFIG,
        ClientError::NotJson { .. } => code::DECODE,
        ClientError::Refused { .. } | ClientError::NotFound { .. } | ClientError::Ambiguous { .. } => {
            code::REFUSED
        }
    }
}

fn daemon_hint(error: &ClientError) -> Option<String> {
    match error {
        ClientError::Unreachable { source, .. } if source.kind() != io::ErrorKind::PermissionDenied => Some(
            "is hnsd running? `systemctl status hnsd`; another socket is set by \"socket\" or HNS_SOCKET"
                .to_owned(),
        ),
        other => other.hint(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: ErrorCode) -> Failure {
        let (message, hint) = ("no".to_owned(), None);
        Failure::Daemon(ClientError::Refused { status, code: code.0, message, hint })
    }

    fn unreachable(kind: io::ErrorKind) -> ClientError {
        ClientError::Unreachable { socket: "/run/hns/hns.sock".into(), source: kind.into() }
    }

    #[test]
    fn each_refusal_of_the_daemon_has_the_code_that_tells_the_runtime_what_to_do() {
        let cases = [
            (refused(400, ErrorCode::INVALID_NETWORK_TYPE), 7),
            (refused(404, ErrorCode::NETWORK_NOT_FOUND), 7),
            (refused(409, ErrorCode::PORT_ALREADY_EXISTS), 100),
            (refused(500, ErrorCode::FAIL), 100),
            (refused(503, ErrorCode::MANAGER_STOPPED), 11),
            (Failure::Daemon(unreachable(io::ErrorKind::NotFound)), 11),
            (Failure::Daemon(unreachable(io::ErrorKind::ConnectionRefused)), 11),
            (Failure::Daemon(unreachable(io::ErrorKind::PermissionDenied)), 5),
            (Failure::Unavailable { source: unreachable(io::ErrorKind::NotFound) }, 50),
        ];
        for (failure, code) in cases {
            assert_eq!(failure.code(), code, "{failure:?}");
        }
    }

    #[test]
    fn leftovers_are_tried_again_when_the_daemon_went_away() {
        let stuck = || refused(500, ErrorCode::FAIL);
        assert_eq!(Failure::Leftovers { failures: vec![stuck()] }.code(), 102);
        let away = Failure::Daemon(unreachable(io::ErrorKind::NotFound));
        assert_eq!(Failure::Leftovers { failures: vec![stuck(), away] }.code(), 11);
    }

    #[test]
    fn an_error_document_names_the_cause_the_code_and_the_way_out() {
        let taken = Failure::Daemon(ClientError::Refused {
            status: 409,
            code: ErrorCode::PORT_ALREADY_EXISTS.0,
            message: "host port 8080/tcp is taken by endpoint web".to_owned(),
            hint: Some("choose another host port".to_owned()),
        });
        insta::assert_snapshot!(format!("{:#}", taken.document("1.0.0")), @r#"
        {
          "cniVersion": "1.0.0",
          "code": 100,
          "msg": "host port 8080/tcp is taken by endpoint web",
          "details": "HCN code 0x803b0013 PORT_ALREADY_EXISTS; hint: choose another host port"
        }
        "#);
        let away = Failure::Daemon(unreachable(io::ErrorKind::NotFound));
        insta::assert_snapshot!(format!("{:#}", away.document("1.1.0")), @r#"
        {
          "cniVersion": "1.1.0",
          "code": 11,
          "msg": "cannot reach the daemon on /run/hns/hns.sock",
          "details": "entity not found; hint: is hnsd running? `systemctl status hnsd`; another socket is set by \"socket\" or HNS_SOCKET"
        }
        "#);
    }
}
