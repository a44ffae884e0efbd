use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};

/// Name service settings of a network or an endpoint (HCN `DNS`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    pub domain: Option<String>,
    pub search: Vec<String>,
    pub servers: Vec<IpAddr>,
    pub options: Vec<String>,
}

impl Dns {
    pub(crate) fn from_v2(fields: &mut Fields<'_>) -> Result<Self, DocumentError> {
        fields.object(&["Dns"])?.map_or_else(|| Ok(Self::default()), Self::read)
    }

    /// The object itself, as it stands in a Modify of a network.
    pub(crate) fn read(mut dns: Fields<'_>) -> Result<Self, DocumentError> {
        let read = Self {
            domain: dns.text(&["Domain", "Suffix"])?,
            search: dns.parsed_list(&["Search"], ErrorCode::INVALID_NETWORK)?,
            servers: dns.parsed_list(&["ServerList"], ErrorCode::INVALID_IP)?,
            options: dns.parsed_list(&["Options"], ErrorCode::INVALID_NETWORK)?,
        };
        dns.finish()?;
        Ok(read)
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let mut out = Map::new();
        if let Some(domain) = &self.domain {
            out.insert("Domain".into(), json!(domain));
        }
        if !self.search.is_empty() {
            out.insert("Search".into(), json!(self.search));
        }
        if !self.servers.is_empty() {
            let servers: Vec<_> = self.servers.iter().map(ToString::to_string).collect();
            out.insert("ServerList".into(), json!(servers));
        }
        if !self.options.is_empty() {
            out.insert("Options".into(), json!(self.options));
        }
        Value::Object(out)
    }
}
