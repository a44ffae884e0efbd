//! What is done after a request was answered: removing links (each would wait for the kernel's grace
//! periods), forgetting tracked connections, telling neighbours, repairing.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use hns_host::FlowFilter;
use hns_net::Guid;
use hns_planner::Announcement;

use crate::engine::Engine;
use crate::lan;
use crate::rounds::Rounds;
use crate::state::StateWatch;

/// Handles of the threads that work behind the requests.
pub(crate) struct Background {
    chores: Sender<Chore>,
    news: Sender<Announcement>,
    /// Networks whose LAN is to be asked.
    lans: Sender<Guid>,
    /// Goes with the engine, which ends the thread that waits at its other end.
    _running: Sender<()>,
    waiting: Mutex<Option<Waiting>>,
}

/// The receiving ends, until the threads start.
struct Waiting {
    chores: Receiver<Chore>,
    news: Receiver<Announcement>,
    lans: Receiver<Guid>,
    stopped: Receiver<()>,
}

enum Chore {
    Reap,
    Flush(Vec<FlowFilter>),
    /// For this reason.
    RepairEverything(&'static str),
    Checkpoint,
    Stop,
}

/// How long chores gather before they are done together.
const GATHER: Duration = Duration::from_millis(20);

/// Removing links holds the kernel's link lock for tens of milliseconds, which a create right behind would
/// wait for: it is done in a lull of requests, ...
const LULL: Duration = Duration::from_millis(100);

/// ... or when links have waited for that long, ...
const WAIT_MAX: Duration = Duration::from_secs(2);

/// ... or are that many.
const LINKS_MAX: usize = 512;

/// How many filters gather at most before the connections they mean are forgotten.
const FLOWS_MAX: usize = 256;

impl Background {
    pub fn new() -> Self {
        let (chores, chores_out) = channel();
        let (news, news_out) = channel();
        let (lans, lans_out) = channel();
        let (running, stopped) = channel();
        let waiting = Waiting { chores: chores_out, news: news_out, lans: lans_out, stopped };
        Self { chores, news, lans, waiting: Mutex::new(Some(waiting)), _running: running }
    }

    /// Starts the threads, which end with the engine.
    pub fn start(&self, engine: &Arc<Engine>) -> std::io::Result<Vec<JoinHandle<()>>> {
        let taken = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Waiting { chores, news, lans, stopped }) = taken else { return Ok(Vec::new()) };
        let [reaper, courier, asker, collector] = [(); 4].map(|()| Arc::downgrade(engine));
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(work)
        };
        Ok(vec![
            spawn("hns-reaper", Box::new(move || reap(&reaper, &chores)))?,
            spawn("hns-courier", Box::new(move || announce(&courier, &news)))?,
            spawn("hns-lan", Box::new(move || lan::watch(&asker, &lans)))?,
            spawn("hns-collector", Box::new(move || collect(&collector, &stopped)))?,
        ])
    }

    // A send fails only once the threads have ended, and then nothing is left to do behind the scenes.

    pub fn reap(&self) {
        let _ = self.chores.send(Chore::Reap);
    }

    pub fn flush_flows(&self, filters: Vec<FlowFilter>) {
        if !filters.is_empty() {
            let _ = self.chores.send(Chore::Flush(filters));
        }
    }

    pub fn repair_everything(&self, cause: &'static str) {
        let _ = self.chores.send(Chore::RepairEverything(cause));
    }

    /// Moves records to where they are read at the next start, before a commit has to do it.
    pub fn checkpoint(&self) {
        let _ = self.chores.send(Chore::Checkpoint);
    }

    pub fn announce(&self, announcement: Announcement) {
        let _ = self.news.send(announcement);
    }

    /// An endpoint has come to this network, which is on a LAN.
    pub fn ask_lan(&self, network: Guid) {
        let _ = self.lans.send(network);
    }

    pub fn stop(&self) {
        let _ = self.chores.send(Chore::Stop);
    }
}

/// How often connections and sandboxes that have ended are looked for.
const COLLECT_EVERY: Duration = Duration::from_secs(1);

/// Throws away connections that have ended, and endpoints whose sandbox has, looks at everything when it is time, and after
/// the records, for as long as there is an engine.
fn collect(engine: &Weak<Engine>, stopped: &Receiver<()>) {
    let mut rounds = Rounds::default();
    let mut state = StateWatch::default();
    let mut absent = BTreeSet::new();
    while stopped.recv_timeout(COLLECT_EVERY) == Err(RecvTimeoutError::Timeout) {
        let Some(engine) = engine.upgrade() else { return };
        engine.collect_flows();
        engine.look_for_sandboxes();
        engine.keep_forwarding();
        engine.keep_uplinks(&mut absent);
        engine.keep_tunnels();
        engine.follow_hosts_own();
        engine.keep_leases();
        state.tick(&*engine.store);
        if let Some(cause) = rounds.tick(&engine.repairs, engine.locks.passes()) {
            engine.repair_everything_and_log(cause);
        }
    }
}

fn reap(engine: &Weak<Engine>, chores: &Receiver<Chore>) {
    let mut batch = Batch::default();
    let mut links = Links::default();
    loop {
        let next = if batch.is_empty() && links.count == 0 {
            chores.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            chores.recv_timeout(GATHER)
        };
        match next {
            Ok(Chore::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Chore::Reap) => links.count += 1,
            Ok(chore) => {
                batch.add(chore);
                if batch.flows.len() >= FLOWS_MAX {
                    let Some(engine) = engine.upgrade() else { return };
                    std::mem::take(&mut batch).perform(&engine);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let Some(engine) = engine.upgrade() else { return };
                std::mem::take(&mut batch).perform(&engine);
                links.remove_when_due(&engine);
            }
        }
        if links.count >= LINKS_MAX {
            let Some(engine) = engine.upgrade() else { return };
            links.remove(&engine);
        }
    }
}

/// Links that wait for their removal.
#[derive(Default)]
struct Links {
    count: usize,
    /// How long they have waited, and how long no request has come.
    waited: Duration,
    quiet: Duration,
    requests: u64,
}

impl Links {
    /// Called once in each [`GATHER`] without a chore.
    fn remove_when_due(&mut self, engine: &Engine) {
        if self.count == 0 {
            return;
        }
        let requests = engine.locks.passes();
        self.waited += GATHER;
        self.quiet = if requests == self.requests { self.quiet + GATHER } else { Duration::ZERO };
        self.requests = requests;
        if self.quiet >= LULL || self.waited >= WAIT_MAX {
            self.remove(engine);
        }
    }

    fn remove(&mut self, engine: &Engine) {
        *self = Self::default();
        engine.reap();
    }
}

/// What gathered since the last round.
#[derive(Default)]
struct Batch {
    repair: Option<&'static str>,
    checkpoint: bool,
    flows: BTreeSet<FlowFilter>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.repair.is_none() && !self.checkpoint && self.flows.is_empty()
    }

    fn add(&mut self, chore: Chore) {
        match chore {
            Chore::RepairEverything(cause) => self.repair = Some(cause),
            Chore::Checkpoint => self.checkpoint = true,
            Chore::Flush(filters) => self.flows.extend(filters),
            Chore::Reap | Chore::Stop => {}
        }
    }

    fn perform(self, engine: &Engine) {
        if !self.flows.is_empty() {
            let filters: Vec<_> = self.flows.into_iter().collect();
            if let Err(error) = engine.host.flush_flows(&filters) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "tracked connections were not forgotten"
                );
            }
        }
        if let Some(cause) = self.repair {
            engine.repair_everything_and_log(cause);
        }
        if self.checkpoint
            && let Err(error) = engine.store.checkpoint()
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store was not checkpointed");
        }
    }
}

impl Engine {
    /// Removes the links that unplugged ports left behind.
    pub(crate) fn reap(&self) {
        if let Err(error) = self.host.reap() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "links of deleted endpoints stay for now"
            );
        }
    }
}

fn announce(engine: &Weak<Engine>, news: &Receiver<Announcement>) {
    while let Ok(announcement) = news.recv() {
        let Some(engine) = engine.upgrade() else { return };
        if let Err(error) = engine.host.announce(&announcement) {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "neighbours were not told of an address"
            );
        }
    }
}
