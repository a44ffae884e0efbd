//! What nf_tables messages mean for us.

use std::sync::Arc;

use crate::HostEvent;
use crate::nat::table::{NAME, Table};
use crate::nat::wire;
use crate::netlink::socket::Message;
use crate::netlink::{Attributes, Senders};
use crate::reserved_chain;
use crate::ruleset::IPTABLES_FILTER;

/// A transaction is told change by change, and its end by a new generation.
pub(super) struct Rules {
    senders: Arc<Senders>,
    /// Whether the transaction being told is somebody else's and touches a table of ours.
    touched: bool,
    /// Whether it is somebody else's and touches a table that may be the host's firewall.
    foreign: bool,
}

impl Rules {
    pub(super) const fn new(senders: Arc<Senders>) -> Self {
        Self { senders, touched: false, foreign: false }
    }

    pub(super) fn see(&mut self, message: &Message<'_>, tell: &mut dyn FnMut(HostEvent)) {
        if message.kind >> 8 != wire::SUBSYSTEM {
            return;
        }
        if message.kind == wire::message(wire::NEW_GENERATION) {
            if std::mem::take(&mut self.touched) {
                tell(HostEvent::RulesChanged);
            }
            if std::mem::take(&mut self.foreign) {
                tell(HostEvent::HostFirewallChanged);
            }
            return;
        }
        let (ours, theirs) = concerns(message);
        if (ours && !self.touched || theirs && !self.foreign) && !self.senders.contains(message.port) {
            self.touched |= ours;
            self.foreign |= theirs;
        }
    }
}

/// Whether it is about a table of ours, or about the chain in which we have rules beside others'; and whether it
/// is about a table of others through which goes what comes to the host.
fn concerns(message: &Message<'_>) -> (bool, bool) {
    let family = message.payload.first().copied().unwrap_or_default();
    let attributes = Attributes::after(wire::HEADER_LEN, message.payload);
    let table = attributes.text(wire::ANY_TABLE);
    let chain = match message.kind & 0xff {
        wire::NEW_CHAIN => attributes.text(wire::chain::NAME),
        wire::NEW_RULE | wire::DELETE_RULE => attributes.text(wire::rule::CHAIN),
        _ => None,
    };
    let ours = table == Some(NAME) && [Table::Main, Table::Bridge].iter().any(|ours| ours.family() == family);
    let reserved = table == Some(IPTABLES_FILTER) && chain == Some(reserved_chain::NAME);
    let is_ip = matches!(family, wire::family::INET | wire::family::IPV4 | wire::family::IPV6);
    (ours || reserved, is_ip && table.is_some_and(|table| table != NAME))
}
