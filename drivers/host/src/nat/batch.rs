//! Changing and reading the sets of our tables over netlink.

use std::collections::BTreeMap;

use hns_net::Mac;
use hns_planner::Element;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP};

use super::element::{Member, Set, members};
use super::table::NAME;
use super::wire::{self, element as attribute};
use crate::HostError;
use crate::netlink::{Attributes, Batch, Netlink, Subject, Writer};

/// How many elements go into one message: the list's length is 16 bits, and an element takes at most some
/// 140 bytes.
const ELEMENTS_PER_MESSAGE_MAX: usize = 400;

/// A set that no [`Element`] names: it follows from the ports in `quiet_ports`.
const GATEWAYS: &str = "gateways";

/// Others may remove what we just saw; whoever does so again and again has done our work.
const REMOVE_TRIES_MAX: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Add,
    Remove,
}

/// Adds the elements in one transaction. Those that are there already stay.
pub(crate) fn add(netlink: &mut Netlink, elements: &[Element]) -> Result<(), HostError> {
    let members: Vec<Member> = elements.iter().flat_map(members).collect();
    match netlink.execute(&transaction(&[(Change::Add, &members)])) {
        Err(error) if error.is_errno(libc::ENOENT) => Err(HostError::NoTable),
        outcome => outcome,
    }
}

/// Takes the place of `gone` with `new` in one transaction.
pub(crate) fn exchange(netlink: &mut Netlink, gone: &[Member], new: &[Member]) -> Result<(), HostError> {
    netlink.execute(&transaction(&[(Change::Remove, gone), (Change::Add, new)]))
}

/// Removes the elements in one transaction. The kernel refuses one that removes what is not there (and takes
/// some 15 ms for it), so after a refusal only those are removed that are found.
pub(crate) fn remove(netlink: &mut Netlink, elements: &[Element]) -> Result<(), HostError> {
    let mut members: Vec<Member> = elements.iter().flat_map(members).collect();
    for _ in 0..REMOVE_TRIES_MAX {
        match netlink.execute(&transaction(&[(Change::Remove, &members)])) {
            Err(error) if is_missing(&error) => {}
            result => return result,
        }
        let mut found = Vec::new();
        for member in members {
            if exists(netlink, &member)? {
                found.push(member);
            }
        }
        members = found;
    }
    Ok(())
}

fn exists(netlink: &mut Netlink, member: &Member) -> Result<bool, HostError> {
    let mut question = Batch::new();
    let subject = Subject::new("look into", format!("set {} of table {NAME}", member.set.name()));
    question.message(wire::message(wire::GET_ELEMENT), NLM_F_ACK, subject, |writer| {
        write_members(writer, member.set, &[member], Change::Remove);
    });
    match netlink.ask(&question, |_, _| ()) {
        Ok(()) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The element, its set or its table is not there. A family that the kernel lacks has no tables.
pub(crate) fn is_missing(error: &HostError) -> bool {
    error.is_errno(libc::ENOENT) || error.is_errno(libc::EAFNOSUPPORT) || error.is_errno(libc::EOPNOTSUPP)
}

/// All changes in their order. Within one of them, each set is changed at once.
fn transaction(changes: &[(Change, &[Member])]) -> Batch {
    let mut by_set: BTreeMap<(usize, Set), Vec<&Member>> = BTreeMap::new();
    for (place, (_, members)) in changes.iter().enumerate() {
        for member in *members {
            by_set.entry((place, member.set)).or_default().push(member);
        }
    }
    let messages: Vec<(Change, Set, &[&Member])> = by_set
        .iter()
        .flat_map(|((place, set), members)| {
            members.chunks(ELEMENTS_PER_MESSAGE_MAX).map(|chunk| (changes[*place].0, *set, chunk))
        })
        .collect();
    let mut batch = Batch::new();
    if messages.is_empty() {
        return batch;
    }
    begin(&mut batch);
    let last = messages.len() - 1;
    for (place, (change, set, members)) in messages.into_iter().enumerate() {
        let (operation, kind, flags) = match change {
            Change::Add => ("add elements to", wire::NEW_ELEMENT, NLM_F_CREATE),
            Change::Remove => ("remove elements from", wire::DELETE_ELEMENT, 0),
        };
        // A refusal is always told; success once for all is enough.
        let flags = if place == last { flags | NLM_F_ACK } else { flags };
        let subject = Subject::new(operation, format!("set {} of table {NAME}", set.name()));
        batch.message(wire::message(kind), flags, subject, |writer| {
            write_members(writer, set, members, change);
        });
    }
    end(&mut batch);
    batch
}

/// Opens a transaction.
pub(crate) fn begin(batch: &mut Batch) {
    batch.message(wire::BATCH_BEGIN, 0, Subject::new("begin", "transaction"), |writer| {
        wire::header(writer, wire::family::UNSPECIFIED, wire::SUBSYSTEM);
    });
}

/// Closes a transaction.
pub(crate) fn end(batch: &mut Batch) {
    batch.message(wire::BATCH_END, 0, Subject::new("commit", "transaction"), |writer| {
        wire::header(writer, wire::family::UNSPECIFIED, wire::SUBSYSTEM);
    });
}

fn write_members(writer: &mut Writer<'_>, set: Set, members: &[&Member], change: Change) {
    wire::header(writer, set.table_family(), 0);
    writer.text(attribute::LIST_TABLE, NAME);
    writer.text(attribute::LIST_SET, set.name());
    writer.nest(attribute::LIST_ELEMENTS, |list| {
        for member in members {
            list.nest(attribute::ITEM, |item| {
                write_value(item, attribute::KEY, &member.key);
                if let Some(end) = &member.key_end {
                    write_value(item, attribute::KEY_END, end);
                }
                if let Some(data) = &member.data
                    && change == Change::Add
                {
                    write_value(item, attribute::DATA, data);
                }
            });
        }
    });
}

/// Names the switches of quiet ports, whose frames to and from their containers pass.
pub(crate) fn add_gateways(netlink: &mut Netlink, macs: &[Mac]) -> Result<(), HostError> {
    if macs.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::new();
    begin(&mut batch);
    let subject = Subject::new("add elements to", format!("set {GATEWAYS} of table {NAME}"));
    batch.message(wire::message(wire::NEW_ELEMENT), NLM_F_CREATE | NLM_F_ACK, subject, |writer| {
        wire::header(writer, wire::family::BRIDGE, 0);
        writer.text(attribute::LIST_TABLE, NAME);
        writer.text(attribute::LIST_SET, GATEWAYS);
        writer.nest(attribute::LIST_ELEMENTS, |list| {
            for mac in macs {
                list.nest(attribute::ITEM, |item| write_value(item, attribute::KEY, &mac.octets()));
            }
        });
    });
    end(&mut batch);
    netlink.execute(&batch)
}

fn write_value(writer: &mut Writer<'_>, kind: u16, value: &[u8]) {
    writer.nest(kind, |nest| nest.bytes(attribute::VALUE, value));
}

/// The members of one set.
pub(crate) fn list(netlink: &mut Netlink, set: Set) -> Result<Vec<Member>, HostError> {
    let mut question = Batch::new();
    let subject = Subject::new("list", format!("set {} of table {NAME}", set.name()));
    question.message(wire::message(wire::GET_ELEMENT), NLM_F_DUMP, subject, |writer| {
        wire::header(writer, set.table_family(), 0);
        writer.text(attribute::LIST_TABLE, NAME);
        writer.text(attribute::LIST_SET, set.name());
    });
    let lists = netlink.dump(&question, |message| Some(read_members(set, message)))?;
    Ok(lists.into_iter().flatten().collect())
}

fn read_members(set: Set, message: &[u8]) -> Vec<Member> {
    let list = Attributes::after(wire::HEADER_LEN, message).nest(attribute::LIST_ELEMENTS);
    let items = list.into_iter().flat_map(Attributes::each);
    items
        .filter_map(|(_, item)| {
            let item = Attributes::after(0, item);
            let value = |kind| Some(item.nest(kind)?.get(attribute::VALUE)?.to_vec());
            Some(Member {
                set,
                key: value(attribute::KEY)?,
                key_end: value(attribute::KEY_END),
                data: value(attribute::DATA),
            })
        })
        .collect()
}
