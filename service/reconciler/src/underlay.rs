//! Where the tunnels of overlays end on this host, and how large packets are in them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hns_hcn::{self as hcn, DocumentError, Encryption, ErrorCode, NetworkType, Policy, RemoteSubnetRoute};
use hns_host::{HostError, Underlay, UnderlayWish};
use hns_model::{ModelError, encryption_of, provider_of};
use hns_net::{Family, Guid, Mtu};
use hns_wireguard::Session;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::repair::chain;

/// For so long a peer is waited for that agrees on no keys.
const PATIENCE: Duration = Duration::from_secs(10);

/// What VXLAN puts in front of a container's packet: an outer IP header, UDP and VXLAN headers, the inner Ethernet header (RFC 7348).
const fn overhead(outer: Family) -> u16 {
    match outer {
        Family::V4 => 20 + 8 + 8 + 14,
        Family::V6 => 40 + 8 + 8 + 14,
    }
}

/// What WireGuard puts in front of a packet, and behind it: an outer IP header, UDP and its own headers, and the tag that authenticates
/// it (WireGuard, section 5.4.6). Inside of it tunnels are those of IPv6.
const fn encryption_overhead(outer: Family) -> u16 {
    let ip = match outer {
        Family::V4 => 20,
        Family::V6 => 40,
    };
    ip + 8 + 16 + 16 + overhead(Family::V6)
}

/// What tunnels take of the bytes that the way carries, and what they leave.
fn shares(underlay: Underlay, encrypted: bool) -> (u16, u16) {
    let family = Family::of(underlay.address);
    let outer = if encrypted { encryption_overhead(family) } else { overhead(family) };
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
        fit(document, underlay)?;
        let said = encryption_of(document).copied();
        said.map_or(Ok(()), |said| self.give_key(document, said))
    }

    /// Says in the document of an encrypted overlay by which key and UDP port other hosts know this one.
    fn give_key(&self, document: &mut hcn::Network, said: Encryption) -> Result<(), EngineError> {
        let own = self.own_key(&document.name)?;
        let differs = |field: &str, problem: String| {
            let field = format!("Policies.Encryption.{field}");
            let source = DocumentError::new(field, problem, ErrorCode::INVALID_POLICY);
            Err(ModelError::Document { object: "network", source }.into())
        };
        if let (Some(theirs), Some(key)) =
            (said.public_key.filter(|key| Some(*key) != own.public_key), own.public_key)
        {
            return differs(
                "PublicKey",
                format!("{theirs} is not the key of this host, which is {key}; leave it out"),
            );
        }
        if let (Some(theirs), Some(port)) =
            (said.udp_port.filter(|port| Some(*port) != own.udp_port), own.udp_port)
        {
            let problem = format!(
                "{theirs} is not the UDP port of this host, {port}, which a setting of hnsd says; leave it out"
            );
            return differs("UdpPort", problem);
        }
        put_encryption(document, own);
        Ok(())
    }

    fn own_key(&self, network: &str) -> Result<Encryption, EngineError> {
        let operation = || format!("cannot encrypt network \"{network}\"");
        let key = self.wireguard.key().map_err(EngineError::encryption(operation))?;
        Ok(Encryption { public_key: Some(key), udp_port: Some(self.wireguard.udp_port()) })
    }

    /// The same of a record: the key may have been lost since, and the setting changed.
    pub(crate) fn restore_key(&self, document: &mut hcn::Network) {
        if encryption_of(document).is_none() {
            return;
        }
        match self.own_key(&document.name) {
            Ok(own) => put_encryption(document, own),
            // Nothing is encrypted then, and nothing sent.
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "there is no key"),
        }
    }

    /// How it stands with the other hosts of an encrypted overlay, by the address where its tunnels end; absent of any other.
    pub fn sessions(&self, network: Guid) -> Option<BTreeMap<IpAddr, Session>> {
        let sessions = self.wireguard.sessions();
        let world = self.world();
        let network = world.network(network).ok().filter(|network| network.encryption().is_some())?;
        let known = |route: &RemoteSubnetRoute| {
            Some((route.provider, *sessions.get(&route.public_key?).unwrap_or(&Session::default())))
        };
        Some(network.remote_subnets().filter_map(known).collect())
    }

    /// Why nothing is encrypted, or what keeps a host from agreeing on keys.
    fn trouble_with_encryption(&self, network: Guid) -> Option<String> {
        let sessions = self.sessions(network)?;
        if let Some(trouble) = self.wireguard.trouble() {
            return Some(trouble);
        }
        let port = self.wireguard.udp_port();
        let is_cut_off = |session: &Session| session.agreed.is_none() && session.asked >= PATIENCE;
        let (host, _) = sessions.iter().find(|(_, session)| is_cut_off(session))?;
        Some(format!(
            "{host} agrees on no keys, so that nothing goes there and nothing comes from there: its key is not the one that is given \
             here, or this host's is not given there, hnsd does not run there, or UDP port {port} does not get through"
        ))
    }

    /// Why other hosts of an overlay and this one do not reach each other, as far as this host shows it.
    pub(crate) fn trouble_with_underlay(&self, network: Guid) -> Option<String> {
        let (tunnel, mtu, peers, is_encrypted) = {
            let world = self.world();
            let network = world.network(network).ok()?;
            let peers = network.hosts(&world);
            (network.tunnel()?, network.mtu(), peers, network.encryption().is_some())
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
        let (outer, most) = shares(underlay, is_encrypted);
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
        if let Some(peer) = peers.iter().find(is_cut_off) {
            return Some(format!(
                "this host knows no way to its peer {peer}: a route to it is missing (ip route get {peer})"
            ));
        }
        self.trouble_with_encryption(network)
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

fn put_encryption(document: &mut hcn::Network, encryption: Encryption) {
    for policy in document.policies.iter_mut().filter(|policy| policy.as_encryption().is_some()) {
        *policy = Policy::encryption(encryption);
    }
}

fn fit(document: &mut hcn::Network, underlay: Underlay) -> Result<(), EngineError> {
    let (outer, most) = shares(underlay, encryption_of(document).is_some());
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
