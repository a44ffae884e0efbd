//! Ports that the host's own firewall closes, which published ports are not to open again (moby#22054).
//!
//! Published traffic is forwarded, so the hook `input`, where host firewalls close ports, never sees it. What
//! their rules there drop or reject is kept in two sets of our table instead, and holds for port mappings, too.
//!
//! Only rules that close certain ports count: a chain that drops by policy, or by a last rule about everything,
//! closes a host that nobody opened, and a mapping opens its own port. An explicit drop wins.
//!
//! What the host accepts must never be blocked, so what is not understood counts for the connection: a drop with
//! a test that cannot be told by source, protocol and port is left out, and an accept with one is taken for as
//! wide as it may be. `hnsctl doctor` says what is held to.

mod expressions;
mod region;
#[cfg(test)]
mod tests;
mod walk;
mod xtables;

use std::collections::{BTreeMap, BTreeSet};

use hns_net::Family;
use netlink_packet_core::NLM_F_DUMP;

use crate::nat::batch::{self, is_missing};
use crate::nat::element::{self, Member, Set};
use crate::nat::table::NAME;
use crate::nat::wire::{self, family};
use crate::netlink::{Attributes, Batch, Netlink, Subject};
use crate::ruleset::{self, Chain, INPUT};
use crate::{HostError, KernelError};
use expressions::{Entry, Sets, outcome};
use region::{Drop, disjoint};
use walk::Decisions;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Makes the two sets hold what the host's firewall drops now; says how many elements that is.
pub(crate) fn follow(netlink: &mut Netlink) -> Result<usize, HostError> {
    match try_to_follow(netlink) {
        // Our table, or a chain of theirs, went away meanwhile; that is told as well.
        Err(error) if is_missing(&error) => Ok(0),
        result => result,
    }
}

fn try_to_follow(netlink: &mut Netlink) -> Result<usize, HostError> {
    netlink.was_patchy();
    let chains = ruleset::chains(netlink)?;
    let mut drops = Vec::new();
    for chain in chains.iter().filter(|chain| decides_over_input(chain)) {
        drops.extend(of_chain(netlink, chain)?);
    }
    let mut wanted = BTreeSet::new();
    let mut held = BTreeSet::new();
    for family in FAMILIES {
        let of_family: Vec<Drop> =
            drops.iter().copied().filter(|drop| drop.source.family() == family).collect();
        let member = |drop: Drop| element::host_drop(drop.source, drop.transport, drop.ports);
        wanted.extend(disjoint(&of_family).into_iter().map(member));
        held.extend(batch::list(netlink, Set::HostDrops(family))?);
    }
    if netlink.was_patchy() {
        // An accept may be what is missing.
        let source = KernelError::new(libc::EINTR);
        return Err(HostError::Kernel {
            operation: "read",
            object: "the host's firewall".to_owned(),
            source,
        });
    }
    let gone: Vec<Member> = held.difference(&wanted).cloned().collect();
    let new: Vec<Member> = wanted.difference(&held).cloned().collect();
    batch::exchange(netlink, &gone, &new)?;
    Ok(wanted.len())
}

/// Whether it is a base chain of another program through which everything to this host goes.
pub(crate) fn decides_over_input(chain: &Chain) -> bool {
    chain.hook == Some(INPUT)
        && chain.filters
        && chain.table != NAME
        && matches!(chain.family, family::INET | family::IPV4 | family::IPV6)
}

/// What one base chain drops, as far as it is understood.
pub(crate) fn of_chain(netlink: &mut Netlink, chain: &Chain) -> Result<Vec<Drop>, HostError> {
    let rules = rules_of_table(netlink, chain)?;
    let mut sets = TableSets { netlink, family: chain.family, table: &chain.table, failed: None };
    let mut drops = Vec::new();
    for family in FAMILIES.into_iter().filter(|family| has(chain, *family)) {
        let mut chains: BTreeMap<String, Vec<Decisions>> = BTreeMap::new();
        for (name, rule) in &rules {
            let list = Attributes::after(wire::HEADER_LEN, rule).nest(wire::rule::EXPRESSIONS);
            let Some(list) = list else { continue };
            chains.entry(name.clone()).or_default().push(expressions::read(list, family, &mut sets));
        }
        drops.extend(walk::drops(&chains, &chain.name, family));
    }
    match sets.failed {
        Some(error) => Err(error),
        None => Ok(drops),
    }
}

/// As an operator reads it: `tcp 8080, udp 53 from 10.0.0.0/8`.
pub(crate) fn describe(drops: &[Drop]) -> String {
    let mut texts = BTreeSet::new();
    for family in FAMILIES {
        let of_family: Vec<Drop> =
            drops.iter().copied().filter(|drop| drop.source.family() == family).collect();
        texts.extend(disjoint(&of_family).iter().map(Drop::to_string));
    }
    texts.into_iter().collect::<Vec<_>>().join(", ")
}

fn has(chain: &Chain, of: Family) -> bool {
    match chain.family {
        family::IPV4 => of == Family::V4,
        family::IPV6 => of == Family::V6,
        _ => true,
    }
}

/// The rules of the chain's table in their order, each with the chain it is in.
fn rules_of_table(netlink: &mut Netlink, chain: &Chain) -> Result<Vec<(String, Vec<u8>)>, HostError> {
    let mut question = Batch::new();
    let subject = Subject::new("list", format!("rules beside {}", chain.path()));
    question.message(wire::message(wire::GET_RULE), NLM_F_DUMP, subject, |writer| {
        wire::header(writer, chain.family, 0);
        writer.text(wire::rule::TABLE, &chain.table);
    });
    netlink.dump(&question, |message| {
        let rule = Attributes::after(wire::HEADER_LEN, message);
        // Older kernels do not filter by table.
        let here = rule.text(wire::rule::TABLE) == Some(&chain.table);
        let name = rule.text(wire::rule::CHAIN).filter(|_| here)?;
        Some((name.to_owned(), message.to_vec()))
    })
}

/// The sets of one table of another program.
struct TableSets<'a> {
    netlink: &'a mut Netlink,
    family: u8,
    table: &'a str,
    failed: Option<HostError>,
}

impl Sets for TableSets<'_> {
    fn entries(&mut self, name: &str) -> Option<Vec<Entry>> {
        let mut question = Batch::new();
        let subject = Subject::new("list", format!("set {name} of table {}", self.table));
        question.message(wire::message(wire::GET_ELEMENT), NLM_F_DUMP, subject, |writer| {
            wire::header(writer, self.family, 0);
            writer.text(wire::element::LIST_TABLE, self.table);
            writer.text(wire::element::LIST_SET, name);
        });
        match self.netlink.dump(&question, |message| Some(read_entries(message))) {
            Ok(lists) => Some(lists.into_iter().collect::<Option<Vec<_>>>()?.concat()),
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
}

/// The elements in one message; nothing if one of them is of a kind that we do not follow.
fn read_entries(message: &[u8]) -> Option<Vec<Entry>> {
    const ENDS: u32 = 1;
    let list = Attributes::after(wire::HEADER_LEN, message).nest(wire::element::LIST_ELEMENTS);
    let read = |(_, item)| {
        let item = Attributes::after(0, item);
        let flags = item.be32(wire::element::FLAGS).unwrap_or_default();
        // What times out does so without a word, and the last of the flags stands for all other keys.
        if item.get(wire::element::TIMEOUT).is_some() || flags & !ENDS != 0 {
            return None;
        }
        let key = item.nest(wire::element::KEY)?.get(wire::element::VALUE)?.to_vec();
        let outcome = item.nest(wire::element::DATA).and_then(outcome);
        Some(Entry { key, ends: flags == ENDS, outcome })
    };
    list.into_iter().flat_map(Attributes::each).map(read).collect()
}
