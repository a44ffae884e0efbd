//! The guide to CNI, followed word by word by somebody with containerd.

use hns_testbed::engines::Release;
use hns_testbed::needs;
use hns_tests::story_support::{ContainerdScene, guide};
use serde_json::json;

#[test]
fn the_guide_is_followed_word_by_word() {
    needs!(root, engines);
    let stage = ContainerdScene::new(Release::Newest, &json!({}));
    // The `ip` of the engine's root would keep its namespaces from the host, where the daemon is.
    stage
        .scene
        .host
        .sh("mkdir -p /run/netns; mount --bind /run/netns /run/netns; mount --make-shared /run/netns");
    let root = stage.containerd.root();
    root.sh("rm /etc/cni/net.d/*; ln -s busybox /usr/bin/wget");
    guide::follow(
        "cni.md",
        |command| root.try_run(&["sh", "-ec", command]),
        |path, text| root.write(path, text),
    );
    stage.nothing_is_left();
}
