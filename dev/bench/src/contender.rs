//! Who is measured, and the thread in which it works.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use hns_testbed::Host;

use crate::samples::Samples;

/// Namespaces that a contender goes through in turn: one that was emptied a moment ago may still hold a link that the
/// kernel is about to remove.
pub const SLOTS: usize = 64;

/// A place for one endpoint: an empty network namespace in the contender's host, and a port of the host.
#[derive(Debug, Clone)]
pub struct Slot {
    /// From 0.
    pub number: usize,
    /// For example `/run/netns/s7`.
    pub netns: String,
    /// The port of the host that is to lead to port 80 inside.
    pub port: u16,
}

/// Something that gives a namespace an interface with an address and a published port, and takes it away again.
pub trait Contender {
    /// The whole work, until traffic flows.
    fn create(&mut self, slot: &Slot) -> anyhow::Result<()>;
    /// The whole work, as long as the caller has to wait for it.
    fn delete(&mut self, slot: &Slot) -> anyhow::Result<()>;
}

enum Order {
    Create(usize),
    Delete(usize),
}

/// A contender at work in its host, and the times it took.
pub struct Runner {
    pub name: &'static str,
    pub version: String,
    pub creates: Samples,
    pub deletes: Samples,
    orders: Sender<Order>,
    times: Receiver<anyhow::Result<Duration>>,
    _thread: JoinHandle<()>,
}

impl Runner {
    /// Makes the namespaces of `host`, and the contender on a thread inside it.
    pub fn start<C: Contender + 'static>(
        host: &Host,
        name: &'static str,
        version: String,
        make: impl FnOnce(&[Slot]) -> anyhow::Result<C> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let slots = make_slots(host);
        let (orders, inbox) = channel();
        let (outbox, times) = channel();
        let host = host.clone();
        let thread = std::thread::spawn(move || host.inside(move || work(&slots, make, &inbox, &outbox)));
        let runner = Self {
            name,
            version,
            creates: Samples::default(),
            deletes: Samples::default(),
            orders,
            times,
            _thread: thread,
        };
        // The first answer says that the contender is ready.
        runner.answer().with_context(|| format!("starting {name}"))?;
        Ok(runner)
    }

    /// Creates in the slot of this round; counts the time unless the round only warms up.
    pub fn create(&mut self, round: usize, counts: bool) -> anyhow::Result<()> {
        let time =
            self.order(Order::Create(round % SLOTS)).with_context(|| format!("{}: create", self.name))?;
        if counts {
            self.creates.add(time);
        }
        Ok(())
    }

    /// Deletes what [`Runner::create`] made in this round.
    pub fn delete(&mut self, round: usize, counts: bool) -> anyhow::Result<()> {
        let time =
            self.order(Order::Delete(round % SLOTS)).with_context(|| format!("{}: delete", self.name))?;
        if counts {
            self.deletes.add(time);
        }
        Ok(())
    }

    fn order(&self, order: Order) -> anyhow::Result<Duration> {
        self.orders.send(order).map_err(|_| anyhow!("its thread has ended"))?;
        self.answer()
    }

    fn answer(&self) -> anyhow::Result<Duration> {
        self.times.recv().map_err(|_| anyhow!("its thread has ended"))?
    }
}

/// The thread's life: makes the contender, then does as it is told until nobody tells it anything.
fn work<C: Contender>(
    slots: &[Slot],
    make: impl FnOnce(&[Slot]) -> anyhow::Result<C>,
    orders: &Receiver<Order>,
    times: &Sender<anyhow::Result<Duration>>,
) {
    let mut contender = match make(slots) {
        Ok(contender) => contender,
        Err(error) => {
            let _nobody_waits = times.send(Err(error));
            return;
        }
    };
    let mut answer = Ok(Duration::ZERO);
    while times.send(answer).is_ok() {
        let Ok(order) = orders.recv() else { return };
        let begin = Instant::now();
        let result = match order {
            Order::Create(slot) => contender.create(&slots[slot]),
            Order::Delete(slot) => contender.delete(&slots[slot]),
        };
        answer = result.map(|()| begin.elapsed());
    }
}

fn make_slots(host: &Host) -> Vec<Slot> {
    make_namespaces(host, "s", SLOTS);
    let port = |number: usize| 20_000 + u16::try_from(number).expect("a few dozen");
    (0..SLOTS)
        .map(|number| Slot { number, netns: format!("/run/netns/s{number}"), port: port(number) })
        .collect()
}

/// Makes many empty namespaces with one program, those that are missing: `/run/netns/p0`, `/run/netns/p1`, ...
pub fn make_namespaces(host: &Host, prefix: &str, count: usize) {
    host.sh(&format!(
        "i=0; while [ $i -lt {count} ]; do [ -e /run/netns/{prefix}$i ] || echo netns add {prefix}$i; i=$((i+1)); done | ip -batch -"
    ));
}
