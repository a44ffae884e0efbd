//! The guide to containers on the LAN, followed word by word.

use hns_testbed::{eventually, needs, program};
use hns_tests::story_support::guide;

use crate::stage::Stage;

#[test]
fn the_guide_is_followed_word_by_word() {
    needs!(root, "nft", "ping");
    let stage = Stage::bare();
    let host = stage.here.host();
    let hnsctl = program("hnsctl");
    let folder = hnsctl.parent().expect("a program is in a folder").display();
    let before = format!("export PATH={folder}:$PATH HNS_SOCKET={}", stage.here.socket().display());
    guide::follow(
        "transparent.md",
        |command| host.try_run(&["sh", "-ec", &format!("{before}\n{command}")]),
        |path, _| panic!("the guide writes no file, and {path} least of all"),
    );
    eventually!(!host.links().iter().any(|link| link.starts_with("hn")));
}
