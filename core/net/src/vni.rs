use std::fmt;
use std::str::FromStr;

/// The number of an overlay's tunnel, HCN's virtual subnet id (RFC 7348): 1 to 16777215.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Vni(u32);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no VNI: 1 to 16777215")]
pub struct VniError(String);

impl Vni {
    pub const MAX: u32 = 0x00ff_ffff;

    pub fn new(number: u64) -> Result<Self, VniError> {
        match u32::try_from(number) {
            Ok(small) if (1..=Self::MAX).contains(&small) => Ok(Self(small)),
            _ => Err(VniError(number.to_string())),
        }
    }

    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl FromStr for Vni {
    type Err = VniError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.parse().map_err(|_| VniError(format!("\"{text}\"")))?;
        Self::new(number)
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
