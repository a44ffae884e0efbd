//! Policies of an endpoint as flags say them: the same words wherever an endpoint is made or changed.

use clap::Args;
use hns_hcn::{Policy, RuleText};
use serde_json::{Map, Value, json};

use crate::port_spec::PortSpec;
use crate::rate::Rate;

/// What a rule is, for the help of the commands that take one.
pub const RULES: &str = "\
A RULE is: in|out allow|block [PROTOCOL,..] [from ADDRS] [to ADDRS] [port PORTS] [type ICMPTYPES] [prio N] \
[id TEXT] [host] [observe], in this order or another. A rule that is observed counts what it would drop and lets it go on. Protocols are tcp, udp, sctp, icmp, icmp6 and numbers; addresses, prefixes, \
ports and ranges stand with commas. port is the destination's; local-port and remote-port name a side. The lowest prio \
decides, which is 1000 unless it is said, and of equals block. Once there is a rule, what no rule allows is blocked in \
both directions, unless the endpoint or its network says otherwise.";

#[derive(Debug, Clone, Default, Args)]
pub struct PolicyFlags {
    /// Publish a port on the host: [HOSTIP:]HOST[-END]:CTR[-END][/tcp|udp|sctp]; without HOST the daemon chooses
    #[arg(short, long = "publish", value_name = "PORTS")]
    pub ports: Vec<PortSpec>,
    /// Allow or block packets, such as: 'in block tcp from 10.0.0.0/8 port 22'; once for each rule
    #[arg(long = "acl", value_name = "RULE")]
    pub acls: Vec<RuleText>,
    /// The most that it sends in a second: 500kbit, 10mbit, 1gbit, or in bytes 20kB
    #[arg(long, value_name = "RATE")]
    pub bandwidth_out: Option<Rate>,
    /// The most that it receives in a second
    #[arg(long, value_name = "RATE")]
    pub bandwidth_in: Option<Rate>,
}

impl PolicyFlags {
    /// The documents of all of them.
    pub fn documents(&self) -> Vec<Value> {
        let limit = self.has_limits().then(|| self.limits().to_policy());
        self.without_limits().into_iter().chain(limit).collect()
    }

    pub fn without_limits(&self) -> Vec<Value> {
        let ports = self.ports.iter().map(|spec| spec.to_policy());
        ports.chain(self.acls.iter().map(|rule| rule.acl().to_v2())).collect()
    }

    /// The rules as those of a network.
    pub fn network_acls(&self) -> impl Iterator<Item = Policy> {
        self.acls.iter().map(RuleText::network_acl)
    }

    pub const fn has_limits(&self) -> bool {
        self.bandwidth_out.is_some() || self.bandwidth_in.is_some()
    }

    pub fn limits(&self) -> Limits {
        let limit = |rate: Option<Rate>| rate.map(|rate| Limit { rate, burst: None });
        Limits { outgoing: limit(self.bandwidth_out), incoming: limit(self.bandwidth_in) }
    }
}

/// A QOS policy. An endpoint has one at most, for both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub outgoing: Option<Limit>,
    pub incoming: Option<Limit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub rate: Rate,
    /// In bytes. Absent: the daemon chooses.
    pub burst: Option<u64>,
}

impl Limits {
    pub fn of_policy(policy: &Policy) -> Option<Self> {
        let hns_hcn::PolicySettings::Qos(qos) = policy.meaning else { return None };
        let limit = |bandwidth: hns_hcn::Bandwidth| Limit {
            rate: Rate { bytes_per_second: bandwidth.bytes_per_second },
            burst: bandwidth.burst_bytes,
        };
        Some(Self { outgoing: qos.outgoing.map(limit), incoming: qos.incoming.map(limit) })
    }

    pub const fn is_empty(&self) -> bool {
        self.outgoing.is_none() && self.incoming.is_none()
    }

    /// These, and for a direction of which they say nothing those before.
    pub fn over(self, before: Self) -> Self {
        Self { outgoing: self.outgoing.or(before.outgoing), incoming: self.incoming.or(before.incoming) }
    }

    /// What is left of these without those, or the words for what is not there.
    pub fn without(self, gone: Self) -> Result<Self, String> {
        let left = |name, mine: Option<Limit>, gone: Option<Limit>| match gone {
            None => Ok(mine),
            Some(gone) if mine.is_some_and(|mine| mine.rate == gone.rate) => Ok(None),
            Some(gone) => Err(format!("{name} {}", gone.rate)),
        };
        Ok(Self {
            outgoing: left("bandwidth-out", self.outgoing, gone.outgoing)?,
            incoming: left("bandwidth-in", self.incoming, gone.incoming)?,
        })
    }

    pub fn to_policy(self) -> Value {
        let mut settings = Map::new();
        let directions = [("Outgoing", self.outgoing), ("Incoming", self.incoming)];
        for (direction, limit) in directions.into_iter().filter_map(|(name, limit)| Some((name, limit?))) {
            let rate = limit.rate.bytes_per_second;
            settings.insert(format!("Maximum{direction}BandwidthInBytes"), json!(rate));
            settings.extend(limit.burst.map(|burst| (format!("{direction}BurstInBytes"), json!(burst))));
        }
        json!({"Type": "QOS", "Settings": settings})
    }
}

/// As the flags say them.
impl std::fmt::Display for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut told = Vec::new();
        for (name, limit) in [("bandwidth-out", self.outgoing), ("bandwidth-in", self.incoming)] {
            let Some(limit) = limit else { continue };
            told.push(format!("{name} {}", limit.rate));
            told.extend(limit.burst.map(|bytes| format!("burst {bytes}B")));
        }
        f.write_str(&told.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(outgoing: &str, incoming: &str) -> Limits {
        let limit = |text: &str| text.parse().ok().map(|rate| Limit { rate, burst: None });
        Limits { outgoing: limit(outgoing), incoming: limit(incoming) }
    }

    #[test]
    fn flags_are_documents() {
        let flags = PolicyFlags {
            ports: vec!["8080:80".parse().expect("a port")],
            acls: vec!["in allow tcp port 80".parse().expect("a rule")],
            bandwidth_out: "10mbit".parse().ok(),
            bandwidth_in: "20kB".parse().ok(),
        };
        assert_eq!(
            json!(flags.documents()),
            json!([
                {"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}},
                {"Type": "ACL", "Settings": {"Action": "Allow", "Direction": "In", "Protocols": "6", "LocalPorts": "80",
                    "Priority": 1000}},
                {"Type": "QOS", "Settings": {"MaximumOutgoingBandwidthInBytes": 1_250_000,
                    "MaximumIncomingBandwidthInBytes": 20_000}},
            ])
        );
        assert_eq!(PolicyFlags::default().documents(), Vec::<Value>::new());
    }

    #[test]
    fn a_limit_of_one_direction_leaves_the_other() {
        let both = limits("10mbit", "5mbit");
        assert_eq!(limits("1mbit", "").over(both), limits("1mbit", "5mbit"));
        assert_eq!(both.without(limits("", "5mbit")), Ok(limits("10mbit", "")));
        assert_eq!(both.without(both), Ok(Limits::default()));
        assert_eq!(both.without(limits("10mbit", "6mbit")), Err("bandwidth-in 6mbit".to_owned()));
        assert_eq!(limits("", "").without(limits("1mbit", "")), Err("bandwidth-out 1mbit".to_owned()));
    }

    #[test]
    fn limits_are_read_as_they_are_written() {
        let burst = |limit: Limit| Limit { burst: Some(4000), ..limit };
        let plain = limits("10mbit", "5mbit");
        let with_burst = Limits { incoming: plain.incoming.map(burst), ..plain };
        for limits in [plain, with_burst, limits("", "1kbit")] {
            let policy = Policy::from_document(&limits.to_policy()).expect("it is one").expect("not empty");
            assert_eq!(Limits::of_policy(&policy), Some(limits));
        }
        assert_eq!(with_burst.to_string(), "bandwidth-out 10mbit bandwidth-in 5mbit burst 4000B");
    }
}
