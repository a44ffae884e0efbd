//! The guide to networks over several hosts, followed word by word.

use hns_testbed::{eventually, needs, program};
use hns_tests::story_support::guide;

use crate::stage::Stage;

#[test]
fn the_guide_is_followed_word_by_word() {
    needs!(root, "nft", "ping");
    let stage = Stage::bare();
    let hnsctl = program("hnsctl");
    let folder = hnsctl.parent().expect("a program is in a folder").display();
    guide::follow_on_hosts(
        "overlay.md",
        |at, command| {
            let hnsd = match at {
                None => &stage.here,
                Some("there") => &stage.there,
                Some(other) => panic!("there is no host {other}"),
            };
            let before = format!("export PATH={folder}:$PATH HNS_SOCKET={}", hnsd.socket().display());
            hnsd.host().try_run(&["sh", "-ec", &format!("{before}\n{command}")])
        },
        |path, _| panic!("the guide writes no file, and {path} least of all"),
    );
    eventually!(!stage.here.host().links().iter().any(|link| link.starts_with("hn")));
}
