//! What `policy ls` shows: policies as flags say them, rules in the order in which a packet is asked about them.

use std::collections::VecDeque;

use hns_hcn::{
    Acl, Policy, PolicySettings, PortRules, RuleAction, RuleCount, RuleDirection, RuleName, RuleOrigin,
    RuleType, TierAcl, TierRuleText,
};
use serde_json::{Value, json};

use super::flags::Limits;
use super::set_spec;
use crate::output::{Format, Rows};
use crate::port_spec::PortSpec;
use crate::view;

/// The policies that decide at an endpoint, with what is known of their rules.
pub struct Listing {
    /// The endpoint's, and those rules that its network gives it.
    documents: Vec<Value>,
    /// Policies without rules, by their place in `documents`.
    others: Vec<(usize, String)>,
    rules: Vec<Rule>,
    defaults: Vec<(RuleDirection, RuleAction)>,
    /// Whether it is an endpoint's: the rules of a network are counted at its endpoints.
    is_counted: bool,
}

struct Rule {
    document: usize,
    /// Its place among the rules of a tier.
    in_tier: Option<usize>,
    order: Order,
    name: RuleName,
    text: String,
    /// Absent: nobody counts.
    packets: Option<u64>,
}

/// When a rule is asked, the first first: those of the type Host, tier by tier, all others; by priority, of equals those that
/// block (`docs/reference/documents.md`).
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    is_out: bool,
    stage: Stage,
    priority: u16,
    lets_pass: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Host,
    Tier(u16),
    Switch,
}

impl Listing {
    pub fn of_network(policies: &[Value]) -> Self {
        Self { is_counted: false, ..Self::of_endpoint(policies, &[], None) }
    }

    /// `counted`: absent where nobody knows.
    pub fn of_endpoint(policies: &[Value], of_network: &[Value], counted: Option<&PortRules>) -> Self {
        let shared = of_network.iter().filter(|policy| view::text(policy, "Type") == "NetworkACL");
        let documents: Vec<Value> = policies.iter().chain(shared).cloned().collect();
        let (mut others, mut rules) = (Vec::new(), Vec::new());
        for (place, document) in documents.iter().enumerate() {
            // What a newer daemon has and we cannot read is shown as it is.
            let policy = Policy::from_document(document).ok().flatten();
            match policy.as_ref().map(|policy| &policy.meaning) {
                Some(PolicySettings::Acl(acl)) => rules.push(Rule::of_acl(place, acl, RuleOrigin::Endpoint)),
                Some(PolicySettings::NetworkAcl(acl)) => {
                    rules.push(Rule::of_acl(place, acl, RuleOrigin::Network));
                }
                Some(PolicySettings::TierAcl(tier)) => rules.extend(Rule::of_tier(place, tier)),
                _ => others.push((place, told(document, policy.as_ref()))),
            }
        }
        // Stable: of equal ones the daemon asks the first first, too.
        rules.sort_by(|a, b| a.order.cmp(&b.order));
        let mut listing = Self { documents, others, rules, defaults: Vec::new(), is_counted: true };
        if let Some(counted) = counted {
            listing.count(counted);
        }
        listing
    }

    fn count(&mut self, counted: &PortRules) {
        let mut left: VecDeque<&RuleCount> = counted.rules.iter().collect();
        for rule in &mut self.rules {
            let direction = if rule.order.is_out { RuleDirection::Out } else { RuleDirection::In };
            // The answer has the same order, so that this is the first but for what changed meanwhile.
            let place = left.iter().position(|count| count.direction == direction && count.rule == rule.name);
            rule.packets = place.and_then(|place| left.remove(place)).map(|count| count.packets);
        }
        let default = |direction| counted.default_of(direction).map(|action| (direction, action));
        self.defaults = [RuleDirection::In, RuleDirection::Out].into_iter().filter_map(default).collect();
    }

    /// The documents with what was counted beside their settings: a number, or of a tier one for each rule.
    pub fn documents(&self) -> Vec<Value> {
        let mut documents = self.documents.clone();
        for rule in &self.rules {
            let Some(document) = documents.get_mut(rule.document) else { continue };
            match (rule.in_tier, rule.packets) {
                (_, None) => {}
                (None, Some(packets)) => document["Packets"] = json!(packets),
                (Some(place), Some(packets)) => {
                    if !document["Packets"].is_array() {
                        document["Packets"] = json!([]);
                    }
                    if let Some(list) = document["Packets"].as_array_mut() {
                        list.resize(list.len().max(place + 1), Value::Null);
                        list[place] = json!(packets);
                    }
                }
            }
        }
        let default = |(direction, action): &(RuleDirection, RuleAction)| json!({"Type": "Default", "Settings": {"Direction": direction.name(), "Action": action.name()}});
        documents.extend(self.defaults.iter().map(default));
        documents
    }

    /// Rules, and behind those of each direction what decides when none does.
    pub fn rows(&self, format: Format) -> Rows {
        let columns = ["TYPE", "PACKETS", "POLICY"];
        let columns = if self.is_counted { &columns[..] } else { &["TYPE", "POLICY"] };
        let mut rows = Rows::new(format, columns, &["SETTINGS"]);
        let mut push = |kind: &str, packets: Option<u64>, told: &str, settings: String| {
            let packets = packets.map(|packets| packets.to_string()).unwrap_or_default();
            let counted = self.is_counted.then_some(packets);
            let cells = [Some(kind.to_owned()), counted, Some(told.to_owned())];
            rows.push(cells.into_iter().flatten().collect(), vec![settings]);
        };
        let described = |document: usize| {
            let document = &self.documents[document];
            (view::text(document, "Type"), view::plain(document.get("Settings")))
        };
        for (document, told) in &self.others {
            let (kind, settings) = described(*document);
            push(kind, None, told, settings);
        }
        for direction in [RuleDirection::In, RuleDirection::Out] {
            let is_out = direction == RuleDirection::Out;
            for rule in self.rules.iter().filter(|rule| rule.order.is_out == is_out) {
                let (kind, settings) = described(rule.document);
                push(kind, rule.packets, &rule.text, settings);
            }
            for (_, action) in self.defaults.iter().filter(|(of, _)| *of == direction) {
                let told = format!("{} {}", direction.name(), action.name()).to_ascii_lowercase();
                push("Default", None, &told, String::new());
            }
        }
        rows
    }
}

impl Rule {
    fn of_acl(document: usize, acl: &Acl, origin: RuleOrigin) -> Self {
        let is_host = acl.rule_type == RuleType::Host;
        // What the endpoint's own firewall lets pass is still asked about in the switch.
        let action = match acl.action {
            RuleAction::Allow if is_host => RuleAction::Pass,
            action => action,
        };
        Self {
            document,
            in_tier: None,
            order: Order {
                is_out: acl.direction == RuleDirection::Out,
                stage: if is_host { Stage::Host } else { Stage::Switch },
                priority: acl.priority,
                lets_pass: acl.action != RuleAction::Block,
            },
            name: RuleName {
                id: acl.id.clone(),
                origin,
                priority: acl.priority,
                action,
                enforce: acl.enforce,
            },
            text: acl.to_string(),
            packets: None,
        }
    }

    fn of_tier(document: usize, tier: &TierAcl) -> impl Iterator<Item = Self> {
        tier.rules.iter().enumerate().map(move |(place, rule)| Self {
            document,
            in_tier: Some(place),
            order: Order {
                is_out: tier.direction == RuleDirection::Out,
                stage: Stage::Tier(tier.order),
                priority: rule.priority,
                lets_pass: rule.action != RuleAction::Block,
            },
            name: RuleName {
                id: rule.id.clone(),
                origin: RuleOrigin::Tier,
                priority: rule.priority,
                action: rule.action,
                enforce: rule.enforce,
            },
            text: format!("{} ({})", TierRuleText(tier.direction, rule), called(tier)),
            packets: None,
        })
    }
}

fn called(tier: &TierAcl) -> String {
    let name = if tier.name.is_empty() { String::new() } else { format!(": {}", tier.name) };
    format!("tier {}{name}", tier.order)
}

/// A policy without rules, as flags say it where there is one, else its settings.
fn told(document: &Value, policy: Option<&Policy>) -> String {
    let mapping = PortSpec::of_policy(document).map(|spec| spec.to_string());
    let limits = || policy.and_then(Limits::of_policy).map(|limits| limits.to_string());
    let set = || policy.and_then(set_spec::told);
    mapping.or_else(limits).or_else(set).unwrap_or_else(|| view::plain(document.get("Settings")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(text: &str) -> Value {
        text.parse::<hns_hcn::RuleText>().unwrap_or_else(|error| panic!("{error}")).acl().to_v2()
    }

    fn policies() -> Vec<Value> {
        vec![
            json!({"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}}),
            acl("out allow"),
            acl("in allow tcp port 80"),
            acl("in block from 10.0.0.0/8 prio 1000"),
            acl("in allow icmp prio 1 host"),
            json!({"Type": "TierAcl", "Settings": {"Name": "web", "Direction": "In", "Order": 2, "TierAclRules": [
                {"TierAclRuleAction": "Pass", "Priority": 20}, {"TierAclRuleAction": "Block", "Priority": 10, "Protocols": "6", "LocalPorts": "23"}]}}),
            acl("in allow tcp port 80"),
            json!({"Type": "QOS", "Settings": {"MaximumOutgoingBandwidthInBytes": 1_250_000}}),
            json!({"Type": "Weather", "Settings": {"Sky": "blue"}}),
        ]
    }

    fn of_network() -> Vec<Value> {
        let rule: hns_hcn::RuleText = "in block tcp port 25 prio 500".parse().expect("a rule");
        vec![json!({"Type": "SetPolicy", "Settings": {}}), rule.network_acl().to_v2()]
    }

    fn counted() -> PortRules {
        let rule = |direction: &str, origin: &str, priority: u16, action: &str, packets: u64| json!({"Direction": direction, "Origin": origin, "Priority": priority, "Action": action, "Packets": packets});
        let answer = json!({"DefaultIn": "Block", "DefaultOut": "Allow", "Rules": [
            rule("In", "ACL", 1, "Pass", 0), rule("In", "TierAcl", 10, "Block", 23), rule("In", "TierAcl", 20, "Pass", 0),
            rule("In", "NetworkACL", 500, "Block", 25), rule("In", "ACL", 1000, "Block", 10), rule("In", "ACL", 1000, "Allow", 80),
            rule("In", "ACL", 1000, "Allow", 81), rule("Out", "ACL", 1000, "Allow", 7)]});
        PortRules::from_v2(&answer).expect("it is whole")
    }

    #[test]
    fn rules_stand_in_the_order_in_which_they_are_asked() {
        let listing = Listing::of_endpoint(&policies(), &of_network(), Some(&counted()));
        insta::assert_snapshot!(listing.rows(Format::Table).to_string(), @r#"
        TYPE         PACKETS  POLICY
        PortMapping  -        8080:80/tcp
        QOS          -        bandwidth-out 10mbit
        Weather      -        {"Sky":"blue"}
        ACL          0        in allow icmp prio 1 host
        TierAcl      23       in block tcp port 23 prio 10 (tier 2: web)
        TierAcl      0        in pass prio 20 (tier 2: web)
        NetworkACL   25       in block tcp port 25 prio 500
        ACL          10       in block from 10.0.0.0/8
        ACL          80       in allow tcp port 80
        ACL          81       in allow tcp port 80
        Default      -        in block
        ACL          7        out allow
        Default      -        out allow
        "#);
    }

    #[test]
    fn what_nobody_counts_is_shown_without_counts() {
        let listing = Listing::of_endpoint(&policies()[..3], &[], None);
        insta::assert_snapshot!(listing.rows(Format::Wide).to_string(), @r#"
        TYPE         PACKETS  POLICY                SETTINGS
        PortMapping  -        8080:80/tcp           {"Protocol":6,"InternalPort":80,"ExternalPort":8080}
        ACL          -        in allow tcp port 80  {"Action":"Allow","Direction":"In","Protocols":"6","LocalPorts":"80","Priority":1000}
        ACL          -        out allow             {"Action":"Allow","Direction":"Out","Priority":1000}
        "#);
        assert_eq!(json!(listing.documents()), json!(&policies()[..3]));
    }

    #[test]
    fn the_policies_of_a_network_are_sets_and_rules() {
        let set = |text: &str| set_spec::SetSpec::of_addresses(text).expect("a set").policy.to_v2();
        let union = set_spec::SetSpec::of_sets("both=bad,guests").expect("a set").policy.to_v2();
        let policies = [&of_network()[1..], &[set("bad=192.0.2.7/32,10.0.0.0/8"), union]].concat();
        insta::assert_snapshot!(Listing::of_network(&policies).rows(Format::Table).to_string(), @"
        TYPE        POLICY
        SetPolicy   set bad=192.0.2.7,10.0.0.0/8
        SetPolicy   set-of both=bad,guests
        NetworkACL  in block tcp port 25 prio 500
        ");
    }

    #[test]
    fn documents_have_their_counts_beside_them() {
        let documents = Listing::of_endpoint(&policies(), &of_network(), Some(&counted())).documents();
        let shown = |document: &Value| format!("{} {}", view::text(document, "Type"), document["Packets"]);
        let shown: Vec<String> = documents.iter().map(shown).collect();
        insta::assert_snapshot!(shown.join("\n"), @"
        PortMapping null
        ACL 7
        ACL 80
        ACL 10
        ACL 0
        TierAcl [0,23]
        ACL 81
        QOS null
        Weather null
        NetworkACL 25
        Default null
        Default null
        ");
        assert_eq!(
            documents[10],
            json!({"Type": "Default", "Settings": {"Direction": "In", "Action": "Block"}})
        );
    }
}
