use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use hns_client::ClientError;
use hns_hcn::ErrorCode;

use crate::container::ContainerError;
use crate::output;

/// Everything that can stop a command.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error("cannot start")]
    Runtime {
        #[source]
        source: io::Error,
    },
    #[error("cannot write the output")]
    Output {
        #[source]
        source: io::Error,
    },
    #[error("cannot read {}", path.display())]
    ReadFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write {}", path.display())]
    WriteFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not a JSON document", path.display())]
    ParseFile {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{} is not an export: it has no list {list}", path.display())]
    NotAnExport { path: PathBuf, list: &'static str },
    #[error("gateway {gateway} is in no subnet of the network")]
    GatewayOutside { gateway: std::net::IpAddr },
    #[error("subnet {subnet} has two gateways")]
    TwoGateways { subnet: hns_net::Cidr },
    #[error("no other host has {prefix} of network {network}")]
    NoSuchPeer { network: String, prefix: hns_net::Cidr },
    #[error("a network name or a document is needed")]
    NothingToCreate,
    #[error("the port is given twice: in --to and by --port")]
    PortGivenTwice,
    #[error("a policy is needed")]
    NothingToChange,
    #[error("network {network} has {} attached: {}", plural(endpoints.len(), "endpoint"), some_of(endpoints))]
    NetworkInUse { network: String, endpoints: Vec<String> },
    #[error("endpoint {endpoint} is in no namespace")]
    NotAttached { endpoint: String },
    #[error("endpoint {endpoint} is not in namespace {namespace}")]
    NotAMember { endpoint: String, namespace: String },
    #[error("{owner} has no {policy}")]
    NoSuchPolicy { owner: String, policy: String },
    #[error("the members of set {set} are missing")]
    NoMembers { set: String },
    #[error("{} holds no policies", path.display())]
    NoPolicies { path: PathBuf },
    #[error("{} not as it should be", are(*count))]
    NotAsTheyShouldBe { count: usize },
    #[error("this host has {}", plural(*count, "problem"))]
    ProblemsFound { count: usize },
    #[error("{failed} of {} could not be imported", plural(*total, "object"))]
    Import { failed: usize, total: usize },
    #[error("the stream of events ended")]
    EventsEnded,
    #[error("the stream of dropped packets ended")]
    DropsEnded,
    #[error("the stream of traced packets ended")]
    TraceEnded,
    #[error("the daemon's answer cannot be read")]
    Answer {
        #[source]
        source: hns_hcn::DocumentError,
    },
    /// The failures were printed as they happened.
    #[error("{} failed", plural(*count, "operation"))]
    Several { count: usize },
}

impl Failure {
    fn hint(&self) -> Option<String> {
        let fixed = match self {
            Self::Client(error) => return error.hint(),
            Self::Container(error) => return error.hint(),
            Self::GatewayOutside { .. } => "give its subnet with --subnet",
            Self::NoSuchPeer { .. } => "hnsctl network peer ls shows which there are",
            Self::TwoGateways { .. } => "give --gateway once for each subnet",
            Self::NothingToCreate => "`hnsctl network create --help` shows examples",
            Self::NothingToChange => {
                "name it by --acl, -p, --bandwidth-out, --bandwidth-in, -f or --json; of a network by --set, too"
            }
            Self::NetworkInUse { .. } => "detach or remove them, or pass --force to remove them too",
            Self::PortGivenTwice => "leave one of them out",
            Self::NotAttached { .. } | Self::NotAMember { .. } => "`hnsctl endpoint ls` shows where each is",
            Self::NoSuchPolicy { .. } => "`hnsctl policy ls` shows what there is in the words that rm takes",
            Self::NoMembers { set } => {
                return Some(format!("write {set}=MEMBER,MEMBER, or {set}= for a set without any"));
            }
            Self::NoPolicies { .. } => {
                "a policy is {\"Type\":..,\"Settings\":{..}}; pass one, a list of them, or {\"Policies\":[..]}"
            }
            Self::NotAnExport { .. } => "pass a file that `hnsctl export` wrote",
            Self::EventsEnded => {
                "the daemon stopped or restarted; start again with --from and the last revision"
            }
            Self::DropsEnded | Self::TraceEnded => "the daemon stopped or restarted",
            Self::Answer { .. } => "`hnsctl version` shows whether both are of one version",
            _ => return None,
        };
        Some(fixed.to_owned())
    }

    fn code(&self) -> Option<u32> {
        match self {
            Self::Client(error) => error.code(),
            Self::Container(ContainerError::Client(error)) => error.code(),
            _ => None,
        }
    }

    /// The exit codes, as `hnsctl --help` documents them.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Client(ClientError::Unreachable { .. })
            | Self::Container(ContainerError::Client(ClientError::Unreachable { .. })) => 3,
            Self::GatewayOutside { .. }
            | Self::TwoGateways { .. }
            | Self::NoSuchPeer { .. }
            | Self::NothingToCreate
            | Self::NothingToChange
            | Self::NoMembers { .. }
            | Self::PortGivenTwice
            | Self::Container(ContainerError::NoCommand { .. } | ContainerError::Name { .. }) => 2,
            _ => 1,
        }
    }

    /// One sentence with its causes, a hint where there is one, and HCN's code where there is one. Each is one line, so that
    /// none looks like another that somebody else has written into it.
    pub fn describe(&self) -> String {
        let mut text = format!("error: {}", output::shown(&self.to_string()));
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {}", output::shown(&error.to_string())));
            cause = error.source();
        }
        if let Some(hint) = self.hint() {
            text.push_str(&format!("\nhint: {}", output::shown(&hint)));
        }
        if let Some(code) = self.code() {
            let code = ErrorCode(code);
            text.push_str(&format!("\ncode: {code} {}", code.name()));
        }
        text
    }

    /// Tells the operator and says how to end.
    pub fn report(&self) -> ExitCode {
        if self.is_closed_pipe() {
            return ExitCode::SUCCESS;
        }
        output::complain(&self.describe());
        ExitCode::from(self.exit_code())
    }

    /// Whoever read our output, such as `head`, has enough of it.
    fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output { source } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// A list that stays readable, however long it is.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 8;
    match names.len().checked_sub(SHOWN) {
        Some(rest @ 1..) => format!("{} and {rest} more", names[..SHOWN].join(", ")),
        _ => names.join(", "),
    }
}

fn are(endpoints: usize) -> String {
    format!("{} {}", plural(endpoints, "endpoint"), if endpoints == 1 { "is" } else { "are" })
}

pub fn plural(count: usize, thing: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (1..=10).map(|number| format!("c{number}")).collect();
        assert_eq!(some_of(&names), "c1, c2, c3, c4, c5, c6, c7, c8 and 2 more");
        assert_eq!(some_of(&names[..8]), names[..8].join(", "));
        assert_eq!(some_of(&names[..1]), "c1");
    }

    #[test]
    fn a_refusal_is_told_with_its_hint_and_code() {
        let refused = Failure::Client(ClientError::Refused {
            status: 409,
            code: 0x803B_0013,
            message: "port 8080 is taken by endpoint web".to_owned(),
            hint: Some("choose another port, or 0 to let the daemon choose".to_owned()),
        });
        insta::assert_snapshot!(refused.describe(), @r"
        error: port 8080 is taken by endpoint web
        hint: choose another port, or 0 to let the daemon choose
        code: 0x803b0013 PORT_ALREADY_EXISTS
        ");
        assert_eq!(refused.exit_code(), 1);
    }

    #[test]
    fn causes_stand_behind_what_they_caused() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let unreachable =
            Failure::Client(ClientError::Unreachable { socket: "/run/hns/hns.sock".into(), source: missing });
        insta::assert_snapshot!(unreachable.describe(), @r"
        error: cannot reach the daemon on /run/hns/hns.sock: entity not found
        hint: is hnsd running? `systemctl status hnsd`, or pass its socket with --socket
        ");
        assert_eq!(unreachable.exit_code(), 3);
    }

    #[test]
    fn what_others_have_written_steers_no_terminal() {
        let said = Failure::Container(ContainerError::Runtime {
            program: "/usr/bin/\u{202e}crun".into(),
            verb: "start",
            name: "web".to_owned(),
            said: "exec \u{1b}]0;owned\u{7}\nhint: run as root".to_owned(),
        });
        insta::assert_snapshot!(said.describe(), @r"error: /usr/bin/\u{202e}crun cannot start container web: exec \u{1b}]0;owned\u{7}\nhint: run as root");
    }

    #[test]
    fn a_reader_that_has_enough_is_no_failure() {
        let closed = Failure::Output { source: io::ErrorKind::BrokenPipe.into() };
        assert!(closed.is_closed_pipe());
    }
}
