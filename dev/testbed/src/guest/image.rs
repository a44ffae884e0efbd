//! What a guest's root folder holds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio::Archive;
use super::{Guest, boot};

pub const BUSYBOX: &str = "busybox";
/// Runs the script: busybox's own shell takes its applets for every other program of the same name.
pub const SHELL: &str = "sh";
/// Lists a program's libraries.
pub const LDD: &str = "ldd";

/// The first process. Everything that the script says goes to the second serial line, and last how it ended.
fn init(guest: &Guest) -> String {
    let (output, ended, script) = (boot::OUTPUT, boot::ENDED, &guest.script);
    format!(
        r#"#!/bin/busybox sh
export PATH=/usr/bin:/bin HOME=/root CI=true
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
stty -F {output} raw
for module in /modules/*.ko; do insmod "$module" || echo "cannot load $module"; done
ip link set lo up
cat > /script <<'END OF THE SCRIPT'
{script}
END OF THE SCRIPT
/usr/bin/sh -e /script > {output} 2>&1
echo "{ended} $?" > {output}
reboot -f
"#
    )
}

/// The archive that the kernel unpacks as its root folder.
#[track_caller]
pub fn make(guest: &Guest) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in ["proc", "sys", "dev", "tmp", "run", "root", "etc", "var", "mnt"] {
        archive.folder(folder);
    }
    archive.link("/usr/sbin", "bin");
    archive.link("/sbin", "bin");
    archive.file("/init", init(guest).as_bytes());
    archive.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n");
    archive.file("/etc/group", b"root:x:0:\n");
    archive.file("/etc/hosts", b"127.0.0.1 localhost\n::1 localhost\n");
    for (inside, program) in [("/bin/busybox", BUSYBOX), ("/usr/bin/sh", SHELL)] {
        let found = crate::needs::find_program(program).expect("needs!(guests) has looked for it");
        add(&mut archive, Path::new(inside), &found);
    }
    for program in &guest.programs {
        add(&mut archive, &Path::new("/usr/bin").join(program.file_name().unwrap_or_default()), program);
    }
    for (inside, file) in &guest.files {
        add(&mut archive, inside, file);
    }
    for file in sorted(&guest.kernel.folder().join("modules")) {
        let name = file.file_name().unwrap_or_default();
        archive.file(Path::new("/modules").join(name), &read(&file));
    }
    archive.finish()
}

/// A file with the libraries it wants, which keep their paths.
#[track_caller]
fn add(archive: &mut Archive, inside: &Path, file: &Path) {
    archive.file(inside, &read(file));
    for library in libraries(file) {
        archive.file(&library, &read(&library));
    }
}

/// As `ldd` lists them: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x..)`, or the loader's path alone. For what is no
/// dynamic program it lists nothing.
fn libraries(program: &Path) -> BTreeSet<PathBuf> {
    let output = Command::new(LDD).arg(program).output().expect("needs!(guests) has looked for it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // A line without an address is a warning about the file that it begins with.
    let path = |line: &str| {
        let (words, _address) = line.rsplit_once(" (0x")?;
        words.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from)
    };
    if output.status.success() { text.lines().filter_map(path).collect() } else { BTreeSet::new() }
}

/// By their names, which for modules is the order of loading.
fn sorted(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.flatten().map(|entry| entry.path()).collect()
}

#[track_caller]
fn read(file: &Path) -> Vec<u8> {
    std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
