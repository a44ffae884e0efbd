//! The client of the daemon's unix socket.
//!
//! ```text
//!   resources  network("nat") · create_endpoint(..) · attach(..)      names, ids and prefixes of ids
//!   packets    drops · follow_drops · flows · port_rules              what ports did to packets
//!       │
//!   Client     get · post · delete: a path and a JSON document        refusals become ClientError
//!       │
//!   connection kept open between requests, one for each in flight     events: one that stays open
//! ```
//!
//! Documents are HCN's, as JSON values: what the daemon adds to them tomorrow reaches the caller today. To add a call,
//! add a method to the file of its resource.
//!
//! This crate never prints, retries nothing that the daemon may have done already, and starts no runtime of its own.

mod client;
mod connection;
mod error;
mod events;
mod lookup;
mod packets;
mod query;
mod resources;

pub use client::{Client, REQUEST_PATIENCE};
pub use error::ClientError;
pub use events::Events;
pub use lookup::Kind;
pub use packets::FlowQuery;
pub use resources::PolicyRequest;
