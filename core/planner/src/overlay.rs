//! From what documents say of an overlay to what the programs of this host know of it.

use std::net::IpAddr;
use std::sync::Arc;

use hns_hcn::{RemoteSubnetRoute, router_of};
use hns_model::Network;
use hns_vfp::model::{Overlay, Route};

use crate::desired::Desired;

/// Adds what a network asks for beside its switch.
pub(crate) fn add_overlay(desired: &mut Desired, network: &Network) {
    let Some(overlay) = overlay_of(network) else { return };
    desired.tunnels.insert(overlay.udp_port);
    desired.overlays.insert(network.id(), Arc::new(overlay));
}

fn overlay_of(network: &Network) -> Option<Overlay> {
    let tunnel = network.tunnel()?;
    let gateways: Vec<IpAddr> = network.gateways().map(|(_, gateway)| gateway).collect();
    let vni = network.vnis().next()?;
    let route = |remote: &RemoteSubnetRoute| {
        let router = remote.router.unwrap_or_else(|| router_of(remote.provider));
        (remote.destination, Route { provider: remote.provider, vni: remote.vni.unwrap_or(vni), router })
    };
    Some(Overlay {
        router: tunnel.router,
        provider: tunnel.provider,
        gateways: gateways.into_iter().collect(),
        vnis: network.vnis().collect(),
        hosted: network.has_host_port(),
        udp_port: tunnel.udp_port,
        direct: tunnel.direct,
        routes: network.remote_subnets().map(route).collect(),
    })
}
