//! The oldest, the middle and the newest kernel that we support: the datapath's own tests, run in a guest of each. The test
//! programs are those that lie beside this one, with the eBPF programs in them; a guest runs them as this machine does.

#![expect(
    clippy::print_stdout,
    reason = "the results of the tests inside are shown with a test's own output"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hns_testbed::guest::{Guest, Kernel};
use hns_testbed::needs;

/// Until a guest is ended by force. It is there to end, not to hurry: a machine with other things to do takes several times as long.
const LIMIT: Duration = Duration::from_secs(600);

/// What the tests call; the rest is busybox's.
const PROGRAMS: [&str; 2] = ["ip", "tc"];

/// The processor is emulated, and the machine's own kernel has done it more often: packets compared with the interpreter,
/// restarts.
const LESS: &str = "HNS_EQUALITY_CASES=3000 HNS_DATAPATH_RESTARTS=2";

/// What the test programs are made from besides their own files.
const SOURCES: [&str; 4] = ["bpf", "drivers/datapath/src", "core/vfp/src", "core/abi/src"];

/// Runs all tests of the test program made from `source`.
#[track_caller]
fn run(kernel: Kernel, source: &str) {
    let mut guest = Guest::new(kernel).memory_mib(1024).limit(LIMIT);
    for name in PROGRAMS {
        guest = guest.program(name);
    }
    let script = format!("uname -r; cd /tmp; {LESS} /tests --test-threads 2");
    let ran = guest.file("/tests", test_program(source)).script(script).boot();
    let output = ran.expect_success();
    assert!(output.starts_with(&kernel.release()), "{output}");
    assert!(output.contains("test result: ok.") && !output.contains("\nrunning 0 tests"), "{output}");
    println!("{output}");
}

/// The newest program made from `source`, which is named by its path in the tree: older builds of it lie beside it, and
/// test programs of other packages with the same name. What a program was made from is in the file NAME-HASH.d.
///
/// # Panics
/// When there is none, or what it was made from is newer: it would show nothing about the tree as it is.
#[track_caller]
fn test_program(source: &str) -> PathBuf {
    const BUILD: &str =
        "`./x test kernels` builds it, and so does naming its package: -p hns-datapath -p hns-tests";
    let own = std::env::current_exe().expect("a program knows where it lies");
    let folder = own.parent().expect("a program lies in a folder");
    let stem = Path::new(source).file_stem().unwrap_or_default().to_string_lossy();
    let is_list = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix(&*stem).is_some_and(|rest| rest.starts_with('-') && rest.ends_with(".d"))
    };
    let entries = std::fs::read_dir(folder).expect("the folder of a running program can be read");
    let lists = entries.flatten().map(|entry| entry.path()).filter(is_list);
    let made_from_it = lists.filter(|list| made_from(list).iter().any(|file| file == Path::new(source)));
    let programs = made_from_it.filter(|list| list.with_extension("").is_file());
    let list = programs.max_by_key(|list| changed(&list.with_extension("")));
    let list =
        list.unwrap_or_else(|| panic!("{source} is not built (looked in {}); {BUILD}", folder.display()));
    let program = list.with_extension("");
    let sources = SOURCES.iter().flat_map(|folder| files(&root().join(folder)));
    let newer = made_from(&list).into_iter().map(|file| root().join(file)).chain(sources);
    let newer = newer.max_by_key(|file| changed(file)).filter(|file| changed(file) > changed(&program));
    assert!(newer.is_none(), "{} is older than {newer:?}; {BUILD}", program.display());
    program
}

/// The compiler's list of a program's own files, from the tree's root.
fn made_from(list: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(list).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_suffix(':')).map(PathBuf::from).collect()
}

fn changed(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|about| about.modified()).ok()
}

/// The program texts in a folder and in those below it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs" || kind == "c" || kind == "h"))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root")
}

/// One test for each kernel, so that a report names it.
macro_rules! on_each_kernel {
    ($($story:ident: $source:literal;)+) => {$(
        mod $story {
            use super::*;

            #[test]
            fn on_the_oldest() {
                needs!(guests, "ip", "tc");
                run(Kernel::Bookworm, $source);
            }

            #[test]
            fn on_the_middle() {
                needs!(guests, "ip", "tc");
                run(Kernel::Trixie, $source);
            }

            #[test]
            fn on_the_newest() {
                needs!(guests, "ip", "tc");
                run(Kernel::Sid, $source);
            }
        }
    )+};
}

on_each_kernel! {
    datapath_obeys: "drivers/datapath/tests/suite.rs";
    datapath_carries_traffic: "drivers/datapath/tests/kernel.rs";
    datapath_keeps_connections: "drivers/datapath/tests/flows.rs";
    datapath_means_what_it_should: "drivers/datapath/tests/equality.rs";
}
