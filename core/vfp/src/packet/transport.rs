use super::quoted::Quoted;
use super::{Ip, Malformed, be16, protocol};

/// The transport header, as far as policies look into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    Tcp {
        source: u16,
        destination: u16,
        flags: TcpFlags,
    },
    Udp {
        source: u16,
        destination: u16,
    },
    Sctp {
        source: u16,
        destination: u16,
    },
    Icmp(Icmp),
    /// A protocol without ports.
    Other,
    /// A fragment after the first.
    Later,
}

/// TCP's flag byte (RFC 9293 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const ACK: u8 = 16;

    #[must_use]
    pub const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    /// SYN without ACK, RST and FIN: a connection's first packet.
    #[must_use]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }

    /// ACK without SYN, RST and FIN: of a connection that is in its midst.
    #[must_use]
    pub const fn goes_on(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::ACK
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    pub kind: u8,
    pub code: u8,
    /// Of echo and its reply the identifier, else 0.
    pub echo: u16,
    /// Of an error: the packet it is about, when that can be told.
    pub about: Option<Quoted>,
}

impl Transport {
    pub(super) fn parse(ip: &Ip, bytes: &[u8]) -> Result<Self, Malformed> {
        let whole = ip.fragment.is_none();
        match ip.protocol {
            protocol::TCP => tcp(bytes, whole),
            protocol::UDP => udp(bytes, whole),
            protocol::SCTP if bytes.len() < 12 => Err(Malformed("SCTP header cut short")),
            protocol::SCTP => Ok(Self::Sctp { source: be16(bytes, 0), destination: be16(bytes, 2) }),
            protocol::ICMP | protocol::ICMP6 if bytes.len() < 8 => Err(Malformed("ICMP header cut short")),
            protocol::ICMP => Ok(Self::Icmp(Icmp::parse(bytes, ip.payload, Kinds::V4))),
            protocol::ICMP6 => Ok(Self::Icmp(Icmp::parse(bytes, ip.payload, Kinds::V6))),
            _ => Ok(Self::Other),
        }
    }

    /// A later fragment that would overwrite TCP's flags (RFC 3128) is malformed.
    pub(super) const fn later(number: u8, offset: u16) -> Result<Self, Malformed> {
        if number == protocol::TCP && offset < 3 {
            return Err(Malformed("fragment that overlaps the TCP header"));
        }
        Ok(Self::Later)
    }
}

fn tcp(bytes: &[u8], whole: bool) -> Result<Transport, Malformed> {
    if bytes.len() < 20 {
        return Err(Malformed("TCP header cut short"));
    }
    let length = usize::from(bytes[12] >> 4) * 4;
    if length < 20 || (whole && length > bytes.len()) {
        return Err(Malformed("TCP header length contradicts the packet"));
    }
    Ok(Transport::Tcp { source: be16(bytes, 0), destination: be16(bytes, 2), flags: TcpFlags(bytes[13]) })
}

fn udp(bytes: &[u8], whole: bool) -> Result<Transport, Malformed> {
    if bytes.len() < 8 {
        return Err(Malformed("UDP header cut short"));
    }
    let length = usize::from(be16(bytes, 4));
    if length < 8 || (whole && length > bytes.len()) {
        return Err(Malformed("UDP length contradicts the packet"));
    }
    Ok(Transport::Udp { source: be16(bytes, 0), destination: be16(bytes, 2) })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kinds {
    V4,
    V6,
}

impl Icmp {
    fn parse(bytes: &[u8], at: usize, kinds: Kinds) -> Self {
        let (kind, code) = (bytes[0], bytes[1]);
        let echo = match kinds {
            Kinds::V4 => matches!(kind, 0 | 8),
            Kinds::V6 => matches!(kind, 128 | 129),
        };
        let about = match kinds {
            Kinds::V4 if matches!(kind, 3 | 11 | 12) => Quoted::parse_v4(&bytes[8..], at + 8),
            Kinds::V6 if matches!(kind, 1..=4) => Quoted::parse_v6(&bytes[8..], at + 8),
            _ => None,
        };
        Self { kind, code, echo: if echo { be16(bytes, 4) } else { 0 }, about }
    }
}
