//! The product in a minute, told as it goes: `./x demo` builds what this needs and starts it as root.
//!
//! Everything happens in namespaces of its own.

#![expect(clippy::print_stdout, reason = "a demonstration speaks")]

mod narration;
mod nat;

use std::process::ExitCode;

use hns_testbed::program;

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        println!("the demonstration makes network namespaces, which takes root: ./x demo asks for it");
        return ExitCode::FAILURE;
    }
    println!("{} and {}", program("hnsd").display(), program("hnsctl").display());
    nat::tell()
}
