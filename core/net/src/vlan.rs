use std::fmt;
use std::str::FromStr;

/// The number of a VLAN (IEEE 802.1Q): 1 to 4094. 0 says that a frame is of none, and 4095 is reserved.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VlanId(u16);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no VLAN: 1 to 4094")]
pub struct VlanIdError(String);

impl VlanId {
    pub fn new(number: u64) -> Result<Self, VlanIdError> {
        match u16::try_from(number) {
            Ok(small) if (1..=4094).contains(&small) => Ok(Self(small)),
            _ => Err(VlanIdError(number.to_string())),
        }
    }

    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl FromStr for VlanId {
    type Err = VlanIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.parse().map_err(|_| VlanIdError(format!("\"{text}\"")))?;
        Self::new(number)
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
