//! Forgetting tracked connections, so that an address that changes hands takes none of them along.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};

use crate::netlink::{Attributes, Batch, Netlink, Subject};
use crate::{HostError, address, sysctl};

/// `NFNL_SUBSYS_CTNETLINK`.
const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
const HEADER_LEN: usize = 4;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;

const COUNT: &str = "netfilter/nf_conntrack_count";

/// A tracked connection, as far as it takes to delete it.
#[derive(Debug)]
struct Flow {
    family: u8,
    original: Vec<u8>,
    zone: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
}

/// Deletes every flow with one of these addresses in either direction's tuple: one walk through the table for
/// all of them. (The kernel could filter the dump itself, but by one address in one place a walk.)
pub(crate) fn flush(netlink: &mut Netlink, addresses: &[IpAddr]) -> Result<usize, HostError> {
    // Without the module nothing is tracked.
    if addresses.is_empty() || sysctl::read(COUNT)?.is_none_or(|count| count == "0") {
        return Ok(0);
    }
    let wanted: BTreeSet<IpAddr> = addresses.iter().copied().collect();
    let mut question = Batch::new();
    question.message(GET, NLM_F_DUMP, Subject::new("list", "tracked connections"), |writer| {
        writer.raw(&[0; HEADER_LEN]);
    });
    let flows = netlink.dump(&question, |message| Flow::touching(message, &wanted))?;
    for flow in &flows {
        delete(netlink, flow)?;
    }
    Ok(flows.len())
}

impl Flow {
    /// Reads the flow if it has one of the addresses.
    fn touching(message: &[u8], wanted: &BTreeSet<IpAddr>) -> Option<Self> {
        let attributes = Attributes::after(HEADER_LEN, message);
        let touches = |tuple| {
            let mut ips = attributes.nest(tuple)?.nest(TUPLE_IP)?.each();
            Some(ips.any(|(_, bytes)| address::ip(bytes).is_some_and(|ip| wanted.contains(&ip))))
        };
        if touches(TUPLE_ORIGINAL) != Some(true) && touches(TUPLE_REPLY) != Some(true) {
            return None;
        }
        Some(Self {
            family: *message.first()?,
            original: attributes.get(TUPLE_ORIGINAL)?.to_vec(),
            zone: attributes.get(ZONE).map(<[u8]>::to_vec),
            id: attributes.get(ID).map(<[u8]>::to_vec),
        })
    }
}

fn delete(netlink: &mut Netlink, flow: &Flow) -> Result<(), HostError> {
    let mut batch = Batch::new();
    // ENOENT: it ended, or another one took its place.
    let subject = Subject::new("forget", "tracked connection").fine_if(&[libc::ENOENT]);
    batch.message(DELETE, NLM_F_ACK, subject, |writer| {
        writer.raw(&[flow.family, 0, 0, 0]);
        writer.nest(TUPLE_ORIGINAL, |tuple| tuple.raw(&flow.original));
        if let Some(zone) = &flow.zone {
            writer.bytes(ZONE, zone);
        }
        if let Some(id) = &flow.id {
            writer.bytes(ID, id);
        }
    });
    netlink.execute(&batch)
}
