//! The answer of `GET /v2/endpoints/{id}/rules` (ours): what decides at a port, and how often it did.

use serde_json::{Value, json};

use crate::code::ErrorCode;
use crate::drops::{RuleName, direction_from};
use crate::fields::{DocumentError, Fields};
use crate::policy::{RuleAction, RuleDirection};

const CODE: ErrorCode = ErrorCode::INVALID_PARAMETER;

/// The rules of an endpoint's port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRules {
    /// Those of each direction in the order in which they are asked; none while the endpoint is not attached.
    pub rules: Vec<RuleCount>,
    /// What becomes of a packet that no rule names. Absent: there is no port that it could be about.
    pub default_in: Option<RuleAction>,
    pub default_out: Option<RuleAction>,
}

/// How many packets a rule decided on since the rules of its direction last changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCount {
    pub direction: RuleDirection,
    pub rule: RuleName,
    pub packets: u64,
}

impl PortRules {
    #[must_use]
    pub const fn default_of(&self, direction: RuleDirection) -> Option<RuleAction> {
        match direction {
            RuleDirection::In => self.default_in,
            RuleDirection::Out => self.default_out,
        }
    }

    /// Fields that a newer daemon adds are passed over.
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(document, "", CODE)?;
        let rules = fields.list(&["Rules"])?;
        let count = |found: &crate::fields::Found<'_>| {
            RuleCount::from_fields(&mut Fields::of(found.value, &found.path, CODE)?)
        };
        Ok(Self {
            rules: rules.iter().map(count).collect::<Result<_, _>>()?,
            default_in: fields.choice(&["DefaultIn"], RuleAction::TABLE, CODE)?,
            default_out: fields.choice(&["DefaultOut"], RuleAction::TABLE, CODE)?,
        })
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        json!({
            "Rules": self.rules.iter().map(RuleCount::to_v2).collect::<Vec<_>>(),
            "DefaultIn": self.default_in.map(RuleAction::name),
            "DefaultOut": self.default_out.map(RuleAction::name),
        })
    }
}

impl RuleCount {
    fn from_fields(fields: &mut Fields<'_>) -> Result<Self, DocumentError> {
        Ok(Self {
            direction: direction_from(fields)?,
            rule: RuleName::read(fields)?,
            packets: fields.number(&["Packets"], u64::MAX)?.unwrap_or_default(),
        })
    }

    fn to_v2(&self) -> Value {
        let mut rule = self.rule.to_v2();
        rule["Direction"] = json!(self.direction.name());
        rule["Packets"] = json!(self.packets);
        rule
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drops::RuleOrigin;

    #[test]
    fn counts_are_read_as_they_are_written() {
        let rule = |origin| RuleName {
            id: "web".to_owned(),
            origin,
            priority: 200,
            action: RuleAction::Pass,
            enforce: origin != RuleOrigin::Network,
        };
        let count = |origin| RuleCount { direction: RuleDirection::Out, rule: rule(origin), packets: 7 };
        let rules = PortRules {
            rules: vec![count(RuleOrigin::Tier), count(RuleOrigin::Network)],
            default_in: Some(RuleAction::Block),
            default_out: None,
        };
        assert_eq!(PortRules::from_v2(&rules.to_v2()), Ok(rules));
        let wrong = json!({"Rules": [{"Direction": "In", "Origin": "Sky", "Action": "Allow"}], "Later": 1});
        assert_eq!(PortRules::from_v2(&wrong).expect_err("no origin").field, "Rules[0].Origin");
    }
}
