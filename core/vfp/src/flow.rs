//! Connections as a port remembers them: one entry a connection and port, whichever way its packets run.
//!
//! ```text
//!            reply (TCP: SYN+ACK)     ACK of the opener          FIN          FIN of the other
//!   New ────────────> Replied ──────────────> Established ─────> Closing ─────────> Closed
//!    └── reply (not TCP, or TCP without SYN) ──────^  ^             RST from anywhere ──^ │
//!                                                     └───── ACK after a mere reset ──────┘
//! ```

use std::net::IpAddr;

use hns_abi::Direction;

use crate::layers::acl::{Cause, Facts};
use crate::packet::{Ip, Quoted, TcpFlags, Transport, protocol};

const SECOND: u64 = 1_000_000_000;
/// Ns: the time of the last packet is written no more often than this.
const SEEN_STEP: u64 = 250_000_000;

/// The two ends of a connection. Local is the endpoint's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    pub protocol: u8,
    pub local: IpAddr,
    pub remote: IpAddr,
    pub local_port: u16,
    pub remote_port: u16,
}

impl Tuple {
    #[must_use]
    pub const fn of(ip: &Ip, direction: Direction) -> Self {
        Self::from_ends(ip.protocol, (ip.source, ip.destination), ip.ports(), direction)
    }

    /// Of the packet that an error runs about: it ran the other way.
    #[must_use]
    pub const fn quoted(quoted: &Quoted, direction: Direction) -> Self {
        let ends = (quoted.source, quoted.destination);
        Self::from_ends(quoted.protocol, ends, quoted.ports, direction.opposite())
    }

    const fn from_ends(
        protocol: u8,
        (source, destination): (IpAddr, IpAddr),
        (source_port, destination_port): (u16, u16),
        direction: Direction,
    ) -> Self {
        match direction {
            Direction::Out => Self {
                protocol,
                local: source,
                remote: destination,
                local_port: source_port,
                remote_port: destination_port,
            },
            Direction::In => Self {
                protocol,
                local: destination,
                remote: source,
                local_port: destination_port,
                remote_port: source_port,
            },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
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

/// Ns without a packet after which a flow is as good as absent (RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2).
#[must_use]
pub const fn idle_timeout(protocol: u8, state: State) -> u64 {
    let seconds = match (protocol, state) {
        (protocol::TCP, State::New | State::Replied) => 60,
        (protocol::TCP, State::Established) => 7440,
        (protocol::TCP, State::Closing) => 120,
        (protocol::TCP, State::Closed) => 10,
        (protocol::UDP, State::New) => 30,
        (protocol::UDP, _) => 180,
        (protocol::ICMP | protocol::ICMP6, _) => 30,
        _ => 600,
    };
    seconds * SECOND
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Ns, of the last packet.
    pub seen: u64,
    /// By direction.
    pub packets: [u64; 2],
    pub generation: u32,
    /// Of the first packet.
    pub origin: Direction,
    pub state: State,
    /// FIN seen, by direction.
    pub fins: [bool; 2],
    /// What the rules were asked about, and are again when they change.
    pub facts: Facts,
    /// What let it pass.
    pub cause: Cause,
    /// Older than what is remembered of it: it was first seen in its midst.
    pub adopted: bool,
}

impl Flow {
    #[must_use]
    pub fn opened(facts: Facts, origin: Direction, generation: u32, cause: Cause, now: u64) -> Self {
        Self {
            seen: now,
            packets: [0, 0],
            generation,
            origin,
            state: State::New,
            fins: [false, false],
            facts,
            cause,
            adopted: false,
        }
    }

    #[must_use]
    pub const fn is_idle(&self, now: u64) -> bool {
        now.saturating_sub(self.seen) > idle_timeout(self.facts.protocol, self.state)
    }

    /// Whether this packet begins another connection with the same ends.
    #[must_use]
    pub fn is_reopened_by(&self, transport: &Transport) -> bool {
        self.state == State::Closed && tcp_flags(transport).is_some_and(TcpFlags::opens)
    }

    /// Among ICMP a flow is passed by its requests one way and their replies the other way; all else is asked of the rules
    /// each time, or one allowed type would let in all.
    #[must_use]
    pub fn fits(&self, direction: Direction, transport: &Transport) -> bool {
        match transport {
            Transport::Icmp(_) if direction == self.origin => is_echo_request(self.facts.protocol, transport),
            Transport::Icmp(icmp) => match self.facts.protocol {
                protocol::ICMP => icmp.kind == 0,
                _ => icmp.kind == 129,
            },
            _ => true,
        }
    }

    /// Counts a packet that passes, and goes on to the state it leads to.
    pub fn advance(&mut self, direction: Direction, transport: &Transport, now: u64) {
        if now.saturating_sub(self.seen) >= SEEN_STEP {
            self.seen = now;
        }
        self.packets[direction.index()] += 1;
        let reply = direction != self.origin;
        let Some(flags) = tcp_flags(transport) else {
            if reply && self.state == State::New {
                self.state = State::Established;
            }
            return;
        };
        if flags.has(TcpFlags::FIN) {
            self.fins[direction.index()] = true;
        }
        self.state = next(self.state, reply, flags, self.fins);
    }
}

fn next(state: State, reply: bool, flags: TcpFlags, fins: [bool; 2]) -> State {
    match (state, fins) {
        _ if flags.has(TcpFlags::RST) => State::Closed,
        (_, [true, true]) => State::Closed,
        // Whoever knows the ports can send a reset; whom it did not convince goes on.
        (State::Closed, _) if !flags.goes_on() => State::Closed,
        (_, [true, false] | [false, true]) => State::Closing,
        (State::Closed, _) => State::Established,
        (State::New, _) if reply && flags.has(TcpFlags::SYN) => State::Replied,
        (State::New, _) if reply => State::Established,
        (State::Replied, _) if !reply && !flags.has(TcpFlags::SYN) => State::Established,
        (state, _) => state,
    }
}

/// Of ICMP only such packets open flows.
#[must_use]
pub const fn is_echo_request(number: u8, transport: &Transport) -> bool {
    match transport {
        Transport::Icmp(icmp) if number == protocol::ICMP => icmp.kind == 8,
        Transport::Icmp(icmp) => icmp.kind == 128,
        _ => false,
    }
}

const fn tcp_flags(transport: &Transport) -> Option<TcpFlags> {
    match transport {
        Transport::Tcp { flags, .. } => Some(*flags),
        _ => None,
    }
}
