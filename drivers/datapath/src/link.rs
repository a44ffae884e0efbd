//! Links by their names, and by their addresses.
#![expect(unsafe_code, reason = "no library looks a name up in the namespace of a socket")]

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use hns_net::{IfName, Mac};

use crate::DatapathError;
use crate::netlink::{Attributes, Netlink, Request};

const GET_ADDRESS: u16 = 22;
/// `struct ifaddrmsg`, whose last four bytes are the link's number.
const ADDRESS_HEADER_LEN: usize = 8;
const LOCAL: u16 = 2;
/// In every namespace.
const LOOPBACK: u32 = 1;

/// The number of a link. Not by a netlink request: that would have the kernel settle all links that wait for it first.
pub(crate) fn index(netlink: &Netlink, name: &IfName) -> Result<Option<u32>, DatapathError> {
    let Some(answer) = ask(netlink, name, libc::SIOCGIFINDEX)? else { return Ok(None) };
    // SAFETY: the call succeeded, so the kernel filled in this member of the union.
    let index = unsafe { answer.ifr_ifru.ifru_ifindex };
    Ok(u32::try_from(index).ok())
}

/// The station of a link.
pub(crate) fn mac(netlink: &Netlink, name: &IfName) -> Result<Option<Mac>, DatapathError> {
    let Some(answer) = ask(netlink, name, libc::SIOCGIFHWADDR)? else { return Ok(None) };
    // SAFETY: the call succeeded, so the kernel filled in this member of the union.
    let address = unsafe { answer.ifr_ifru.ifru_hwaddr };
    let [a, b, c, d, e, f, ..] = address.sa_data.map(libc::c_char::cast_unsigned);
    Ok((address.sa_family == libc::ARPHRD_ETHER).then(|| Mac::new([a, b, c, d, e, f])))
}

/// The number of the link that has an address; none where only the loopback has it, by which nobody else comes.
pub(crate) fn having(netlink: &mut Netlink, address: Ipv4Addr) -> Result<Option<u32>, DatapathError> {
    let family = u8::try_from(libc::AF_INET).unwrap_or_default();
    let question = Request::dump("list", "addresses", GET_ADDRESS).raw(&[family, 0, 0, 0, 0, 0, 0, 0]);
    let answers = netlink.ask(&question)?.map_err(|source| question.refused(source))?;
    let wanted = u32::from_ne_bytes(address.octets());
    let mut found = answers.iter().filter_map(|answer| {
        let held = Attributes::after(ADDRESS_HEADER_LEN, answer).ne32(LOCAL)?;
        let link = u32::from_ne_bytes(answer.get(4..8)?.try_into().ok()?);
        (held == wanted && link != LOOPBACK).then_some(link)
    });
    Ok(found.next())
}

/// What the kernel answers to a question about a link; absent: there is no such link.
fn ask(
    netlink: &Netlink,
    name: &IfName,
    question: libc::c_ulong,
) -> Result<Option<libc::ifreq>, DatapathError> {
    // SAFETY: `ifreq` is plain old data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_str().bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the questions read the name, which an `IfName` keeps shorter than the field, and write within
    // `request`, which lives until the call is over.
    let failed = unsafe { libc::ioctl(netlink.as_raw_fd(), question, &raw mut request) } < 0;
    if !failed {
        return Ok(Some(request));
    }
    let source = io::Error::last_os_error();
    match source.raw_os_error() {
        Some(libc::ENODEV) => Ok(None),
        _ => {
            Err(DatapathError::Conversation { operation: "look up", object: format!("link {name}"), source })
        }
    }
}
