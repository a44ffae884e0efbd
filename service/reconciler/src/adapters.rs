//! Networks on external switches and the adapters that they share with the host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hns_datapath::HeldUplink;
use hns_hcn::{self as hcn, DocumentError, ErrorCode};
use hns_model::{ModelError, Network};
use hns_net::{Guid, IfName, Mtu, Uplink};
use hns_planner::{Switch, TunnelDevice, switch_name, tunnels_of, udp_ports_of};

use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// Refuses an adapter that cannot be shared, and packets that are too large for it.
    pub(crate) fn fit_to_adapter(&self, document: &mut hcn::Network) -> Result<(), EngineError> {
        let Some(uplink) = hns_model::uplink_of(document) else { return Ok(()) };
        let operation = || format!("cannot put network \"{}\" on {uplink}", document.name);
        let most = self.host.adapter(&uplink).map_err(EngineError::host(operation))?.mtu;
        match document.params.mtu {
            Some(asked) if asked > most => {
                let problem = format!("{asked} bytes are more than the {most} of adapter {}", uplink.adapter);
                let code = ErrorCode::INVALID_NETWORK;
                let source = DocumentError::new("AdditionalParams.Mtu", problem, code);
                return Err(ModelError::Document { object: "network", source }.into());
            }
            None if most != Mtu::ETHERNET => document.params.mtu = Some(most),
            _ => {}
        }
        Ok(())
    }

    /// Repairs everything when an external switch is joined to its adapter no longer: another program has taken ours off, or the adapter
    /// is another one by now, or has another address. Nothing tells of most of that. `absent` are the adapters that were not there the
    /// last time: one that is back is not kept waiting for what has failed without it.
    pub(crate) fn keep_uplinks(&self, absent: &mut BTreeSet<IfName>) {
        let mut off: BTreeMap<IfName, Uplink> = {
            let world = self.world();
            let on_adapters =
                world.networks().filter_map(|network| Some((network.switch_id(), network.uplink()?)));
            on_adapters.map(|(switch, uplink)| (switch_name(switch), uplink)).collect()
        };
        if off.is_empty() {
            return;
        }
        let held = match self.held_uplinks() {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the adapters are not known");
                return;
            }
        };
        off.retain(|switch, uplink| held.get(switch) != Some(uplink));
        let is_there = |uplink: &&Uplink| self.host.adapter(uplink).is_ok();
        let (there, gone): (Vec<_>, Vec<_>) = off.values().partition(is_there);
        let is_back = there.iter().any(|uplink| absent.contains(&uplink.adapter));
        *absent = gone.into_iter().map(|uplink| uplink.adapter.clone()).collect();
        // A network that is being made is joined in a moment; the repair waits for that, and finds nothing to do.
        if is_back || (!off.is_empty() && !self.repairs.left_something_undone()) {
            self.repair_everything_and_log("a switch is off its adapter");
        }
    }

    /// Repairs everything when an overlay's tunnel is open no longer, which nothing tells of where its program was taken off.
    pub(crate) fn keep_tunnels(&self) {
        let wanted: Vec<Guid> = {
            let world = self.world();
            world.networks().filter(|network| network.tunnel().is_some()).map(Network::id).collect()
        };
        if wanted.is_empty() || self.repairs.left_something_undone() {
            return;
        }
        match self.held_overlays() {
            Ok(held) if wanted.iter().all(|network| held.contains_key(network)) => {}
            Ok(_) => _ = self.repair_everything_and_log("a tunnel is closed"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the tunnels are not known");
            }
        }
    }

    /// Takes over what the host itself has, before an endpoint beside it on a LAN gets an address, or a MAC address: it would take the
    /// host's frames.
    pub(crate) fn look_at_hosts_own(&self, network: Guid) -> Result<(), EngineError> {
        let Some(uplink) = self.world().network(network)?.uplink() else { return Ok(()) };
        // Of one that is gone, what it had: it may come back.
        if let Ok(adapter) = self.host.adapter(&uplink) {
            self.world().set_adapter_mac(uplink.adapter.clone(), adapter.mac);
        }
        self.hosts_own(&uplink).map(drop)
    }

    /// What the host itself has on the LAN of an uplink, for the books as well.
    fn hosts_own(&self, uplink: &Uplink) -> Result<BTreeSet<IpAddr>, EngineError> {
        let operation = || format!("cannot see the host's own addresses on {uplink}");
        let own = self.host.addresses_beside(uplink).map_err(EngineError::host(operation))?;
        self.world().set_hosts_own(uplink.switch_id(), own.clone());
        Ok(own)
    }

    /// Keeps what comes for the host the host's, when it gets an address that a container has already.
    pub(crate) fn follow_hosts_own(&self) {
        let followed = self.datapath_uplinks().and_then(|held| {
            for (port, held) in held {
                let uplink = held.uplink;
                let own = self.hosts_own(&uplink)?;
                if own != held.hosts_own {
                    let operation =
                        || format!("cannot tell the switch on {uplink} of the host's own addresses");
                    let set = self.datapath.set_hosts_own(&port, &own);
                    set.map_err(EngineError::datapath(operation))?;
                }
            }
            Ok(())
        });
        if let Err(error) = followed {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the host's own addresses are not followed"
            );
        }
    }

    /// Whether several networks are on this switch, so that it stays when one of them goes.
    pub(crate) fn is_shared(&self, switch: &IfName) -> bool {
        let world = self.world();
        let on_it = |network: &&Network| switch_name(network.switch_id()) == *switch;
        world.networks().filter(on_it).nth(1).is_some()
    }

    /// Whether several overlays use this device.
    pub(crate) fn is_tunnel_shared(&self, device: TunnelDevice) -> bool {
        self.is_asked_for_twice(|network| tunnels_of(network).any(|one| one == device))
    }

    /// Whether several overlays have their tunnels, or what encrypts them, at this UDP port.
    pub(crate) fn is_udp_port_shared(&self, udp_port: u16) -> bool {
        self.is_asked_for_twice(|network| udp_ports_of(network).any(|one| one == udp_port))
    }

    fn is_asked_for_twice(&self, asks: impl Fn(&Network) -> bool) -> bool {
        self.world().networks().filter(|network| asks(network)).nth(1).is_some()
    }

    pub(crate) fn join_adapter(&self, switch: &IfName, uplink: &Uplink) -> Result<(), EngineError> {
        let Some(port) = Switch::uplink_port(switch) else { return Ok(()) };
        let operation = || format!("cannot join the switch {switch} to {uplink}");
        let own = self.hosts_own(uplink)?;
        self.datapath.set_uplink(&port, uplink, &own).map_err(EngineError::datapath(operation))
    }

    pub(crate) fn leave_adapter(&self, switch: &IfName) -> Result<(), EngineError> {
        let Some(port) = Switch::uplink_port(switch) else { return Ok(()) };
        let operation = || format!("cannot take the switch {switch} off its adapter");
        self.datapath.remove_uplink(&port).map_err(EngineError::datapath(operation))
    }

    /// The switches that are joined to their adapters.
    pub(crate) fn held_uplinks(&self) -> Result<BTreeMap<IfName, Uplink>, EngineError> {
        let held = self.datapath_uplinks()?;
        let switch = |port: &IfName| format!("hns{}", port.as_str().strip_prefix("hnw")?).parse().ok();
        Ok(held.into_iter().filter_map(|(port, held)| Some((switch(&port)?, held.uplink))).collect())
    }

    fn datapath_uplinks(&self) -> Result<BTreeMap<IfName, HeldUplink>, EngineError> {
        let operation = || "cannot see which switches are joined to their adapters".to_owned();
        self.datapath.held_uplinks().map_err(EngineError::datapath(operation))
    }
}
