//! The matches of iptables that are no expressions of nf_tables (`linux/netfilter/xt_*.h`).

use super::expressions::STATE_NEW;
use super::region::{Ports, Region};
use crate::netlink::Attributes;

const NAME: u16 = 1;
const INFO: u16 = 3;

/// Targets after which the next rule is looked at.
pub(super) fn goes_on(target: &str) -> bool {
    matches!(
        target,
        "LOG"
            | "NFLOG"
            | "MARK"
            | "CONNMARK"
            | "CLASSIFY"
            | "SET"
            | "AUDIT"
            | "TCPMSS"
            | "TOS"
            | "DSCP"
            | "RATEEST"
    )
}

/// Narrows the region to what a match lets through; nothing if it is not understood.
pub(super) fn test(data: Attributes<'_>, region: &mut Region) -> Option<()> {
    let info = data.get(INFO).unwrap_or_default();
    match data.text(NAME)? {
        "comment" => {}
        "tcp" => {
            // Source ports, destination ports, option, two masks of flags, inversions.
            let (sources, rest) = (ports(info)?, info.get(8..12)?);
            if sources != (0, u16::MAX) || rest != [0; 4] {
                return None;
            }
            region.only_ports(&[ports(info.get(4..)?)?]);
        }
        "udp" => {
            if ports(info)? != (0, u16::MAX) || info.get(8) != Some(&0) {
                return None;
            }
            region.only_ports(&[ports(info.get(4..)?)?]);
        }
        "sctp" => {
            const FLAGS_AT: usize = 284;
            const DESTINATION: u32 = 2;
            let number = |at: usize| {
                let bytes = info.get(at..at + 4)?.try_into().ok()?;
                Some(u32::from_ne_bytes(bytes))
            };
            if number(FLAGS_AT)? != DESTINATION || number(FLAGS_AT + 4)? != 0 {
                return None;
            }
            region.only_ports(&[ports(info)?]);
        }
        "multiport" => region.only_ports(&multiport(info)?),
        "conntrack" => {
            const MATCH_FLAGS_AT: usize = 146;
            const STATE: u16 = 1;
            let half = |at: usize| Some(u16::from_ne_bytes(info.get(at..at + 2)?.try_into().ok()?));
            if half(MATCH_FLAGS_AT)? != STATE || half(MATCH_FLAGS_AT + 2)? != 0 {
                return None;
            }
            if u32::from(half(MATCH_FLAGS_AT + 4)?) & STATE_NEW == 0 {
                region.never();
            }
        }
        "state" => {
            let mask = u32::from_ne_bytes(info.get(..4)?.try_into().ok()?);
            if mask & STATE_NEW == 0 {
                region.never();
            }
        }
        _ => return None,
    }
    Some(())
}

/// Two numbers of the host's order.
fn ports(info: &[u8]) -> Option<Ports> {
    let half = |at: usize| Some(u16::from_ne_bytes(info.get(at..at + 2)?.try_into().ok()?));
    Some((half(0)?, half(2)?))
}

/// `struct xt_multiport_v1`: which side, a count, 15 ports, 15 marks that a range begins, an inversion.
fn multiport(info: &[u8]) -> Option<Vec<Ports>> {
    const DESTINATION: u8 = 1;
    const PORTS_MAX: usize = 15;
    const RANGES_AT: usize = 2 + 2 * PORTS_MAX;
    let count = usize::from(*info.get(1)?);
    if *info.first()? != DESTINATION || *info.get(RANGES_AT + PORTS_MAX)? != 0 || count > PORTS_MAX {
        return None;
    }
    let port = |place: usize| ports(info.get(2 + 2 * place..)?).map(|(port, _)| port);
    let mut all = Vec::new();
    let mut place = 0;
    while place < count {
        let first = port(place)?;
        let is_range = *info.get(RANGES_AT + place)? != 0;
        place += usize::from(is_range);
        all.push((first, port(place)?));
        place += 1;
    }
    Some(all)
}
