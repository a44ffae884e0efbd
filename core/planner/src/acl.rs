//! From the rules of an endpoint's policies to those of its port, by direction.

use hns_abi::Direction;
use hns_hcn::{
    Acl as AclPolicy, Addresses, Bandwidth, IcmpType, Policy, PolicySettings, RuleAction, RuleDirection,
    RuleMatch, RuleType,
};
use hns_vfp::model::{self, Acl, Action, Match, Origin, Rate, Rule, Tier, Verdict};

/// The tier in which rules of the type Host stand. On Windows they are the firewall of the endpoint's compartment: what it lets pass
/// still has to pass the switch.
const HOST_TIER: &str = "Host";

/// A bucket holds at least two of the largest packets that a kernel hands over in one piece; less, and they would never pass.
const LEAST_BURST: u64 = 128 << 10;

/// What a rate lets through at once where its policy does not say it, in parts of a second.
/// TCP that runs into its limit reached it with a quarter, and with a twentieth a half of it or less (10 and 100 Mbit/s).
const BURST_PART: u64 = 4;

/// The rules of one direction: the endpoint's own and its network's among them, by priority. `default` is what the endpoint or its
/// network says of what no rule decides. Where nothing is said it is let pass, unless there is a rule of the switch in either
/// direction (hcn-api 5.5).
pub(crate) fn compile(
    own: &[Policy],
    networks: &[Policy],
    direction: Direction,
    default: Option<RuleAction>,
) -> Acl {
    let rules = || own.iter().chain(networks).filter_map(as_acl);
    let (host, switch): (Vec<_>, Vec<_>) = rules()
        .filter(|(acl, _)| is_in(acl.direction, direction))
        .partition(|(acl, _)| acl.rule_type == RuleType::Host);
    let has_rules = rules().any(|(acl, _)| acl.rule_type == RuleType::Switch && acl.enforce);
    let fallback = match default {
        Some(RuleAction::Block) => Verdict::Block,
        None if has_rules => Verdict::Block,
        Some(RuleAction::Allow | RuleAction::Pass) | None => Verdict::Allow,
    };
    let mut tiers = tiers(own, direction);
    if !host.is_empty() {
        tiers.insert(
            0,
            Tier {
                name: HOST_TIER.to_owned(),
                order: 0,
                rules: sorted(host.into_iter().map(|(acl, origin)| host_rule(acl, origin))),
            },
        );
    }
    let rules = switch.into_iter().map(|(acl, origin)| rule(acl, origin, action(acl.action, acl.enforce)));
    Acl { tiers, rules: sorted(rules), fallback }
}

/// The limits by direction; of several policies the last counts.
pub(crate) fn meters(policies: &[Policy]) -> [Option<Rate>; 2] {
    let limits = policies.iter().rev().find_map(|policy| match policy.meaning {
        PolicySettings::Qos(qos) => Some(qos),
        _ => None,
    });
    let mut meters = [None, None];
    if let Some(limits) = limits {
        meters[Direction::In.index()] = limits.incoming.map(rate);
        meters[Direction::Out.index()] = limits.outgoing.map(rate);
    }
    meters
}

fn rate(limit: Bandwidth) -> Rate {
    let burst = limit.burst_bytes.unwrap_or(limit.bytes_per_second / BURST_PART);
    Rate { bytes_per_second: limit.bytes_per_second, burst_bytes: burst.max(LEAST_BURST) }
}

fn as_acl(policy: &Policy) -> Option<(&AclPolicy, Origin)> {
    match &policy.meaning {
        PolicySettings::Acl(acl) => Some((acl, Origin::Endpoint)),
        PolicySettings::NetworkAcl(acl) => Some((acl, Origin::Network)),
        _ => None,
    }
}

fn is_in(rule: RuleDirection, direction: Direction) -> bool {
    matches!((rule, direction), (RuleDirection::In, Direction::In) | (RuleDirection::Out, Direction::Out))
}

fn tiers(policies: &[Policy], direction: Direction) -> Vec<Tier> {
    let of_direction = policies.iter().filter_map(|policy| match &policy.meaning {
        PolicySettings::TierAcl(tier) if is_in(tier.direction, direction) => Some(tier),
        _ => None,
    });
    let mut tiers: Vec<Tier> = of_direction
        .map(|tier| Tier {
            name: tier.name.clone(),
            order: tier.order,
            rules: sorted(tier.rules.iter().map(|rule| Rule {
                id: rule.id.clone(),
                origin: Origin::Tier,
                priority: rule.priority,
                action: action(rule.action, rule.enforce),
                matches: matches(&rule.matches, tier.direction),
            })),
        })
        .collect();
    tiers.sort_by_key(|tier| tier.order);
    tiers
}

/// By ascending priority; of equals Block comes first (hcn-api 5.5).
fn sorted(rules: impl Iterator<Item = Rule>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = rules.collect();
    rules.sort_by_key(|rule| (rule.priority, !matches!(rule.action, Action::Block | Action::Observe)));
    rules
}

fn host_rule(acl: &AclPolicy, origin: Origin) -> Rule {
    let passes = match action(acl.action, acl.enforce) {
        other @ (Action::Block | Action::Observe) => other,
        Action::Allow | Action::Pass => Action::Pass,
    };
    rule(acl, origin, passes)
}

fn rule(acl: &AclPolicy, origin: Origin, action: Action) -> Rule {
    let matches = matches(&acl.matches, acl.direction);
    Rule { id: acl.id.clone(), origin, priority: acl.priority, action, matches }
}

const fn action(action: RuleAction, enforce: bool) -> Action {
    match action {
        RuleAction::Allow => Action::Allow,
        RuleAction::Block if enforce => Action::Block,
        RuleAction::Block => Action::Observe,
        RuleAction::Pass => Action::Pass,
    }
}

fn matches(condition: &RuleMatch, direction: RuleDirection) -> Match {
    // With sets the local field names the source and the remote one the destination (hcn-api 5.6).
    let names_sets = !condition.local.sets().is_empty() || !condition.remote.sets().is_empty();
    let (local, remote) = match direction {
        RuleDirection::In if names_sets => (&condition.remote, &condition.local),
        RuleDirection::In | RuleDirection::Out => (&condition.local, &condition.remote),
    };
    Match {
        protocols: condition.protocols.clone(),
        local: addresses(local),
        remote: addresses(remote),
        local_ports: condition.local_ports.clone(),
        remote_ports: condition.remote_ports.clone(),
        icmp: condition
            .icmp
            .iter()
            .map(|IcmpType { kind, code }| model::IcmpType { kind: *kind, code: *code })
            .collect(),
    }
}

fn addresses(addresses: &Addresses) -> model::Addresses {
    match addresses {
        Addresses::Any => model::Addresses::Any,
        Addresses::Prefixes(prefixes) => model::Addresses::Prefixes(prefixes.clone()),
        Addresses::Sets(ids) => model::Addresses::Sets(ids.clone()),
    }
}
