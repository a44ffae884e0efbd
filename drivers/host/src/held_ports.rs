//! The host's ports that are published, held by sockets of ours.
//!
//! Translation comes before delivery: a program that binds a published port would get nothing, and another engine that publishes
//! it would take it from us. With a socket of ours on it they are told that it is in use, and `ss -ltnp` says by whom. A TCP socket
//! listens, since two may bind one with SO_REUSEADDR. None hears anything: while our rules are gone, a client that tries is neither
//! accepted nor refused, and gets through when they are back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use hns_net::{Family, Guid, Transport};
use nix::sys::resource::{Resource, getrlimit};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::{HostError, HostPorts, TakenPort};

#[derive(Debug, Default)]
pub(crate) struct HeldPorts(Mutex<BTreeMap<Guid, Held>>);

/// A protocol that the kernel lacks has no socket, and nobody else's either.
type Held = BTreeMap<Place, Option<Socket>>;

/// Where one socket is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    transport: Transport,
    port: u16,
    at: IpAddr,
    /// `::` with every address of IPv4 beside those of IPv6.
    both: bool,
}

impl HeldPorts {
    /// Lets `holder` hold these ports and no others, as far as they are nobody else's; says which are.
    pub(crate) fn hold(&self, holder: Guid, wanted: &[HostPorts]) -> Result<Vec<TakenPort>, HostError> {
        let wanted: BTreeSet<Place> = wanted.iter().flat_map(places).collect();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What goes may be in the way of what comes: one port in two ways.
        let mut held = all.remove(&holder).unwrap_or_default();
        held.retain(|place, _| wanted.contains(place));
        let so_far: usize = all.values().map(Held::len).sum();
        let most = most();
        let outcome = if so_far + wanted.len() > most {
            Err(HostError::TooManyPorts { held: so_far, wanted: wanted.len(), most })
        } else {
            take(&wanted, &mut held, &mut all)
        };
        if !held.is_empty() {
            all.insert(holder, held);
        }
        outcome
    }

    pub(crate) fn release(&self, holder: Guid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&holder);
    }
}

/// How many sockets there may be: each is a descriptor, and most are for connections, netlink, and what a repair starts.
fn most() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(LIMIT_UNKNOWN, |(soft, _)| soft);
    usize::try_from(limit / PART_FOR_PORTS).unwrap_or(usize::MAX)
}

const PART_FOR_PORTS: u64 = 4;
/// What a process starts with where nobody says otherwise.
const LIMIT_UNKNOWN: u64 = 1024;

/// `others` are holders of ours: who asks later is in the right, since a port that is given to one is taken from the other.
fn take(
    wanted: &BTreeSet<Place>,
    held: &mut Held,
    others: &mut BTreeMap<Guid, Held>,
) -> Result<Vec<TakenPort>, HostError> {
    let mut taken = Vec::new();
    for place in wanted {
        if held.contains_key(place) {
            continue;
        }
        let outcome = match place.bind() {
            Err(error) if is_taken(&error) && give_up(place, others) => place.bind(),
            outcome => outcome,
        };
        match outcome {
            Ok(socket) => drop(held.insert(*place, socket)),
            Err(error) if is_taken(&error) => {
                taken.push(TakenPort { transport: place.transport, port: place.port, at: place.at });
            }
            Err(source) => return Err(HostError::Socket { kind: "port", source }),
        }
    }
    Ok(taken)
}

/// Whether one of these had the port.
fn give_up(place: &Place, others: &mut BTreeMap<Guid, Held>) -> bool {
    let is_it = |other: &Place| {
        (other.transport, other.port) == (place.transport, place.port) && other.collides(place)
    };
    let before: usize = others.values().map(Held::len).sum();
    others.values_mut().for_each(|held| held.retain(|other, _| !is_it(other)));
    before > others.values().map(Held::len).sum()
}

fn places(ports: &HostPorts) -> Vec<Place> {
    let both = ports.at.is_none() && ports.families.len() > 1;
    let at: Vec<IpAddr> = match ports.at {
        Some(at) => vec![at],
        None if both => vec![Ipv6Addr::UNSPECIFIED.into()],
        None => ports.families.iter().copied().map(Family::unspecified).collect(),
    };
    let place = |port, at| Place { transport: ports.transport, port, at, both };
    ports.ports.iter().flat_map(|port| at.iter().map(move |at| place(port, *at))).collect()
}

impl Place {
    fn bind(self) -> io::Result<Option<Socket>> {
        let (kind, protocol) = match self.transport {
            Transport::Tcp => (Type::STREAM, Protocol::TCP),
            Transport::Udp => (Type::DGRAM, Protocol::UDP),
            Transport::Sctp => (Type::STREAM, Protocol::SCTP),
        };
        let socket = match Socket::new(Domain::for_address(self.address()), kind, Some(protocol)) {
            Err(error) if is_missing(&error) => return Ok(None),
            made => made?,
        };
        socket.attach_filter(&[DROP_ALL])?;
        if self.transport != Transport::Udp {
            // Connections of the past keep a port for a minute, but nobody from listening on it.
            socket.set_reuse_address(true)?;
        }
        // The address may come later.
        socket.set_freebind_v4(true)?;
        if self.at.is_ipv6() {
            socket.set_only_v6(!self.both)?;
            socket.set_freebind_v6(true)?;
        }
        socket.bind(&self.address().into())?;
        if self.transport != Transport::Udp {
            socket.listen(1)?;
        }
        Ok(Some(socket))
    }

    fn collides(&self, other: &Self) -> bool {
        let same_family = self.at.is_ipv4() == other.at.is_ipv4() || self.both || other.both;
        same_family && (self.at == other.at || self.at.is_unspecified() || other.at.is_unspecified())
    }

    fn address(self) -> SocketAddr {
        SocketAddr::new(self.at, self.port)
    }
}

/// `ret 0` of classic BPF (`linux/filter.h`): no byte of any packet is let to the socket.
const DROP_ALL: SockFilter = SockFilter::new(RETURN_CONSTANT, 0, 0, 0);
const RETURN_CONSTANT: u16 = 0x06;

fn is_taken(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrInUse
}

fn is_missing(error: &io::Error) -> bool {
    let missing = [libc::EPROTONOSUPPORT, libc::EAFNOSUPPORT, libc::ESOCKTNOSUPPORT];
    error.raw_os_error().is_some_and(|errno| missing.contains(&errno))
}
