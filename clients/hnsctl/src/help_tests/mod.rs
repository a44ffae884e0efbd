//! The help of every command, as the reference that it is.

mod host;
mod membership;
mod objects;
mod packets;
mod peers;
mod policies;

use clap::{Command, CommandFactory};

use crate::cli::Cli;

/// What `hnsctl COMMAND --help` prints on a terminal of 100 columns.
fn help(command: &str) -> String {
    let mut words = vec!["hnsctl"];
    words.extend(command.split_whitespace());
    words.push("--help");
    let told =
        Cli::command().term_width(100).try_get_matches_from(words).expect_err("help is told as an error");
    // The help pads its empty lines, which no editor would keep.
    told.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn commands_below(command: &Command, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    for child in command.get_subcommands() {
        commands_below(child, format!("{path} {}", child.get_name()).trim(), found);
    }
}

#[test]
fn every_command_has_an_example_and_a_snapshot() {
    let snapshots = [
        include_str!("host.rs"),
        include_str!("membership.rs"),
        include_str!("objects.rs"),
        include_str!("packets.rs"),
        include_str!("peers.rs"),
        include_str!("policies.rs"),
    ]
    .concat();
    let mut commands = Vec::new();
    commands_below(&Cli::command(), "", &mut commands);
    for command in commands {
        assert!(snapshots.contains(&format!("help(\"{command}\")")), "no snapshot of: hnsctl {command}");
        let groups = ["network", "network peer", "endpoint", "namespace", "policy"];
        assert!(
            groups.contains(&command.as_str()) || help(&command).contains("Example"),
            "no example: hnsctl {command}"
        );
    }
}

#[test]
fn the_definitions_are_consistent() {
    Cli::command().debug_assert();
}
