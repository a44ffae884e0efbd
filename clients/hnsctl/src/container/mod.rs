//! Containers that `hnsctl run` starts: a folder each, under [`Containers`], with everything that must be cleaned up.
//!
//! ```text
//!   <containers>/.runtime/        the OCI runtime's own state
//!   <containers>/web/record.json  what was asked for, and the ids of the endpoint and the namespace
//!                    config.json  the OCI bundle
//!                    etc/         resolv.conf, hosts, hostname: mounted over those of the image
//!                    rootfs/      only of an image file; a root folder is used where it is
//!                    log          output of a detached container
//! ```
//!
//! A container's folder is root's alone: nobody else reads what it was given, or runs a setuid program of its image.

mod archive;
mod beneath;
mod bundle;
mod cgroups;
mod error;
mod etc;
mod image;
mod layer;
mod private;
mod record;
mod removal;
mod runtime;
mod seccomp;
mod signals;
mod user;

pub use bundle::BundleSpec;
pub use error::ContainerError;
pub use etc::EtcFiles;
pub use image::{ImageConfig, Root};
pub use record::{Containers, Record};
pub use runtime::{Runtime, State};
pub use signals::Signals;
pub use user::User;
