//! Connections that somebody watches. The programs know as many as they have places for, whoever watches them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hns_abi::{Addr, Be16, WATCHES_MAX};
use hns_net::Guid;

use crate::{DatapathError, Packet};

/// What one watcher wants to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    /// At ports of these networks alone: others may have the same addresses.
    pub networks: Vec<Guid>,
    pub connections: Vec<WatchedConnection>,
}

/// Packets from the source to the destination, and those of the other direction. What is absent is any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchedConnection {
    pub source: Option<IpAddr>,
    pub destination: Option<IpAddr>,
    /// Ports are those of TCP, UDP and SCTP; later fragments have none.
    pub source_port: Option<u16>,
    pub destination_port: Option<u16>,
    /// IP protocol number.
    pub protocol: Option<u8>,
}

impl WatchedConnection {
    /// What the programs must find.
    #[must_use]
    pub fn matches(&self, packet: &Packet) -> bool {
        let (Some(source), Some(destination)) = (packet.source, packet.destination) else { return false };
        let Some(protocol) = packet.protocol else { return false };
        let (from, to) = ((source, packet.source_port), (destination, packet.destination_port));
        self.protocol.is_none_or(|wanted| wanted == protocol) && (self.runs(from, to) || self.runs(to, from))
    }

    fn runs(&self, from: (IpAddr, Option<u16>), to: (IpAddr, Option<u16>)) -> bool {
        let is_end = |address: Option<IpAddr>, port: Option<u16>, end: (IpAddr, Option<u16>)| {
            address.is_none_or(|address| address == end.0) && (port.is_none() || port == end.1)
        };
        is_end(self.source, self.source_port, from) && is_end(self.destination, self.destination_port, to)
    }

    pub(crate) fn programmed(&self) -> hns_abi::Watch {
        let address = |wanted: Option<IpAddr>| wanted.map_or(Addr::NONE, Addr::from);
        let port = |wanted: Option<u16>| Be16::new(wanted.unwrap_or_default());
        hns_abi::Watch {
            source: address(self.source),
            destination: address(self.destination),
            source_port: port(self.source_port),
            destination_port: port(self.destination_port),
            protocol: self.protocol.unwrap_or_default(),
            zero: [0; 3],
        }
    }
}

/// Who has which place of the programs' list. Places are bits of a number: a watcher has some of them.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    places: [Option<Place>; WATCHES_MAX as usize],
    /// Those that count, as the programs are told.
    counting: u32,
}

#[derive(Debug, Clone)]
struct Place {
    networks: Arc<[Guid]>,
    connection: WatchedConnection,
}

impl Watches {
    /// Takes a place for each connection. None of them counts yet.
    pub(crate) fn take(&self, watch: &Watch) -> Result<u32, DatapathError> {
        let mut state = self.lock();
        let taken = state.places.iter().flatten().count();
        let room = state.places.len() - taken;
        if watch.connections.len() > room {
            return Err(DatapathError::TooManyWatches { wanted: watch.connections.len(), taken });
        }
        let networks: Arc<[Guid]> = watch.networks.clone().into();
        let mut wanted = watch.connections.iter();
        let mut own = 0;
        for (number, place) in state.places.iter_mut().enumerate().filter(|(_, place)| place.is_none()) {
            let Some(connection) = wanted.next() else { break };
            *place = Some(Place { networks: Arc::clone(&networks), connection: *connection });
            own |= 1 << number;
        }
        Ok(own)
    }

    /// These count from now on; `tell` says all that do.
    pub(crate) fn begin<T>(&self, own: u32, tell: impl FnOnce(u32) -> T) -> T {
        let mut state = self.lock();
        state.counting |= own;
        tell(state.counting)
    }

    /// These do not count any more. They stay taken until they are freed.
    pub(crate) fn end<T>(&self, own: u32, tell: impl FnOnce(u32) -> T) -> T {
        let mut state = self.lock();
        state.counting &= !own;
        tell(state.counting)
    }

    pub(crate) fn free(&self, own: u32) {
        let mut state = self.lock();
        for (_, place) in state.places.iter_mut().enumerate().filter(|(number, _)| own & 1 << number != 0) {
            *place = None;
        }
    }

    /// Of these places, those whose watchers want to see ports of this network.
    pub(crate) fn of_network(&self, some: u32, network: Guid) -> u32 {
        self.pick(|place| place.networks.contains(&network)) & some
    }

    /// The places that count whose watchers want to see this packet at a port of this network.
    pub(crate) fn of_packet(&self, network: Guid, packet: &Packet) -> u32 {
        let wanted = self.pick(|place| place.networks.contains(&network) && place.connection.matches(packet));
        wanted & self.lock().counting
    }

    fn pick(&self, is_it: impl Fn(&Place) -> bool) -> u32 {
        let state = self.lock();
        let places = state.places.iter().enumerate();
        let picked = places.filter(|(_, place)| place.as_ref().is_some_and(&is_it));
        picked.fold(0, |picked, (number, _)| picked | 1 << number)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(protocol: u8, from: (&str, u16), to: (&str, u16)) -> Packet {
        Packet {
            source: from.0.parse().ok(),
            destination: to.0.parse().ok(),
            protocol: Some(protocol),
            source_port: Some(from.1).filter(|port| *port != 0),
            destination_port: Some(to.1).filter(|port| *port != 0),
            ..Packet::default()
        }
    }

    #[test]
    fn a_connection_is_watched_in_both_directions() {
        let watched = WatchedConnection {
            source: "10.0.0.2".parse().ok(),
            destination: "10.0.0.3".parse().ok(),
            source_port: None,
            destination_port: Some(80),
            protocol: Some(6),
        };
        let cases = [
            (packet(6, ("10.0.0.2", 4000), ("10.0.0.3", 80)), true),
            (packet(6, ("10.0.0.3", 80), ("10.0.0.2", 4000)), true),
            (packet(6, ("10.0.0.3", 4000), ("10.0.0.2", 80)), false),
            (packet(6, ("10.0.0.2", 4000), ("10.0.0.3", 81)), false),
            (packet(17, ("10.0.0.2", 4000), ("10.0.0.3", 80)), false),
            (packet(6, ("10.0.0.2", 4000), ("10.0.0.4", 80)), false),
            (packet(6, ("10.0.0.2", 0), ("10.0.0.3", 0)), false),
            (Packet::default(), false),
        ];
        for (packet, seen) in cases {
            assert_eq!(watched.matches(&packet), seen, "{packet:?}");
        }
        let anybody = WatchedConnection { source: "fd00::2".parse().ok(), ..WatchedConnection::default() };
        assert!(anybody.matches(&packet(58, ("2001:db8::1", 0), ("fd00::2", 0))));
        assert!(!anybody.matches(&packet(58, ("2001:db8::1", 0), ("fd00::3", 0))));
    }
}
