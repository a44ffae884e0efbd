//! The product in a minute, told as it goes: `./x demo` builds what this needs and starts it as root.
//!
//! ```text
//!   (nothing)  a real container on the default network, fetched from outside
//!   lan        a container on the LAN of its host
//!   overlay    containers of three hosts on one encrypted network
//! ```
//!
//! Everything happens in namespaces of its own. To add a demonstration, tell it in a file and name it in [`main`].

#![expect(clippy::print_stdout, reason = "a demonstration speaks")]

mod lan;
mod narration;
mod nat;
mod overlay;

use std::process::ExitCode;

use hns_testbed::program;

fn main() -> ExitCode {
    let what: Vec<String> = std::env::args().skip(1).collect();
    let tell = match what.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => nat::tell,
        ["lan"] => lan::tell,
        ["overlay"] => overlay::tell,
        _ => {
            println!(
                "there is no demonstration of '{}'; there is one without a word, lan, and overlay",
                what.join(" ")
            );
            return ExitCode::FAILURE;
        }
    };
    if !nix::unistd::geteuid().is_root() {
        println!("the demonstration makes network namespaces, which takes root: ./x demo asks for it");
        return ExitCode::FAILURE;
    }
    println!("{} and {}", program("hnsd").display(), program("hnsctl").display());
    tell()
}
