//! A rule's expressions, read for what they say of a new connection to a port of this host.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_net::{Cidr, Family};

use super::region::{Ports, Region};
use super::walk::{Decisions, Outcome};
use super::xtables;
use crate::netlink::Attributes;
use crate::ruleset::expression as attribute;

/// `ct state`: one bit a state.
pub(super) const STATE_NEW: u32 = 8;
/// `ct status`: translated by a port mapping. Where nothing is mapped, nothing is.
const STATUS_DNAT: u32 = 0x20;
const LOOPBACK_INDEX: u32 = 1;

const META_IIF: u32 = 4;
const META_IIFNAME: u32 = 6;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const META_SOURCE_REGISTER: u16 = 3;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const CT_SOURCE_REGISTER: u16 = 4;

/// An element of a set of another table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub key: Vec<u8>,
    pub ends: bool,
    pub outcome: Option<Outcome>,
}

/// Where the elements of sets are found: nothing for a set that is not understood.
pub(crate) trait Sets {
    fn entries(&mut self, name: &str) -> Option<Vec<Entry>>;
}

/// What was loaded into a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Nfproto,
    Transport,
    Port,
    /// The source's and the destination's in one, as iptables compares them.
    BothPorts,
    Source(usize),
    State,
    Status,
    Iif,
    Iifname,
}

#[derive(Debug, Clone)]
struct Loaded {
    what: What,
    mask: Option<Vec<u8>>,
}

struct Reader<'a> {
    family: Family,
    sets: &'a mut dyn Sets,
    loaded: BTreeMap<u32, Loaded>,
    region: Region,
    decisions: Decisions,
}

/// What a rule decides over connections of `family`.
pub(crate) fn read(expressions: Attributes<'_>, family: Family, sets: &mut dyn Sets) -> Decisions {
    let region = Region::everything(family);
    let mut reader = Reader { family, sets, loaded: BTreeMap::new(), region, decisions: Vec::new() };
    for (_, expression) in expressions.each() {
        let expression = Attributes::after(0, expression);
        let name = expression.text(attribute::NAME).unwrap_or_default();
        let data = expression.nest(attribute::DATA).unwrap_or(Attributes::after(0, &[]));
        reader.add(name, data);
    }
    reader.decisions.retain(|(region, _)| !region.is_empty());
    reader.decisions
}

impl Reader<'_> {
    fn add(&mut self, name: &str, data: Attributes<'_>) {
        let understood = match name {
            "counter" | "log" | "last" | "objref" => Some(()),
            "meta" => self.meta(data),
            "payload" => self.payload(data),
            "ct" => self.conntrack(data),
            "bitwise" => self.bitwise(data),
            "cmp" => self.compare(data),
            "range" => self.range(data),
            "lookup" => self.look_up(data),
            "immediate" => self.immediate(data),
            "match" => xtables::test(data, &mut self.region),
            "reject" => self.decide(Outcome::Stop),
            "queue" => self.decide(Outcome::Pass),
            "target" => match data.text(attribute::TARGET_NAME) {
                Some("REJECT" | "DROP") => self.decide(Outcome::Stop),
                Some(name) if xtables::goes_on(name) => Some(()),
                _ => self.decide(Outcome::Pass),
            },
            _ => None,
        };
        if understood.is_none() {
            self.region.exact = false;
            if matches!(name, "match") {
                return;
            }
            // It may have overwritten any register.
            self.loaded.clear();
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as its siblings")]
    fn decide(&mut self, outcome: Outcome) -> Option<()> {
        self.decisions.push((self.region.clone(), outcome));
        Some(())
    }

    fn load(&mut self, register: u32, what: What) -> Option<()> {
        self.loaded.insert(register, Loaded { what, mask: None });
        Some(())
    }

    fn meta(&mut self, data: Attributes<'_>) -> Option<()> {
        if data.get(META_SOURCE_REGISTER).is_some() {
            return Some(());
        }
        let what = match data.be32(attribute::META_KEY)? {
            META_IIF => What::Iif,
            META_IIFNAME => What::Iifname,
            META_NFPROTO => What::Nfproto,
            META_L4PROTO => What::Transport,
            _ => return None,
        };
        self.load(data.be32(attribute::META_REGISTER)?, what)
    }

    fn conntrack(&mut self, data: Attributes<'_>) -> Option<()> {
        const REGISTER: u16 = 1;
        const KEY: u16 = 2;
        if data.get(CT_SOURCE_REGISTER).is_some() {
            return Some(());
        }
        let what = match data.be32(KEY)? {
            CT_STATE => What::State,
            CT_STATUS => What::Status,
            _ => return None,
        };
        self.load(data.be32(REGISTER)?, what)
    }

    fn payload(&mut self, data: Attributes<'_>) -> Option<()> {
        const REGISTER: u16 = 1;
        const BASE: u16 = 2;
        const OFFSET: u16 = 3;
        const LENGTH: u16 = 4;
        const NETWORK: u32 = 1;
        const TRANSPORT: u32 = 2;
        let place = (data.be32(BASE)?, data.be32(OFFSET)?, data.be32(LENGTH)?);
        let what = match (self.family, place) {
            (_, (TRANSPORT, 2, 2)) => What::Port,
            (_, (TRANSPORT, 0, 4)) => What::BothPorts,
            (Family::V4, (NETWORK, 9, 1)) => What::Transport,
            (Family::V4, (NETWORK, 12, length @ 1..=4)) | (Family::V6, (NETWORK, 8, length @ 1..=16)) => {
                What::Source(usize::try_from(length).ok()?)
            }
            _ => return None,
        };
        self.load(data.be32(REGISTER)?, what)
    }

    fn bitwise(&mut self, data: Attributes<'_>) -> Option<()> {
        const FROM: u16 = 1;
        const TO: u16 = 2;
        const MASK: u16 = 4;
        const XOR: u16 = 5;
        const OPERATION: u16 = 6;
        let value = |kind| data.nest(kind).and_then(|nest| nest.get(attribute::VALUE));
        let plain = data.be32(OPERATION).unwrap_or_default() == 0;
        let loaded = self.loaded.get(&data.be32(FROM)?)?;
        if !plain || loaded.mask.is_some() || value(XOR)?.iter().any(|byte| *byte != 0) {
            return None;
        }
        let masked = Loaded { what: loaded.what, mask: Some(value(MASK)?.to_vec()) };
        self.loaded.insert(data.be32(TO)?, masked);
        Some(())
    }

    fn immediate(&mut self, data: Attributes<'_>) -> Option<()> {
        if data.be32(attribute::IMMEDIATE_REGISTER)? != attribute::REGISTER_VERDICT {
            return None;
        }
        match outcome(data.nest(attribute::IMMEDIATE_DATA)?) {
            Some(outcome) => self.decide(outcome),
            None => Some(()),
        }
    }

    fn compare(&mut self, data: Attributes<'_>) -> Option<()> {
        let loaded = self.loaded.get(&data.be32(attribute::CMP_REGISTER)?)?.clone();
        let value = data.nest(attribute::CMP_DATA)?.get(attribute::VALUE)?;
        let operation = data.be32(attribute::CMP_OPERATION)?;
        if loaded.what == What::Port && loaded.mask.is_none() {
            let port = u16::from_be_bytes(value.try_into().ok()?);
            self.region.only_ports(&compared(operation, port)?);
            return Some(());
        }
        let equal = match operation {
            attribute::CMP_EQUAL => true,
            attribute::CMP_NOT_EQUAL => false,
            _ => return None,
        };
        if loaded.what == What::BothPorts && loaded.mask.is_none() && equal {
            let [_, _, high, low] = value else { return None };
            let port = u16::from_be_bytes([*high, *low]);
            self.region.only_ports(&[(port, port)]);
            // Clients with other source ports do not match.
            self.region.exact = false;
            return Some(());
        }
        self.equal(&loaded, value, equal)
    }

    fn equal(&mut self, loaded: &Loaded, value: &[u8], equal: bool) -> Option<()> {
        let mask = match (&loaded.mask, loaded.what) {
            (None, _) => None,
            (Some(mask), What::State | What::Status | What::Source(_)) => Some(mask.as_slice()),
            _ => return None,
        };
        let holds = match loaded.what {
            What::Nfproto => (value == [nfproto(self.family)]) == equal,
            What::Transport => {
                let [number] = value else { return None };
                self.region.only_transports(|transport| (transport.number() == *number) == equal);
                true
            }
            What::Source(_) if equal => {
                self.region.only_source(prefix(self.family, value, mask)?);
                true
            }
            What::State => {
                let state = STATE_NEW & mask.map_or(Some(u32::MAX), number)?;
                (state == number(value)?) == equal
            }
            // Neither holds of what is not translated.
            What::Status if mask.and_then(number) == Some(STATUS_DNAT) => (number(value)? == 0) == equal,
            What::Iif if number(value)? == LOOPBACK_INDEX => !equal,
            What::Iifname if value.starts_with(b"lo\0") => !equal,
            What::Source(_) | What::Status | What::Iif | What::Iifname | What::Port | What::BothPorts => {
                return None;
            }
        };
        if !holds {
            self.region.never();
        }
        Some(())
    }

    fn range(&mut self, data: Attributes<'_>) -> Option<()> {
        const REGISTER: u16 = 1;
        const OPERATION: u16 = 2;
        const FROM: u16 = 3;
        const TO: u16 = 4;
        let loaded = self.loaded.get(&data.be32(REGISTER)?)?;
        if loaded.what != What::Port || loaded.mask.is_some() || data.be32(OPERATION)? != 0 {
            return None;
        }
        let port = |kind| {
            let value = data.nest(kind)?.get(attribute::VALUE)?;
            Some(u16::from_be_bytes(value.try_into().ok()?))
        };
        self.region.only_ports(&[(port(FROM)?, port(TO)?)]);
        Some(())
    }

    fn look_up(&mut self, data: Attributes<'_>) -> Option<()> {
        const SET: u16 = 1;
        const REGISTER: u16 = 2;
        const RESULT: u16 = 3;
        const FLAGS: u16 = 5;
        let decides = data.be32(RESULT) == Some(attribute::REGISTER_VERDICT);
        let done = (|| {
            let known = self.loaded.get(&data.be32(REGISTER)?)?.clone();
            let plain = known.mask.is_none() && data.be32(FLAGS).unwrap_or_default() == 0;
            if !plain || !matches!(known.what, What::Port | What::Transport | What::State) {
                return None;
            }
            if data.get(RESULT).is_some() && !decides {
                return None;
            }
            let entries = self.sets.entries(data.text(SET)?)?;
            if decides { self.choose(known.what, &entries) } else { self.only(known.what, &entries) }
        })();
        if done.is_none() && decides {
            // One of its verdicts may let it pass.
            self.region.exact = false;
            return self.decide(Outcome::Pass);
        }
        done
    }

    /// Only what is in a set goes on.
    fn only(&mut self, what: What, entries: &[Entry]) -> Option<()> {
        match what {
            What::Port => {
                let ports: Vec<Ports> = runs(entries)?.into_iter().map(|(ports, _)| ports).collect();
                self.region.only_ports(&ports);
            }
            What::Transport if entries.iter().all(|entry| !entry.ends && entry.key.len() == 1) => {
                self.region.only_transports(|transport| {
                    entries.iter().any(|entry| entry.key == [transport.number()])
                });
            }
            What::State if entries.iter().all(|entry| !entry.ends) => {
                if !entries.iter().any(|entry| number(&entry.key) == Some(STATE_NEW)) {
                    self.region.never();
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Each element of a verdict map is a rule of its own.
    fn choose(&mut self, what: What, entries: &[Entry]) -> Option<()> {
        let whole = self.region.clone();
        let mut chosen = Vec::new();
        let parts: Vec<(Region, &Entry)> = match what {
            What::Port => {
                let part = |(ports, entry)| {
                    let mut part = whole.clone();
                    part.only_ports(&[ports]);
                    (part, entry)
                };
                runs(entries)?.into_iter().map(part).collect()
            }
            What::State => entries
                .iter()
                .filter(|entry| number(&entry.key) == Some(STATE_NEW))
                .map(|entry| (whole.clone(), entry))
                .collect(),
            _ => return None,
        };
        for (region, entry) in parts {
            chosen.push((region, entry.outcome.clone()?));
        }
        self.decisions.extend(chosen);
        Some(())
    }
}

/// The verdict in an immediate's or element's data. A rule may also merely go on.
pub(crate) fn outcome(data: Attributes<'_>) -> Option<Outcome> {
    let verdict = data.nest(attribute::VERDICT)?;
    let chain = || verdict.text(attribute::VERDICT_CHAIN).unwrap_or_default().to_owned();
    match verdict.be32(attribute::VERDICT_CODE)?.cast_signed() {
        attribute::DROP => Some(Outcome::Stop),
        attribute::JUMP => Some(Outcome::Jump(chain())),
        attribute::GOTO => Some(Outcome::Goto(chain())),
        attribute::RETURN => Some(Outcome::Return),
        attribute::CONTINUE => None,
        _ => Some(Outcome::Pass),
    }
}

fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// As the kernel keeps numbers of its own in registers.
fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

fn compared(operation: u32, port: u16) -> Option<Vec<Ports>> {
    const LESS: u32 = 2;
    const LESS_OR_EQUAL: u32 = 3;
    const GREATER: u32 = 4;
    const GREATER_OR_EQUAL: u32 = 5;
    Some(match operation {
        attribute::CMP_EQUAL => vec![(port, port)],
        LESS => port.checked_sub(1).map(|last| (0, last)).into_iter().collect(),
        LESS_OR_EQUAL => vec![(0, port)],
        GREATER => port.checked_add(1).map(|first| (first, u16::MAX)).into_iter().collect(),
        GREATER_OR_EQUAL => vec![(port, u16::MAX)],
        _ => return None,
    })
}

/// The prefix that begins with `value`: as long as it, or as the mask has ones at its head.
fn prefix(family: Family, value: &[u8], mask: Option<&[u8]>) -> Option<Cidr> {
    let ones = |mask: &[u8]| mask.iter().map(|byte| byte.count_ones()).sum::<u32>();
    let length = match mask {
        None => u32::try_from(value.len() * 8).ok()?,
        Some(mask) if mask.len() == value.len() => ones(mask),
        Some(_) => return None,
    };
    let mut bytes = [0; 16];
    bytes.get_mut(..value.len())?.copy_from_slice(value);
    let address: IpAddr = match family {
        Family::V4 => Ipv4Addr::from_octets(bytes[..4].try_into().ok()?).into(),
        Family::V6 => Ipv6Addr::from_octets(bytes).into(),
    };
    if let Some(mask) = mask {
        let mut whole = [0; 16];
        whole.get_mut(..mask.len())?.copy_from_slice(mask);
        if u128::from_be_bytes(whole).leading_ones() != length {
            return None;
        }
    }
    Cidr::new(address, u8::try_from(length).ok()?).ok()
}

/// The ports of a set's elements. In a set of intervals an element marks a start, or the first port behind one.
fn runs(entries: &[Entry]) -> Option<Vec<(Ports, &Entry)>> {
    let mut marks = Vec::new();
    for entry in entries {
        marks.push((u16::from_be_bytes(entry.key.as_slice().try_into().ok()?), !entry.ends, entry));
    }
    let intervals = entries.iter().any(|entry| entry.ends);
    // Where one interval ends and the next begins, the end comes first.
    marks.sort_by_key(|(port, starts, _)| (*port, *starts));
    let mut runs = Vec::new();
    for (place, (port, starts, entry)) in marks.iter().enumerate() {
        if *starts {
            let last = match marks.get(place + 1) {
                _ if !intervals => *port,
                Some((next, ..)) => next.checked_sub(1)?,
                None => u16::MAX,
            };
            runs.push(((*port, last), *entry));
        }
    }
    Some(runs)
}
