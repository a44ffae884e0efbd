use serde_json::Value;

use super::acl::{self, RuleAction, RuleDirection, RuleMatch};
use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields, Found};

const CODE: ErrorCode = ErrorCode::INVALID_POLICY;

/// A tier of rules of one direction (hcn-api 5.8): tiers decide before ordinary ACLs, by ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierAcl {
    pub name: String,
    pub direction: RuleDirection,
    pub order: u16,
    pub rules: Vec<TierAclRule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierAclRule {
    pub id: String,
    pub action: RuleAction,
    pub priority: u16,
    /// As of an ACL.
    pub enforce: bool,
    pub matches: RuleMatch,
}

impl TierAcl {
    pub(super) fn from_settings(settings: &Value, path: &str) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(settings, path, CODE)?;
        let no_direction = fields.error("Direction", "a tier needs a direction: In or Out");
        let name = fields.text(&["Name"])?.unwrap_or_default();
        let direction = fields.choice(&["Direction"], RuleDirection::TABLE, CODE)?.ok_or(no_direction)?;
        let order = fields.number_u16(&["Order"])?.unwrap_or(0);
        let rules =
            fields.list(&["TierAclRules"])?.iter().map(TierAclRule::from_v2).collect::<Result<_, _>>()?;
        fields.finish()?;
        Ok(Self { name, direction, order, rules })
    }
}

impl TierAclRule {
    fn from_v2(found: &Found<'_>) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(found.value, &found.path, CODE)?;
        let no_action = fields.error("TierAclRuleAction", "a rule needs an action: Allow, Block or Pass");
        let rule = Self {
            id: fields.text(&["Id"])?.unwrap_or_default(),
            action: fields
                .choice(&["TierAclRuleAction", "Action"], RuleAction::TABLE, CODE)?
                .ok_or(no_action)?,
            priority: fields.number_u16(&["Priority"])?.unwrap_or(0),
            enforce: fields.flag(&["Enforce"])?.unwrap_or(true),
            matches: RuleMatch::from_fields(&mut fields)?,
        };
        acl::check_enforce(rule.enforce, rule.action, &fields)?;
        fields.finish()?;
        Ok(rule)
    }
}
