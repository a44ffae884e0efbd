use std::net::IpAddr;

use hns_hcn::{Encryption, Policy, RemoteSubnetRoute};
use hns_net::{Cidr, Vni};

/// What `docker network create` says of an overlay beside its subnets. Windows leaves the other hosts to swarm.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct OverlayOptions {
    /// One for all subnets, or one for each in their order; empty: what follows from the network's name.
    pub vnis: Vec<Vni>,
    /// What other hosts have of it.
    pub peers: Vec<RemoteSubnetRoute>,
    /// Where tunnels end on this host.
    pub provider: Option<IpAddr>,
    pub udp_port: Option<u16>,
    /// The host is on it, which leads out of it and publishes ports.
    pub host_route: bool,
    /// What goes from host to host is encrypted.
    pub encrypted: bool,
}

impl OverlayOptions {
    pub fn policies(&self) -> Vec<Policy> {
        let provider = self.provider.map(Policy::provider);
        let port = self.udp_port.map(Policy::vxlan_port);
        let peers = self.peers.iter().copied().map(Policy::remote_subnet);
        let host = self.host_route.then(Policy::host_route);
        let encryption = self.encrypted.then(|| Policy::encryption(Encryption::default()));
        provider.into_iter().chain(port).chain(host).chain(encryption).chain(peers).collect()
    }

    /// Whether there is a number for every subnet, or one for all of them.
    pub const fn has_vnis_for(&self, subnets: usize) -> bool {
        self.vnis.len() <= 1 || self.vnis.len() == subnets
    }

    /// The policies of the subnet at this place.
    pub fn of_subnet(&self, place: usize) -> Vec<Policy> {
        let vni = self.vnis.get(place).or_else(|| self.vnis.first());
        vni.copied().map(Policy::vsid).into_iter().collect()
    }

    /// Peers are sent to under the number of the subnet of their family, unless they say another.
    pub fn number_peers(&mut self, subnets: impl Iterator<Item = Cidr> + Clone) {
        for peer in &mut self.peers {
            let family = peer.destination.family();
            let place = subnets.clone().position(|subnet| subnet.family() == family).unwrap_or_default();
            peer.vni = peer.vni.or_else(|| self.vnis.get(place).or_else(|| self.vnis.first()).copied());
        }
    }
}
