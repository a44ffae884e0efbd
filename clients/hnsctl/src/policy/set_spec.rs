use hns_hcn::{Addresses, Policy, SetValues};
use serde_json::json;

/// A set of a network's addresses as `--set` and `--set-of` take it: `NAME=MEMBER,MEMBER`, or its name alone where that says
/// which one is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct SetSpec {
    pub policy: Policy,
    pub says_members: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; write NAME=MEMBER,MEMBER, such as: {example}")]
pub struct SetSpecError {
    problem: String,
    example: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Addresses,
    Sets,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Addresses => "IPSET",
            Self::Sets => "NESTEDIPSET",
        }
    }

    const fn example(self) -> &'static str {
        match self {
            Self::Addresses => "blocklist=10.0.0.0/8,192.0.2.7",
            Self::Sets => "outside=blocklist,guests",
        }
    }
}

impl SetSpec {
    pub fn of_addresses(text: &str) -> Result<Self, SetSpecError> {
        Self::parse(text, Kind::Addresses)
    }

    pub fn of_sets(text: &str) -> Result<Self, SetSpecError> {
        Self::parse(text, Kind::Sets)
    }

    fn parse(text: &str, kind: Kind) -> Result<Self, SetSpecError> {
        let (id, members) = text.split_once('=').map_or((text, None), |(id, members)| (id, Some(members)));
        let (id, values) = (id.trim(), members.unwrap_or_default());
        let document = json!({"Type": "SetPolicy",
            "Settings": {"Id": id, "Name": id, "PolicyType": kind.name(), "Values": values}});
        let refused = |problem: String| SetSpecError { problem, example: kind.example() };
        let policy = Policy::from_document(&document).map_err(|error| refused(error.problem))?;
        let policy = policy.ok_or_else(|| refused("a set is missing".to_owned()))?;
        Ok(Self { policy, says_members: members.is_some() })
    }

    pub fn id(&self) -> &str {
        self.policy.as_set().map_or("", |set| &set.id)
    }
}

/// The set that a policy makes, as the flags say it.
pub fn told(policy: &Policy) -> Option<String> {
    let set = policy.as_set()?;
    Some(match &set.values {
        SetValues::Addresses(prefixes) => {
            format!("set {}={}", set.id, Addresses::Prefixes(prefixes.clone()))
        }
        SetValues::Sets(ids) => format!("set-of {}={}", set.id, ids.join(",")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_policies_of_hcn() {
        let set = SetSpec::of_addresses("bad=10.0.0.0/8,192.0.2.7").expect("a set");
        assert_eq!(
            set.policy.to_v2(),
            json!({"Type": "SetPolicy", "Settings": {"Id": "bad", "Name": "bad", "PolicyType": "IPSET",
                "Values": "10.0.0.0/8,192.0.2.7"}})
        );
        assert_eq!((set.id(), set.says_members), ("bad", true));
        assert_eq!(told(&set.policy).as_deref(), Some("set bad=10.0.0.0/8,192.0.2.7"));
        let union = SetSpec::of_sets("worse=bad,guests").expect("a set");
        assert_eq!(union.policy.settings["PolicyType"], "NESTEDIPSET");
        assert_eq!(told(&union.policy).as_deref(), Some("set-of worse=bad,guests"));
        let empty = SetSpec::of_addresses("nobody=").expect("an empty one");
        assert_eq!((told(&empty.policy).as_deref(), empty.says_members), (Some("set nobody="), true));
        assert!(!SetSpec::of_addresses("bad").expect("a name").says_members);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for (text, expected) in [
            ("", "a set needs an id"),
            ("=10.0.0.1", "a set needs an id, by which rules name it; write NAME=MEMBER,MEMBER"),
            ("10.0.0.1", "\"10.0.0.1\" would be read as addresses where rules name it"),
            ("a,b=10.0.0.1", "would be read as addresses"),
            ("bad=10.0.0.300", "\"10.0.0.300\" is not an address or a prefix; write NAME=MEMBER,MEMBER"),
            ("bad=other", "\"other\" is not an address or a prefix"),
        ] {
            let told = SetSpec::of_addresses(text).expect_err(text).to_string();
            assert!(told.contains(expected), "{text}: {told}");
        }
    }
}
