//! TCP in a namespace: a server that says whom it sees, and a client that asks it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Netns;

const PATIENCE: Duration = Duration::from_secs(2);

/// A server that greets each client with the client's address as it sees it, then repeats what it is sent.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    netns: Netns,
    closing: Arc<AtomicBool>,
}

impl Echo {
    /// Listens in a namespace, for example on `"[::]:80"` (both families) or `"172.16.0.5:80"`.
    ///
    /// # Panics
    /// When the address cannot be listened on.
    #[must_use]
    #[track_caller]
    pub fn serve(netns: &Netns, at: impl ToSocketAddrs) -> Self {
        let at = first(at);
        let listener = netns.enter(move || TcpListener::bind(at));
        let listener = listener.unwrap_or_else(|error| panic!("listening on {at}: {error}"));
        let address = listener.local_addr().expect("it is bound");
        let closing = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&closing);
        // Accepted connections belong to the listener's namespace, whichever thread accepts them.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if flag.load(Ordering::Acquire) {
                    return;
                }
                std::thread::spawn(move || converse(stream));
            }
        });
        Self { address, netns: netns.clone(), closing }
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
        let mut own = self.address;
        if own.ip().is_unspecified() {
            own.set_ip(match own {
                SocketAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
                SocketAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            });
        }
        // One last client wakes the server up; when none gets through, it ends with the process.
        let _wake = self.netns.enter(move || TcpStream::connect_timeout(&own, PATIENCE));
    }
}

fn converse(mut stream: TcpStream) -> io::Result<()> {
    let peer = plain(stream.peer_addr()?);
    stream.write_all(format!("{peer}\n").as_bytes())?;
    io::copy(&mut stream.try_clone()?, &mut stream)?;
    Ok(())
}

/// Connects from a namespace, says something, hears it again, and gives the address that the server saw.
///
/// # Errors
/// Refused, unreachable, silent for two seconds, or another service: whatever the kernel says.
#[track_caller]
pub fn ask(from: &Netns, to: impl ToSocketAddrs) -> io::Result<SocketAddr> {
    let to = first(to);
    from.enter(move || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"hello\n")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let seen = text.strip_suffix("\nhello\n").and_then(|peer| peer.parse().ok());
        seen.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{to} answers {text:?}")))
    })
}

/// A connection that stays open, to see whether a change breaks it.
#[derive(Debug)]
pub struct Conversation {
    stream: TcpStream,
}

impl Conversation {
    /// Connects from a namespace to an [`Echo`].
    ///
    /// # Errors
    /// When that fails.
    #[track_caller]
    pub fn open(from: &Netns, to: impl ToSocketAddrs) -> io::Result<Self> {
        let to = first(to);
        let stream = from.enter(move || TcpStream::connect_timeout(&to, PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut this = Self { stream };
        this.read_line()?;
        Ok(this)
    }

    /// Says a line and hears it again.
    ///
    /// # Errors
    /// When the connection is broken, or nothing comes back for two seconds.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(format!("{line}\n").as_bytes())?;
        let heard = self.read_line()?;
        if heard == line { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, heard)) }
    }

    fn read_line(&mut self) -> io::Result<String> {
        let (mut line, mut byte) = (Vec::new(), [0]);
        loop {
            self.stream.read_exact(&mut byte)?;
            if byte[0] == b'\n' {
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            line.push(byte[0]);
        }
    }
}

#[track_caller]
pub(crate) fn first(address: impl ToSocketAddrs) -> SocketAddr {
    let mut all = address.to_socket_addrs().unwrap_or_else(|error| panic!("not an address: {error}"));
    all.next().expect("a literal address is one address")
}

/// An IPv4 client of an IPv6 socket appears as `::ffff:a.b.c.d`; tests want to read `a.b.c.d`.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
