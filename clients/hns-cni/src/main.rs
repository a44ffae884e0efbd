//! The program: reads the environment and the standard input, writes one document to the standard output.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use hns_cni::{Call, Environment, Failure, HELP, Verb, about};
use serde_json::Value;

fn main() -> ExitCode {
    let variable = |name: &str| std::env::var_os(name);
    match Environment::verb(variable) {
        Ok(Some(verb)) => run(verb, &Environment::read(variable)),
        Ok(None) => without_verb(std::env::args_os().skip(1).collect()),
        Err(failure) => refuse(&failure, hns_cni::Version::NEWEST.text()),
    }
}

fn run(verb: Verb, environment: &Environment) -> ExitCode {
    let input = match read_input(verb) {
        Ok(input) => input,
        Err(source) => return refuse(&Failure::ReadInput { source }, hns_cni::Version::NEWEST.text()),
    };
    let call = Call { verb, environment, input: &input };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime
        .map_err(|source| Failure::Runtime { source })
        .and_then(|runtime| runtime.block_on(call.perform()));
    match outcome {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(document)) => print(&document, ExitCode::SUCCESS),
        Err(failure) => refuse(&failure, &call.spoken_version()),
    }
}

/// All of the standard input, unless a human is at it who wants to know the version.
fn read_input(verb: Verb) -> io::Result<Vec<u8>> {
    let mut stdin = io::stdin().lock();
    let mut input = Vec::new();
    if verb != Verb::Version || !stdin.is_terminal() {
        stdin.read_to_end(&mut input)?;
    }
    Ok(input)
}

/// A human asks what this is; a runtime forgot something.
fn without_verb(arguments: Vec<OsString>) -> ExitCode {
    let asked = arguments.first().is_some_and(|argument| argument == "--help" || argument == "-h");
    if asked {
        return write(&format!("{}\n\n{HELP}\n", about()), ExitCode::SUCCESS);
    }
    if arguments.first().is_some_and(|argument| argument == "--version" || argument == "-V") {
        return write(&format!("{}\n", about()), ExitCode::SUCCESS);
    }
    if io::stdin().is_terminal() {
        let told = "container runtimes run it; `hns-cni --help` says more";
        return write(&format!("{}\n{told}\n", about()), ExitCode::SUCCESS);
    }
    let problem = "not set; `hns-cni --help` says what this program is".to_owned();
    refuse(&Failure::Environment { variable: "CNI_COMMAND", problem }, hns_cni::Version::NEWEST.text())
}

fn refuse(failure: &Failure, version: &str) -> ExitCode {
    print(&failure.document(version), ExitCode::FAILURE)
}

fn print(document: &Value, code: ExitCode) -> ExitCode {
    write(&format!("{document:#}\n"), code)
}

/// Whoever does not listen is told by the exit code alone.
fn write(text: &str, code: ExitCode) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}
