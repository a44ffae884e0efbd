//! Compiles `bpf/port.bpf.c` for the kernel's eBPF machine. The object knows nothing of the kernel it was built on.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGES: &str =
    "compiling the eBPF programs needs the Debian packages clang, libbpf-dev and linux-libc-dev";

fn main() -> Result<(), Box<dyn Error>> {
    let sources = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../bpf");
    let object = PathBuf::from(env::var("OUT_DIR")?).join("port.o");
    println!("cargo::rerun-if-env-changed=CLANG");
    for folder in [sources.clone(), sources.join("lib"), sources.join("layers")] {
        watch(&folder)?;
    }
    compile(&sources.join("port.bpf.c"), &object)
}

fn watch(folder: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for file in fs::read_dir(folder)? {
        println!("cargo::rerun-if-changed={}", file?.path().display());
    }
    Ok(())
}

fn compile(source: &Path, object: &Path) -> Result<(), Box<dyn Error>> {
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    // <asm/types.h> is in the folder of the machine that compiles; its types are the same everywhere.
    let headers = format!("/usr/include/{}-linux-gnu", env::consts::ARCH);
    let status = Command::new(clang)
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", "-fno-strict-aliasing"])
        .args(["-I", &headers, "-c"])
        .arg(source)
        .arg("-o")
        .arg(object)
        .status()
        .map_err(|error| format!("{PACKAGES}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{PACKAGES}; clang says above what it misses").into()) }
}
