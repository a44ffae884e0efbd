//! The layering rule of ARCHITECTURE.md as a test: who may depend on whom, and what `core/` never does.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[path = "layering/code.rs"]
mod code;

use code::code_of;

const MOST_LINES_IN_A_FILE: usize = 600;
const LAYERS: [&str; 6] = ["core", "drivers", "service", "clients", "dev", "tests"];
const CORE_MAY_USE: [&str; 5] = ["ipnet", "serde", "serde_json", "thiserror", "zerocopy"];
/// Whose subject the kernel's own interface is.
const MAY_BE_UNSAFE: [&str; 2] = ["drivers/host", "drivers/datapath"];
const CLIENTS_MAY_USE: [&str; 3] = ["hns-net", "hns-hcn", "hns-client"];

/// Words that would make `core/` do input or output, read a clock, wait, or draw lots.
const CORE_NEVER_SAYS: [&str; 13] = [
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os",
    "Instant",
    "SystemTime",
    "async fn",
    "async move",
    "rand::",
];

/// File names that say nothing about what is inside.
const NAMES_THAT_SAY_NOTHING: [&str; 8] =
    ["utils", "util", "common", "helpers", "helper", "misc", "types", "shared"];

struct Package {
    name: String,
    /// Its folder, from the repository's root: `core/net`.
    folder: PathBuf,
    /// What its program or library needs, by package name; not what only its tests need.
    needs: BTreeSet<String>,
    tests_need: BTreeSet<String>,
}

impl Package {
    fn layer(&self) -> &str {
        self.folder.iter().next().and_then(|part| part.to_str()).expect("no package lies in the root")
    }
}

#[test]
fn packages_depend_only_on_the_layers_below() {
    let packages = packages();
    let layer_of: BTreeMap<&str, &str> =
        packages.iter().map(|package| (package.name.as_str(), package.layer())).collect();
    let mut wrong = Vec::new();
    for package in &packages {
        for need in &package.needs {
            let Some(below) = layer_of.get(need.as_str()) else { continue };
            let allowed = match package.layer() {
                "core" => *below == "core",
                "drivers" => *below == "core",
                "service" => ["core", "drivers", "service"].contains(below),
                "clients" => CLIENTS_MAY_USE.contains(&need.as_str()),
                _ => true,
            };
            if !allowed {
                wrong.push(format!("{} ({}) must not need {need} ({below})", package.name, package.layer()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_package_lies_in_a_layer_and_is_named_after_its_folder() {
    for package in packages() {
        assert!(LAYERS.contains(&package.layer()), "{}", package.folder.display());
        let folder = package.folder.file_name().unwrap().to_str().unwrap();
        // A program whose own name begins so already is not named twice: `hns-cni`.
        let name = format!("hns-{}", folder.trim_start_matches("hns-"));
        assert_eq!(package.name, name, "{}", package.folder.display());
    }
}

#[test]
fn core_uses_only_the_outside_crates_it_is_allowed() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    for package in packages.iter().filter(|package| package.layer() == "core") {
        for need in &package.needs {
            let allowed = ours.contains(need.as_str()) || CORE_MAY_USE.contains(&need.as_str());
            assert!(allowed, "{} must not need {need}", package.name);
        }
    }
}

#[test]
fn core_does_no_input_or_output_and_reads_no_clock() {
    let mut wrong = Vec::new();
    for file in rust_files("core").iter().filter(|file| file.iter().any(|part| part == "src")) {
        let text = std::fs::read_to_string(file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in CORE_NEVER_SAYS.iter().filter(|word| says(code, word)) {
                wrong.push(format!("{}:{}: {word}", shown(file), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "core/ is pure; hand these in as arguments: {wrong:#?}");
}

#[test]
fn a_file_has_one_subject_and_its_name_says_which() {
    let mut wrong = Vec::new();
    for file in LAYERS.iter().flat_map(|layer| rust_files(layer)) {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        if lines > MOST_LINES_IN_A_FILE {
            wrong.push(format!("{}: {lines} lines, at most {MOST_LINES_IN_A_FILE}", shown(&file)));
        }
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let folder = file.parent().unwrap().file_name().unwrap().to_str().unwrap();
        if NAMES_THAT_SAY_NOTHING.contains(&stem) || NAMES_THAT_SAY_NOTHING.contains(&folder) {
            wrong.push(format!("{}: the name says nothing", shown(&file)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_crate_opens_with_what_it_is() {
    for file in LAYERS.iter().flat_map(|layer| rust_files(layer)) {
        let name = file.file_name().unwrap();
        if name != "lib.rs" && name != "main.rs" {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not say what it is", shown(&file));
    }
}

#[test]
fn unsafe_code_stays_where_the_kernel_is_spoken_to_and_gives_its_reason() {
    let mut wrong = Vec::new();
    for file in LAYERS.iter().flat_map(|layer| rust_files(layer)) {
        let may = MAY_BE_UNSAFE.iter().any(|folder| file.starts_with(root().join(folder)));
        let text = std::fs::read_to_string(&file).unwrap();
        for Unsafe { line, reasoned } in unsafe_uses(&text) {
            if !may {
                wrong.push(format!("{}:{line}: only {MAY_BE_UNSAFE:?} may", shown(&file)));
            } else if !reasoned {
                wrong.push(format!("{}:{line}: there is no `// SAFETY:` above it", shown(&file)));
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe code: {wrong:#?}");
}

#[test]
fn an_unsafe_use_is_seen_wherever_it_stands_and_only_in_code() {
    let seen = |text: &str| -> Vec<(usize, bool)> {
        unsafe_uses(text).iter().map(|found| (found.line, found.reasoned)).collect()
    };
    for text in [
        "unsafe { f() }",
        "let x = match unsafe { f() } {",
        "unsafe fn f() {}",
        "pub(crate) unsafe extern \"C\" fn f() {}",
        "unsafe impl Send for T {}",
        "#[unsafe(no_mangle)]",
        "#![allow(unsafe_code)]",
        "expect(\n    unsafe_code, reason = \"..\")",
        "let quote = '\"'; unsafe { f() } // \"",
        "let text = \"\\\\\"; unsafe { f(\"\") }",
        "let text = r#\"\"\"#; unsafe { f() }",
        "fn f<'a>(x: &'a str) { unsafe { g('\\'') } }",
        "/* /* */ */ unsafe { f() }",
        "number\"\"; unsafe { f() }",
    ] {
        assert_eq!(seen(text).len(), 1, "{text}");
    }
    for text in [
        "// unsafe",
        "/* unsafe\n/* unsafe */ unsafe */",
        "let text = \"\\\"unsafe\";",
        "let text = br##\"\"# unsafe \"##;",
        "let unsafely = is_unsafe;",
        "",
    ] {
        assert_eq!(seen(text), [], "{text}");
    }
    assert_eq!(seen("// SAFETY: none\nunsafe { f() }"), [(2, true)]);
    assert_eq!(seen("// SAFETY: none,\n// really\n#[inline]\nunsafe fn f() {}"), [(4, true)]);
    assert_eq!(seen("/// # Safety\n/// None.\nunsafe fn f() {}"), [(3, true)]);
    assert_eq!(seen("// SAFETY: none\n\nunsafe { f() }"), [(3, false)]);
    assert_eq!(seen("// SAFETY: none\nunsafe { f() }\nunsafe { f() }"), [(2, true), (3, false)]);
    assert_eq!(seen("#![expect(\n    unsafe_code,\n    reason = \"why\"\n)]"), [(2, true)]);
}

#[test]
fn what_a_test_needs_is_what_the_command_for_tests_installs() {
    let script = std::fs::read_to_string(root().join("x")).unwrap();
    let installed: BTreeSet<&str> = ["RUN_NEEDS", "TEST_NEEDS"]
        .iter()
        .flat_map(|list| {
            let (_, list) = script.split_once(&format!("\n{list}=\"")).expect("x has this list");
            list.split('"').next().unwrap_or_default().split_whitespace()
        })
        .filter_map(|need| need.split(':').next())
        .collect();
    let mut wrong = Vec::new();
    for file in LAYERS.iter().flat_map(|layer| rust_files(layer)) {
        let text = std::fs::read_to_string(&file).unwrap();
        // Split, so that this file does not find itself.
        for uses in text.split(concat!("needs!", "(")).skip(1) {
            let named = uses.split(')').next().unwrap_or_default().split('"').skip(1).step_by(2);
            for need in named.filter(|need| !installed.contains(need)) {
                wrong.push(format!("{}: {need}", shown(&file)));
            }
        }
    }
    assert!(wrong.is_empty(), "neither RUN_NEEDS nor TEST_NEEDS of ./x has these: {wrong:#?}");
}

/// What programs and libraries need, `./x lint` looks at; this is about what only their tests need.
#[test]
fn what_only_tests_need_is_named_in_them() {
    let mut wrong = Vec::new();
    for package in packages() {
        let texts: Vec<String> = rust_files(package.folder.to_str().unwrap())
            .iter()
            .map(|file| std::fs::read_to_string(file).unwrap())
            .collect();
        for need in &package.tests_need {
            let name = need.replace('-', "_");
            if !texts.iter().any(|text| says(text, &name)) {
                wrong.push(format!("{} does not use {need}", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

struct Unsafe {
    line: usize,
    /// Whether the comment right above says why it is sound; for a lint that is lifted, the compiler wants the reason.
    reasoned: bool,
}

fn unsafe_uses(text: &str) -> Vec<Unsafe> {
    if !text.contains("unsafe") {
        return Vec::new();
    }
    let code = code_of(text);
    let lines: Vec<&str> = text.lines().collect();
    let reason_above = |at: usize| {
        let above = lines[..at].iter().rev().map(|line| line.trim_start());
        above
            .take_while(|line| line.starts_with("//") || line.starts_with("#["))
            .any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
    };
    let uses = code.lines().enumerate().filter_map(|(at, line)| {
        let lifts_the_lint = says(line, concat!("unsafe", "_code"));
        let found = lifts_the_lint || says(line, "unsafe");
        found.then(|| Unsafe { line: at + 1, reasoned: lifts_the_lint || reason_above(at) })
    });
    uses.collect()
}

/// Whether code says a word as a word: `Instant`, but not `InstantReply`.
fn says(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let part_of_a_name = |c: char| c.is_alphanumeric() || c == '_';
        let before = code[..at].chars().next_back().is_some_and(part_of_a_name);
        // `std::net::Tcp` stands for every name that begins so.
        let open_ended = word.ends_with(':') || word.ends_with("Tcp") || word.ends_with("Udp");
        let after = code[at + word.len()..].chars().next().is_some_and(part_of_a_name);
        !before && (open_ended || !after)
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository's root")
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn packages() -> Vec<Package> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

fn package(document: &Value) -> Package {
    let manifest = Path::new(document["manifest_path"].as_str().unwrap());
    let needs = |of_tests: bool| {
        let all = document["dependencies"].as_array().unwrap().iter();
        all.filter(|need| (need["kind"] == "dev") == of_tests)
            .map(|need| need["name"].as_str().unwrap().to_owned())
            .collect()
    };
    Package {
        name: document["name"].as_str().unwrap().to_owned(),
        folder: manifest.parent().unwrap().strip_prefix(root()).unwrap().to_owned(),
        needs: needs(false),
        tests_need: needs(true),
    }
}

/// Every Rust file below a folder of the repository, without what is built.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().unwrap() != "target" {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}
