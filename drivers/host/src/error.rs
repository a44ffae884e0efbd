use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use hns_net::IfName;

/// The kernel's refusal of a netlink request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelError {
    pub errno: i32,
    /// The kernel's own words, where it has any (its extended acknowledgment).
    pub explanation: Option<String>,
}

impl KernelError {
    #[must_use]
    pub const fn new(errno: i32) -> Self {
        Self { errno, explanation: None }
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", io::Error::from_raw_os_error(self.errno))?;
        match &self.explanation {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for KernelError {}

/// An operation on the host that failed, with its object.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("cannot open a {kind} socket")]
    Socket { kind: &'static str, source: io::Error },
    #[error("cannot {operation} {object}: the conversation with the kernel broke off")]
    Conversation { operation: &'static str, object: String, source: io::Error },
    #[error("cannot {operation} {object}")]
    Kernel { operation: &'static str, object: String, source: KernelError },
    #[error("there is no link {name}")]
    NoSuchLink { name: IfName },
    #[error("link {name} exists already and is not the one asked for")]
    LinkTaken { name: IfName },
    #[error(
        "cannot listen for VXLAN on UDP port {udp_port}: another device or program of this host does; give the network another VxlanPort, on each of its hosts"
    )]
    TunnelPortTaken { udp_port: u16 },
    #[error("{namespace} already has an interface {interface}")]
    InterfaceTaken { interface: IfName, namespace: String },
    #[error("there is no network namespace {}", path.display())]
    NoSuchNamespace { path: PathBuf },
    #[error("{} is not a network namespace", path.display())]
    NotANamespace { path: PathBuf },
    #[error("{} is the host's own network namespace", path.display())]
    OwnNamespace { path: PathBuf },
    #[error("cannot {operation} the network namespace {}", path.display())]
    Namespace { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot {operation} {}", path.display())]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot start nft, which loads our table; install the package nftables")]
    NftMissing(#[source] io::Error),
    #[error("nft refused our table: {said}")]
    NftRefused { said: String },
    #[error(
        "{wanted} ports of the host are asked for beside {held} that are held; {most} are the most, a quarter of the open files that are allowed"
    )]
    TooManyPorts { held: usize, wanted: usize, most: usize },
    #[error("our table is not there, or is not whole")]
    NoTable,
    #[error("this host has no IPv6 (ipv6.disable=1)")]
    NoIpv6,
    #[error("there is no adapter {name}")]
    NoSuchAdapter { name: IfName },
    #[error("adapter {name} cannot be shared with containers: it {why}")]
    AdapterUnfit { name: IfName, why: String },
    #[error("{address} is no address of this host's own")]
    NotOurAddress { address: IpAddr },
    #[error("the host knows no way to {to}")]
    NoWay { to: IpAddr, source: io::Error },
    #[error("the filter of {object} is for the datapath to set, not for the host")]
    NotTheHosts { object: String },
    #[error("cannot start the thread {name}")]
    Thread { name: &'static str, source: io::Error },
    #[error("the fake host fails on call {call}, as it was told to")]
    Injected { call: usize },
}

impl HostError {
    /// Whether it may go well at the next try: what was read was being changed all the time.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.is_errno(libc::EINTR)
    }

    /// Whether the kernel answered with this error number.
    #[must_use]
    pub fn is_errno(&self, errno: i32) -> bool {
        matches!(self, Self::Kernel { source, .. } if source.errno == errno)
    }
}
