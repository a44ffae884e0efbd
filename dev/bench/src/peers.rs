//! Where the peers' programs are: those that `dev/bench/peers` has unpacked, or else the installed ones.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

/// How a peer's program is called, and which version it is.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The program, with the loader before it where it needs another C library than the machine's.
    pub words: Vec<String>,
    pub version: String,
}

/// Finds a program of a Debian package by its path in it. For threads outside of hosts: it looks at this very process.
pub fn find(package: &str, path: &str) -> anyhow::Result<Peer> {
    if let Some(root) = unpacked() {
        let versions = std::fs::read_to_string(root.join("versions"))?;
        let version = versions.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix(' '));
        let program = root.join(path.trim_start_matches('/'));
        if let (Some(version), true) = (version, program.exists()) {
            return Ok(Peer { words: with_loader(&root, &program), version: version.to_owned() });
        }
    }
    if !Path::new(path).exists() {
        bail!("{path} is not there: `./x bench` installs the package {package}");
    }
    let version = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output()?;
    let version = format!("{} (installed)", String::from_utf8_lossy(&version.stdout));
    Ok(Peer { words: vec![path.to_owned()], version })
}

/// The folder beside the release programs: `target/bench/peers`.
fn unpacked() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let root = exe.ancestors().nth(2)?.join("bench/peers");
    root.join("versions").exists().then_some(root)
}

/// A program of a newer suite runs with that suite's loader and libraries where the machine's are too old for it.
fn with_loader(root: &Path, program: &Path) -> Vec<String> {
    let program = program.display().to_string();
    let runs = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
    if runs.is_ok_and(|output| output.status.success()) {
        return vec![program];
    }
    let libraries = root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
    let loader = std::fs::read_dir(&libraries).ok().and_then(|entries| {
        let names = entries.flatten().map(|entry| entry.path());
        names
            .into_iter()
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-linux")))
    });
    match loader {
        Some(loader) => vec![
            loader.display().to_string(),
            "--library-path".to_owned(),
            libraries.display().to_string(),
            program,
        ],
        None => vec![program],
    }
}

impl Peer {
    /// Runs the program with a document as its input and gives the document it answers (`Null` for none).
    pub fn call(
        &self,
        arguments: &[&str],
        environment: &[(&str, &str)],
        document: &Value,
    ) -> anyhow::Result<Value> {
        let mut child = Command::new(&self.words[0])
            .args(&self.words[1..])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| self.words.join(" "))?;
        // A program that has not read everything has failed, and says why itself.
        let _closed =
            child.stdin.take().context("it was asked for")?.write_all(document.to_string().as_bytes());
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("{} {}: {text}{error}", self.words.join(" "), arguments.join(" "));
        }
        Ok(if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }
}
