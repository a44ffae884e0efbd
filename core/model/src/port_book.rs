use std::collections::HashMap;
use std::net::IpAddr;

use hns_net::{Family, Guid, PortRange, Transport};

/// The host ports that mappings hold, on this whole host: a port leads to one endpoint, whatever the
/// network (hcn-api 5.4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortBook {
    /// One entry a port, so that a look-up costs the same for a range as for one port.
    claims: HashMap<(Transport, u16), Vec<PortClaim>>,
    /// Where the search for a port of the server's choice goes on.
    next: u16,
}

/// One holder of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortClaim {
    pub family: Family,
    /// Absent: on every address of the family.
    pub at: Option<IpAddr>,
    pub holder: Guid,
}

impl PortClaim {
    fn collides(&self, other: &Self) -> bool {
        self.family == other.family && (self.at.is_none() || other.at.is_none() || self.at == other.at)
    }
}

/// Ports of the server's choice come from the range IANA calls dynamic (RFC 6335 section 6).
const CHOSEN: (u16, u16) = (49_152, 65_535);

impl PortBook {
    /// Who holds one of these ports so that `claim` cannot.
    #[must_use]
    pub fn holder(&self, transport: Transport, ports: PortRange, claim: &PortClaim) -> Option<(u16, Guid)> {
        ports.iter().find_map(|port| {
            let claims = self.claims.get(&(transport, port))?;
            claims.iter().find(|held| held.collides(claim)).map(|held| (port, held.holder))
        })
    }

    pub fn take(&mut self, transport: Transport, ports: PortRange, claim: PortClaim) {
        for port in ports.iter() {
            self.claims.entry((transport, port)).or_default().push(claim);
        }
    }

    pub fn release(&mut self, transport: Transport, ports: PortRange, claim: &PortClaim) {
        for port in ports.iter() {
            if let Some(claims) = self.claims.get_mut(&(transport, port)) {
                claims.retain(|held| held != claim);
                if claims.is_empty() {
                    self.claims.remove(&(transport, port));
                }
            }
        }
    }

    /// `count` consecutive ports that are free for all these transports and claims. The search goes on
    /// where the last one ended, so that a port given back is not given out again at once.
    pub fn choose(
        &mut self,
        transports: &[Transport],
        count: u16,
        claims: &[PortClaim],
    ) -> Option<PortRange> {
        let places = CHOSEN.1 - CHOSEN.0 + 1;
        for turn in 0..places {
            let start = CHOSEN.0 + (self.next.wrapping_add(turn)) % places;
            let Ok(ports) = PortRange::with_count(start, count) else { continue };
            let free = |transport: &Transport| {
                claims.iter().all(|claim| self.holder(*transport, ports, claim).is_none())
            };
            if transports.iter().all(free) {
                self.next = (start - CHOSEN.0 + count) % places;
                return Some(ports);
            }
        }
        None
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }
}
