//! Measures the daemon against its peers and against the bare kernel, all in one run, alternating.
//!
//! ```text
//!   endpoints ─ for each population (0, 500, 5,000 of our endpoints present)
//!                 for each round: every Contender creates an endpoint, then every one deletes it
//!                 then 8 clients at once create 2,000, with and without our programs at the ports
//!   engines   ─ the front doors against the engines' own drivers: Docker, CNI, netavark; 0 and 200 endpoints present
//!   datapath  ─ connections, requests and packets between two containers against a bare veth pair and a bridge
//!   lan       ─ the same between a container on the LAN, its host and the LAN, against macvlan and a bridge that has the adapter
//!   overlay   ─ the same between containers of two hosts, against the kernel's bridge and VXLAN device
//!   programming ─ how long the programs take to have other rules and sets
//!   crash     ─ kill -9 at random points of random operations; what is left behind, what is lost
//! ```
//!
//! Each contender lives in a host of its own (`hns-testbed`), on a thread that has entered it, so that nothing but the
//! operation itself is between the clock's two readings. To add a contender, implement [`contender::Contender`] in a
//! file of its own and name it in `endpoints.rs`, or with its peer in `engines.rs`.

mod at_once;
mod cni;
mod contender;
mod datapath;
mod docker;
mod endpoints;
mod engines;
mod kernel;
mod lan;
mod netavark;
mod ours;
mod overlay;
mod peers;
mod programming;
mod race;
mod report;
mod samples;

use clap::{Parser, Subcommand};

/// Measure HNS for Linux; `./x bench` builds what this needs and starts it as root
#[derive(Debug, Parser)]
#[command(name = "hns-bench")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Create+attach and delete of an endpoint with one port mapping, against CNI, netavark and bare netlink
    Endpoints(endpoints::Arguments),
    /// The front doors against the engines' own drivers: Docker, CNI plugins, netavark
    Engines(engines::Arguments),
    /// Connections, latency and packets between two containers, against a bare veth pair and the kernel's bridge
    Datapath(race::Arguments),
    /// The same between a container on the LAN, its host and the LAN, against macvlan and a bridge that has the adapter
    Lan(race::Arguments),
    /// The same between containers of two hosts, against the kernel's bridge with a VXLAN device
    Overlay(race::Arguments),
    /// How long it takes until ports have other rules, and networks other sets
    Programming(programming::Arguments),
    /// Kill the daemon at random points of random operations, and look for what is lost or left over
    Crash {
        /// How often it is killed
        #[arg(long, default_value_t = 1000)]
        rounds: u32,
        /// The first number of the random sequence, to repeat a run
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    anyhow::ensure!(nix::unistd::geteuid().is_root(), "measuring makes network namespaces, which takes root");
    match arguments.what {
        What::Endpoints(arguments) => endpoints::run(&arguments),
        What::Engines(arguments) => engines::run(&arguments),
        What::Datapath(arguments) => datapath::run(&arguments),
        What::Lan(arguments) => lan::run(&arguments),
        What::Overlay(arguments) => overlay::run(&arguments),
        What::Programming(arguments) => programming::run(&arguments),
        What::Crash { rounds, seed } => crash(rounds, seed),
    }
}

#[expect(clippy::print_stdout, reason = "the report is the program's purpose")]
fn crash(rounds: u32, seed: u64) -> anyhow::Result<()> {
    let lab = hns_testbed::Lab::new();
    let report = hns_testbed::crash::rounds(&lab.host("host"), seed, rounds);
    println!("{report}");
    Ok(())
}
