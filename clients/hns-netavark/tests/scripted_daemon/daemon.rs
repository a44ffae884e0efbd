//! A daemon that says what the test wrote down, and the plugin run against it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

/// What it was asked: `POST /v2/endpoints`, and the document.
pub type Asked = (String, Value);

/// The status of a daemon that dies before it answers.
pub const DIES: u16 = 0;

type Script = dyn FnMut(&str, &Value) -> (u16, Value) + Send;

pub struct Daemon {
    folder: TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Daemon {
    /// Answers each request by `script`.
    pub fn saying(script: impl FnMut(&str, &Value) -> (u16, Value) + Send + 'static) -> Self {
        let daemon = Self::silent();
        daemon.listen(script);
        daemon
    }

    /// Nobody listens yet.
    pub fn silent() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), asked: Arc::default() }
    }

    pub fn listen(&self, script: impl FnMut(&str, &Value) -> (u16, Value) + Send + 'static) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let asked = Arc::clone(&self.asked);
        let mut script: Box<Script> = Box::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &mut script, &asked);
            }
        });
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("hns.sock")
    }

    /// Where podman would keep its networks; it does not exist until a test makes it.
    pub fn networks(&self) -> PathBuf {
        self.folder.path().join("networks")
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The first lines of the requests so far.
    pub fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|(line, _)| line).collect()
    }

    /// Starts the plugin, with all its input.
    pub fn start(&self, arguments: &[&str], input: &str) -> Child {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hns-netavark"))
            .args(arguments)
            .env("HNS_SOCKET", self.socket())
            .env("HNS_PODMAN_NETWORKS", self.networks())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A call that reads nothing may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child
    }

    pub fn plugin(&self, arguments: &[&str], input: &str) -> Output {
        self.start(arguments, input).wait_with_output().unwrap()
    }

    /// The plugin's answer to a call that must succeed.
    pub fn answer(&self, arguments: &[&str], input: &Value) -> Value {
        let output = self.plugin(arguments, &input.to_string());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }

    /// What it says when a call must fail.
    pub fn refusal(&self, arguments: &[&str], input: &Value) -> String {
        let output = self.plugin(arguments, &input.to_string());
        assert!(!output.status.success());
        error_in(&output)
    }
}

/// The text of netavark's error document.
pub fn error_in(output: &Output) -> String {
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document.as_object().unwrap().len(), 1, "{document}");
    document["error"].as_str().unwrap().to_owned()
}

/// HTTP/1.1 as far as the client speaks it.
fn serve(stream: UnixStream, script: &mut Script, asked: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or_default() == 0 {
            return;
        }
        let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            let header = header.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let document = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let (status, answer) = script(&line, &document);
        asked.lock().unwrap().push((line, document));
        if status == DIES {
            return;
        }
        let text = if answer.is_null() { String::new() } else { answer.to_string() };
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", text.len());
        writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(text.as_bytes())).unwrap();
    }
}
