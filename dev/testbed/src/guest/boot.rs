//! The run of a guest, and what came of it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{Guest, Kernel, image};
use crate::lab::Scratch;

pub const QEMU: &str = "qemu-system-x86_64";
/// Where the script's output leaves the guest.
pub const OUTPUT: &str = "/dev/ttyS1";
/// Begins the last line, which ends with the script's exit code.
pub const ENDED: &str = "guest: the script ended with";

/// A guest that has ended.
#[derive(Debug)]
pub struct Ran {
    pub kernel: Kernel,
    /// Of the script; `None` when the guest ended before it.
    pub code: Option<i32>,
    /// What the script wrote, standard output and standard error together.
    pub output: String,
    /// What the kernel and the start wrote.
    pub console: String,
}

impl Ran {
    /// What the script wrote, when it ended well.
    ///
    /// # Panics
    /// When it did not, with everything that was said.
    #[must_use]
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert!(self.code == Some(0), "{self}");
        self.output
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ended =
            self.code.map_or_else(|| "did not end by itself".to_owned(), |code| format!("ended with {code}"));
        write!(
            f,
            "the guest with {:?}'s kernel {ended}\n{}\nits console:\n{}",
            self.kernel, self.output, self.console
        )
    }
}

impl Guest {
    /// Boots it and waits for its end.
    ///
    /// # Panics
    /// When the emulator cannot be started.
    #[must_use]
    #[track_caller]
    pub fn boot(&self) -> Ran {
        let scratch = Scratch::new();
        let at = |name: &str| scratch.path().join(name);
        std::fs::write(at("initramfs"), image::make(self))
            .expect("the folder for temporary files can be written");
        let child = self.start(scratch.path());
        self.wait(child);
        let text = |name: &str| {
            let bytes = std::fs::read(at(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\r', "")
        };
        let (output, code) = split(&text("output"));
        Ran { kernel: self.kernel, code, output, console: text("console") }
    }

    #[track_caller]
    fn start(&self, folder: &Path) -> Child {
        let serial = |name: &str| format!("file:{}", folder.join(name).display());
        let said: PathBuf = folder.join("emulator");
        let said_by_the_emulator =
            File::create(&said).expect("the folder for temporary files can be written");
        Command::new(QEMU)
            // A processor with little to emulate: no wide registers, no fifth level of page tables.
            .args(["-accel", "tcg", "-cpu", "qemu64", "-m", &self.memory_mib.to_string()])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-serial", &serial("console"), "-serial", &serial("output")])
            .arg("-kernel")
            .arg(self.kernel.folder().join("vmlinuz"))
            .arg("-initrd")
            .arg(folder.join("initramfs"))
            // A panic ends the guest at once instead of letting it hang until its time is up.
            .args(["-append", "console=ttyS0 loglevel=4 panic=-1 oops=panic mitigations=off"])
            .stdin(Stdio::null())
            .stdout(said_by_the_emulator.try_clone().expect("a file has two handles"))
            .stderr(said_by_the_emulator)
            .spawn()
            .unwrap_or_else(|error| panic!("{QEMU}: {error}"))
    }

    /// Until it ends by itself, or its time is up.
    fn wait(&self, mut child: Child) {
        let begin = Instant::now();
        crate::until(self.limit + self.limit, "the guest ends, by itself or by force", || {
            if begin.elapsed() > self.limit {
                let _ended_meanwhile = child.kill();
            }
            child.try_wait().expect("the child is ours and not yet waited for")
        });
    }
}

/// What the script wrote, and the code in the last line.
fn split(text: &str) -> (String, Option<i32>) {
    match text.rsplit_once(ENDED) {
        Some((output, code)) => (output.to_owned(), code.trim().parse().ok()),
        None => (text.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::needs;

    #[test]
    fn the_last_line_is_the_code() {
        assert_eq!(split("a\nguest: the script ended with 7\n"), ("a\n".to_owned(), Some(7)));
        assert_eq!(split("a\n"), ("a\n".to_owned(), None));
    }

    #[test]
    fn a_guest_runs_a_script() {
        needs!(guests, "ip");
        let guest = Guest::new(Kernel::Trixie).program("ip");
        let ran = guest
            .clone()
            .script(
                "uname -r; ip link add left type veth peer name right; ip -br link show left | cut -d' ' -f1",
            )
            .boot();
        let release = Kernel::Trixie.release();
        assert_eq!(ran.expect_success(), format!("{release}\nleft@right\n"));
        let failed = guest.script("echo before; false; echo after").boot();
        assert_eq!((failed.output.as_str(), failed.code), ("before\n", Some(1)), "{failed}");
    }
}
