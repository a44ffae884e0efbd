//! The thread that serves the device.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use boringtun::noise::errors::WireGuardError as NoiseError;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use hns_net::{Guid, PublicKey};
use hns_vfp::model::Encryption;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::peers::{Peer, Peers};
use crate::{Session, WireguardError};

/// As large as a packet of the device can be, and what encryption adds.
const BUFFER: usize = 1 << 16 | 256;
/// How many packets of one source are taken before the others have their turn.
const TURN: usize = 64;
/// How often the protocol's own clocks are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Between the thread and who gives it orders.
pub(crate) struct Shared {
    wake: EventFd,
    ends: AtomicBool,
    orders: Mutex<Option<BTreeMap<Guid, Encryption>>>,
    report: Mutex<Report>,
}

#[derive(Default)]
struct Report {
    sessions: BTreeMap<PublicKey, Session>,
    trouble: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn new(networks: BTreeMap<Guid, Encryption>) -> Result<Self, WireguardError> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let wake = wake.map_err(|errno| device("make an event")(errno.into()))?;
        Ok(Self {
            wake,
            ends: AtomicBool::new(false),
            orders: Mutex::new(Some(networks)),
            report: Mutex::default(),
        })
    }

    pub fn tell(&self, networks: BTreeMap<Guid, Encryption>) {
        *lock(&self.orders) = Some(networks);
        self.wake();
    }

    pub fn stop(&self) {
        self.ends.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // It fails only where so many wait that it is awake anyway.
        let _ = self.wake.write(1);
    }

    pub fn sessions(&self) -> BTreeMap<PublicKey, Session> {
        lock(&self.report).sessions.clone()
    }

    pub fn trouble(&self) -> Option<String> {
        lock(&self.report).trouble.clone()
    }
}

fn device(operation: &'static str) -> impl Fn(io::Error) -> WireguardError {
    move |source| WireguardError::Device { operation, source }
}

pub(crate) struct Worker {
    device: File,
    peers: Peers,
    shared: Arc<Shared>,
    /// By the address of this host.
    sockets: HashMap<IpAddr, UdpSocket>,
    udp_port: u16,
    ticked: Instant,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Worker {
    pub fn new(file: File, peers: Peers, shared: Arc<Shared>) -> Result<Self, WireguardError> {
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|errno| device("set it up")(errno.into()))?;
        Ok(Self {
            device: file,
            udp_port: peers.udp_port(),
            peers,
            shared,
            sockets: HashMap::new(),
            ticked: Instant::now(),
            input: vec![0; BUFFER],
            output: vec![0; BUFFER],
        })
    }

    /// Until it is told to stop, or the device is gone.
    pub fn serve(mut self) {
        loop {
            if self.shared.ends.load(Ordering::Acquire) {
                return;
            }
            let orders = lock(&self.shared.orders).take();
            if let Some(networks) = orders {
                self.follow(&networks);
            }
            if let Err(error) = self.turn() {
                tracing::warn!(error = &error as &dyn std::error::Error, "the encrypted device is gone");
                return;
            }
        }
    }

    fn follow(&mut self, networks: &BTreeMap<Guid, Encryption>) {
        let new = self.peers.follow(networks);
        self.open_sockets();
        for key in new {
            if let Some(peer) = self.peers.known.get_mut(&key) {
                greet(peer, &self.sockets, &mut self.output);
            }
        }
        self.tell_of_sessions();
    }

    /// One at each address of this host that a peer knows. An address that is not there yet may come.
    fn open_sockets(&mut self) {
        let wanted: BTreeSet<IpAddr> = self.peers.known.values().map(|peer| peer.from).collect();
        self.sockets.retain(|address, _| wanted.contains(address));
        let mut trouble = None;
        for address in wanted {
            if self.sockets.contains_key(&address) {
                continue;
            }
            match open_socket(SocketAddr::new(address, self.udp_port)) {
                Ok(socket) => drop(self.sockets.insert(address, socket)),
                Err(error) => {
                    let port = self.udp_port;
                    trouble =
                        Some(format!("cannot take what is encrypted at {address}, UDP port {port}: {error}"));
                }
            }
        }
        lock(&self.shared.report).trouble = trouble;
    }

    fn tell_of_sessions(&self) {
        let session = |peer: &Peer| Session {
            agreed: peer.tunnel.time_since_last_handshake(),
            asked: peer.since.elapsed(),
        };
        let sessions = self.peers.known.iter().map(|(key, peer)| (*key, session(peer))).collect();
        lock(&self.shared.report).sessions = sessions;
    }

    /// Waits for something to do, and does some of it.
    fn turn(&mut self) -> io::Result<()> {
        let rest = TICK.saturating_sub(self.ticked.elapsed());
        let rest = PollTimeout::try_from(rest).unwrap_or(PollTimeout::ZERO);
        let (from_device, addresses) = {
            let mut waiting = vec![
                PollFd::new(self.shared.wake.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.device.as_fd(), PollFlags::POLLIN),
            ];
            let addresses: Vec<IpAddr> = self.sockets.keys().copied().collect();
            waiting
                .extend(self.sockets.values().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
            match poll(&mut waiting, rest) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
            if ready(&waiting[0]) {
                let _ = self.shared.wake.read();
            }
            let sockets = addresses.into_iter().zip(&waiting[2..]).filter(|(_, fd)| ready(fd));
            (ready(&waiting[1]), sockets.map(|(address, _)| address).collect::<Vec<_>>())
        };
        for address in addresses {
            self.take_from(address)?;
        }
        if from_device {
            self.send_what_waits()?;
        }
        if self.ticked.elapsed() >= TICK {
            self.tick();
        }
        Ok(())
    }

    /// From the device to the peers.
    fn send_what_waits(&mut self) -> io::Result<()> {
        for _ in 0..TURN {
            let length = match self.device.read(&mut self.input) {
                Ok(length) => length,
                Err(error) if is_for_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
            let packet = &self.input[..length];
            // To none of them goes what the kernel says by itself on such a device.
            let Some(peer) = address_at(packet, 24).and_then(|to| self.peers.at(&to)) else { continue };
            if let TunnResult::WriteToNetwork(datagram) = peer.tunnel.encapsulate(packet, &mut self.output) {
                send(peer.host, peer.from, &self.sockets, datagram);
            }
        }
        Ok(())
    }

    /// From the peers to the device.
    fn take_from(&mut self, address: IpAddr) -> io::Result<()> {
        for _ in 0..TURN {
            let Some(socket) = self.sockets.get(&address) else { return Ok(()) };
            // What a former datagram of ours met is no reason to stop.
            let Ok((length, from)) = socket.recv_from(&mut self.input) else { return Ok(()) };
            self.take(length, from)?;
        }
        Ok(())
    }

    /// One datagram, which is in `input`.
    fn take(&mut self, length: usize, from: SocketAddr) -> io::Result<()> {
        let own = self.peers.own_inner();
        let Self { peers, device, sockets, input, output, .. } = self;
        let datagram = &input[..length];
        let packet = match look_at(&peers.limiter, datagram, from, output) {
            Ok(packet) => packet,
            Err(cookie) => {
                // To whoever it was, since he is to show that he is there.
                let socket = sockets.values().find(|socket| is_of_family(socket, from));
                if let (Some(socket), Some(cookie)) = (socket, cookie) {
                    let _ = socket.send_to(cookie, from);
                }
                return Ok(());
            }
        };
        let Some(peer) = peers.sender(&packet) else { return Ok(()) };
        let mut rest = datagram;
        loop {
            match peer.tunnel.decapsulate(Some(from.ip()), rest, output) {
                // An answer; behind it what waited for the session.
                TunnResult::WriteToNetwork(answer) => {
                    send(peer.host, peer.from, sockets, answer);
                    rest = &[];
                }
                TunnResult::WriteToTunnelV6(packet, source)
                    if source == peer.inner && address_at(packet, 24) == Some(own) =>
                {
                    return match device.write(packet) {
                        Ok(_) => Ok(()),
                        // The kernel takes no more, or not this one.
                        Err(error) if is_for_later(&error) || error.kind() == io::ErrorKind::InvalidInput => {
                            Ok(())
                        }
                        Err(error) => Err(error),
                    };
                }
                _ => return Ok(()),
            }
        }
    }

    fn tick(&mut self) {
        self.ticked = Instant::now();
        self.peers.limiter.reset_count();
        if self.peers.known.values().any(|peer| !self.sockets.contains_key(&peer.from)) {
            self.open_sockets();
        }
        for peer in self.peers.known.values_mut() {
            match peer.tunnel.update_timers(&mut self.output) {
                TunnResult::WriteToNetwork(datagram) => send(peer.host, peer.from, &self.sockets, datagram),
                // It has not answered for a while, or not since the last keys ended: it is asked for ever.
                TunnResult::Err(NoiseError::ConnectionExpired) => {
                    greet(peer, &self.sockets, &mut self.output);
                }
                _ => {}
            }
        }
        self.tell_of_sessions();
    }
}

/// What a datagram says to be. Whoever begins a handshake shows first that he knows whom he speaks to, since what follows costs more; and
/// where many do, by a cookie that he is where he says, which is the error then.
fn look_at<'d, 'o>(
    limiter: &RateLimiter,
    datagram: &'d [u8],
    from: SocketAddr,
    output: &'o mut [u8],
) -> Result<Packet<'d>, Option<&'o [u8]>> {
    let packet = Tunn::parse_incoming_packet(datagram).map_err(|_| None)?;
    if !matches!(packet, Packet::HandshakeInit(_)) {
        return Ok(packet);
    }
    limiter.verify_packet(Some(from.ip()), datagram, output).map_err(|refused| match refused {
        TunnResult::WriteToNetwork(cookie) => Some(&*cookie),
        _ => None,
    })
}

/// Begins a handshake.
fn greet(peer: &mut Peer, sockets: &HashMap<IpAddr, UdpSocket>, output: &mut [u8]) {
    if let TunnResult::WriteToNetwork(datagram) = peer.tunnel.format_handshake_initiation(output, false) {
        send(peer.host, peer.from, sockets, datagram);
    }
}

/// What cannot be sent is lost, as on every network; the protocol asks again.
fn send(host: SocketAddr, from: IpAddr, sockets: &HashMap<IpAddr, UdpSocket>, datagram: &[u8]) {
    if let Some(socket) = sockets.get(&from) {
        let _ = socket.send_to(datagram, host);
    }
}

fn open_socket(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn is_of_family(socket: &UdpSocket, peer: SocketAddr) -> bool {
    socket.local_addr().is_ok_and(|own| own.is_ipv4() == peer.is_ipv4())
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::OutOfMemory
    )
}

/// The address at this place of an IPv6 packet (RFC 8200 section 3).
fn address_at(packet: &[u8], place: usize) -> Option<Ipv6Addr> {
    if packet.first()? >> 4 != 6 {
        return None;
    }
    let octets: [u8; 16] = packet.get(place..place + 16)?.try_into().ok()?;
    Some(octets.into())
}
