//! `hns-netavark`, the netavark plugin: podman's networks are networks of HNS, its containers' interfaces endpoints.
//!
//! ```text
//!   call       the verbs, and the help for people
//!   podman     the documents podman and netavark send         options    what -o and --network NET:k=v may say
//!   document   -> HCN's documents (lease_range: blocks)        status     <- what podman is told
//!   create · setup · teardown     one request each            ports      of a container on several networks
//!   leftovers  what podman removed without telling a plugin    daemon     the socket, and patience with a restart
//! ```
//!
//! The protocol is netavark's plugin API 1.0.0 (`plugin-API.md` of netavark): a document on standard input, the answer
//! or `{"error":".."}` on standard output. To add an option: a row in `options.rs`, and its field in `document.rs`.
//!
//! HNS hands out the addresses (`create` answers the IPAM driver `none`), so that a network has one book of them
//! whichever engines share it.
//!
//! Never here: links, addresses and rules, which are the daemon's; state of its own.

mod call;
mod create;
mod daemon;
mod document;
mod error;
mod lease_range;
mod leftovers;
mod options;
mod podman;
mod ports;
mod setup;
#[cfg(test)]
mod soup_tests;
mod status;
mod teardown;

use std::io::Write;
use std::process::ExitCode;

use crate::call::Call;
use crate::error::PluginError;

fn main() -> ExitCode {
    match Call::parse(std::env::args_os().skip(1)).and_then(Call::perform) {
        Ok(answer) => written(&answer, ExitCode::SUCCESS),
        Err(error) => written(&error.document(), ExitCode::FAILURE),
    }
}

/// Whoever asked may have gone; then there is nobody to tell.
fn written(answer: &str, code: ExitCode) -> ExitCode {
    match std::io::stdout().write_all(answer.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Something podman's user should know although the call succeeds: podman passes standard error on.
fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "hns-netavark: {text}");
}

/// A failure that stops nothing.
fn warn_of(error: &PluginError) {
    warn(&error.describe());
}
