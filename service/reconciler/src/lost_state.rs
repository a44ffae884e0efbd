//! A start without records on a host that shows links of ours: somebody's containers use them, and the next repair would
//! take them for leftovers.

use std::fmt;

use hns_host::{Host, Scope};
use hns_net::IfName;
use hns_store::{Revision, Store};

use crate::engine::store_error;
use crate::error::EngineError;

/// What to do with what is on a host of which nothing is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutRecords {
    /// Touch nothing and do not start.
    Refuse,
    /// Go on: the start removes it all, and begins anew.
    Forget,
}

/// How many names an error gives.
const NAMES_MAX: usize = 4;

/// What a host shows of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unrecorded {
    pub switches: usize,
    pub ports: usize,
    pub namespaces: usize,
    /// Of the first few links.
    pub names: Vec<IfName>,
}

impl Unrecorded {
    fn is_empty(&self) -> bool {
        self.switches + self.ports + self.namespaces == 0
    }
}

impl fmt::Display for Unrecorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = [(self.switches, "switch", "switches"), (self.ports, "port", "ports")];
        let counted = counted.into_iter().chain([(self.namespaces, "namespace", "namespaces")]);
        let said: Vec<String> = counted
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, more)| format!("{count} {}", if count == 1 { one } else { more }))
            .collect();
        write!(f, "{}", said.join(", "))?;
        if self.names.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = self.names.iter().map(IfName::as_str).collect();
        write!(f, " ({}", names.join(", "))?;
        match self.switches + self.ports - names.len() {
            0 => write!(f, ")"),
            more => write!(f, " and {more} more)"),
        }
    }
}

/// Refuses a start that would remove what others use because the records of it are lost. Only looks: to be called before
/// anything is prepared, loaded or made.
///
/// [`WithoutRecords::Forget`] is for one start: where there are records it is refused, so that it does not stay in a unit
/// file and decide about a loss that nobody has seen.
pub fn check_state(
    host: &dyn Host,
    store: &dyn Store,
    without_records: WithoutRecords,
) -> Result<(), EngineError> {
    let revision = store.revision().map_err(store_error("read", "the store"))?;
    match (without_records, revision) {
        (WithoutRecords::Forget, Revision::ZERO) => Ok(()),
        (WithoutRecords::Forget, _) => Err(EngineError::NothingToForget),
        (WithoutRecords::Refuse, Revision::ZERO) => {
            let found = look(host)?;
            if found.is_empty() { Ok(()) } else { Err(EngineError::Unrecorded { found }) }
        }
        (WithoutRecords::Refuse, _) => Ok(()),
    }
}

fn look(host: &dyn Host) -> Result<Unrecorded, EngineError> {
    let operation = || "cannot see what the host shows".to_owned();
    let shown = host.observe(&Scope::Everything).map_err(EngineError::host(operation))?;
    Ok(Unrecorded {
        switches: shown.switches.len(),
        ports: shown.ports_in_use().count(),
        namespaces: shown.namespaces.len(),
        names: shown.switches.keys().chain(shown.ports_in_use()).take(NAMES_MAX).cloned().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(switches: usize, ports: usize, names: &[&str]) -> String {
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        Unrecorded { switches, ports, namespaces: 0, names }.to_string()
    }

    #[test]
    fn what_was_found_is_one_phrase() {
        assert_eq!(found(1, 0, &["hns0a1b2c3d"]), "1 switch (hns0a1b2c3d)");
        assert_eq!(
            found(2, 3, &["hns0a1b2c3d", "hns0a1b2c3e"]),
            "2 switches, 3 ports (hns0a1b2c3d, hns0a1b2c3e and 3 more)"
        );
        let held = Unrecorded { namespaces: 2, ..Unrecorded::default() };
        assert_eq!(held.to_string(), "2 namespaces");
    }
}
