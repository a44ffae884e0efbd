//! Whether what an adapter sends to its own station comes back to it: what lies behind it is in hairpin mode, or a reflective relay (IEEE
//! 802.1Qbg).

use std::net::Ipv4Addr;

use hns_net::{Mac, Uplink};

use crate::announce::arp_request;
use crate::netlink::Netlink;
use crate::packet_socket::send;
use crate::question::{Ear, tagged};
use crate::{HostError, link};

/// A frame that is ready to be sent.
pub(crate) struct Probe<'a> {
    uplink: &'a Uplink,
    link: u32,
    mac: Mac,
}

impl<'a> Probe<'a> {
    pub(crate) fn prepare(netlink: &mut Netlink, uplink: &'a Uplink) -> Result<Self, HostError> {
        let found = link::find(netlink, &uplink.adapter)?;
        let found = found.and_then(|found| Some((found.index, found.mac?)));
        let (link, mac) = found.ok_or_else(|| HostError::NoSuchAdapter { name: uplink.adapter.clone() })?;
        Ok(Self { uplink, link, mac })
    }

    /// Sends it, and says whether it came back in time.
    pub(crate) fn is_reflected(&self) -> Result<bool, HostError> {
        let converse = || {
            let ear = Ear::open(self.link, self.mac)?;
            let frame = frame(self.mac);
            let sent = self.uplink.vlan.map_or_else(|| frame.clone(), |vlan| tagged(&frame, vlan));
            send(&ear.0, self.link, &sent)?;
            // The kernel hands a frame in without its tag.
            ear.hears(|heard| is_same(heard, &frame))
        };
        converse().map_err(|source| {
            let object = format!("whether {} sends back what it gets", self.uplink);
            HostError::Conversation { operation: "ask", object, source }
        })
    }
}

/// Between containers of one host all frames bear these two stations. It asks for nobody, and nobody's neighbours change by it.
fn frame(mac: Mac) -> Vec<u8> {
    let mut frame = arp_request(mac, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
    frame[..6].copy_from_slice(&mac.octets());
    frame
}

/// Whether one is the other, which is as short as a frame may be; some adapters hand in more.
fn is_same(heard: &[u8], sent: &[u8]) -> bool {
    heard.starts_with(sent)
}
