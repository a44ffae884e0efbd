//! What would become of a packet that nobody has sent: the interpreter on what is programmed, and our table's elements beyond it.
//!
//! ```text
//!   from an endpoint   port's Out ──► neighbour's In ──────────────────────────► delivered
//!                              └────► host: itself, published port, routed on; other network's In ──► ..
//!   from an address    our table: host's own, mapping, open port ──► port's In ──► delivered
//! ```
//!
//! Nothing is changed: packets run on a copy ([`hns_datapath::Snapshot`]).

mod ends;
mod host;
mod live;
mod untraceable;

use std::net::IpAddr;

use hns_abi::{Direction, Reason};
use hns_datapath::{Packet, RuleName, Snapshot};
use hns_hcn::{NetworkType, TraceRequest};
use hns_model::{Endpoint, Network, World};
use hns_net::{Guid, IfAddr, Mac, Transport};
use hns_vfp::flow::Tuple;
use hns_vfp::frame::Datagram;
use hns_vfp::interpreter::{Event, Outcome, Refusal, Step, Verdict};
use hns_vfp::layers::Layer;
use hns_vfp::layers::acl::Cause;
use hns_vfp::model::Switchboard;
use hns_vfp::packet::Packet as Parsed;

use self::ends::{Ends, Hop};
use crate::engine::Engine;
use crate::error::EngineError;

pub use host::{Beyond, TableDrop};
pub use untraceable::Untraceable;

/// What would become of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    pub packet: Packet,
    pub steps: Vec<TraceStep>,
    pub fate: Fate,
    pub beyond: Vec<Beyond>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// To this endpoint.
    Delivered(Guid),
    /// To the host, or to everybody on the network.
    Passed,
    Dropped(Reason),
    /// By our table.
    Refused(TableDrop),
    /// It is not even sent.
    Unsent,
}

/// What one layer of one port would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceStep {
    pub step: Step,
    /// Where rules decide or have decided: those of this direction.
    pub rules_of: Option<Direction>,
    /// Absent, where rules decide: the fallback.
    pub rule: Option<RuleName>,
}

impl Engine {
    /// What would become of this packet now. Changes nothing.
    pub fn trace(&self, request: &TraceRequest) -> Result<Trace, EngineError> {
        for endpoint in [request.from.endpoint, request.to.endpoint].into_iter().flatten() {
            self.settled_endpoint(endpoint)?;
        }
        let operation = || "cannot see which addresses the host has".to_owned();
        let hosts = self.host.addresses().map_err(EngineError::host(operation))?;
        let hosts = hosts.into_iter().map(|(_, address)| IfAddr::address(address)).collect();
        let ends = Ends::of(request, &self.world())?;
        let datagram = ends::datagram(request, &ends)?;
        let operation = || "cannot read what packets would meet".to_owned();
        let snapshot = self.datapath.snapshot(&|board| connections(board, &ends, &datagram));
        let snapshot = snapshot.map_err(EngineError::datapath(operation))?;
        let world = self.world();
        let mut trial = Trial::new(&world, snapshot, hosts, &ends, &datagram);
        let fate = match (&ends.from, &ends.to) {
            (Some(from), _) => trial.send(from)?,
            (None, Some(to)) => trial.receive(to)?,
            // Refused when the request was read.
            (None, None) => Fate::Unsent,
        };
        Ok(trial.end(fate))
    }
}

/// The connections that the packet may be of, at the ports that may be asked.
fn connections(board: &Switchboard, ends: &Ends, datagram: &Datagram) -> Vec<(u32, Tuple)> {
    let station = Mac::new([2, 0, 0, 0, 0, 0]);
    let Ok(packet) = Parsed::parse(&ends::frame(datagram, station, station)) else { return Vec::new() };
    let Some(ip) = packet.ip() else { return Vec::new() };
    let sender = ends.from.as_ref().map(Endpoint::id);
    let mut connections = Vec::new();
    for (ifindex, port) in &board.ports {
        if sender == Some(port.endpoint) || port.owns(ends.source) {
            connections.push((*ifindex, Tuple::of(ip, Direction::Out)));
        }
        if port.owns(ends.destination) {
            connections.push((*ifindex, Tuple::of(ip, Direction::In)));
        }
    }
    connections
}

/// A packet on its way.
struct Trial<'a> {
    world: &'a World,
    snapshot: Snapshot,
    /// The host's own addresses.
    hosts: Vec<IpAddr>,
    ends: &'a Ends,
    datagram: &'a Datagram,
    frame: Vec<u8>,
    steps: Vec<TraceStep>,
    beyond: Vec<Beyond>,
}

impl<'a> Trial<'a> {
    fn new(
        world: &'a World,
        snapshot: Snapshot,
        hosts: Vec<IpAddr>,
        ends: &'a Ends,
        datagram: &'a Datagram,
    ) -> Self {
        let (steps, beyond) = (Vec::new(), Vec::new());
        Self { world, snapshot, hosts, ends, datagram, frame: Vec::new(), steps, beyond }
    }

    fn end(self, fate: Fate) -> Trace {
        Trace { packet: Packet::of(&self.frame), steps: self.steps, fate, beyond: self.beyond }
    }

    /// An endpoint sends it.
    fn send(&mut self, from: &Endpoint) -> Result<Fate, EngineError> {
        let network = self.world.network(from.network())?;
        let (ifindex, station) = ends::port_of("From.Endpoint", self.snapshot.switch.board(), from.id())?;
        let hop = ends::next_hop(from, network, self.snapshot.switch.board(), self.ends.destination);
        self.frame = ends::frame(self.datagram, station, hop.station().unwrap_or(station));
        match hop {
            Hop::Itself => return Ok(self.stays(Beyond::Itself)),
            Hop::NoRoute => return Ok(self.stays(Beyond::NoRoute(self.ends.destination))),
            Hop::Nobody(hop) => return Ok(self.stays(Beyond::Nobody(hop))),
            Hop::Port(..) | Hop::Host(_) | Hop::Neighbour(_) | Hop::Everybody(_) => {}
        }
        let outcome = self.snapshot.switch.out(ifindex, &self.frame, self.snapshot.now);
        self.note(&outcome);
        Ok(match outcome.verdict {
            Verdict::Drop(refusal) => Fate::Dropped(refusal.reason),
            Verdict::Redirect { ifindex, peer: true } => self.delivered(ifindex, hop),
            Verdict::Redirect { ifindex, peer: false } => self.arrive(ifindex, hop),
            Verdict::Pass if matches!(hop, Hop::Everybody(_)) => {
                self.beyond.push(Beyond::Everybody);
                Fate::Passed
            }
            Verdict::Pass => self.leave(network)?,
            Verdict::Tunnel { vni, to, .. } => {
                self.beyond.push(Beyond::OtherHost { provider: network.host_of(to), vni });
                Fate::Passed
            }
            // Of external switches, whose endpoints are not traced.
            Verdict::Adapter { .. } | Verdict::Next { .. } | Verdict::Back { .. } => Fate::Passed,
        })
    }

    fn stays(&mut self, why: Beyond) -> Fate {
        self.beyond.push(why);
        Fate::Unsent
    }

    /// The host has it, from a container of `network`.
    fn leave(&mut self, network: &Network) -> Result<Fate, EngineError> {
        let (world, to, port) = (self.world, self.ends.destination, self.transport());
        let Some((endpoint, other)) = host::elsewhere(world, network, to) else {
            let hosts_own = self.hosts.contains(&to);
            self.beyond.push(host::onwards(world, network, hosts_own, (self.ends.source, to), port));
            return Ok(Fate::Passed);
        };
        self.beyond.push(Beyond::OtherNetwork(endpoint.id()));
        if network.kind() == NetworkType::Internal {
            self.beyond.push(Beyond::NoWay);
            return Ok(Fate::Refused(TableDrop::Internal));
        }
        self.enter(endpoint, other, port)
    }

    /// It comes from an address that is no endpoint's.
    fn receive(&mut self, to: &Endpoint) -> Result<Fate, EngineError> {
        let network = self.world.network(to.network())?;
        let (ifindex, station) = ends::port_of("To.Endpoint", self.snapshot.switch.board(), to.id())?;
        self.frame = ends::frame(self.datagram, ends::host_station(network), station);
        let source = self.ends.source;
        if let Some(fate) = self.come_by_tunnel(network) {
            return Ok(fate);
        }
        if source.is_loopback() || self.hosts.contains(&source) {
            if !network.has_host_port() {
                self.beyond.push(Beyond::NoWay);
                return Ok(Fate::Refused(TableDrop::Private));
            }
            self.beyond.push(Beyond::FromHost);
            return Ok(self.arrive(ifindex, Hop::Host(station)));
        }
        if host::is_stray(self.world, source) {
            self.beyond.push(Beyond::Stray(source));
            return Ok(Fate::Refused(TableDrop::Stray));
        }
        self.enter(to, network, self.transport())
    }

    /// From a container of another host of the network, where the source is one's.
    fn come_by_tunnel(&mut self, network: &Network) -> Option<Fate> {
        let (devices, overlay) = self.snapshot.switch.board().overlays.get(&network.id())?.clone();
        let (route, vni) = (*overlay.route_to(self.ends.source)?, *overlay.vnis.first()?);
        self.beyond.push(Beyond::FromOtherHost(network.host_of(route.provider)));
        self.frame = ends::frame(self.datagram, route.station, overlay.router);
        let now = self.snapshot.now;
        let outcome =
            self.snapshot.switch.from_tunnel((devices.tunnel, vni), route.provider, &self.frame, now);
        self.note(&outcome);
        Some(match outcome.verdict {
            Verdict::Redirect { ifindex, peer: true } => self.delivered(ifindex, Hop::Host(overlay.router)),
            Verdict::Redirect { ifindex, peer: false } => self.arrive(ifindex, Hop::Host(overlay.router)),
            Verdict::Drop(refusal) => Fate::Dropped(refusal.reason),
            _ => Fate::Passed,
        })
    }

    /// From beyond its network to an endpoint: our table decides before the port does.
    fn enter(
        &mut self,
        to: &Endpoint,
        network: &Network,
        port: Option<(Transport, u16)>,
    ) -> Result<Fate, EngineError> {
        let (ifindex, station) = ends::port_of("To.Endpoint", self.snapshot.switch.board(), to.id())?;
        self.frame = ends::frame(self.datagram, ends::host_station(network), station);
        match host::lets_in(to, network, self.ends.destination, port) {
            Ok(way) => self.beyond.push(way),
            Err((TableDrop::Closed, _)) if self.is_reply(ifindex) => self.beyond.push(Beyond::ByConnection),
            Err((counter, why)) => {
                self.beyond.push(why);
                return Ok(Fate::Refused(counter));
            }
        }
        Ok(self.arrive(ifindex, Hop::Host(station)))
    }

    /// Whether the port knows a connection that began inside, and this is of it.
    fn is_reply(&self, ifindex: u32) -> bool {
        let flows = self.snapshot.switch.memory().flows();
        flows.into_iter().any(|(port, _, flow)| port == ifindex && flow.origin == Direction::Out)
    }

    /// At the host's end of a port, with the mark of our table.
    fn arrive(&mut self, ifindex: u32, hop: Hop) -> Fate {
        let outcome = self.snapshot.switch.inward(ifindex, &self.frame, true, self.snapshot.now);
        self.note(&outcome);
        match outcome.verdict {
            Verdict::Drop(refusal) => Fate::Dropped(refusal.reason),
            _ => self.delivered(ifindex, hop),
        }
    }

    fn delivered(&mut self, ifindex: u32, hop: Hop) -> Fate {
        let Some(port) = self.snapshot.switch.board().ports.get(&ifindex) else {
            return Fate::Dropped(Reason::UnknownPort);
        };
        if matches!(hop, Hop::Port(_, address) if address != self.ends.destination) {
            self.beyond.push(Beyond::Router(port.endpoint));
        }
        Fate::Delivered(port.endpoint)
    }

    fn transport(&self) -> Option<(Transport, u16)> {
        let packet = Packet::of(&self.frame);
        let transport = Transport::from_number(packet.protocol?.into()).ok()?;
        Some((transport, packet.destination_port?))
    }

    /// Keeps what an outcome tells. A refusal by rules comes after the question to them, and takes its place.
    fn note(&mut self, outcome: &Outcome) {
        for step in &outcome.steps {
            let asked = match &step.event {
                Event::Judged { by, cause, .. }
                | Event::Observed { by, cause }
                | Event::Known { by, cause, .. }
                | Event::Related { by, cause } => Some((*by, *cause)),
                Event::Passed | Event::Fragment | Event::Dropped(_) => None,
            };
            let told = self.told(step, asked);
            match (&step.event, self.steps.last_mut()) {
                (Event::Dropped(_), Some(last)) if last.is_question_before(step) => {
                    last.step = step.clone();
                }
                _ => self.steps.push(told),
            }
        }
        if let Verdict::Drop(refusal) = outcome.verdict
            && !outcome.steps.iter().any(|step| matches!(step.event, Event::Dropped(_)))
        {
            self.note_refusal(refusal);
        }
    }

    /// Refused before any layer saw it, for what the port is.
    fn note_refusal(&mut self, refusal: Refusal) {
        let Some(port) = self.snapshot.switch.board().ports.get(&refusal.ifindex) else { return };
        let step = Step {
            ifindex: refusal.ifindex,
            endpoint: port.endpoint,
            direction: refusal.direction,
            layer: Layer::Security,
            event: Event::Dropped(refusal.reason),
        };
        self.steps.push(TraceStep { step, rules_of: None, rule: None });
    }

    fn told(&self, step: &Step, asked: Option<(Direction, Cause)>) -> TraceStep {
        let port = self.snapshot.switch.board().ports.get(&step.ifindex);
        let rule = asked.zip(port).and_then(|((by, cause), port)| port.acl[by.index()].rule(cause));
        TraceStep { step: step.clone(), rules_of: asked.map(|(by, _)| by), rule: rule.map(RuleName::from) }
    }
}

impl TraceStep {
    fn is_question_before(&self, refusal: &Step) -> bool {
        let place = |step: &Step| (step.ifindex, step.direction, step.layer);
        matches!(self.step.event, Event::Judged { .. }) && place(&self.step) == place(refusal)
    }
}
