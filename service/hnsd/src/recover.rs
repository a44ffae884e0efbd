//! `hnsd recover`: puts state that can be read in the place of state that is lost or damaged.
//!
//! A command of this program and not of `hnsctl`, which speaks to the socket and to nothing else: the daemon that would
//! answer there is the one that does not start.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail, ensure};
use clap::Args;
use hns_host::{Host, RealHost, Scope};
use hns_net::IfName;
use hns_reconciler::{Inventory, is_readable};
use hns_store::{Found, Recovery};

use crate::make_folder;

/// Put state that can be read in the place of state that is lost or damaged
///
/// Takes what can be read of the damaged file, and from the newest backup what cannot; shows it, and asks. Nothing is
/// deleted: the damaged files get the name hns.db.damaged-N. The daemon must not run; traffic goes on meanwhile.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  hnsd recover\n  hnsd recover --yes\n  hnsd recover --from /var/backups/hns.db\n  hnsd recover --state-dir /tmp/hns/state"
)]
pub(crate) struct RecoverArgs {
    /// Take this file, whole and alone
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// How many names of ports are told.
const NAMES_MAX: usize = 8;

impl RecoverArgs {
    pub fn run(&self, state_dir: &Path, run_dir: &Path) -> anyhow::Result<()> {
        let path = state_dir.join("hns.db");
        // A host to which the file was brought may have none.
        if let Some(file) = &self.from
            && !state_dir.exists()
        {
            ensure!(file.exists(), "there is no {}", file.display());
            make_folder(state_dir)?;
        }
        let recovery = Recovery::begin(&path)
            .with_context(|| format!("cannot recover the state directory {}", state_dir.display()))?;
        let mut out = std::io::stdout().lock();
        let chosen = match &self.from {
            Some(file) => Some(self.given(&recovery, file, &mut out)?),
            None => choose(&recovery, &path, &mut out)?,
        };
        let Some(found) = chosen else {
            return writeln!(out, "nothing to recover: the state is sound").context("cannot write");
        };
        tell_what_is_lost(&found, run_dir, &mut out)?;
        if !self.is_agreed(&recovery, &mut out)? {
            bail!("nothing was changed");
        }
        let aside = recovery.replace(&found.records, found.revision)?;
        if let Some(aside) = aside {
            writeln!(out, "what was there is now {}", aside.display())?;
        }
        writeln!(out, "restored {}; start hnsd", path.display()).context("cannot write")
    }

    fn given(&self, recovery: &Recovery, file: &Path, out: &mut impl Write) -> anyhow::Result<Found> {
        let found = recovery.read(file)?.with_context(|| format!("there is no {}", file.display()))?;
        let found = show(file, found, out)?;
        if found.records.is_empty() {
            bail!("{} holds no records", file.display());
        }
        Ok(found)
    }

    fn is_agreed(&self, recovery: &Recovery, out: &mut impl Write) -> anyhow::Result<bool> {
        if self.yes {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() {
            bail!("nobody can be asked here: look at what would be restored, and give --yes");
        }
        let aside = recovery.name_aside();
        write!(out, "Restore this? What is there gets the name {}. [y/N] ", aside.display())?;
        out.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
        Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
    }
}

/// What to restore; nothing when the state is sound.
fn choose(recovery: &Recovery, path: &Path, out: &mut impl Write) -> anyhow::Result<Option<Found>> {
    let mut best = match recovery.read(path)? {
        None => {
            writeln!(out, "{}: missing", path.display())?;
            None
        }
        Some(found) => {
            let found = show(path, found, out)?;
            if found.problem.is_none() && !found.records.is_empty() {
                return Ok(None);
            }
            Some(found)
        }
    };
    for backup in recovery.backups() {
        let Some(found) = recovery.read(&backup)? else { continue };
        let found = show(&backup, found, out)?;
        if found.problem.is_some() || found.records.is_empty() {
            continue;
        }
        match &mut best {
            Some(best) if !best.records.is_empty() => {
                let read = best.records.len();
                let added = best.complete_by(&found);
                writeln!(
                    out,
                    "{read} records are of the damaged file, and {added} that it lacks of the backup: some of these may have \
                     been deleted since"
                )?;
            }
            _ => best = Some(found),
        }
        break;
    }
    match best {
        Some(best) if !best.records.is_empty() => Ok(Some(best)),
        _ => bail!(
            "nothing can be read of {}, and there is no backup; hnsd --forget removes what is left on this host and begins \
             anew",
            path.display()
        ),
    }
}

/// Tells what a file holds, and gives what of it a start could read.
fn show(path: &Path, mut found: Found, out: &mut impl Write) -> anyhow::Result<Found> {
    let all = found.records.len();
    found.records.retain(is_readable);
    let unreadable = all - found.records.len();
    if unreadable > 0 {
        found.problem.get_or_insert_with(|| format!("{unreadable} records make no sense"));
    }
    match &found.problem {
        Some(problem) => writeln!(out, "{}: damaged: {problem}", path.display())?,
        None if all == 0 => writeln!(out, "{}: empty", path.display())?,
        None => writeln!(out, "{}: sound", path.display())?,
    }
    if found.records.is_empty() {
        if found.problem.is_some() {
            writeln!(out, "    nothing of it can be read")?;
        }
        return Ok(found);
    }
    let (held, revision) = (Inventory::of(&found.records), found.revision);
    writeln!(out, "    holds {held}; revision {revision}{}", age(&found))?;
    Ok(found)
}

fn age(found: &Found) -> String {
    let Some(age) = found.written.and_then(|written| SystemTime::now().duration_since(written).ok()) else {
        return String::new();
    };
    let seconds = age.as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "seconds"),
        120..7_200 => (seconds / 60, "minutes"),
        7_200..172_800 => (seconds / 3_600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!(", written {count} {unit} ago")
}

/// What the next start will not bring back, or will remove.
fn tell_what_is_lost(found: &Found, run_dir: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let held = Inventory::of(&found.records);
    writeln!(out, "would be restored: {held}")?;
    if held.stranded > 0 {
        writeln!(out, "    {} of these endpoints are on networks that are lost, and go", held.stranded)?;
    }
    let host = RealHost::new(run_dir.to_owned()).context("cannot reach the kernel's network")?;
    let shown = host.observe(&Scope::Everything).context("cannot see what the host shows")?;
    let used: Vec<&IfName> = shown.ports_in_use().collect();
    let lost: Vec<&str> =
        used.iter().filter(|name| !held.ports.contains(**name)).map(|name| name.as_str()).collect();
    writeln!(out, "    {} of the {} ports on this host are among them", used.len() - lost.len(), used.len())?;
    if !lost.is_empty() {
        let names = lost.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
        writeln!(out, "    the start after this removes the other {}: {names}", lost.len())?;
    }
    Ok(())
}
