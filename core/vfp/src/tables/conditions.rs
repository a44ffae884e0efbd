//! What a rule asks of each of the four things that are looked up by prefix. A rule matches when all four conditions hold, and
//! what it asks of sets (`super::set_rows`): `Match::holds` taken apart.

use std::sync::Arc;

use hns_abi::PLAIN_DIMENSIONS;
use hns_net::{Cidr, Transport};

use crate::model::{Addresses, Match};

use super::hash::QuickMap;
use super::prefix::{Condition, Prefix, push_icmp, push_ports};

/// ICMP and ICMPv6.
const ICMP: [u8; 2] = [1, 58];

/// By dimension; absent: everything meets it, also what no prefix says anything about.
pub(super) type Conditions = [Option<Arc<Condition>>; PLAIN_DIMENSIONS];

/// Makes conditions for the rules of one list; rules that name the same prefixes share one. Sets are no prefixes of a rule's
/// (`super::set_rows`).
#[derive(Default)]
pub(super) struct Maker<'a> {
    blocks: QuickMap<&'a [Cidr], Arc<Condition>>,
}

impl<'a> Maker<'a> {
    pub fn conditions(&mut self, matches: &'a Match) -> Conditions {
        [
            self.addresses(&matches.local),
            self.addresses(&matches.remote),
            local_ports(matches).map(|prefixes| Arc::new(Condition::union(prefixes))),
            remote_ports(matches).map(|prefixes| Arc::new(Condition::union(prefixes))),
        ]
    }

    fn addresses(&mut self, addresses: &'a Addresses) -> Option<Arc<Condition>> {
        let Addresses::Prefixes(blocks) = addresses else { return None };
        if blocks.is_empty() {
            return None;
        }
        let condition = self.blocks.entry(blocks).or_insert_with(|| Arc::new(Condition::of_blocks(blocks)));
        Some(Arc::clone(condition))
    }
}

/// Protocols that meet the rule's conditions on ports, and those that meet its conditions on ICMP types.
fn speaks_of(matches: &Match) -> (Vec<u8>, Vec<u8>) {
    let ports = !matches.local_ports.is_empty() || !matches.remote_ports.is_empty();
    let named = |protocol: &u8| matches.protocols.is_empty() || matches.protocols.contains(protocol);
    let with_ports = Transport::ALL.map(Transport::number).into_iter().filter(|p| ports && named(p));
    let icmp = ICMP.into_iter().filter(|p| !matches.icmp.is_empty() && named(p));
    (with_ports.collect(), icmp.collect())
}

fn is_open(matches: &Match) -> bool {
    matches.local_ports.is_empty() && matches.remote_ports.is_empty() && matches.icmp.is_empty()
}

/// The local port's dimension sees to the protocol, too.
fn local_ports(matches: &Match) -> Option<Vec<Prefix>> {
    if is_open(matches) {
        let protocols = matches.protocols.iter().map(|p| Prefix::protocol(*p));
        return (!matches.protocols.is_empty()).then(|| protocols.collect());
    }
    let (with_ports, icmp) = speaks_of(matches);
    let mut prefixes = Vec::new();
    for protocol in with_ports {
        if matches.local_ports.is_empty() {
            prefixes.push(Prefix::protocol(protocol));
        }
        for range in &matches.local_ports {
            push_ports(protocol, *range, &mut prefixes);
        }
    }
    for protocol in icmp {
        for kind in &matches.icmp {
            push_icmp(protocol, *kind, &mut prefixes);
        }
    }
    Some(prefixes)
}

fn remote_ports(matches: &Match) -> Option<Vec<Prefix>> {
    if matches.remote_ports.is_empty() {
        return None;
    }
    let (with_ports, icmp) = speaks_of(matches);
    let mut prefixes: Vec<Prefix> = icmp.into_iter().map(Prefix::protocol).collect();
    for protocol in with_ports {
        for range in &matches.remote_ports {
            push_ports(protocol, *range, &mut prefixes);
        }
    }
    Some(prefixes)
}
