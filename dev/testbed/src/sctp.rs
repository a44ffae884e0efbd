//! SCTP association requests by raw sockets, for kernels that track and translate SCTP but have no sockets for it.
//!
//! Only the first exchange is spoken, INIT and INIT ACK, which is what a published port has to carry and translate.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recvfrom, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::Netns;
use crate::tcp::first;

const PATIENCE: Duration = Duration::from_secs(1);
const LOOK_MICROSECONDS: i64 = 50_000;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const COMMON_HEADER: usize = 12;
/// An INIT's fixed part, and in an INIT ACK the smallest state cookie behind it.
const INIT_CHUNK: usize = 20;
const COOKIE: [u8; 8] = [0, 7, 0, 8, b'h', b'n', b's', b'!'];

/// A server that answers each INIT to its port.
#[derive(Debug)]
pub struct Responder {
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Answers at an address of a namespace.
    ///
    /// # Panics
    /// When the address is not there.
    #[must_use]
    #[track_caller]
    pub fn serve(netns: &Netns, at: impl ToSocketAddrs) -> Self {
        let at = first(at);
        let socket =
            open(netns, Some(at.ip()), at.ip()).unwrap_or_else(|error| panic!("SCTP at {at}: {error}"));
        let closing = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&closing);
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Acquire) {
                let Some((packet, peer)) = receive(&socket) else { continue };
                if packet.to == at.port() && packet.kind == INIT {
                    let tag = packet.initiate_tag;
                    let answer = Packet {
                        from: packet.to,
                        to: packet.from,
                        kind: INIT_ACK,
                        tag,
                        initiate_tag: 0x5e12,
                    };
                    // A client that has gone away is no concern of the server.
                    let _unreachable = send(&socket, &answer, peer);
                }
            }
        });
        Self { closing, thread: Some(thread) }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Asks from a namespace for an association, and waits for the INIT ACK from that very address and port.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] when none comes within a second; otherwise what the kernel says.
#[track_caller]
pub fn ask(from: &Netns, to: impl ToSocketAddrs) -> io::Result<()> {
    /// The next source port: an old association in the connection tracking must not answer for a new one.
    static PORT: AtomicU16 = AtomicU16::new(40_000);
    let to = first(to);
    let port = PORT.fetch_add(1, Ordering::Relaxed).max(1024);
    let socket = open(from, None, to.ip())?;
    let tag = 0x0a0b_0000 | u32::from(port);
    send(&socket, &Packet { from: port, to: to.port(), kind: INIT, tag: 0, initiate_tag: tag }, to.ip())?;
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let Some((packet, peer)) = receive(&socket) else { continue };
        let ours = packet.to == port && packet.tag == tag && packet.kind == INIT_ACK;
        if ours && peer == to.ip() && packet.from == to.port() {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The fields of a packet with one INIT or INIT ACK chunk that a test can care about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packet {
    from: u16,
    to: u16,
    kind: u8,
    tag: u32,
    initiate_tag: u32,
}

impl Packet {
    fn render(&self) -> Vec<u8> {
        let cookie: &[u8] = if self.kind == INIT_ACK { &COOKIE } else { &[] };
        let length = u16::try_from(INIT_CHUNK + cookie.len()).expect("a few dozen bytes");
        let mut bytes = Vec::new();
        bytes.extend(self.from.to_be_bytes());
        bytes.extend(self.to.to_be_bytes());
        bytes.extend(self.tag.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend([self.kind, 0]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(self.initiate_tag.to_be_bytes());
        bytes.extend(65_536_u32.to_be_bytes());
        bytes.extend([0, 1, 0, 1]);
        bytes.extend(1_u32.to_be_bytes());
        bytes.extend(cookie);
        // The only checksum of the Internet protocols that is sent with its lowest byte first.
        let sum = crc32c(&bytes).to_le_bytes();
        bytes[8..COMMON_HEADER].copy_from_slice(&sum);
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let short = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let long = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Self {
            from: short(0)?,
            to: short(2)?,
            tag: long(4)?,
            kind: *bytes.get(COMMON_HEADER)?,
            initiate_tag: long(COMMON_HEADER + 4)?,
        })
    }
}

/// CRC-32C (Castagnoli), bit by bit: a test sends a few dozen bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
        }
    }
    !crc
}

fn open(netns: &Netns, local: Option<IpAddr>, like: IpAddr) -> io::Result<OwnedFd> {
    let family = if like.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    netns.enter(move || {
        let fd = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Sctp)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(0, LOOK_MICROSECONDS))?;
        if let Some(local) = local {
            bind(fd.as_raw_fd(), &storage(local))?;
        }
        Ok(fd)
    })
}

fn send(socket: &OwnedFd, packet: &Packet, to: IpAddr) -> io::Result<()> {
    sendto(socket.as_raw_fd(), &packet.render(), &storage(to), MsgFlags::empty())?;
    Ok(())
}

/// The next packet, or `None` after a short while or for something else.
fn receive(socket: &OwnedFd) -> Option<(Packet, IpAddr)> {
    let mut buffer = [0; 2048];
    let (size, peer) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer).ok()?;
    let peer = peer?;
    // A raw IPv4 socket gives the IP header too, an IPv6 one does not.
    if let Some(v4) = peer.as_sockaddr_in() {
        let header = usize::from(buffer[0] & 0x0f) * 4;
        return Some((Packet::parse(buffer.get(header..size)?)?, v4.ip().into()));
    }
    Some((Packet::parse(&buffer[..size])?, peer.as_sockaddr_in6()?.ip().into()))
}

fn storage(address: IpAddr) -> SockaddrStorage {
    SocketAddr::new(address, 0).into()
}

#[cfg(test)]
mod tests {
    use super::{INIT, INIT_ACK, Packet, crc32c};

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_packet_is_read_as_it_was_written() {
        for kind in [INIT, INIT_ACK] {
            let packet = Packet { from: 40_000, to: 80, kind, tag: 7, initiate_tag: 0x0102_0304 };
            assert_eq!(Packet::parse(&packet.render()), Some(packet));
        }
    }
}
