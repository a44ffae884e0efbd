//! What the daemon asks of kernel, disk and `nft` fails: nothing passes meanwhile that policy stops, whoever asks is told, and
//! afterwards all is as it should be, by itself.

#[path = "fail_shut/siege.rs"]
mod siege;

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hns_testbed::{Host, eventually, needs};
use hns_tests::story_support::{Scene, text};
use libc::{EINTR, EIO, EMFILE, ENOBUFS, ENOMEM, ENOSPC};
use serde_json::{Value, json};
use tempfile::TempDir;

use siege::Siege;

/// What can be made to fail: `enum kind` of `faults/shim.c`.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Socket = 1,
    Send,
    Receive,
    Bpf,
    Disk,
    Open,
}

/// Every so many calls of one kind fail with this error.
#[derive(Debug, Clone, Copy)]
struct Fault(Kind, i32, i32);

const NAMESPACES: usize = 3;

/// The page that the preloaded library and the test share: kind, error, every so many, calls, failed.
struct Page(File);

impl Page {
    fn make(path: &Path) -> Self {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(path).expect("a file");
        file.set_len(4096).expect("a page");
        Self(file)
    }

    fn set(&self, place: u64, value: i32) {
        self.0.write_all_at(&value.to_ne_bytes(), 4 * place).expect("a page");
    }

    fn arm(&self, Fault(kind, error, every): Fault) {
        self.set(0, 0);
        for (place, value) in [(1, error), (2, every), (3, 0), (4, 0), (0, kind as i32)] {
            self.set(place, value);
        }
    }

    fn disarm(&self) -> i32 {
        self.set(0, 0);
        let mut failed = [0; 4];
        self.0.read_exact_at(&mut failed, 16).expect("a page");
        i32::from_ne_bytes(failed)
    }
}

fn build_shim(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/shim.c");
    let library = folder.join("shim.so");
    let mut build = Command::new("clang");
    build.args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl");
    let output = build.output().expect("clang is one of the programs that ./x installs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

/// The siege of a daemon that can be made to fail, and who is to make containers meanwhile.
struct Trouble {
    siege: Siege,
    page: Page,
    blue: String,
    // Mapped by the daemon for as long as it runs.
    _folder: TempDir,
}

impl Trouble {
    #[track_caller]
    fn begin() -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("page");
        let page = Page::make(&path);
        let library = build_shim(folder.path());
        let text = |path: &Path| path.display().to_string();
        let scene =
            Scene::with(|_| {}, |hnsd| hnsd.env("LD_PRELOAD", text(&library)).env("HNS_FAULTS", text(&path)));
        let siege = Siege::begin(scene);
        for number in 0..NAMESPACES {
            let _kept_by_its_name = siege.scene.host.add_netns(&format!("burden{number}"));
        }
        let networks = siege.scene.get("/v2/networks");
        let blue = networks.as_array().into_iter().flatten().find(|network| network["Name"] == "blue");
        let blue =
            blue.map(|network| hns_tests::story_support::text(network, "ID")).expect("the siege has it");
        Self { siege, page, blue, _folder: folder }
    }

    /// Goes through faults under fire. After each everything is as it should be, by itself.
    #[track_caller]
    fn go_through(mut self, faults: &[Fault]) {
        let (page, blue) = (&self.page, self.blue.as_str());
        let port = self.siege.web.port();
        self.siege.under_fire(|scene, barrage| {
            for fault in faults {
                page.arm(*fault);
                for (round, damage) in DAMAGE.iter().enumerate() {
                    burden(scene, blue, round);
                    scene.host.sh(damage.replace("PORT", &port).as_str());
                }
                barrage.go_on(barrage.sent(), 20);
                let failed = page.disarm();
                assert!(failed > 0, "{fault:?} was never met");
                eventually!(within 30 s, is_well(scene).map_err(|why| format!("{fault:?}: {why}")));
            }
        });
        self.siege.nothing_came_in();
        eventually!(self.siege.is_served());
    }
}

/// What others do meanwhile, once a round.
const DAMAGE: [&str; 3] = ["nft flush ruleset", "ip link set PORT down", "true"];

/// Whoever asks is answered, by a document or by a reason; what was made is taken away again, as far as that is possible.
#[track_caller]
fn burden(scene: &Scene, network: &str, round: usize) {
    let mut api = scene.hnsd.api();
    let port = 9000 + round;
    let document = json!({
        "Name": format!("burden{round}"), "HostComputeNetwork": network,
        "HostComputeNamespace": {"AdditionalParams": {"Path": format!("/run/netns/burden{}", round % NAMESPACES)}},
        "Policies": [{"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": port}}],
    });
    let made = api.post("/v2/endpoints", &document);
    let made = made.unwrap_or_else(|error| panic!("{error}; hnsd said:\n{}", scene.hnsd.log()));
    let Some(id) = made.body["ID"].as_str() else {
        assert!(made.body["Error"].as_str().is_some_and(|error| !error.is_empty()), "{}", made.text);
        return;
    };
    let change = json!({
        "ResourceType": "Policy", "RequestType": "Remove", "Settings": {"Policies": document["Policies"]},
    });
    let path = format!("/v2/endpoints/{id}");
    let _changed = api.post(&format!("{path}/modify"), &change).expect("the daemon answers");
    let _gone = api.delete(&path).expect("the daemon answers");
}

/// Whether doctor, documents and kernel agree, once what the burden has left is taken away.
fn is_well(scene: &Scene) -> Result<(), String> {
    let mut api = scene.hnsd.api();
    let endpoints = scene.get("/v2/endpoints");
    let endpoints = endpoints.as_array().cloned().unwrap_or_default();
    let is_burden = |endpoint: &&Value| text(endpoint, "Name").starts_with("burden");
    for endpoint in endpoints.iter().filter(is_burden) {
        let gone = api
            .delete(&format!("/v2/endpoints/{}", text(endpoint, "ID")))
            .map_err(|error| error.to_string())?;
        if gone.status != 204 {
            return Err(gone.text);
        }
    }
    if endpoints.iter().any(|endpoint| is_burden(&endpoint)) {
        return Err("something was left to take away".to_owned());
    }
    let wanted: BTreeSet<String> =
        endpoints.iter().map(|endpoint| text(&endpoint["Health"]["Extra"], "Port")).collect();
    let seen = ports(&scene.host);
    if seen != wanted {
        return Err(format!("ports {seen:?}, not {wanted:?}"));
    }
    let published = scene.host.try_sh("nft list map inet hns publish4 | grep -o 'tcp . [0-9]*'").stdout;
    if published.trim() != "tcp . 8080" {
        return Err(format!("published: {published}"));
    }
    let said = scene.hnsd.try_hnsctl(&["doctor", "-o", "json"]).stdout;
    let findings: Vec<Value> = serde_json::from_str(&said).map_err(|error| format!("{error}: {said}"))?;
    let problem = findings.iter().find(|finding| finding["Level"] == "Problem");
    problem.map_or(Ok(()), |problem| Err(problem.to_string()))
}

fn ports(host: &Host) -> BTreeSet<String> {
    host.links().into_iter().filter(|link| link.starts_with("hnv")).collect()
}

#[test]
fn a_kernel_that_refuses_conversations_is_asked_again() {
    needs!(root, "nft", "clang");
    Trouble::begin().go_through(&[
        Fault(Kind::Socket, EMFILE, 1),
        Fault(Kind::Send, ENOBUFS, 3),
        Fault(Kind::Send, ENOBUFS, 1),
        Fault(Kind::Send, EINTR, 2),
        Fault(Kind::Receive, ENOBUFS, 5),
        Fault(Kind::Receive, ENOBUFS, 1),
        Fault(Kind::Receive, EINTR, 2),
    ]);
}

#[test]
fn maps_that_are_full_keep_ports_closed() {
    needs!(root, "nft", "clang");
    Trouble::begin().go_through(&[
        Fault(Kind::Bpf, ENOSPC, 1),
        Fault(Kind::Bpf, ENOSPC, 3),
        Fault(Kind::Bpf, ENOMEM, 2),
        Fault(Kind::Bpf, EINTR, 2),
    ]);
}

#[test]
fn a_disk_that_is_full_or_broken_is_told_and_nothing_is_half_done() {
    needs!(root, "nft", "clang");
    Trouble::begin().go_through(&[
        Fault(Kind::Disk, ENOSPC, 1),
        Fault(Kind::Disk, ENOSPC, 3),
        Fault(Kind::Disk, EIO, 2),
        Fault(Kind::Disk, EINTR, 2),
        Fault(Kind::Open, EMFILE, 1),
        Fault(Kind::Open, EMFILE, 2),
    ]);
}

/// What becomes of `nft`, and how long it may take to be well again: it is not waited for longer than a retry.
#[test]
fn an_nft_that_is_missing_fails_or_takes_its_time_opens_nothing() {
    needs!(root, "nft", "clang");
    let mut siege = Siege::begin(Scene::new());
    let nft = siege.scene.host.sh("command -v nft").trim().to_owned();
    siege.scene.host.sh(&format!(
        "cp {nft} /run/nft-that-works
        printf '#!/bin/sh\\nuntil [ -e /run/go ]; do :; done\\nexec /run/nft-that-works \"$@\"\\n' > /run/slow
        chmod +x /run/slow"
    ));
    siege.under_fire(|scene, barrage| {
        for instead in ["/bin/false", "/dev/null", "/run/slow"] {
            scene.host.sh(&format!("mount --bind {instead} {nft}; /run/nft-that-works flush ruleset"));
            barrage.go_on(barrage.sent(), 1000);
            scene.host.sh(&format!("umount -l {nft}; touch /run/go"));
            let whole = "nft list map inet hns publish4 | grep -q 8080";
            eventually!(within 30 s, scene.host.try_sh(whole).success());
        }
    });
    siege.nothing_came_in();
    eventually!(siege.is_served());
}
