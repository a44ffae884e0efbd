//! What was measured, for people and for programs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::at_once::AtOnce;
use crate::contender::Runner;
use crate::endpoints::OF_EVERY_ROUND;
use crate::samples::Samples;

/// All stages of a run.
#[derive(Debug, Default)]
pub struct Report {
    pub stages: Vec<Stage>,
    pub at_once: Option<AtOnce>,
}

/// With so many of our endpoints present.
#[derive(Debug)]
pub struct Stage {
    pub present: usize,
    /// Of the daemon.
    pub resident_kib: u64,
    /// Ours first, the bare kernel second, ours with rules third, then the peers.
    pub rows: Vec<Row>,
}

/// One contender's times.
#[derive(Debug)]
pub struct Row {
    name: &'static str,
    version: String,
    creates: Samples,
    deletes: Samples,
}

impl Row {
    /// Takes the times out of a runner, which begins anew.
    pub fn take(runner: &mut Runner) -> Self {
        Self {
            name: runner.name,
            version: runner.version.clone(),
            creates: std::mem::take(&mut runner.creates),
            deletes: std::mem::take(&mut runner.deletes),
        }
    }
}

/// What design and requirements promise.
#[derive(Debug)]
pub struct Promise {
    what: String,
    measured: f64,
    limit: Limit,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Promise {
    pub fn at_most(what: &str, measured: f64, limit: f64) -> Self {
        Self { what: what.to_owned(), measured, limit: Limit::AtMost(limit) }
    }

    pub fn at_least(what: &str, measured: f64, limit: f64) -> Self {
        Self { what: what.to_owned(), measured, limit: Limit::AtLeast(limit) }
    }

    fn kept(&self) -> bool {
        match self.limit {
            Limit::AtMost(limit) => self.measured <= limit,
            Limit::AtLeast(limit) => self.measured >= limit,
        }
    }

    pub fn text(&self) -> String {
        let verdict = if self.kept() { "kept  " } else { "MISSED" };
        let limit = match self.limit {
            Limit::AtMost(limit) => format!("at most {limit}"),
            Limit::AtLeast(limit) => format!("at least {limit}"),
        };
        format!("{verdict}  {}: {:.2} ({limit})\n", self.what, self.measured)
    }

    fn json(&self) -> Value {
        let (key, limit) = match self.limit {
            Limit::AtMost(limit) => ("at_most", limit),
            Limit::AtLeast(limit) => ("at_least", limit),
        };
        json!({"what": self.what, "measured": self.measured, key: limit, "kept": self.kept()})
    }
}

impl Report {
    #[expect(clippy::print_stdout, reason = "the report is the program's purpose")]
    pub fn print(&self, as_json: bool) {
        if as_json {
            println!("{:#}", self.json());
        } else {
            print!("{}", self.text());
        }
    }

    fn text(&self) -> String {
        let mut text = String::from(
            "One endpoint with one port mapping. Times in milliseconds as the caller sees them; x is against the bare kernel.\n\
             The peers, the kernel and ours with ten ACLs on each endpoint work in empty hosts of their own, only ours has endpoints present.\n",
        );
        for stage in &self.stages {
            text += &format!(
                "\n{} endpoints present, hnsd resident {:.1} MiB\n{:<12}{:<17}{:>7}{:>12}{:>9}{:>8}{:>12}{:>9}{:>8}\n",
                stage.present,
                stage.resident_mib(),
                "",
                "version",
                "rounds",
                "create p50",
                "p99",
                "x",
                "delete p50",
                "p99",
                "x"
            );
            let floor = &stage.rows[1];
            for row in &stage.rows {
                text += &format!(
                    "{:<12}{:<17}{:>7}{:>12}{:>9}{:>8.2}{:>12}{:>9}{:>8.2}\n",
                    row.name,
                    row.version.chars().take(16).collect::<String>(),
                    row.creates.count(),
                    shown(row.creates.p50()),
                    shown(row.creates.p99()),
                    ratio(row.creates.p50(), floor.creates.p50()),
                    shown(row.deletes.p50()),
                    shown(row.deletes.p99()),
                    ratio(row.deletes.p50(), floor.deletes.p50()),
                );
            }
        }
        text += &self.at_once.as_ref().map(AtOnce::text).unwrap_or_default();
        text += "\n";
        for promise in self.promises() {
            text += &promise.text();
        }
        text
    }

    fn promises(&self) -> Vec<Promise> {
        let mut promises = self.promises_one_by_one();
        promises.extend(self.at_once.iter().flat_map(AtOnce::promises));
        promises
    }

    fn promises_one_by_one(&self) -> Vec<Promise> {
        let (Some(first), Some(last)) = (self.stages.first(), self.stages.last()) else { return Vec::new() };
        let promise = Promise::at_most;
        let ours = &first.rows[0];
        let mut promises = vec![
            promise("create p50 on the empty host, ms", milliseconds(ours.creates.p50()), 1.5),
            promise("create p99 on the empty host, ms", milliseconds(ours.creates.p99()), 6.0),
            promise("delete p50 on the empty host, ms", milliseconds(ours.deletes.p50()), 2.0),
        ];
        if let Some(ruled) = first.rows.get(2) {
            promises.push(promise("create p50 with ten ACLs, ms", milliseconds(ruled.creates.p50()), 1.8));
        }
        if let Some(fastest) = first.rows[OF_EVERY_ROUND..].iter().filter_map(|row| row.creates.p50()).min() {
            let of_the_peer = ratio(ours.creates.p50(), Some(fastest));
            promises.push(promise("create p50, as a part of the fastest peer's (1/15)", of_the_peer, 0.067));
        }
        if last.present > first.present {
            let grown = ratio(last.rows[0].creates.p50(), ours.creates.p50());
            let what = format!("create p50 with {} endpoints against none", last.present);
            promises.push(promise(&what, grown, 1.3));
            let what = format!("resident memory with {} endpoints, MiB", last.present);
            promises.push(promise(&what, last.resident_mib(), 40.0));
        }
        promises
    }

    fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "name": row.name, "version": row.version, "rounds": row.creates.count(),
                "create_ms": {"p50": milliseconds(row.creates.p50()), "p99": milliseconds(row.creates.p99())},
                "delete_ms": {"p50": milliseconds(row.deletes.p50()), "p99": milliseconds(row.deletes.p99())},
            })
        };
        let stage = |stage: &Stage| {
            let rows: Vec<Value> = stage.rows.iter().map(row).collect();
            json!({"endpoints_present": stage.present, "hnsd_resident_kib": stage.resident_kib, "contenders": rows})
        };
        json!({
            "stages": self.stages.iter().map(stage).collect::<Vec<_>>(),
            "at_once": self.at_once.as_ref().map(AtOnce::json),
            "promises": self.promises().iter().map(Promise::json).collect::<Vec<_>>(),
        })
    }
}

impl Stage {
    #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 KiB")]
    fn resident_mib(&self) -> f64 {
        self.resident_kib as f64 / 1024.0
    }
}

pub fn milliseconds(time: Option<Duration>) -> f64 {
    time.map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

pub fn shown(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.2}", time.as_secs_f64() * 1000.0))
}

fn ratio(time: Option<Duration>, floor: Option<Duration>) -> f64 {
    milliseconds(time) / milliseconds(floor)
}
