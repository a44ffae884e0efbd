use std::fmt;
use std::str::FromStr;

/// A transport protocol that has ports, by its IANA protocol number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    Tcp,
    Udp,
    Sctp,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a protocol with ports: TCP 6, UDP 17 or SCTP 132")]
pub struct TransportError(String);

impl Transport {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    pub fn from_number(number: u64) -> Result<Self, TransportError> {
        Self::ALL
            .into_iter()
            .find(|t| u64::from(t.number()) == number)
            .ok_or_else(|| TransportError(number.to_string()))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Transport {
    type Err = TransportError;

    fn from_str(text: &str) -> Result<Self, TransportError> {
        Self::ALL
            .into_iter()
            .find(|t| text.eq_ignore_ascii_case(&t.to_string()))
            .ok_or_else(|| TransportError(format!("\"{text}\"")))
    }
}

/// One port or a run of ports, both ends included; never port 0. Written `80` or `8000-8010`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortRange {
    start: u16,
    end: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a port or a range of ports within 1 to 65535")]
pub struct PortRangeError(String);

impl PortRange {
    pub fn new(start: u16, end: u16) -> Result<Self, PortRangeError> {
        if start == 0 || end < start {
            return Err(PortRangeError(format!("{start}-{end}")));
        }
        Ok(Self { start, end })
    }

    /// `count` ports from `start` on.
    pub fn with_count(start: u16, count: u16) -> Result<Self, PortRangeError> {
        let end = u32::from(start) + u32::from(count);
        match u16::try_from(end.saturating_sub(1)) {
            Ok(end) if count > 0 => Self::new(start, end),
            _ => Err(PortRangeError(format!("{count} ports from {start}"))),
        }
    }

    pub fn single(port: u16) -> Result<Self, PortRangeError> {
        Self::new(port, port)
    }

    #[must_use]
    pub const fn start(self) -> u16 {
        self.start
    }

    #[must_use]
    pub const fn end(self) -> u16 {
        self.end
    }

    /// How many ports: 1 to 65,535.
    #[must_use]
    pub const fn count(self) -> u16 {
        self.end - self.start + 1
    }

    #[must_use]
    pub const fn is_single(self) -> bool {
        self.start == self.end
    }

    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.start..=self.end
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() { self.start.fmt(f) } else { write!(f, "{}-{}", self.start, self.end) }
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, PortRangeError> {
        let wrong = || PortRangeError(format!("\"{text}\""));
        let (start, end) = text.split_once('-').unwrap_or((text, text));
        let start = start.parse().map_err(|_| wrong())?;
        let end = end.parse().map_err(|_| wrong())?;
        Self::new(start, end).map_err(|_| wrong())
    }
}
