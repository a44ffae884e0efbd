use std::fmt;
use std::str::FromStr;

/// The name of a Linux network interface: 1 to 15 bytes (`IFNAMSIZ` less the closing zero).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not an interface name: 1 to 15 visible ASCII characters without '/' and ':', and not '.' or '..'"
)]
pub struct IfNameError(String);

impl IfName {
    pub const MAX_LEN: usize = 15;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = IfNameError;

    fn from_str(text: &str) -> Result<Self, IfNameError> {
        let legal = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b':' && b != b'%';
        let good = (1..=Self::MAX_LEN).contains(&text.len())
            && text.bytes().all(legal)
            && !matches!(text, "." | ".." | "all" | "default");
        if good { Ok(Self(text.to_owned())) } else { Err(IfNameError(text.to_owned())) }
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for IfName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
