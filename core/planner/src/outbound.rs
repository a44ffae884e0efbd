//! Outbound translation of endpoints behind the host: which of their destinations meet the host's own address.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hns_hcn::{NetworkType, OutboundNat};
use hns_model::{Endpoint, Network};
use hns_net::{Cidr, Family, IfAddr};

use crate::rules::Element;

/// First and last address of a run.
type Run = (IpAddr, IpAddr);

/// What the table holds of an endpoint's policies `OutBoundNAT` where they are not what its network does by itself. Runs of one source
/// have gaps between them: the set takes none that meet.
pub(crate) fn elements(endpoint: &Endpoint, network: &Network) -> BTreeSet<Element> {
    if network.kind() != NetworkType::L2Bridge {
        return BTreeSet::new();
    }
    let policies: Vec<&OutboundNat> = endpoint.outbound_nats().collect();
    let runs_of = |from: IpAddr| {
        let family = Family::of(from);
        let covering = policies.iter().filter(move |policy| policy.covers(family));
        joined(covering.flat_map(|policy| translated(policy, network, family)).collect())
            .into_iter()
            .map(move |(first, last)| Element::Outbound { from, first, last })
    };
    endpoint.addresses().map(IfAddr::address).flat_map(runs_of).collect()
}

/// Of a policy that names destinations those, else everything outside of the network; without its exceptions (hcn-api 5.4).
fn translated(policy: &OutboundNat, network: &Network, family: Family) -> Vec<Run> {
    let ends = |prefix: Cidr| (prefix.network(), prefix.last());
    let of_family = |prefix: &Cidr| prefix.family() == family;
    let mut kept: Vec<Cidr> = policy.exceptions.iter().copied().filter(of_family).collect();
    let mut runs: Vec<Run> = policy.destinations.iter().copied().filter(of_family).map(ends).collect();
    if policy.destinations.is_empty() {
        runs.push(ends(family.default_route()));
        kept.extend(network.prefixes().filter(of_family));
    }
    for (first, last) in kept.into_iter().map(ends) {
        runs = runs.into_iter().flat_map(|run| without(run, (first, last))).collect();
    }
    runs
}

/// What is left of a run on either side of another one.
fn without((first, last): Run, (from, to): Run) -> impl Iterator<Item = Run> {
    if to < first || last < from {
        return [Some((first, last)), None].into_iter().flatten();
    }
    let before = neighbour(from, false).filter(|_| first < from).map(|end| (first, end));
    let after = neighbour(to, true).filter(|_| to < last).map(|start| (start, last));
    [before, after].into_iter().flatten()
}

/// The same addresses in runs with gaps between them.
fn joined(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_unstable();
    let mut joined: Vec<Run> = Vec::with_capacity(runs.len());
    for (first, last) in runs {
        match joined.last_mut() {
            Some((_, end)) if first <= *end || neighbour(*end, true) == Some(first) => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// The address after this one, or before it.
fn neighbour(address: IpAddr, after: bool) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => {
            let bits = v4.to_bits();
            IpAddr::V4((if after { bits.checked_add(1) } else { bits.checked_sub(1) })?.into())
        }
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            IpAddr::V6((if after { bits.checked_add(1) } else { bits.checked_sub(1) })?.into())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: &str, last: &str) -> Run {
        (first.parse().unwrap(), last.parse().unwrap())
    }

    #[test]
    fn an_exception_leaves_what_is_on_either_side() {
        let all = run("0.0.0.0", "255.255.255.255");
        let left = |hole| without(all, hole).collect::<Vec<_>>();
        assert_eq!(
            left(run("10.0.0.0", "10.255.255.255")),
            [run("0.0.0.0", "9.255.255.255"), run("11.0.0.0", "255.255.255.255")]
        );
        assert_eq!(left(run("0.0.0.0", "9.255.255.255")), [run("10.0.0.0", "255.255.255.255")]);
        assert_eq!(left(all), []);
        let six: Vec<Run> = without(run("fd00::", "fd00::f"), run("fd01::", "fd01::1")).collect();
        assert_eq!(six, [run("fd00::", "fd00::f")]);
    }

    #[test]
    fn runs_that_meet_are_one() {
        let runs = vec![
            run("10.0.0.8", "10.0.0.9"),
            run("10.0.0.0", "10.0.0.5"),
            run("10.0.0.3", "10.0.0.7"),
            run("10.0.0.11", "10.0.0.11"),
        ];
        assert_eq!(joined(runs), [run("10.0.0.0", "10.0.0.9"), run("10.0.0.11", "10.0.0.11")]);
        assert_eq!(
            joined(vec![run("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), run("::1", "::2")]).len(),
            1
        );
    }
}
