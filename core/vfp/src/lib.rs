//! The virtual filtering platform: what policies mean on a switch port.

pub mod model;

pub use model::{Port, Switchboard};
