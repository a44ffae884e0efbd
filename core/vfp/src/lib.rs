//! The virtual filtering platform: what policies mean on a switch port.
//!
//! ```text
//!   HCN documents ── policy ──> model ──┬── interpreter   what happens to a packet: the definition
//!                                       └── tables        the same for the kernel's maps
//! ```
//!
//! A port has two directions, seen from its endpoint: Out through the [`layers`] from the container outwards, In the other way
//! round. What one packet met on its way is an [`interpreter::Outcome`].
//!
//! To add a policy: its settings in `hns-hcn`, its form in [`model`], its layer's file here, its header in `bpf/layers`, and
//! its case in `generate`, so that the kernel is compared with the interpreter.
//!
//! Never here: I/O, clocks, randomness. Time is an argument, in ns.

pub mod flow;
pub mod frame;
#[cfg(feature = "generate")]
pub mod generate;
pub mod interpreter;
pub mod layers;
pub mod model;
pub mod packet;
pub mod tables;

pub use interpreter::{Outcome, Switch};
pub use model::{Port, Switchboard};
