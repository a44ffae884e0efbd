//! The guide to networks over several hosts, followed word by word.

use hns_testbed::engines::{Dockerd, Release};
use hns_testbed::{eventually, needs, program};
use hns_tests::story_support::guide;

use crate::stage::Stage;

#[test]
fn the_guide_is_followed_word_by_word() {
    needs!(root, engines);
    let stage = Stage::bare();
    let [here, there] = [&stage.here, &stage.there].map(|hnsd| Dockerd::start(hnsd.host(), Release::Newest));
    let hnsctl = program("hnsctl");
    let folder = hnsctl.parent().expect("a program is in a folder").display();
    guide::follow_on_hosts(
        "overlay.md",
        |at, command| {
            let (hnsd, docker) = match at {
                None => (&stage.here, &here),
                Some("there") => (&stage.there, &there),
                Some(other) => panic!("there is no host {other}"),
            };
            if command.starts_with("docker ") {
                return docker.root().try_run(&["sh", "-ec", command]);
            }
            // What the guide keeps in files is brought from host to host.
            let desk = stage.lab.folder().display();
            let socket = hnsd.socket();
            let before = format!("cd {desk}; export PATH={folder}:$PATH HNS_SOCKET={}", socket.display());
            hnsd.host().try_run(&["sh", "-ec", &format!("{before}\n{command}")])
        },
        |path, _| panic!("the guide writes no file, and {path} least of all"),
    );
    eventually!(!stage.here.host().links().iter().any(|link| link.starts_with("hn")));
}
