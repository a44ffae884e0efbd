//! The gate of a port that reads what comes to it: the second lock, for the time in which somebody has taken our filters off.
//!
//! It is the root queueing discipline of the port's host end, an HTB in which a packet finds its class by `skb->priority` alone
//! and is dropped without one. `port_in` writes the class into what it lets pass; a container cannot, since a packet loses its
//! priority when it changes namespace. The class has no limit that anything could reach.
//!
//! ```text
//!   bridge ─► egress of hnv… ─► block 46702: port_in, sets the priority ─► HTB 467: ─┬─ 467:1 ─► container
//!                                                                                  └─ no class: dropped
//! ```
//!
//! The short way of `port_out` into the container's namespace goes past it, after it has asked the same layers. A port that
//! reads nothing has no gate, which would cost it some 5 % of its connections; one that gets its first rule while it is up
//! drops what comes for the third of a millisecond in which the kernel exchanges the queue.
//!
//! Numbers are those of `linux/rtnetlink.h` and `linux/pkt_sched.h`; see tc-htb(8).

use std::collections::BTreeSet;
use std::io;

use hns_abi::PRIORITY_PASSED;
use hns_net::IfName;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL};

use crate::DatapathError;
use crate::error::Missing;
use crate::netlink::{Attributes, Netlink, Request};
use crate::tc::{self, RTM_DELQDISC, RTM_GETQDISC, RTM_NEWQDISC, TCA_KIND, TCA_OPTIONS, TCMSG_LEN, tcmsg};

const RTM_NEWTCLASS: u16 = 40;
const RTM_GETTCLASS: u16 = 42;

const TCA_HTB_PARMS: u16 = 1;
const TCA_HTB_INIT: u16 = 2;
const TCA_HTB_DIRECT_QLEN: u16 = 5;
const TCA_HTB_RATE64: u16 = 6;
const TCA_HTB_CEIL64: u16 = 7;
const HTB_VERSION: u32 = 3;

const TC_H_ROOT: u32 = 0xFFFF_FFFF;
const CLASS: u32 = PRIORITY_PASSED;
const GATE: u32 = CLASS & 0xFFFF_0000;

/// What a class with a rate gets at one time; there is only one.
const QUANTUM: u32 = 200_000;
const BYTES_PER_SECOND: u64 = 1 << 42;
/// Ticks of 64 ns of credit: no pause of the clock makes a packet wait.
const CREDIT: u32 = 1 << 28;

fn is_gate(message: &[u8]) -> bool {
    let attributes = Attributes::after(TCMSG_LEN, message);
    let unclassed = || attributes.nest(TCA_OPTIONS)?.ne32(TCA_HTB_DIRECT_QLEN);
    (tc::parent(message), tc::handle(message)) == (Some(TC_H_ROOT), Some(GATE))
        && attributes.text(TCA_KIND) == Some("htb")
        && unclassed() == Some(0)
}

/// Puts the gate at a link, unless it is there. What another program queues there goes: the host end of a port is ours.
pub(crate) fn close(netlink: &mut Netlink, ifindex: u32, name: &IfName) -> Result<(), DatapathError> {
    let request = making(ifindex, name);
    match netlink.ask(&request)? {
        Ok(_) => {}
        Err(refusal) if refusal.errno == libc::EEXIST => replace(netlink, ifindex, name)?,
        Err(refusal) if refusal.errno == libc::ENODEV => {
            return Err(DatapathError::NoSuchLink { name: name.clone() });
        }
        Err(refusal) if refusal.errno == libc::ENOENT => {
            let source = io::Error::from_raw_os_error(refusal.errno);
            return Err(DatapathError::Unavailable { missing: Missing::Gate, source });
        }
        Err(refusal) => return Err(request.refused(refusal)),
    }
    netlink.execute(making_class(ifindex, name), &[])
}

/// Something is at the root already.
fn replace(netlink: &mut Netlink, ifindex: u32, name: &IfName) -> Result<(), DatapathError> {
    if has_gate(netlink, ifindex, name)? {
        return Ok(());
    }
    let request =
        Request::new("remove another program's queue from", format!("link {name}"), RTM_DELQDISC, 0);
    netlink.execute(request.raw(&tcmsg(ifindex, 0, TC_H_ROOT, 0)), &[libc::ENOENT])?;
    netlink.execute(making(ifindex, name), &[])
}

fn has_gate(netlink: &mut Netlink, ifindex: u32, name: &IfName) -> Result<bool, DatapathError> {
    // Without the flag the kernel tells the answer to those who listen to changes, but not to who asked.
    let request = Request::new("look at the queue of", format!("link {name}"), RTM_GETQDISC, NLM_F_ECHO)
        .raw(&tcmsg(ifindex, 0, TC_H_ROOT, 0));
    match netlink.ask(&request)? {
        Ok(messages) => Ok(messages.iter().any(|message| is_gate(message))),
        // ENOENT: the kernel's default, which it does not show.
        Err(refusal) if [libc::ENOENT, libc::ENODEV].contains(&refusal.errno) => Ok(false),
        Err(refusal) => Err(request.refused(refusal)),
    }
}

fn making(ifindex: u32, name: &IfName) -> Request {
    // Version, rate to quantum, no default class, two that only the kernel fills in.
    let init = [HTB_VERSION, 10, 0, 0, 0].map(u32::to_ne_bytes).concat();
    Request::new("put the gate at", format!("link {name}"), RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL)
        .raw(&tcmsg(ifindex, GATE, TC_H_ROOT, 0))
        .text(TCA_KIND, "htb")
        .nest(TCA_OPTIONS, |options| options.bytes(TCA_HTB_INIT, &init).ne32(TCA_HTB_DIRECT_QLEN, 0))
}

/// Made, or made as it should be.
fn making_class(ifindex: u32, name: &IfName) -> Request {
    // struct tc_ratespec: the link layer is Ethernet; of a rate beyond 32 bits the rest is in an attribute of its own.
    let rate = [[0, 1, 0, 0], [0; 4], [u8::MAX; 4]].concat();
    let numbers = [CREDIT, CREDIT, QUANTUM, 0, 0].map(u32::to_ne_bytes).concat();
    let parameters = [rate.clone(), rate, numbers].concat();
    let limit = BYTES_PER_SECOND.to_ne_bytes();
    Request::new("open a way through the gate of", format!("link {name}"), RTM_NEWTCLASS, NLM_F_CREATE)
        .raw(&tcmsg(ifindex, CLASS, GATE, 0))
        .text(TCA_KIND, "htb")
        .nest(TCA_OPTIONS, |options| {
            options
                .bytes(TCA_HTB_PARMS, &parameters)
                .bytes(TCA_HTB_RATE64, &limit)
                .bytes(TCA_HTB_CEIL64, &limit)
        })
}

/// Whether a link has its gate, and the gate its way through.
pub(crate) fn stands(netlink: &mut Netlink, ifindex: u32, name: &IfName) -> Result<bool, DatapathError> {
    Ok(has_gate(netlink, ifindex, name)? && has_way(netlink, ifindex, name)?)
}

/// Whether the gate of a link has its way through.
pub(crate) fn has_way(netlink: &mut Netlink, ifindex: u32, name: &IfName) -> Result<bool, DatapathError> {
    let request = Request::dump("look at the gate of", format!("link {name}"), RTM_GETTCLASS)
        .raw(&tcmsg(ifindex, 0, 0, 0));
    match netlink.ask(&request)? {
        Ok(messages) => Ok(messages.iter().any(|message| tc::handle(message) == Some(CLASS))),
        Err(refusal) if refusal.errno == libc::ENODEV => Ok(false),
        Err(refusal) => Err(request.refused(refusal)),
    }
}

/// Of all links' queueing disciplines: the numbers of those links that have a gate.
pub(crate) fn gates(qdiscs: &[Vec<u8>]) -> BTreeSet<u32> {
    qdiscs.iter().filter(|message| is_gate(message)).filter_map(|message| tc::ifindex(message)).collect()
}
