use std::io;
use std::net::Ipv4Addr;

use hns_net::Mac;

/// Why a LAN gave no address, or takes one away.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    #[error("no DHCP server answered within {seconds} s; everybody was asked {questions} times")]
    Silent { questions: u32, seconds: u64 },
    #[error("DHCP server {server} offered {address} and did not confirm it")]
    Unconfirmed { server: Ipv4Addr, address: Ipv4Addr },
    #[error("DHCP server {server} did not answer for the lease of {address}")]
    Unanswered { server: Ipv4Addr, address: Ipv4Addr },
    #[error("DHCP server {server} refuses{}", said(message.as_ref()))]
    Refused { server: Ipv4Addr, message: Option<String> },
    #[error("DHCP server {server} gave {address}, which {} has already", holder.colons())]
    Conflict { server: Ipv4Addr, address: Ipv4Addr, holder: Mac },
    #[error("DHCP server {server} gave {address}, which cannot be used: {why}")]
    Unusable { server: Ipv4Addr, address: Ipv4Addr, why: &'static str },
    #[error("cannot {operation} the LAN")]
    Wire { operation: &'static str, source: io::Error },
}

fn said(message: Option<&String>) -> String {
    message.map_or_else(String::new, |message| format!(": \"{message}\""))
}

impl ResolverError {
    /// Whether a server took the address away, rather than nobody answering.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Unusable { .. })
    }
}
