//! The options of Docker's commands: which there are, where each has a meaning, and what it means.

mod endpoint;
mod network;
mod overlay;
mod table;
mod values;

pub(crate) use endpoint::EndpointOptions;
pub(crate) use network::{Mode, NetworkOptions};
pub(crate) use overlay::OverlayOptions;
