//! Connections, requests and small packets between two containers of a host, against a bare veth pair and the kernel's bridge.
//!
//! ```text
//!   paths   bare veth first, then the kernel's, then ours; all built before the first turn
//!   round   every path takes a turn: connects, requests, packets. Every second round goes backwards
//!   result  the median over rounds of (path / bare veth of the same round): the machine's speed drifts, ratios do not
//! ```
//!
//! To add a path, write a function in `paths.rs` and name it in [`run`].

mod load;
mod paths;
mod table;

use std::time::Duration;

use anyhow::Context;
use hns_testbed::Lab;

use load::{Pace, Reading};
use paths::{Line, Ours, Rules};
use table::Table;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How often every path takes a turn
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// How long each of the three measurements of a turn takes
    #[arg(long, default_value_t = 50, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(10..=10_000))]
    time: u64,
    /// The processor that client and server share
    #[arg(long, default_value_t = 0)]
    cpu: usize,
    /// Take turns with the machine's other programs instead of going before them
    #[arg(long)]
    nice: bool,
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
}

/// Rules of the server, or of both ends.
const RULED: [(&str, Rules); 6] = [
    ("hnsd, rules on one end", Rules { count: 10, both_ends: false, last_matches: true }),
    ("hnsd, rules on both ends", Rules { count: 10, both_ends: true, last_matches: true }),
    ("hnsd, 100 rules", Rules { count: 100, both_ends: false, last_matches: true }),
    ("hnsd, 1,000 rules", Rules { count: 1000, both_ends: false, last_matches: true }),
    ("hnsd, 10,000 rules", Rules { count: 10_000, both_ends: false, last_matches: true }),
    ("hnsd, 10,000 of others", Rules { count: 10_000, both_ends: false, last_matches: false }),
];

/// A line with its name and everything that was measured on it; or why there is none.
struct Path {
    name: &'static str,
    line: anyhow::Result<Line>,
    readings: Vec<Reading>,
}

impl Path {
    fn new(name: &'static str, line: anyhow::Result<Line>) -> Self {
        Self { name, line, readings: Vec::new() }
    }

    /// A path that breaks is out of the race; the others run on.
    fn turn(&mut self, pace: Pace) {
        let Ok(line) = &self.line else { return };
        match line.measure(pace).with_context(|| format!("round {}", self.readings.len() + 1)) {
            Ok(reading) => self.readings.push(reading),
            Err(error) => self.line = Err(error),
        }
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !arguments.nice {
        load::go_first()?;
    }
    let lab = Lab::new();
    let mut ours = Ours::start(&lab)?;
    let mut paths = vec![
        Path::new("bare veth", Ok(paths::bare(&lab))),
        Path::new("bridge", Ok(paths::bridge(&lab))),
        Path::new("hnsd", ours.open()),
        Path::new("hnsd, stateful", ours.stateful()),
    ];
    paths.extend(RULED.iter().map(|(name, rules)| Path::new(name, ours.ruled(rules))));
    let pace = Pace { time: Duration::from_millis(arguments.time), cpu: arguments.cpu };
    for round in 0..arguments.rounds {
        if round.is_multiple_of(2) {
            paths.iter_mut().for_each(|path| path.turn(pace));
        } else {
            paths.iter_mut().rev().for_each(|path| path.turn(pace));
        }
    }
    Table::new(paths).print(arguments.json);
    Ok(())
}
