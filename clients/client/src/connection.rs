use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

use crate::error::ClientError;

/// Connections kept for later; one request in flight needs one, and a burst does not leave more behind.
const IDLE_MAX: usize = 8;

/// How long to try for a place in the kernel's queue of the socket, and how often.
const QUEUE_PATIENCE: Duration = Duration::from_secs(10);
const QUEUE_PAUSE: Duration = Duration::from_millis(2);

type Sender = SendRequest<Full<Bytes>>;

/// An open connection with the task that drives it.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: Sender,
    _driver: AbortOnDropHandle<()>,
}

/// The connections to one socket.
#[derive(Debug)]
pub(crate) struct Connections {
    socket: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Connections {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, idle: Mutex::default() }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends `request`. The connection that comes back with the answer must be given to [`Self::keep`] once the answer
    /// is read, or dropped to close it.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), ClientError> {
        let (method, path) = (request.method().to_string(), request.uri().to_string());
        let interrupted = |source| ClientError::Interrupted { method, path, source };
        let mut request = request;
        // The daemon may have closed an idle connection in the meantime. Then the request comes back unsent, and only
        // then is it sent again.
        while let Some(mut connection) = self.take_idle() {
            if connection.sender.ready().await.is_err() {
                continue;
            }
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(interrupted(error.into_error())),
                },
            }
        }
        let mut connection = self.open().await?;
        match connection.sender.send_request(request).await {
            Ok(response) => Ok((response, connection)),
            Err(source) => Err(interrupted(source)),
        }
    }

    pub(crate) fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.sender.is_closed() && idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Connects. A daemon that somebody floods may have more callers waiting than the kernel queues, which a blocking
    /// program would wait for; ours are told to try again.
    async fn queue_up(&self) -> io::Result<UnixStream> {
        let begin = Instant::now();
        loop {
            match UnixStream::connect(&self.socket).await {
                Err(full) if full.kind() == io::ErrorKind::WouldBlock && begin.elapsed() < QUEUE_PATIENCE => {
                    tokio::time::sleep(QUEUE_PAUSE).await;
                }
                connected => return connected,
            }
        }
    }

    async fn open(&self) -> Result<Connection, ClientError> {
        let unreachable = |source| ClientError::Unreachable { socket: self.socket.clone(), source };
        let stream = self.queue_up().await.map_err(unreachable)?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|source| unreachable(io::Error::other(source)))?;
        // Its failure reaches the request that is in flight, so there is nobody else to tell.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, _driver: AbortOnDropHandle::new(driver) })
    }
}
