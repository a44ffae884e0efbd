//! Whether the LAN behind an adapter serves the containers that are on it.
//!
//! Most clouds, and switches with port security, let a host's adapter use one MAC address: containers with their own send and hear
//! nothing back, and nobody says so. So their router is asked in the name of a container; when it does not answer, and answers the
//! host, something between them lets the host alone through. Where all that containers send is to come back from the wire, a frame of the
//! host's is sent to see whether it does.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Weak;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use hns_host::{Asker, HostError, Question};
use hns_model::{Network, World};
use hns_net::{Family, Guid, IfAddr, Mac, Uplink, UplinkMode};

use crate::engine::Engine;
use crate::repair::chain;

/// A LAN that did not serve is asked again so soon; others, after a while.
const AGAIN: Duration = Duration::from_secs(5);
const ROUNDS_PER_LOOK: u32 = 12;

/// One question gets lost: a router that has just come up learns its own neighbours first.
const TRIES: usize = 3;

/// What an operator can do about a LAN that hears the adapter alone.
const WAYS_OUT: &str = "let further MAC addresses through there (Hyper-V: MAC address spoofing; VMware: forged \
     transmits and promiscuous mode; a switch: its port security), or use a network of the type L2Bridge, which needs none";

/// Where what containers send is to come back from the wire, and does not.
const NOT_REFLECTED: &str = "does not send back what comes from here, so that containers of this host do not reach each other nor the      host; turn reflective relay (IEEE 802.1Qbg, VEPA) on there (a Linux bridge: bridge link set dev PORT hairpin on), or use a network      of the type L2Bridge, which needs none";

/// Asks for every network that endpoints come to, and again from time to time, for as long as there is an engine.
pub(crate) fn watch(engine: &Weak<Engine>, joined: &Receiver<Guid>) {
    let mut round = 0;
    loop {
        let first = joined.recv_timeout(AGAIN);
        let Some(engine) = engine.upgrade() else { return };
        let due: BTreeSet<Guid> = match first {
            Ok(network) => std::iter::once(network).chain(joined.try_iter()).collect(),
            Err(RecvTimeoutError::Timeout) => {
                round = (round + 1) % ROUNDS_PER_LOOK;
                let world = engine.world();
                let due = |network: &&Network| round == 0 || network.trouble().is_some();
                world.networks().filter(due).map(Network::id).collect()
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        for network in engine.overlays() {
            engine.set_lan_trouble(network, engine.trouble_with_underlay(network));
        }
        for (network, uplink) in engine.networks_on_adapters() {
            let at_adapter = engine.trouble_with_adapter(network, &uplink);
            let trouble = at_adapter.or_else(|| engine.trouble_with_host(network));
            if trouble.is_some() {
                engine.set_lan_trouble(network, trouble);
            } else if due.contains(&network) {
                engine.ask_lan_of(network);
            }
        }
    }
}

/// Who asks for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Probe {
    uplink: Uplink,
    endpoint: Guid,
    station: Mac,
    address: IpAddr,
    router: IpAddr,
}

impl Probe {
    /// By the endpoint that came last. Nothing where nobody is there to ask, or to be asked.
    fn of(world: &World, network: Guid) -> Option<Self> {
        let network = world.network(network).ok()?;
        // Where all bear the adapter's MAC address nothing tells them from the host.
        let uplink = network.uplink().filter(|uplink| !uplink.mode.has_one_mac())?;
        let attached = network.endpoints().filter_map(|id| world.endpoint(id).ok());
        let endpoint = attached
            .filter(|endpoint| endpoint.is_settled() && endpoint.attachment().is_some())
            .max_by_key(|endpoint| endpoint.order())?;
        let station = endpoint.mac()?;
        let (address, router) = endpoint.addresses().map(IfAddr::address).find_map(|address| {
            let same_family = |router: &IpAddr| Family::of(*router) == Family::of(address);
            Some((address, network.gateways().map(|(_, router)| router).find(same_family)?))
        })?;
        Some(Self { uplink, endpoint: endpoint.id(), station, address, router })
    }

    fn question(&self, asker: Asker) -> Question {
        Question { uplink: self.uplink.clone(), asker, of: self.router }
    }

    fn trouble(&self) -> String {
        let (router, uplink) = (self.router, &self.uplink);
        format!(
            "{router} on {uplink} answers the host and not its containers, so something on the way lets the MAC address of the \
             adapter alone through; {WAYS_OUT}"
        )
    }
}

impl Engine {
    fn overlays(&self) -> Vec<Guid> {
        let world = self.world();
        world.networks().filter(|network| network.tunnel().is_some()).map(Network::id).collect()
    }

    fn networks_on_adapters(&self) -> Vec<(Guid, Uplink)> {
        self.world().networks().filter_map(|network| Some((network.id(), network.uplink()?))).collect()
    }

    /// Why the adapter does not serve this network, if it can be seen at the adapter itself.
    fn trouble_with_adapter(&self, network: Guid, uplink: &Uplink) -> Option<String> {
        let adapter = match self.host.adapter(uplink) {
            Ok(adapter) => adapter,
            Err(error) => return Some(chain(&error)),
        };
        let asked = self.world().network(network).ok()?.mtu();
        (asked > adapter.mtu).then(|| {
            let (name, most) = (&uplink.adapter, adapter.mtu);
            format!(
                "adapter {name} carries {most} bytes, and containers send up to {asked}: what is larger is lost; \
                 raise the MTU of {name}, or make the network with AdditionalParams.Mtu {most}"
            )
        })
    }

    /// Which endpoint has an address that the host has come to have since.
    fn trouble_with_host(&self, network: Guid) -> Option<String> {
        let world = self.world();
        let own = world.hosts_own_on(network).ok()?;
        let endpoints = world.network(network).ok()?.endpoints().filter_map(|id| world.endpoint(id).ok());
        let mut held =
            endpoints.flat_map(|endpoint| endpoint.addresses().map(move |held| (endpoint, held.address())));
        let (endpoint, address) = held.find(|(_, address)| own.contains(address))?;
        let endpoint = world.describe_endpoint(endpoint.id());
        Some(format!(
            "the host has {address} as well, the address of {endpoint}: what comes for it is for the host; give one of both \
             another address"
        ))
    }

    /// Says it in the network's health, and once in the log.
    fn set_lan_trouble(&self, network: Guid, trouble: Option<String>) {
        let mut world = self.world();
        let Ok(known) = world.network(network) else { return };
        if known.trouble() == trouble.as_deref() {
            return;
        }
        match &trouble {
            Some(trouble) => tracing::warn!(network = known.name(), "{trouble}"),
            None => tracing::info!(network = known.name(), "its containers are served again"),
        }
        let _still_there = world.set_network_trouble(network, trouble);
    }

    /// Asks the LAN of a network, and says in its health what came of it.
    fn ask_lan_of(&self, network: Guid) {
        let reflected =
            |network: &Network| network.uplink().filter(|uplink| uplink.mode == UplinkMode::Reflected);
        let uplink = self.world().network(network).ok().and_then(reflected);
        if let Some(uplink) = uplink {
            return self.ask_for_reflection(network, &uplink);
        }
        let Some(probe) = Probe::of(&self.world(), network) else {
            // Without containers nobody suffers.
            return self.set_lan_trouble(network, None);
        };
        match self.is_served(&probe) {
            // A container that has gone meanwhile heard nothing for another reason.
            Ok(_) if Probe::of(&self.world(), network).as_ref() != Some(&probe) => {}
            Ok(Some(true)) => self.set_lan_trouble(network, None),
            Ok(Some(false)) => self.set_lan_trouble(network, Some(probe.trouble())),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a LAN was not asked");
            }
        }
    }

    /// Asks whether the wire sends back what comes from here. Without containers nobody suffers.
    fn ask_for_reflection(&self, network: Guid, uplink: &Uplink) {
        let has_containers = || {
            let world = self.world();
            let mut endpoints = world.network(network).into_iter().flat_map(Network::endpoints);
            endpoints.any(|id| world.endpoint(id).is_ok_and(|endpoint| endpoint.attachment().is_some()))
        };
        if !has_containers() {
            return self.set_lan_trouble(network, None);
        }
        let mut tries = (0..TRIES).map(|_| self.host.is_reflected(uplink));
        match tries.find(|outcome| !matches!(outcome, Ok(false))) {
            Some(Ok(_)) => self.set_lan_trouble(network, None),
            Some(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a LAN was not asked");
            }
            None if has_containers() => {
                let trouble = format!("what {uplink} leads to {NOT_REFLECTED}");
                self.set_lan_trouble(network, Some(trouble));
            }
            None => {}
        }
    }

    /// Whether the router answers a container; nothing is known when it does not answer the host either.
    fn is_served(&self, probe: &Probe) -> Result<Option<bool>, HostError> {
        let as_container = probe.question(Asker::Station(probe.station, probe.address));
        if self.is_answered(&as_container)? {
            return Ok(Some(true));
        }
        Ok(self.is_answered(&probe.question(Asker::Host))?.then_some(false))
    }

    fn is_answered(&self, question: &Question) -> Result<bool, HostError> {
        for _ in 0..TRIES {
            if self.host.is_answered(question)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
