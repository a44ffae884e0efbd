//! Runs the programs on packets that are on no wire: for tests that compare them with the interpreter of `core/vfp`.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use hns_abi::Direction;
use hns_net::Guid;

use crate::bpf;
use crate::load::{Hook, program_name};
use crate::{DatapathError, RealDatapath, tunnels};

/// `TC_ACT_OK`: on, into the bridge or to the container.
pub const PASS: u32 = 0;
/// `TC_ACT_SHOT`.
pub const DROP: u32 = 2;
/// `TC_ACT_REDIRECT`: straight to the link in [`hns_abi::CB_TARGET`].
pub const REDIRECT: u32 = 7;

/// `TC_ACT_UNSPEC`: on, past us.
pub const NEXT: u32 = u32::MAX;

/// A program of an external switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outpost {
    /// What an adapter receives.
    AdapterIn,
    /// What the host sends by it.
    AdapterOut,
    /// What a bridge sends to the wire.
    UplinkOut,
    /// What the adapter receives at which tunnels end.
    TunnelNear,
}

/// What a program made of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// [`PASS`], [`DROP`] or [`REDIRECT`].
    pub retval: u32,
    /// The frame afterwards.
    pub packet: Vec<u8>,
    /// What the program left, by [`hns_abi::CB_REASON`] and its like.
    pub cb: [u32; 5],
    pub mark: u32,
}

/// Runs the program of a direction (Out: from the container) on a frame with a mark at the host end with the number `ifindex`,
/// which must be in the calling thread's network namespace. It changes flows and counters as a real packet would.
pub fn run(
    datapath: &RealDatapath,
    direction: Direction,
    frame: &[u8],
    ifindex: u32,
    mark: u32,
) -> Result<Outcome, DatapathError> {
    once(datapath, direction, frame, (ifindex, mark), 1).map(|(outcome, _)| outcome)
}

/// As [`run`], at an adapter or at the port that stands for the wire.
pub fn run_outpost(
    datapath: &RealDatapath,
    outpost: Outpost,
    frame: &[u8],
    ifindex: u32,
    mark: u32,
) -> Result<Outcome, DatapathError> {
    let hook = match outpost {
        Outpost::AdapterIn => Hook::AdapterIn,
        Outpost::AdapterOut => Hook::AdapterOut,
        Outpost::UplinkOut => Hook::UplinkOut,
        Outpost::TunnelNear => Hook::TunnelNear,
    };
    run_once(datapath.hooked(hook)?, hook.program(), frame, (ifindex, mark), 1).map(|(outcome, _)| outcome)
}

/// Makes the programs believe that something came from a host of an overlay just now, by the VXLAN device: no test gives a packet
/// what that adds to it.
pub fn hear(datapath: &RealDatapath, network: Guid, host: IpAddr) -> Result<(), DatapathError> {
    let number = datapath.policy().tables.overlay_number(network);
    number.map_or(Ok(()), |number| tunnels::hear(datapath.loaded(), number, host))
}

/// The mean time of one run out of `repeat`.
pub fn time(
    datapath: &RealDatapath,
    direction: Direction,
    frame: &[u8],
    ifindex: u32,
    repeat: u32,
) -> Result<Duration, DatapathError> {
    once(datapath, direction, frame, (ifindex, 0), repeat).map(|(_, mean)| mean)
}

fn once(
    datapath: &RealDatapath,
    direction: Direction,
    frame: &[u8],
    (ifindex, mark): (u32, u32),
    repeat: u32,
) -> Result<(Outcome, Duration), DatapathError> {
    run_once(datapath.program(direction), program_name(direction), frame, (ifindex, mark), repeat)
}

fn run_once(
    program: BorrowedFd<'_>,
    name: &'static str,
    frame: &[u8],
    (ifindex, mark): (u32, u32),
    repeat: u32,
) -> Result<(Outcome, Duration), DatapathError> {
    let ran = bpf::test_run(program, frame, ifindex, mark, repeat)
        .map_err(|source| DatapathError::TestRun { program: name, source })?;
    let outcome = Outcome { retval: ran.retval, packet: ran.packet, cb: ran.cb, mark: ran.mark };
    Ok((outcome, Duration::from_nanos(ran.nanoseconds.into())))
}
