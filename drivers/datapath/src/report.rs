//! What the datapath tells: drops, connections, how often rules decided.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use hns_abi::{Direction, Reason};
use hns_net::{Guid, Mac};
use hns_vfp::model::{Action, Origin, Rule};

/// Which rule decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleName {
    /// The policy's `Id`, a free label; empty when it has none.
    pub id: String,
    pub origin: Origin,
    pub priority: u16,
    pub action: Action,
}

impl From<&Rule> for RuleName {
    fn from(rule: &Rule) -> Self {
        Self { id: rule.id.clone(), origin: rule.origin, priority: rule.priority, action: rule.action }
    }
}

/// How many packets of one port were dropped for one reason since the datapath began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropCount {
    /// Absent: the port is not one of ours, or is gone.
    pub endpoint: Option<Guid>,
    pub direction: Direction,
    pub reason: Reason,
    pub packets: u64,
}

/// How often one rule decided: on new connections, and on every packet it blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCount {
    pub direction: Direction,
    /// Its place in the order in which the rules of this direction are asked.
    pub position: u32,
    pub rule: RuleName,
    pub packets: u64,
}

/// A connection that passed a port which tracks them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    pub endpoint: Guid,
    /// IP protocol number.
    pub protocol: u8,
    /// As the endpoint sees it.
    pub tuple: Tuple,
    /// Of the first packet.
    pub origin: Direction,
    pub state: FlowState,
    /// First seen in its midst.
    pub adopted: bool,
    /// By [`Direction::index`].
    pub packets: [u64; 2],
    /// Since the last packet.
    pub idle: Duration,
    /// What let it pass. Absent: no rule but the fallback, or the rules have changed since.
    pub rule: Option<RuleName>,
}

/// Addresses and ports of a connection from the endpoint's side. Of ICMP echo both ports are the identifier; of protocols
/// without ports they are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    pub local: (IpAddr, u16),
    pub remote: (IpAddr, u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowState {
    /// Seen in the original direction only.
    New,
    /// TCP: SYN+ACK seen.
    Replied,
    /// TCP: handshake done; others: seen in both directions.
    Established,
    /// TCP: FIN seen one way.
    Closing,
    /// TCP: FIN seen both ways, or RST.
    Closed,
}

impl FlowState {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Replied => "replied",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

/// Which connections are asked for; what is absent matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowFilter {
    pub endpoint: Option<Guid>,
    pub protocol: Option<u8>,
    /// Either address.
    pub address: Option<IpAddr>,
    /// At most so many.
    pub limit: Option<usize>,
}

impl FlowFilter {
    #[must_use]
    pub fn matches(&self, flow: &Flow) -> bool {
        let about = |tuple: &Tuple, address| tuple.local.0 == address || tuple.remote.0 == address;
        self.endpoint.is_none_or(|endpoint| endpoint == flow.endpoint)
            && self.protocol.is_none_or(|protocol| protocol == flow.protocol)
            && self.address.is_none_or(|address| about(&flow.tuple, address))
    }
}

/// A packet that was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropEvent {
    pub at: SystemTime,
    /// Absent: the port is not one of ours, or is gone.
    pub endpoint: Option<Guid>,
    /// Number of the port's host end.
    pub ifindex: u32,
    pub direction: Direction,
    pub reason: Reason,
    /// The rule that blocked it. Absent: no rule but the fallback, or not the rules' doing.
    pub rule: Option<RuleName>,
    /// Bytes of the frame.
    pub length: u32,
    pub packet: Packet,
}

/// A packet of a watched connection at one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    pub at: SystemTime,
    pub endpoint: Guid,
    pub network: Guid,
    pub direction: Direction,
    /// Absent: the port has no rules, or they are not for such packets, or another layer dropped it first.
    pub asked: Option<Asked>,
    /// A rule that is only watched, and would have blocked it.
    pub observed: Option<RuleName>,
    pub onward: Onward,
    /// Bytes of the frame.
    pub length: u32,
    pub packet: Packet,
    /// How many were left out since the last one, at the least, because they came too fast.
    pub missed: u32,
}

/// What layer acl of a port was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub question: Question,
    /// Whose rules decided.
    pub by: Direction,
    /// Absent: no rule but the fallback, or the rules have changed since.
    pub rule: Option<RuleName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The rules themselves.
    Rules,
    /// Whether it is of a connection that the port knows: it is.
    Known(FlowState),
    /// The same of an ICMP error about one.
    Related,
    /// What became of the datagram's first fragment.
    Fragment,
}

/// Where a packet goes from a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onward {
    Dropped(Reason),
    /// To the port's own container.
    Container,
    /// To another port of its network, by the short way. Absent: it is gone since.
    Port(Option<Guid>),
    /// Into the bridge.
    Switch,
    /// To the host, by the adapter of an external switch.
    Host,
    /// Out by that adapter.
    Wire,
    /// To another host of an overlay, whose tunnels end there. Absent: no host has the destination any more.
    Tunnel(Option<IpAddr>),
    /// Back to the container: the overlay's router answers it.
    Answer,
}

/// What a packet's first bytes tell, as far as they do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packet {
    pub source_mac: Option<Mac>,
    pub destination_mac: Option<Mac>,
    pub ethertype: Option<u16>,
    /// IP addresses; of ARP those of the sender and the target.
    pub source: Option<IpAddr>,
    pub destination: Option<IpAddr>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    pub source_port: Option<u16>,
    pub destination_port: Option<u16>,
    pub tcp_flags: Option<u8>,
    /// Type and code of ICMP and ICMPv6.
    pub icmp: Option<(u8, u8)>,
}

impl Packet {
    /// What a frame tells.
    #[must_use]
    pub fn of(frame: &[u8]) -> Self {
        crate::packet::read(frame)
    }
}

/// What was thrown away by [`collect`](crate::Datapath::collect).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Connections that ended, were idle for too long, or whose port is gone.
    pub flows: usize,
    /// Whether there was more than one call may look at: the next one goes on there.
    pub more: bool,
}
