//! Encrypted overlays: a namespace in which there is one way to other hosts, the encrypted one.
//!
//! ```text
//!  host: hne4789 (VXLAN) ··· its UDP socket ─┐
//!                     ┌── the namespace `encrypted` ──┐
//!                     │  UDP 4789 ── hnsw0 (TUN) ─────┼── whoever has its file open encrypts, and sends by the host's network
//!                     └───────────────────────────────┘
//! ```
//!
//! What such a VXLAN device sends has no other device to leave by, and what it takes has no other to come by: neither a route, nor a
//! forged address, nor a daemon that is away makes anything go or come in clear.

#![expect(unsafe_code, reason = "no library call gives an open file its network device")]

use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use hns_net::{IfAddr, IfName, PublicKey};
use hns_planner::TunnelDevice;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkAttribute;

use crate::group::Role;
use crate::link::{self, Link, named, raise};
use crate::namespace::{self, Namespace};
use crate::netlink::{Batch, Family, Netlink, Subject};
use crate::{HostError, address, group, sysctl, tunnel};

const DEVICE: &str = "hnsw0";
const TUN: &str = "/dev/net/tun";

/// As large as its packets can be: what containers send is as large as their interfaces say, which know the way.
const MTU: u32 = 65_535;

/// Where the packets of VXLAN devices are: the host's own, or those of the namespace at `path`.
pub(crate) struct TunnelEnds<'h> {
    pub home: &'h Namespace,
    pub path: PathBuf,
    pub ipv6: bool,
}

impl TunnelEnds<'_> {
    /// Makes a VXLAN device, or brings it in line.
    pub(crate) fn make(&self, netlink: &mut Netlink, device: TunnelDevice) -> Result<(), HostError> {
        if !device.encrypted {
            return tunnel::make(netlink, None, device, self.ipv6);
        }
        if !self.ipv6 {
            return Err(HostError::NoIpv6);
        }
        namespace::make(&self.path)?;
        let mut maker = Namespace::open(&self.path)?.within(self.home, || Netlink::open(Family::Route))?;
        tunnel::make(netlink, Some((&mut maker, self.home)), device, self.ipv6)
    }

    /// The namespace goes with the last device that needs it.
    pub(crate) fn remove(&self, netlink: &mut Netlink, device: TunnelDevice) -> Result<(), HostError> {
        tunnel::remove(netlink, device)?;
        let ours = link::list(netlink, |message| Link::group_of(message) == group::OURS)?;
        let is_encrypted =
            |link: &Link| matches!(Role::of(&link.name), Some(Role::Tunnel { device }) if device.encrypted);
        if !device.encrypted || ours.iter().any(is_encrypted) {
            Ok(())
        } else {
            namespace::remove(&self.path)
        }
    }

    /// The device by which the packets for the inner addresses of other hosts come; this host's own is `own`.
    pub(crate) fn open(&self, own: Ipv6Addr) -> Result<File, HostError> {
        Namespace::open(&self.path)?.within(self.home, || {
            let name: IfName = DEVICE.parse().unwrap_or_else(|_| unreachable!("{DEVICE} is a name"));
            let file = attach(&name)?;
            let mut netlink = Netlink::open(Family::Route)?;
            sysctl::enable_ipv6(&name)?;
            let index = link::index(&netlink, &name)?;
            let mut batch = Batch::new();
            let mut message = raise(named(&name));
            message.attributes.extend([LinkAttribute::Group(group::OURS), LinkAttribute::Mtu(MTU)]);
            let subject = Subject::new("raise", format!("the device {name}"));
            batch.route(RouteNetlinkMessage::SetLink(message), 0, subject);
            // The addresses of all hosts are in this prefix, which is on this link with it.
            let own =
                IfAddr::new(own.into(), PublicKey::INNER_LENGTH).expect("it is shorter than an address");
            address::add(&mut batch, index, own);
            netlink.execute(&batch)?;
            Ok(file)
        })
    }
}

/// A TUN device, which is there as long as the file is open, and in the namespace that the thread is in.
fn attach(name: &IfName) -> Result<File, HostError> {
    let failed = |operation| move |source| HostError::File { operation, path: TUN.into(), source };
    let file = OpenOptions::new().read(true).write(true).open(TUN);
    let file = file.map_err(failed("open"))?;
    // SAFETY: `ifreq` is plain old data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_str().bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).expect("both are in 16 bits");
    // SAFETY: the pointer is to a value of the type that this request reads, which outlives the call.
    let attached = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    if attached < 0 { Err(failed("make a device of")(io::Error::last_os_error())) } else { Ok(file) }
}
