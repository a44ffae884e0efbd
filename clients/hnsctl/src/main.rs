//! `hnsctl`, the operator's command line.
//!
//! ```text
//!   cli        every command and flag, with its help            one file a command group beside it
//!   network · endpoint · namespace · policy                     flags -> HCN documents -> tables
//!   drops · flows · trace                                       what ports did to packets, and would do
//!   events · doctor · transfer                                  what happens, what is wrong, moving house
//!   run · ps · stop  ->  container/                             an OCI bundle in a namespace of the daemon
//!   output     tables and JSON        failure   one sentence, a hint, HCN's code, the exit code
//! ```
//!
//! To add a command: a variant in its group's enum with an example in `after_help`, a match arm, and its help in
//! `help_tests`.
//!
//! This program changes networks only through the daemon's API; the only host objects it makes itself are files under
//! the container directory and the processes of an OCI runtime.

mod check;
mod cli;
mod container;
mod doctor;
mod drops;
mod endpoint;
mod events;
mod failure;
mod flows;
#[cfg(test)]
mod help_tests;
mod namespace;
mod network;
mod output;
mod peer;
mod policy;
mod port_spec;
mod ps;
mod rate;
mod run;
mod stop;
mod trace;
mod transfer;
mod view;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => match runtime.block_on(cli.run()) {
            Ok(code) => code,
            Err(failure) => failure.report(),
        },
        Err(source) => Failure::Runtime { source }.report(),
    }
}
