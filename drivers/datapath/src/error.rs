use std::fmt;
use std::io;
use std::path::PathBuf;

use hns_abi::WATCHES_MAX;
use hns_net::IfName;
use hns_vfp::tables::TablesError;

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

/// Why this host can filter no port at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, are not ours; or the host locks eBPF down.
    Permission,
    /// The kernel has no bpf(2).
    Kernel,
    /// It has no `clsact`, which hooks programs to a link.
    Hook,
    /// It has no classifier that runs a program.
    Classifier,
    /// It has no HTB, which closes a port that has lost its filter.
    Gate,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Permission => {
                "it takes CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, and a kernel that is not locked down"
            }
            Self::Kernel => "the kernel was built without CONFIG_BPF_SYSCALL",
            Self::Hook => "the kernel has no clsact (CONFIG_NET_SCH_INGRESS, module sch_ingress)",
            Self::Classifier => {
                "the kernel has no classifier for programs (CONFIG_NET_CLS_BPF, module cls_bpf)"
            }
            Self::Gate => "the kernel has no HTB (CONFIG_NET_SCH_HTB, module sch_htb)",
        })
    }
}

/// An operation on the datapath that failed, with its object.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    #[error("this host lets us use no eBPF: {missing}; it takes Linux 6.1 or newer")]
    Unavailable { missing: Missing, source: io::Error },
    #[error("cannot load the eBPF object")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// `log`: the end of what the verifier said.
    #[error("the kernel's verifier refused the program {program}: {log}")]
    Verifier { program: &'static str, log: String },
    #[error("cannot {operation} {}", path.display())]
    Pins { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot open a rtnetlink socket")]
    Socket(#[source] io::Error),
    #[error("cannot {operation} {object}: the conversation with the kernel broke off")]
    Conversation { operation: &'static str, object: String, source: io::Error },
    #[error("cannot {operation} {object}")]
    Kernel { operation: &'static str, object: String, source: KernelError },
    #[error("there is no link {name}")]
    NoSuchLink { name: IfName },
    #[error("cannot {operation} the eBPF map {map}")]
    Map { operation: &'static str, map: &'static str, source: io::Error },
    #[error(
        "an external switch takes Linux 6.6 or newer: this kernel lets no program beside the host's own share {link} (tcx)"
    )]
    NoSharing { link: IfName, source: io::Error },
    #[error("cannot {operation} the programs at {link}")]
    Hook { operation: &'static str, link: IfName, source: io::Error },
    #[error(transparent)]
    Tables(#[from] TablesError),
    #[error("cannot run the program {program} on a packet of a test")]
    TestRun { program: &'static str, source: io::Error },
    #[error(
        "there is no place to watch {wanted} more pairs of addresses: {taken} of {WATCHES_MAX} are taken"
    )]
    TooManyWatches { wanted: usize, taken: usize },
    #[error("cannot start the thread {name}")]
    Thread { name: &'static str, source: io::Error },
    #[error("the fake datapath fails on call {call}, as it was told to")]
    Injected { call: usize },
}

impl DatapathError {
    /// Whether this host will never let us.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the kernel answered a netlink request with this error number.
    #[must_use]
    pub fn is_errno(&self, errno: i32) -> bool {
        matches!(self, Self::Kernel { source, .. } if source.errno == errno)
    }
}
