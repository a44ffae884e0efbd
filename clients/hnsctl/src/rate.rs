use std::fmt;
use std::str::FromStr;

/// How much an endpoint may send or receive in a second: `10mbit`, or in bytes `20kB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub bytes_per_second: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no rate: write 500kbit, 10mbit or 1gbit, or in bytes 20kB, 5MB or 1GB a second")]
pub struct RateError(String);

/// In thousands, as networks count; the larger come first, so that a rate is shown by the largest that divides it.
const BITS: [(&str, u64); 4] = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];
const BYTES: [(&str, u64); 4] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000), ("B", 1)];

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let wrong = || RateError(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let times = |unit: u64| number.checked_mul(unit);
        // "mb" could be either, and is neither.
        let bits = BITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let bytes = BYTES.iter().find(|(name, _)| *name == unit);
        let bytes_per_second = match (bits, bytes) {
            (Some((_, unit)), _) => times(*unit).map(|bits| bits / 8),
            (None, Some((_, unit))) => times(*unit),
            (None, None) => None,
        };
        // 0 in a document is no limit, the opposite of what it says here.
        bytes_per_second
            .filter(|bytes| *bytes > 0)
            .map(|bytes_per_second| Self { bytes_per_second })
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.bytes_per_second.checked_mul(8);
        let whole = |amount: u64, unit: u64| amount >= unit && amount.is_multiple_of(unit);
        let in_bits = BITS[..3].iter().find(|(_, unit)| bits.is_some_and(|bits| whole(bits, *unit)));
        match (in_bits, bits) {
            (Some((name, unit)), Some(bits)) => write!(f, "{}{name}", bits / unit),
            _ => write!(f, "{}B", self.bytes_per_second),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bits_or_bytes_of_a_second() {
        let rows = [
            ("10mbit", 1_250_000, "10mbit"),
            ("500Kbit", 62_500, "500kbit"),
            ("1gbit", 125_000_000, "1gbit"),
            ("1500mbit", 187_500_000, "1500mbit"),
            ("20kB", 20_000, "160kbit"),
            ("5MB", 5_000_000, "40mbit"),
            ("2GB", 2_000_000_000, "16gbit"),
            ("9B", 9, "9B"),
            ("8000bit", 1000, "8kbit"),
            ("18446744073709551615B", u64::MAX, "18446744073709551615B"),
        ];
        for (text, bytes_per_second, shown) in rows {
            let rate: Rate = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(rate, Rate { bytes_per_second }, "{text}");
            assert_eq!(rate.to_string(), shown);
            assert_eq!(shown.parse(), Ok(rate));
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        let wrong = [
            "", "10", "mbit", "10mb", "10Mb", "10mbps", "0mbit", "7bit", "-1mbit", "1.5mbit", "10 mbit",
            "20KiB",
        ];
        for text in wrong.into_iter().chain(["99999999999999999999gbit", "18446744073709551615kB"]) {
            let told = text.parse::<Rate>().expect_err(text).to_string();
            assert!(told.starts_with(&format!("\"{text}\" is no rate: write 500kbit")), "{told}");
        }
    }
}
