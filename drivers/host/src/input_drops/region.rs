//! Which new connections a rule is about: a source, transports and ports of the host.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_net::{Cidr, Family, Transport};

pub(crate) type Ports = (u16, u16);

const ALL_PORTS: Ports = (0, u16::MAX);

/// What a rule's tests let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Region {
    pub source: Cidr,
    pub transports: Vec<Transport>,
    pub ports: Vec<Ports>,
    /// Whether it is all of that. Otherwise the rule has tests that are not understood, and it is at most that.
    pub exact: bool,
}

impl Region {
    pub(crate) fn everything(family: Family) -> Self {
        Self {
            source: family.default_route(),
            transports: Transport::ALL.to_vec(),
            ports: vec![ALL_PORTS],
            exact: true,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.transports.is_empty() || self.ports.is_empty()
    }

    /// Whether it is about certain ports. A rule about all of them closes a host by default, as a policy does.
    pub(crate) fn names_ports(&self) -> bool {
        self.ports != [ALL_PORTS]
    }

    pub(crate) fn never(&mut self) {
        self.transports.clear();
    }

    pub(crate) fn only_transports(&mut self, keep: impl Fn(Transport) -> bool) {
        self.transports.retain(|transport| keep(*transport));
    }

    pub(crate) fn only_ports(&mut self, among: &[Ports]) {
        let both = |mine: &Ports| {
            let mine = *mine;
            among.iter().map(move |other| (mine.0.max(other.0), mine.1.min(other.1)))
        };
        self.ports = self.ports.iter().flat_map(both).filter(|(first, last)| first <= last).collect();
    }

    pub(crate) fn only_source(&mut self, source: Cidr) {
        if self.source.covers(source) {
            self.source = source;
        } else if !source.covers(self.source) {
            self.never();
        }
    }

    /// What is in both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.only_source(other.source);
        both.only_transports(|transport| other.transports.contains(&transport));
        both.only_ports(&other.ports);
        both.exact &= other.exact;
        both
    }

    pub(crate) fn drops(&self) -> Vec<Drop> {
        let source = self.source;
        let of = |transport: &Transport| {
            let transport = *transport;
            self.ports.iter().map(move |ports| Drop { source, transport, ports: *ports })
        };
        self.transports.iter().flat_map(of).collect()
    }
}

/// New connections that the host's firewall stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Drop {
    pub transport: Transport,
    pub ports: Ports,
    pub source: Cidr,
}

impl fmt::Display for Drop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.ports;
        write!(f, "{} {first}", self.transport.to_string().to_lowercase())?;
        if first != last {
            write!(f, "-{last}")?;
        }
        if self.source.is_default() { Ok(()) } else { write!(f, " from {}", self.source) }
    }
}

impl Drop {
    /// What of it is left outside of `region`.
    pub(crate) fn without(self, region: &Region) -> Vec<Self> {
        if !region.transports.contains(&self.transport) || !region.source.overlaps(self.source) {
            return vec![self];
        }
        let mut left = Vec::new();
        let mut rest = vec![self.ports];
        for hole in &region.ports {
            let mut next = Vec::new();
            for (first, last) in rest {
                let inside = (first.max(hole.0), last.min(hole.1));
                if inside.0 > inside.1 {
                    next.push((first, last));
                    continue;
                }
                if first < inside.0 {
                    next.push((first, inside.0 - 1));
                }
                if inside.1 < last {
                    next.push((inside.1 + 1, last));
                }
                let sources = without(self.source, region.source);
                left.extend(sources.into_iter().map(|source| Self { source, ports: inside, ..self }));
            }
            rest = next;
        }
        left.extend(rest.into_iter().map(|ports| Self { ports, ..self }));
        left
    }
}

/// The prefixes that make up `whole` but for `hole`.
fn without(whole: Cidr, hole: Cidr) -> Vec<Cidr> {
    if hole.covers(whole) {
        return Vec::new();
    }
    if !whole.covers(hole) {
        return vec![whole];
    }
    // On the way from the whole down to the hole, the half that does not hold it is left each time.
    let siblings = (whole.length() + 1..=hole.length()).filter_map(|length| {
        let other_half = match hole.network() {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() ^ 1 << (32 - length)).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() ^ 1 << (128 - length)).into(),
        };
        Cidr::new(other_half, length).ok()
    });
    siblings.collect()
}

/// The same connections by drops of which no two overlap, as an interval set wants its elements.
pub(crate) fn disjoint(drops: &[Drop]) -> Vec<Drop> {
    let mut all = Vec::new();
    for transport in Transport::ALL {
        let drops: Vec<&Drop> = drops.iter().filter(|drop| drop.transport == transport).collect();
        let mut cuts: BTreeSet<u32> = BTreeSet::new();
        for drop in &drops {
            cuts.extend([u32::from(drop.ports.0), u32::from(drop.ports.1) + 1]);
        }
        let cuts: Vec<u32> = cuts.into_iter().collect();
        let mut runs: Vec<(Ports, Vec<Cidr>)> = Vec::new();
        for cut in cuts.windows(2) {
            let (Ok(first), Ok(last)) = (u16::try_from(cut[0]), u16::try_from(cut[1] - 1)) else { continue };
            let holds = |drop: &&&Drop| drop.ports.0 <= first && last <= drop.ports.1;
            let sources = widest(drops.iter().filter(holds).map(|drop| drop.source).collect());
            match runs.last_mut() {
                Some((ports, same)) if *same == sources && u32::from(ports.1) + 1 == cut[0] => ports.1 = last,
                _ if sources.is_empty() => {}
                _ => runs.push(((first, last), sources)),
            }
        }
        for (ports, sources) in runs {
            all.extend(sources.into_iter().map(|source| Drop { transport, ports, source }));
        }
    }
    all
}

/// Without those that another one covers.
fn widest(mut prefixes: Vec<Cidr>) -> Vec<Cidr> {
    // The widest of those that begin alike comes first.
    prefixes.sort_by_key(|prefix| (prefix.network(), prefix.length()));
    let mut kept: Vec<Cidr> = Vec::new();
    for prefix in prefixes {
        if !kept.last().is_some_and(|last| last.covers(prefix)) {
            kept.push(prefix);
        }
    }
    kept
}
