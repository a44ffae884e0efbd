//! From what documents say of an overlay to what the programs of this host know of it.

use std::net::IpAddr;
use std::sync::Arc;

use hns_hcn::{RemoteSubnetRoute, router_of};
use hns_model::Network;
use hns_vfp::model::{Encryption, Overlay, Route};

use crate::desired::{Desired, TunnelDevice};

/// Adds what a network asks for beside its switch.
pub(crate) fn add_overlay(desired: &mut Desired, network: &Network) {
    let Some(overlay) = overlay_of(network) else { return };
    desired.tunnels.insert(TunnelDevice::of(&overlay));
    desired.tunnels.extend(TunnelDevice::refused_by(&overlay));
    desired.overlays.insert(network.id(), Arc::new(overlay));
}

fn overlay_of(network: &Network) -> Option<Overlay> {
    let tunnel = network.tunnel()?;
    let gateways: Vec<IpAddr> = network.gateways().map(|(_, gateway)| gateway).collect();
    let vni = network.vnis().next()?;
    let encryption = network.encryption();
    // Who has no key is no host of an encrypted network.
    let provider = |remote: &RemoteSubnetRoute| match encryption {
        Some(_) => remote.public_key.map(|key| key.inner_address().into()),
        None => Some(remote.provider),
    };
    let route = |remote: &RemoteSubnetRoute| {
        let station = remote.router.unwrap_or_else(|| router_of(remote.provider));
        let vni = remote.vni.unwrap_or(vni);
        Some((remote.destination, Route { provider: provider(remote)?, vni, station, on_link: false }))
    };
    let keys = network.remote_subnets().filter_map(|remote| Some((remote.public_key?, remote.provider)));
    Some(Overlay {
        router: tunnel.router,
        provider: encryption.map_or(tunnel.provider, |(key, _)| key.inner_address().into()),
        gateways: gateways.into_iter().collect(),
        vnis: network.vnis().collect(),
        hosted: network.has_host_port(),
        udp_port: tunnel.udp_port,
        // What is encrypted goes by its device alone.
        direct: tunnel.direct && encryption.is_none(),
        encryption: encryption.map(|_| Encryption { provider: tunnel.provider, peers: keys.collect() }),
        routes: network.remote_subnets().filter_map(route).collect(),
    })
}
