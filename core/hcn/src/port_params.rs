use serde_json::{Map, Value, json};

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};
use crate::policy::RuleAction;

/// What a switch port does where no rule says anything, in the `AdditionalParams` of a network or an endpoint
/// (ours). What is absent on an endpoint is its network's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortParams {
    /// What becomes of packets that no rule matches; absent: Block once the endpoint has a rule of the switch,
    /// else Allow (hcn-api 5.5). Never [`RuleAction::Pass`].
    pub acl_default_in: Option<RuleAction>,
    pub acl_default_out: Option<RuleAction>,
    /// Source MAC and IP, ARP and neighbour discovery must be the endpoint's; absent: true.
    pub spoof_guard: Option<bool>,
    /// No router advertisements and redirects from the endpoint (RFC 6105); absent: true.
    pub ra_guard: Option<bool>,
    /// No DHCP server's messages from the endpoint; absent: true.
    pub dhcp_guard: Option<bool>,
}

const DEFAULTS: &[(&str, u64, RuleAction)] =
    &[("Allow", 0, RuleAction::Allow), ("Block", 1, RuleAction::Block)];

impl PortParams {
    pub(crate) fn from_fields(params: &mut Fields<'_>, code: ErrorCode) -> Result<Self, DocumentError> {
        Ok(Self {
            acl_default_in: params.choice(&["AclDefaultIn"], DEFAULTS, code)?,
            acl_default_out: params.choice(&["AclDefaultOut"], DEFAULTS, code)?,
            spoof_guard: params.flag(&["SpoofGuard"])?,
            ra_guard: params.flag(&["RaGuard"])?,
            dhcp_guard: params.flag(&["DhcpGuard"])?,
        })
    }

    pub(crate) fn write(self, out: &mut Map<String, Value>) {
        let name = |action| if action == RuleAction::Allow { "Allow" } else { "Block" };
        for (key, action) in [("AclDefaultIn", self.acl_default_in), ("AclDefaultOut", self.acl_default_out)]
        {
            if let Some(action) = action {
                out.insert(key.into(), json!(name(action)));
            }
        }
        let guards =
            [("SpoofGuard", self.spoof_guard), ("RaGuard", self.ra_guard), ("DhcpGuard", self.dhcp_guard)];
        for (key, guard) in guards {
            if let Some(guard) = guard {
                out.insert(key.into(), json!(guard));
            }
        }
    }

    /// What is left when all that `other` says something about goes.
    #[must_use]
    pub fn without_those_of(self, other: Self) -> Self {
        Self {
            acl_default_in: self.acl_default_in.filter(|_| other.acl_default_in.is_none()),
            acl_default_out: self.acl_default_out.filter(|_| other.acl_default_out.is_none()),
            spoof_guard: self.spoof_guard.filter(|_| other.spoof_guard.is_none()),
            ra_guard: self.ra_guard.filter(|_| other.ra_guard.is_none()),
            dhcp_guard: self.dhcp_guard.filter(|_| other.dhcp_guard.is_none()),
        }
    }

    /// Whether it says anything.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// An endpoint's parameters where they say something, else those of its network.
    #[must_use]
    pub fn over(self, network: Self) -> Self {
        Self {
            acl_default_in: self.acl_default_in.or(network.acl_default_in),
            acl_default_out: self.acl_default_out.or(network.acl_default_out),
            spoof_guard: self.spoof_guard.or(network.spoof_guard),
            ra_guard: self.ra_guard.or(network.ra_guard),
            dhcp_guard: self.dhcp_guard.or(network.dhcp_guard),
        }
    }
}
