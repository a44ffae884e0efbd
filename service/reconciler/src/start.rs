//! From the records to a host that shows what they ask for.

use std::sync::{Arc, PoisonError};

use hns_datapath::Datapath;
use hns_hcn::{self as hcn, EndpointFlags};
use hns_host::{Host, Settings};
use hns_model::{Attachment, NamespaceOrigin, Seat};
use hns_net::{Family, Guid};
use hns_planner::Target;
use hns_resolver::Resolver;
use hns_store::{Durability, Record, Store, Txn};
use hns_wireguard::Wireguard;

use crate::engine::{DefaultNetwork, Engine, EngineSettings, store_error};
use crate::error::EngineError;
use crate::records::{self, Reader};

impl Engine {
    /// Reads the records, repairs the host, makes the default network on the first start, and begins to
    /// watch. Traffic that flows goes on flowing: what is right is not touched (LIFE-1).
    pub fn start(
        host: Arc<dyn Host>,
        datapath: Arc<dyn Datapath>,
        resolver: Arc<dyn Resolver>,
        wireguard: Arc<dyn Wireguard>,
        store: Arc<dyn Store>,
        settings: EngineSettings,
    ) -> Result<Arc<Self>, EngineError> {
        let prepare = Settings { bridge_netfilter: settings.bridge_netfilter };
        let operation = || "cannot prepare the host".to_owned();
        host.prepare(&prepare).map_err(EngineError::host(operation))?;
        let engine = Arc::new(Self::new(host, datapath, resolver, wireguard, store, settings)?);
        engine.restore()?;
        // Watching begins before looking, so that nothing changes unseen in between.
        engine.watch()?;
        engine.repair_everything()?;
        engine.upgrade_datapath()?;
        let threads = engine.background.start(&engine);
        threads.map_err(|source| EngineError::Host {
            operation: "cannot start the threads that work behind the requests".to_owned(),
            source: hns_host::HostError::Thread { name: "hns-reaper", source },
        })?;
        engine.make_default_network()?;
        Ok(engine)
    }

    /// Fills the world from the records, and drops what did not survive: after a reboot endpoints and
    /// namespaces that are no longer there (LIFE-6), and non-persistent networks that carry nothing.
    fn restore(&self) -> Result<(), EngineError> {
        let rebooted = self.has_rebooted()?;
        for record in self.records(records::NETWORKS)? {
            let mut document = Reader::new(&record.key, &record.value)?.network()?;
            self.restore_key(&mut document);
            if rebooted && document.flags.has(hcn::NetworkFlags::NON_PERSISTENT) {
                self.drop_record(&record)?;
            } else {
                self.world().restore_network(document);
            }
        }
        for record in self.records(records::NAMESPACES)? {
            self.restore_namespace(&record, rebooted)?;
        }
        for record in self.records(records::LEASES)? {
            self.restore_leases(&record)?;
        }
        for record in self.records(records::ENDPOINTS)? {
            self.restore_endpoint(&record, rebooted)?;
        }
        self.drop_idle_networks()?;
        let namespaces: Vec<Guid> = self.world().namespaces().map(hns_model::Namespace::id).collect();
        // Nobody else is here yet.
        namespaces.into_iter().for_each(|id| self.release_lent_held(id));
        let boot = self.settings.boot_id.clone().into_bytes();
        self.commit(Txn::new(Durability::Process).put(records::BOOT, boot), "this boot")?;
        Ok(())
    }

    fn records(&self, prefix: &'static str) -> Result<Vec<Record>, EngineError> {
        self.store.list(prefix).map_err(store_error("list", prefix))
    }

    fn has_rebooted(&self) -> Result<bool, EngineError> {
        let record = self.store.get(records::BOOT).map_err(store_error("read", "the last boot"))?;
        Ok(record.is_some_and(|record| record.value != self.settings.boot_id.as_bytes()))
    }

    fn drop_record(&self, record: &Record) -> Result<(), EngineError> {
        tracing::info!(record = record.key, "dropped: it did not survive the restart");
        self.commit(Txn::new(Durability::Process).delete(&record.key), &record.key)?;
        Ok(())
    }

    fn restore_namespace(&self, record: &Record, rebooted: bool) -> Result<(), EngineError> {
        let read = Reader::new(&record.key, &record.value)?.namespace()?;
        let Some(id) = read.document.id else { return self.drop_record(record) };
        let mut identity = read.identity;
        if rebooted && read.origin != NamespaceOrigin::Host {
            // Ours went with the kernel. A named one may have been made anew by whoever gave it to us; a
            // process id means nothing in another boot.
            let named = read.document.params.pid.is_none();
            let path = read.document.params.path.clone().filter(|_| named);
            let again = path.and_then(|path| self.host.identify(&Target::Path(path)).ok());
            if read.origin == NamespaceOrigin::Ours || again.is_none() {
                return self.drop_record(record);
            }
            identity = again;
        }
        if let Some(identity) = identity {
            self.identities.lock().unwrap_or_else(PoisonError::into_inner).insert(id, identity);
        }
        self.world().restore_namespace(read.document, read.origin);
        Ok(())
    }

    fn restore_endpoint(&self, record: &Record, rebooted: bool) -> Result<(), EngineError> {
        let read = Reader::new(&record.key, &record.value)?.endpoint()?;
        let network_is_there =
            read.document.network.is_some_and(|network| self.world().network(network).is_ok());
        let seat_is_there = |attachment: &Attachment| match attachment.seat {
            Seat::Namespace { id, .. } => self.world().namespace(id).is_ok(),
            // An engine makes its sandboxes anew after a reboot, with endpoints of their own.
            Seat::Sandbox(_) => !rebooted,
        };
        let attachment = read.attachment.filter(seat_is_there);
        // What is on another host did not boot with this one.
        let is_remote = read.document.flags.has(EndpointFlags::REMOTE);
        if !network_is_there || (rebooted && attachment.is_none() && !is_remote) {
            return self.drop_record(record);
        }
        let mut document = read.document;
        let mut leases = read.leases;
        // They go with their attachment, and nobody knows how long a boot took. Whoever gave them ends them by himself.
        if attachment.is_none() || rebooted {
            leases.drain(..).rev().for_each(|lease| lease.withdraw(&mut document));
        }
        let restored = self.world().restore_endpoint(document, attachment, read.attachments, leases);
        if let Err(error) = restored {
            tracing::error!(record = record.key, error = &error as &dyn std::error::Error, "dropped");
            return self.drop_record(record);
        }
        Ok(())
    }

    /// A non-persistent network outlives a restart of the service only for the containers on it.
    fn drop_idle_networks(&self) -> Result<(), EngineError> {
        let idle: Vec<Guid> = {
            let world = self.world();
            let is_idle = |network: &&hns_model::Network| {
                let attached = |id| world.endpoint(id).is_ok_and(|endpoint| endpoint.attachment().is_some());
                !network.is_persistent() && !network.endpoints().any(attached)
            };
            world.networks().filter(is_idle).map(hns_model::Network::id).collect()
        };
        for id in idle {
            let mut txn = Txn::new(Durability::Power).delete(records::key(records::NETWORKS, id));
            let members: Vec<Guid> = self.world().network(id)?.endpoints().collect();
            for endpoint in members {
                txn = txn.delete(records::key(records::ENDPOINTS, endpoint));
                self.world().forget_endpoint(endpoint)?;
            }
            self.commit(txn, format!("network {id}"))?;
            self.world().forget_network(id)?;
        }
        Ok(())
    }

    /// The network `nat` (NAT-2), once in the life of a state directory: whoever deletes it means it.
    fn make_default_network(&self) -> Result<(), EngineError> {
        let DefaultNetwork::Made(prefixes) = &self.settings.default_network else { return Ok(()) };
        let done = self.store.get(records::INITIALISED).map_err(store_error("read", "the first start"))?;
        if done.is_some() {
            return Ok(());
        }
        let taken = self.world().networks().any(|network| network.name() == "nat");
        if !taken {
            let document = default_network(prefixes);
            let made = self.create_network(document)?;
            let prefixes: Vec<_> =
                made.subnets().filter_map(|subnet| subnet.prefix).map(|prefix| prefix.to_string()).collect();
            tracing::info!(prefixes = prefixes.join(", "), "made the default network nat");
        }
        self.commit(Txn::new(Durability::Power).put(records::INITIALISED, b"1".to_vec()), "the first start")?;
        Ok(())
    }
}

fn default_network(prefixes: &[hns_net::Cidr]) -> hcn::Network {
    let subnets: Vec<_> = prefixes.iter().map(|prefix| hcn::Subnet::of_prefix(Some(*prefix))).collect();
    let has_v4 = prefixes.iter().any(|prefix| prefix.family() == Family::V4);
    hcn::Network {
        id: None,
        name: "nat".to_owned(),
        owner: Some("hns".to_owned()),
        kind: hcn::NetworkType::Nat,
        flags: hcn::NetworkFlags::default(),
        policies: Vec::new(),
        mac_pool: Vec::new(),
        dns: hcn::Dns::default(),
        ipams: vec![hcn::Ipam { kind: hcn::IpamType::Static, subnets }],
        params: hcn::NetworkParams {
            enable_v4: prefixes.is_empty().then_some(true).or(has_v4.then_some(true)),
            ..hcn::NetworkParams::default()
        },
    }
}
