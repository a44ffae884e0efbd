//! Outbound translation of endpoints behind the host: which of their destinations meet the host's own address.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hns_hcn::{GatewayMode, NetworkType, OutboundNat};
use hns_model::{Endpoint, Network};
use hns_net::{Cidr, Family, IfAddr};

use crate::rules::Element;

/// First and last address of a run.
type Run = (IpAddr, IpAddr);

/// What the table holds of an endpoint's policies `OutBoundNAT` where they are not what its network does by itself: what is translated, or
/// where everything is, what is not. Runs of one source have gaps between them: the set takes none that meet.
pub(crate) fn elements(endpoint: &Endpoint, network: &Network) -> BTreeSet<Element> {
    let is_behind_host = network.kind() == NetworkType::L2Bridge;
    if !is_behind_host && !network.has_way_out() {
        return BTreeSet::new();
    }
    let says = |policy: &&OutboundNat| {
        is_behind_host || !policy.exceptions.is_empty() || !policy.destinations.is_empty()
    };
    let elements_of = |from: IpAddr| {
        let family = Family::of(from);
        let covering: Vec<&OutboundNat> =
            endpoint.outbound_nats().filter(|policy| policy.covers(family)).collect();
        let translated =
            joined(covering.iter().flat_map(|policy| translated(policy, network, family)).collect());
        let does_so_itself = !is_behind_host && network.gateway_mode(family) == GatewayMode::Nat;
        match does_so_itself {
            _ if !covering.iter().any(says) => Vec::new(),
            true => rest_of(&translated, family)
                .into_iter()
                .map(|(first, last)| Element::Kept { from, first, last })
                .collect(),
            false => {
                translated.into_iter().map(|(first, last)| Element::Outbound { from, first, last }).collect()
            }
        }
    };
    endpoint.addresses().map(IfAddr::address).flat_map(elements_of).collect()
}

/// All addresses of a family but these.
fn rest_of(runs: &[Run], family: Family) -> Vec<Run> {
    let all = family.default_route();
    let all = vec![(all.network(), all.last())];
    runs.iter().fold(all, |rest, run| rest.into_iter().flat_map(|one| without(one, *run)).collect())
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
