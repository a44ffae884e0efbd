//! Desired × observed → a [`Plan`]: ordered [`Step`]s, each with its undo.
//!
//! *Desired* is what the objects of the store ask for, in Linux's terms (bridges, veths, set elements).
//! *Observed* is what the host shows. They are two types on purpose: only [`plan`] compares them, and no
//! other code asks "does it exist already?". The plan leaves no choice open: whoever executes it only acts.
//!
//! ```text
//!   model ──► Desired ┐
//!                     ├──► plan() ──► [Step, Step, ...] ──► Host::execute, undone in reverse on failure
//!   host  ──► Observed┘
//! ```
//!
//! What a container shows of its port is compared too (`inside.rs`), and only told: no step repairs it.
//!
//! To add a kind of kernel object: its desired form in `desired.rs`, its observed form in `observed.rs`,
//! the steps that make, align and remove it in `step.rs`, the comparison in `diff.rs`.
//!
//! Never here: I/O, clocks, randomness, choices for the executor.

mod acl;
mod compile;
mod desired;
mod diff;
mod inside;
mod observed;
mod outbound;
mod overlay;
mod policy;
mod rules;
mod step;

pub use compile::{
    Layout, bridge_of, compile, compile_endpoint, compile_network, compile_policies, endpoint_elements,
    forwarding_of, needs_chains, port_of, switch_name, switch_of,
};
pub use desired::{Desired, Forwarding, NamespaceSpec, Port, Route, Station, Switch, Target, TunnelDevice};
pub use diff::{Plan, plan, readdress};
pub use inside::{Difference, Inside, Vnic, differences};
pub use observed::{Observed, ObservedPort, ObservedSwitch};
pub use overlay::{overlay_of, tunnels_of, udp_ports_of};
pub use policy::{network_sets, port_policy};
pub use rules::Element;
pub use step::{Announcement, Step};
