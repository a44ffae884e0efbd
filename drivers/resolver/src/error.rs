use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_model::{LanLease, LeaseKind};
use hns_net::Mac;

/// Who gives a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Giver {
    pub kind: LeaseKind,
    pub address: IpAddr,
}

impl Giver {
    #[must_use]
    pub const fn of(lease: &LanLease) -> Self {
        Self { kind: lease.kind(), address: lease.server.address }
    }

    pub(crate) const fn dhcp(server: Ipv4Addr) -> Self {
        Self { kind: LeaseKind::Dhcp, address: IpAddr::V4(server) }
    }

    pub(crate) const fn dhcp6(server: Ipv6Addr) -> Self {
        Self { kind: LeaseKind::Dhcp6, address: IpAddr::V6(server) }
    }
}

impl fmt::Display for Giver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            LeaseKind::Dhcp => "DHCP server",
            LeaseKind::Dhcp6 => "DHCPv6 server",
            LeaseKind::Advertised => "router",
        };
        write!(f, "{name} {}", self.address)
    }
}

/// Why a LAN gave no address, or takes one away.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    #[error("no DHCP server answered within {seconds} s; everybody was asked {questions} times")]
    Silent { questions: u32, seconds: u64 },
    #[error(
        "no DHCPv6 server answered within {seconds} s; all of them (ff02::1:2) were asked {questions} times"
    )]
    Silent6 { questions: u32, seconds: u64 },
    #[error("{giver} offered {address} and did not confirm it")]
    Unconfirmed { giver: Giver, address: IpAddr },
    #[error("{giver} did not answer for the lease of {subject}")]
    Unanswered { giver: Giver, subject: String },
    #[error("{giver} refuses{}", said(message.as_ref()))]
    Refused { giver: Giver, message: Option<String> },
    #[error("{giver} gave {address}, which {} has already", holder.colons())]
    Conflict { giver: Giver, address: IpAddr, holder: Mac },
    #[error("{giver} gave {address}, which cannot be used: {why}")]
    Unusable { giver: Giver, address: IpAddr, why: &'static str },
    #[error("no IPv6 router answered within {seconds} s; all were asked {questions} times")]
    NoRouter { questions: u32, seconds: u64 },
    #[error("router {router} advertises no prefix to make an address of, and no DHCPv6 server")]
    NoPrefix { router: Ipv6Addr },
    #[error("cannot {operation} the LAN")]
    Wire { operation: &'static str, source: io::Error },
}

fn said(message: Option<&String>) -> String {
    message.map_or_else(String::new, |message| format!(": \"{message}\""))
}

impl ResolverError {
    /// Whether the giver took the address away, rather than nobody answering.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Unusable { .. } | Self::NoPrefix { .. })
    }
}
