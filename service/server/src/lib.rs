//! HTTP on the unix socket: the v2 face of HNS.
//!
//! A request is authorised by the credentials of its peer, parsed into an HCN document, performed by the
//! engine on a plain thread, and rendered. One file a resource; `answer.rs` turns errors into HCN's error
//! documents, in one place.
//!
//! ```text
//!   connection (peer.rs) ─► access.rs ─► networks.rs endpoints.rs namespaces.rs ... ─► Engine
//!                                              └► answer.rs ─► {"Success":false,"Error":..,"ErrorCode":..}
//! ```
//!
//! To add a resource: a file with a `routes()` beside the others, and a line in `router`.
//!
//! Never here: decisions about objects (the engine has them), state of its own.

mod access;
mod admission;
mod answer;
mod api;
mod body;
mod doctor;
mod endpoints;
mod events;
mod explain;
mod namespaces;
mod networks;
mod socket;
mod version;

pub use access::Access;
pub use api::{Api, router};
pub use socket::{Listener, ServerError, serve};
