use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;

enum Entry<'a> {
    File(&'a str, &'a str),
    Dir(&'a str),
    Link(&'a str, &'a str),
}

fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_gnu();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        match entry {
            Entry::File(path, text) => {
                header.set_size(text.len() as u64);
                // Written raw, so that a test can hold paths that a builder refuses.
                header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
                header.set_cksum();
                builder.append(&header, text.as_bytes()).unwrap();
            }
            Entry::Dir(path) => {
                header.set_entry_type(EntryType::Directory);
                header.set_size(0);
                builder.append_data(&mut header, path, io::empty()).unwrap();
            }
            Entry::Link(path, target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, path, target).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Prepares a root from the bytes of a file.
fn prepare(bytes: &[u8]) -> (TempDir, Result<Root, ContainerError>) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.tar");
    fs::write(&source, bytes).unwrap();
    let container = folder.path().join("container");
    fs::create_dir(&container).unwrap();
    let root = Root::prepare(&source, &container);
    (folder, root)
}

/// Everything below a folder, with the content of files.
fn tree(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                lines.push(format!("{name}/"));
                folders.push(path);
            } else if kind.is_symlink() {
                lines.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else {
                lines.push(format!("{name} = {}", fs::read_to_string(&path).unwrap()));
            }
        }
    }
    lines.sort();
    lines
}

const CONFIG: &str = r#"{"architecture":"amd64","config":{"Env":["A=1"],"Entrypoint":["/init"],"Cmd":["serve"],
    "WorkingDir":"/srv","User":"web"}}"#;

fn lower_and_upper() -> (Vec<u8>, Vec<u8>) {
    let lower = tar(&[
        Entry::Dir("bin"),
        Entry::File("bin/sh", "shell"),
        Entry::File("gone", "x"),
        Entry::Dir("cache"),
        Entry::File("cache/old", "x"),
        Entry::Dir("was-dir"),
        Entry::File("was-dir/x", "x"),
        Entry::File("was-file", "x"),
        Entry::Link("lib", "usr/lib"),
    ]);
    let upper = tar(&[
        Entry::File(".wh.gone", ""),
        Entry::File("cache/new", "kept"),
        Entry::File("cache/.wh..wh..opq", ""),
        Entry::File("was-dir", "now a file"),
        Entry::Dir("was-file"),
        Entry::File("was-file/x", "now a folder"),
        Entry::File("bin/sh", "newer shell"),
        Entry::File(".wh.never-was", ""),
    ]);
    (lower, upper)
}

const MERGED: [&str; 8] = [
    "bin/",
    "bin/sh = newer shell",
    "cache/",
    "cache/new = kept",
    "lib -> usr/lib",
    "was-dir = now a file",
    "was-file/",
    "was-file/x = now a folder",
];

fn told_config() -> ImageConfig {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
    ImageConfig {
        environment: words(&["A=1"]),
        entrypoint: words(&["/init"]),
        command: words(&["serve"]),
        working_dir: "/srv".into(),
        user: "web".into(),
    }
}

#[test]
fn a_saved_image_is_its_layers_on_top_of_each_other() {
    let (lower, upper) = lower_and_upper();
    let manifest = json!([{"Config": "c.json", "RepoTags": null, "Layers": ["1/layer.tar", "2/layer.tar"]}]);
    let image = [
        Entry::File("1/layer.tar", text(&lower)),
        Entry::File("2/layer.tar", text(&upper)),
        Entry::File("c.json", CONFIG),
        Entry::File("manifest.json", &manifest.to_string()),
    ];
    for bytes in [tar(&image), gzip(&tar(&image))] {
        let (folder, root) = prepare(&bytes);
        let root = root.unwrap();
        assert_eq!(tree(&root.path), MERGED);
        assert_eq!(root.config, told_config());
        assert!(!folder.path().join("container/image").exists(), "the image's own parts are removed");
    }
}

#[test]
fn an_oci_layout_is_found_through_its_index() {
    let folder = tempfile::tempdir().unwrap();
    let (lower, upper) = lower_and_upper();
    let descriptor = |hash: &str, kind: &str| json!({"digest": format!("sha256:{hash}"), "mediaType": kind});
    let manifest = json!({"config": descriptor("c", "config"),
        "layers": [descriptor("1", "layer.v1.tar+gzip"), descriptor("2", "layer.v1.tar")]});
    let mut other = descriptor("missing", "manifest");
    other["platform"] = json!({"architecture": "s390x"});
    let mut ours = descriptor("m", "manifest");
    ours["platform"] = json!({"architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }});
    let mut builder = Builder::new(Vec::new());
    let blobs: [(&str, Vec<u8>); 7] = [
        ("oci-layout", b"{}".to_vec()),
        ("index.json", json!({"manifests": [descriptor("i", "index")]}).to_string().into()),
        ("blobs/sha256/i", json!({"manifests": [other, ours]}).to_string().into()),
        ("blobs/sha256/m", manifest.to_string().into()),
        ("blobs/sha256/c", CONFIG.into()),
        ("blobs/sha256/1", gzip(&lower)),
        ("blobs/sha256/2", upper),
    ];
    for (path, bytes) in blobs {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    let source = folder.path().join("oci.tar");
    fs::write(&source, builder.into_inner().unwrap()).unwrap();
    let root = Root::prepare(&source, folder.path()).unwrap();
    assert_eq!(tree(&root.path), MERGED);
    assert_eq!(root.config, told_config());
}

#[test]
fn an_exported_container_is_a_root_as_it_is() {
    let (_folder, root) = prepare(&tar(&[Entry::Dir("bin"), Entry::File("bin/sh", "shell")]));
    let root = root.unwrap();
    assert_eq!(tree(&root.path), ["bin/", "bin/sh = shell"]);
    assert_eq!(root.config, ImageConfig::default());
}

#[test]
fn a_folder_is_used_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("root");
    fs::create_dir(&source).unwrap();
    let root = Root::prepare(&source, &folder.path().join("container")).unwrap();
    assert_eq!(root.path, source.canonicalize().unwrap());
    assert_eq!(tree(&root.path), [""; 0]);
}

#[test]
fn no_layer_writes_outside_of_the_root() {
    let escapes: [&[Entry<'_>]; 5] = [
        &[Entry::Dir("ok"), Entry::File("../escaped", "x")],
        &[Entry::Dir("ok"), Entry::File("/../escaped", "x")],
        &[Entry::Link("out", ".."), Entry::File("out/escaped", "x")],
        &[Entry::Link("out", ".."), Entry::File("out/.wh.victim", "")],
        &[Entry::Link("out", ".."), Entry::File("out/.wh..wh..opq", "")],
    ];
    for entries in escapes {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("victim"), "alive").unwrap();
        let source = folder.path().join("source.tar");
        fs::write(&source, tar(entries)).unwrap();
        // Refused or skipped: either is right, as long as nothing happens outside.
        let _outcome = Root::prepare(&source, folder.path());
        assert!(!folder.path().join("escaped").exists());
        assert!(folder.path().join("victim").exists() && source.exists());
    }
}

#[test]
fn what_is_no_image_says_so() {
    let (_folder, root) = prepare(b"#!/bin/sh\n");
    assert!(matches!(root, Err(ContainerError::NotARoot { .. })), "{root:?}");
    let (_folder, root) = prepare(&tar(&[]));
    assert!(matches!(root, Err(ContainerError::NotARoot { .. })), "{root:?}");
    let outside = json!([{"Config": "../source.tar", "Layers": []}]).to_string();
    let missing = json!([{"Config": "c.json", "Layers": ["no/layer.tar"]}]).to_string();
    for manifest in ["[]", "[{}]", &outside, &missing] {
        let (_folder, root) =
            prepare(&tar(&[Entry::File("c.json", "{}"), Entry::File("manifest.json", manifest)]));
        assert!(matches!(root, Err(ContainerError::IncompleteImage { .. })), "{manifest}: {root:?}");
    }
    let (_folder, root) = prepare(&tar(&[Entry::File("manifest.json", "{")]));
    assert!(matches!(root, Err(ContainerError::Parse { .. })), "{root:?}");
}
