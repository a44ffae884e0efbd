//! Counters of a port.

use hns_net::IfName;

use crate::link::{look_at, named};
use crate::netlink::{Attributes, Netlink};
use crate::{HostError, LinkStats};

const LINK_HEADER_LEN: usize = 16;

/// The counters of a port's host end, turned round: what the host sends there, the endpoint receives.
pub(crate) fn read(netlink: &mut Netlink, port: &IfName) -> Result<LinkStats, HostError> {
    let stats = look_at(netlink, named(port), port.as_str(), |message| {
        endpoint_side(Attributes::after(LINK_HEADER_LEN, message).get(libc::IFLA_STATS64)?)
    })?;
    stats.ok_or_else(|| HostError::NoSuchLink { name: port.clone() })
}

/// Reads a `struct rtnl_link_stats64`.
fn endpoint_side(counters: &[u8]) -> Option<LinkStats> {
    let (counters, _) = counters.as_chunks::<8>();
    let counter = |place: usize| counters.get(place).map(|bytes| u64::from_ne_bytes(*bytes));
    Some(LinkStats {
        packets_sent: counter(0)?,
        packets_received: counter(1)?,
        bytes_sent: counter(2)?,
        bytes_received: counter(3)?,
        dropped_sent: counter(6)?,
        dropped_received: counter(7)?,
    })
}
