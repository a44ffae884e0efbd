//! Which rule decides about a connection (hcn-api 5.5, 5.6, 5.8).

use std::net::IpAddr;

use hns_abi::Direction;
use hns_net::PortRange;

use crate::flow::Tuple;
use crate::model::{Acl, Action, Addresses, Match, Rule, Sets, Verdict};
use crate::packet::{Ip, Transport, protocol};

/// What rules look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facts {
    pub protocol: u8,
    pub local: IpAddr,
    pub remote: IpAddr,
    pub local_port: u16,
    pub remote_port: u16,
    /// Type and code of ICMP and ICMPv6.
    pub icmp: (u8, u8),
}

impl Facts {
    #[must_use]
    pub const fn of(ip: &Ip, direction: Direction) -> Self {
        let icmp = match &ip.transport {
            Transport::Icmp(icmp) => (icmp.kind, icmp.code),
            _ => (0, 0),
        };
        Self::of_tuple(&Tuple::of(ip, direction), icmp)
    }

    #[must_use]
    pub const fn of_tuple(tuple: &Tuple, icmp: (u8, u8)) -> Self {
        Self {
            protocol: tuple.protocol,
            local: tuple.local,
            remote: tuple.remote,
            local_port: tuple.local_port,
            remote_port: tuple.remote_port,
            icmp,
        }
    }
}

/// Where the deciding rule stands in its [`Acl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// By place in `tiers` and in its `rules`.
    Tier(usize, usize),
    /// By place in `rules`.
    Rule(usize),
    /// No rule matched.
    Fallback,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    pub cause: Cause,
    /// The rule that would have blocked, if it were not only watched.
    pub observed: Option<Cause>,
}

impl Acl {
    /// Tiers in their order, within one the first rule that matches; then the rules; then the fallback. `sets`: those of the port's
    /// network.
    #[must_use]
    pub fn decide(&self, facts: &Facts, sets: &Sets) -> Decision {
        let mut observed = None;
        for (tier, rules) in self.tiers.iter().map(|tier| &tier.rules).enumerate() {
            let found = first(rules, facts, sets, |place| {
                observed.get_or_insert(Cause::Tier(tier, place));
            });
            if let Some((place, Some(verdict))) = found.map(|(place, action)| (place, verdict(action))) {
                return Decision { verdict, cause: Cause::Tier(tier, place), observed };
            }
        }
        let found = first(&self.rules, facts, sets, |place| {
            observed.get_or_insert(Cause::Rule(place));
        });
        match found.map(|(place, action)| (place, verdict(action))) {
            Some((place, Some(verdict))) => Decision { verdict, cause: Cause::Rule(place), observed },
            _ => Decision { verdict: self.fallback, cause: Cause::Fallback, observed },
        }
    }

    #[must_use]
    pub fn rule(&self, cause: Cause) -> Option<&Rule> {
        match cause {
            Cause::Tier(tier, place) => self.tiers.get(tier)?.rules.get(place),
            Cause::Rule(place) => self.rules.get(place),
            Cause::Fallback => None,
        }
    }

    /// Nothing is ever refused, so connections need not be remembered.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_empty() && self.fallback == Verdict::Allow
    }
}

/// The first rule that matches and decides; `watch` is told of those before it that are only watched.
fn first(
    rules: &[Rule],
    facts: &Facts,
    sets: &Sets,
    mut watch: impl FnMut(usize),
) -> Option<(usize, Action)> {
    let matching = rules.iter().enumerate().filter(|(_, rule)| rule.matches.holds(facts, sets));
    for (place, rule) in matching {
        if rule.action != Action::Observe {
            return Some((place, rule.action));
        }
        watch(place);
    }
    None
}

/// Nothing: what comes after decides.
const fn verdict(action: Action) -> Option<Verdict> {
    match action {
        Action::Allow => Some(Verdict::Allow),
        Action::Block => Some(Verdict::Block),
        Action::Pass | Action::Observe => None,
    }
}

impl Match {
    #[must_use]
    pub fn holds(&self, facts: &Facts, sets: &Sets) -> bool {
        (self.protocols.is_empty() || self.protocols.contains(&facts.protocol))
            && self.local.contain(facts.local, sets)
            && self.remote.contain(facts.remote, sets)
            && self.holds_transport(facts)
    }

    /// A condition on ports is met by protocols with ports only, one on ICMP types by ICMP only; both kinds in one
    /// rule speak of their own protocols each.
    fn holds_transport(&self, facts: &Facts) -> bool {
        let ports = !self.local_ports.is_empty() || !self.remote_ports.is_empty();
        if protocol::has_ports(facts.protocol) {
            let open = self.icmp.is_empty() || ports;
            return open
                && within(&self.local_ports, facts.local_port)
                && within(&self.remote_ports, facts.remote_port);
        }
        if protocol::is_icmp(facts.protocol) {
            let (kind, code) = facts.icmp;
            let named =
                |icmp: &crate::model::IcmpType| icmp.kind == kind && icmp.code.is_none_or(|c| c == code);
            return if self.icmp.is_empty() { !ports } else { self.icmp.iter().any(named) };
        }
        !ports && self.icmp.is_empty()
    }
}

fn within(ranges: &[PortRange], port: u16) -> bool {
    ranges.is_empty() || ranges.iter().any(|range| range.start() <= port && port <= range.end())
}

impl Addresses {
    /// Set ids in one field: the address must be in all of them (hcn-api 5.6).
    #[must_use]
    pub fn contain(&self, address: IpAddr, sets: &Sets) -> bool {
        match self {
            Self::Any => true,
            Self::Prefixes(prefixes) => {
                prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(address))
            }
            Self::Sets(ids) => {
                ids.iter().all(|id| sets.members(id).iter().any(|prefix| prefix.contains(address)))
            }
        }
    }
}

/// Neighbour discovery (RFC 4861) and group membership (RFC 2710, RFC 3810) are to IPv6 what ARP is to IPv4: not for rules, as
/// long as they come from this link and stay on it.
#[must_use]
pub fn is_exempt(ip: &Ip) -> bool {
    let (Transport::Icmp(icmp), IpAddr::V6(destination)) = (&ip.transport, ip.destination) else {
        return false;
    };
    if ip.protocol != protocol::ICMP6 || ip.fragment.is_some() {
        return false;
    }
    match icmp.kind {
        133..=136 => ip.hop_limit == 255,
        130..=132 | 143 => ip.hop_limit == 1 && destination.segments()[0] == 0xff02,
        _ => false,
    }
}
