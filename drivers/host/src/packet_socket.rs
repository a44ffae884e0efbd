//! Packet sockets and links: sending a frame out of one, hearing what passes by one.

#![expect(unsafe_code, reason = "no library call makes a link the address of a packet socket")]

use std::io;
use std::os::fd::AsRawFd;

/// A link as the address of a packet socket.
fn at_link(link: u32) -> libc::sockaddr_ll {
    // SAFETY: `sockaddr_ll` is plain old data, for which zeroes are valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).expect("the number of the family is 17");
    address.sll_ifindex = i32::try_from(link).unwrap_or_default();
    address
}

pub(crate) fn send(socket: &impl AsRawFd, link: u32, frame: &[u8]) -> io::Result<()> {
    let to = at_link(link);
    let length = libc::socklen_t::try_from(size_of_val(&to)).expect("an address is 20 bytes");
    // SAFETY: both pointers are to values that outlive the call, with their own lengths beside them.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            length,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets a socket hear every frame of a link, in front of the programs there; its filter is there before.
pub(crate) fn hear(socket: &impl AsRawFd, link: u32) -> io::Result<()> {
    let mut at = at_link(link);
    at.sll_protocol = u16::try_from(libc::ETH_P_ALL).expect("it is 3").to_be();
    let length = libc::socklen_t::try_from(size_of_val(&at)).expect("an address is 20 bytes");
    // SAFETY: the pointer is to a value that outlives the call, with its own length beside it.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const at).cast(), length) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
