//! Where the tunnels of overlays end on this host, and how large packets are in them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hns_hcn::{self as hcn, DocumentError, ErrorCode, NetworkType, Policy};
use hns_host::{HostError, Underlay, UnderlayWish};
use hns_model::{ModelError, provider_of};
use hns_net::{Family, Guid, Mtu};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::repair::chain;

/// What VXLAN puts in front of a container's packet: an outer IP header, UDP and VXLAN headers, the inner Ethernet header (RFC 7348).
const fn overhead(outer: Family) -> u16 {
    match outer {
        Family::V4 => 20 + 8 + 8 + 14,
        Family::V6 => 40 + 8 + 8 + 14,
    }
}

/// What tunnels take of the bytes that the way carries, and what they leave.
fn shares(underlay: Underlay) -> (u16, u16) {
    let outer = overhead(Family::of(underlay.address));
    (outer, underlay.mtu.bytes().saturating_sub(outer))
}

impl Engine {
    /// Chooses the address at which the tunnels of an overlay end, and how large its packets are; refuses what does not fit.
    pub(crate) fn fit_to_underlay(&self, document: &mut hcn::Network) -> Result<(), EngineError> {
        if document.kind != NetworkType::Overlay {
            return Ok(());
        }
        let said = provider_of(document);
        let wish = said.map_or_else(|| wish_of(document), UnderlayWish::Address);
        let name = document.name.clone();
        let operation = || format!("cannot choose where the tunnels of network \"{name}\" end");
        let underlay = self.host.underlay(&wish).map_err(EngineError::host(operation))?;
        if said.is_none() {
            document.policies.push(Policy::provider(underlay.address));
        }
        fit(document, underlay)
    }

    /// Why other hosts of an overlay and this one do not reach each other, as far as this host shows it.
    pub(crate) fn trouble_with_underlay(&self, network: Guid) -> Option<String> {
        let (tunnel, mtu, peers) = {
            let world = self.world();
            let network = world.network(network).ok()?;
            let peers: BTreeSet<IpAddr> = network.remote_subnets().map(|route| route.provider).collect();
            (network.tunnel()?, network.mtu(), peers)
        };
        let provider = tunnel.provider;
        let underlay = match self.host.underlay(&UnderlayWish::Address(provider)) {
            Ok(underlay) => underlay,
            Err(HostError::NotOurAddress { .. }) => {
                return Some(format!(
                    "its tunnels end at {provider}, which this host does not have any more, so that nothing comes from other hosts; give \
                     it back to the host, or make the network again with another one (and tell its peers)"
                ));
            }
            Err(error) => return Some(chain(&error)),
        };
        let (outer, most) = shares(underlay);
        if most < mtu.bytes() {
            return Some(format!(
                "the way to other hosts carries {} bytes, of which tunnels take {outer}, and containers send up to {mtu}: what is larger is \
                 lost; raise the MTU there, or make the network again",
                underlay.mtu
            ));
        }
        let is_cut_off = |peer: &&IpAddr| {
            matches!(self.host.underlay(&UnderlayWish::WayTo(**peer)), Err(HostError::NoWay { .. }))
        };
        let peer = peers.iter().find(is_cut_off)?;
        Some(format!(
            "this host knows no way to its peer {peer}: a route to it is missing (ip route get {peer})"
        ))
    }
}

/// Where the document does not say it.
fn wish_of(document: &hcn::Network) -> UnderlayWish {
    let adapter = document.policies.iter().find_map(Policy::as_adapter);
    let peer = document.policies.iter().find_map(Policy::as_remote_subnet).map(|route| route.provider);
    match (adapter, peer) {
        (Some(adapter), _) => UnderlayWish::Adapter(adapter.clone()),
        (None, Some(peer)) => UnderlayWish::WayTo(peer),
        (None, None) => UnderlayWish::WayOut,
    }
}

fn fit(document: &mut hcn::Network, underlay: Underlay) -> Result<(), EngineError> {
    let (outer, most) = shares(underlay);
    let refuse = |field: &str, problem: String| {
        let source = DocumentError::new(field, problem, ErrorCode::INVALID_NETWORK);
        Err(ModelError::Document { object: "network", source }.into())
    };
    let Ok(most) = Mtu::new(most.into()) else {
        let problem =
            format!("the way to other hosts carries {} bytes, of which tunnels take {outer}", underlay.mtu);
        return refuse("Policies", problem);
    };
    match document.params.mtu {
        Some(asked) if asked > most => refuse(
            "AdditionalParams.Mtu",
            format!("{asked} bytes are more than the {most} that {} and a tunnel leave", underlay.mtu),
        ),
        Some(_) => Ok(()),
        None => {
            document.params.mtu = Some(most);
            Ok(())
        }
    }
}
