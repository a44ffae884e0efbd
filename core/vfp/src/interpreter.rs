//! What the datapath does with a packet, said in Rust: the definition that the eBPF programs are tested against.
//!
//! No clock: time is an argument, in ns. A [`Switch`] is the ports of one host with what they remember.

mod connection;
mod memory;
mod outcome;
mod tunnel;
mod wire;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hns_abi::{Direction, Reason};
use hns_net::{Guid, Mac};

use crate::layers::{Layer, acl, meter, security};
use crate::model::{Acl, Port, Sets, Switchboard};
use crate::packet::Packet;
use wire::is_of_the_link;

pub use memory::Memory;
pub use outcome::{Beyond, Event, Outcome, Refusal, Step, Verdict};

const ETHERNET_LEN: usize = 14;
const ARP: [u8; 2] = [0x08, 0x06];

/// How often a port's policy has changed, and until when it takes over what is older.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Epoch {
    pub generation: u32,
    /// Ns.
    pub adopt_until: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Switch {
    board: Switchboard,
    epochs: BTreeMap<u32, Epoch>,
    memory: Memory,
}

/// One half of a packet's way: through the layers of one port, in one direction.
#[derive(Clone, Copy)]
pub(crate) struct Half<'a> {
    pub ifindex: u32,
    pub port: &'a Port,
    /// Those of the port's network.
    pub sets: &'a Sets,
    pub epoch: Epoch,
    pub direction: Direction,
    pub now: u64,
}

/// A packet on its way, and what happened to it so far.
pub(crate) struct Travel {
    pub frame: Vec<u8>,
    pub packet: Packet,
    pub steps: Vec<Step>,
}

impl Switch {
    #[must_use]
    pub fn new(board: Switchboard) -> Self {
        let epochs = board.ports.keys().map(|ifindex| (*ifindex, Epoch::default())).collect();
        Self { board, epochs, memory: Memory::default() }
    }

    /// A switch in the midst of its life. A port without an epoch is in its first one.
    #[must_use]
    pub const fn resumed(board: Switchboard, epochs: BTreeMap<u32, Epoch>, memory: Memory) -> Self {
        Self { board, epochs, memory }
    }

    #[must_use]
    pub const fn board(&self) -> &Switchboard {
        &self.board
    }

    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    pub const fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// A changed policy: where it may decide otherwise, the next packet of every connection is judged again. `adopt_until` is
    /// in ns, 0: nothing is adopted.
    pub fn set_port(&mut self, ifindex: u32, port: Port, adopt_until: u64) {
        let generation = self.epochs.get(&ifindex).map_or(0, |epoch| epoch.generation);
        let before = self.board.ports.insert(ifindex, port.clone());
        let decides_alike = before.as_ref().is_some_and(|before| before.decides_as(&port));
        let generation = if decides_alike { generation } else { generation.wrapping_add(1) };
        self.epochs.insert(ifindex, Epoch { generation, adopt_until });
        for direction in [Direction::In, Direction::Out] {
            let rate = before.as_ref().and_then(|before| before.meters[direction.index()]);
            if rate != port.meters[direction.index()] {
                self.memory.arrivals.remove(&(ifindex, direction));
            }
        }
    }

    /// The address sets of a network from now on. The connections of ports whose rules name one that has changed are judged again.
    pub fn set_sets(&mut self, network: Guid, sets: Arc<Sets>) {
        let before = self.board.sets.insert(network, Arc::clone(&sets)).unwrap_or_default();
        let changed = before.changed(&sets);
        let names_one = |port: &Port| {
            let mut named = port.acl.iter().flat_map(Acl::all_rules).flat_map(|rule| rule.matches.sets());
            named.any(|id| changed.contains(id.as_str()))
        };
        for (ifindex, _) in self.board.ports.iter().filter(|(_, p)| p.network == network && names_one(p)) {
            let epoch = self.epochs.entry(*ifindex).or_default();
            epoch.generation = epoch.generation.wrapping_add(1);
        }
    }

    pub fn remove_port(&mut self, ifindex: u32) {
        self.board.ports.remove(&ifindex);
        self.memory.forget_port(ifindex);
    }

    /// A packet from the container behind this port: `port_out`.
    pub fn out(&mut self, ifindex: u32, frame: &[u8], now: u64) -> Outcome {
        let mut travel = match Travel::begin(&self.board, ifindex, Direction::Out, frame) {
            Ok(travel) => travel,
            Err(refusal) => return Outcome::refused(refusal, frame),
        };
        let verdict = self.run_out(ifindex, &mut travel, now);
        travel.end(verdict)
    }

    /// A packet from the bridge to the container behind this port: `port_in`. `ruled`: it bears the mark of the host's rules.
    pub fn inward(&mut self, ifindex: u32, frame: &[u8], ruled: bool, now: u64) -> Outcome {
        if self.is_back_home(ifindex, frame) {
            return Outcome::refused(Refusal::of_port(Reason::Reflected, ifindex, Direction::In), frame);
        }
        if !ruled && self.wants_rules(ifindex, frame) {
            let refusal = Refusal::of_port(Reason::Unruled, ifindex, Direction::In);
            return Outcome::refused(refusal, frame);
        }
        if self.is_indifferent(ifindex) {
            return Outcome { verdict: Verdict::Pass, frame: frame.to_vec(), steps: Vec::new() };
        }
        let mut travel = match Travel::begin(&self.board, ifindex, Direction::In, frame) {
            Ok(travel) => travel,
            Err(refusal) => return Outcome::refused(refusal, frame),
        };
        let verdict = self.run_in(ifindex, &mut travel, now);
        travel.end(verdict)
    }

    /// Whether the host's rules must have seen this packet: what comes from a port of the network they need not, and ARP they
    /// cannot.
    fn wants_rules(&self, ifindex: u32, frame: &[u8]) -> bool {
        let Some((head, _)) = frame.split_first_chunk::<ETHERNET_LEN>() else { return false };
        let [_, _, _, _, _, _, source @ .., high, low] = *head;
        let wanted = self.board.ports.get(&ifindex).is_some_and(|port| port.ruled && !port.blocked);
        wanted && [high, low] != ARP && self.neighbour(ifindex, Mac::new(source)).is_none()
    }

    /// A port without rules and limit, and that is not quiet, takes what comes, unread.
    fn is_indifferent(&self, ifindex: u32) -> bool {
        let Some(port) = self.board.ports.get(&ifindex) else { return false };
        !port.blocked && !port.quiet && !port.has_rules() && port.meters[Direction::In.index()].is_none()
    }

    fn run_in(&mut self, ifindex: u32, travel: &mut Travel, now: u64) -> Result<Verdict, Refusal> {
        let quiet = self.board.ports.get(&ifindex).is_some_and(|port| port.quiet);
        if quiet && self.neighbour(ifindex, travel.packet.source).is_some() {
            return Err(self.refuse_at(ifindex, Direction::In, Reason::Quiet, travel));
        }
        self.run_half(ifindex, Direction::In, travel, now)?;
        Ok(Verdict::Pass)
    }

    fn run_out(&mut self, ifindex: u32, travel: &mut Travel, now: u64) -> Result<Verdict, Refusal> {
        self.run_half(ifindex, Direction::Out, travel, now)?;
        let unicast = travel.packet.is_unicast();
        let reflected = self.board.ports[&ifindex].reflected;
        let neighbour = self.neighbour(ifindex, travel.packet.destination).filter(|_| unicast && !reflected);
        // Another container may be a router. The host is none, also where it has a seat on the network, and it takes what is sent to a
        // group of stations for itself.
        let to_the_host = neighbour.is_none_or(|(_, port)| port.plain_redirect);
        let beyond = travel.packet.ip().is_some_and(|ip| self.is_beyond(ifindex, ip.destination));
        if to_the_host && beyond {
            return Err(self.refuse_at(ifindex, Direction::Out, Reason::Confined, travel));
        }
        let Some((target, port)) = neighbour else {
            return match self.board.ports[&ifindex].overlay {
                true => self.leave_by_overlay(ifindex, travel),
                false if unicast || (reflected && !is_of_the_link(travel.packet.destination)) => {
                    self.leave(ifindex, travel)
                }
                false => Ok(Verdict::Pass),
            };
        };
        let plain = port.plain_redirect;
        for (port, direction) in [(ifindex, Direction::Out), (target, Direction::In)] {
            if self.board.ports[&port].quiet {
                return Err(self.refuse_at(port, direction, Reason::Quiet, travel));
            }
        }
        if plain {
            return Ok(Verdict::Redirect { ifindex: target, peer: false });
        }
        self.run_half(target, Direction::In, travel, now)?;
        Ok(Verdict::Redirect { ifindex: target, peer: true })
    }

    /// The other port of the same network whose station this is.
    fn neighbour(&self, ifindex: u32, station: Mac) -> Option<(u32, &Port)> {
        let own = self.board.ports.get(&ifindex)?;
        let (target, port) = self.station(own.switch(), station)?;
        (target != ifindex).then_some((target, port))
    }

    /// The port of a switch that has this station.
    fn station(&self, switch: Guid, station: Mac) -> Option<(u32, &Port)> {
        let is_it = |port: &Port| port.switch() == switch && port.mac == station;
        let (ifindex, port) = self.board.ports.iter().find(|(_, port)| is_it(port))?;
        Some((*ifindex, port))
    }

    /// Whether this address is nobody's on the port's network, which leads nowhere else.
    fn is_beyond(&self, ifindex: u32, address: IpAddr) -> bool {
        let Some(own) = self.board.ports.get(&ifindex).filter(|port| port.confined.is_some()) else {
            return false;
        };
        let ports = self.board.ports.values().filter(|port| port.switch() == own.switch());
        let mut known = ports.flat_map(|port| port.addresses.iter().chain(port.confined.iter().flatten()));
        // To groups and to everybody, and to addresses of the link: nobody routes it.
        let unrouted = match address {
            IpAddr::V4(address) => address.octets()[0] >= 224,
            IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
        };
        !unrouted && !known.any(|known| *known == address)
    }

    /// What no layer of a port refuses, but what the port is.
    fn refuse_at(&self, ifindex: u32, direction: Direction, reason: Reason, travel: &mut Travel) -> Refusal {
        if let Some(port) = self.board.ports.get(&ifindex) {
            let (sets, epoch) = (self.board.sets_of(port), Epoch::default());
            let half = Half { ifindex, port, sets, epoch, direction, now: 0 };
            return half.refuse(Layer::Security, reason, travel);
        }
        Refusal::of_port(Reason::UnknownPort, ifindex, direction)
    }

    fn run_half(
        &mut self,
        ifindex: u32,
        direction: Direction,
        travel: &mut Travel,
        now: u64,
    ) -> Result<(), Refusal> {
        let Some(port) = self.board.ports.get(&ifindex) else {
            return Err(Refusal::of_port(Reason::UnknownPort, ifindex, direction));
        };
        let epoch = self.epochs.get(&ifindex).copied().unwrap_or_default();
        let half = Half { ifindex, port, sets: self.board.sets_of(port), epoch, direction, now };
        if port.blocked {
            return Err(half.refuse(Layer::Security, Reason::Blocked, travel));
        }
        match direction {
            Direction::Out => half.run_outward(&mut self.memory, travel),
            Direction::In => half.run_inward(&mut self.memory, travel),
        }
    }
}

impl Travel {
    fn begin(board: &Switchboard, ifindex: u32, direction: Direction, frame: &[u8]) -> Result<Self, Refusal> {
        let refuse = |reason| Refusal::of_port(reason, ifindex, direction);
        let port = board.ports.get(&ifindex).ok_or_else(|| refuse(Reason::UnknownPort))?;
        if port.blocked {
            return Err(refuse(Reason::Blocked));
        }
        let packet = Packet::parse(frame)
            .map_err(|cause| Refusal { detail: Some(cause.0), ..refuse(Reason::Malformed) })?;
        if is_priority_tagged(frame) {
            return Err(refuse(Reason::Ethertype));
        }
        Ok(Self { frame: frame.to_vec(), packet, steps: Vec::new() })
    }

    fn end(self, verdict: Result<Verdict, Refusal>) -> Outcome {
        let verdict = verdict.unwrap_or_else(Verdict::Drop);
        Outcome { verdict, frame: self.frame, steps: self.steps }
    }
}

/// A tag without a number (IEEE 802.1Q) says a priority alone, and a receiver takes the frame for an untagged one: nothing in it would
/// have been asked for.
fn is_priority_tagged(frame: &[u8]) -> bool {
    match frame.get(12..16) {
        Some([0x81, 0x00, high, low] | [0x88, 0xa8, high, low]) => high & 0x0f == 0 && *low == 0,
        _ => false,
    }
}

impl Half<'_> {
    fn run_outward(self, memory: &mut Memory, travel: &mut Travel) -> Result<(), Refusal> {
        security::outward(self.port, &travel.packet, &travel.frame)
            .map_err(|reason| self.refuse(Layer::Security, reason, travel))?;
        self.note(Layer::Security, Event::Passed, travel);
        if self.is_judged(travel) {
            self.connect(memory, travel)?;
        }
        self.meter(memory, travel)
    }

    fn run_inward(self, memory: &mut Memory, travel: &mut Travel) -> Result<(), Refusal> {
        if self.port.has_rules() {
            if self.is_judged(travel) {
                self.connect(memory, travel)?;
            }
            security::inward(&travel.packet)
                .map_err(|reason| self.refuse(Layer::Security, reason, travel))?;
            self.note(Layer::Security, Event::Passed, travel);
        }
        // Last, so that nothing is charged that does not arrive.
        self.meter(memory, travel)
    }

    fn is_judged(self, travel: &Travel) -> bool {
        let ip = travel.packet.ip();
        ip.is_some_and(|ip| !acl::is_exempt(ip)) && self.port.has_rules()
    }

    fn meter(self, memory: &mut Memory, travel: &mut Travel) -> Result<(), Refusal> {
        let Some(rate) = self.port.meters[self.direction.index()] else { return Ok(()) };
        let arrival = memory.arrival(self.ifindex, self.direction);
        match meter::admit(rate, *arrival, travel.frame.len(), self.now) {
            Some(next) => {
                *arrival = next;
                self.note(Layer::Meter, Event::Passed, travel);
                Ok(())
            }
            None => Err(self.refuse(Layer::Meter, meter::reason(self.direction), travel)),
        }
    }

    pub(crate) fn note(self, layer: Layer, event: Event, travel: &mut Travel) {
        let (ifindex, endpoint, direction) = (self.ifindex, self.port.endpoint, self.direction);
        travel.steps.push(Step { ifindex, endpoint, direction, layer, event });
    }

    pub(crate) fn refuse(self, layer: Layer, reason: Reason, travel: &mut Travel) -> Refusal {
        self.note(layer, Event::Dropped(reason), travel);
        Refusal::of_port(reason, self.ifindex, self.direction)
    }
}

impl Port {
    /// Whether a rule or a fallback may refuse something: its connections are remembered then.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !self.acl.iter().all(Acl::is_open)
    }

    /// Whether every connection that one lets pass the other does, as far as rules and guards decide.
    fn decides_as(&self, other: &Self) -> bool {
        let (quiet, plain_redirect, ruled, meters) =
            (other.quiet, other.plain_redirect, other.ruled, other.meters);
        let (confined, external) = (other.confined.clone(), other.external);
        let (behind_host, overlay, reflected) = (other.behind_host, other.overlay, other.reflected);
        let aside = Self {
            quiet,
            plain_redirect,
            ruled,
            confined,
            external,
            reflected,
            behind_host,
            overlay,
            meters,
            ..self.clone()
        };
        aside == *other
    }
}
