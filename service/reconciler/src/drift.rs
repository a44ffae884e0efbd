//! Noticing that somebody else changed what is ours, and putting it back within a second.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hns_host::{HostEvent, Next, Watch};
use hns_net::IfName;

use crate::engine::Engine;
use crate::error::EngineError;

/// How long events gather: one deed of somebody else's (`nft flush ruleset`, a deleted bridge with its
/// ports) makes many.
const GATHER: Duration = Duration::from_millis(30);

/// How long they gather at most, when others go on and on (an engine that builds its chains).
const GATHER_MAX: Duration = Duration::from_millis(300);

/// How many gather at most before something is done about them.
const GATHERED_MAX: usize = 2048;

impl Engine {
    pub(crate) fn watch(self: &Arc<Self>) -> Result<(), EngineError> {
        let operation = || "cannot watch the host".to_owned();
        let watch = self.host.watch().map_err(EngineError::host(operation))?;
        let engine = Arc::downgrade(self);
        std::thread::Builder::new()
            .name("hns-watch".to_owned())
            .spawn(move || follow(&engine, &watch))
            .map_err(|source| EngineError::Host {
                operation: operation(),
                source: hns_host::HostError::Thread { name: "hns-watch", source },
            })?;
        Ok(())
    }
}

fn follow(engine: &Weak<Engine>, watch: &Watch) {
    let mut drift = Drift::default();
    loop {
        let next = if drift.is_empty() {
            watch.next_event().map_or(Next::End, Next::Event)
        } else {
            watch.next_within(GATHER)
        };
        let Some(engine) = engine.upgrade() else { return };
        match next {
            Next::Event(event) => {
                drift.add(event, &engine);
                if !drift.is_empty() {
                    drift.since.get_or_insert_with(Instant::now);
                }
                if !drift.is_ripe() {
                    continue;
                }
            }
            Next::Nothing => {}
            Next::End => return,
        }
        drift = std::mem::take(&mut drift).repair(&engine);
    }
}

/// What may have to be repaired.
#[derive(Default)]
struct Drift {
    everything: Option<&'static str>,
    ports: BTreeSet<IfName>,
    host_firewall: bool,
    ways_out: bool,
    bridges: bool,
    hosts_own: bool,
    /// When the first of it was told.
    since: Option<Instant>,
}

impl Drift {
    fn is_empty(&self) -> bool {
        let follows = self.host_firewall || self.ways_out || self.bridges || self.hosts_own;
        self.everything.is_none() && self.ports.is_empty() && !follows
    }

    fn is_ripe(&self) -> bool {
        self.ports.len() >= GATHERED_MAX || self.since.is_some_and(|since| since.elapsed() > GATHER_MAX)
    }

    fn add(&mut self, event: HostEvent, engine: &Engine) {
        match event {
            HostEvent::PortGone(name) | HostEvent::PortChanged(name) | HostEvent::FilterChanged(name) => {
                self.ports.insert(name);
            }
            HostEvent::FiltersChanged => {
                self.everything = Some("another program changed our filters");
            }
            HostEvent::SwitchGone(name) if engine.has_switch(&name) => {
                self.everything = Some("a switch is gone");
            }
            HostEvent::SwitchChanged(name) if engine.has_switch(&name) => {
                self.everything = Some("a switch was changed");
            }
            HostEvent::SwitchGone(_) | HostEvent::SwitchChanged(_) => {}
            HostEvent::TunnelChanged => self.everything = Some("a tunnel was changed"),
            HostEvent::RulesChanged => self.everything = Some("another program changed our table"),
            HostEvent::HostFirewallChanged => self.host_firewall = true,
            HostEvent::WaysOutChanged => self.ways_out = true,
            HostEvent::BridgesChanged => self.bridges = true,
            HostEvent::HostsOwnChanged => self.hosts_own = true,
            HostEvent::Overrun => self.everything = Some("events were lost"),
            HostEvent::RoutesChanged(prefix) => {
                for (network, ours) in engine.world().networks_overlapping(prefix) {
                    // IPAM-7: nothing is changed under the containers; the operator is told.
                    tracing::warn!(
                        network = network.name(), prefix = %ours, route = %prefix,
                        "the host has a new route that overlaps this network",
                    );
                }
            }
        }
    }

    /// What is left to do is done after the next gathering.
    fn repair(self, engine: &Engine) -> Self {
        if self.hosts_own {
            // Before anything that takes longer: until then it is a container that gets what is for the host.
            engine.follow_hosts_own();
        }
        let cause =
            || (self.bridges && engine.is_behind_bridges()).then_some("another bridge leads to a LAN");
        let followed = if let Some(cause) = self.everything.or_else(cause) {
            engine.repair_everything_and_log(cause)
        } else {
            self.ports.iter().for_each(|port| engine.repair_port(port));
            if self.ways_out {
                engine.follow_ways_out();
            }
            !self.host_firewall || engine.follow_host_firewall()
        };
        Self { host_firewall: !followed, ..Self::default() }
    }
}
