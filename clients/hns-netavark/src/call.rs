use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::error::PluginError;
use crate::podman::Container;
use crate::{create, leftovers, options, setup, teardown};

/// Of netavark's plugin API.
const API_VERSION: &str = "1.0.0";

const DEFAULT_SOCKET: &str = "/run/hns/hns.sock";

/// Where podman keeps its networks when it runs as root (`network_config_dir` of containers.conf).
const DEFAULT_NETWORKS: &str = "/etc/containers/networks";

/// What the program is asked to do.
#[derive(Debug, PartialEq)]
pub enum Call {
    Info,
    Create,
    Setup { netns: PathBuf },
    Teardown { netns: PathBuf },
    Prune,
    Help,
    Version,
}

impl Call {
    pub fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, PluginError> {
        let verb = arguments.next().unwrap_or_default();
        let mut netns = || arguments.next().map(PathBuf::from).ok_or(PluginError::NoNamespace);
        let call = match verb.to_str() {
            Some("info") => Self::Info,
            Some("create") => Self::Create,
            Some("setup") => Self::Setup { netns: netns()? },
            Some("teardown") => Self::Teardown { netns: netns()? },
            Some("prune") => Self::Prune,
            Some("--help" | "-h" | "help" | "") => Self::Help,
            Some("--version" | "-V") => Self::Version,
            _ => return Err(PluginError::Verb { verb: verb.to_string_lossy().into_owned() }),
        };
        match arguments.next() {
            None => Ok(call),
            Some(extra) => Err(PluginError::Verb { verb: extra.to_string_lossy().into_owned() }),
        }
    }

    /// Does it; gives what goes to standard output.
    pub fn perform(self) -> Result<String, PluginError> {
        match self {
            Self::Info => Ok(info().to_string()),
            Self::Help => Ok(help()),
            Self::Version => Ok(format!("hns-netavark {}\n", env!("CARGO_PKG_VERSION"))),
            Self::Create => {
                let document = input("create")?;
                run(create::create(&daemon(), &networks_folder(), document)).map(|answer| answer.to_string())
            }
            Self::Setup { netns } => {
                let container: Container = input("setup")?;
                run(setup::setup(&daemon(), &netns, &container)).map(|answer| answer.to_string())
            }
            Self::Teardown { netns: _ } => {
                let container: Container = input("teardown")?;
                run(teardown::teardown(&daemon(), &container)).map(|()| String::new())
            }
            Self::Prune => {
                let _alone = leftovers::Lock::take(leftovers::LOCK.as_ref())?;
                run(leftovers::remove(&daemon(), &networks_folder()))
                    .map(|removed| removed.iter().map(|line| format!("{line}\n")).collect())
            }
        }
    }
}

fn daemon() -> Daemon {
    Daemon::at(std::env::var_os("HNS_SOCKET").map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from))
}

fn networks_folder() -> PathBuf {
    std::env::var_os("HNS_PODMAN_NETWORKS").map_or_else(|| DEFAULT_NETWORKS.into(), PathBuf::from)
}

/// The document on standard input.
fn input<T: DeserializeOwned>(verb: &'static str) -> Result<T, PluginError> {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).map_err(|source| PluginError::Input { verb, source })?;
    serde_json::from_slice(&text).map_err(|source| PluginError::Document { verb, source })
}

fn run<T>(work: impl Future<Output = Result<T, PluginError>>) -> Result<T, PluginError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| PluginError::Runtime { source })?.block_on(work)
}

fn info() -> Value {
    json!({ "version": env!("CARGO_PKG_VERSION"), "api_version": API_VERSION })
}

fn help() -> String {
    format!(
        "hns-netavark: podman networks made by HNS (netavark plugin API {API_VERSION})

Podman runs this program by its name; it lies in one of podman's netavark_plugin_dirs, such as /usr/libexec/netavark:

  podman network create -d hns-netavark -o type=nat web
  podman run --network web:ip=172.16.0.9 -p 8080:80 IMAGE

Options of a network (podman network create -o):
{network}
Options of a container on a network (podman run --network NET:KEY=VALUE, beside podman's own ip, mac, alias and
interface_name):
{endpoint}
Commands:
  create, setup NETNS, teardown NETNS, info   podman's: a JSON document on standard input, the answer on standard output
  prune       removes from HNS what podman no longer has: networks after `podman network rm`, endpoints of containers
              that are gone

Environment:
  HNS_SOCKET             socket of the daemon [{DEFAULT_SOCKET}]
  HNS_PODMAN_NETWORKS    where podman keeps its networks [{DEFAULT_NETWORKS}]
",
        network = options::network_help(),
        endpoint = options::endpoint_help(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Call, PluginError> {
        Call::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn verbs_take_what_they_need_and_nothing_more() {
        assert_eq!(parse(&["info"]).ok(), Some(Call::Info));
        assert_eq!(
            parse(&["setup", "/run/netns/x"]).ok(),
            Some(Call::Setup { netns: "/run/netns/x".into() })
        );
        assert_eq!(parse(&[]).ok(), Some(Call::Help));
        assert!(matches!(parse(&["setup"]), Err(PluginError::NoNamespace)));
        assert!(matches!(parse(&["create", "web"]), Err(PluginError::Verb { .. })));
        assert!(matches!(parse(&["destroy"]), Err(PluginError::Verb { .. })));
    }

    #[test]
    fn the_info_says_the_api_version_that_netavark_knows() {
        assert_eq!(info()["api_version"], "1.0.0");
        assert_eq!(info()["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn the_help_names_every_option() {
        for name in options::names() {
            assert!(help().contains(name), "{name}");
        }
    }
}
