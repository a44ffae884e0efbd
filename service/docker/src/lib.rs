//! Docker's network and IPAM plugin protocols, in terms of the engine.
//!
//! Docker speaks JSON over a unix socket, one socket a driver. The socket's name is the driver's name, the path is
//! the method, and a refusal is `{"Err": ".."}`, of IPAM `{"Error": ".."}`. What the wire says is read in `wire/`, what
//! its options mean stands in the tables of `options/`, and each method is a function in a file of its own:
//!
//! ```text
//!   sockets.rs ─► front.rs ─► call.rs: which method ─► network/{create,delete,..}.rs   ─► Engine
//!                                                      endpoint/{create,join,ports,..}.rs
//!                                                      ipam/{pools,addresses}.rs
//! ```
//!
//! There are no records here. A network's and an endpoint's GUID is the first half of Docker's id (`ids.rs`), and
//! what only Docker needs to know of an object stands in the object's own `AdditionalParams` (`marks.rs`). So a
//! restart of the daemon or of Docker finds everything where it was. Docker repeats calls that it did not see
//! answered, and does not repeat deletions that failed: creating again answers as the first time, and deleting what
//! is gone succeeds.
//!
//! To add a driver: a row in `drivers.rs`, and its column in the tables of `options/`. To add an option: a row there.
//!
//! Never here: choices that are the engine's, such as addresses and ports; kernel calls; state of its own.

mod call;
mod drivers;
mod endpoint;
mod front;
mod ids;
mod ipam;
mod marks;
mod mirror;
mod network;
mod options;
mod refusal;
mod sockets;
mod wire;

pub use front::Front;
pub use mirror::{DOCKER_SOCKET, MirrorSettings, mirror};
pub use sockets::{PLUGINS, Sockets, serve};
