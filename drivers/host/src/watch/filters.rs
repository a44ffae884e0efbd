//! What messages of traffic control mean for us.

use crate::netlink::socket::Message;

/// `struct tcmsg` (`linux/rtnetlink.h`).
const LINK_AT: usize = 4;
const HANDLE_AT: usize = 8;
const PARENT_AT: usize = 12;
/// `TCM_IFINDEX_MAGIC_BLOCK`: stands for a link where a filter is one of a shared block.
const SHARED_BLOCK: u32 = u32::MAX;
/// `TC_H_CLSACT`: where the queueing discipline stands that runs filters before and behind a link.
const CLSACT: u32 = 0xffff_fff1;
/// `TC_H_ROOT`: where the gate stands, a queueing discipline with one class. The kernel's default has no handle, and goes when
/// the gate comes.
const ROOT: u32 = 0xffff_ffff;

/// Where filters were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At the link of this number.
    Link(u32),
    /// In a shared block, and so at all links that use it.
    Block,
}

/// Where this message says that a filter is not what it was. That a link joins a block, and that a block is given a
/// filter, is what we do to every port ourselves, and takes no filter away.
pub(super) fn changed(message: &Message<'_>) -> Option<Place> {
    let word = |at: usize| Some(u32::from_ne_bytes(message.payload.get(at..at + 4)?.try_into().ok()?));
    let parent = word(PARENT_AT)?;
    match (message.kind, word(LINK_AT)?) {
        (libc::RTM_DELTFILTER, SHARED_BLOCK) => Some(Place::Block),
        (libc::RTM_NEWTFILTER, SHARED_BLOCK) => None,
        // None of ours stands at a link itself: somebody has taken our block away and put in one of his own.
        (libc::RTM_NEWTFILTER | libc::RTM_DELTFILTER, link) => Some(Place::Link(link)),
        (libc::RTM_DELQDISC, link) if parent == CLSACT => Some(Place::Link(link)),
        (libc::RTM_DELQDISC, link) if parent == ROOT && word(HANDLE_AT)? != 0 => Some(Place::Link(link)),
        (libc::RTM_DELTCLASS, link) => Some(Place::Link(link)),
        _ => None,
    }
}
