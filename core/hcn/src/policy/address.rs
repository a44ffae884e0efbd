//! Lists of addresses, sets, ports and protocols, as policies write them.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use hns_net::{Cidr, Guid, PortRange};
use serde_json::Value;

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields, Found, kind};

const CODE: ErrorCode = ErrorCode::INVALID_POLICY;

/// One side of a rule. Empty text stands for [`Addresses::Any`]; addresses are alternatives, while an address must
/// be in all of the sets that are named (hcn-api 5.6).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Addresses {
    #[default]
    Any,
    Prefixes(Vec<Cidr>),
    /// Ids of SetPolicies of the network.
    Sets(Vec<String>),
}

impl Addresses {
    #[must_use]
    pub fn sets(&self) -> &[String] {
        match self {
            Self::Sets(ids) => ids,
            Self::Any | Self::Prefixes(_) => &[],
        }
    }
}

/// What clients write for "any" elsewhere; here the empty text says so, and HNS refuses these.
const WORDS: &[&str] = &["any", "all", "*", "none"];

/// A protocol number that stands for all of them (hcn-api 3.7).
const ANY_PROTOCOL: u16 = 256;

/// The members of a list that came as text with commas, as one number, or as a JSON list; with the place of each.
pub(super) fn members(
    fields: &mut Fields<'_>,
    names: &[&'static str],
) -> Result<Vec<(String, String)>, DocumentError> {
    let Some(found) = fields.take(names) else { return Ok(Vec::new()) };
    let Value::Array(list) = found.value else { return split(&found) };
    let mut members = Vec::new();
    for (place, value) in list.iter().enumerate().filter(|(_, value)| !value.is_null()) {
        members.extend(split(&Found { value, path: format!("{}[{place}]", found.path) })?);
    }
    Ok(members)
}

fn split(found: &Found<'_>) -> Result<Vec<(String, String)>, DocumentError> {
    let text = match found.value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => {
            let problem = format!("expected text with a list, found {}", kind(other));
            return Err(DocumentError::new(&found.path, problem, CODE));
        }
    };
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    Ok(parts.map(|part| (found.path.clone(), part.to_owned())).collect())
}

/// `10.4.0.7`, `10.4.0.0/16` or their IPv6 forms; host bits count for nothing (hcn-api 5.4).
pub(super) fn prefix(text: &str) -> Result<Cidr, String> {
    let address = text.parse::<IpAddr>().map(Cidr::host);
    let prefix = address.or_else(|_| Cidr::from_str(text));
    let prefix = prefix.map_err(|_| format!("\"{text}\" is not an address or a prefix"))?;
    match prefix.network() {
        // No packet has such an address, so a rule about it would never hold.
        IpAddr::V6(mapped) if prefix.length() >= 96 && mapped.to_ipv4_mapped().is_some() => {
            Err(format!("\"{text}\" is an IPv4 address in IPv6 form; write it as IPv4"))
        }
        _ => Ok(prefix),
    }
}

/// Addresses and prefixes, without sets.
pub(super) fn prefixes(fields: &mut Fields<'_>, names: &[&'static str]) -> Result<Vec<Cidr>, DocumentError> {
    parsed(fields, names, prefix)
}

/// One side of a rule: addresses or set ids, not both in one field, since they combine differently.
pub(super) fn addresses(fields: &mut Fields<'_>, names: &[&'static str]) -> Result<Addresses, DocumentError> {
    let (mut prefixes, mut sets) = (Vec::new(), Vec::new());
    for (path, text) in members(fields, names)? {
        let refuse = |problem: String| DocumentError::new(&path, problem, CODE);
        if WORDS.iter().any(|word| word.eq_ignore_ascii_case(&text)) {
            return Err(refuse(format!("\"{text}\" is no address; leave the field empty for every address")));
        }
        match prefix(&text) {
            Ok(prefix) => prefixes.push(prefix),
            Err(problem) if looks_like_an_address(&text) => return Err(refuse(problem)),
            Err(_) => sets.push(set_id(&text)),
        }
        if !prefixes.is_empty() && !sets.is_empty() {
            return Err(refuse("addresses and set ids cannot stand in one field".to_owned()));
        }
    }
    Ok(match (prefixes.is_empty(), sets.is_empty()) {
        (true, true) => Addresses::Any,
        (false, _) => Addresses::Prefixes(prefixes),
        (true, false) => Addresses::Sets(sets),
    })
}

/// Whether a rule that has this text in a field of addresses names a set by it.
pub(super) fn can_name_a_set(id: &str) -> bool {
    let is_word = WORDS.iter().any(|word| word.eq_ignore_ascii_case(id));
    !is_word && !id.contains(',') && prefix(id).is_err() && !looks_like_an_address(id)
}

/// Whether a text that is no address was meant to be one, rather than the id of a set.
fn looks_like_an_address(text: &str) -> bool {
    text.contains([':', '/']) || text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// The id of a set: exact text, except that a GUID is the same in either case (rule Q1).
pub(super) fn set_id(text: &str) -> String {
    text.parse::<Guid>().map_or_else(|_| text.to_owned(), |id| id.to_string())
}

/// Ports and ranges of ports; empty: any.
pub(super) fn ports(
    fields: &mut Fields<'_>,
    names: &[&'static str],
) -> Result<Vec<PortRange>, DocumentError> {
    parsed(fields, names, |text| text.parse::<PortRange>().map_err(|error| error.to_string()))
}

/// IP protocol numbers; empty: any. 256 anywhere in the list makes it "any".
pub(super) fn protocols(fields: &mut Fields<'_>, names: &[&'static str]) -> Result<Vec<u8>, DocumentError> {
    let numbers = parsed(fields, names, |text| match text.parse::<u16>() {
        Ok(number @ 1..=ANY_PROTOCOL) => Ok(number),
        _ => Err(format!("\"{text}\" is not the number of an IP protocol, 1 to 255, or 256 for any")),
    })?;
    if numbers.contains(&ANY_PROTOCOL) {
        return Ok(Vec::new());
    }
    Ok(numbers.into_iter().filter_map(|number| u8::try_from(number).ok()).collect())
}

/// A list whose members are read by `parse`.
pub(super) fn parsed<T, E: Display>(
    fields: &mut Fields<'_>,
    names: &[&'static str],
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, DocumentError> {
    let read =
        |(path, text): (String, String)| parse(&text).map_err(|error| DocumentError::new(path, error, CODE));
    members(fields, names)?.into_iter().map(read).collect()
}
