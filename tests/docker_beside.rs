//! Beside Docker's own bridges, whichever of the two daemons came first: what Docker keeps closed stays closed, to outside and to our
//! containers.

use std::net::{IpAddr, SocketAddr};

use hns_testbed::engines::{Dockerd, IMAGE, Release};
use hns_testbed::{Host, eventually, needs};
use hns_tests::story_support::docker::{cannot_fetch, fetch};
use hns_tests::story_support::{Container, DockerScene, Scene};

/// A host that forwards nothing yet.
fn forwards_nothing(host: &Host) {
    host.sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
}

fn docker_later(release: Release) -> DockerScene {
    DockerScene::with(Scene::with(forwards_nothing, |hnsd| hnsd), release, |docker| docker)
}

fn docker_first(release: Release) -> DockerScene {
    let mut docker = None;
    let prepare = |host: &Host| {
        forwards_nothing(host);
        docker = Some(Dockerd::start(host, release));
    };
    let scene = Scene::with(prepare, |hnsd| hnsd);
    DockerScene { docker: docker.expect("it was started"), scene }
}

/// Starts a container of Docker's on one of its own networks; gives its address.
#[track_caller]
fn foreign(stage: &DockerScene, name: &str, options: &[&str]) -> IpAddr {
    stage.docker.run(&[&["run", "-d", "--name", name], options, &[IMAGE]].concat());
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = stage.docker.run(&["inspect", "-f", format, name]);
    address.trim().parse().unwrap_or_else(|_| panic!("{name}: {address}"))
}

/// Three containers of Docker's, and one of ours. (What is published old versions let in at the container's own address, too.)
#[track_caller]
fn keep_out_of_docker(stage: &DockerScene) {
    let Scene { host, outside, .. } = &stage.scene;
    stage.scene.network("blue", 7, &[]);
    let ours: Container = stage.scene.container("blue", "ours", &[]);
    stage.docker.run(&["network", "create", "--internal", "inner"]);
    foreign(stage, "published", &["-p", "8085:80"]);
    let hidden = foreign(stage, "hidden", &[]);
    let inner = foreign(stage, "inner", &["--network", "inner"]);
    let here = |address: IpAddr, port| SocketAddr::new(address, port);
    let (at_host, closed) = (host.v4().into(), [hidden, inner]);
    for address in closed {
        outside.sh(&format!("ip route add {address}/32 via {}", host.v4()));
        eventually!(fetch(&host.netns(), here(address, 80)));
    }
    // What Docker publishes is reached by both, and ours reaches what is outside.
    eventually!(fetch(&outside.netns(), here(at_host, 8085)));
    eventually!(fetch(&ours.netns, here(at_host, 8085)));
    assert!(ours.netns.ping(outside.v4()));
    // Its other ports by nobody.
    let strangers = [outside.netns(), ours.netns.clone()];
    let tries = strangers.iter().flat_map(|from| closed.map(|address| (from.clone(), here(address, 80))));
    cannot_fetch(&tries.collect::<Vec<_>>());
}

#[test]
fn the_oldest_docker_that_came_first_keeps_its_ports_closed() {
    needs!(root, engines);
    keep_out_of_docker(&docker_first(Release::Oldest));
}

#[test]
fn the_oldest_docker_that_came_later_keeps_its_ports_closed() {
    needs!(root, engines);
    keep_out_of_docker(&docker_later(Release::Oldest));
}

#[test]
fn the_newest_docker_that_came_first_keeps_its_ports_closed() {
    needs!(root, engines);
    keep_out_of_docker(&docker_first(Release::Newest));
}

#[test]
fn the_newest_docker_that_came_later_keeps_its_ports_closed() {
    needs!(root, engines);
    keep_out_of_docker(&docker_later(Release::Newest));
}
