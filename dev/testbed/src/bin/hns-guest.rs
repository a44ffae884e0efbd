//! Runs a script in a guest, to try things on another kernel by hand.
//!
//! ```text
//! hns-guest bookworm|trixie|sid [PROGRAM | /FILE]..  <SCRIPT
//! ```
//!
//! Programs come from the search path; a file is put under its own path.

#![expect(clippy::print_stdout, reason = "it shows a person what the guest said")]

use std::process::ExitCode;
use std::time::Duration;

use hns_testbed::guest::{Guest, Kernel};

/// A person has more patience than a test.
const LIMIT: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let kernel = match words.next().as_deref() {
        Some("bookworm") => Kernel::Bookworm,
        Some("trixie") => Kernel::Trixie,
        Some("sid") => Kernel::Sid,
        _ => {
            println!("hns-guest bookworm|trixie|sid [PROGRAM | /FILE]..  <SCRIPT");
            return ExitCode::FAILURE;
        }
    };
    let script = std::io::read_to_string(std::io::stdin()).unwrap_or_default();
    let mut guest = Guest::new(kernel).memory_mib(1024).limit(LIMIT).script(script);
    for word in words {
        guest = if word.starts_with('/') { guest.file(&word, &word) } else { guest.program(&word) };
    }
    let ran = guest.boot();
    println!("{}{}", ran.console, ran.output);
    if ran.code == Some(0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
