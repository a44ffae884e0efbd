use std::net::IpAddr;

use super::{Malformed, Transport, be16, be32, v4, v6};

/// More IPv6 extension headers than this in front of the transport header: malformed.
pub const EXTENSIONS_MAX: usize = 6;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;

/// An IPv4 or IPv6 packet. Offsets count from the start of the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// The last header's: what ACLs and flows go by.
    pub protocol: u8,
    pub hop_limit: u8,
    /// Absent: the packet is whole.
    pub fragment: Option<Fragment>,
    pub header: usize,
    pub payload: usize,
    /// Where the packet ends; the frame may go on with padding.
    pub end: usize,
    pub transport: Transport,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    pub id: u32,
    /// Of 8 bytes.
    pub offset: u16,
}

impl Fragment {
    #[must_use]
    pub const fn is_first(self) -> bool {
        self.offset == 0
    }
}

impl Ip {
    pub(super) fn parse_v4(frame: &[u8], at: usize) -> Result<Self, Malformed> {
        let bytes = &frame[at..];
        if bytes.len() < 20 {
            return Err(Malformed("IPv4 header cut short"));
        }
        let length = usize::from(bytes[0] & 0xf) * 4;
        let total = usize::from(be16(bytes, 2));
        if bytes[0] >> 4 != 4 || length < 20 {
            return Err(Malformed("IPv4 header with a wrong version or length"));
        }
        if total < length || total > bytes.len() {
            return Err(Malformed("IPv4 total length contradicts the header or the frame"));
        }
        let flags = be16(bytes, 6);
        let (offset, more) = (flags & 0x1fff, flags & 0x2000 != 0);
        let fragment = (offset != 0 || more).then(|| Fragment { id: u32::from(be16(bytes, 4)), offset });
        Self {
            source: v4(bytes, 12).into(),
            destination: v4(bytes, 16).into(),
            protocol: bytes[9],
            hop_limit: bytes[8],
            fragment,
            header: at,
            payload: at + length,
            end: at + total,
            transport: Transport::Other,
        }
        .with_transport(frame)
    }

    pub(super) fn parse_v6(frame: &[u8], at: usize) -> Result<Self, Malformed> {
        let bytes = &frame[at..];
        if bytes.len() < 40 {
            return Err(Malformed("IPv6 header cut short"));
        }
        if bytes[0] >> 4 != 6 {
            return Err(Malformed("IPv6 header with a wrong version"));
        }
        let end = at + 40 + usize::from(be16(bytes, 4));
        if end > frame.len() {
            return Err(Malformed("IPv6 payload length exceeds the frame"));
        }
        let (source, destination) = (v6(bytes, 8), v6(bytes, 24));
        if is_mapped(source) || is_mapped(destination) {
            return Err(Malformed("IPv4-mapped address in an IPv6 header"));
        }
        let mut ip = Self {
            source,
            destination,
            protocol: bytes[6],
            hop_limit: bytes[7],
            fragment: None,
            header: at,
            payload: at + 40,
            end,
            transport: Transport::Other,
        };
        ip.skip_extensions(frame)?;
        ip.with_transport(frame)
    }

    /// Goes on to the transport header, or to the data of a later fragment.
    fn skip_extensions(&mut self, frame: &[u8]) -> Result<(), Malformed> {
        for _ in 0..=EXTENSIONS_MAX {
            let Some(header) = Extension::of(self.protocol) else { return Ok(()) };
            if self.end < self.payload + 8 {
                return Err(Malformed("IPv6 extension header cut short"));
            }
            let bytes = &frame[self.payload..self.end];
            self.protocol = bytes[0];
            self.payload += match header {
                Extension::Fragment => 8,
                Extension::Authentication => (usize::from(bytes[1]) + 2) * 4,
                Extension::Other => (usize::from(bytes[1]) + 1) * 8,
            };
            if self.payload > self.end {
                return Err(Malformed("IPv6 extension header longer than the packet"));
            }
            if header == Extension::Fragment {
                if self.fragment.is_some() {
                    return Err(Malformed("two IPv6 fragment headers"));
                }
                self.note_fragment(bytes);
                if self.fragment.is_some_and(|fragment| !fragment.is_first()) {
                    return Ok(());
                }
            }
        }
        Err(Malformed("more IPv6 extension headers than 6"))
    }

    /// An atomic fragment (RFC 6946) is a whole packet.
    fn note_fragment(&mut self, bytes: &[u8]) {
        let field = be16(bytes, 2);
        let (offset, more) = (field >> 3, field & 1 != 0);
        if offset != 0 || more {
            self.fragment = Some(Fragment { id: be32(bytes, 4), offset });
        }
    }

    fn with_transport(mut self, frame: &[u8]) -> Result<Self, Malformed> {
        let payload = &frame[self.payload..self.end];
        self.transport = match self.fragment {
            Some(fragment) if !fragment.is_first() => Transport::later(self.protocol, fragment.offset)?,
            _ => Transport::parse(&self, payload)?,
        };
        Ok(self)
    }

    #[must_use]
    pub const fn is_v6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// Source and destination port as flows know them: of ICMP echo the identifier twice, else 0.
    #[must_use]
    pub const fn ports(&self) -> (u16, u16) {
        match self.transport {
            Transport::Tcp { source, destination, .. }
            | Transport::Udp { source, destination }
            | Transport::Sctp { source, destination } => (source, destination),
            Transport::Icmp(icmp) => (icmp.echo, icmp.echo),
            Transport::Other | Transport::Later => (0, 0),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Extension {
    Fragment,
    Authentication,
    Other,
}

impl Extension {
    const fn of(protocol: u8) -> Option<Self> {
        match protocol {
            FRAGMENT => Some(Self::Fragment),
            AUTHENTICATION => Some(Self::Authentication),
            HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY => Some(Self::Other),
            _ => None,
        }
    }
}

/// The maps hold IPv4 addresses in this form, so it must not come from the wire (RFC 4038 section 4.2).
fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}
