use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::sync::oneshot;

use crate::error::EngineError;

type Job = Box<dyn FnOnce() + Send>;

/// How many requests wait for a thread before senders are made to wait too.
const WAITING_MAX: usize = 1024;

/// Plain threads on which requests change the host. Work in a namespace moves a thread there and back,
/// which must never happen to a worker of the runtime.
#[derive(Clone)]
pub struct HostThreads {
    jobs: SyncSender<Job>,
}

impl HostThreads {
    /// Starts `count` threads, which end when the last handle is dropped.
    pub fn start(count: usize) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel::<Job>(WAITING_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..count {
            let waiting = Arc::clone(&waiting);
            std::thread::Builder::new().name(format!("hns-host-{number}")).spawn(move || work(&waiting))?;
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

fn work(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let next = match waiting.lock() {
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
