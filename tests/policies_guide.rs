//! The guide to policies, followed word by word on a host with nothing but the daemon.

use hns_testbed::{needs, program};
use hns_tests::story_support::{Scene, guide};

#[test]
fn the_guide_is_followed_word_by_word() {
    needs!(root, "nft", "ip", "busybox", "ping");
    let scene = Scene::new();
    let bin = scene.host.folder().join("bin");
    std::fs::create_dir_all(&bin).expect("the lab's folder is ours");
    let (hnsctl, socket) = (program("hnsctl"), scene.hnsd.socket());
    scene.host.sh(&format!(
        "cd {bin}; ln -s $(command -v busybox) wget; printf '#!/bin/sh\\nexec {hnsctl} --socket {socket} \"$@\"\\n' > hnsctl; chmod +x hnsctl",
        bin = bin.display(),
        hnsctl = hnsctl.display(),
        socket = socket.display(),
    ));
    let run = |command: &str| scene.host.try_sh(&format!("PATH={}:$PATH\n{command}", bin.display()));
    guide::follow("policies.md", run, |path, _| panic!("the page writes {path}"));
}
