//! Connections, requests and small packets between two containers of a host, against a bare veth pair and the kernel's bridge.
//!
//! To add a path, write a function in `paths.rs` and name it in [`run`].

mod paths;

use hns_testbed::Lab;

use crate::race::{Arguments, Course, Line, Measure, Path, Promise, Race};
use paths::{Ours, Rules};

/// Rules of the server, or of both ends.
const RULED: [(&str, Rules); 6] = [
    ("hnsd, rules on one end", Rules { count: 10, both_ends: false, last_matches: true }),
    ("hnsd, rules on both ends", Rules { count: 10, both_ends: true, last_matches: true }),
    ("hnsd, 100 rules", Rules { count: 100, both_ends: false, last_matches: true }),
    ("hnsd, 1,000 rules", Rules { count: 1000, both_ends: false, last_matches: true }),
    ("hnsd, 10,000 rules", Rules { count: 10_000, both_ends: false, last_matches: true }),
    ("hnsd, 10,000 of others", Rules { count: 10_000, both_ends: false, last_matches: false }),
];

const COURSE: &str = "container to container";
const BARE: &str = "bare veth";

const PROMISES: [Promise; 4] = [
    promise("hnsd", Measure::Connects, 0.95),
    promise("hnsd", Measure::P50, 1.05),
    promise("hnsd, rules on both ends", Measure::Connects, 0.93),
    promise("hnsd, rules on both ends", Measure::P50, 1.06),
];

const fn promise(path: &'static str, measure: Measure, limit: f64) -> Promise {
    Promise { course: COURSE, path, against: BARE, measure, limit }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    arguments.get_ready()?;
    let lab = Lab::new();
    let mut ours = Ours::start(&lab)?;
    let mut paths = vec![
        Path::new(BARE, Ok(Line::bare(&lab))),
        Path::new("bridge", Ok(paths::bridge(&lab))),
        Path::new("hnsd", ours.open()),
        Path::new("hnsd, stateful", ours.stateful()),
    ];
    paths.extend(RULED.iter().map(|(name, rules)| Path::new(name, ours.ruled(rules))));
    let courses = vec![Course { name: COURSE, paths }];
    Race { headline: "Between two containers of a host", courses, promises: &PROMISES }.run(arguments);
    Ok(())
}
