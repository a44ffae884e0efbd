use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use hns_testbed::{Netns, sctp, tcp, udp};

/// How long a row that must be let through may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many rows that must be let through are asked at once.
const AT_ONCE: usize = 32;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proto {
    Tcp,
    Udp,
    Sctp,
}

impl Proto {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Asks once; the server's word on who asked, where the protocol tells.
    ///
    /// # Errors
    /// When no right answer comes.
    pub fn ask(self, from: &Netns, to: SocketAddr) -> io::Result<Option<IpAddr>> {
        match self {
            Self::Tcp => tcp::ask(from, to).map(|seen| Some(seen.ip())),
            Self::Udp => udp::ask(from, to).map(|seen| Some(seen.ip())),
            Self::Sctp => sctp::ask(from, to).map(|()| None),
        }
    }
}

/// Servers for every protocol on one port of a namespace.
pub struct Server {
    _tcp: Vec<tcp::Echo>,
    _udp: Vec<udp::Echo>,
    _sctp: Vec<sctp::Responder>,
}

impl Server {
    /// Listens on `port` of each of `addresses`.
    ///
    /// # Panics
    /// When one cannot be listened on.
    #[must_use]
    #[track_caller]
    pub fn serve(netns: &Netns, addresses: &[IpAddr], port: u16) -> Self {
        let at = |ip: &IpAddr| SocketAddr::new(*ip, port);
        Self {
            _tcp: addresses.iter().map(|ip| tcp::Echo::serve(netns, at(ip))).collect(),
            _udp: addresses.iter().map(|ip| udp::Echo::serve(netns, at(ip))).collect(),
            _sctp: addresses.iter().map(|ip| sctp::Responder::serve(netns, at(ip))).collect(),
        }
    }
}

/// One line of a table of who reaches what.
#[derive(Clone)]
pub struct Row {
    pub from: Netns,
    /// Who that is, for the message.
    pub who: &'static str,
    pub proto: Proto,
    pub to: SocketAddr,
    /// The address as which the server must see the client; none where it must not be reached at all.
    pub seen: Option<IpAddr>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {:?} {}", self.who, self.proto, self.to)
    }
}

impl Row {
    /// What is wrong, if anything is.
    fn problem(&self) -> Option<String> {
        let Some(expected) = self.seen else {
            let answer = self.proto.ask(&self.from, self.to).ok()?;
            return Some(format!("{self}: reached, and must not be (seen as {answer:?})"));
        };
        let mut last = None;
        let begin = std::time::Instant::now();
        while begin.elapsed() < PATIENCE {
            match self.proto.ask(&self.from, self.to) {
                Ok(None) => return None,
                Ok(Some(seen)) if seen == expected => return None,
                Ok(Some(seen)) => return Some(format!("{self}: seen as {seen}, not as {expected}")),
                // The kernel answers at once that nobody listens; asking again would not help.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return Some(format!("{self}: {error}"));
                }
                Err(error) => last = Some(error),
            }
        }
        last.map(|error| format!("{self}: {error}"))
    }
}

/// Asks every row and tells all that are wrong at once.
///
/// # Panics
/// When one is.
#[track_caller]
pub fn check(rows: &[Row]) {
    let (closed, open): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.seen.is_none());
    let problems: Vec<String> = std::thread::scope(|scope| {
        let ask = |row: &'_ Row| row.problem();
        // Who must reach nothing mostly waits, so all of them can wait together.
        let closed: Vec<_> = closed.into_iter().map(|row| scope.spawn(move || ask(row))).collect();
        let mut answers = Vec::new();
        for open in open.chunks(AT_ONCE) {
            let open: Vec<_> = open.iter().map(|row| scope.spawn(move || ask(row))).collect();
            answers.extend(open.into_iter().map(std::thread::ScopedJoinHandle::join));
        }
        answers.extend(closed.into_iter().map(std::thread::ScopedJoinHandle::join));
        answers.into_iter().filter_map(|answer| answer.expect("a row tells, and does not panic")).collect()
    });
    let count = rows.len();
    assert!(problems.is_empty(), "{} of {count} rows:\n{}", problems.len(), problems.join("\n"));
}

/// A client that keeps one source port, so that the host takes all it says for one conversation.
pub struct Talker {
    socket: UdpSocket,
}

impl Talker {
    /// Talks from a namespace to a UDP echo server.
    ///
    /// # Panics
    /// When there is no way to it at all.
    #[must_use]
    #[track_caller]
    pub fn open(from: &Netns, to: SocketAddr) -> Self {
        let own: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = from.enter(move || UdpSocket::bind((own, 0))).expect("every namespace has free ports");
        socket.connect(to).unwrap_or_else(|error| panic!("talking to {to}: {error}"));
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a short time is a valid time");
        Self { socket }
    }

    /// Says something, whoever hears it.
    pub fn shout(&self) {
        let _refused_before = self.socket.send(b"hello");
    }

    /// Says something, and waits a moment for the answer.
    ///
    /// # Errors
    /// When there is none.
    pub fn say(&self) -> io::Result<()> {
        self.socket.send(b"hello")?;
        self.socket.recv(&mut [0; 2048]).map(drop)
    }
}
