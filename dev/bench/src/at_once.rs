//! Many endpoints by many clients: what a host does when it starts a whole population of containers. Whichever of them is
//! ready creates the next one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use hns_testbed::{Api, Hnsd, Lab};
use serde_json::{Value, json};

use crate::contender::make_namespaces;
use crate::ours;
use crate::report::{Promise, milliseconds, shown};
use crate::samples::Samples;

const CLIENTS: usize = 8;
const ENDPOINTS: usize = 2000;
/// Fewer than one Linux bridge has ports.
const ON_ONE_NETWORK: usize = 1000;
const FIRST_PORT: usize = 30_000;

/// What the crowd came to.
#[derive(Debug)]
pub struct AtOnce {
    creates: Samples,
    elapsed: Duration,
}

impl AtOnce {
    pub fn measure(lab: &Lab) -> anyhow::Result<Self> {
        Crowd::gather(lab)?.create_all()
    }

    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    fn rate(&self) -> f64 {
        self.creates.count() as f64 / self.elapsed.as_secs_f64()
    }

    /// A table of its own.
    pub fn text(&self) -> String {
        format!(
            "\n{ENDPOINTS} endpoints by {CLIENTS} clients at once\n{:>12}{:>12}{:>9}\n{:>12.0}{:>12}{:>9}\n",
            "created/s",
            "create p50",
            "p99",
            self.rate(),
            shown(self.creates.p50()),
            shown(self.creates.p99())
        )
    }

    pub fn promises(&self) -> Vec<Promise> {
        let p99 = milliseconds(self.creates.p99());
        vec![
            Promise::at_least("endpoints a second by all clients at once", self.rate(), 1200.0),
            Promise::at_most("create p99 with all clients at once, ms", p99, 15.0),
        ]
    }

    pub fn json(&self) -> Value {
        let (p50, p99) = (milliseconds(self.creates.p50()), milliseconds(self.creates.p99()));
        json!({
            "endpoints": ENDPOINTS, "clients": CLIENTS, "created_per_second": self.rate(),
            "create_ms": {"p50": p50, "p99": p99},
        })
    }
}

struct Crowd {
    clients: Vec<Api>,
    networks: Vec<String>,
    /// By number.
    namespaces: Vec<String>,
    // The daemon ends last.
    _hnsd: Hnsd,
}

impl Crowd {
    /// A daemon with networks and registered namespaces, and nothing in them.
    fn gather(lab: &Lab) -> anyhow::Result<Self> {
        let host = lab.host("crowd");
        let hnsd = Hnsd::start(&host);
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
        Ok(Self { networks: networks?, namespaces: namespaces?, clients, _hnsd: hnsd })
    }

    fn create_all(mut self) -> anyhow::Result<AtOnce> {
        let next = AtomicUsize::new(0);
        let times = Mutex::new(Vec::new());
        let (networks, namespaces) = (&self.networks, &self.namespaces);
        let work = |api: &mut Api| {
            let mut own = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= ENDPOINTS {
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
        let elapsed = start.elapsed();
        let mut creates = Samples::default();
        let times = times.into_inner().map_err(|_| anyhow!("a client panicked"))?;
        times.into_iter().for_each(|time| creates.add(time));
        Ok(AtOnce { creates, elapsed })
    }
}
