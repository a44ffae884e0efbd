//! Hearing of changes: one rtnetlink and one nf_tables socket of the host's namespace, read by one thread.

mod bridges;
mod filters;
mod links;
mod rules;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread;

use netlink_sys::Socket;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{setsockopt, sockopt};

use crate::event::Wake;
use crate::netlink::socket::{Message, each_message};
use crate::netlink::{Pool, Senders};
use crate::{HostError, HostEvent, Watch, link};
use links::Links;
use rules::Rules;

const ROUTE_GROUPS: [u32; 6] = {
    const LINK: u32 = 1;
    const TRAFFIC_CONTROL: u32 = 4;
    const IPV4_ADDRESS: u32 = 5;
    const IPV4_ROUTE: u32 = 7;
    const IPV6_ADDRESS: u32 = 9;
    const IPV6_ROUTE: u32 = 11;
    [LINK, TRAFFIC_CONTROL, IPV4_ADDRESS, IPV4_ROUTE, IPV6_ADDRESS, IPV6_ROUTE]
};
const NFTABLES_GROUPS: [u32; 1] = [7];

/// Some 10,000 messages: what 1,000 ports cause when they are made at once.
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024 * 1024;
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

/// Listens from now on; `route` is asked which links there are already.
pub(crate) fn start(route: &Pool, senders: Arc<Senders>) -> Result<Watch, HostError> {
    let route_socket = listen(NETLINK_ROUTE, &ROUTE_GROUPS)
        .map_err(|source| HostError::Socket { kind: "link events", source })?;
    let rules_socket = listen(NETLINK_NETFILTER, &NFTABLES_GROUPS)
        .map_err(|source| HostError::Socket { kind: "nf_tables events", source })?;
    let bell = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|errno| HostError::Socket { kind: "eventfd", source: errno.into() })?;
    let bell = Arc::new(Bell(bell));
    let known = route.with(|netlink| link::list(netlink, |_| true))?;
    let (sender, events) = Watch::channel();
    let source = Source {
        route_socket,
        rules_socket,
        bell: Arc::clone(&bell),
        links: Links::new(known),
        rules: Rules::new(senders),
        out: Out { sender, lost: false },
    };
    let thread = thread::Builder::new().name("hns-watch".into()).spawn(move || source.run());
    let thread = thread.map_err(|source| HostError::Thread { name: "hns-watch", source })?;
    Ok(Watch::new(events, bell, Some(thread)))
}

fn listen(protocol: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES))?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(socket)
}

/// Wakes the source up to end.
#[derive(Debug)]
struct Bell(EventFd);

impl Wake for Bell {
    fn stop(&self) {
        // It fails only when the count is at its limit, and then the bell rings already.
        let _ = self.0.write(1);
    }
}

struct Source {
    route_socket: Socket,
    rules_socket: Socket,
    bell: Arc<Bell>,
    links: Links,
    rules: Rules,
    out: Out,
}

impl Source {
    fn run(mut self) {
        let mut buffer = Vec::with_capacity(DATAGRAM_BYTES_MAX);
        loop {
            let (links, rules) = match self.wait() {
                Ok(Some(ready)) => ready,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "the watch over links and rules ends");
                    return;
                }
            };
            if links {
                let out = &mut self.out;
                let state = &mut self.links;
                drain(&self.route_socket, &mut buffer, out, |message, out| {
                    state.see(&message, &mut |event| out.send(event));
                });
            }
            if rules {
                let out = &mut self.out;
                let state = &mut self.rules;
                drain(&self.rules_socket, &mut buffer, out, |message, out| {
                    state.see(&message, &mut |event| out.send(event));
                });
            }
        }
    }

    /// Which sockets have something to read; nothing once the bell rang.
    fn wait(&self) -> io::Result<Option<(bool, bool)>> {
        let mut sources = [
            PollFd::new(self.bell.0.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.route_socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.rules_socket.as_fd(), PollFlags::POLLIN),
        ];
        loop {
            match poll(&mut sources, PollTimeout::NONE) {
                Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(_) => break,
            }
        }
        let ready = |place: usize| sources[place].any().unwrap_or(true);
        Ok(if ready(0) { None } else { Some((ready(1), ready(2))) })
    }
}

fn drain(socket: &Socket, buffer: &mut Vec<u8>, out: &mut Out, mut see: impl FnMut(Message<'_>, &mut Out)) {
    loop {
        buffer.clear();
        match socket.recv(buffer, libc::MSG_DONTWAIT) {
            Ok(_) => each_message(buffer, |message| see(message, out)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                // ENOBUFS: we were too slow. Whatever else it is, something may have been missed.
                tracing::debug!(%error, "events were lost");
                out.send(HostEvent::Overrun);
            }
        }
    }
}

/// The reader's queue. What does not fit is made up for by one [`HostEvent::Overrun`].
struct Out {
    sender: SyncSender<HostEvent>,
    lost: bool,
}

impl Out {
    fn send(&mut self, event: HostEvent) {
        if self.lost {
            self.lost = self.is_full(HostEvent::Overrun);
        }
        if self.is_full(event) {
            self.lost = true;
        }
    }

    fn is_full(&self, event: HostEvent) -> bool {
        // A reader that is gone has rung the bell, too.
        matches!(self.sender.try_send(event), Err(TrySendError::Full(_)))
    }
}
