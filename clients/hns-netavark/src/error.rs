use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use hns_client::ClientError;
use hns_hcn::ErrorCode;
use hns_net::PortRangeError;
use serde_json::json;

use crate::options::ValueError;

/// Why a call fails. Each says what podman asked for and what stands in the way.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    #[error("there is no command {verb:?}")]
    Verb { verb: String },
    #[error("the path of the container's network namespace is missing")]
    NoNamespace,
    #[error("cannot start")]
    Runtime {
        #[source]
        source: io::Error,
    },
    #[error("cannot read the document of {verb}")]
    Input {
        verb: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the document of {verb} is not one of podman's")]
    Document {
        verb: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("network {network:?}: id {id:?} is not 64 hexadecimal digits")]
    NetworkId { network: String, id: String },
    #[error("network {network:?}: there is no option {option}; known are {known}")]
    UnknownOption { network: String, option: String, known: String },
    #[error("network {network:?}: option {option}={value}")]
    Option {
        network: String,
        option: String,
        value: String,
        #[source]
        source: ValueError,
    },
    #[error("network {network:?}: option {option} says what option {other} says already")]
    SaidTwice { network: String, option: String, other: String },
    #[error("network {network:?}: --internal and option type={kind}: such a network has a way out")]
    InternalWithWayOut { network: String, kind: &'static str },
    #[error(
        "network {network:?}: --ipam-driver {driver}: addresses come from HNS (none) or podman (host-local)"
    )]
    IpamDriver { network: String, driver: String },
    #[error("network {network:?}: --interface-name {interface}: HNS names its switches by itself")]
    InterfaceName { network: String, interface: String },
    #[error("network {network:?}: {what} cannot be chosen for the HNS network {existing:?}, which exists")]
    Bound { network: String, what: String, existing: String },
    #[error("network {network:?}: the daemon's answer has no {field}")]
    Answer { network: String, field: &'static str },
    #[error("container {container:?}: port {port}/{protocol}: the protocol is none of tcp, udp, sctp")]
    Protocol { container: String, port: u16, protocol: String },
    #[error("container {container:?}: port {port}: {address:?} is not an address of the host")]
    HostAddress { container: String, port: u16, address: String },
    #[error("container {container:?}: published ports from {start}, {count} of them")]
    Ports {
        container: String,
        start: u16,
        count: u16,
        #[source]
        source: PortRangeError,
    },
    #[error("network {network:?}: lease range {start} to {end} has its end before its start")]
    LeaseRange { network: String, start: IpAddr, end: IpAddr },
    /// The daemon's own words follow.
    #[error("{doing}")]
    Daemon {
        doing: Doing,
        #[source]
        source: ClientError,
    },
    #[error("cannot lock {}", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read podman's networks in {}", path.display())]
    Networks {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What the daemon was asked for when it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    CreateNetwork { network: String },
    FindNetwork { network: String, existing: String },
    Connect { container: String, network: String },
    Disconnect { container: String, network: String },
    MovePorts { container: String },
    LookForLeftovers,
    RemoveLeftover { object: String },
}

impl std::fmt::Display for Doing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CreateNetwork { network } => write!(f, "network {network:?}: HNS cannot make it"),
            Self::FindNetwork { network, existing } => {
                write!(f, "network {network:?}: HNS does not have {existing:?}")
            }
            Self::Connect { container, network } => {
                write!(f, "container {container:?} cannot join network {network:?}")
            }
            Self::Disconnect { container, network } => {
                write!(f, "container {container:?} cannot leave network {network:?}")
            }
            Self::MovePorts { container } => {
                write!(f, "container {container:?}: its published ports cannot move to another network")
            }
            Self::LookForLeftovers => write!(f, "cannot look for what podman has removed"),
            Self::RemoveLeftover { object } => write!(f, "cannot remove {object}, which podman has no more"),
        }
    }
}

impl PluginError {
    /// HCN's code, where the daemon gave one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Daemon { source, .. } => source.code().map(ErrorCode),
            _ => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Daemon { source, .. } if source.is_not_found())
    }

    /// What the reader could do about it.
    fn hint(&self) -> Option<String> {
        let fixed = match self {
            Self::Verb { .. } | Self::NoNamespace => "`hns-netavark --help` shows the commands",
            Self::IpamDriver { .. } => "leave --ipam-driver out",
            Self::InterfaceName { .. } => "leave --interface-name out",
            Self::Bound { .. } => "leave it out, or leave the options network and hnsid out",
            Self::InternalWithWayOut { .. } => "leave one of them out",
            Self::Daemon { source, doing } => return daemon_hint(source, doing),
            _ => return None,
        };
        Some(fixed.to_owned())
    }

    /// One sentence with its causes, and a hint where there is one.
    pub fn describe(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(source) = cause {
            let said = source.to_string();
            // Some errors are their source; a sentence is said once.
            if !text.ends_with(&said) {
                text = format!("{text}: {said}");
            }
            cause = source.source();
        }
        match self.hint() {
            Some(hint) => format!("{text}; {hint}"),
            None => text,
        }
    }

    /// The form netavark reads.
    pub fn document(&self) -> String {
        json!({ "error": self.describe() }).to_string()
    }
}

fn daemon_hint(source: &ClientError, doing: &Doing) -> Option<String> {
    let code = source.code().map(ErrorCode);
    let no_right = matches!(source, ClientError::Unreachable { source, .. }
        if source.kind() == io::ErrorKind::PermissionDenied)
        || code == Some(ErrorCode::ACCESS_DENIED);
    match (doing, code) {
        _ if no_right => Some("networks of HNS belong to the host: run podman as root".to_owned()),
        (Doing::CreateNetwork { .. }, Some(ErrorCode::NETWORK_ALREADY_EXISTS)) => {
            Some("to use that one, pass `-o network=NAME`".to_owned())
        }
        _ => source.hint(),
    }
}
