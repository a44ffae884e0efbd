//! Numbers of packets by the names that people know them by.

use std::fmt;
use std::str::FromStr;

/// An IP protocol: one of those with a name here, or any other by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpProtocol(pub u8);

/// IANA's numbers of the protocols that operators call by name.
const PROTOCOLS: [(&str, u8); 8] = [
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("icmpv6", 58),
    ("sctp", 132),
];

/// Spellings that are read, and written as the names above.
const ALIASES: [(&str, u8); 2] = [("icmp6", 58), ("ipv6-icmp", 58)];

impl IpProtocol {
    pub const ICMP: Self = Self(1);
    pub const TCP: Self = Self(6);
    pub const UDP: Self = Self(17);
    pub const ICMP6: Self = Self(58);
    pub const SCTP: Self = Self(132);

    /// Whether rules and port mappings know ports of it.
    #[must_use]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }

    #[must_use]
    pub const fn is_icmp(self) -> bool {
        matches!(self, Self::ICMP | Self::ICMP6)
    }
}

/// What an Ethernet frame carries: one of those with a name here, or any other by its number, such as `0x88f7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    pub const ARP: Self = Self(0x0806);
}

/// The flags of a TCP header (RFC 9293 section 3.1), written as `syn,ack`; `none` where none is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpFlags(pub u8);

/// From the lowest bit on.
const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
const NO_FLAGS: &str = "none";

const ETHERTYPES: [(&str, u16); 6] = [
    ("ipv4", 0x0800),
    ("arp", 0x0806),
    ("vlan", 0x8100),
    ("ipv6", 0x86dd),
    ("qinq", 0x88a8),
    ("lldp", 0x88cc),
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("{text:?} is no protocol: tcp, udp, sctp, icmp, icmpv6, igmp, gre, esp or a number to 255")]
    Protocol { text: String },
    #[error("{text:?} is no ethertype: a name, or a number such as 0x88f7")]
    EtherType { text: String },
    #[error("{text:?} is no list of TCP flags such as syn,ack")]
    TcpFlags { text: String },
}

impl FromStr for TcpFlags {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        if text.eq_ignore_ascii_case(NO_FLAGS) {
            return Ok(Self(0));
        }
        let bit = |word: &str| TCP_FLAGS.iter().position(|flag| flag.eq_ignore_ascii_case(word));
        let mut bits = text.split(',').map(|word| Some(1 << bit(word)?));
        let all = bits.try_fold(0, |all: u8, bit: Option<u8>| Some(all | bit?));
        all.map(Self).ok_or_else(|| ProtocolError::TcpFlags { text: text.to_owned() })
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str(NO_FLAGS);
        }
        let flags = TCP_FLAGS.iter().enumerate().filter(|(bit, _)| self.0 & 1 << bit != 0);
        f.write_str(&flags.map(|(_, flag)| *flag).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for IpProtocol {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let mut names = PROTOCOLS.iter().chain(&ALIASES);
        let named = names.find(|(name, _)| name.eq_ignore_ascii_case(text));
        let number = named.map(|(_, number)| *number).or_else(|| text.parse().ok());
        number.map(Self).ok_or_else(|| ProtocolError::Protocol { text: text.to_owned() })
    }
}

impl fmt::Display for IpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOLS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for EtherType {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let named = ETHERTYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        let hex = || u16::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        let number = named.map(|(_, number)| *number).or_else(hex);
        number.map(Self).ok_or_else(|| ProtocolError::EtherType { text: text.to_owned() })
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ETHERTYPES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_the_same_protocols() {
        for (text, shown) in [
            ("tcp", "tcp"),
            ("6", "tcp"),
            ("ICMP", "icmp"),
            ("58", "icmpv6"),
            ("icmp6", "icmpv6"),
            ("89", "89"),
        ] {
            assert_eq!(text.parse::<IpProtocol>().expect(text).to_string(), shown);
        }
        for wrong in ["", "256", "-1", "any", "ip"] {
            assert!(wrong.parse::<IpProtocol>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_ethertype_is_read_as_it_is_written() {
        for number in 0..=u16::MAX {
            assert_eq!(EtherType(number).to_string().parse(), Ok(EtherType(number)));
        }
        for wrong in ["", "0x", "0x10000", "2048"] {
            assert!(wrong.parse::<EtherType>().is_err(), "{wrong}");
        }
    }
}
