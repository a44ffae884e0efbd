//! Compose files of `examples/docker`, up and down, and the guide for Docker followed to the letter.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use hns_testbed::engines::{IMAGE, Release};
use hns_testbed::{Hnsd, Lab, eventually, needs};
use hns_tests::story_support::docker::{cannot_fetch, fetch};
use hns_tests::story_support::{DockerScene, Scene, guide, text};
use serde_json::{Value, json};

/// Runs `docker compose` with a file of the examples.
#[track_caller]
fn compose(stage: &DockerScene, file: &str, words: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/docker").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let inside = format!("/examples/{file}");
    stage.docker.root().write(&inside, &text);
    stage.docker.run(&[&["compose", "-p", "demo", "-f", &inside], words].concat())
}

/// A scene with everything as it is by default, the network `nat` included.
fn default_scene() -> Scene {
    let lab = Lab::new();
    let (host, outside) = (lab.host("host"), lab.host("outside"));
    Scene { hnsd: Hnsd::start(&host), host, outside, lab }
}

#[test]
fn a_web_server_goes_up_and_down() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    compose(&stage, "web.yml", &["up", "-d"]);
    for address in stage.scene.host_addresses() {
        eventually!(fetch(&stage.scene.outside.netns(), (address, 8080).into()));
    }
    let said = compose(&stage, "web.yml", &["exec", "neighbour", "wget", "-q", "-O", "-", "http://web/"]);
    assert_eq!(said, "a page of a container");
    let addresses = stage.addresses("demo-web-1", "demo_default");
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    // What is right already stays.
    let before = stage.endpoint("demo-web-1", "demo_default");
    compose(&stage, "web.yml", &["up", "-d"]);
    assert_eq!(stage.endpoint("demo-web-1", "demo_default")["ID"], before["ID"]);

    compose(&stage, "web.yml", &["down"]);
    assert_eq!(stage.endpoints(), Vec::<Value>::new());
    assert_eq!(stage.hns_networks(), Vec::<String>::new());
    cannot_fetch(&[(stage.scene.outside.netns(), (stage.scene.host.v4(), 8080).into())]);
}

#[test]
fn two_tiers_go_up_and_down() {
    needs!(root, engines);
    let stage = DockerScene::newest();
    compose(&stage, "tiers.yml", &["up", "-d"]);
    let (scene, docker) = (&stage.scene, &stage.docker);
    for address in scene.host_addresses() {
        eventually!(fetch(&scene.outside.netns(), (address, 8080).into()));
    }
    eventually!(fetch(&scene.host.netns(), ([127, 0, 0, 1], 8081).into()));
    cannot_fetch(&[(scene.outside.netns(), (scene.host.v4(), 8081).into())]);
    let fixed: [IpAddr; 2] = [Ipv4Addr::new(10, 80, 0, 10).into(), "fd00:80::10".parse().expect("it is one")];
    assert_eq!(stage.addresses("demo-proxy-1", "demo_front"), fixed);
    assert_eq!(docker.exec("demo-proxy-1", "wget -q -O - http://database/"), "a page of a container");
    let default = docker.exec("demo-proxy-1", "ip route | grep default");
    let link = default.split_whitespace().last().expect("a route names its link");
    assert_eq!(docker.exec("demo-proxy-1", &format!("cat /sys/class/net/{link}/mtu")), "1400");
    let store = docker.netns("demo-store-1");
    assert!(scene.outside.addresses().into_iter().all(|address| !store.ping(address)));
    let proxy = docker.netns("demo-proxy-1");
    assert!(scene.outside.addresses().into_iter().all(|address| proxy.ping(address)));
    compose(&stage, "tiers.yml", &["down"]);
    assert_eq!(stage.hns_networks(), Vec::<String>::new());
}

#[test]
fn a_file_for_windows_goes_up_and_down_as_it_is() {
    needs!(root, engines);
    let stage = DockerScene::with(default_scene(), Release::Newest, |docker| docker);
    let (scene, docker) = (&stage.scene, &stage.docker);
    // The host's network is there under its name, as on Windows.
    let own = scene.hnsd.hnsctl_json(&["network", "inspect", "nat"]);
    let shown = || docker.try_run(&["network", "inspect", "-f", "{{.Driver}}", "nat"]);
    eventually!(shown().success());
    assert_eq!(shown().expect_success().trim(), "nat");
    docker.run(&["tag", IMAGE, "traefik/whoami"]);
    compose(&stage, "windows.yml", &["up", "-d"]);
    eventually!(fetch(&scene.outside.netns(), (scene.host.v4(), 8080).into()));
    assert_eq!(docker.exec("demo-worker-1", "wget -q -O - http://web/"), "a page of a container");
    let endpoint = stage.endpoint("demo-web-1", "nat");
    assert_eq!(endpoint["HostComputeNetwork"], text(own_document(&own), "ID").as_str());

    let backend = stage.hns_network("demo_backend");
    assert_eq!((&backend["Name"], &backend["Dns"]["Domain"]), (&json!("backend"), &json!("corp.example")));
    assert_eq!(backend["Dns"]["ServerList"], json!(["10.0.0.53", "10.0.0.54"]));
    assert_eq!(backend["AdditionalParams"]["DisableGatewayDns"], true);
    let endpoint = stage.endpoint("demo-worker-1", "demo_backend");
    assert!(text(&endpoint, "MacAddress").starts_with("00-15-5D-AA-00-"), "{endpoint:#}");
    assert_eq!(endpoint["Policies"][0]["Type"], "OutBoundNAT");
    assert!(stage.addresses("demo-worker-1", "demo_backend")[0].to_string().starts_with("172.28."));

    compose(&stage, "windows.yml", &["down"]);
    assert_eq!(stage.endpoints(), Vec::<Value>::new());
    assert_eq!(stage.hns_networks(), [text(own_document(&own), "ID")], "the host's own network stays");
    assert!(shown().success());
}

/// The document, whether it was printed alone or as a list of one.
fn own_document(printed: &Value) -> &Value {
    if printed.is_array() { &printed[0] } else { printed }
}

#[test]
fn the_guide_is_right() {
    needs!(root, engines);
    let scene = default_scene();
    let socket = scene.hnsd.socket();
    scene.host.sh(&format!("mkdir -p /run/hns && ln -s {} /run/hns/hns.sock", socket.display()));
    let stage =
        DockerScene::with(scene, Release::Newest, |docker| docker.config(&json!({ "bridge": "none" })));
    let root = stage.docker.root();
    root.install("hnsctl", "/usr/local/bin/hnsctl");
    root.sh("ln -s /bin/busybox /usr/local/bin/wget; mkdir -p /srv/demo");
    eventually!(stage.docker.try_run(&["network", "inspect", "nat"]).success());
    // HNS learns names from Docker a moment after Docker has made something; a reader does not notice.
    let are_named = || {
        let all = [stage.scene.get("/v2/networks"), stage.scene.get("/v2/endpoints")];
        let mut names =
            all.iter().flat_map(|list| list.as_array().expect("it is a list")).map(|one| text(one, "Name"));
        names.all(|name| name.len() != 64)
    };
    let run = |command: &str| {
        if command.starts_with("hnsctl ") {
            eventually!(are_named());
        }
        root.try_run(&["sh", "-c", &format!("cd /srv/demo; {command}")])
    };
    guide::follow("docker.md", run, |path, text| root.write(path, text));
}
