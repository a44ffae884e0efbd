use std::io::{self, Write};

use anyhow::Context;
use hns_hcn::escape_steering;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Sends the log to standard error.
pub(crate) fn start(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log).with_context(|| format!("log filter \"{}\"", config.log))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    match config.log_format {
        LogFormat::Text => log.with_ansi(false).with_writer(|| OneLine(io::stderr())).init(),
        LogFormat::Json => log.json().with_writer(io::stderr).init(),
    }
    Ok(())
}

/// Writes each event as one line. What clients send is in some of them, and must not look like a line of ours, or tell a
/// terminal what to do.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    /// A whole event, which ends its line.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut shown = escape_steering(line, &['\t']);
        shown.push('\n');
        self.0.write_all(shown.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let mut log = OneLine(Vec::new());
        log.write_all(b"refused name=\"a\nhnsd is ready\x1b[2J\xc2\x9b\xe2\x80\xae\"\tb\n").unwrap();
        log.write_all("größer\n".as_bytes()).unwrap();
        let text = String::from_utf8(log.0).unwrap();
        assert_eq!(text, "refused name=\"a\\nhnsd is ready\\u{1b}[2J\\u{9b}\\u{202e}\"\tb\ngrößer\n");
    }
}
