//! What all messages of traffic control have in common (`linux/rtnetlink.h`).

use crate::DatapathError;
use crate::netlink::{Netlink, Request};

pub(crate) const RTM_NEWQDISC: u16 = 36;
pub(crate) const RTM_DELQDISC: u16 = 37;
pub(crate) const RTM_GETQDISC: u16 = 38;

pub(crate) const TCA_KIND: u16 = 1;
pub(crate) const TCA_OPTIONS: u16 = 2;

pub(crate) const TCMSG_LEN: usize = 20;
const IFINDEX_AT: usize = 4;
const HANDLE_AT: usize = 8;
const PARENT_AT: usize = 12;

/// `struct tcmsg`.
pub(crate) fn tcmsg(ifindex: u32, handle: u32, parent: u32, info: u32) -> [u8; TCMSG_LEN] {
    let mut bytes = [0; TCMSG_LEN];
    for (place, word) in bytes[IFINDEX_AT..].chunks_exact_mut(4).zip([ifindex, handle, parent, info]) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn word(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(message.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn ifindex(message: &[u8]) -> Option<u32> {
    word(message, IFINDEX_AT)
}

pub(crate) fn handle(message: &[u8]) -> Option<u32> {
    word(message, HANDLE_AT)
}

pub(crate) fn parent(message: &[u8]) -> Option<u32> {
    word(message, PARENT_AT)
}

/// The queueing disciplines of all links.
pub(crate) fn qdiscs(netlink: &mut Netlink) -> Result<Vec<Vec<u8>>, DatapathError> {
    let request =
        Request::dump("list", "the queueing disciplines of all links", RTM_GETQDISC).raw(&tcmsg(0, 0, 0, 0));
    netlink.ask(&request)?.map_err(|refusal| request.refused(refusal))
}
