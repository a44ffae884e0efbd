//! HTTP on the unix socket: the v2 face of HNS.
//!
//! A connection is let in by the credentials of its peer, before a byte of it is read, and counted by its user. A
//! request is authorised by the same credentials, parsed into an HCN document, performed by the engine on a plain
//! thread, and rendered. One file a resource; `answer.rs` turns errors into HCN's error documents, in one place.
//!
//! ```text
//!   connection ─► door.rs: seats.rs ─► conversation.rs: patience.rs
//!                   └► turned away          └► access.rs ─► networks.rs endpoints.rs namespaces.rs ... ─► Engine
//!                                                                 └► answer.rs ─► {"Success":false,"Error":..}
//! ```
//!
//! Docker's plugins come in by the same door and have the same patience (`closed_socket.rs`, `Door`, `converse`).
//!
//! To add a resource: a file with a `routes()` beside the others, and a line in `router`.
//!
//! Never here: decisions about objects (the engine has them), state of its own.

mod access;
mod admission;
mod answer;
mod api;
mod body;
mod closed_socket;
mod conversation;
mod doctor;
mod door;
mod endpoints;
mod events;
mod explain;
mod inside;
mod namespaces;
mod networks;
mod patience;
mod seats;
mod socket;
mod version;

pub use access::Access;
pub use api::{Api, router};
pub use closed_socket::{Openness, listen_at};
pub use conversation::converse;
pub use door::{Admitted, Door};
pub use seats::{Limits, Seat};
pub use socket::{Listener, ServerError, serve};
