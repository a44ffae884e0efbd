//! The structs and constants of `core/abi` are those of `bpf/lib/abi.h`, in size and place and number.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process, thread};

use hns_abi::layout::{Layout, constants, layouts};
use hns_abi::{Direction, Map, Reason};
use hns_testbed::needs;
use serde_json::Value;

fn bpf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bpf")
}

fn header() -> String {
    fs::read_to_string(bpf().join("lib/abi.h")).unwrap()
}

/// The words after each `keyword` that begins a line, as in `struct NAME {`.
fn declared(keyword: &str) -> Vec<String> {
    let header = header();
    let names = header.lines().filter_map(|line| line.strip_prefix(keyword)?.strip_suffix(" {"));
    names.map(|name| name.trim().to_owned()).collect()
}

/// The BTF of the header, as JSON: what clang makes of a file that uses everything in it.
fn btf() -> Vec<Value> {
    let folder = env::temp_dir().join(format!("hns-layout-{}-{:?}", process::id(), thread::current().id()));
    fs::create_dir_all(&folder).unwrap();
    let mut source = String::from("#include \"lib/abi.h\"\n");
    for (keyword, place) in [("struct", 's'), ("enum", 'e')] {
        for name in declared(&format!("{keyword} ")) {
            source += &format!("{keyword} {name} {place}_{name};\n");
        }
    }
    fs::write(folder.join("all.c"), source).unwrap();
    let object = folder.join("all.o");
    let compiled = Command::new(env::var_os("CLANG").unwrap_or_else(|| "clang".into()))
        .args(["-g", "-O2", "-target", "bpf", "-c"])
        .arg(format!("-I/usr/include/{}-linux-gnu", env::consts::ARCH))
        .arg("-I")
        .arg(bpf())
        .arg(folder.join("all.c"))
        .arg("-o")
        .arg(&object)
        .status();
    assert!(compiled.unwrap().success());
    let output = Command::new("bpftool").args(["-j", "btf", "dump", "file"]).arg(&object).output().unwrap();
    let types: Value = serde_json::from_slice(&output.stdout).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    types["types"].as_array().unwrap().clone()
}

#[test]
fn structs_lie_the_same_way() {
    needs!("bpftool", "clang");
    let mut in_c = BTreeMap::new();
    for found in btf().iter().filter(|found| found["kind"] == "STRUCT") {
        let fields: Vec<(String, u64)> = found["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|field| (field["name"].as_str().unwrap().into(), field["bits_offset"].as_u64().unwrap() / 8))
            .collect();
        in_c.insert(found["name"].as_str().unwrap().to_owned(), (found["size"].as_u64().unwrap(), fields));
    }
    let here = |layout: &Layout| {
        let fields = layout.fields.iter().map(|(name, offset)| ((*name).to_owned(), *offset as u64));
        (layout.name.to_owned(), (layout.size as u64, fields.collect::<Vec<_>>()))
    };
    let in_rust: BTreeMap<_, _> = layouts().iter().map(here).collect();
    assert_eq!(in_rust, in_c);
}

#[test]
fn constants_are_the_same() {
    needs!("bpftool", "clang");
    let mut in_c = BTreeMap::new();
    for found in btf().iter().filter(|found| found["kind"] == "ENUM") {
        for value in found["values"].as_array().unwrap() {
            in_c.insert(value["name"].as_str().unwrap().to_owned(), value["val"].as_u64().unwrap());
        }
    }
    let mut in_rust: BTreeMap<String, u64> =
        constants().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    // `#define`s are not in BTF.
    for line in header().lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("#define") {
            continue;
        }
        let (Some(name), Some(value)) = (words.next(), words.next()) else { continue };
        let number = match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => value.parse().ok(),
        };
        // The one that is no number is computed of those that are.
        in_c.insert(name.to_owned(), number.unwrap_or_else(|| in_rust[name]));
    }
    for reason in Reason::ALL {
        let name = format!("REASON_{}", reason.word().replace('-', "_").to_uppercase());
        in_rust.insert(name, reason.number().into());
    }
    in_rust.insert("REASON_NONE".into(), 0);
    in_rust.insert("REASON_MAX".into(), in_c["REASON_MAX"]);
    in_rust.insert("DIR_IN".into(), Direction::In as u64);
    in_rust.insert("DIR_OUT".into(), Direction::Out as u64);
    assert_eq!(in_rust, in_c);
    assert!(Reason::ALL.iter().all(|reason| u64::from(reason.number()) < in_c["REASON_MAX"]));
}

#[test]
fn the_object_has_the_maps_by_name() {
    let object = String::from_utf8_lossy(hns_datapath::OBJECT);
    let names: BTreeSet<&str> = object.split('\0').collect();
    for map in Map::ALL {
        assert!(names.contains(map.name()), "{}", map.name());
    }
}
