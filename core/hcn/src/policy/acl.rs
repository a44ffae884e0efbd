use std::str::FromStr;

use hns_net::{PortRange, Transport};
use serde_json::Value;

use super::address::{self, Addresses};
use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};

const CODE: ErrorCode = ErrorCode::INVALID_POLICY;

const ICMP: [u8; 2] = [1, 58];

/// HCN `ActionType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleAction {
    Allow,
    Block,
    /// Of a tier's rule: the next tier decides.
    Pass,
}

impl RuleAction {
    pub(crate) const TABLE: &'static [(&'static str, u64, Self)] =
        &[("Allow", 0, Self::Allow), ("Block", 1, Self::Block), ("Pass", 2, Self::Pass)];
}

/// HCN `DirectionType`, as the endpoint sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleDirection {
    In,
    Out,
}

impl RuleDirection {
    pub(crate) const TABLE: &'static [(&'static str, u64, Self)] =
        &[("In", 0, Self::In), ("Out", 1, Self::Out)];
}

/// HCN `RuleType`: where Windows would hold the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleType {
    /// The firewall of the endpoint's own host or compartment.
    Host,
    /// The switch.
    Switch,
}

impl RuleType {
    const TABLE: &'static [(&'static str, u64, Self)] =
        &[("Host", 0, Self::Host), ("Switch", 1, Self::Switch)];
}

/// The condition of a rule; an empty list stands for "any".
///
/// Addresses stand as the fields name them: with sets, `local` is the source and `remote` the destination in both
/// directions, while plain addresses are the endpoint's side and the peer's (hcn-api 5.6). Ports follow their field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleMatch {
    pub protocols: Vec<u8>,
    pub local: Addresses,
    pub remote: Addresses,
    pub local_ports: Vec<PortRange>,
    pub remote_ports: Vec<PortRange>,
    /// Of ICMP and ICMPv6 (ours).
    pub icmp: Vec<IcmpType>,
}

/// `8` or `3/4`: an ICMP type, of one code or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpType {
    pub kind: u8,
    pub code: Option<u8>,
}

impl FromStr for IcmpType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, code) = text.split_once('/').map_or((text, None), |(kind, code)| (kind, Some(code)));
        let number = |part: &str| {
            part.parse::<u8>()
                .map_err(|_| format!("\"{text}\" is not an ICMP type (8) or type and code (3/4)"))
        };
        Ok(Self { kind: number(kind)?, code: code.map(number).transpose()? })
    }
}

/// An ACL or a NetworkACL (hcn-api 5.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// A free label, not unique; empty when there is none.
    pub id: String,
    /// Never [`RuleAction::Pass`].
    pub action: RuleAction,
    pub direction: RuleDirection,
    pub rule_type: RuleType,
    /// The lowest decides.
    pub priority: u16,
    /// False of a rule that blocks: it is watched, and drops nothing (ours).
    pub enforce: bool,
    pub matches: RuleMatch,
}

impl Acl {
    pub(super) fn from_settings(settings: &Value, path: &str) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(settings, path, CODE)?;
        let no_action = fields.error("Action", "a rule needs an action: Allow or Block");
        let no_direction = fields.error("Direction", "a rule needs a direction: In or Out");
        let no_tiers = fields.error("Action", "Pass is for the rules of a TierAcl");
        let acl = Self {
            id: fields.text(&["Id"])?.unwrap_or_default(),
            action: fields.choice(&["Action"], RuleAction::TABLE, CODE)?.ok_or(no_action)?,
            direction: fields.choice(&["Direction"], RuleDirection::TABLE, CODE)?.ok_or(no_direction)?,
            rule_type: fields.choice(&["RuleType"], RuleType::TABLE, CODE)?.unwrap_or(RuleType::Switch),
            priority: fields.number_u16(&["Priority"])?.unwrap_or(0),
            enforce: fields.flag(&["Enforce"])?.unwrap_or(true),
            matches: RuleMatch::from_fields(&mut fields)?,
        };
        check_enforce(acl.enforce, acl.action, &fields)?;
        // Of the v1 schema, without an effect of their own.
        fields.pass_over(&["Scope", "ServiceName"]);
        fields.finish()?;
        if acl.action == RuleAction::Pass { Err(no_tiers) } else { Ok(acl) }
    }
}

/// What a rule lets pass passes: there is nothing to watch.
pub(super) fn check_enforce(
    enforce: bool,
    action: RuleAction,
    fields: &Fields<'_>,
) -> Result<(), DocumentError> {
    if enforce || action == RuleAction::Block {
        return Ok(());
    }
    Err(fields.error("Enforce", "false is for rules that block; take the rule out instead"))
}

impl RuleMatch {
    /// Reads the fields that rules of every kind have; lists and v1's single values.
    pub(super) fn from_fields(fields: &mut Fields<'_>) -> Result<Self, DocumentError> {
        let matches = Self {
            protocols: protocols(fields)?,
            local: address::addresses(fields, &["LocalAddresses", "LocalAddress"])?,
            remote: address::addresses(fields, &["RemoteAddresses", "RemoteAddress"])?,
            local_ports: ports(fields, &["LocalPorts"], &["LocalPort", "InternalPort"])?,
            remote_ports: ports(fields, &["RemotePorts"], &["RemotePort"])?,
            icmp: address::parsed(fields, &["IcmpTypes"], IcmpType::from_str)?,
        };
        matches.check(fields)?;
        Ok(matches)
    }

    /// A condition that no packet can meet, or more packets than its author meant, is refused.
    fn check(&self, fields: &Fields<'_>) -> Result<(), DocumentError> {
        let only = |wanted: &dyn Fn(u8) -> bool| {
            !self.protocols.is_empty() && self.protocols.iter().all(|number| wanted(*number))
        };
        for (key, ports) in [("LocalPorts", &self.local_ports), ("RemotePorts", &self.remote_ports)] {
            if !ports.is_empty() && !only(&|number| Transport::from_number(number.into()).is_ok()) {
                let problem = "only TCP, UDP and SCTP have ports: name Protocols of 6, 17 and 132";
                return Err(fields.error(key, problem));
            }
        }
        if !self.icmp.is_empty() && !only(&|number| ICMP.contains(&number)) {
            return Err(fields.error("IcmpTypes", "only ICMP has types: name Protocols of 1 and 58"));
        }
        Ok(())
    }
}

/// `Protocols`, or v1's single `Protocol`, whose 0 stands for "any" as its absence does.
fn protocols(fields: &mut Fields<'_>) -> Result<Vec<u8>, DocumentError> {
    let listed = address::protocols(fields, &["Protocols"])?;
    let single = fields.number(&["Protocol"], 256)?.and_then(|number| u8::try_from(number).ok());
    Ok(if listed.is_empty() { single.filter(|number| *number != 0).into_iter().collect() } else { listed })
}

/// A list of ports, or v1's single one, whose 0 stands for "any".
fn ports(
    fields: &mut Fields<'_>,
    list: &[&'static str],
    single: &[&'static str],
) -> Result<Vec<PortRange>, DocumentError> {
    let mut ports = address::ports(fields, list)?;
    for name in single {
        let port = fields.number_u16(&[name])?.filter(|port| *port != 0);
        if ports.is_empty() {
            ports.extend(port.and_then(|port| PortRange::single(port).ok()));
        }
    }
    Ok(ports)
}
