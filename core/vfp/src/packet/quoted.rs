use std::net::IpAddr;

use super::{be16, protocol, v4, v6};

/// The packet inside an ICMP error: its header and 8 bytes at least (RFC 792, RFC 4443 section 2.4 c).
/// Offsets count from the start of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// As [`super::Ip::ports`].
    pub ports: (u16, u16),
    pub header: usize,
    pub payload: usize,
}

impl Quoted {
    /// Nothing when the connection cannot be told: cut short, a later fragment, or ICMP but echo.
    pub(super) fn parse_v4(bytes: &[u8], at: usize) -> Option<Self> {
        if bytes.len() < 20 {
            return None;
        }
        let length = usize::from(bytes[0] & 0xf) * 4;
        if bytes[0] >> 4 != 4 || length < 20 || be16(bytes, 6) & 0x1fff != 0 {
            return None;
        }
        let ports = ports(bytes[9], bytes.get(length..)?)?;
        Some(Self {
            source: v4(bytes, 12).into(),
            destination: v4(bytes, 16).into(),
            protocol: bytes[9],
            ports,
            header: at,
            payload: at + length,
        })
    }

    /// As of IPv4; also nothing with extension headers.
    pub(super) fn parse_v6(bytes: &[u8], at: usize) -> Option<Self> {
        if bytes.len() < 40 || bytes[0] >> 4 != 6 {
            return None;
        }
        let ports = ports(bytes[6], &bytes[40..])?;
        Some(Self {
            source: v6(bytes, 8),
            destination: v6(bytes, 24),
            protocol: bytes[6],
            ports,
            header: at,
            payload: at + 40,
        })
    }
}

fn ports(number: u8, bytes: &[u8]) -> Option<(u16, u16)> {
    if bytes.len() < 8 {
        return None;
    }
    match number {
        protocol::TCP | protocol::UDP | protocol::SCTP => Some((be16(bytes, 0), be16(bytes, 2))),
        protocol::ICMP if matches!(bytes[0], 0 | 8) => Some((be16(bytes, 4), be16(bytes, 4))),
        protocol::ICMP6 if matches!(bytes[0], 128 | 129) => Some((be16(bytes, 4), be16(bytes, 4))),
        protocol::ICMP | protocol::ICMP6 => None,
        _ => Some((0, 0)),
    }
}
