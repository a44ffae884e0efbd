use std::fmt;
use std::str::FromStr;

/// The identity of an HNS object. Reads any letter case, writes upper case without braces
/// (hcn-api 1.4 and rule Q1: one case everywhere satisfies every client).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid([u8; 16]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a GUID; write it as 5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11")]
pub struct GuidError(String);

impl Guid {
    pub const ZERO: Self = Self([0; 16]);

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The identity of what these bytes name, the same on every run. FNV-1a of 128 bits.
    #[must_use]
    pub fn of(name: impl IntoIterator<Item = u8>) -> Self {
        const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        let add = |hash: u128, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME);
        Self::from_bytes(name.into_iter().fold(OFFSET, add).to_be_bytes())
    }

    /// The first `digits` (at most 16) hexadecimal digits of a hash of the id, for names of devices:
    /// ids that clients choose often begin alike. FNV-1a, so the name is the same on every run.
    #[must_use]
    pub fn digest(self, digits: usize) -> String {
        let hash = self.0.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut hex = format!("{hash:016x}");
        hex.truncate(digits);
        hex
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Guid {
    type Err = GuidError;

    fn from_str(text: &str) -> Result<Self, GuidError> {
        let wrong = || GuidError(text.to_owned());
        let raw = text.as_bytes();
        if raw.len() != 36 {
            return Err(wrong());
        }
        let mut bytes = [0; 16];
        let mut digits = 0;
        for (place, &c) in raw.iter().enumerate() {
            if matches!(place, 8 | 13 | 18 | 23) {
                if c != b'-' {
                    return Err(wrong());
                }
                continue;
            }
            let value = char::from(c).to_digit(16).and_then(|v| u8::try_from(v).ok()).ok_or_else(wrong)?;
            bytes[digits / 2] = bytes[digits / 2] << 4 | value;
            digits += 1;
        }
        Ok(Self(bytes))
    }
}
