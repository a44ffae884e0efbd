//! Links by their names.
#![expect(unsafe_code, reason = "no library looks a name up in the namespace of a socket")]

use std::io;
use std::os::fd::AsRawFd;

use hns_net::IfName;

use crate::DatapathError;
use crate::netlink::Netlink;

/// The number of a link. Not by a netlink request: that would have the kernel settle all links that wait for it first.
pub(crate) fn index(netlink: &Netlink, name: &IfName) -> Result<Option<u32>, DatapathError> {
    // SAFETY: `ifreq` is plain old data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_str().bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: SIOCGIFINDEX reads the name, which an `IfName` keeps shorter than the field, and writes within
    // `request`, which lives until the call is over.
    let failed = unsafe { libc::ioctl(netlink.as_raw_fd(), libc::SIOCGIFINDEX, &raw mut request) } < 0;
    if failed {
        let source = io::Error::last_os_error();
        return match source.raw_os_error() {
            Some(libc::ENODEV) => Ok(None),
            _ => Err(DatapathError::Conversation {
                operation: "look up",
                object: format!("link {name}"),
                source,
            }),
        };
    }
    // SAFETY: the call succeeded, so the kernel filled in this member of the union.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    Ok(u32::try_from(index).ok())
}
