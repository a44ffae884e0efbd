use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use crate::connection::Connection;
use crate::error::ClientError;

/// Notifications of the daemon, one JSON document a line, as they come.
#[derive(Debug)]
pub struct Events {
    method: &'static str,
    path: String,
    body: Incoming,
    /// What came after the last line's end.
    pending: Vec<u8>,
    _connection: Connection,
}

impl Events {
    pub(crate) fn new(method: &'static str, path: String, body: Incoming, connection: Connection) -> Self {
        Self { method, path, body, pending: Vec::new(), _connection: connection }
    }

    /// Waits for the next notification; `None` when the daemon ends the stream. Safe to cancel and call again.
    pub async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                if !line.trim_ascii().is_empty() {
                    return self.parse(&line).map(Some);
                }
            }
            if !self.read().await? {
                let last = std::mem::take(&mut self.pending);
                return if last.trim_ascii().is_empty() { Ok(None) } else { self.parse(&last).map(Some) };
            }
        }
    }

    /// All that is left, for an answer that turned out not to be a stream.
    pub(crate) async fn into_rest(mut self) -> Result<Vec<u8>, ClientError> {
        while self.read().await? {}
        Ok(self.pending)
    }

    async fn read(&mut self) -> Result<bool, ClientError> {
        let Some(frame) = self.body.frame().await else { return Ok(false) };
        let frame = frame.map_err(|source| ClientError::Interrupted {
            method: self.method.to_owned(),
            path: self.path.clone(),
            source,
        })?;
        if let Some(data) = frame.data_ref() {
            self.pending.extend_from_slice(data);
        }
        Ok(true)
    }

    fn parse(&self, line: &[u8]) -> Result<Value, ClientError> {
        serde_json::from_slice(line).map_err(|source| ClientError::NotJson {
            method: self.method.to_owned(),
            path: self.path.clone(),
            source,
        })
    }
}
