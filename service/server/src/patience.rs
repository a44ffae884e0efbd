use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// How long the head of a request may take from its first byte on. It is some hundred bytes of a program on this host.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the body of a request may take: 4 MiB at most, from this host.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may stay without a request, and an answer without being read.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// What a connection does.
///
/// ```text
///            first byte           head complete           answer handed over
///   Idle ───────────────► Head ───────────────► Request ─────────────────────► Idle
///   300 s                 10 s                  no limit: a stream of events lives as long as it is read
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Request,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    BytesCame,
    HeadRead,
    Answered,
}

impl Phase {
    fn next(self, event: Event) -> Self {
        match (self, event) {
            (Self::Idle | Self::Head, Event::BytesCame) => Self::Head,
            (Self::Request, Event::BytesCame) | (_, Event::HeadRead) => Self::Request,
            (_, Event::Answered) => Self::Idle,
        }
    }

    fn limit(self) -> Option<Duration> {
        match self {
            Self::Idle => Some(IDLE_TIMEOUT),
            Self::Head => Some(HEAD_TIMEOUT),
            Self::Request => None,
        }
    }
}

/// What the stream of a connection and the service behind it know of each other.
#[derive(Debug, Clone)]
pub(crate) struct Progress(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    phase: Phase,
    deadline: Option<Instant>,
    /// A reader that waits without a deadline, to be woken when there is one.
    reader: Option<Waker>,
}

impl Progress {
    fn new() -> Self {
        let deadline = Some(Instant::now() + IDLE_TIMEOUT);
        Self(Arc::new(Mutex::new(State { phase: Phase::Idle, deadline, reader: None })))
    }

    /// The head of a request is there; the answer is handed over when what this gives is dropped.
    pub fn head_read(&self) -> Answering {
        self.record(Event::HeadRead);
        Answering(self.clone())
    }

    /// A phase's time runs from its begin: who sends a byte now and then gains nothing.
    fn record(&self, event: Event) {
        let mut state = self.state();
        let next = state.phase.next(event);
        if next != state.phase {
            state.phase = next;
            state.deadline = next.limit().map(|limit| Instant::now() + limit);
        }
        let reader = if state.deadline.is_some() { state.reader.take() } else { None };
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Until when the reader may wait.
    fn deadline(&self, context: &Context<'_>) -> Option<Instant> {
        let mut state = self.state();
        if state.deadline.is_none() {
            state.reader = Some(context.waker().clone());
        }
        state.deadline
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct Answering(Progress);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.record(Event::Answered);
    }
}

/// A stream whose reader is not kept waiting longer than the phase of its connection allows.
#[derive(Debug)]
pub(crate) struct PatientStream {
    stream: UnixStream,
    progress: Progress,
    timer: Pin<Box<Sleep>>,
}

impl PatientStream {
    pub fn new(stream: UnixStream) -> (Self, Progress) {
        let progress = Progress::new();
        let timer = Box::pin(sleep(IDLE_TIMEOUT));
        (Self { stream, progress: progress.clone(), timer }, progress)
    }

    /// Waits until something can be read.
    pub async fn first_bytes(&self) -> io::Result<()> {
        tokio::time::timeout(IDLE_TIMEOUT, self.stream.readable()).await?
    }
}

impl AsyncRead for PatientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            if buffer.filled().len() > before {
                self.progress.record(Event::BytesCame);
            }
            return Poll::Ready(read);
        }
        let Some(deadline) = self.progress.deadline(context) else { return Poll::Pending };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        ready!(self.timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for PatientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The body of a request, which must be there in time.
#[derive(Debug)]
pub(crate) struct PatientBody {
    body: Incoming,
    /// From the first time that something was waited for: most requests have no body, or bring it with their head.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl PatientBody {
    pub fn new(body: Incoming) -> Self {
        Self { body, deadline: None }
    }
}

impl hyper::body::Body for PatientBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        let deadline =
            self.deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + BODY_TIMEOUT)));
        ready!(deadline.as_mut().poll(context));
        let text = format!("it was not there within {} seconds", BODY_TIMEOUT.as_secs());
        Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, text))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, which knows when it is handed over.
#[derive(Debug)]
pub(crate) struct Answer {
    pub body: Body,
    pub _answering: Answering,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
