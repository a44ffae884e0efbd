use hns_net::Cidr;
use serde_json::Value;

use super::address;
use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};

const CODE: ErrorCode = ErrorCode::INVALID_POLICY;

/// A named set of addresses of a network, for its rules (hcn-api 5.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetPolicy {
    /// What rules and nested sets name it by.
    pub id: String,
    pub name: String,
    pub values: SetValues,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetValues {
    /// IPSET.
    Addresses(Vec<Cidr>),
    /// NESTEDIPSET: the union of these sets, by id.
    Sets(Vec<String>),
}

#[derive(Clone, Copy)]
enum Kind {
    Addresses,
    Nested,
}

const KINDS: &[(&str, u64, Kind)] = &[("IPSET", 0, Kind::Addresses), ("NESTEDIPSET", 1, Kind::Nested)];

impl SetPolicy {
    pub(super) fn from_settings(settings: &Value, path: &str) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(settings, path, CODE)?;
        let no_id = fields.error("Id", "a set needs an id, by which rules name it");
        let id = fields.text(&["Id"])?.ok_or(no_id)?;
        if !address::can_name_a_set(&id) {
            let problem = format!("\"{id}\" would be read as addresses where rules name it");
            return Err(fields.error("Id", problem));
        }
        let name = fields.text(&["Name"])?.unwrap_or_default();
        let kind = fields.choice(&["PolicyType", "SetType"], KINDS, CODE)?.unwrap_or(Kind::Addresses);
        let values = match kind {
            Kind::Addresses => SetValues::Addresses(address::prefixes(&mut fields, &["Values"])?),
            Kind::Nested => {
                let ids = address::members(&mut fields, &["Values"])?;
                SetValues::Sets(ids.iter().map(|(_, id)| address::set_id(id)).collect())
            }
        };
        fields.finish()?;
        Ok(Self { id: address::set_id(&id), name, values })
    }

    /// The sets it stands for the union of; none of a plain one.
    #[must_use]
    pub fn nested(&self) -> &[String] {
        match &self.values {
            SetValues::Sets(ids) => ids,
            SetValues::Addresses(_) => &[],
        }
    }
}
