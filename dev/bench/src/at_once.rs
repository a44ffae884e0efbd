//! Many endpoints by many clients: what a host does when it starts a whole population of containers.
//!
//! ```text
//!   crowd   a daemon in a host of its own, and one connection for each client
//!   turn    the clients share so many endpoints: whoever is ready creates the next one
//! ```
//!
//! Two crowds, with and without our programs at the ports, take turns in one run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use hns_testbed::{Api, Hnsd, Lab};
use serde_json::{Value, json};

use crate::contender::make_namespaces;
use crate::ours::{self, Programs};
use crate::report::{Promise, milliseconds, shown};
use crate::samples::Samples;

const CLIENTS: usize = 8;
const ENDPOINTS: usize = 2000;
/// Created by all clients before the other crowd's turn.
const TURN: usize = 500;
/// Fewer than one Linux bridge has ports.
const ON_ONE_NETWORK: usize = 1000;
const FIRST_PORT: usize = 30_000;

/// What both crowds came to.
#[derive(Debug)]
pub struct AtOnce {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    programs: Programs,
    creates: Samples,
    /// Of all turns.
    elapsed: Duration,
}

impl AtOnce {
    /// Measures both crowds.
    pub fn measure(lab: &Lab) -> anyhow::Result<Self> {
        let mut crowds =
            vec![Crowd::gather(lab, "on", Programs::On)?, Crowd::gather(lab, "off", Programs::Off)?];
        for begin in (0..ENDPOINTS).step_by(TURN) {
            for crowd in &mut crowds {
                crowd
                    .turn(begin, begin + TURN)
                    .with_context(|| format!("programs {:?}", crowd.row.programs))?;
            }
        }
        Ok(Self { rows: crowds.into_iter().map(|crowd| crowd.row).collect() })
    }

    /// A table of its own.
    pub fn text(&self) -> String {
        let mut text = format!(
            "\n{ENDPOINTS} endpoints by {CLIENTS} clients at once\n{:<15}{:>12}{:>12}{:>9}\n",
            "programs", "created/s", "create p50", "p99"
        );
        for row in &self.rows {
            text += &format!(
                "{:<15}{:>12.0}{:>12}{:>9}\n",
                row.programs.name(),
                row.rate(),
                shown(row.creates.p50()),
                shown(row.creates.p99())
            );
        }
        text
    }

    /// Of the crowd whose ports have our programs.
    pub fn promises(&self) -> Vec<Promise> {
        let rows = self.rows.iter().filter(|row| row.programs == Programs::On);
        rows.flat_map(|row| {
            let p99 = milliseconds(row.creates.p99());
            [
                Promise::at_least("endpoints a second by all clients at once", row.rate(), 1200.0),
                Promise::at_most("create p99 with all clients at once, ms", p99, 15.0),
            ]
        })
        .collect()
    }

    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "programs": row.programs.name(), "created_per_second": row.rate(),
                "create_ms": {"p50": milliseconds(row.creates.p50()), "p99": milliseconds(row.creates.p99())},
            })
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({"endpoints": ENDPOINTS, "clients": CLIENTS, "rows": rows})
    }
}

impl Row {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    fn rate(&self) -> f64 {
        self.creates.count() as f64 / self.elapsed.as_secs_f64()
    }
}

struct Crowd {
    clients: Vec<Api>,
    networks: Vec<String>,
    /// By number.
    namespaces: Vec<String>,
    row: Row,
    // The daemon ends last.
    _hnsd: Hnsd,
}

impl Crowd {
    /// A daemon with networks and registered namespaces, and nothing in them.
    fn gather(lab: &Lab, name: &str, programs: Programs) -> anyhow::Result<Self> {
        let host = lab.host(name);
        let hnsd = ours::hnsd(&host, programs);
        let mut clients: Vec<Api> = (0..CLIENTS).map(|_| hnsd.api()).collect();
        let api = &mut clients[0];
        let networks: anyhow::Result<Vec<String>> = (0..ENDPOINTS.div_ceil(ON_ONE_NETWORK))
            .map(|number| {
                ours::network(api, &format!("bench{number}"), &format!("10.{}.0.0/16", 100 + number))
            })
            .collect();
        make_namespaces(&host, "c", ENDPOINTS);
        let namespaces: anyhow::Result<Vec<String>> =
            (0..ENDPOINTS).map(|number| ours::register(api, &format!("/run/netns/c{number}"))).collect();
        let row = Row { programs, creates: Samples::default(), elapsed: Duration::ZERO };
        Ok(Self { networks: networks?, namespaces: namespaces?, clients, row, _hnsd: hnsd })
    }

    fn turn(&mut self, begin: usize, end: usize) -> anyhow::Result<()> {
        let next = AtomicUsize::new(begin);
        let times = Mutex::new(Vec::new());
        let (networks, namespaces) = (&self.networks, &self.namespaces);
        let work = |api: &mut Api| {
            let mut own = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    break;
                }
                let network = &networks[number % networks.len()];
                let port = u16::try_from(FIRST_PORT + number).expect("ports end at 65,535");
                let before = Instant::now();
                ours::create(api, network, &namespaces[number], port)
                    .with_context(|| format!("endpoint {number}"))?;
                own.push(before.elapsed());
            }
            times.lock().map_err(|_| anyhow!("another client panicked"))?.extend(own);
            anyhow::Ok(())
        };
        let start = Instant::now();
        let work = &work;
        std::thread::scope(|scope| {
            let workers: Vec<_> = self.clients.iter_mut().map(|api| scope.spawn(move || work(api))).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().map_err(|_| anyhow!("a client panicked"))?)
        })?;
        self.row.elapsed += start.elapsed();
        let times = times.into_inner().map_err(|_| anyhow!("a client panicked"))?;
        times.into_iter().for_each(|time| self.row.creates.add(time));
        Ok(())
    }
}
