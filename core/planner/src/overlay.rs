//! From what documents say of an overlay to what the programs of this host know of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hns_hcn::{RemoteSubnetRoute, router_of};
use hns_model::{Neighbour, Network, World};
use hns_net::{Cidr, PublicKey};
use hns_vfp::model::{Encryption, Overlay, Route, longest};

use crate::desired::{Desired, TunnelDevice};

/// Adds what a network asks for beside its switch.
pub(crate) fn add_overlay(desired: &mut Desired, network: &Network, world: &World) {
    desired.tunnels.extend(tunnels_of(network));
    desired.overlays.extend(overlay_of(network, world).map(|overlay| (network.id(), Arc::new(overlay))));
}

/// The devices by which a network comes from other hosts: what of it is encrypted would come in clear by the second.
pub fn tunnels_of(network: &Network) -> impl Iterator<Item = TunnelDevice> {
    let encrypted = network.encryption().is_some();
    let udp_port = network.tunnel().map(|tunnel| tunnel.udp_port);
    let kinds = [true, false].into_iter().filter(move |kind| encrypted || !kind);
    udp_port
        .into_iter()
        .flat_map(move |udp_port| kinds.clone().map(move |encrypted| TunnelDevice { udp_port, encrypted }))
}

/// The UDP ports at which a network comes from other hosts, or what encrypts it.
pub fn udp_ports_of(network: &Network) -> impl Iterator<Item = u16> {
    let tunnel = network.tunnel().map(|tunnel| tunnel.udp_port);
    tunnel.into_iter().chain(network.encryption().map(|(_, udp_port)| udp_port))
}

/// What the programs of this host are to know of an overlay.
#[must_use]
pub fn overlay_of(network: &Network, world: &World) -> Option<Overlay> {
    let tunnel = network.tunnel()?;
    let gateways: Vec<IpAddr> = network.gateways().map(|(_, gateway)| gateway).collect();
    let vni = network.vnis().next()?;
    let encryption = network.encryption();
    // Who has no key is no host of an encrypted network.
    let keys: BTreeMap<IpAddr, PublicKey> =
        network.remote_subnets().filter_map(|remote| Some((remote.provider, remote.public_key?))).collect();
    let inner = |host: IpAddr| match encryption {
        Some(_) => keys.get(&host).map(|key| key.inner_address().into()),
        None => Some(host),
    };
    let route = |remote: &RemoteSubnetRoute| {
        let station = remote.router.unwrap_or_else(|| router_of(remote.provider));
        let vni = remote.vni.unwrap_or(vni);
        Some((remote.destination, Route { provider: inner(remote.provider)?, vni, station, on_link: false }))
    };
    let prefixes: BTreeMap<Cidr, Route> = network.remote_subnets().filter_map(route).collect();
    let mut routes = prefixes.clone();
    // What is in a prefix of another host is reached as that says, by its router.
    let neighbours = network.neighbours(world).filter(|one| longest(&prefixes, one.address).is_none());
    routes.extend(neighbours.filter_map(|neighbour| {
        let Neighbour { address, mac, provider, vni } = neighbour;
        let route = Route { provider: inner(provider)?, vni, station: mac, on_link: true };
        Some((Cidr::host(address), route))
    }));
    Some(Overlay {
        router: tunnel.router,
        provider: encryption.map_or(tunnel.provider, |(key, _)| key.inner_address().into()),
        gateways: gateways.into_iter().collect(),
        vnis: network.vnis().collect(),
        hosted: network.has_host_port(),
        udp_port: tunnel.udp_port,
        // What is encrypted goes by its device alone.
        direct: tunnel.direct && encryption.is_none(),
        encryption: encryption.map(|_| Encryption {
            provider: tunnel.provider,
            peers: keys.iter().map(|(host, key)| (*key, *host)).collect(),
        }),
        routes,
    })
}
