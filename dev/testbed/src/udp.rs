//! UDP in a namespace: a server that says whom it sees, a client, and a stream at a constant rate that counts losses.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::Netns;
use crate::tcp::{first, plain};

const PATIENCE: Duration = Duration::from_secs(1);
/// Servers look this often whether they are to end.
const LOOK: Duration = Duration::from_millis(50);
/// Holds several seconds of a stream, so that a busy processor is not counted as a lost packet.
const SOCKET_BUFFER_BYTES: usize = 16 << 20;

/// A server that answers each datagram with the sender's address as it sees it, a space, and the datagram.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Listens in a namespace.
    ///
    /// # Panics
    /// When the address cannot be listened on.
    #[must_use]
    #[track_caller]
    pub fn serve(netns: &Netns, at: impl ToSocketAddrs) -> Self {
        let socket = bind(netns, first(at));
        socket.set_read_timeout(Some(LOOK)).expect("a short time is a valid time");
        let address = socket.local_addr().expect("it is bound");
        let closing = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&closing);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !flag.load(Ordering::Acquire) {
                let Ok((size, peer)) = socket.recv_from(&mut buffer) else { continue };
                let mut answer = format!("{} ", plain(peer)).into_bytes();
                answer.extend_from_slice(&buffer[..size]);
                // A client that has gone away is no concern of an echo server.
                let _unreachable = socket.send_to(&answer, peer);
            }
        });
        Self { address, closing, thread: Some(thread) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Sends one datagram from a namespace and gives the address that the server saw.
///
/// # Errors
/// Refused, unreachable, or silent for a second: whatever the kernel says.
#[track_caller]
pub fn ask(from: &Netns, to: impl ToSocketAddrs) -> io::Result<SocketAddr> {
    let to = first(to);
    let socket = bind(from, wildcard(to));
    // Connected, so that an answer from any other address than the one asked is not taken for an answer.
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"hello")?;
    let mut buffer = [0; 2048];
    let size = socket.recv(&mut buffer)?;
    let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
    let seen =
        text.split_once(' ').filter(|(_, word)| *word == "hello").and_then(|(peer, _)| peer.parse().ok());
    seen.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{to} answers {text:?}")))
}

/// Datagrams at a constant rate to an [`Echo`], each of which must come back.
#[derive(Debug)]
pub struct Stream {
    closing: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<Received>,
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Datagrams sent.
    pub sent: u64,
    /// Of those, how many never came back.
    pub lost: u64,
    /// The longest time between two answers.
    pub longest_gap: Duration,
}

#[derive(Debug)]
struct Received {
    answers: u64,
    longest_gap: Duration,
}

impl Stream {
    /// Starts sending from a namespace.
    ///
    /// # Panics
    /// When `to` cannot be reached at all.
    #[must_use]
    #[track_caller]
    pub fn start(from: &Netns, to: impl ToSocketAddrs, packets_per_second: u32) -> Self {
        let to = first(to);
        let socket = bind(from, wildcard(to));
        socket.connect(to).unwrap_or_else(|error| panic!("stream to {to}: {error}"));
        socket.set_read_timeout(Some(LOOK)).expect("a short time is a valid time");
        let answers = socket.try_clone().expect("a socket has two handles");
        let closing = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&closing);
        let pause = Duration::from_secs(1) / packets_per_second;
        let sender = std::thread::spawn(move || send_until(&socket, &flag, pause));
        let flag = Arc::clone(&closing);
        let receiver = std::thread::spawn(move || receive_until(&answers, &flag));
        Self { closing, sender, receiver }
    }

    /// Stops sending, waits for the last answers, and counts.
    ///
    /// # Panics
    /// When a thread of the stream has panicked.
    #[must_use]
    pub fn stop(self) -> Report {
        self.closing.store(true, Ordering::Release);
        let sent = self.sender.join().expect("the sender has no reason to panic");
        let received = self.receiver.join().expect("the receiver has no reason to panic");
        Report { sent, lost: sent.saturating_sub(received.answers), longest_gap: received.longest_gap }
    }
}

#[expect(clippy::disallowed_methods, reason = "a constant rate is made of pauses")]
fn send_until(socket: &UdpSocket, closing: &AtomicBool, pause: Duration) -> u64 {
    let begin = Instant::now();
    let mut sent: u64 = 0;
    while !closing.load(Ordering::Acquire) {
        // An error (refused, unreachable) is a datagram that did not come back.
        let _counted_as_lost = socket.send(&sent.to_be_bytes());
        sent += 1;
        // By the clock and not by the pause, so that late wake-ups do not lower the rate.
        let due = pause.saturating_mul(u32::try_from(sent).unwrap_or(u32::MAX));
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
    }
    sent
}

/// Counts answers, each once, until a second after the end in which nothing came.
fn receive_until(socket: &UdpSocket, closing: &AtomicBool) -> Received {
    /// So far back a second copy of an answer is recognised.
    const REMEMBERED: usize = 65_536;
    let (mut recent, mut seen) = (VecDeque::new(), std::collections::HashSet::new());
    let mut received = Received { answers: 0, longest_gap: Duration::ZERO };
    let (mut buffer, mut last) = ([0; 2048], Instant::now());
    loop {
        match socket.recv(&mut buffer) {
            Ok(size) if size > 8 => {
                let number: [u8; 8] = buffer[size - 8..size].try_into().expect("eight bytes are eight bytes");
                if seen.insert(number) {
                    received.answers += 1;
                    recent.push_back(number);
                }
                if recent.len() > REMEMBERED
                    && let Some(old) = recent.pop_front()
                {
                    seen.remove(&old);
                }
                received.longest_gap = received.longest_gap.max(last.elapsed());
                last = Instant::now();
            }
            _ if closing.load(Ordering::Acquire) && last.elapsed() > PATIENCE => return received,
            _ => {}
        }
    }
}

#[track_caller]
fn bind(netns: &Netns, address: SocketAddr) -> UdpSocket {
    let socket = netns.enter(move || UdpSocket::bind(address));
    let socket = socket.unwrap_or_else(|error| panic!("binding to {address}: {error}"));
    setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER_BYTES).expect("root may have large buffers");
    socket
}

fn wildcard(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    }
}
