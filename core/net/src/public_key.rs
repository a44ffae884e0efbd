use std::fmt::{self, Write as _};
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The public key by which a host is known to others (Curve25519, RFC 7748), written as WireGuard writes it: 44 characters of base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; PublicKey::BYTES]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    #[error(
        "\"{0}\" is no public key: 44 characters of base64, as hnsctl network inspect shows it on the other host"
    )]
    Form(String),
    #[error("\"{0}\" is a key with which everybody could speak")]
    Weak(String),
}

/// In this prefix are the addresses that hosts have inside of encrypted tunnels (RFC 4193).
const INNER: [u8; 6] = [0xfd, 0x68, 0x6e, 0x73, 0x00, 0x01];

/// Whatever the secret, the same comes out of these (RFC 7748 section 6.1), so that no secret is needed.
const WEAK: [[u8; 32]; 7] = [
    [0; 32],
    one(1, 0, 0),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    one(0xec, 0xff, 0x7f),
    one(0xed, 0xff, 0x7f),
    one(0xee, 0xff, 0x7f),
];

const fn one(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut key = [middle; 32];
    key[0] = first;
    key[31] = last;
    key
}

impl PublicKey {
    pub const BYTES: usize = 32;
    /// Of the prefix in which all [inner addresses](Self::inner_address) are, and nothing else.
    pub const INNER_LENGTH: u8 = 48;

    pub fn new(bytes: [u8; Self::BYTES]) -> Result<Self, PublicKeyError> {
        let key = Self(bytes);
        // The last bit counts for nothing, and two spellings of one key would be two hosts.
        if WEAK.contains(&bytes) || bytes[31] & 0x80 != 0 {
            return Err(PublicKeyError::Weak(key.to_string()));
        }
        Ok(key)
    }

    #[must_use]
    pub const fn bytes(self) -> [u8; Self::BYTES] {
        self.0
    }

    /// The address that its host has inside of encrypted tunnels, and nobody else: with it nothing has to be told but the key.
    #[must_use]
    pub fn inner_address(self) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets[..6].copy_from_slice(&INNER);
        octets[6..].copy_from_slice(&self.0[..10]);
        octets.into()
    }
}

/// Those of base64 (RFC 4648 section 4).
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes of 43 digits and their filling, if they are that and nothing else.
fn decoded(text: &str) -> Option<[u8; PublicKey::BYTES]> {
    let digits = text.strip_suffix('=').filter(|digits| digits.len() == 43)?;
    let mut bytes = Vec::with_capacity(PublicKey::BYTES + 1);
    let (mut word, mut bits) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        word = (word << 6 | u32::try_from(value).ok()?) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(word >> bits & 0xff).ok()?);
        }
    }
    // What is left over says nothing, or one key would have several spellings.
    if word & ((1 << bits) - 1) != 0 { None } else { bytes.try_into().ok() }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(decoded(text).ok_or_else(|| PublicKeyError::Form(text.to_owned()))?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Three bytes are four digits of six bits; of the last two bytes the third is the filling.
        for three in self.0.chunks(3) {
            let word = three.iter().fold(0, |word: u32, byte| word << 8 | u32::from(*byte))
                << (8 * (3 - three.len()));
            for place in 0..=three.len() {
                let digit = usize::try_from(word >> (18 - 6 * place) & 63).unwrap_or_default();
                f.write_char(char::from(DIGITS[digit]))?;
            }
        }
        f.write_char('=')
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";

    #[test]
    fn a_key_reads_as_it_was_written() {
        let key: PublicKey = KEY.parse().unwrap();
        assert_eq!(key.to_string(), KEY);
        assert_eq!(key.inner_address().to_string(), "fd68:6e73:1:1c88:28f7:1373:24c5:8b28");
    }

    #[test]
    fn what_is_no_key_and_what_anybody_could_speak_with_is_refused() {
        for wrong in ["", "x", &KEY[..43], "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykx=", &format!("{KEY}A")]
        {
            assert_eq!(wrong.parse::<PublicKey>(), Err(PublicKeyError::Form(wrong.to_owned())));
        }
        for weak in WEAK {
            assert!(PublicKey::new(weak).is_err());
        }
        let mut disguised = KEY.parse::<PublicKey>().unwrap().bytes();
        disguised[31] |= 0x80;
        assert!(PublicKey::new(disguised).is_err());
    }
}
