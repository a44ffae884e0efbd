use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::failure::Failure;

/// A value with its place in the configuration, such as `ipam.ranges[0][1].subnet`.
#[derive(Debug, Clone)]
pub(crate) struct Found<'v> {
    pub path: String,
    /// The key it stands under; empty for a member of a list.
    pub key: &'v str,
    pub value: &'v Value,
}

/// A JSON object of the configuration under reading. Keys match in any letter case, as Go's library reads them and
/// configurations for Windows rely on; a key that comes twice counts as its last. `null` and empty texts are absent.
#[derive(Debug)]
pub(crate) struct Object<'v> {
    path: String,
    entries: Vec<(&'v str, &'v Value)>,
}

impl<'v> Object<'v> {
    pub fn of_map(map: &'v Map<String, Value>) -> Self {
        let entries = map.iter().map(|(key, value)| (key.as_str(), value)).collect();
        Self { path: String::new(), entries }
    }

    pub fn of(found: &Found<'v>) -> Result<Self, Failure> {
        let Value::Object(map) = found.value else { return Err(found.expected("an object")) };
        Ok(Self { path: found.path.clone(), ..Self::of_map(map) })
    }

    pub fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub fn invalid(&self, key: &str, problem: impl Display) -> Failure {
        Failure::invalid(self.path(key), problem)
    }

    pub fn take(&mut self, name: &str) -> Option<Found<'v>> {
        let mut found = None;
        while let Some(place) = self.entries.iter().position(|(key, _)| key.eq_ignore_ascii_case(name)) {
            let (key, value) = self.entries.remove(place);
            found = Some(Found { path: self.path(key), key, value });
        }
        found.filter(|found| !found.value.is_null())
    }

    pub fn text(&mut self, name: &str) -> Result<Option<&'v str>, Failure> {
        let Some(found) = self.take(name) else { return Ok(None) };
        let text = found.value.as_str().ok_or_else(|| found.expected("a text"))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    pub fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        self.take(name).map_or(Ok(None), |found| found.parsed())
    }

    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        let Some(found) = self.take(name) else { return Ok(None) };
        found.value.as_bool().map(Some).ok_or_else(|| found.expected("true or false"))
    }

    pub fn number(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(found) = self.take(name) else { return Ok(None) };
        found.value.as_u64().map(Some).ok_or_else(|| found.expected("a whole number"))
    }

    pub fn object(&mut self, name: &str) -> Result<Option<Self>, Failure> {
        self.take(name).map(|found| Self::of(&found)).transpose()
    }

    pub fn list(&mut self, name: &str) -> Result<Vec<Found<'v>>, Failure> {
        self.take(name).map_or(Ok(Vec::new()), |found| found.list())
    }

    /// A list whose members are texts of some form.
    pub fn parsed_list<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Vec<T>, Failure> {
        let members = self.list(name)?;
        let parsed: Result<Vec<Option<T>>, Failure> = members.iter().map(Found::parsed).collect();
        Ok(parsed?.into_iter().flatten().collect())
    }

    /// What nobody took.
    pub fn rest(self) -> impl Iterator<Item = Found<'v>> {
        let path = self.path;
        self.entries.into_iter().filter(|(_, value)| !value.is_null()).map(move |(key, value)| Found {
            path: if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") },
            key,
            value,
        })
    }

    /// Refuses what nobody took.
    pub fn finish(self, why: &str) -> Result<(), Failure> {
        match self.rest().next() {
            None => Ok(()),
            Some(found) => Err(found.unsupported(why)),
        }
    }
}

impl<'v> Found<'v> {
    pub fn expected(&self, what: &str) -> Failure {
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Failure::invalid(&self.path, format!("expected {what}, found {found}"))
    }

    pub fn unsupported(&self, why: &str) -> Failure {
        Failure::Unsupported { field: self.path.clone(), value: self.value.clone(), why: why.to_owned() }
    }

    pub fn list(&self) -> Result<Vec<Found<'v>>, Failure> {
        let Value::Array(members) = self.value else { return Err(self.expected("a list")) };
        let member = |(place, value)| Found { path: format!("{}[{place}]", self.path), key: "", value };
        Ok(members.iter().enumerate().map(member).collect())
    }

    pub fn parsed<T: FromStr<Err: Display>>(&self) -> Result<Option<T>, Failure> {
        match self.value.as_str() {
            None => Err(self.expected("a text")),
            Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|error: T::Err| {
                let said = error.to_string();
                let problem =
                    if said.contains(&format!("{text:?}")) { said } else { format!("{text:?}: {said}") };
                Failure::invalid(&self.path, problem)
            }),
        }
    }

    /// Whether the value says nothing: `false`, `0`, an empty text, list or object.
    pub fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::Bool(said) => !said,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(members) => members.is_empty(),
            Value::Object(fields) => fields.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Object<'_> {
        Object::of(&Found { path: String::new(), key: "", value }).unwrap()
    }

    #[test]
    fn keys_match_in_any_case_and_the_last_counts() {
        let value = json!({"Name": "a", "NAME": "b", "empty": "", "nothing": null});
        let mut object = read(&value);
        assert_eq!(object.text("name").unwrap(), Some("b"));
        assert_eq!(object.text("name").unwrap(), None);
        assert_eq!(object.text("empty").unwrap(), None);
        assert!(object.finish("known to nobody").is_ok(), "null is absent");
    }

    #[test]
    fn errors_name_the_place() {
        let value = json!({"ipam": {"ranges": [[{"subnet": 7}]], "gateway": "x"}});
        let mut ipam = read(&value).object("ipam").unwrap().unwrap();
        let inner = ipam.list("ranges").unwrap()[0].list().unwrap();
        let mut range = Object::of(&inner[0]).unwrap();
        let said = range.parsed::<hns_net::Cidr>("subnet").unwrap_err().to_string();
        assert_eq!(said, "ipam.ranges[0][0].subnet: expected a text, found a number");
        let said = ipam.parsed::<std::net::IpAddr>("gateway").unwrap_err().to_string();
        assert_eq!(said, "ipam.gateway: \"x\": invalid IP address syntax");
    }

    #[test]
    fn what_nobody_reads_is_refused_with_its_key_and_value() {
        let value = json!({"odd": {"x": 1}});
        let failure = read(&value).finish("nobody reads it").unwrap_err();
        assert_eq!(failure.code(), 2);
        assert_eq!(failure.to_string(), "odd = {\"x\":1} is not supported: nobody reads it");
    }
}
