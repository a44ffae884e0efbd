//! Ways for packets in a race: connections, requests and small packets over each of them, by turns.
//!
//! ```text
//!   course  who asks whom, such as "LAN to container", and the paths between such two; the first is what the others are compared with
//!   round   every path of every course takes a turn: connects, requests, packets. Every second round goes backwards
//!   result  the median over rounds of (path / first path of the same round): the machine's speed drifts, ratios do not
//! ```
//!
//! Who makes a race says what it is about, builds its courses before the first turn, and names what was promised.

mod line;
mod load;
mod table;

use std::time::Duration;

use anyhow::Context;

pub use line::Line;
use load::{Pace, Reading};
pub use table::{Measure, Promise};

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

impl Arguments {
    /// Comes before anything is started, which inherits it.
    pub fn get_ready(&self) -> anyhow::Result<()> {
        if self.nice { Ok(()) } else { load::go_first() }
    }
}

/// A line with its name and everything that was measured on it; or why there is none.
pub struct Path {
    pub name: &'static str,
    pub line: anyhow::Result<Line>,
    readings: Vec<Reading>,
}

impl Path {
    pub fn new(name: &'static str, line: anyhow::Result<Line>) -> Self {
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

/// Who asks whom, and the paths between such two. The others are compared with the first.
pub struct Course {
    pub name: &'static str,
    pub paths: Vec<Path>,
}

pub struct Race {
    /// Stands above the table: what is between whom.
    pub headline: &'static str,
    pub courses: Vec<Course>,
    pub promises: &'static [Promise],
}

impl Race {
    pub fn run(mut self, arguments: &Arguments) {
        let pace = Pace { time: Duration::from_millis(arguments.time), cpu: arguments.cpu };
        for round in 0..arguments.rounds {
            let paths = self.courses.iter_mut().flat_map(|course| &mut course.paths);
            if round.is_multiple_of(2) {
                paths.for_each(|path| path.turn(pace));
            } else {
                paths.rev().for_each(|path| path.turn(pace));
            }
        }
        self.print(arguments.json);
    }
}
