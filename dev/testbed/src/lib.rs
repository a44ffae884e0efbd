//! Worlds for tests: hosts, a LAN and clients, all made of Linux namespaces.
//!
//! ```text
//!   Lab ── owns a scratch folder and the LAN
//!    │
//!    ├─ router (bridge br0: 198.18.0.254, fd00:198:18::fe; far away: 198.51.100.1, fd00:198:51::1)
//!    │    │p1        │p2        │p3
//!    ├─ Host "h1"  Host "h2"  Host "outside"     each: network + mount + pid namespace,
//!    │  198.18.0.1  .2         .3                a private /run, its own /proc and /sys
//!    │
//!    └─ Hnsd ── the real daemon in a host, with its own state folder, run folder and socket
//! ```
//!
//! A story reads like this:
//!
//! ```no_run
//! use hns_testbed::{Hnsd, Lab, eventually, needs, tcp};
//!
//! fn a_published_port_answers() {
//!     needs!(root, "nft");
//!     let lab = Lab::new();
//!     let (host, outside) = (lab.host("h1"), lab.host("outside"));
//!     let hnsd = Hnsd::start(&host);
//!     let web = host.add_netns("web");
//!     hnsd.hnsctl(&["namespace", "create", "web", "--path", "/run/netns/web"]);
//!     hnsd.hnsctl(&["endpoint", "create", "--network", "nat", "--namespace", "web", "-p", "8080:80"]);
//!     let _server = tcp::Echo::serve(&web, "0.0.0.0:80");
//!     eventually!(within 1 s, tcp::ask(&outside.netns(), (host.v4(), 8080)));
//! }
//! ```
//!
//! A host lives as long as its last handle; every process in it dies with it, also when the test itself is killed.
//! To add a kind of traffic, write a file beside [`tcp`] whose functions take a [`Netns`].
//!
//! Nothing here changes the machine's own network namespace, and nothing here is shipped.

mod api;
mod barrage;
pub mod crash;
pub mod engines;
mod eventually;
pub mod guest;
mod hnsd;
mod host;
mod lab;
mod needs;
mod netns;
mod process;
mod programs;
pub mod raw;
pub mod sctp;
pub mod tcp;
pub mod udp;

pub use api::{Answer, Api, ApiError};
pub use barrage::Barrage;
pub use eventually::{Outcome, until};
pub use hnsd::{Hnsd, HnsdBuilder};
pub use host::Host;
pub use lab::{FAR_V4, FAR_V6, Lab};
pub use needs::{Requirement, missing};
pub use netns::Netns;
pub use process::{Finished, Process};
pub use programs::program;
