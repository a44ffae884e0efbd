//! Forgetting tracked connections, so that an address that changes hands takes none of them along.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hns_net::PortRange;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};

use crate::netlink::{Attributes, Batch, Netlink, Subject};
use crate::{FlowFilter, HostError, address, sysctl};

/// `NFNL_SUBSYS_CTNETLINK`.
const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
const HEADER_LEN: usize = 4;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const STATUS: u16 = 3;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_SOURCES: [u16; 2] = [1, 3];
const IP_DESTINATIONS: [u16; 2] = [2, 4];
const PROTO_NUMBER: u16 = 1;
const PROTO_DESTINATION: u16 = 3;
/// `IPS_SRC_NAT | IPS_DST_NAT`.
const TRANSLATED: u32 = 1 << 4 | 1 << 5;

const COUNT: &str = "netfilter/nf_conntrack_count";

/// A tracked connection, as far as it takes to delete it.
#[derive(Debug)]
struct Flow {
    family: u8,
    original: Vec<u8>,
    zone: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
}

/// Deletes every flow that one of the filters means: one walk through the table for all of them. (The kernel
/// could filter the dump itself, but by one address in one place a walk.) `own` are the host's addresses.
pub(crate) fn flush(
    netlink: &mut Netlink,
    filters: &[FlowFilter],
    own: &BTreeSet<IpAddr>,
) -> Result<usize, HostError> {
    // Without the module nothing is tracked.
    if filters.is_empty() || sysctl::read(COUNT)?.is_none_or(|count| count == "0") {
        return Ok(0);
    }
    let wanted = Wanted::new(filters, own);
    let mut question = Batch::new();
    question.message(GET, NLM_F_DUMP, Subject::new("list", "tracked connections"), |writer| {
        writer.raw(&[0; HEADER_LEN]);
    });
    let flows = netlink.dump(&question, |message| Flow::read(message, &wanted))?;
    for flow in &flows {
        delete(netlink, flow)?;
    }
    Ok(flows.len())
}

/// The filters, sorted for one look at each flow.
struct Wanted<'a> {
    own: &'a BTreeSet<IpAddr>,
    addresses: BTreeSet<IpAddr>,
    untranslated: BTreeSet<IpAddr>,
    ports: Vec<(u8, PortRange)>,
    through: Vec<(u8, PortRange, IpAddr)>,
}

impl<'a> Wanted<'a> {
    fn new(filters: &[FlowFilter], own: &'a BTreeSet<IpAddr>) -> Self {
        let mut wanted = Self {
            own,
            addresses: BTreeSet::new(),
            untranslated: BTreeSet::new(),
            ports: Vec::new(),
            through: Vec::new(),
        };
        for filter in filters {
            match filter {
                FlowFilter::Of(address) => {
                    wanted.addresses.insert(*address);
                }
                FlowFilter::UntranslatedOf(address) => {
                    wanted.untranslated.insert(*address);
                }
                FlowFilter::UntranslatedTo(transport, ports) => {
                    wanted.ports.push((transport.number(), *ports));
                }
                FlowFilter::Through(transport, ports, to) => {
                    wanted.through.push((transport.number(), *ports, *to));
                }
            }
        }
        wanted
    }

    fn means(&self, flow: &Attributes<'_>) -> bool {
        let [original, reply] = [TUPLE_ORIGINAL, TUPLE_REPLY].map(|tuple| flow.nest(tuple));
        let touches = |tuple: &Option<Attributes<'_>>, set: &BTreeSet<IpAddr>| {
            let ips = tuple.as_ref().and_then(|tuple| tuple.nest(TUPLE_IP));
            ips.is_some_and(|ips| ips.each().any(|(_, b)| address::ip(b).is_some_and(|ip| set.contains(&ip))))
        };
        if touches(&original, &self.addresses) || touches(&reply, &self.addresses) {
            return true;
        }
        let translated = flow.be32(STATUS).is_none_or(|status| status & TRANSLATED != 0);
        if !translated && touches(&original, &self.untranslated) {
            return true;
        }
        let Some(begun) = original.as_ref().and_then(Begun::read) else { return false };
        let answers = reply.and_then(|reply| end(&reply, IP_SOURCES));
        let here = begun.to.is_some_and(|to| self.own.contains(&to));
        let through = |(number, ports, to): &(u8, PortRange, IpAddr)| {
            begun.is_to(*number, *ports) && answers == Some(*to)
        };
        self.through.iter().any(through)
            || (!translated && here && self.ports.iter().any(|(number, ports)| begun.is_to(*number, *ports)))
    }
}

/// Where the first packet of a flow went.
struct Begun {
    to: Option<IpAddr>,
    protocol: u8,
    port: u16,
}

impl Begun {
    /// Nothing for a protocol without ports.
    fn read(original: &Attributes<'_>) -> Option<Self> {
        let proto = original.nest(TUPLE_PROTO)?;
        let port = proto.get(PROTO_DESTINATION)?.try_into().ok()?;
        Some(Self {
            to: end(original, IP_DESTINATIONS),
            protocol: *proto.get(PROTO_NUMBER)?.first()?,
            port: u16::from_be_bytes(port),
        })
    }

    fn is_to(&self, protocol: u8, ports: PortRange) -> bool {
        self.protocol == protocol && (ports.start()..=ports.end()).contains(&self.port)
    }
}

/// One end of a tuple, whichever family it is of.
fn end(tuple: &Attributes<'_>, kinds: [u16; 2]) -> Option<IpAddr> {
    let ips = tuple.nest(TUPLE_IP)?;
    ips.each().find(|(kind, _)| kinds.contains(kind)).and_then(|(_, bytes)| address::ip(bytes))
}

impl Flow {
    /// Reads the flow if it is meant.
    fn read(message: &[u8], wanted: &Wanted<'_>) -> Option<Self> {
        let attributes = Attributes::after(HEADER_LEN, message);
        if !wanted.means(&attributes) {
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
