use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The length of a host's own prefix: 32 or 128.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// Everything in this family: `0.0.0.0/0` or `::/0`.
    #[must_use]
    pub fn default_route(self) -> Cidr {
        Cidr(IpNet::new_assert(self.unspecified(), 0))
    }

    #[must_use]
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an address prefix; write it as 172.16.0.0/16 or fd00::/64")]
pub struct CidrError(String);

/// A block of addresses. Host bits are cleared when it is made, since several clients send them
/// (hcn-api 3.5 and 5.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(IpNet);

impl Cidr {
    pub fn new(address: IpAddr, length: u8) -> Result<Self, CidrError> {
        IpNet::new(address, length)
            .map(|net| Self(net.trunc()))
            .map_err(|_| CidrError(format!("{address}/{length}")))
    }

    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self(IpNet::new_assert(address, Family::of(address).bits()))
    }

    #[must_use]
    pub fn family(self) -> Family {
        Family::of(self.0.network())
    }

    #[must_use]
    pub fn network(self) -> IpAddr {
        self.0.network()
    }

    /// The last address; for IPv4 the subnet's broadcast address.
    #[must_use]
    pub fn last(self) -> IpAddr {
        self.0.broadcast()
    }

    #[must_use]
    pub fn length(self) -> u8 {
        self.0.prefix_len()
    }

    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether `other` lies wholly inside.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.0.contains(&other.0)
    }

    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    #[must_use]
    pub fn is_default(self) -> bool {
        self.length() == 0
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        text.parse::<IpNet>().map(|net| Self(net.trunc())).map_err(|_| CidrError(text.to_owned()))
    }
}

/// An address on an interface with the length of its on-link prefix: `172.16.0.1/16`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfAddr {
    address: IpAddr,
    length: u8,
}

impl IfAddr {
    pub fn new(address: IpAddr, length: u8) -> Result<Self, CidrError> {
        if length > Family::of(address).bits() {
            return Err(CidrError(format!("{address}/{length}")));
        }
        Ok(Self { address, length })
    }

    /// `address` with the length of the prefix it lies in.
    #[must_use]
    pub fn within(address: IpAddr, prefix: Cidr) -> Self {
        Self { address, length: prefix.length() }
    }

    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }

    /// The prefix it lies in.
    #[must_use]
    pub fn prefix(self) -> Cidr {
        Cidr(IpNet::new_assert(self.address, self.length).trunc())
    }

    #[must_use]
    pub const fn family(self) -> Family {
        Family::of(self.address)
    }
}

impl fmt::Display for IfAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Debug for IfAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for IfAddr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let net: IpNet = text.parse().map_err(|_| CidrError(text.to_owned()))?;
        Ok(Self { address: net.addr(), length: net.prefix_len() })
    }
}
