use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_net::Mac;

/// Why a LAN gave no address, or takes one away.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    #[error("no DHCP server answered within {seconds} s; everybody was asked {questions} times")]
    Silent { questions: u32, seconds: u64 },
    #[error("DHCP server {server} offered {address} and did not confirm it")]
    Unconfirmed { server: Ipv4Addr, address: Ipv4Addr },
    #[error("{} {server} did not answer for the lease of {address}", giver(server))]
    Unanswered { server: IpAddr, address: IpAddr },
    #[error("DHCP server {server} refuses{}", said(message.as_ref()))]
    Refused { server: Ipv4Addr, message: Option<String> },
    #[error("{} {server} gave {address}, which {} has already", giver(server), holder.colons())]
    Conflict { server: IpAddr, address: IpAddr, holder: Mac },
    #[error("DHCP server {server} gave {address}, which cannot be used: {why}")]
    Unusable { server: Ipv4Addr, address: Ipv4Addr, why: &'static str },
    #[error("no IPv6 router answered within {seconds} s; all were asked {questions} times")]
    NoRouter { questions: u32, seconds: u64 },
    #[error(
        "router {router} leaves addresses to a DHCPv6 server, which is not asked; it advertises no prefix to make one of"
    )]
    Managed { router: Ipv6Addr },
    #[error("router {router} advertises no prefix to make an address of")]
    NoPrefix { router: Ipv6Addr },
    #[error("cannot {operation} the LAN")]
    Wire { operation: &'static str, source: io::Error },
}

/// Addresses of IPv4 are a server's to give, those of IPv6 a router's.
const fn giver(address: &IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "DHCP server",
        IpAddr::V6(_) => "router",
    }
}

fn said(message: Option<&String>) -> String {
    message.map_or_else(String::new, |message| format!(": \"{message}\""))
}

impl ResolverError {
    /// Whether the giver took the address away, rather than nobody answering.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. } | Self::Unusable { .. } | Self::Managed { .. } | Self::NoPrefix { .. }
        )
    }
}
