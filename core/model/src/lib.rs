//! Networks, endpoints and namespaces as the store knows them, and the rules between them.
//!
//! [`World`] holds every object and what they share: address pools, MAC pools, host ports. Its operations
//! come in pairs: one that *reserves* (an address is taken from that moment on) and one that takes it
//! back, so that whoever changes the host between the two can fail without leaving anything behind.
//!
//! ```text
//!   hcn document ──► World::reserve_endpoint ──► Endpoint (complete: addresses, MAC, ports chosen)
//!                         │ fails: nothing changed         │ host failed: World::forget_endpoint
//! ```
//!
//! To add a policy that needs bookkeeping between objects: a file like `port_book.rs`, a field of `World`.
//!
//! Never here: I/O, clocks, randomness; new ids and the host's routes come in as arguments.

mod adoption;
mod allocation;
mod amend;
mod attach;
mod dhcp;
mod endpoint;
mod error;
mod external;
mod gateway;
mod intervals;
mod ipam;
mod lease;
mod mac_pool;
mod namespace;
mod network;
mod network_policies;
mod outbound;
mod overlay;
mod overlay_keys;
mod policies;
mod port_book;
mod port_params;
mod prefix;
mod remote;
mod stations;
mod world;

pub use adoption::{Bridge, Device, Followed, is_external_switch, is_of_a_program, network_id};
pub use amend::{EndpointAmendment, NetworkAmendment, ParamChange};
pub use dhcp::{FOREVER, Grant, LanLease, LanServer, LeaseKind, LeasePhase, Term};
pub use endpoint::{Attachment, Endpoint, EndpointState, Seat};
pub use error::ModelError;
pub use external::{Lan, uplink_of};
pub use intervals::Intervals;
pub use ipam::{Claim, Pool};
pub use lease::{LeaseBook, LeasePurpose, PoolId, PoolWish};
pub use mac_pool::MacPool;
pub use namespace::{Namespace, NamespaceOrigin};
pub use network::{Network, PORTS_PER_SEGMENT, SEGMENTS_MAX, Surroundings};
pub use network_policies::NetworkPolicyChange;
pub use overlay::{Tunnel, encryption_of, provider_of, udp_port_of};
pub use policies::PolicyChange;
pub use port_book::{PortBook, PortClaim};
pub use remote::{Neighbour, network_of_remotes};
pub use world::World;
