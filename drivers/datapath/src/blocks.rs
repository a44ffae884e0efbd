//! The shared filter blocks: one for the ingress of all ports and one for their egress, with one program in each.
//!
//! A port joins both by one message that gives it a `clsact` qdisc. The filters belong to the blocks, so replacing the
//! program of all ports is one message a direction. A block exists only while a qdisc refers to it, so the filters come after
//! the first port.
//!
//! ```text
//!   hnv… ─ clsact ─┬─ ingress ─► block 46701 ─► filter 1: port_out     from the container
//!   hnv… ─ clsact ─┤
//!   hnv… ─ clsact ─┴─ egress ──► block 46702 ─► filter 1: port_in      to the container
//! ```
//!
//! Numbers are those of `linux/rtnetlink.h` and `linux/pkt_sched.h`; see tc-bpf(8), and tc(8) on blocks.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use hns_abi::Direction;
use hns_net::IfName;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE};

use crate::DatapathError;
use crate::error::{KernelError, Missing};
use crate::netlink::{Attributes, Netlink, Request};
use crate::tc::{self, RTM_DELQDISC, RTM_GETQDISC, RTM_NEWQDISC, TCA_KIND, TCA_OPTIONS, TCMSG_LEN, tcmsg};

/// The block at the ingress of all host ends: what containers send. (HNS on a telephone's keys is 467.)
pub const BLOCK_OUT: u32 = 46701;
/// The block at their egress: what containers receive.
pub const BLOCK_IN: u32 = 46702;

const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;

const TCA_INGRESS_BLOCK: u16 = 13;
const TCA_EGRESS_BLOCK: u16 = 14;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
/// The program's return value is the action.
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

const TC_H_CLSACT: u32 = 0xFFFF_FFF1;
const CLSACT_HANDLE: u32 = 0xFFFF_0000;
/// In the place of a link's number: the message is about a block.
const MAGIC_BLOCK: u32 = 0xFFFF_FFFF;

/// Our filter in each of the blocks.
const FILTER_HANDLE: u32 = 1;
/// Priority 1 in the upper half, all protocols (ETH_P_ALL, in network order) in the lower.
const FILTER_INFO: u32 = 1 << 16 | 0x0003_u16.to_be() as u32;

const fn block(direction: Direction) -> u32 {
    match direction {
        Direction::In => BLOCK_IN,
        Direction::Out => BLOCK_OUT,
    }
}

/// What hooks programs to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Qdisc {
    None,
    Ours,
    /// Another program's.
    Foreign,
}

fn qdisc_of(message: &[u8]) -> Qdisc {
    let attributes = Attributes::after(TCMSG_LEN, message);
    if !matches!(attributes.text(TCA_KIND), Some("clsact" | "ingress")) {
        return Qdisc::None;
    }
    let blocks = (attributes.ne32(TCA_INGRESS_BLOCK), attributes.ne32(TCA_EGRESS_BLOCK));
    if blocks == (Some(BLOCK_OUT), Some(BLOCK_IN)) { Qdisc::Ours } else { Qdisc::Foreign }
}

/// What hooks programs to this link; absent: there is no such link.
fn look(netlink: &mut Netlink, ifindex: u32, name: &IfName) -> Result<Option<Qdisc>, DatapathError> {
    let about = tcmsg(ifindex, 0, TC_H_CLSACT, 0);
    // Without the flag the kernel tells the answer to those who listen to changes, but not to who asked.
    let question =
        Request::new("look at the filters of", format!("link {name}"), RTM_GETQDISC, NLM_F_ECHO).raw(&about);
    match netlink.ask(&question)? {
        Ok(messages) => Ok(Some(messages.first().map_or(Qdisc::None, |message| qdisc_of(message)))),
        Err(refusal) if refusal.errno == libc::ENOENT => Ok(Some(Qdisc::None)),
        Err(refusal) if refusal.errno == libc::ENODEV => Ok(None),
        Err(refusal) => Err(question.refused(refusal)),
    }
}

/// Whether a link is joined to both blocks.
pub(crate) fn is_joined(netlink: &mut Netlink, ifindex: u32, name: &IfName) -> Result<bool, DatapathError> {
    Ok(look(netlink, ifindex, name)? == Some(Qdisc::Ours))
}

/// Joins a link to both blocks, unless it is. What another program hooked to it goes: the host end of a port is ours.
pub(crate) fn join(netlink: &mut Netlink, ifindex: u32, name: &IfName) -> Result<(), DatapathError> {
    let no_such_link = || DatapathError::NoSuchLink { name: name.clone() };
    let request = joining(ifindex, name);
    match netlink.ask(&request)? {
        Ok(_) => return Ok(()),
        Err(refusal) if refusal.errno == libc::ENODEV => return Err(no_such_link()),
        Err(refusal) if refusal.errno == libc::EEXIST => {}
        Err(refusal) if refusal.errno == libc::ENOENT => return Err(missing(Missing::Hook, &refusal)),
        Err(refusal) => return Err(request.refused(refusal)),
    }
    match look(netlink, ifindex, name)? {
        None => return Err(no_such_link()),
        Some(Qdisc::Ours) => return Ok(()),
        Some(Qdisc::None) => {}
        Some(Qdisc::Foreign) => {
            let about = tcmsg(ifindex, CLSACT_HANDLE, TC_H_CLSACT, 0);
            let object = format!("link {name}");
            let request = Request::new("remove another program's filters from", object, RTM_DELQDISC, 0);
            netlink.execute(request.raw(&about), &[libc::ENOENT, libc::EINVAL])?;
        }
    }
    match netlink.execute(joining(ifindex, name), &[]) {
        Err(error) if error.is_errno(libc::ENODEV) => Err(no_such_link()),
        outcome => outcome,
    }
}

/// The kernel does not know what it is asked for by name.
fn missing(missing: Missing, refusal: &KernelError) -> DatapathError {
    DatapathError::Unavailable { missing, source: io::Error::from_raw_os_error(refusal.errno) }
}

fn joining(ifindex: u32, name: &IfName) -> Request {
    Request::new("join to our filters", format!("link {name}"), RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL)
        .raw(&tcmsg(ifindex, CLSACT_HANDLE, TC_H_CLSACT, 0))
        .text(TCA_KIND, "clsact")
        .ne32(TCA_INGRESS_BLOCK, BLOCK_OUT)
        .ne32(TCA_EGRESS_BLOCK, BLOCK_IN)
}

/// Of all links' queueing disciplines: the numbers of those links that are joined to both blocks.
pub(crate) fn joined(qdiscs: &[Vec<u8>]) -> BTreeSet<u32> {
    qdiscs
        .iter()
        .filter(|message| qdisc_of(message) == Qdisc::Ours)
        .filter_map(|message| tc::ifindex(message))
        .collect()
}

/// The number of the program that runs in a block.
pub(crate) fn program(netlink: &mut Netlink, direction: Direction) -> Result<Option<u32>, DatapathError> {
    let block = block(direction);
    let request = Request::new("look at", format!("the filter of block {block}"), RTM_GETTFILTER, 0)
        .raw(&tcmsg(MAGIC_BLOCK, FILTER_HANDLE, block, FILTER_INFO));
    match netlink.ask(&request)? {
        Ok(messages) => Ok(messages
            .first()
            .and_then(|message| Attributes::after(TCMSG_LEN, message).nest(TCA_OPTIONS)?.ne32(TCA_BPF_ID))),
        // ENOENT: no filter; EINVAL: no block.
        Err(refusal) if [libc::ENOENT, libc::EINVAL].contains(&refusal.errno) => Ok(None),
        Err(refusal) => Err(request.refused(refusal)),
    }
}

/// Puts a program into a block, in the place of the one there is; says whether there is such a block.
pub(crate) fn install(
    netlink: &mut Netlink,
    direction: Direction,
    name: &str,
    program: BorrowedFd<'_>,
) -> Result<bool, DatapathError> {
    let block = block(direction);
    let fd = program.as_raw_fd().unsigned_abs();
    let object = format!("the filter of block {block}");
    let request = Request::new("set", object, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE)
        .raw(&tcmsg(MAGIC_BLOCK, FILTER_HANDLE, block, FILTER_INFO))
        .text(TCA_KIND, "bpf")
        .nest(TCA_OPTIONS, |options| {
            options.ne32(TCA_BPF_FD, fd).text(TCA_BPF_NAME, name).ne32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT)
        });
    match netlink.ask(&request)? {
        Ok(_) => Ok(true),
        Err(refusal) if refusal.errno == libc::EINVAL && joined(&tc::qdiscs(netlink)?).is_empty() => {
            Ok(false)
        }
        Err(refusal) if refusal.errno == libc::ENOENT => Err(missing(Missing::Classifier, &refusal)),
        Err(refusal) => Err(request.refused(refusal)),
    }
}
