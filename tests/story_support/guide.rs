//! Guides as tests: every command of a page in `docs/guides/` is run, and what the page says it prints is compared.
//!
//! ````text
//! ```console run            commands after "# " or "$ ", and below each what it prints
//! # podman network ls
//! NETWORK ID  NAME ..       ".." in a line stands for any text, a line ".." for any lines; nothing: not compared
//! ```
//! ```console run at=there   the same on another host of the page's
//! ```ini file=/etc/x.conf   a file to write
//! ```console not-run        something that a test cannot do; the sentence before it says why
//! ````
//!
//! Spaces count as one, since tables are as wide as what is in them.

use std::path::Path;
use std::time::{Duration, Instant};

use hns_testbed::Finished;

const SERVER_STARTS_WITHIN: Duration = Duration::from_secs(5);

/// What a page asks its reader to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Command { line: usize, at: Option<String>, text: String, prints: Vec<String> },
    File { path: String, text: String },
}

/// Follows a page: runs its commands by `run`, writes its files by `write`.
///
/// # Panics
/// When a command fails or prints something else, and when the page has no command.
#[track_caller]
pub fn follow(page: &str, mut run: impl FnMut(&str) -> Finished, write: impl FnMut(&str, &str)) {
    follow_on_hosts(
        page,
        |at, command| match at {
            None => run(command),
            Some(host) => panic!("{page}: there is no host {host}"),
        },
        write,
    );
}

/// The same of a page with several hosts.
///
/// # Panics
/// When a command fails or prints something else, and when the page has no command.
#[track_caller]
pub fn follow_on_hosts(
    page: &str,
    mut run: impl FnMut(Option<&str>, &str) -> Finished,
    mut write: impl FnMut(&str, &str),
) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let steps = steps(page, &text);
    assert!(steps.iter().any(|step| matches!(step, Step::Command { .. })), "{page} has no command to run");
    for step in steps {
        match step {
            Step::File { path, text } => write(&path, &text),
            Step::Command { line, at, text, prints } => {
                let is_fetch = text.starts_with("wget ") || text.starts_with("curl ");
                let mut finished = run(at.as_deref(), &text);
                // A reader is slower than a server that has just been started.
                let begin = Instant::now();
                while is_fetch && !finished.success() && begin.elapsed() < SERVER_STARTS_WITHIN {
                    finished = run(at.as_deref(), &text);
                }
                assert!(finished.success(), "{page}:{line}: {text}\n{finished}");
                let printed = format!("{}{}", finished.stdout, finished.stderr);
                let same = prints.is_empty() || is_like(&lines(&printed), &prints);
                assert!(same, "{page}:{line}: {text}\nprinted\n{printed}\nand not\n{}", prints.join("\n"));
            }
        }
    }
}

/// The steps of a page.
///
/// # Panics
/// When a block of commands is marked neither `run` nor `not-run`: it would not be tested without anybody's decision.
#[must_use]
#[track_caller]
pub fn steps(page: &str, text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim().strip_prefix("```") else { continue };
        let words: Vec<&str> = info.split_whitespace().collect();
        let inside = lines.by_ref().take_while(|(_, line)| line.trim() != "```");
        let block: Vec<(usize, &str)> = inside.map(|(number, line)| (number + 1, line)).collect();
        let is_shell = ["console", "sh", "bash", "shell"].contains(words.first().unwrap_or(&""));
        if let Some(path) = words.iter().find_map(|word| word.strip_prefix("file=")) {
            let text: String = block.iter().map(|(_, line)| format!("{line}\n")).collect();
            steps.push(Step::File { path: path.to_owned(), text });
        } else if words.contains(&"run") {
            steps.extend(commands(&block, words.iter().find_map(|word| word.strip_prefix("at="))));
        } else {
            let decided = !is_shell || words.contains(&"not-run");
            assert!(decided, "{page}:{}: a block of commands says run or not-run", number + 1);
        }
    }
    steps
}

fn commands(block: &[(usize, &str)], at: Option<&str>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut continued = false;
    for (number, line) in block {
        let begins = line.strip_prefix("# ").or_else(|| line.strip_prefix("$ "));
        match (steps.last_mut(), begins) {
            (Some(Step::Command { text, .. }), _) if continued => text.push_str(&format!("\n{line}")),
            (_, Some(command)) => {
                let (at, text) = (at.map(str::to_owned), command.to_owned());
                steps.push(Step::Command { line: *number, at, text, prints: Vec::new() });
            }
            (Some(Step::Command { prints, .. }), None) => prints.extend(lines(line)),
            _ => panic!("line {number}: output before the first command"),
        }
        continued = line.ends_with('\\');
    }
    steps
}

/// The lines that are not empty, with single spaces.
fn lines(text: &str) -> Vec<String> {
    let single = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(single).filter(|line| !line.is_empty()).collect()
}

/// Whether lines are those of a page, whose ".." stand for anything.
fn is_like(found: &[String], wanted: &[String]) -> bool {
    match (found, wanted) {
        (_, []) => found.is_empty(),
        (_, [any, rest @ ..]) if any == ".." => (0..=found.len()).any(|skip| is_like(&found[skip..], rest)),
        ([], _) => false,
        ([first, others @ ..], [like, rest @ ..]) => matches(first, like) && is_like(others, rest),
    }
}

/// Whether a line is one in which ".." stands for any text.
fn matches(line: &str, like: &str) -> bool {
    match like.split_once("..") {
        None => line == like,
        Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(&rest[at..], after))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_page_is_its_commands_and_files_in_order() {
        let page = "\
text
```ini file=/etc/x.conf
[a]
b = 1
```
```console run
# first --with \\
    another line
it prints  ..   this
..
$ second
```
```console run at=there
# third
```
```console not-run
# never
```
```json
{}
```
";
        assert_eq!(
            steps("page", page),
            [
                Step::File { path: "/etc/x.conf".into(), text: "[a]\nb = 1\n".into() },
                Step::Command {
                    line: 7,
                    at: None,
                    text: "first --with \\\n    another line".into(),
                    prints: owned(&["it prints .. this", ".."]),
                },
                Step::Command { line: 11, at: None, text: "second".into(), prints: Vec::new() },
                Step::Command {
                    line: 14,
                    at: Some("there".into()),
                    text: "third".into(),
                    prints: Vec::new()
                },
            ]
        );
    }

    #[test]
    #[should_panic(expected = "page:1: a block of commands says run or not-run")]
    fn a_block_of_commands_that_nobody_runs_is_found() {
        drop(steps("page", "```sh\nrm x\n```\n"));
    }

    #[test]
    fn dots_stand_for_anything_and_nothing_else_does() {
        let printed = lines("NETWORK  ID\n\nab12  web   nat\ncd34 lan nat\n");
        assert!(is_like(&printed, &owned(&["NETWORK ID", ".. web nat", "cd34 lan nat"])));
        assert!(is_like(&printed, &owned(&["..", ".. lan .."])));
        assert!(is_like(&printed, &owned(&["NETWORK ..", ".."])));
        assert!(!is_like(&printed, &owned(&["NETWORK ID", ".. web nat"])));
        assert!(!is_like(&printed, &owned(&["..", ".. db .."])));
        assert!(!is_like(&printed, &owned(&["NETWORK ID", "web nat", ".."])));
    }
}
