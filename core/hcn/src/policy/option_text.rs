//! Policies as the values of options: how engines' command lines take rules and rates.

use super::qos::{Bandwidth, Qos};
use super::rule_text::{RuleText, RuleTextError};
use super::{Policy, PolicySettings};

/// The rules of an option's value, `RULE[;RULE..]`. `+` stands for the `,` of a list as well: podman takes the comma for the end
/// of an option, and Docker's `--network` for the end of a field. Quoted or behind a backslash both are themselves.
///
/// # Errors
/// When one is no rule, or there is none.
pub fn rules_of_option(value: &str) -> Result<Vec<RuleText>, RuleTextError> {
    let rules: Vec<String> = parts(value).into_iter().filter(|rule| !rule.trim().is_empty()).collect();
    if rules.is_empty() {
        return Err(RuleTextError::Beginning { found: String::new() });
    }
    rules.iter().map(|rule| rule.parse()).collect()
}

fn parts(value: &str) -> Vec<String> {
    let (mut parts, mut part, mut in_quotes) = (Vec::new(), String::new(), false);
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            ';' if !in_quotes => parts.push(std::mem::take(&mut part)),
            '+' if !in_quotes => part.push(','),
            '\\' => {
                part.push(character);
                part.extend(characters.next());
            }
            _ => {
                in_quotes ^= character == '"';
                part.push(character);
            }
        }
    }
    parts.push(part);
    parts
}

/// In thousands, as networks count.
const BITS: [(&str, u64); 4] = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1000), ("bit", 1)];
const BYTES: [(&str, u64); 4] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000), ("B", 1)];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no rate: write 500kbit, 10mbit or 1gbit, or in bytes 20kB, 5MB or 1GB a second")]
pub struct RateTextError(String);

impl Bandwidth {
    /// A rate in words, `10mbit` or in bytes `20kB`, with the burst that is chosen from it.
    ///
    /// # Errors
    /// When it is no rate, or less than a byte: 0 in a document is no limit, the opposite of what it says here.
    pub fn of_option(value: &str) -> Result<Self, RateTextError> {
        let wrong = || RateTextError(value.to_owned());
        let digits = value.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = value.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        // "mb" could be either, and is neither.
        let bits = BITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let bytes = BYTES.iter().find(|(name, _)| *name == unit);
        let bytes = match (bits, bytes) {
            (Some((_, unit)), _) => number.checked_mul(*unit).map(|bits| bits / 8),
            (None, Some((_, unit))) => number.checked_mul(*unit),
            (None, None) => None,
        };
        let bytes_per_second = bytes.filter(|bytes| *bytes > 0).ok_or_else(wrong)?;
        Ok(Self { bytes_per_second, burst_bytes: None })
    }
}

impl Policy {
    /// The limits of an endpoint.
    #[must_use]
    pub fn qos(limits: Qos) -> Self {
        Self { kind: "QOS", settings: limits.to_settings(), meaning: PolicySettings::Qos(limits) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(value: &str) -> Result<Vec<String>, String> {
        let rules = rules_of_option(value).map_err(|error| error.to_string())?;
        Ok(rules.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn rules_stand_behind_one_another() {
        let rows = [
            ("in allow tcp port 80", vec!["in allow tcp port 80"]),
            (
                "in allow tcp+udp from 10.0.0.1+fd00::1 port 53,54 ; out allow;",
                vec!["in allow tcp,udp from 10.0.0.1,fd00::1 port 53,54", "out allow"],
            ),
            (
                r#"in block id "a;b+c" ; out block id a\;b\+c"#,
                vec!["in block id a;b+c", "out block id a;b+c"],
            ),
            (r#"in block id "\";" ; out block"#, vec![r#"in block id "\";""#, "out block"]),
        ];
        for (value, expected) in rows {
            assert_eq!(rules(value).expect(value), expected, "{value}");
        }
        for (value, said) in [
            ("", "a rule begins with"),
            (" ; ", "a rule begins with"),
            ("in allow; in blok", "not with \"in blok\""),
            ("in allow id \"x; out allow", "a quote is not closed"),
            ("in allow id x\\", "a quote is not closed"),
        ] {
            let told = rules(value).expect_err(value);
            assert!(told.contains(said), "{value}: {told}");
        }
    }

    #[test]
    fn rates_are_bits_or_bytes_of_a_second() {
        for (value, bytes) in [
            ("8bit", 1),
            ("15BIT", 1),
            ("160kbit", 20_000),
            ("100Mbit", 12_500_000),
            ("1gbit", 125_000_000),
            ("9B", 9),
            ("20kB", 20_000),
            ("5MB", 5_000_000),
            ("2GB", 2_000_000_000),
        ] {
            let rate = Bandwidth { bytes_per_second: bytes, burst_bytes: None };
            assert_eq!(Bandwidth::of_option(value), Ok(rate), "{value}");
        }
        let wrong =
            ["", "100", "mbit", "-1mbit", "+1mbit", "1.5mbit", "1mb", "1Mb", "1 mbit", "0mbit", "7bit"];
        for value in wrong.into_iter().chain(["18446744073709551615kbit"]) {
            let said = Bandwidth::of_option(value).expect_err(value).to_string();
            assert!(said.starts_with(&format!("\"{value}\" is no rate: write 500kbit")), "{said}");
        }
    }

    #[test]
    fn limits_as_a_policy_are_read_as_they_were() {
        let burst = Bandwidth { bytes_per_second: 7, burst_bytes: Some(9) };
        let plain = Bandwidth { bytes_per_second: 5, burst_bytes: None };
        for limits in [
            Qos { outgoing: Some(burst), incoming: Some(plain) },
            Qos { outgoing: None, incoming: Some(burst) },
            Qos::default(),
        ] {
            let read = Qos::from_settings(&Policy::qos(limits).to_v2()["Settings"], "");
            assert_eq!(read, Ok(limits));
        }
    }
}
