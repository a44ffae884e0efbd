//! Numbers for other namespaces, by which the kernel speaks of them in messages about links.
//!
//! Each message about a port's host end tells in which namespace the far end is, and the kernel looks for its
//! number from the lowest upwards: beside 5,000 containers, ten such messages a port cost half of what making the
//! port does. The kernel itself would give a new namespace the highest number. We give it the lowest yet, so that
//! the newest, which is the one being spoken of, is found first.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};

use crate::HostError;
use crate::netlink::{Attributes, Batch, Netlink, Subject};

/// Where we start, counting down.
const HIGHEST: i32 = 1 << 30;
/// Below are the numbers that the kernel and others give.
const LOWEST: i32 = 1 << 20;

const HEADER_LEN: usize = 4;
const NUMBER: u16 = 1;

/// Hands out numbers from the top down.
#[derive(Debug)]
pub(crate) struct Numbers(AtomicI32);

impl Numbers {
    /// Goes on where an earlier life of the daemon ended.
    pub(crate) fn below_those_given(netlink: &mut Netlink) -> Result<Self, HostError> {
        let mut question = Batch::new();
        let subject = Subject::new("list", "numbers of namespaces");
        question.route(RouteNetlinkMessage::GetNsId(NsidMessage::default()), NLM_F_DUMP, subject);
        let given = netlink.dump(&question, |message| {
            let number = Attributes::after(HEADER_LEN, message).ne32(NUMBER)?;
            i32::try_from(number).ok().filter(|number| (LOWEST..=HIGHEST).contains(number))
        })?;
        Ok(Self(AtomicI32::new(given.into_iter().min().unwrap_or(HIGHEST))))
    }

    /// Numbers the namespace, unless it has a number.
    pub(crate) fn give(&self, batch: &mut Batch, namespace: &impl AsFd) {
        let number = self.0.fetch_sub(1, Ordering::Relaxed) - 1;
        let Ok(fd) = u32::try_from(namespace.as_fd().as_raw_fd()) else { return };
        if number < LOWEST {
            // After a thousand million namespaces the kernel's own way must do.
            self.0.store(LOWEST, Ordering::Relaxed);
            return;
        }
        let mut message = NsidMessage::default();
        message.attributes.push(NsidAttribute::Fd(fd));
        message.attributes.push(NsidAttribute::Id(number));
        // EEXIST: it has one. Whatever else: the kernel will give it one itself.
        let subject = Subject::new("number", "namespace").fine_if(&[libc::EEXIST, libc::EINVAL, libc::EPERM]);
        batch.route(RouteNetlinkMessage::NewNsId(message), 0, subject);
    }
}
