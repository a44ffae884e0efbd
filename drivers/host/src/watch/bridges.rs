//! Which bridges of others there are and what is on them, as far as link messages tell.

use std::collections::HashMap;

use crate::foreign_bridges;
use crate::link::Link;

/// The bridges that may be networks, and all ports of others, by index.
#[derive(Debug, Default)]
pub(super) struct Bridges(HashMap<u32, Foreign>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Foreign {
    Bridge { name: String, mtu: u32 },
    Port { name: String, bridge: u32, leads_elsewhere: bool },
}

impl Bridges {
    /// Takes over what a link that is not ours is now; says whether a bridge that may be a network is another one by that.
    pub fn see(&mut self, link: &Link) -> bool {
        let now = if foreign_bridges::is_candidate(link) {
            Some(Foreign::Bridge { name: link.name.clone(), mtu: link.mtu })
        } else {
            link.bridge.map(|bridge| Foreign::Port {
                name: link.name.clone(),
                bridge,
                leads_elsewhere: link.peer_elsewhere,
            })
        };
        let before = match now.clone() {
            Some(now) => self.0.insert(link.index, now),
            None => self.0.remove(&link.index),
        };
        before != now && [before, now].iter().flatten().any(|foreign| self.concerns(foreign))
    }

    /// As [`Self::see`], of a link that is gone.
    pub fn lose(&mut self, index: u32) -> bool {
        let before = self.0.remove(&index);
        before.is_some_and(|foreign| self.concerns(&foreign))
    }

    /// Whether this link is such a bridge.
    pub fn has(&self, index: u32) -> bool {
        matches!(self.0.get(&index), Some(Foreign::Bridge { .. }))
    }

    /// A port of a bridge that is gone first is told with it.
    fn concerns(&self, foreign: &Foreign) -> bool {
        match foreign {
            Foreign::Bridge { .. } => true,
            Foreign::Port { bridge, .. } => self.has(*bridge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_no_bridge_of_the_administrators_is_not_told() {
        let mut bridges = Bridges::default();
        let link = Link::of_test;
        // A bridge of Docker's, and its containers.
        assert!(!bridges.see(&link(5, "docker0", Some("bridge"), None)));
        assert!(!bridges.see(&link(6, "veth1234", Some("veth"), Some(5))));
        // The administrator's, which is told once, with each port that comes and goes.
        let corp = link(7, "CORP", Some("bridge"), None);
        assert!(bridges.see(&corp) && !bridges.see(&corp) && bridges.has(7));
        assert!(bridges.see(&Link { mtu: 9000, ..corp.clone() }));
        let (in_it, out) = (link(8, "eth0", None, Some(7)), link(8, "eth0", None, None));
        assert!(!bridges.see(&out) && bridges.see(&in_it) && !bridges.see(&in_it));
        assert!(bridges.see(&out) && !bridges.see(&out));
        assert!(bridges.see(&in_it) && bridges.lose(8) && !bridges.lose(8));
        assert!(bridges.lose(7) && !bridges.has(7));
        assert!(!bridges.lose(6) && !bridges.lose(5));
    }
}
