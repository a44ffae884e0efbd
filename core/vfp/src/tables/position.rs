use crate::layers::acl::Cause;
use crate::model::Acl;

/// Where the rule at a position of a ruleset stands in the rules that it was made from.
#[must_use]
pub fn cause_at(acl: &Acl, position: u32) -> Option<Cause> {
    let mut place = usize::try_from(position).ok()?;
    for (tier, rules) in acl.tiers.iter().map(|tier| &tier.rules).enumerate() {
        if place < rules.len() {
            return Some(Cause::Tier(tier, place));
        }
        place -= rules.len();
    }
    (place < acl.rules.len()).then_some(Cause::Rule(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Match, Origin, Rule, Tier, Verdict};
    use crate::tables::ruleset::items;

    fn rules(count: u16) -> Vec<Rule> {
        let rule = |priority: u16| Rule {
            id: priority.to_string(),
            origin: Origin::Endpoint,
            priority,
            action: Action::Block,
            matches: Match::default(),
        };
        (0..count).map(rule).collect()
    }

    #[test]
    fn a_position_leads_back_to_its_rule() {
        let tier = |count: u16| Tier { name: count.to_string(), order: count, rules: rules(count) };
        let tiers = vec![tier(3), tier(0), tier(2)];
        let acl = Acl { tiers, rules: rules(4), fallback: Verdict::Block };
        let items = items(&acl);
        for (position, item) in (0..).zip(&items) {
            let cause = cause_at(&acl, position).expect("it has this position");
            assert_eq!(acl.rule(cause), Some(item.rule()), "{position}");
        }
        assert_eq!(cause_at(&acl, 3), Some(Cause::Tier(2, 0)));
        assert_eq!([9, u32::MAX].map(|position| cause_at(&acl, position)), [None; 2]);
    }
}
