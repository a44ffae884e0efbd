use std::num::NonZeroU16;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use hns_host::BridgeNetfilter;
use hns_net::Cidr;
use hns_reconciler::DefaultNetwork;
use serde::Deserialize;

use crate::recover::RecoverArgs;

/// The Host Network Service: virtual switches, networks, endpoints and policies for containers.
#[derive(Debug, Parser)]
#[command(
    name = "hnsd",
    version,
    after_help = "Every flag is also a key of the configuration file (with _ for -) and an environment variable (HNS_STATE_DIR for --state-dir).\nA flag counts above the environment, the environment above the file.\n\nExamples:\n  hnsd\n  hnsd --config /etc/hns/hnsd.toml --log-format json\n  hnsd --state-dir /tmp/hns/state --run-dir /tmp/hns/run --socket /tmp/hns/hns.sock"
)]
pub(crate) struct Arguments {
    /// Configuration file (TOML); /etc/hns/hnsd.toml is read when it exists
    #[arg(long, global = true, env = "HNS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the records are lost: remove what is left of them on this host, and begin anew (for one start; a flag only)
    #[arg(long)]
    forget: bool,
    #[command(flatten)]
    values: Values,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What is done in place of serving.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    Recover(RecoverArgs),
}

impl Arguments {
    pub fn command(&self) -> Option<Command> {
        self.command.clone()
    }
}

/// What flags, environment and file can say; each may be silent.
#[derive(Debug, Default, Clone, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Values {
    /// Where the objects are kept [default: /var/lib/hns]
    #[arg(long, global = true, env = "HNS_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where namespaces and the socket are held while the host is up [default: /run/hns]
    #[arg(long, global = true, env = "HNS_RUN_DIR", value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// The socket to listen on [default: hns.sock in the run directory]
    #[arg(long, env = "HNS_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How the log on standard error looks [default: text]
    #[arg(long, env = "HNS_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// What is logged, such as info or hns_reconciler=debug [default: info]
    #[arg(long, env = "HNS_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// Members of this group may change networks [default: hns]
    #[arg(long, env = "HNS_GROUP", value_name = "GROUP")]
    group: Option<String>,
    /// Members of this group may look [default: hns-read]
    #[arg(long, env = "HNS_READ_GROUP", value_name = "GROUP")]
    read_group: Option<String>,
    /// The UDP port of what is encrypted between the hosts of a network, the same on all of them [default: 14789]
    #[arg(long, env = "HNS_WIREGUARD_PORT", value_name = "PORT")]
    wireguard_port: Option<NonZeroU16>,
    /// Whether the first start makes the network nat [default: true]
    #[arg(long, env = "HNS_DEFAULT_NETWORK", value_name = "BOOL")]
    default_network: Option<bool>,
    /// Prefix of the network nat; may be given for both families [default: 172.16.0.0/16 or the next free]
    #[arg(long, env = "HNS_DEFAULT_PREFIX", value_name = "CIDR", value_delimiter = ',')]
    default_prefix: Option<Vec<String>>,
    /// What to do about net.bridge.bridge-nf-call-*: off unless another engine needs it, keep, or off [default: auto]
    #[arg(long, env = "HNS_BRIDGE_NETFILTER", value_name = "CHOICE")]
    bridge_netfilter: Option<BridgeNetfilterChoice>,
    /// Where the policies of ports outlive a restart: a folder of a bpffs, mounted when it is none [default: /sys/fs/bpf/hns]
    #[arg(long, env = "HNS_BPF_DIR", value_name = "DIR")]
    bpf_dir: Option<PathBuf>,
    /// Whether Docker finds its network and IPAM drivers here: where that is possible, it must be, or not [default: auto]
    #[arg(long, env = "HNS_DOCKER", value_name = "CHOICE")]
    docker: Option<DockerChoice>,
    /// Where Docker looks for plugins [default: /run/docker/plugins]
    #[arg(long, env = "HNS_DOCKER_PLUGINS", value_name = "DIR")]
    docker_plugins: Option<PathBuf>,
    /// Docker's own socket, by which networks appear on both sides [default: /run/docker.sock]
    #[arg(long, env = "HNS_DOCKER_SOCKET", value_name = "PATH")]
    docker_socket: Option<PathBuf>,
}

/// Whether Docker is served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DockerChoice {
    /// Yes, and without its sockets the daemon goes on.
    #[default]
    Auto,
    On,
    Off,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BridgeNetfilterChoice {
    #[default]
    Auto,
    Keep,
    Off,
}

/// The configuration, complete.
#[derive(Debug)]
pub(crate) struct Config {
    pub state_dir: PathBuf,
    pub run_dir: PathBuf,
    pub socket: PathBuf,
    pub log_format: LogFormat,
    pub log: String,
    pub group: String,
    pub read_group: String,
    pub wireguard_port: u16,
    default_network: bool,
    default_prefixes: Vec<Cidr>,
    bridge_netfilter: BridgeNetfilterChoice,
    pub bpf_dir: PathBuf,
    pub docker: DockerChoice,
    pub docker_plugins: PathBuf,
    pub docker_socket: PathBuf,
    pub forget: bool,
}

const DEFAULT_FILE: &str = "/etc/hns/hnsd.toml";

impl Config {
    pub fn load(arguments: Arguments) -> anyhow::Result<Self> {
        let file = match &arguments.config {
            Some(path) => read(path)?,
            None if std::path::Path::new(DEFAULT_FILE).exists() => read(DEFAULT_FILE.as_ref())?,
            None => Values::default(),
        };
        Ok(Self { forget: arguments.forget, ..Self::complete(arguments.values, file)? })
    }

    fn complete(said: Values, file: Values) -> anyhow::Result<Self> {
        let run_dir = said.run_dir.or(file.run_dir).unwrap_or_else(|| "/run/hns".into());
        let prefixes = said.default_prefix.or(file.default_prefix).unwrap_or_default();
        let parse = |text: &String| text.parse().with_context(|| format!("default_prefix \"{text}\""));
        Ok(Self {
            state_dir: said.state_dir.or(file.state_dir).unwrap_or_else(|| "/var/lib/hns".into()),
            socket: said.socket.or(file.socket).unwrap_or_else(|| run_dir.join("hns.sock")),
            run_dir,
            log_format: said.log_format.or(file.log_format).unwrap_or_default(),
            log: said.log.or(file.log).unwrap_or_else(|| "info".to_owned()),
            group: said.group.or(file.group).unwrap_or_else(|| "hns".to_owned()),
            read_group: said.read_group.or(file.read_group).unwrap_or_else(|| "hns-read".to_owned()),
            wireguard_port: said.wireguard_port.or(file.wireguard_port).map_or(14_789, NonZeroU16::get),
            default_network: said.default_network.or(file.default_network).unwrap_or(true),
            default_prefixes: prefixes.iter().map(parse).collect::<anyhow::Result<_>>()?,
            bridge_netfilter: said.bridge_netfilter.or(file.bridge_netfilter).unwrap_or_default(),
            bpf_dir: said.bpf_dir.or(file.bpf_dir).unwrap_or_else(|| "/sys/fs/bpf/hns".into()),
            docker: said.docker.or(file.docker).unwrap_or_default(),
            docker_plugins: said
                .docker_plugins
                .or(file.docker_plugins)
                .unwrap_or_else(|| hns_docker::PLUGINS.into()),
            docker_socket: said
                .docker_socket
                .or(file.docker_socket)
                .unwrap_or_else(|| hns_docker::DOCKER_SOCKET.into()),
            forget: false,
        })
    }

    pub fn default_network(&self) -> DefaultNetwork {
        if self.default_network {
            DefaultNetwork::Made(self.default_prefixes.clone())
        } else {
            DefaultNetwork::Suppressed
        }
    }

    pub fn bridge_netfilter(&self) -> BridgeNetfilter {
        match self.bridge_netfilter {
            BridgeNetfilterChoice::Auto => BridgeNetfilter::Auto,
            BridgeNetfilterChoice::Keep => BridgeNetfilter::Keep,
            BridgeNetfilterChoice::Off => BridgeNetfilter::Off,
        }
    }
}

fn read(path: &std::path::Path) -> anyhow::Result<Values> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("the configuration file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_counts_above_the_file() {
        let said = Values { group: Some("ours".to_owned()), ..Values::default() };
        let file: Values = toml::from_str("group = \"theirs\"\nstate_dir = \"/s\"").unwrap();
        let config = Config::complete(said, file).unwrap();
        assert_eq!((config.group.as_str(), config.state_dir), ("ours", PathBuf::from("/s")));
    }

    #[test]
    fn the_socket_lies_in_the_run_directory() {
        let said = Values { run_dir: Some("/r".into()), ..Values::default() };
        let config = Config::complete(said, Values::default()).unwrap();
        assert_eq!(config.socket, PathBuf::from("/r/hns.sock"));
    }

    #[test]
    fn an_unknown_key_of_the_file_is_refused_by_name() {
        let error = toml::from_str::<Values>("sockt = \"/x\"").unwrap_err();
        assert!(error.to_string().contains("sockt"), "{error}");
    }

    #[test]
    fn a_wrong_prefix_is_named() {
        let file = Values { default_prefix: Some(vec!["172.16/16".to_owned()]), ..Values::default() };
        let error = Config::complete(Values::default(), file).unwrap_err();
        assert!(format!("{error:#}").contains("172.16/16"), "{error:#}");
    }
}
