//! The loop between what the store asks for and what the host shows, and the only user of the host.
//!
//! [`Engine`] holds the objects ([`hns_model::World`]), performs requests on them, and repairs the host
//! when it drifts. All its calls block; the server runs them on plain threads ([`HostThreads`]).
//!
//! ```text
//!   create:  reserve in the world ─► steps on the host ─► record in the store ─► answer
//!   delete:  record out of the store ─► steps on the host ─► out of the world ─► answer
//!   start:   records ─► world ─► compile ─► observe ─► plan ─► execute         (repair.rs)
//!   drift:   kernel's event ─► the same, for what it touches                   (drift.rs)
//! ```
//!
//! The record is the acknowledgment: a create that was answered has one, and what the kernel shows
//! without one is a leftover that the next start removes. So whenever the process dies, nothing that was
//! acknowledged is lost and nothing else stays (LIFE-7).
//!
//! Locks, in the order they are taken: an endpoint's lease (held while the LAN is asked), the gate (shared by requests, exclusive
//! for a repair of everything), a network, a namespace, an endpoint, a network's segments, the chains of our table; the world's own mutex is held
//! only between kernel calls, never across one.
//!
//! To add an operation on an object: a method in the file of its resource, its steps from `hns_planner`,
//! and a command in `tests/histories.rs`, which kills it at every step.
//!
//! Never here: HTTP, JSON of clients (documents arrive parsed), choices that need no kernel.

mod adapters;
mod admission;
mod agenda;
mod amend;
mod background;
mod bridges;
mod datapath;
mod dhcp;
mod doctor;
mod drift;
mod endpoints;
mod engine;
mod error;
mod events;
mod execute;
mod explain;
mod flows;
mod inside;
mod inventory;
mod lan;
mod leases;
mod locks;
mod lost_state;
mod namespaces;
mod network_policies;
mod networks;
mod policies;
mod ports;
mod records;
mod remote_endpoints;
mod renewal;
mod repair;
mod rounds;
mod sandboxes;
mod start;
mod state;
mod threads;
mod trace;
mod underlay;

pub use admission::{Admission, WantedNetwork};
pub use engine::{DefaultNetwork, Engine, EngineSettings};
pub use error::EngineError;
pub use events::{Event, EventStream, EventsError};
pub use inside::Examination;
pub use inventory::{Inventory, is_readable};
pub use lost_state::{Unrecorded, WithoutRecords, check_state};
pub use sandboxes::JoinedLink;
pub use threads::HostThreads;
pub use trace::{Beyond, Fate, TableDrop, Trace, TraceStep, Untraceable};
