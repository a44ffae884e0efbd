use std::fmt;
use std::str::FromStr;

/// An Ethernet address (IEEE 802, 48 bits).
///
/// Reads `-` or `:` as separator in any letter case; writes the form HNS shows, `00-15-5D-0A-B7-C6`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    #[error("\"{0}\" is not a MAC address; write six hexadecimal octets, such as 00-15-5D-0A-B7-C6")]
    Form(String),
    #[error("{0} is a group or zero address, which no interface can have")]
    NotUnicast(String),
}

impl Mac {
    #[must_use]
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The second half of the address that a station makes of a prefix (RFC 4291 appendix A).
    #[must_use]
    pub const fn interface_id(self) -> [u8; 8] {
        let [a, b, c, d, e, f] = self.0;
        [a ^ 2, b, c, 0xff, 0xfe, d, e, f]
    }

    /// Whether an interface may have this address: not zero, and the group bit is clear.
    #[must_use]
    pub const fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.to_u64() != 0
    }

    #[must_use]
    pub const fn to_u64(self) -> u64 {
        let o = self.0;
        u64::from_be_bytes([0, 0, o[0], o[1], o[2], o[3], o[4], o[5]])
    }

    /// The address with this number; the upper 16 bits are dropped.
    #[must_use]
    pub const fn from_u64(value: u64) -> Self {
        let b = value.to_be_bytes();
        Self([b[2], b[3], b[4], b[5], b[6], b[7]])
    }

    /// The form of Linux tools: `00:15:5d:0a:b7:c6`.
    #[must_use]
    pub fn colons(self) -> String {
        let o = self.0;
        format!("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", o[0], o[1], o[2], o[3], o[4], o[5])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = self.0;
        write!(f, "{:02X}-{:02X}-{:02X}-{:02X}-{:02X}-{:02X}", o[0], o[1], o[2], o[3], o[4], o[5])
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let form = || MacError::Form(text.to_owned());
        let separator = if text.contains(':') { ':' } else { '-' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().ok_or_else(form)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(form());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| form())?;
        }
        if parts.next().is_some() {
            return Err(form());
        }
        let mac = Self(octets);
        if mac.is_unicast() { Ok(mac) } else { Err(MacError::NotUnicast(text.to_owned())) }
    }
}

/// A run of MAC addresses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacRange {
    start: Mac,
    end: Mac,
}

impl MacRange {
    /// The range, or nothing when `end` lies before `start`.
    #[must_use]
    pub fn new(start: Mac, end: Mac) -> Option<Self> {
        (start <= end).then_some(Self { start, end })
    }

    #[must_use]
    pub const fn start(self) -> Mac {
        self.start
    }

    #[must_use]
    pub const fn end(self) -> Mac {
        self.end
    }

    #[must_use]
    pub fn contains(self, mac: Mac) -> bool {
        self.start <= mac && mac <= self.end
    }

    /// The address `offset` places after the start, if the range reaches that far.
    #[must_use]
    pub fn nth(self, offset: u64) -> Option<Mac> {
        let value = self.start.to_u64().checked_add(offset)?;
        (value <= self.end.to_u64()).then(|| Mac::from_u64(value))
    }
}
