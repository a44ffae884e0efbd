use std::fmt::Display;
use std::str::FromStr;

use hns_net::Guid;
use serde_json::{Map, Value, json};

use crate::code::ErrorCode;

/// A document that cannot be taken: which field, why, and HCN's code for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", if .field.is_empty() { .problem.clone() } else { format!("{}: {}", .field, .problem) })]
pub struct DocumentError {
    /// Path of the field from the top of the document; empty for the document itself.
    pub field: String,
    pub problem: String,
    pub code: ErrorCode,
}

impl DocumentError {
    pub fn new(field: impl Into<String>, problem: impl Display, code: ErrorCode) -> Self {
        Self { field: field.into(), problem: problem.to_string(), code }
    }
}

/// One JSON object under reading. Keys match in any letter case; each known key is taken once, and
/// [`Fields::finish`] refuses what nobody took.
pub(crate) struct Fields<'v> {
    path: String,
    code: ErrorCode,
    entries: Vec<(&'v str, &'v Value)>,
    known: Vec<&'static str>,
}

/// A value with the path it was found at.
pub(crate) struct Found<'v> {
    pub value: &'v Value,
    pub path: String,
}

impl<'v> Fields<'v> {
    pub fn of(value: &'v Value, path: impl Into<String>, code: ErrorCode) -> Result<Self, DocumentError> {
        let path = path.into();
        match value {
            Value::Object(map) => Ok(Self::of_map(map, path, code)),
            other => {
                Err(DocumentError::new(path, format!("expected an object, found {}", kind(other)), code))
            }
        }
    }

    fn of_map(map: &'v Map<String, Value>, path: String, code: ErrorCode) -> Self {
        let entries = map.iter().map(|(key, value)| (key.as_str(), value)).collect();
        Self { path, code, entries, known: Vec::new() }
    }

    pub fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub fn error(&self, key: &str, problem: impl Display) -> DocumentError {
        DocumentError::new(self.path(key), problem, self.code)
    }

    /// The value under the first of these names; `null` counts as absent. The first name is the one
    /// shown in errors, the others are spellings that some clients use.
    pub fn take(&mut self, names: &[&'static str]) -> Option<Found<'v>> {
        self.known.push(names[0]);
        let mut found = None;
        for name in names {
            while let Some(place) = self.entries.iter().position(|(key, _)| key.eq_ignore_ascii_case(name)) {
                let (key, value) = self.entries.swap_remove(place);
                if found.is_none() && !value.is_null() {
                    found = Some(Found { value, path: self.path(key) });
                }
            }
        }
        found
    }

    /// Whether an entry like this is still there, for the few fields that come in two shapes.
    pub fn entry(&self, like: impl Fn(&(&'v str, &'v Value)) -> bool) -> bool {
        self.entries.iter().any(like)
    }

    /// Takes fields that are read by nobody: those that a client sends back from an earlier answer.
    pub fn pass_over(&mut self, names: &[&'static str]) {
        for name in names {
            self.take(&[name]);
        }
    }

    /// Text as it is, the empty one included.
    pub fn raw_text(&mut self, names: &[&'static str]) -> Result<Option<String>, DocumentError> {
        let Some(found) = self.take(names) else { return Ok(None) };
        match found.value {
            Value::String(text) => Ok(Some(text.clone())),
            other => Err(self.mismatch(&found.path, "text", other)),
        }
    }

    /// Text that is not empty; `""` counts as absent.
    pub fn text(&mut self, names: &[&'static str]) -> Result<Option<String>, DocumentError> {
        Ok(self.raw_text(names)?.filter(|text| !text.is_empty()))
    }

    /// Text parsed into a domain type; `""` counts as absent.
    pub fn parsed<T>(&mut self, names: &[&'static str], code: ErrorCode) -> Result<Option<T>, DocumentError>
    where
        T: FromStr<Err: Display>,
    {
        let Some(found) = self.take(names) else { return Ok(None) };
        let Value::String(text) = found.value else {
            return Err(self.mismatch(&found.path, "text", found.value));
        };
        if text.trim().is_empty() {
            return Ok(None);
        }
        match text.trim().parse() {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(DocumentError::new(found.path, naming(text, &error), code)),
        }
    }

    /// A whole number up to `max`; a number written as text counts too.
    pub fn number(&mut self, names: &[&'static str], max: u64) -> Result<Option<u64>, DocumentError> {
        let Some(found) = self.take(names) else { return Ok(None) };
        let number = match found.value {
            Value::String(text) if text.is_empty() => return Ok(None),
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        match number {
            Some(number) if number <= max => Ok(Some(number)),
            _ => {
                let problem = format!("expected a whole number from 0 to {max}, found {}", found.value);
                Err(DocumentError::new(found.path, problem, self.code))
            }
        }
    }

    pub fn number_u16(&mut self, names: &[&'static str]) -> Result<Option<u16>, DocumentError> {
        Ok(self.number(names, u64::from(u16::MAX))?.and_then(|n| u16::try_from(n).ok()))
    }

    pub fn number_u32(&mut self, names: &[&'static str]) -> Result<Option<u32>, DocumentError> {
        Ok(self.number(names, u64::from(u32::MAX))?.and_then(|n| u32::try_from(n).ok()))
    }

    pub fn flag(&mut self, names: &[&'static str]) -> Result<Option<bool>, DocumentError> {
        let Some(found) = self.take(names) else { return Ok(None) };
        match found.value {
            Value::Bool(flag) => Ok(Some(*flag)),
            other => Err(self.mismatch(&found.path, "true or false", other)),
        }
    }

    /// A list; absent and `null` are empty, `null` members are skipped.
    pub fn list(&mut self, names: &[&'static str]) -> Result<Vec<Found<'v>>, DocumentError> {
        let Some(found) = self.take(names) else { return Ok(Vec::new()) };
        let Value::Array(members) = found.value else {
            return Err(self.mismatch(&found.path, "a list", found.value));
        };
        let with_path = |(place, value)| Found { value, path: format!("{}[{place}]", found.path) };
        Ok(members.iter().enumerate().map(with_path).filter(|member| !member.value.is_null()).collect())
    }

    /// A list of texts parsed into a domain type; empty texts are skipped.
    pub fn parsed_list<T>(&mut self, names: &[&'static str], code: ErrorCode) -> Result<Vec<T>, DocumentError>
    where
        T: FromStr<Err: Display>,
    {
        let mut values = Vec::new();
        for found in self.list(names)? {
            let Value::String(text) = found.value else {
                return Err(self.mismatch(&found.path, "text", found.value));
            };
            if text.is_empty() {
                continue;
            }
            let wrong = |error| DocumentError::new(found.path, naming(text, &error), code);
            values.push(text.parse().map_err(wrong)?);
        }
        Ok(values)
    }

    /// A nested object; absent gives nothing.
    pub fn object(&mut self, names: &[&'static str]) -> Result<Option<Fields<'v>>, DocumentError> {
        self.take(names).map(|found| Fields::of(found.value, found.path, self.code)).transpose()
    }

    /// An enumeration by name (any letter case) or number.
    pub fn choice<T: Copy>(
        &mut self,
        names: &[&'static str],
        table: &[(&'static str, u64, T)],
        code: ErrorCode,
    ) -> Result<Option<T>, DocumentError> {
        let Some(found) = self.take(names) else { return Ok(None) };
        let hit = match found.value {
            Value::String(text) if text.is_empty() => return Ok(None),
            Value::String(text) => table.iter().find(|(name, ..)| name.eq_ignore_ascii_case(text)),
            other => other.as_u64().and_then(|n| table.iter().find(|(_, number, _)| *number == n)),
        };
        hit.map(|(.., value)| Some(*value)).ok_or_else(|| {
            let valid: Vec<_> = table.iter().map(|(name, ..)| *name).collect();
            let problem = format!("{} is not one of {}", found.value, valid.join(", "));
            DocumentError::new(found.path, problem, code)
        })
    }

    /// A set of flags: a number, a name, or names joined by `,` or `|`.
    pub fn flags(
        &mut self,
        names: &[&'static str],
        table: &[(&'static str, u32)],
    ) -> Result<u32, DocumentError> {
        let Some(found) = self.take(names) else { return Ok(0) };
        let all = table.iter().fold(0, |bits, (_, bit)| bits | bit);
        let bits = match found.value {
            Value::String(text) => text
                .split([',', '|'])
                .map(str::trim)
                .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("None"))
                .try_fold(0, |bits, name| {
                    let hit = table.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                    hit.map(|(_, bit)| bits | bit).or_else(|| name.parse().ok().map(|n: u32| bits | n))
                }),
            other => other.as_u64().and_then(|n| u32::try_from(n).ok()),
        };
        match bits {
            Some(bits) if bits & !all == 0 => Ok(bits),
            _ => {
                let valid: Vec<_> = table.iter().map(|(name, bit)| format!("{name} {bit}")).collect();
                let problem = format!("{} is not a set of {}", found.value, valid.join(", "));
                Err(DocumentError::new(found.path, problem, self.code))
            }
        }
    }

    /// Refuses the fields that nobody took, by name (API-2).
    pub fn finish(self) -> Result<(), DocumentError> {
        match self.entries.first() {
            None => Ok(()),
            Some((key, _)) => {
                let problem = format!("unknown field; known here: {}", self.known.join(", "));
                Err(DocumentError::new(self.path(key), problem, self.code))
            }
        }
    }

    /// What nobody took, to be kept as it is.
    pub fn rest(self) -> Map<String, Value> {
        self.entries.into_iter().map(|(key, value)| (key.to_owned(), value.clone())).collect()
    }

    fn mismatch(&self, path: &str, wanted: &str, found: &Value) -> DocumentError {
        DocumentError::new(path, format!("expected {wanted}, found {}", kind(found)), self.code)
    }
}

/// What a value is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Why a text is refused, with the text itself: the standard library's parsers do not repeat it.
fn naming(text: &str, error: &impl Display) -> String {
    let error = error.to_string();
    if error.contains(text.trim()) { error } else { format!("\"{text}\": {error}") }
}

/// The fields of HCN's base schema that only answers carry: accepted in a request if they have their type, and
/// otherwise unread, so that what Query returns can be fed to Create (API-1).
pub(crate) fn pass_over_base(fields: &mut Fields<'_>) -> Result<(), DocumentError> {
    if let Some(mut schema) = fields.object(&["SchemaVersion"])? {
        schema.number_u32(&["Major"])?;
        schema.number_u32(&["Minor"])?;
        schema.finish()?;
    }
    fields.number(&["Version"], u64::MAX)?;
    fields.number_u16(&["State"])?;
    fields.object(&["Health"])?;
    fields.object(&["Telemetry"])?;
    fields.text(&["ActivityId"])?;
    Ok(())
}

/// What every object's document begins with.
pub(crate) fn base_to_v2(id: Option<Guid>, name: &str, owner: Option<&String>) -> Map<String, Value> {
    let mut out = Map::new();
    if let Some(id) = id {
        out.insert("ID".into(), json!(id.to_string()));
    }
    if !name.is_empty() {
        out.insert("Name".into(), json!(name));
    }
    if let Some(owner) = owner {
        out.insert("Owner".into(), json!(owner));
    }
    out.insert("SchemaVersion".into(), json!({ "Major": crate::SCHEMA.0, "Minor": crate::SCHEMA.1 }));
    out.insert("Version".into(), json!(crate::version_number()));
    out
}

/// Whether a character is not shown, but tells a terminal what to do (control characters), or turns round in what order
/// others are shown (Unicode's embeddings, overrides and isolates).
fn is_steering(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A text that a terminal only shows: what would steer it is escaped, unless it is among `kept`.
#[must_use]
pub fn escape_steering(text: &str, kept: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_steering(character) && !kept.contains(&character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// What every object's name must be: one that tools can show as it is.
pub fn check_name(name: &str, code: ErrorCode) -> Result<(), DocumentError> {
    if name.len() > 256 || name.chars().any(is_steering) {
        return Err(DocumentError::new("Name", "at most 256 bytes without control characters", code));
    }
    Ok(())
}
