//! What the maps hold, and how it comes there: the tables' writes, and what becomes of those that the kernel does not take.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hns_abi::{Direction, PORT_READS_IN, Reason};
use hns_net::{Guid, IfName};
use hns_vfp::model::{Acl, Devices, Overlay, Place, Port, Sets};
use hns_vfp::tables::{Former, Tables, TablesError, Write};

use crate::load::Loaded;
use crate::maps::{self, Failed};
use crate::snapshot::Programmed;
use crate::{DatapathError, clock, grace, hits};

/// What the maps hold. Locked before [`Attachment`] where both are.
pub(crate) struct Policy {
    pub tables: Tables,
    pub links: BTreeMap<IfName, u32>,
    /// What was programmed, by name. A port whose policy could not be is not among them.
    pub held: BTreeMap<IfName, Arc<Port>>,
    /// The same by the number of the link, and what is closed because its policy could not be.
    programmed: BTreeMap<u32, Arc<Port>>,
    /// The address sets that were programmed, by network.
    pub sets: BTreeMap<Guid, Arc<Sets>>,
    /// Endpoints by the number of their port.
    pub endpoints: BTreeMap<u32, Guid>,
    /// Of all port numbers so far.
    pub highest: u32,
    /// What the tables count on and the kernel has not taken yet.
    unwritten: Vec<Write>,
    /// What was dropped at ports that are gone since.
    pub gone: BTreeMap<(Reason, Direction), u64>,
}

impl Policy {
    /// `earlier`: the ports that an older daemon left, by the number of their links.
    pub fn resume(earlier: &BTreeMap<u32, hns_abi::Port>) -> Self {
        Self {
            tables: Tables::resume(earlier),
            links: BTreeMap::new(),
            held: BTreeMap::new(),
            programmed: BTreeMap::new(),
            sets: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            highest: 0,
            unwritten: Vec::new(),
            gone: BTreeMap::new(),
        }
    }

    /// Makes the maps say what `port` asks. When that cannot be, they say that nothing passes.
    pub fn program(&mut self, loaded: &Loaded, ifindex: u32, port: &Arc<Port>) -> Result<(), DatapathError> {
        let outcome = self.try_program(loaded, ifindex, port);
        let Err(error) = outcome else { return Ok(()) };
        self.close(loaded, ifindex, port)?;
        Err(error)
    }

    fn close(&mut self, loaded: &Loaded, ifindex: u32, port: &Port) -> Result<(), DatapathError> {
        let closed =
            Port { blocked: true, acl: [Acl::open(), Acl::open()], meters: [None; 2], ..port.clone() };
        let writes = self.tables.set_port(ifindex, &closed, clock::now());
        // At once, whatever else is unwritten.
        let outcome = writes.map_err(DatapathError::from).and_then(|writes| self.write(loaded, &writes));
        if outcome.is_err() {
            // Without a record it is closed as well; this needs no room in any map.
            return self.remove(loaded, ifindex);
        }
        self.programmed.insert(ifindex, Arc::new(closed));
        Ok(())
    }

    /// Takes a port out of the maps.
    pub fn remove(&mut self, loaded: &Loaded, ifindex: u32) -> Result<(), DatapathError> {
        let writes = self.forget(ifindex);
        if !self.unwritten.is_empty() {
            // What is still to be written may speak of the port; behind that it goes once more.
            self.unwritten.extend(writes.iter().cloned());
        }
        self.write(loaded, &writes)
    }

    /// Carries out what is still to be written, and then this. Where the maps have no room, rules that were `former` before it make
    /// some: in the maps, too, no record names them.
    fn carry_out(
        &mut self,
        loaded: &Loaded,
        writes: Vec<Write>,
        former: Option<Former>,
    ) -> Result<(), DatapathError> {
        let mut all = std::mem::take(&mut self.unwritten);
        all.extend(writes);
        match (maps::carry_out(loaded, &all), former) {
            (Ok(()), _) => Ok(()),
            (Err(Failed { rest, .. }), Some(former)) => {
                grace::wait();
                // What it does not take of these deletions it takes later.
                let _ = self.release(loaded, former);
                self.write(loaded, &rest)
            }
            (Err(failed), None) => self.put_off(failed),
        }
    }

    fn write(&mut self, loaded: &Loaded, writes: &[Write]) -> Result<(), DatapathError> {
        maps::carry_out(loaded, writes).or_else(|failed| self.put_off(failed))
    }

    /// What the kernel does not take is written later, but for records of ports: those are set again, and until then nothing
    /// may open a port.
    fn put_off(&mut self, Failed { error, rest }: Failed) -> Result<(), DatapathError> {
        self.unwritten.extend(rest.into_iter().filter(|write| !write.sets_a_port()));
        Err(error)
    }

    fn try_program(&mut self, loaded: &Loaded, ifindex: u32, port: &Arc<Port>) -> Result<(), DatapathError> {
        let former = self.tables.former();
        let before = self.tables.record(ifindex).copied();
        let writes = match (self.tables.set_port(ifindex, port, clock::now()), former) {
            (Err(TablesError::NoRoom { .. }), Some(former)) => {
                grace::wait();
                self.release(loaded, former)?;
                self.tables.set_port(ifindex, port, clock::now())
            }
            (outcome, _) => outcome,
        }?;
        if let Some(record) = self.tables.record(ifindex) {
            self.highest = self.highest.max(record.id);
            self.endpoints.insert(record.id, port.endpoint);
            if let Some(before) = before
                && let Err(error) = hits::carry(loaded, &self.tables, &before, record)
            {
                // They begin anew; packets are not concerned.
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "counts of rules were not carried over"
                );
            }
        }
        self.carry_out(loaded, writes, former)?;
        self.programmed.insert(ifindex, Arc::clone(port));
        Ok(())
    }

    /// Makes the maps say which sets a network has. When that cannot be, its ports whose rules name one are closed.
    pub fn program_sets(&mut self, loaded: &Loaded, network: Guid, sets: &Sets) -> Result<(), DatapathError> {
        let outcome = self.try_program_sets(loaded, network, sets);
        let Err(error) = outcome else { return Ok(()) };
        let held = self.held.iter().filter(|(_, port)| port.network == network && port.names_sets());
        let lost: Vec<_> = held.map(|(name, port)| (name.clone(), Arc::clone(port))).collect();
        for (name, port) in lost {
            self.held.remove(&name);
            if let Some(ifindex) = self.links.get(&name).copied() {
                self.close(loaded, ifindex, &port)?;
            }
        }
        Err(error)
    }

    fn try_program_sets(&mut self, loaded: &Loaded, network: Guid, sets: &Sets) -> Result<(), DatapathError> {
        let former = self.tables.former();
        let writes = match (self.tables.set_sets(network, sets), former) {
            (Err(TablesError::NoRoom { .. }), Some(former)) => {
                grace::wait();
                self.release(loaded, former)?;
                self.tables.set_sets(network, sets)
            }
            (outcome, _) => outcome,
        }?;
        self.carry_out(loaded, writes, former)
    }

    /// Makes the maps say where an external switch meets its adapter, and what the host has there itself.
    pub fn set_uplink(
        &mut self,
        loaded: &Loaded,
        switch: Guid,
        place: Place,
        hosts_own: &BTreeSet<IpAddr>,
    ) -> Result<(), DatapathError> {
        let writes = self.tables.set_uplink(switch, place, hosts_own);
        self.write(loaded, &writes)
    }

    pub fn remove_uplink(&mut self, loaded: &Loaded, switch: Guid) -> Result<(), DatapathError> {
        let writes = self.tables.remove_uplink(switch);
        self.write(loaded, &writes)
    }

    /// Makes the maps say what this host knows of an overlay with these VXLAN devices; or what they said before.
    pub fn set_overlay(
        &mut self,
        loaded: &Loaded,
        network: Guid,
        devices: Devices,
        overlay: &Arc<Overlay>,
    ) -> Result<(), DatapathError> {
        // What is still to be written of it comes before.
        self.carry_out(loaded, Vec::new(), None)?;
        let before = self.tables.overlay(network);
        let writes = self.tables.set_overlay(network, devices, overlay);
        let Err(Failed { error, .. }) = maps::carry_out(loaded, &writes) else { return Ok(()) };
        // What was not written is wanted no more.
        let back = match before {
            Some((devices, overlay)) => self.tables.set_overlay(network, devices, &overlay),
            None => self.tables.remove_overlay(network),
        };
        self.write(loaded, &back)?;
        Err(error)
    }

    pub fn remove_overlay(&mut self, loaded: &Loaded, network: Guid) -> Result<(), DatapathError> {
        let writes = self.tables.remove_overlay(network);
        if !self.unwritten.is_empty() {
            // What is still to be written may speak of it; behind that it goes once more.
            self.unwritten.extend(writes.iter().cloned());
        }
        self.write(loaded, &writes)
    }

    /// Takes former rules out of the maps, and frees the slots of former records. To be called once every program that ran when they
    /// were named has ended.
    pub fn release(&mut self, loaded: &Loaded, former: Former) -> Result<(), DatapathError> {
        let writes = self.tables.release(former);
        self.write(loaded, &writes)
    }

    /// The rulesets of each port, by its number.
    pub fn rulesets(&self) -> BTreeMap<u32, [u32; 2]> {
        let records = self.links.values().filter_map(|ifindex| self.tables.record(*ifindex));
        records.map(|record| (record.id, record.ruleset)).collect()
    }

    /// The port whose link has this number.
    pub fn port_at(&self, ifindex: u32) -> Option<&Port> {
        self.programmed.get(&ifindex).map(Arc::as_ref)
    }

    /// All ports with their records.
    pub fn programmed(&self) -> Vec<Programmed> {
        let record = |ifindex: &u32| self.tables.record(*ifindex).copied();
        let ports = self.programmed.iter();
        ports
            .filter_map(|(ifindex, port)| {
                Some(Programmed { ifindex: *ifindex, port: Arc::clone(port), record: record(ifindex)? })
            })
            .collect()
    }

    /// Whether the port asks anything of what comes to it. One without a record lets nothing in.
    pub fn reads_in(&self, ifindex: u32) -> bool {
        self.tables.record(ifindex).is_none_or(|record| record.flags & PORT_READS_IN != 0)
    }

    fn forget(&mut self, ifindex: u32) -> Vec<Write> {
        if let Some(record) = self.tables.record(ifindex) {
            self.endpoints.remove(&record.id);
        }
        self.programmed.remove(&ifindex);
        self.tables.remove_port(ifindex)
    }
}
