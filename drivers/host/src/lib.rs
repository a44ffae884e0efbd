//! The host's network: links, addresses, routes, namespaces, sysctls and our nftables table.
//!
//! One trait, [`Host`], is all the rest of the program sees of the kernel. It has two bodies: [`RealHost`]
//! speaks netlink, [`FakeHost`] keeps everything in memory and can fail on the n-th call. One suite of tests
//! runs on both (`tests/suite.rs`), which keeps the fake honest.
//!
//! ```text
//!  planner::Step ──► Host::execute ──► bridge.rs veth.rs namespace.rs sysctl.rs   rtnetlink, /proc, mounts
//!                                      external.rs adapter.rs                     external switches
//!                                      nat/table.rs (text, `nft -f -`, once)
//!                                      nat/element.rs + nat/batch.rs              nf_tables netlink, per endpoint
//!  kernel ──► Host::observe ──► planner::Observed        kernel ──► Host::watch ──► HostEvent
//!  a port's container ──► Host::look_inside ──► planner::Inside        read, never repaired
//! ```
//!
//! All calls block, and some move their thread into another network namespace and back: call them from plain
//! threads only, never from a worker of an async runtime.
//!
//! To add a kind of device: a file beside `veth.rs` with its verbs, a [`Step`] in `core/planner`, an arm in
//! `real.rs` and in `fake.rs`, and a test in `tests/suite.rs`. To add a kind of set element: its set in
//! `nat/table.nft`, its codec in `nat/element.rs`; the property test there covers it once it is generated.
//!
//! Never here: decisions about what the host should show (that is `core/planner`), and any object that is not
//! recognisable as ours (see [`group`] and the name prefixes there).

mod adapter;
mod address;
mod announce;
mod bridge;
mod conntrack;
mod diagnose;
mod ear;
mod encrypted;
mod error;
mod event;
mod external;
mod fake;
mod foreign_bridges;
pub mod group;
mod held_ports;
mod input_drops;
mod inside;
mod link;
mod listener;
mod namespace;
mod nat;
mod netlink;
mod nsid;
mod observe;
mod packet_socket;
mod procfs;
mod question;
mod real;
mod reflection;
mod report;
mod reserved_chain;
mod ruleset;
mod stats;
mod sysctl;
mod tunnel;
mod underlay;
mod veth;
mod watch;
mod ways_out;

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, Ipv6Addr};

use hns_model::Bridge;
use hns_net::{Cidr, Guid, IfAddr, IfName, Mac, Uplink};
use hns_planner::{Announcement, Forwarding, Inside, Observed, Port, Step, Target};

pub use ear::Ear;
pub use error::{HostError, KernelError};
pub use event::{HostEvent, Next, Stopper, Watch};
pub use fake::FakeHost;
pub use question::{Asker, Question};
pub use real::RealHost;
pub use report::{
    Adapter, Finding, FlowFilter, HostPorts, Level, LinkStats, NamespaceIdentity, PortHolder, TakenPort,
    Underlay, UnderlayWish,
};

/// How much to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of ours.
    Everything,
    /// One switch, and forwarding. Nothing else of the answer is filled in.
    Switch(IfName),
    /// One port. Nothing else of the answer is filled in.
    Port(IfName),
}

/// What is set once, before anything else is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    pub bridge_netfilter: BridgeNetfilter,
}

/// What happens to `net.bridge.bridge-nf-call-*`, which makes bridged frames pass the host's IP rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BridgeNetfilter {
    /// Off, unless another container engine is found that relies on it.
    #[default]
    Auto,
    /// Stays as it is.
    Keep,
    Off,
}

/// The kernel, as far as we touch it.
pub trait Host: Send + Sync + 'static {
    /// Makes our folders and applies `settings`. Called once at start.
    fn prepare(&self, settings: &Settings) -> Result<(), HostError>;

    fn observe(&self, scope: &Scope) -> Result<Observed, HostError>;

    /// Does one thing. Idempotent: see [`Step`].
    fn execute(&self, step: &Step) -> Result<(), HostError>;

    /// Removes every link that [`Step::UnplugPort`] left behind, in one message; says how many.
    fn reap(&self) -> Result<usize, HostError>;

    /// Tells the neighbours of the switch where these addresses are now.
    fn announce(&self, announcement: &Announcement) -> Result<(), HostError>;

    /// Sends a whole frame of Ethernet to all that is on a switch, and to what an external one leads to.
    fn transmit(&self, switch: &IfName, frame: &[u8]) -> Result<(), HostError>;

    /// Hears what comes by an external switch's adapter for a station, whether the host has it by now or not.
    fn listen(&self, uplink: &Uplink, station: Mac) -> Result<Box<dyn Ear>, HostError>;

    /// Forgets the host's tracked connections that one of the filters means; says how many.
    fn flush_flows(&self, filters: &[FlowFilter]) -> Result<usize, HostError>;

    fn stats(&self, port: &IfName) -> Result<LinkStats, HostError>;

    /// Which families the host forwards.
    fn forwarding(&self) -> Result<Forwarding, HostError>;

    /// The prefixes the host already reaches, other than by our switches and `beside` this uplink: not the default routes, nor
    /// loopback, link-local and multicast.
    fn routes(&self, beside: Option<&Uplink>) -> Result<Vec<Cidr>, HostError>;

    /// What an adapter is like that an external switch is to share, or why it cannot be shared.
    fn adapter(&self, uplink: &Uplink) -> Result<Adapter, HostError>;

    /// Asks the LAN who has an address, and says whether an answer reached the asker. Waits for it, up to a second.
    fn is_answered(&self, question: &Question) -> Result<bool, HostError>;

    /// Whether the wire of an adapter sends back what bears the adapter's own station as source and destination. Waits for it, up to a
    /// second.
    fn is_reflected(&self, uplink: &Uplink) -> Result<bool, HostError>;

    /// The bridges of others that may be external switches of the administrator's. To be asked whenever
    /// [`HostEvent::BridgesChanged`] is told.
    fn bridges(&self) -> Result<Vec<Bridge>, HostError>;

    /// Every address of the host, ours included.
    fn addresses(&self) -> Result<Vec<(IfName, IfAddr)>, HostError>;

    /// Those that the host itself has on the LAN of this uplink: of the links by which that LAN's frames come to it, and where frames
    /// bear no tag of its others too, since it answers for any of them anywhere. [`HostEvent::HostsOwnChanged`] is told.
    fn addresses_beside(&self, uplink: &Uplink) -> Result<BTreeSet<IpAddr>, HostError>;

    /// Where the tunnels to other hosts end on this one.
    fn underlay(&self, wish: &UnderlayWish) -> Result<Underlay, HostError>;

    /// The device of encrypted overlays, by which packets for the inner addresses of other hosts come to whoever encrypts them; this
    /// host's own is `address`. It is there as long as somebody has the file open, and one at a time. To be called after
    /// [`Step::MakeTunnel`].
    fn open_encrypted(&self, address: Ipv6Addr) -> Result<File, HostError>;

    /// Which network namespace this is: two targets are the same one exactly if their identities are equal.
    fn identify(&self, target: &Target) -> Result<NamespaceIdentity, HostError>;

    fn interfaces_in(&self, target: &Target) -> Result<Vec<IfName>, HostError>;

    /// What the port's container shows of it. Changes nothing. An engine's own namespace is not known here
    /// ([`Target::Engine`]): such a port is looked for in the host's, and not found.
    fn look_inside(&self, port: &Port) -> Result<Inside, HostError>;

    /// Lets `holder` hold these ports of the host and no others, so that no other program gets one; says which somebody has
    /// already.
    fn hold_ports(&self, holder: Guid, ports: &[HostPorts]) -> Result<Vec<TakenPort>, HostError>;

    /// Who has such a port. Takes a look at every process of the host.
    fn port_holder(&self, taken: &TakenPort) -> PortHolder;

    fn release_ports(&self, holder: Guid);

    /// What happens to our objects from now on, our own doing included except where [`HostEvent`] says so.
    fn watch(&self) -> Result<Watch, HostError>;

    /// What an operator should know about this host. `known`: the switches and the devices of
    /// tunnels that should exist.
    fn diagnose(&self, known: &[IfName]) -> Result<Vec<Finding>, HostError>;

    /// Accepts our switches in the chain that Docker reserves for others, where there is one.
    fn open_reserved_chain(&self) -> Result<(), HostError>;

    /// Takes over which bridges of others lead beyond this host and what it hosts: what leaves our switches by them passes the
    /// chain that Docker reserves for others. To be called whenever [`HostEvent::WaysOutChanged`] is told, and after
    /// [`Step::LoadTable`].
    fn follow_ways_out(&self) -> Result<(), HostError>;

    /// Makes port mappings obey what the host's own firewall drops of what comes to the host itself; says how
    /// many such drops there are. To be called whenever [`HostEvent::HostFirewallChanged`] is told, and after
    /// [`Step::LoadTable`].
    fn follow_host_firewall(&self) -> Result<usize, HostError>;
}
