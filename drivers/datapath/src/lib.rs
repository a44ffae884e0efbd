//! The switch in the kernel: loads the eBPF objects, keeps the shared filter blocks, the maps, and the events of drops.
//!
//! One trait, [`Datapath`], is all the rest of the program sees of eBPF. It has two bodies: [`RealDatapath`] speaks bpf(2)
//! and rtnetlink, [`FakeDatapath`] keeps everything in memory and can fail on the n-th call. One suite of tests runs on both
//! (`tests/suite.rs`), which keeps the fake honest.
//!
//! ```text
//!  bpf/port.bpf.c ── build.rs ──► object.rs ──► load.rs ──► programs, maps ◄── pins.rs: what an older daemon left
//!
//!  vfp::Port, Sets ──► vfp::tables ──► policy.rs ──► maps.rs ──► bpf.rs   writes, batches, mapped arrays
//!  link ─────────────► blocks.rs, gate.rs ──► netlink.rs                  a message or three a port, one a program
//!  adapter, uplink ──► uplinks.rs ──► tcx.rs                              the programs of external switches
//!
//!  packets ──► events.rs + packet.rs ──► Stream         drops (a sample), packets of watched connections
//!              watches.rs                               which those are
//!              collector.rs, tallies.rs                 connections that are over, and how many last
//!              read.rs ──► Flow, DropCount, RuleCount   what is shown
//!              snapshot.rs ──► vfp::Switch              what a packet would meet
//! ```
//!
//! A daemon that starts beside the programs of an older one fills maps of its own; the older programs go on with the older
//! policy until [`Datapath::upgrade`] replaces them, with one message a direction. What packets left behind (connections and
//! counters) is shared by both.
//!
//! All calls block. [`RealDatapath`] belongs to the network namespace of the thread that started it, wherever it is called
//! from.
//!
//! To add a map: its name in `core/abi`, its place in [`pins`] (policy, or what lives on), and in `load.rs` when it can be
//! mapped. To add something to show: its shape in `report.rs`, its reading in `read.rs`, a test in `tests/suite.rs`.
//!
//! Never here: decisions about packets (that is `core/vfp` and `bpf/`) or about which ports there should be.

mod blocks;
mod bpf;
mod clock;
mod collector;
mod error;
mod events;
mod fake;
mod gate;
mod grace;
mod hits;
mod link;
mod load;
mod maps;
mod netlink;
mod object;
mod packet;
mod pins;
mod policy;
mod read;
mod real;
mod report;
mod snapshot;
mod stream;
mod tallies;
mod tc;
mod tcx;
pub mod test_run;
mod tunnels;
mod uplinks;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hns_net::{Guid, IfName, Uplink};
use hns_vfp::model::{Overlay, Port, Sets};

pub use blocks::{BLOCK_IN, BLOCK_OUT};
pub use error::{DatapathError, KernelError, Missing};
pub use fake::FakeDatapath;
pub use object::OBJECT;
pub use pins::VERSION;
pub use real::{RealDatapath, Settings};
pub use report::{
    Asked, Collected, DropCount, DropEvent, Flow, FlowFilter, FlowState, Onward, Packet, Question, RuleCount,
    RuleName, Sighting, Tuple,
};
pub use snapshot::{Snapshot, Wanted};
pub use stream::{Next, Stopper, Stream};
pub use watches::{Watch, WatchedConnection};

/// For which wire a port stands, and what was said of the host beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldUplink {
    pub uplink: Uplink,
    pub hosts_own: BTreeSet<IpAddr>,
}

/// The switch ports' programs, as far as we steer them. All calls block.
pub trait Datapath: Send + Sync + 'static {
    /// Makes a port obey `port` and nothing else: programs its policy, then joins its link to our filters if it
    /// is not, and bars it for what they have not let in if the policy asks anything of that. Idempotent; repairs what other programs have taken off. A link that was never set, or whose policy cannot be
    /// programmed, lets nothing pass once it is joined.
    fn set_port(&self, name: &IfName, port: &Arc<Port>) -> Result<(), DatapathError>;

    /// Forgets a port; fine when there is none. While its link is still there nothing passes it.
    fn remove_port(&self, name: &IfName) -> Result<(), DatapathError>;

    /// What each port is held to whose link is joined to our filters: what was set and is missing here, or otherwise, should
    /// be set again.
    fn held(&self) -> Result<BTreeMap<IfName, Arc<Port>>, DatapathError>;

    /// The same of one port.
    fn held_at(&self, name: &IfName) -> Result<Option<Arc<Port>>, DatapathError>;

    /// Makes these the address sets of a network, which the rules of its ports name; empty: it has none. Where that cannot be
    /// programmed, the ports whose rules name one let nothing pass, and are to be set again after the sets.
    fn set_sets(&self, network: Guid, sets: &Arc<Sets>) -> Result<(), DatapathError>;

    /// The address sets of each network that has any: those that are missing here, or otherwise, should be set again.
    fn held_sets(&self) -> Result<BTreeMap<Guid, Arc<Sets>>, DatapathError>;

    /// Makes `port`, a port of an external switch's bridge, stand for the wire behind an adapter, which the host goes on to use: programs
    /// at the adapter pass on what is for containers, and copies of what is for everybody. Idempotent. Until it is done, and while
    /// one of the programs is missing, containers are cut off from that way, and the host is not. `hosts_own`: what comes for these
    /// addresses by the adapter's MAC stays the host's, whatever a port has.
    fn set_uplink(
        &self,
        port: &IfName,
        uplink: &Uplink,
        hosts_own: &BTreeSet<IpAddr>,
    ) -> Result<(), DatapathError>;

    /// The host has these addresses now. Fine when `port` is not joined.
    fn set_hosts_own(&self, port: &IfName, hosts_own: &BTreeSet<IpAddr>) -> Result<(), DatapathError>;

    /// Leaves the adapter again, and takes our programs off it with its last uplink. Fine when there is none.
    fn remove_uplink(&self, port: &IfName) -> Result<(), DatapathError>;

    /// Which ports stand for which wire; those whose link or adapter is another one by now, or has lost a program, should be set
    /// again and are not among them.
    fn held_uplinks(&self) -> Result<BTreeMap<IfName, HeldUplink>, DatapathError>;

    /// Makes the programs know this of an overlay, whose frames go to other hosts and come from them by `device`, a VXLAN device without
    /// peers of its own. `clear`: of an encrypted one, the device by which its frames would come in clear; they are dropped. Idempotent; a change of routes touches those alone. Until it is done, and while the device's program is
    /// missing, nothing goes to other hosts and nothing comes from them.
    fn set_overlay(
        &self,
        network: Guid,
        device: &IfName,
        clear: Option<&IfName>,
        overlay: &Arc<Overlay>,
    ) -> Result<(), DatapathError>;

    /// Forgets it, and takes our program off the device with its last overlay. Fine when there is none.
    fn remove_overlay(&self, network: Guid) -> Result<(), DatapathError>;

    /// What the programs know of each overlay; those whose device is another one by now, or has lost the program, should be set again
    /// and are not among them.
    fn held_overlays(&self) -> Result<BTreeMap<Guid, Arc<Overlay>>, DatapathError>;

    /// How long ago each other host of an overlay was heard, by the address where its tunnels end, to a second; those are missing of which
    /// nothing was taken since the programs were loaded.
    fn heard(&self, network: Guid) -> Result<BTreeMap<IpAddr, Duration>, DatapathError>;

    /// Puts the programs of this daemon in the place of those that an older one left running, with one message a direction;
    /// traffic flows on. To be called once after the start, when every port was set: until then the older
    /// programs go on with the older policy, for the ports they know, and drop what passes others.
    fn upgrade(&self) -> Result<(), DatapathError>;

    /// What was dropped, by port and reason.
    fn drops(&self) -> Result<Vec<DropCount>, DatapathError>;

    /// Samples of what is dropped from now on.
    fn follow_drops(&self) -> Result<Stream<DropEvent>, DatapathError>;

    /// What becomes, at each port, of the packets that `watch` names, until the stream is dropped: a sample where they are many. There
    /// are [`WATCHES_MAX`](hns_abi::WATCHES_MAX) connections that can be watched at one time, all watchers together.
    fn watch(&self, watch: &Watch) -> Result<Stream<Sighting>, DatapathError>;

    fn flows(&self, filter: &FlowFilter) -> Result<Vec<Flow>, DatapathError>;

    /// What packets of the connections that `wanted` names would meet now, for trials: every port's policy as it is programmed, what
    /// ports remember of these connections, and how full their meters are. Changes nothing.
    fn snapshot(&self, wanted: &Wanted<'_>) -> Result<Snapshot, DatapathError>;

    /// How often each rule of the endpoint decided, by direction and position. Empty when it is not ours.
    fn rule_counters(&self, endpoint: Guid) -> Result<Vec<RuleCount>, DatapathError>;

    /// Throws away connections that have ended or were idle for too long, and rules that nobody obeys any more. Bounded work: to be called every few seconds.
    fn collect(&self) -> Result<Collected, DatapathError>;
}
