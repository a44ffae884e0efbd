//! containerd on networks of HNS: containers of `ctr run --cni`, pods of Kubernetes' interface, and daemons that die.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use hns_testbed::engines::{DnsConfig, IMAGE_IN_FULL, Pod, PortMapping, Release};
use hns_testbed::{FAR_V4, FAR_V6, eventually, needs, program, tcp};
use hns_tests::story_support::containerd::{RunningPod, addresses, serves};
use hns_tests::story_support::docker::fetch;
use hns_tests::story_support::{ContainerdScene, FLOOD, Proto, Server, flood, text};
use serde_json::{Value, json};

/// A list of ours alone, on a NAT network of both families.
fn own(version: &str) -> Value {
    json!({"cniVersion": version, "name": "web", "plugins": [dual(20)]})
}

/// Our plugin on a NAT network `10.N.0.0/24`, `fd00:N::/64`.
fn dual(number: u8) -> Value {
    json!({"type": "hns-cni", "networkType": "nat",
        "subnets": [format!("10.{number}.0.0/24"), format!("fd00:{number}::/64")],
        "capabilities": {"portMappings": true, "dns": true}})
}

/// What a script prints in a container that `ctr` runs for it alone.
#[track_caller]
fn once(stage: &ContainerdScene, script: &str) -> String {
    stage.containerd.ctr(&["run", "--rm", "--cni", IMAGE_IN_FULL, "once", "sh", "-ec", script])
}

#[track_caller]
fn is_refused(stage: &ContainerdScene, pod: &Pod) -> String {
    let refused = stage.containerd.cri().run(pod).expect_err("the pod must not run");
    refused.to_string()
}

fn ctr_runs_containers(release: Release) {
    let stage = ContainerdScene::new(release, &own("1.0.0"));
    let host = stage.scene.host.netns();
    let web = stage.container("web");
    let endpoint = stage.endpoint("default-web");
    assert_eq!(
        (&endpoint["Name"], &endpoint["Owner"], &endpoint["AdditionalParams"]["Cni"]),
        (
            &json!("default-web_web"),
            &json!("cni"),
            &json!({"ContainerId": "default-web", "IfName": "eth0", "NetworkName": "web"})
        )
    );
    let found = addresses(&endpoint);
    assert_eq!(found.len(), 2, "{endpoint:#}");
    serves(&host, &found, 80);
    assert!(web.ping(FAR_V4) && web.ping(FAR_V6), "no way out");
    // Another container; it goes with its command, which is when containerd calls DEL without a namespace.
    for address in &found {
        let at = SocketAddr::new(*address, 80);
        assert_eq!(once(&stage, &format!("wget -q -O - http://{at}/")), "a page of a container");
        assert_eq!(stage.endpoints().len(), 1, "the other one is still there");
    }
    if release == Release::Newest {
        stage.remove("web");
    } else {
        // This ctr deletes no network of a container in the background; whoever does it for ctr names no namespace either.
        stage.containerd.ctr(&["task", "rm", "-f", "web"]);
        stage.containerd.ctr(&["container", "rm", "web"]);
        stage.scene.hnsd.hnsctl(&["endpoint", "rm", "default-web_web"]);
    }
    stage.nothing_is_left();
}

#[test]
fn ctr_of_the_newest_suite_runs_containers() {
    needs!(root, engines);
    ctr_runs_containers(Release::Newest);
}

#[test]
fn ctr_of_the_oldest_release_runs_containers() {
    needs!(root, engines);
    ctr_runs_containers(Release::Oldest);
}

/// Asks for a pod's ports from outside the host: TCP 8080, and on one address alone UDP 5353 and SCTP 3868.
#[track_caller]
fn published_ports_answer(stage: &ContainerdScene, pod: &RunningPod) {
    let outside = stage.scene.outside.netns();
    let [v4, v6] = stage.scene.host_addresses();
    serves(&outside, &[v4, v6], 8080);
    let _dns = Server::serve(&pod.netns, &pod.addresses, 53);
    let _diameter = Server::serve(&pod.netns, &pod.addresses, 3868);
    eventually!(Proto::Udp.ask(&outside, (v4, 5353).into()));
    eventually!(Proto::Sctp.ask(&outside, (v6, 3868).into()));
    assert!(Proto::Udp.ask(&outside, (v6, 5353).into()).is_err(), "only at {v4}");
    assert!(Proto::Sctp.ask(&outside, (v4, 3868).into()).is_err(), "only at {v6}");
    assert!(Proto::Tcp.ask(&outside, (v4, 5353).into()).is_err(), "only UDP");
}

fn pods_run_with_ports_and_names(release: Release) {
    let stage = ContainerdScene::new(release, &own("1.0.0"));
    let [v4, v6] = stage.scene.host_addresses().map(|address| address.to_string());
    let mut shop = Pod::new("shop").publish(8080, 80).publish_at(&v4, PortMapping::UDP, 5353, 53).publish_at(
        &v6,
        PortMapping::SCTP,
        3868,
        3868,
    );
    shop.dns = Some(DnsConfig {
        servers: vec!["192.0.2.53".to_owned()],
        searches: vec!["default.svc.cluster.local".to_owned(), "cluster.local".to_owned()],
        options: vec!["ndots:5".to_owned()],
    });
    let shop = stage.pod(&shop);
    let till = stage.pod(&Pod::new("till"));
    let cri = stage.cri();

    let endpoint = stage.endpoint(&shop.id);
    assert_eq!(addresses(&endpoint), shop.addresses);
    assert_eq!((&endpoint["Owner"], &endpoint["Name"]), (&json!("cni"), &json!(format!("{}_web", shop.id))));
    let pod = &endpoint["AdditionalParams"]["Cni"]["Pod"];
    assert_eq!((&pod["Namespace"], &pod["Name"]), (&json!("default"), &json!("shop")));
    assert_eq!(pod["InfraContainerId"], json!(shop.id));
    let searched = json!(["default.svc.cluster.local", "cluster.local"]);
    assert_eq!(
        endpoint["Dns"],
        json!({"Search": searched, "ServerList": ["192.0.2.53"], "Options": ["ndots:5"]})
    );
    let info = cri.info(&shop.id).expect("the pod is known");
    let resolver = format!("cat /proc/{}/root/etc/resolv.conf", info["pid"]);
    assert_eq!(
        stage.containerd.root().sh(&resolver),
        "search default.svc.cluster.local cluster.local\nnameserver 192.0.2.53\noptions ndots:5\n"
    );
    assert_eq!(info["cniResult"]["DNS"][1]["nameservers"], json!(["192.0.2.53"]), "{}", info["cniResult"]);

    published_ports_answer(&stage, &shop);
    // The node reaches its pods, and so do other pods, also by the node's addresses.
    serves(&stage.scene.host.netns(), &shop.addresses, 80);
    serves(&till.netns, &shop.addresses, 80);
    serves(&shop.netns, &till.addresses, 80);
    serves(&till.netns, &stage.scene.host_addresses(), 8080);
    assert!(shop.netns.ping(FAR_V4) && shop.netns.ping(FAR_V6), "no way out");

    let taken = is_refused(&stage, &Pod::new("rival").publish(8080, 80));
    assert!(taken.contains("8080") && taken.contains(&text(&endpoint, "Name")), "{taken}");
    assert_eq!(stage.endpoints().len(), 2);
    cri.stop(&shop.id).expect("the pod ends");
    assert_eq!(stage.endpoints().len(), 1);
    let at = SocketAddr::new(stage.scene.host_addresses()[0], 8080);
    assert!(fetch(&stage.scene.outside.netns(), at).is_err(), "the port is closed");
    for id in [&shop.id, &till.id] {
        cri.stop(id).expect("an ended pod ends again");
        cri.remove(id).expect("the pod goes");
        cri.remove(id).expect("a pod that is gone goes again");
    }
    stage.nothing_is_left();
}

#[test]
fn pods_of_the_newest_suite_run_with_ports_and_names() {
    needs!(root, engines);
    pods_run_with_ports_and_names(Release::Newest);
}

#[test]
fn pods_of_the_oldest_release_run_with_ports_and_names() {
    needs!(root, engines);
    pods_run_with_ports_and_names(Release::Oldest);
}

/// Only the newer containerd asks for the plugin's STATUS, which came with version 1.1.0.
fn pods_wait_for_the_daemon(release: Release, version: &str) {
    let asks = release == Release::Newest;
    let mut stage = ContainerdScene::new(release, &own(version));
    let cri = stage.cri();
    stage.scene.hnsd.kill9();
    let (ready, words) = cri.network_ready().expect("containerd answers");
    assert_eq!(ready, !asks, "{words}");
    assert_eq!(words.contains("hnsd is not available"), asks, "{words}");
    let refused = is_refused(&stage, &Pod::new("shop"));
    assert!(refused.contains("cannot reach the daemon on /run/hns/hns.sock"), "{refused}");
    assert!(refused.contains("is hnsd running?"), "{refused}");
    stage.scene.hnsd.start_again();
    assert_eq!(cri.network_ready().expect("containerd answers"), (true, String::new()));
    // As kubelet does: what came of the first try goes (the older containerd keeps it, since its DEL failed as well), and
    // there is another one.
    let failed = refused.split('"').nth(1).expect("the pod's number is named").to_owned();
    cri.remove(&failed).expect("the pod that failed goes");
    let pod = stage.pod(&Pod::new("shop"));
    serves(&stage.scene.host.netns(), &pod.addresses, 80);
    cri.remove(&pod.id).expect("the pod goes");
    stage.nothing_is_left();
}

#[test]
fn a_node_of_the_newest_suite_is_ready_when_the_daemon_is() {
    needs!(root, engines);
    pods_wait_for_the_daemon(Release::Newest, "1.1.0");
}

#[test]
fn pods_of_the_oldest_release_are_tried_again_when_the_daemon_is_back() {
    needs!(root, engines);
    pods_wait_for_the_daemon(Release::Oldest, "1.0.0");
}

/// A connection through a published port that is used before and after each of the events.
#[test]
fn traffic_goes_on_and_pods_can_go_whichever_daemon_dies() {
    needs!(root, engines);
    let mut stage = ContainerdScene::new(Release::Newest, &own("1.1.0"));
    let pods = [8080, 8081, 8082].map(|port| stage.pod(&Pod::new(&format!("p{port}")).publish(port, 7)));
    let _servers = pods.each_ref().map(|pod| tcp::Echo::serve(&pod.netns, "[::]:7"));
    let outside = stage.scene.outside.netns();
    let [v4, v6] = stage.scene.host_addresses();
    let mut streams: Vec<tcp::Conversation> = [(v4, 8080), (v6, 8080), (v4, 8081), (v6, 8082)]
        .into_iter()
        .map(|to| eventually!(tcp::Conversation::open(&outside, to)))
        .collect();
    let mut all_talk = |when: &str, number: usize| {
        for stream in &mut streams[..number] {
            stream.say(when).unwrap_or_else(|error| panic!("{when}: {error}"));
        }
    };
    all_talk("before", 4);

    stage.scene.hnsd.kill9();
    all_talk("hnsd is dead", 4);
    let cri = stage.containerd.cri();
    let refused = cri.stop(&pods[2].id).expect_err("nobody can take its network down").to_string();
    assert!(refused.contains("cannot reach the daemon"), "{refused}");
    stage.scene.hnsd.start_again();
    all_talk("hnsd is back", 3);
    cri.remove(&pods[2].id).expect("kubelet tries again");
    assert_eq!(stage.endpoints().len(), 2);

    stage.containerd.kill9();
    all_talk("containerd is dead", 3);
    stage.containerd.start_again();
    all_talk("containerd is back", 3);
    let known = cri.addresses(&pods[0].id).expect("the pod is known");
    assert_eq!(known, pods[0].addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>());

    stage.containerd.kill9();
    stage.scene.hnsd.kill9();
    all_talk("both are dead", 3);
    stage.containerd.start_again();
    stage.scene.hnsd.start_again();
    all_talk("both are back", 3);
    let late = stage.pod(&Pod::new("late").publish(8083, 80));
    serves(&outside, &[v4, v6], 8083);
    for id in [&pods[0].id, &pods[1].id, &late.id] {
        cri.remove(id).expect("the pod goes");
    }
    stage.nothing_is_left();
}

#[test]
fn plugins_of_others_follow_ours() {
    needs!(root, engines);
    let chain = |name: &str, ours: Value, others: &[Value]| {
        let plugins = [&[ours], others].concat();
        json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins})
    };
    let others = [
        json!({"type": "portmap", "capabilities": {"portMappings": true}}),
        json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}),
        json!({"type": "firewall"}),
        json!({"type": "tuning", "sysctl": {"net.core.somaxconn": "512"}, "mtu": 1400}),
    ];
    let stage = ContainerdScene::new(Release::Newest, &chain("chained", dual(21), &others));
    let mut pod = Pod::new("shop").publish(8080, 80);
    pod.annotations.insert("kubernetes.io/ingress-bandwidth".to_owned(), "100M".to_owned());
    let pod = stage.pod(&pod);
    let [v4, v6] = stage.scene.host_addresses();
    serves(&stage.scene.outside.netns(), &[v4, v6], 8080);
    let endpoint = stage.endpoint(&pod.id);
    let port = text(&endpoint["Health"]["Extra"], "Port");
    let limits = stage.scene.host.sh(&format!("tc qdisc show dev {port}"));
    assert!(limits.contains("tbf") && limits.contains("rate 100Mbit"), "{limits}");
    let inside = |command: &str| {
        let pid = stage.cri().info(&pod.id).expect("the pod is known")["pid"].to_string();
        stage.containerd.root().sh(&format!("nsenter -t {pid} -n {command}"))
    };
    assert_eq!(inside("sysctl -n net.core.somaxconn").trim(), "512");
    assert!(inside("ip link show dev eth0").contains("mtu 1400"));
    let portmap = || stage.containerd.root().sh("iptables-save -t nat; ip6tables-save -t nat");
    assert_eq!(portmap().matches("--dport 8080 -j DNAT").count(), 2, "{}", portmap());
    stage.cri().remove(&pod.id).expect("the pod goes");
    assert_eq!(portmap().matches("8080").count(), 0, "{}", portmap());
    stage.nothing_is_left();

    // Ports that ours is not told of are portmap's alone.
    let unaware =
        json!({"type": "hns-cni", "networkType": "nat", "subnets": ["10.23.0.0/24", "fd00:23::/64"]});
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    stage.configure(&chain("portmapped", unaware, &[portmap]));
    let pod = stage.pod(&Pod::new("alone").publish(8090, 80));
    assert_eq!(stage.endpoint(&pod.id)["Policies"], json!([]));
    serves(&stage.scene.outside.netns(), &[v4, v6], 8090);
    stage.cri().remove(&pod.id).expect("the pod goes");
    stage.nothing_is_left();

    // Without the plugin for limits ours keeps them, at the rate of the annotation and with a burst of the rate's size, not the
    // half gigabyte that containerd writes for want of one.
    let mut limited = dual(22);
    limited["capabilities"] = json!({"bandwidth": true});
    stage.configure(&chain("limited", limited, &[]));
    let mut pod = Pod::new("limited");
    pod.annotations.insert("kubernetes.io/egress-bandwidth".to_owned(), "160k".to_owned());
    let pod = stage.pod(&pod);
    let limit = json!([{"Type": "QOS", "Settings": {"MaximumOutgoingBandwidthInBytes": 20_000}}]);
    let endpoint = stage.endpoint(&pod.id);
    assert_eq!(endpoint["Policies"], limit);
    for to in stage.scene.host_addresses() {
        let before = stage.scene.dropped(&text(&endpoint, "ID"), "meter-out");
        flood(&pod.netns, to);
        eventually!(match stage.scene.dropped(&text(&endpoint, "ID"), "meter-out") - before {
            dropped if dropped >= FLOOD - 150 => Ok(()),
            dropped => Err(dropped),
        });
    }
    stage.cri().remove(&pod.id).expect("the pod goes");
    stage.nothing_is_left();
}

#[test]
fn host_local_gives_the_addresses() {
    needs!(root, engines);
    let ipam = json!({"type": "host-local", "ranges": [
        [{"subnet": "10.30.0.0/24", "rangeStart": "10.30.0.100", "rangeEnd": "10.30.0.102"}],
        [{"subnet": "fd00:30::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]});
    let list = json!({"cniVersion": "1.0.0", "name": "leased", "plugins": [
        {"type": "hns-cni", "ipam": ipam, "capabilities": {"portMappings": true}}]});
    let mut stage = ContainerdScene::new(Release::Newest, &list);
    let leases = |stage: &ContainerdScene| {
        let names = stage.containerd.root().sh("ls /var/lib/cni/networks/leased");
        names
            .lines()
            .filter(|name| name.parse::<IpAddr>().is_ok())
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let web = stage.container("web");
    let found = addresses(&stage.endpoint("default-web"));
    assert_eq!(found[0], "10.30.0.100".parse::<IpAddr>().expect("it is one"));
    assert_eq!(leases(&stage), found.iter().map(IpAddr::to_string).collect());
    serves(&stage.scene.host.netns(), &found, 80);
    assert!(web.ping(FAR_V4) && web.ping(FAR_V6), "no way out");

    // What the daemon refuses goes back to host-local, and the next pod gets it.
    let pods = [1, 2].map(|number| stage.pod(&Pod::new(&format!("p{number}"))));
    let full = is_refused(&stage, &Pod::new("one-too-many"));
    assert!(full.contains("IPAM plugin host-local: ") && full.contains("no IP addresses"), "{full}");
    stage.scene.hnsd.kill9();
    let cri = stage.containerd.cri();
    cri.stop(&pods[0].id).expect_err("nobody can take its network down");
    assert!(leases(&stage).contains(&pods[0].addresses[0].to_string()), "its address is still on the wire");
    stage.scene.hnsd.start_again();
    for pod in &pods {
        cri.remove(&pod.id).expect("the pod goes");
    }
    stage.remove("web");
    assert_eq!(leases(&stage), BTreeSet::new());
    stage.nothing_is_left();
}

/// A file of `examples/cni`, as a list.
fn example(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/cni").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let conf: Value = serde_json::from_str(&text).expect("an example is JSON");
    if conf["plugins"].is_array() {
        return conf;
    }
    json!({"cniVersion": conf["cniVersion"], "name": conf["name"], "plugins": [conf]})
}

/// Configurations as they were written for Windows; only the plugin's file is another one.
#[test]
fn configurations_for_windows_are_taken() {
    needs!(root, engines);
    let stage = ContainerdScene::new(Release::Newest, &own("1.0.0"));
    stage.scene.network("nat", 40, &[]);
    for name in ["nat", "win-bridge", "azure-vnet"] {
        let link = format!("ln -s {} /opt/cni/bin/{name}", program("hns-cni").display());
        stage.containerd.root().sh(&link);
    }
    let try_once = |list: &Value| {
        stage.configure(list);
        let show = ["once", "ip", "-4", "addr", "show", "eth0"];
        stage.containerd.try_ctr(&[&["run", "--rm", "--cni", IMAGE_IN_FULL], &show[..]].concat())
    };
    for (file, inside) in [
        ("60-windows-nat.conf", "inet 192.168.100."),
        ("70-win-bridge.conf", "inet 10.70.0.2/24"),
        ("80-azure.conflist", "inet 10.40.0."),
    ] {
        let granted = try_once(&example(file)).expect_success();
        assert!(granted.contains(inside), "{file}: {granted}");
    }
    // What they would have there and cannot have here is named.
    let mut bridge = example("70-win-bridge.conf");
    let outbound = |settings: &Value| json!([{"name": "EndpointPolicy", "value": {"Type": "OutBoundNAT", "Settings": settings}}]);
    bridge["plugins"][0]["policies"] = outbound(&json!({"Exceptions": ["10.40.0.0/16"]}));
    let _granted = try_once(&bridge).expect_success();
    bridge["plugins"][0]["policies"] = outbound(&json!({"VirtualIP": "198.51.100.7"}));
    let refused = try_once(&bridge).expect_failure();
    assert!(refused.contains("VirtualIP"), "{refused}");
    bridge["plugins"][0]["policies"] = Value::Null;
    bridge["plugins"][0]["networkType"] = Value::Null;
    bridge["name"] = json!("another");
    let refused = try_once(&bridge).expect_failure();
    assert!(refused.contains("a network of the type L2Bridge needs an adapter"), "{refused}");
    stage.nothing_is_left();
}

#[test]
fn twenty_pods_come_and_go_at_once() {
    needs!(root, engines);
    const PODS: usize = 20;
    let stage = ContainerdScene::new(Release::Newest, &own("1.0.0"));
    let cri = stage.cri();
    let pods: Vec<Pod> =
        (8000..).take(PODS).map(|port| Pod::new(&format!("p{port}")).publish(port, 80)).collect();
    let began = Instant::now();
    let ids: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = pods.iter().map(|pod| scope.spawn(|| cri.run(pod))).collect();
        let ids = threads.into_iter().map(|thread| thread.join().expect("it does not panic"));
        ids.map(|id| id.expect("the pod runs")).collect()
    });
    let ran = began.elapsed();
    let all: BTreeSet<IpAddr> = stage.endpoints().iter().flat_map(addresses).collect();
    assert_eq!(all.len(), 2 * PODS);
    let told: BTreeSet<String> =
        ids.iter().flat_map(|id| cri.addresses(id).expect("the pod is known")).collect();
    assert_eq!(told, all.iter().map(IpAddr::to_string).collect());
    let [v4, v6] = stage.scene.host_addresses();
    for (address, port) in [(v4, 8000), (v6, 8007), (v4, 8019)] {
        serves(&stage.scene.outside.netns(), &[address], port);
    }
    let began = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = ids.iter().map(|id| scope.spawn(|| cri.remove(id))).collect();
        for thread in threads {
            thread.join().expect("it does not panic").expect("the pod goes");
        }
    });
    eprintln!("{PODS} pods: {ran:?} to run, {:?} to remove", began.elapsed());
    stage.nothing_is_left();
}
