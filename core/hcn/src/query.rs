use hns_net::Guid;
use serde_json::{Map, Value};

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};

/// A HostComputeQuery: an equality conjunction over properties (hcn-api 2.3).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    filter: Vec<(String, Value)>,
    pub detailed: bool,
}

/// The v1 names of properties, which filters use even when they ask for v2 output, and their v2 twins.
const TWINS: &[(&str, &str)] =
    &[("VirtualNetwork", "HostComputeNetwork"), ("Namespace", "HostComputeNamespace")];

impl Query {
    /// Reads the text of the `query` parameter; empty text asks for everything.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| DocumentError::new("query", error, ErrorCode::INVALID_JSON))?;
        let Value::Object(map) = &value else {
            let problem = "expected a HostComputeQuery, such as {\"Filter\":\"{\\\"Name\\\":\\\"nat\\\"}\"}";
            return Err(DocumentError::new("query", problem, ErrorCode::INVALID_JSON));
        };
        let is_envelope = |key: &String| {
            ["SchemaVersion", "Flags", "Filter"].iter().any(|known| known.eq_ignore_ascii_case(key))
        };
        if map.keys().any(is_envelope) { Self::from_envelope(&value) } else { Ok(Self::of_filter(map)) }
    }

    fn from_envelope(value: &Value) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(value, "query", ErrorCode::INVALID_JSON)?;
        let schema = fields.object(&["SchemaVersion"])?;
        let detailed = fields.flags(&["Flags"], &[("Detailed", 1)])? == 1;
        let filter = fields.take(&["Filter"]);
        fields.finish()?;
        if let Some(mut schema) = schema
            && schema.number(&["Major"], 1000)? == Some(1)
        {
            let problem = "answers in the v1 shape are not served here; ask for Major 2";
            return Err(DocumentError::new("query.SchemaVersion", problem, ErrorCode::REQUEST_UNSUPPORTED));
        }
        let filter = match filter.map(|found| found.value) {
            None => Map::new(),
            Some(Value::String(text)) if text.trim().is_empty() => Map::new(),
            Some(Value::String(text)) => serde_json::from_str(text)
                .map_err(|error| DocumentError::new("query.Filter", error, ErrorCode::INVALID_JSON))?,
            Some(Value::Object(map)) => map.clone(),
            Some(_) => {
                let problem = "expected a text that holds a JSON object";
                return Err(DocumentError::new("query.Filter", problem, ErrorCode::INVALID_JSON));
            }
        };
        Ok(Self { detailed, ..Self::of_filter(&filter) })
    }

    fn of_filter(map: &Map<String, Value>) -> Self {
        Self { filter: map.iter().map(|(k, v)| (k.clone(), v.clone())).collect(), detailed: false }
    }

    /// The id that the filter pins, so that a look-up by id need not list everything (rule Q5).
    #[must_use]
    pub fn id(&self) -> Option<Guid> {
        let (_, value) = self.filter.iter().find(|(key, _)| key.eq_ignore_ascii_case("ID"))?;
        value.as_str()?.parse().ok()
    }

    /// Whether a document has all the properties asked for. An unknown property matches nothing.
    #[must_use]
    pub fn matches(&self, document: &Value) -> bool {
        self.filter.iter().all(|(key, wanted)| {
            let key =
                TWINS.iter().find(|(v1, _)| v1.eq_ignore_ascii_case(key)).map_or(key.as_str(), |(_, v2)| v2);
            let Value::Object(map) = document else { return false };
            let found = map.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
            found.is_some_and(|(_, value)| equal(value, wanted))
        })
    }
}

/// GUIDs compare without case, other texts exactly, numbers by value.
fn equal(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::String(found), Value::String(wanted)) => {
            found == wanted
                || matches!((found.parse::<Guid>(), wanted.parse::<Guid>()), (Ok(a), Ok(b)) if a == b)
        }
        (Value::Number(found), Value::Number(wanted)) => found.as_f64() == wanted.as_f64(),
        _ => found == wanted,
    }
}
