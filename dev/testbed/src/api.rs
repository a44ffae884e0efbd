//! A plain HTTP/1.1 connection to the daemon's socket, for tests that send documents no typed client would send.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What went wrong between the test and the daemon.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody listens.
    #[error("connecting to {socket}", socket = socket.display())]
    Connect {
        /// Whose socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or nothing came in time.
    #[error("{request}: {source}")]
    Exchange {
        /// Method and path.
        request: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The answer is not HTTP as we speak it.
    #[error("{request}: not an answer: {line:?}")]
    Malformed {
        /// Method and path.
        request: String,
        /// The line that was not understood.
        line: String,
    },
}

/// One persistent connection.
#[derive(Debug)]
pub struct Api {
    stream: BufReader<UnixStream>,
}

/// Status and body of one answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The document, or `Null` where there is none (or where it is not JSON).
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// The document of a request that must succeed.
    ///
    /// # Panics
    /// For any other status, with the answer.
    #[must_use]
    #[track_caller]
    pub fn expect_success(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.body
    }

    /// A request that must be refused, with this code and for a reason that has this word.
    ///
    /// # Panics
    /// When it is not, or for another reason.
    #[track_caller]
    pub fn expect_error(self, code: u32, word: &str) {
        let told = self.body["Error"].as_str().unwrap_or_default();
        let refused = self.status >= 400 && self.body["ErrorCode"] == code && told.contains(word);
        assert!(refused, "expected {code:#x} and \"{word}\": {} {}", self.status, self.text);
    }

    /// The document's `ID`.
    ///
    /// # Panics
    /// When the request failed or the document has none.
    #[must_use]
    #[track_caller]
    pub fn id(self) -> String {
        let document = self.expect_success();
        document["ID"].as_str().unwrap_or_else(|| panic!("no ID in {document}")).to_owned()
    }
}

impl Api {
    /// Connects to a socket.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(socket: &Path) -> Result<Self, ApiError> {
        let connect = || {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            Ok(Self { stream: BufReader::new(stream) })
        };
        connect().map_err(|source| ApiError::Connect { socket: socket.to_owned(), source })
    }

    /// `GET path`.
    ///
    /// # Errors
    /// When the connection breaks; an error status is an answer.
    pub fn get(&mut self, path: &str) -> Result<Answer, ApiError> {
        self.send("GET", path, "")
    }

    /// `POST path` with a document.
    ///
    /// # Errors
    /// When the connection breaks; an error status is an answer.
    pub fn post(&mut self, path: &str, document: &Value) -> Result<Answer, ApiError> {
        self.send("POST", path, &document.to_string())
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// When the connection breaks; an error status is an answer.
    pub fn delete(&mut self, path: &str) -> Result<Answer, ApiError> {
        self.send("DELETE", path, "")
    }

    /// Any method with any text as its body.
    ///
    /// # Errors
    /// When the connection breaks; an error status is an answer.
    pub fn send(&mut self, method: &str, path: &str, body: &str) -> Result<Answer, ApiError> {
        let request = format!("{method} {path}");
        let head = format!(
            "{request} HTTP/1.1\r\nHost: hns\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let broken = |source| ApiError::Exchange { request: request.clone(), source };
        self.stream.get_mut().write_all(head.as_bytes()).map_err(broken)?;
        self.read_answer(&request)
    }

    fn read_answer(&mut self, request: &str) -> Result<Answer, ApiError> {
        let line = self.read_line(request)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let Some(status) = status else {
            return Err(ApiError::Malformed { request: request.to_owned(), line });
        };
        let text = self.read_body(request)?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, body, text })
    }

    /// The body after the headers: by length, or in chunks; without either there is none.
    fn read_body(&mut self, request: &str) -> Result<String, ApiError> {
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.read_line(request)?.to_ascii_lowercase();
            match line.split_once(':') {
                None => break,
                Some(("content-length", value)) => length = value.trim().parse().unwrap_or(0),
                Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
                Some(_) => {}
            }
        }
        let mut body = Vec::new();
        if !chunked {
            self.read_exactly(request, length, &mut body)?;
        }
        while chunked {
            let line = self.read_line(request)?;
            let Ok(size) = usize::from_str_radix(&line, 16) else {
                return Err(ApiError::Malformed { request: request.to_owned(), line });
            };
            self.read_exactly(request, size, &mut body)?;
            let _end_of_chunk = self.read_line(request)?;
            chunked = size > 0;
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    fn read_exactly(&mut self, request: &str, size: usize, body: &mut Vec<u8>) -> Result<(), ApiError> {
        let begin = body.len();
        body.resize(begin + size, 0);
        self.stream
            .read_exact(&mut body[begin..])
            .map_err(|source| ApiError::Exchange { request: request.to_owned(), source })
    }

    fn read_line(&mut self, request: &str) -> Result<String, ApiError> {
        let mut line = String::new();
        let read = match self.stream.read_line(&mut line) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            read => read,
        };
        read.map_err(|source| ApiError::Exchange { request: request.to_owned(), source })?;
        Ok(line.trim_end().to_owned())
    }
}
