//! Laws of the rules' order.

#![allow(clippy::unwrap_used, reason = "what cannot be built fails the test")]

use std::net::IpAddr;

use hns_vfp::generate::{Random, port, rules};
use hns_vfp::layers::acl::{Cause, Facts};
use hns_vfp::model::{Acl, Action, Match, Origin, Rule, Sets, Tier, Verdict};
use proptest::prelude::*;

fn facts(random: &mut Random) -> Facts {
    let addresses: [IpAddr; 3] =
        ["10.0.0.2".parse().unwrap(), "10.0.0.3".parse().unwrap(), "192.0.2.1".parse().unwrap()];
    let protocol = random.pick(&[1, 6, 17, 47, 132]);
    let ported = matches!(protocol, 6 | 17 | 132);
    let mut number = |choices: &[u16]| if ported { random.pick(choices) } else { 0 };
    let (local_port, remote_port) = (number(&[22, 80, 443, 40_000]), number(&[53, 80, 3000]));
    Facts {
        protocol,
        local: random.pick(&addresses),
        remote: random.pick(&addresses),
        local_port,
        remote_port,
        icmp: if protocol == 1 { (random.pick(&[0, 3, 8]), 0) } else { (0, 0) },
    }
}

fn some_acl(random: &mut Random) -> (Acl, Sets) {
    let (port, sets) = port(random, 0);
    let mut acl = port.acl[0].clone();
    if acl.rules.is_empty() {
        acl.rules = rules(random, &[], 8, false);
    }
    (acl, sets)
}

fn anything(action: Action, priority: u16) -> Rule {
    Rule { id: "any".into(), origin: Origin::Endpoint, priority, action, matches: Match::default() }
}

fn deciding(acl: &Acl, facts: &Facts, sets: &Sets) -> (Verdict, Option<Rule>) {
    let decision = acl.decide(facts, sets);
    (decision.verdict, acl.rule(decision.cause).cloned())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_later_rule_never_changes_what_is_decided(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        let ((acl, sets), facts) = (some_acl(random), facts(random));
        let before = acl.decide(&facts, &sets);
        for action in [Action::Allow, Action::Block] {
            let mut longer = acl.clone();
            longer.rules.push(anything(action, u16::MAX));
            match before.cause {
                Cause::Fallback => prop_assert_eq!(deciding(&longer, &facts, &sets).0 == Verdict::Allow, action == Action::Allow),
                _ => prop_assert_eq!(longer.decide(&facts, &sets), before),
            }
        }
    }

    #[test]
    fn a_rule_that_did_not_match_may_go(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        let ((acl, sets), facts) = (some_acl(random), facts(random));
        let place = random.below(acl.rules.len());
        prop_assume!(!acl.rules[place].matches.holds(&facts, &sets));
        let mut shorter = acl.clone();
        shorter.rules.remove(place);
        prop_assert_eq!(deciding(&shorter, &facts, &sets), deciding(&acl, &facts, &sets));
    }

    #[test]
    fn of_rules_that_match_the_smallest_priority_decides(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        let ((mut acl, sets), facts) = (some_acl(random), facts(random));
        acl.tiers.clear();
        let decides = |rule: &&Rule| rule.action != Action::Observe && rule.matches.holds(&facts, &sets);
        let best = acl.rules.iter().filter(decides).min_by_key(|rule| (rule.priority, rule.action == Action::Allow));
        let expected = match best.map(|rule| rule.action) {
            Some(Action::Allow) => Verdict::Allow,
            Some(_) => Verdict::Block,
            None => acl.fallback,
        };
        prop_assert_eq!(acl.decide(&facts, &sets).verdict, expected);
    }

    #[test]
    fn a_tier_that_passes_everything_changes_no_verdict(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        let ((acl, sets), facts) = (some_acl(random), facts(random));
        let mut more = acl.clone();
        let place = random.below(acl.tiers.len() + 1);
        let rules = vec![anything(Action::Pass, 1), anything(Action::Block, 2)];
        more.tiers.insert(place, Tier { name: "through".into(), order: 0, rules });
        prop_assert_eq!(deciding(&more, &facts, &sets), deciding(&acl, &facts, &sets));
    }

    #[test]
    fn a_tier_that_blocks_everything_leaves_only_what_came_before(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        let ((mut acl, sets), facts) = (some_acl(random), facts(random));
        acl.tiers.insert(0, Tier { name: "shut".into(), order: 0, rules: vec![anything(Action::Block, 1)] });
        prop_assert_eq!(acl.decide(&facts, &sets).verdict, Verdict::Block);
        prop_assert_eq!(acl.decide(&facts, &sets).cause, Cause::Tier(0, 0));
    }
}
