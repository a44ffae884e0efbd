//! What becomes of real packets, by `hnsctl trace --live`.

use hns_testbed::{Hnsd, Process, eventually, program};
use serde_json::{Value, json};

use super::Container;

/// `hnsctl trace --live` at work, with its lines as documents.
pub struct Live<'a> {
    hnsd: &'a Hnsd,
    pub process: Process,
}

impl<'a> Live<'a> {
    #[track_caller]
    pub fn spawn(hnsd: &'a Hnsd, words: &[&str]) -> Self {
        let (hnsctl, socket) = (program("hnsctl"), hnsd.socket());
        let (hnsctl, socket) = (hnsctl.display().to_string(), socket.display().to_string());
        let all = [&[&hnsctl, "--socket", &socket, "trace", "--live"], words].concat();
        Self { hnsd, process: hnsd.host().spawn(&all) }
    }

    /// The same as documents. It sees what is sent once this returns.
    #[track_caller]
    pub fn start(hnsd: &'a Hnsd, words: &[&str]) -> Self {
        let before = watching(hnsd);
        let live = Self::spawn(hnsd, &[words, &["-o", "json"]].concat());
        eventually!(if watching(hnsd) > before { Ok(()) } else { Err(live.process.output()) });
        live
    }

    pub fn lines(&self) -> Vec<Value> {
        let output = self.process.output();
        output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a line with these fields, by the pointers of RFC 6901.
    #[track_caller]
    pub fn sees(&self, fields: &[(&str, Value)]) -> Value {
        eventually!({
            let is_it = |line: &Value| fields.iter().all(|(at, value)| line.pointer(at) == Some(value));
            self.lines()
                .into_iter()
                .find(is_it)
                .ok_or_else(|| format!("{fields:?}: {}", self.process.output()))
        })
    }

    /// Ends it as Ctrl-C does.
    #[track_caller]
    pub fn interrupt(mut self) -> Vec<Value> {
        self.hnsd.host().sh(&format!("kill -INT {}", self.process.pid_in_host()));
        let status = eventually!(self.process.ended());
        assert!(status.success(), "{status}: {}", self.process.output());
        self.lines()
    }
}

/// How many connections are watched, as the programs count them.
#[track_caller]
pub fn watching(hnsd: &Hnsd) -> u32 {
    let maps =
        hnsd.host().sh("for pin in /sys/fs/bpf/hns/v*/watching; do bpftool -j map dump pinned $pin; done");
    let maps: Value = serde_json::from_str(&maps).unwrap_or_else(|error| panic!("{error}: {maps}"));
    let bytes = maps[0]["value"].as_array().unwrap_or_else(|| panic!("{maps:#}"));
    bytes.iter().map(|byte| hex(byte).count_ones()).sum()
}

fn hex(byte: &Value) -> u32 {
    let digits = byte.as_str().unwrap_or_default().trim_start_matches("0x");
    u32::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{error}: {byte}"))
}

/// The fields of every line about this container in this direction.
pub fn at<'a>(container: &Container, direction: &str, more: &[(&'a str, Value)]) -> Vec<(&'a str, Value)> {
    let place = [("/Endpoint", json!(*container.id)), ("/Direction", json!(direction))];
    place.into_iter().chain(more.iter().cloned()).collect()
}
