use std::io::Write;
use std::os::unix::fs::FileTypeExt;

use flate2::Compression;
use flate2::write::GzEncoder;
use nix::sys::stat::Mode;
use serde_json::json;
use tar::{Archive, Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;

#[derive(Clone, Copy)]
enum Entry<'a> {
    File(&'a str, &'a str),
    Dir(&'a str),
    Link(&'a str, &'a str),
    HardLink(&'a str, &'a str),
    Fifo(&'a str),
    Device(&'a str),
}

impl Entry<'_> {
    fn name(&self) -> &str {
        match self {
            Self::File(name, _) | Self::Link(name, _) | Self::HardLink(name, _) => name,
            Self::Dir(name) | Self::Fifo(name) | Self::Device(name) => name,
        }
    }
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
            Entry::HardLink(path, target) => {
                header.set_entry_type(EntryType::Link);
                header.set_size(0);
                builder.append_link(&mut header, path, target).unwrap();
            }
            Entry::Fifo(path) => {
                header.set_entry_type(EntryType::Fifo);
                header.set_size(0);
                builder.append_data(&mut header, path, io::empty()).unwrap();
            }
            Entry::Device(path) => {
                header.set_entry_type(EntryType::Block);
                header.set_size(0);
                builder.append_data(&mut header, path, io::empty()).unwrap();
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

/// What preparing a root of these entries says; whatever happens, nothing may happen outside of the root.
fn beside_a_victim(entries: &[Entry<'_>]) -> (TempDir, Result<Root, ContainerError>) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.tar");
    fs::write(&source, tar(entries)).unwrap();
    let container = folder.path().join("container");
    fs::create_dir(&container).unwrap();
    fs::write(folder.path().join("victim"), "alive").unwrap();
    fs::write(container.join("victim"), "alive").unwrap();
    let root = Root::prepare(&source, &container);
    let around =
        |path: &Path| fs::read_dir(path).unwrap().map(|one| one.unwrap().file_name()).collect::<Vec<_>>();
    let (mut above, mut beside) = (around(folder.path()), around(&container));
    above.sort();
    beside.sort();
    assert_eq!(above, ["container", "source.tar", "victim"]);
    let expected: &[&str] = if root.is_ok() { &["rootfs", "victim"] } else { &["victim"] };
    assert_eq!(beside, expected, "nothing half unpacked stays");
    (folder, root)
}

#[test]
fn names_that_mean_something_outside_are_refused() {
    let refused: [(&[Entry<'_>], &str); 8] = [
        (&[Entry::File("../escaped", "x")], "../escaped"),
        (&[Entry::File("/../escaped", "x")], "/../escaped"),
        (&[Entry::Dir("a"), Entry::File("a/../escaped", "x")], "a/../escaped"),
        (&[Entry::File(".wh.", "")], ".wh."),
        (&[Entry::File(".wh..", "")], ".wh.."),
        (&[Entry::File(".wh...", "")], ".wh..."),
        (&[Entry::Dir("a"), Entry::File("a/.wh...", "")], "a/.wh..."),
        (&[Entry::HardLink("mine", "../victim")], "mine"),
    ];
    for (entries, name) in refused {
        let mut all = vec![Entry::Dir("ok")];
        all.extend(entries.iter().copied());
        let (_folder, root) = beside_a_victim(&all);
        let Err(ContainerError::EntryRefused { archive, entry, .. }) = root else {
            panic!("{name}: {root:?}")
        };
        assert_eq!(entry, Path::new(name));
        assert!(archive.ends_with("source.tar"));
    }
}

#[test]
fn links_lead_where_they_will_lead_in_the_container() {
    let leading: [(&[Entry<'_>], &[&str]); 7] = [
        (&[Entry::Link("out", ".."), Entry::File("out/new", "x")], &["new = x", "out -> .."]),
        (&[Entry::Link("out", "../.."), Entry::File("out/.wh.victim", "")], &["out -> ../.."]),
        (&[Entry::Link("out", ".."), Entry::File("out/.wh..wh..opq", "")], &["out -> .."]),
        (
            &[Entry::Dir("usr"), Entry::Link("lib", "/usr"), Entry::File("lib/a/b", "x")],
            &["lib -> /usr", "usr/", "usr/a/", "usr/a/b = x"],
        ),
        // What came by one name is known by the other.
        (
            &[
                Entry::Dir("usr"),
                Entry::Link("lib", "usr"),
                Entry::File("lib/a", "x"),
                Entry::File("usr/.wh..wh..opq", ""),
            ],
            &["lib -> usr", "usr/", "usr/a = x"],
        ),
        (&[Entry::Link("far", "../victim"), Entry::File("far", "x")], &["far = x"]),
        (
            &[Entry::Link("far", "../victim"), Entry::HardLink("near", "far")],
            &["far -> ../victim", "near -> ../victim"],
        ),
    ];
    for (entries, expected) in leading {
        let (_folder, root) = beside_a_victim(entries);
        assert_eq!(tree(&root.unwrap().path), expected);
    }
    // Nothing is at the other end inside, whatever is there outside.
    let (_folder, root) = beside_a_victim(&[Entry::Link("out", "/etc/ssl"), Entry::File("out/new", "x")]);
    assert!(matches!(root, Err(ContainerError::UnpackEntry { .. })), "{root:?}");
}

#[test]
fn devices_are_left_out_where_the_runtime_has_its_own_and_refused_elsewhere() {
    let (_folder, root) =
        beside_a_victim(&[Entry::Dir("dev"), Entry::Device("dev/null"), Entry::Fifo("pipe")]);
    let root = root.unwrap().path;
    assert_eq!(fs::read_dir(root.join("dev")).unwrap().count(), 0);
    assert!(root.join("pipe").metadata().unwrap().file_type().is_fifo());
    let (_folder, root) = beside_a_victim(&[Entry::Device("srv/disk")]);
    assert!(
        matches!(&root, Err(ContainerError::EntryRefused { entry, .. }) if entry == Path::new("srv/disk")),
        "{root:?}"
    );
}

/// A layout's parts: a manifest without layers, and whatever `index` is.
fn layout_with<'a>(index: Entry<'a>, layout: Entry<'a>) -> [Entry<'a>; 5] {
    let manifest = r#"{"config": {"digest": "sha256:c"}, "layers": []}"#;
    [
        index,
        layout,
        Entry::Fifo("pipe"),
        Entry::File("blobs/sha256/m", manifest),
        Entry::File("blobs/sha256/c", "{}"),
    ]
}

const INDEX: &str = r#"{"manifests": [{"digest": "sha256:m"}]}"#;

#[test]
fn parts_of_an_image_are_regular_files() {
    let good = layout_with(Entry::File("index.json", INDEX), Entry::File("oci-layout", "{}"));
    assert!(beside_a_victim(&good).1.is_ok());
    let index = || Entry::File("index.json", INDEX);
    let bad = [
        layout_with(Entry::Fifo("index.json"), Entry::File("oci-layout", "{}")),
        layout_with(Entry::Link("index.json", "pipe"), Entry::File("oci-layout", "{}")),
        layout_with(Entry::Link("index.json", "/dev/zero"), Entry::File("oci-layout", "{}")),
        layout_with(Entry::Link("index.json", "../victim"), Entry::File("oci-layout", "{}")),
        layout_with(index(), Entry::Link("oci-layout", "pipe")),
        layout_with(index(), Entry::Link("oci-layout", "/dev/zero")),
    ];
    for entries in bad {
        // In a file and in a folder, where links and FIFOs are as real.
        let (folder, packed) = beside_a_victim(&entries);
        let layout = folder.path().join("layout");
        fs::create_dir(&layout).unwrap();
        Archive::new(tar(&entries).as_slice()).unpack(&layout).unwrap();
        for name in ["index.json", "oci-layout"] {
            if matches!(entries.iter().find(|one| one.name() == name), Some(Entry::Fifo(_))) {
                // The archive's reader makes a file of it.
                fs::remove_file(layout.join(name)).unwrap();
                nix::unistd::mkfifo(&layout.join(name), Mode::S_IRWXU).unwrap();
            }
        }
        fs::remove_file(layout.join("pipe")).unwrap();
        nix::unistd::mkfifo(&layout.join("pipe"), Mode::S_IRWXU).unwrap();
        for root in [packed, Root::prepare(&layout, &folder.path().join("container"))] {
            assert!(
                matches!(root, Err(ContainerError::NotAFile { .. } | ContainerError::IncompleteImage { .. })),
                "{root:?}"
            );
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for device in ["/dev/zero", "/dev/null"] {
        let root = Root::prepare(Path::new(device), folder.path());
        assert!(matches!(root, Err(ContainerError::NotAFile { .. })), "{root:?}");
    }
}

#[test]
fn a_layout_in_a_folder_is_an_image_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (lower, _) = lower_and_upper();
    let layout = folder.path().join("layout");
    let container = folder.path().join("container");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::create_dir(&container).unwrap();
    let manifest = json!({"config": {"digest": "sha256:c"}, "layers": [{"digest": "sha256:1"}]}).to_string();
    for (name, bytes) in [
        ("oci-layout", b"{}".as_slice()),
        ("index.json", INDEX.as_bytes()),
        ("blobs/sha256/m", manifest.as_bytes()),
        ("blobs/sha256/c", CONFIG.as_bytes()),
        ("blobs/sha256/1", lower.as_slice()),
    ] {
        fs::write(layout.join(name), bytes).unwrap();
    }
    let before = tree(&layout);
    let root = Root::prepare(&layout, &container).unwrap();
    assert_eq!(root.path, container.join("rootfs"), "a container that writes to its root writes elsewhere");
    assert_eq!(root.config, told_config());
    assert!(root.path.join("bin/sh").is_file());
    assert_eq!(tree(&layout), before);
}

#[test]
fn documents_end_at_four_mebibytes() {
    let long = format!("{{}}{}", " ".repeat(4 << 20));
    let manifest = r#"[{"Config": "c.json", "Layers": []}]"#;
    for entries in [
        [Entry::File("c.json", &long), Entry::File("manifest.json", manifest)],
        [Entry::File("c.json", "{}"), Entry::File("manifest.json", &long)],
    ] {
        let (_folder, root) = beside_a_victim(&entries);
        assert!(matches!(root, Err(ContainerError::TooLong { length_max: 4_194_304, .. })), "{root:?}");
    }
}

#[test]
fn what_an_image_may_hold_has_limits_that_are_told() {
    let entries = tar(&[Entry::File("a", "12345"), Entry::File("b", "12345"), Entry::File("c", "1")]);
    for (bytes_max, entries_max, limit, told) in [
        (10, 3, "10 bytes", Some("c")),
        (11, 2, "2 entries", Some("c")),
        (9, 3, "9 bytes", Some("b")),
        (11, 3, "", None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("layer.tar");
        fs::write(&file, &entries).unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        let outcome = layer::apply(open(&file).unwrap(), &root, &mut Allowance::new(bytes_max, entries_max));
        match (outcome, told) {
            (Ok(()), None) => {}
            (Err(error), Some(name)) => {
                let said = error.to_string();
                let expected = format!("layer.tar is too large: with {name:?} there are more than {limit}");
                assert!(said.ends_with(&expected), "{said}");
            }
            (outcome, told) => panic!("{outcome:?} {told:?}"),
        }
    }
}

#[test]
fn a_name_without_end_is_not_read_to_its_end() {
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(2 << 20);
    header.set_cksum();
    builder.append(&header, "a".repeat(2 << 20).as_bytes()).unwrap();
    let mut bytes = tar(&[Entry::File("first", "x")]);
    bytes.truncate(1024);
    bytes.extend(builder.into_inner().unwrap());
    let (_folder, root) = prepare(&gzip(&bytes));
    let Err(ContainerError::Unpack { source, .. }) = root else { panic!("{root:?}") };
    assert!(source.to_string().contains("longer than 1048576 bytes"), "{source}");
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
