//! Somebody flushes all rules while containers start: each of them starts, and is published.

use std::thread;

use hns_testbed::engines::IMAGE;
use hns_testbed::{eventually, needs};
use hns_tests::story_support::DockerScene;
use hns_tests::story_support::docker::fetch;

const CONTAINERS: u16 = 30;

#[test]
fn containers_that_start_amid_a_flush_all_come_up() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    stage.network("blue", &[]);
    let ports = 9000..9000 + CONTAINERS;
    thread::scope(|scope| {
        for port in ports.clone() {
            let docker = &stage.docker;
            scope.spawn(move || {
                let (name, published) = (format!("web{port}"), format!("{port}:80"));
                docker.run(&["run", "-d", "--name", &name, "--network", "blue", "-p", &published, IMAGE]);
            });
        }
        // Once in their midst, when some are up and others are not.
        eventually!(stage.endpoints().len() > 3);
        stage.scene.host.sh("nft flush ruleset");
    });
    let (outside, host) = (stage.scene.outside.netns(), stage.scene.host.v4());
    for port in ports {
        eventually!(fetch(&outside, (host, port).into()));
    }
}
