use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::error::EngineError;

type Job = Box<dyn FnOnce() + Send>;

/// How many requests wait for a thread before senders are made to wait too.
const WAITING_MAX: usize = 1024;

/// How many threads stand in for others that wait.
const STAND_INS_MAX: usize = 256;

/// Plain threads on which requests change the host. Work in a namespace moves a thread there and back,
/// which must never happen to a worker of the runtime.
#[derive(Clone)]
pub struct HostThreads {
    jobs: SyncSender<Job>,
}

/// What the threads of one pool share.
struct Pool {
    waiting: Mutex<Receiver<Job>>,
    stand_ins: AtomicUsize,
}

thread_local! {
    /// Whose thread this is.
    static POOL: RefCell<Option<Arc<Pool>>> = const { RefCell::new(None) };
}

/// Runs what may wait long for somebody outside. Where that takes one of the pool's threads, another one takes its place until it is
/// back, so that no other request waits.
pub(crate) fn while_waiting<T>(work: impl FnOnce() -> T) -> T {
    let _stand_in = POOL.with_borrow(Option::clone).and_then(StandIn::start);
    work()
}

/// A thread that takes the place of one that waits, until this is dropped. It may have begun another request then, or wait for one: it
/// leaves behind the next.
struct StandIn(Arc<AtomicBool>);

impl StandIn {
    /// None where there are too many.
    fn start(pool: Arc<Pool>) -> Option<Self> {
        let leaves = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&leaves);
        if pool.stand_ins.fetch_add(1, Ordering::Relaxed) >= STAND_INS_MAX {
            pool.stand_ins.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let there = Arc::clone(&pool);
        let started = std::thread::Builder::new().name("hns-stand-in".to_owned()).spawn(move || {
            work(&there, || told.load(Ordering::Relaxed));
            there.stand_ins.fetch_sub(1, Ordering::Relaxed);
        });
        if started.is_err() {
            pool.stand_ins.fetch_sub(1, Ordering::Relaxed);
        }
        started.ok().map(|_| Self(leaves))
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl HostThreads {
    /// Starts `count` threads, which end when the last handle is dropped.
    pub fn start(count: usize) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel::<Job>(WAITING_MAX);
        let pool = Arc::new(Pool { waiting: Mutex::new(waiting), stand_ins: AtomicUsize::new(0) });
        for number in 0..count {
            let pool = Arc::clone(&pool);
            std::thread::Builder::new()
                .name(format!("hns-host-{number}"))
                .spawn(move || work(&pool, || false))?;
        }
        Ok(Self { jobs })
    }

    /// Runs `job` on one of the threads. It runs to its end even when the caller goes away, since half of
    /// an operation is worse than all of it.
    pub async fn run<T, F>(&self, job: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, EngineError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let boxed: Job = Box::new(move || {
            // Nobody listens any more when the client hung up; the work is done all the same.
            let _ = answer.send(job());
        });
        match self.jobs.try_send(boxed) {
            Ok(()) => {}
            Err(std::sync::mpsc::TrySendError::Full(job)) => {
                let jobs = self.jobs.clone();
                let sent = tokio::task::spawn_blocking(move || jobs.send(job)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return Err(EngineError::Stopping);
                }
            }
            Err(std::sync::mpsc::TrySendError::Disconnected(_)) => return Err(EngineError::Stopping),
        }
        answered.await.unwrap_or(Err(EngineError::Stopping))
    }
}

fn work(pool: &Arc<Pool>, leaves: impl Fn() -> bool) {
    POOL.set(Some(Arc::clone(pool)));
    while !leaves() {
        let next = match pool.waiting.lock() {
            Ok(waiting) => waiting.recv(),
            Err(_) => return,
        };
        match next {
            Ok(job) => {
                // A panic in one request must not take the thread from the others; its caller sees that
                // the answer never comes.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn run<T: Send + 'static>(
        threads: &HostThreads,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(threads.run(|| Ok(job())))
    }

    #[test]
    fn whoever_waits_for_somebody_outside_keeps_no_thread_from_others() {
        let threads = HostThreads::start(2).unwrap();
        let (answer, outside) = channel::<()>();
        let outside = Arc::new(Mutex::new(outside));
        let (begun, beginnings) = channel();
        let ask = |_| {
            let (threads, outside, begun) = (threads.clone(), Arc::clone(&outside), begun.clone());
            let wait = move || {
                begun.send(()).unwrap();
                outside.lock().unwrap().recv_timeout(LONG).unwrap();
            };
            std::thread::spawn(move || run(&threads, || while_waiting(wait)).unwrap())
        };
        let asking: Vec<_> = (0..8).map(ask).collect();
        // All of them wait at one time, and somebody is there for the next.
        (0..8).for_each(|_| beginnings.recv_timeout(LONG).unwrap());
        assert_eq!(run(&threads, || 7).unwrap(), 7);
        (0..8).for_each(|_| answer.send(()).unwrap());
        asking.into_iter().for_each(|one| one.join().unwrap());
        assert_eq!(run(&threads, || 8).unwrap(), 8);
    }
}
