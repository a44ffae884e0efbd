//! The container engines of the test bed run containers on networks of their own: what other stories build on.

use hns_testbed::engines::{
    Containerd, Dockerd, EngineRoot, IMAGE, IMAGE_IN_FULL, PAGE, Pod, Podman, Release,
};
use hns_testbed::{Host, Lab, Netns, eventually, needs};

/// A page, fetched over HTTP from a network namespace by a program that every machine has.
fn fetch(from: &Netns, address: &str) -> Option<String> {
    let output =
        from.command("busybox").args(["wget", "-q", "-O", "-", &format!("http://{address}/")]).output();
    let output = output.expect("busybox is one of the programs that ./x installs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn serves_its_page(host: &Host, address: &str) {
    eventually!(within 5 s, fetch(&host.netns(), address).is_some_and(|page| page == PAGE));
}

fn docker_runs_a_container(release: Release, version: &str) {
    let lab = Lab::new();
    let (host, outside) = (lab.host("a"), lab.host("outside"));
    let docker = Dockerd::start(&host, release);
    assert!(docker.run(&["version", "--format", "{{.Server.Version}}"]).starts_with(version));
    docker.run(&["run", "-d", "--name", "web", "-p", "8080:80", IMAGE]);
    let address =
        docker.run(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "web"]);
    serves_its_page(&host, &address);
    eventually!(within 5 s, fetch(&outside.netns(), &format!("{}:8080", host.v4())).is_some_and(|page| page == PAGE));
}

#[test]
fn docker_of_the_newest_suite_runs_a_container() {
    needs!(root, engines, "busybox");
    docker_runs_a_container(Release::Newest, "28.");
}

#[test]
fn docker_of_the_oldest_release_runs_a_container() {
    needs!(root, engines, "busybox");
    docker_runs_a_container(Release::Oldest, "20.10");
}

/// hnsd runs outside an engine's root: it must see what the engine mounts below `/run`, and the other way round.
#[test]
fn a_host_and_its_engines_see_each_others_namespaces() {
    needs!(root, engines);
    let lab = Lab::new();
    let host = lab.host("a");
    let docker = Dockerd::start(&host, Release::Newest);
    docker.run(&["run", "-d", "--name", "web", IMAGE]);
    let key = docker.run(&["inspect", "-f", "{{.NetworkSettings.SandboxKey}}", "web"]);
    let inside = host.run(&["nsenter", &format!("--net={key}"), "ip", "-o", "addr", "show", "eth0"]);
    assert!(inside.contains("172.17.0.2"), "{inside}");
    docker.run(&["rm", "-f", "web"]);
    let gone = host.try_run(&["nsenter", &format!("--net={key}"), "true"]).expect_failure();
    assert!(gone.contains(&key), "{gone}");

    let made = host.add_netns("made-outside");
    made.command("ip").args(["link", "add", "there", "type", "bridge"]).status().expect("ip is installed");
    let links = docker.root().run(&["ip", "-n", "made-outside", "-br", "link"]);
    assert!(links.contains("there"), "{links}");
}

#[test]
fn a_container_outlives_a_killed_docker_when_told_so() {
    needs!(root, engines, "busybox");
    let lab = Lab::new();
    let host = lab.host("a");
    let mut docker = Dockerd::builder(&host, Release::Newest).arg("--live-restore").start();
    docker.run(&["run", "-d", "--name", "web", IMAGE]);
    docker.kill9();
    serves_its_page(&host, "172.17.0.2");
    docker.start_again();
    assert_eq!(docker.exec("web", "cat /www/index.html") + "\n", PAGE);
    assert!(docker.netns("web").ping([172, 17, 0, 1]));
    assert!(docker.terminate().success());
    serves_its_page(&host, "172.17.0.2");
}

#[test]
fn podman_runs_a_container() {
    needs!(root, engines, "busybox");
    let lab = Lab::new();
    let (host, outside) = (lab.host("a"), lab.host("outside"));
    let podman = Podman::new(&host);
    podman.run(&["run", "-d", "--name", "web", "-p", "8080:80", IMAGE]);
    let address = podman.run(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]);
    serves_its_page(&host, &address);
    eventually!(within 5 s, fetch(&outside.netns(), &format!("{}:8080", host.v4())).is_some_and(|page| page == PAGE));
}

/// A network of the usual plugins.
const BRIDGE: &str = r#"{"cniVersion": "1.0.0", "name": "own", "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "ipam": {
        "type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}]}"#;

fn containerd_runs_containers_and_pods(release: Release, version: &str) {
    let lab = Lab::new();
    let (host, outside) = (lab.host("a"), lab.host("outside"));
    let root = EngineRoot::new(&host, release);
    root.write("/etc/cni/net.d/10-own.conflist", BRIDGE);
    let containerd = Containerd::start_in(&root);
    assert!(containerd.ctr(&["version"]).contains(version));

    containerd.ctr(&["run", "-d", "--cni", IMAGE_IN_FULL, "web"]);
    serves_its_page(&host, "10.88.0.2");

    let cri = containerd.cri();
    cri.wait_until_network_ready();
    let id = cri.run(&Pod::new("shop").publish(8080, 80)).expect("the pod runs");
    assert_eq!(cri.addresses(&id).expect("the pod is known"), ["10.88.0.3"]);
    serves_its_page(&host, "10.88.0.3");
    eventually!(within 5 s, fetch(&outside.netns(), &format!("{}:8080", host.v4())).is_some_and(|page| page == PAGE));
    assert!(cri.netns(&id).ping([10, 88, 0, 1]));
    cri.remove(&id).expect("the pod goes");
    let again = cri.addresses(&id).expect_err("the pod is forgotten");
    assert!(again.to_string().contains("status 5"), "not found is 5 in gRPC: {again}");
}

#[test]
fn containerd_of_the_newest_suite_runs_containers_and_pods() {
    needs!(root, engines, "busybox");
    containerd_runs_containers_and_pods(Release::Newest, "2.");
}

#[test]
fn containerd_of_the_oldest_release_runs_containers_and_pods() {
    needs!(root, engines, "busybox");
    containerd_runs_containers_and_pods(Release::Oldest, "1.6");
}
