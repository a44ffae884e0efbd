//! Asks a LAN for addresses on behalf of containers, which run no client of their own: its DHCP servers for those of IPv4 (RFC 2131), its
//! routers for the prefixes of which those of IPv6 are made (RFC 4862), and its DHCPv6 servers where the routers say so (RFC 8415).
//!
//! One trait, [`Resolver`], with two bodies: [`DhcpClient`] speaks the protocol, [`FakeResolver`] is a server in memory. The frames
//! themselves go by a [`Wire`], which whoever owns the links brings along.
//!
//! ```text
//!   acquire   DISCOVER ─► OFFER ─► REQUEST ─► ACK ─► is anybody there? (ARP) ─► LanLease
//!                                      │ NAK             │ somebody: DECLINE
//!                                      └─────────────────┴──► again, until the patience ends
//!   renew     REQUEST to the server, later to everybody ─► ACK, or NAK: the address is lost
//!   decline   DECLINE, for an address that somebody has of whom the wire does not tell
//!   release   RELEASE, which nobody answers
//!
//!   acquire   router solicitation ─► advertisement ─► is anybody there? (neighbour solicitation) ─► LanLease
//!   renew     router solicitation ─► the advertisement of its router, later of any
//! ```
//!
//! Nobody need be told that such an address is declined or given back.
//!
//! ```text
//!   acquire   SOLICIT ─► ADVERTISE, the best of them ─► REQUEST ─► REPLY ─► is anybody there? ─► LanLease
//!                └─► REPLY at once (rapid commit) ───────────────────┘           │ somebody: DECLINE, and again
//!   renew     RENEW to the server, later REBIND to all ─► REPLY, or NoBinding: REQUEST
//!   decline, release   as DHCP
//! ```
//!
//! The servers are asked to answer by broadcast: a container's port, and its container, may not exist yet. No answer is believed that is
//! not to a question of ours, and no address that no container may have.
//!
//! To read another option: a field of `LanLease` in `core/model`, its code in the list that `message.rs` asks for, and its reading there.
//!
//! Never here: links and sockets, which address is whose, when to renew.

mod client;
mod dhcp6;
mod error;
mod fake;
mod frame;
mod frame6;
mod message;
mod message6;
mod neighbours;
mod routers;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use hns_model::{LanLease, LeaseKind};
use hns_net::Mac;

pub use client::{DhcpClient, PATIENCE};
pub use error::{Giver, ResolverError};
pub use fake::{Advertised, FakeResolver};
pub use message::host_name;

/// A LAN as one station sees it.
pub trait Wire {
    /// Sends a whole frame of Ethernet, without a VLAN tag.
    fn send(&self, frame: &[u8]) -> io::Result<()>;

    /// The next frame that may be for the station, without a VLAN tag; none when none comes in time.
    fn receive(&self, patience: Duration) -> io::Result<Option<Vec<u8>>>;
}

/// For whom an address is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub mac: Mac,
    /// As its server may enter it into the LAN's name service.
    pub host_name: Option<String>,
}

/// The LAN's DHCP servers and routers.
pub trait Resolver: Send + Sync + 'static {
    /// The moment that leases count by: seconds since the host's boot, sleep included.
    fn now(&self) -> u64;

    /// Asks for an address by those who give this kind, best this one, and makes sure that nobody else has it. Takes some seconds when nobody answers.
    fn acquire(
        &self,
        wire: &dyn Wire,
        client: &Client,
        kind: LeaseKind,
        wanted: Option<IpAddr>,
    ) -> Result<LanLease, ResolverError>;

    /// Asks for more time, once: the lease's server or router, or everybody when that is due.
    fn renew(&self, wire: &dyn Wire, client: &Client, lease: &LanLease) -> Result<LanLease, ResolverError>;

    /// Says that somebody has what a server has just given, so that it gives it to nobody for a while.
    fn decline(&self, wire: &dyn Wire, client: &Client, lease: &LanLease) -> Result<(), ResolverError>;

    /// Gives the address back.
    fn release(&self, wire: &dyn Wire, client: &Client, lease: &LanLease) -> Result<(), ResolverError>;
}
