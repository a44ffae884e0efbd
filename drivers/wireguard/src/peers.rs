//! Who the peers are, and by what each is found.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn};
use boringtun::x25519;
use hns_net::{Guid, PublicKey};
use hns_vfp::model::Encryption;

use crate::key::KeyPair;

/// How often something is sent to a peer that nothing else goes to, in seconds: so that firewalls between the hosts remember, and either
/// notices when the other is gone.
const KEEPALIVE: u16 = 20;
/// How many handshakes in a second are answered before whoever asks must show that he is where he says.
const HANDSHAKES: u64 = 200;
/// The library counts a peer's sessions in the last eight bits.
const SESSION_BITS: u32 = 8;

/// One peer of this host.
pub(crate) struct Peer {
    pub tunnel: Tunn,
    /// The only address inside that is its own.
    pub inner: Ipv6Addr,
    /// Where it is on the network between the hosts, and the address of this host that it knows.
    pub host: SocketAddr,
    pub from: IpAddr,
    pub since: Instant,
}

/// All peers. Each is known by its key, by its address inside, and by a number that it is given in handshakes.
pub(crate) struct Peers {
    own: KeyPair,
    udp_port: u16,
    pub limiter: Arc<RateLimiter>,
    pub known: BTreeMap<PublicKey, Peer>,
    inside: HashMap<Ipv6Addr, PublicKey>,
    numbered: HashMap<u32, PublicKey>,
    next: u32,
}

impl Peers {
    pub fn new(own: KeyPair, udp_port: u16) -> Self {
        let public = x25519::PublicKey::from(&own.secret);
        Self {
            limiter: Arc::new(RateLimiter::new(&public, HANDSHAKES)),
            own,
            udp_port,
            known: BTreeMap::new(),
            inside: HashMap::new(),
            numbered: HashMap::new(),
            next: 1,
        }
    }

    pub fn udp_port(&self) -> u16 {
        self.udp_port
    }

    /// The address that this host has inside.
    pub fn own_inner(&self) -> Ipv6Addr {
        self.own.public.inner_address()
    }

    /// Takes over who they are. Sessions with those that stay go on; says which are new.
    pub fn follow(&mut self, networks: &BTreeMap<Guid, Encryption>) -> Vec<PublicKey> {
        let mut wanted = BTreeMap::new();
        for network in networks.values() {
            wanted.extend(network.peers.iter().map(|(key, host)| (*key, (*host, network.provider))));
        }
        self.known.retain(|key, _| wanted.contains_key(key));
        self.inside.retain(|_, key| wanted.contains_key(key));
        self.numbered.retain(|_, key| wanted.contains_key(key));
        let mut new = Vec::new();
        for (key, (host, from)) in wanted {
            let host = SocketAddr::new(host, self.udp_port);
            if let Some(peer) = self.known.get_mut(&key) {
                (peer.host, peer.from) = (host, from);
                continue;
            }
            self.add(key, host, from);
            new.push(key);
        }
        new
    }

    fn add(&mut self, key: PublicKey, host: SocketAddr, from: IpAddr) {
        let number = self.next;
        self.next = (self.next + 1) % (1 << (u32::BITS - SESSION_BITS));
        let theirs = x25519::PublicKey::from(key.bytes());
        let limiter = Some(Arc::clone(&self.limiter));
        let tunnel = Tunn::new(self.own.secret.clone(), theirs, None, Some(KEEPALIVE), number, limiter);
        let inner = key.inner_address();
        self.inside.insert(inner, key);
        self.numbered.insert(number, key);
        self.known.insert(key, Peer { tunnel, inner, host, from, since: Instant::now() });
    }

    /// Whose address inside this is.
    pub fn at(&mut self, inner: &Ipv6Addr) -> Option<&mut Peer> {
        self.known.get_mut(self.inside.get(inner)?)
    }

    /// Who says to have sent a packet; whether it is true shows when it is decrypted.
    pub fn sender(&mut self, packet: &Packet<'_>) -> Option<&mut Peer> {
        let number = match packet {
            Packet::HandshakeInit(begin) => {
                let public = x25519::PublicKey::from(&self.own.secret);
                let said = parse_handshake_anon(&self.own.secret, &public, begin).ok()?;
                return self.known.get_mut(&PublicKey::new(said.peer_static_public).ok()?);
            }
            Packet::HandshakeResponse(packet) => packet.receiver_idx,
            Packet::PacketCookieReply(packet) => packet.receiver_idx,
            Packet::PacketData(packet) => packet.receiver_idx,
        };
        self.known.get_mut(self.numbered.get(&(number >> SESSION_BITS))?)
    }
}
