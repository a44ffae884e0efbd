//! The CNI plugin called as a runtime calls it: every verb in every version, IPAM plugins, chains, and the daemon away.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

#[path = "../clients/hns-cni/tests/plugin/spec_rules.rs"]
mod spec_rules;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use hns_testbed::{FAR_V4, FAR_V6, Netns, eventually, needs, program, tcp, udp};
use hns_tests::story_support::Scene;
use hns_tests::story_support::cni::{CniRuntime, Said};
use serde_json::{Value, json};

const HOST_LOCAL: &str = "/usr/lib/cni/host-local";

/// A list with one plugin: ours, with `more` in its configuration.
fn list(version: &str, name: &str, more: &Value) -> Value {
    let mut plugin = json!({"type": "hns-cni", "capabilities":
        {"portMappings": true, "dns": true, "ips": true, "mac": true, "ipRanges": true, "bandwidth": true}});
    for (key, value) in more.as_object().unwrap() {
        plugin[key] = value.clone();
    }
    json!({"cniVersion": version, "name": name, "plugins": [plugin]})
}

/// A NAT network of both families with a number of its own.
fn dual(number: u8) -> Value {
    json!({"networkType": "nat", "subnets": [format!("10.{number}.0.0/24"), format!("fd00:{number}::/64")]})
}

fn runtime(scene: &Scene, list: &Value) -> CniRuntime {
    CniRuntime::new(&scene.host, scene.hnsd.socket(), list)
}

/// The addresses of a result, IPv4 first.
fn addresses(told: &Value) -> Vec<IpAddr> {
    let ips = told["ips"].as_array().unwrap();
    ips.iter().map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap()).collect()
}

/// How many endpoints the daemon has.
fn endpoints(scene: &Scene) -> usize {
    scene.get("/v2/endpoints").as_array().unwrap().len()
}

fn reserved(data: &Path, network: &str) -> Vec<String> {
    let entries = std::fs::read_dir(data.join(network)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.parse::<IpAddr>().is_ok() || name.contains(':')).collect()
}

#[track_caller]
fn answers(from: &Netns, to: impl Into<SocketAddr>) {
    let to = to.into();
    eventually!(tcp::ask(from, to));
}

#[test]
fn every_version_adds_checks_and_deletes() {
    needs!(root, "nft");
    let scene = Scene::new();
    let outside = scene.outside.netns();
    for (number, version) in (60..).zip(["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]) {
        let name = format!("c{number}");
        let netns = scene.host.add_netns(&name);
        let cni = runtime(&scene, &list(version, &format!("net{number}"), &dual(number)));
        spec_rules::versions(&cni.version().granted()).unwrap();
        let wishes = json!({"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": 5353, "containerPort": 53, "protocol": "udp"},
            {"hostPort": 0, "containerPort": 81}]});
        let told = cni.add(&name, &wishes).granted();
        spec_rules::result(&told, version).unwrap();
        let _server = tcp::Echo::serve(&netns, "[::]:80");
        let _udp = udp::Echo::serve(&netns, "[::]:53");
        for address in scene.host_addresses() {
            answers(&outside, (address, 8080));
            eventually!(udp::ask(&outside, (address, 5353)));
        }
        assert!(netns.ping(FAR_V4) && netns.ping(FAR_V6), "{version}: no way out");
        if version >= "0.4.0" {
            assert_eq!(cni.check(&name, &told).granted(), Value::Null);
        } else {
            assert_eq!(cni.check(&name, &told).code(), 1);
        }
        for _ in 0..3 {
            assert_eq!(cni.del(&name, &told).granted(), Value::Null);
        }
        assert!(tcp::ask(&outside, (scene.host.v4(), 8080)).is_err(), "{version}: the port is still open");
        assert_eq!(endpoints(&scene), 0);
    }
    let cni = runtime(&scene, &list("1.1.0", "net60", &dual(60)));
    assert_eq!((cni.status().granted(), cni.gc(&[]).granted()), (Value::Null, Value::Null));
    let old = runtime(&scene, &list("1.0.0", "net60", &dual(60)));
    assert_eq!((old.status().code(), old.gc(&[]).code()), (1, 1));
}

#[test]
fn the_interface_is_what_the_result_says() {
    needs!(root, "nft");
    let scene = Scene::new();
    let _netns = scene.host.add_netns("c1");
    let mut more = dual(7);
    more["mtu"] = json!(1400);
    more["dns"] = json!({"nameservers": ["192.0.2.53"], "search": ["seven.test"]});
    let cni = runtime(&scene, &list("1.1.0", "seven", &more));
    let wishes = json!({"ips": ["10.7.0.77/24", "fd00:7::77"], "mac": "02:11:22:33:44:77",
        "dns": {"searches": ["pod.test"], "options": ["ndots:5"]}});
    let told = cni.add("c1", &wishes).granted();
    let interfaces = told["interfaces"].as_array().unwrap();
    assert_eq!(
        interfaces[1],
        json!({"name": "eth0", "mac": "02:11:22:33:44:77", "sandbox": "/run/netns/c1", "mtu": 1400})
    );
    assert_eq!(addresses(&told), ["10.7.0.77".parse::<IpAddr>().unwrap(), "fd00:7::77".parse().unwrap()]);
    assert_eq!(
        told["dns"],
        json!({"nameservers": ["192.0.2.53"], "search": ["pod.test"], "options": ["ndots:5"]})
    );
    let shown: Value = serde_json::from_str(&scene.host.sh("ip -n c1 -j addr show dev eth0")).unwrap();
    assert_eq!((&shown[0]["address"], &shown[0]["mtu"]), (&json!("02:11:22:33:44:77"), &json!(1400)));
    let inside = shown[0]["addr_info"].as_array().unwrap();
    for ip in told["ips"].as_array().unwrap() {
        let has = |info: &Value| {
            let (local, length) = (info["local"].as_str().unwrap(), &info["prefixlen"]);
            ip["address"] == format!("{local}/{length}")
        };
        assert!(inside.iter().any(has), "{ip} is not on the interface: {shown:#}");
        let family = if ip["address"].as_str().unwrap().contains(':') { "-6" } else { "-4" };
        let route = scene.host.sh(&format!("ip {family} -n c1 route show default"));
        assert!(route.contains(&format!("via {} ", ip["gateway"].as_str().unwrap())), "{route}");
    }
    let port = interfaces[0]["name"].as_str().unwrap();
    assert!(scene.host.links().iter().any(|link| link == port), "{port} is not on the host");
    // The daemon keeps whose it is.
    let id = scene.get("/v2/endpoints")[0].clone();
    assert_eq!((&id["Name"], &id["Owner"]), (&json!("c1_seven"), &json!("cni")));
}

#[test]
fn a_network_without_a_way_out_has_no_default_route() {
    needs!(root, "nft");
    let scene = Scene::new();
    let (a, b) = (scene.host.add_netns("a"), scene.host.add_netns("b"));
    for (number, more) in (11..).zip([
        json!({"networkType": "internal"}),
        json!({"networkType": "private"}),
        json!({"networkType": "nat", "isDefaultGateway": false}),
    ]) {
        let mut described = dual(number);
        for (key, value) in more.as_object().unwrap() {
            described[key] = value.clone();
        }
        let cni = runtime(&scene, &list("1.0.0", &format!("net{number}"), &described));
        let [told_a, told_b] = ["a", "b"].map(|name| cni.add(name, &json!({})).granted());
        for told in [&told_a, &told_b] {
            spec_rules::result(told, "1.0.0").unwrap();
            assert_eq!(told["routes"], json!([]), "{more}");
        }
        for address in addresses(&told_b) {
            eventually!(a.ping(address));
        }
        for family in ["-4", "-6"] {
            assert_eq!(scene.host.sh(&format!("ip {family} -n a route show default")), "", "{more}");
        }
        assert!(!a.ping(FAR_V4) && !b.ping(FAR_V6), "{more}");
        for (name, told) in [("a", &told_a), ("b", &told_b)] {
            cni.check(name, told).granted();
            cni.del(name, told).granted();
        }
    }
}

#[test]
fn without_masquerade_the_container_keeps_its_address() {
    needs!(root, "nft");
    let scene = Scene::new();
    let netns = scene.host.add_netns("c1");
    let mut more = dual(7);
    more["ipMasq"] = json!(false);
    let cni = runtime(&scene, &list("1.0.0", "routed", &more));
    let told = cni.add("c1", &json!({})).granted();
    let host = scene.host.v4();
    scene.outside.sh(&format!("ip route add 10.7.0.0/24 via {host}"));
    let _server = tcp::Echo::serve(&scene.outside.netns(), "0.0.0.0:80");
    let seen = eventually!(tcp::ask(&netns, (scene.outside.v4(), 80)));
    assert_eq!(seen.ip(), addresses(&told)[0]);
}

#[test]
fn addresses_of_host_local_and_static_are_the_containers() {
    needs!(root, "nft", "/usr/lib/cni/host-local", "/usr/lib/cni/static");
    assert!(Path::new(HOST_LOCAL).exists());
    let scene = Scene::new();
    let outside = scene.outside.netns();
    let netns = scene.host.add_netns("c1");
    let data = scene.lab.folder().join("leases");
    let host_local = json!({"type": "host-local", "dataDir": data, "ranges": [
        [{"subnet": "10.8.0.0/24", "rangeStart": "10.8.0.50", "rangeEnd": "10.8.0.51", "gateway": "10.8.0.254"}],
        [{"subnet": "fd00:8::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]});
    let by_static = json!({"type": "static", "addresses": [
        {"address": "10.9.0.9/24", "gateway": "10.9.0.1"}, {"address": "fd00:9::9/64", "gateway": "fd00:9::1"}]});
    for (name, ipam, first) in [("leased", host_local, "10.8.0.50"), ("fixed", by_static, "10.9.0.9")] {
        let cni = runtime(&scene, &list("1.0.0", name, &json!({"ipam": ipam})));
        let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
        let told = cni.add("c1", &ports).granted();
        spec_rules::result(&told, "1.0.0").unwrap();
        assert_eq!(addresses(&told)[0], first.parse::<IpAddr>().unwrap());
        assert_eq!(addresses(&told).len(), 2);
        let _server = tcp::Echo::serve(&netns, "[::]:80");
        for address in scene.host_addresses() {
            answers(&outside, (address, 8080));
        }
        assert!(netns.ping(FAR_V4) && netns.ping(FAR_V6), "{name}: no way out");
        cni.check("c1", &told).granted();
        assert_eq!(reserved(&data, "leased").len(), if name == "leased" { 2 } else { 0 });
        cni.del("c1", &told).granted();
        assert_eq!(reserved(&data, "leased"), [""; 0]);
    }
}

#[test]
fn an_add_that_fails_leaves_nothing_anywhere() {
    needs!(root, "nft", "/usr/lib/cni/host-local");
    let scene = Scene::new();
    let _netns = scene.host.add_netns("c1");
    let data = scene.lab.folder().join("leases");
    let ipam = json!({"type": "host-local", "dataDir": data, "subnet": "10.8.0.0/24"});
    let cni = runtime(&scene, &list("1.0.0", "leased", &json!({"ipam": ipam})));
    // The host's own port 8080 is somebody else's.
    let _taken = tcp::Echo::serve(&scene.host.netns(), "0.0.0.0:8080");
    let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    let refused = cni.add("c1", &ports);
    spec_rules::error(&refused.document).unwrap();
    assert_eq!(refused.code(), 100, "{}", refused.message());
    assert_eq!(reserved(&data, "leased"), [""; 0]);
    for kind in ["endpoints", "networks", "namespaces"] {
        assert_eq!(scene.get(&format!("/v2/{kind}")), json!([]), "{kind}");
    }
    assert_eq!(scene.host.sh("ip -n c1 -o link show | grep -vc ' lo:' || true").trim(), "0");
    cni.add("c1", &json!({})).granted();
}

#[test]
fn a_gc_removes_exactly_what_it_should() {
    needs!(root, "nft");
    let scene = Scene::new();
    let web = runtime(&scene, &list("1.1.0", "web", &dual(7)));
    let db = runtime(&scene, &list("1.1.0", "db", &dual(8)));
    for name in ["a", "b", "c"] {
        let _netns = scene.host.add_netns(name);
        web.add(name, &json!({})).granted();
    }
    let _netns = scene.host.add_netns("d");
    db.add("d", &json!({})).granted();
    scene.hnsd.hnsctl(&["endpoint", "create", "--network", "web", "--name", "mine"]);
    let names = || {
        let all = scene.get("/v2/endpoints");
        let name = |endpoint: &Value| endpoint["Name"].as_str().unwrap().to_owned();
        all.as_array().unwrap().iter().map(name).collect::<BTreeSet<_>>()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let every = set(&["a_web", "b_web", "c_web", "d_db", "mine"]);
    web.gc(&["a", "b", "c"]).granted();
    assert_eq!(names(), every);
    // Containers that are valid on one network say nothing about another.
    web.gc(&["b", "d", "nobody"]).granted();
    assert_eq!(names(), set(&["b_web", "d_db", "mine"]));
    eventually!(scene.host.sh("ip -n a -o link show | grep -vc ' lo:' || true").trim() == "0");
    web.gc(&[]).granted();
    assert_eq!(names(), set(&["d_db", "mine"]));
    db.gc(&["d"]).granted();
    assert_eq!(names(), set(&["d_db", "mine"]));
}

#[test]
fn a_hundred_containers_at_once_are_all_different() {
    needs!(root, "nft");
    const CONTAINERS: usize = 100;
    let scene = Scene::new();
    let cni = runtime(&scene, &list("1.0.0", "crowd", &dual(7)));
    let names: Vec<String> = (0..CONTAINERS).map(|number| format!("c{number}")).collect();
    let made: Vec<&str> = names.iter().map(String::as_str).collect();
    scene.host.sh(&format!("for n in {}; do ip netns add $n; done", made.join(" ")));
    let at_once = |work: &(dyn Fn(&str) -> Said + Sync)| -> Vec<Value> {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                names.iter().map(|name| scope.spawn(move || work(name).granted())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    let told = at_once(&|name| cni.add(name, &json!({})));
    let addresses: BTreeSet<IpAddr> = told.iter().flat_map(addresses).collect();
    assert_eq!(addresses.len(), 2 * CONTAINERS);
    let macs: BTreeSet<&str> =
        told.iter().map(|told| told["interfaces"][1]["mac"].as_str().unwrap()).collect();
    assert_eq!(macs.len(), CONTAINERS);
    assert_eq!(endpoints(&scene), CONTAINERS);
    assert_eq!(scene.get("/v2/networks").as_array().unwrap().len(), 1);
    let last = scene.host.netns_at(format!("/run/netns/c{}", CONTAINERS - 1));
    for address in self::addresses(&told[0]) {
        eventually!(last.ping(address));
    }
    at_once(&|name| cni.del(name, &Value::Null));
    assert_eq!((endpoints(&scene), scene.get("/v2/namespaces")), (0, json!([])));
}

#[test]
fn a_daemon_that_is_away_is_tried_again_and_finds_everything_when_it_is_back() {
    needs!(root, "nft", "/usr/lib/cni/host-local");
    let mut scene = Scene::new();
    let netns = scene.host.add_netns("c1");
    let data = scene.lab.folder().join("leases");
    let ipam = json!({"type": "host-local", "dataDir": data, "subnet": "10.8.0.0/24"});
    let cni = runtime(&scene, &list("1.0.0", "leased", &json!({"ipam": ipam})));
    let told = cni.add("c1", &json!({})).granted();
    let latest = runtime(&scene, &list("1.1.0", "web", &dual(7)));
    scene.hnsd.kill9();
    for (said, code) in [
        (cni.add("c2", &json!({})), 3),
        (cni.del("c1", &told), 11),
        (cni.check("c1", &told), 11),
        (latest.gc(&[]), 11),
        (latest.status(), 50),
    ] {
        spec_rules::error(&said.document).unwrap();
        assert_eq!(said.code(), code, "{}", said.message());
    }
    let _second = scene.host.add_netns("c2");
    assert_eq!(cni.add("c2", &json!({})).code(), 11);
    assert_eq!(
        reserved(&data, "leased"),
        [addresses(&told)[0].to_string()],
        "c2's lease must be back, c1's stay"
    );
    assert!(netns.ping(FAR_V4), "traffic goes on");
    scene.hnsd.start_again();
    cni.check("c1", &told).granted();
    cni.del("c1", &told).granted();
    assert_eq!(reserved(&data, "leased"), [""; 0]);
}

#[test]
fn a_del_needs_no_namespace() {
    needs!(root, "nft");
    let scene = Scene::new();
    let cni = runtime(&scene, &list("1.0.0", "web", &dual(7)));
    let gone = |name: &str, told: &Value, namespace: &str| {
        cni.del_at(name, namespace, told).granted();
        assert_eq!(endpoints(&scene), 0);
        eventually!(scene.get("/v2/namespaces") == json!([]));
    };
    for (name, namespace) in [("a", ""), ("b", "/run/netns/b"), ("c", "")] {
        let netns = scene.host.add_netns(name);
        let told = cni.add(name, &json!({})).granted();
        if name != "c" {
            drop(netns);
            scene.host.sh(&format!("ip netns del {name}"));
        }
        gone(name, &told, namespace);
        gone(name, &Value::Null, namespace);
    }
    eventually!(scene.host.sh("ip -n c -o link show | grep -vc ' lo:' || true").trim() == "0");
    // The next container of the name starts afresh.
    let _netns = scene.host.add_netns("a");
    cni.add("a", &json!({})).granted();
}

#[test]
fn a_check_sees_what_was_taken_away() {
    needs!(root, "nft");
    let scene = Scene::new();
    let cni = runtime(&scene, &list("1.0.0", "web", &dual(7)));
    let (_netns, _other) = (scene.host.add_netns("c1"), scene.host.add_netns("other"));
    let told = cni.add("c1", &json!({})).granted();
    cni.check("c1", &told).granted();
    assert_eq!(cni.check_at("c1", "/run/netns/other", &told).code(), 101);
    let mut lied = told.clone();
    lied["ips"][0]["address"] = json!("10.7.0.99/24");
    assert!(cni.check("c1", &lied).message().ends_with("it does not have 10.7.0.99/24"));
    // Somebody in the container deletes the interface; the daemon brings it back.
    scene.host.sh("ip -n c1 link del eth0");
    eventually!(scene.host.try_sh("ip -n c1 link show eth0").success());
    eventually!(cni.check("c1", &told).success);
    scene.hnsd.hnsctl(&["endpoint", "rm", "c1_web"]);
    assert_eq!(cni.check("c1", &told).code(), 101);
}

#[test]
fn an_add_is_refused_with_the_reason() {
    needs!(root, "nft");
    let scene = Scene::new();
    let _netns = scene.host.add_netns("c1");
    runtime(&scene, &list("1.0.0", "web", &dual(7))).add("c1", &json!({})).granted();
    let _second = scene.host.add_netns("c2");
    let other = json!({"networkType": "internal"});
    let acl = |more: &Value| {
        let mut value = json!({"Type": "ACL", "Action": "Allow", "Direction": "In"});
        for (key, setting) in more.as_object().unwrap() {
            value[key] = setting.clone();
        }
        let mut conf = dual(7);
        conf["policies"] = json!([{"name": "EndpointPolicy", "value": value}]);
        conf
    };
    let cases = [
        (
            list("1.0.0", "l2", &json!({"networkType": "l2bridge"})),
            json!({}),
            7,
            "a network of the type L2Bridge needs an adapter",
        ),
        (
            list("1.0.0", "o", &json!({"type": "hns-cni", "networkType": "l2tunnel"})),
            json!({}),
            7,
            "a network of the type L2Tunnel needs an adapter",
        ),
        (list("1.0.0", "x", &json!({"network": "nobodys"})), json!({}), 7, "nobodys"),
        (list("1.0.0", "web", &dual(8)), json!({}), 7, "without 10.8.0.0/24"),
        (list("1.0.0", "web", &other), json!({}), 7, "is of type NAT, not Internal"),
        (list("1.0.0", "web", &dual(7)), json!({"bandwidth": {"ingressBurst": 1000}}), 7, "needs a rate"),
        (list("1.0.0", "web", &acl(&json!({"RemoteAddresses": "any"}))), json!({}), 7, "any"),
        (list("1.0.0", "web", &acl(&json!({"Type": "VmNic"}))), json!({}), 7, "VmNic is not supported"),
        (list("1.0.0", "web", &dual(7)), json!({"ips": ["10.99.0.1"]}), 7, "10.99.0.1"),
        (list("1.0.0", "web", &dual(7)), json!({"ips": ["10.7.0.1"]}), 100, "10.7.0.1"),
    ];
    for (list, wishes, code, said) in cases {
        let refused = runtime(&scene, &list).add("c2", &wishes);
        spec_rules::error(&refused.document).unwrap();
        assert_eq!(refused.code(), code, "{:#}", refused.document);
        assert!(refused.message().contains(said), "{}", refused.message());
    }
    assert_eq!(endpoints(&scene), 1);
    // The same container twice, which a runtime must not do.
    assert_eq!(runtime(&scene, &list("1.0.0", "web", &dual(7))).add("c1", &json!({})).code(), 100);
    assert_eq!(endpoints(&scene), 1);
}

/// Every file of `examples/cni`, as it stands.
#[test]
fn the_examples_work() {
    needs!(root, "nft", "/usr/lib/cni/host-local", "/usr/lib/cni/tuning");
    let scene = Scene::new();
    scene.hnsd.hnsctl(&["network", "create", "nat"]);
    let outside = scene.outside.netns();
    // Configurations for Windows call it by other names.
    let links = scene.lab.folder().join("bin");
    std::fs::create_dir(&links).unwrap();
    for name in ["nat", "win-bridge", "azure-vnet"] {
        std::os::unix::fs::symlink(program("hns-cni"), links.join(name)).unwrap();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/cni");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending != "md"));
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let list: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let name = list["name"].as_str().unwrap();
        let netns = scene.host.add_netns(name);
        let cni = runtime(&scene, &list).plugins_in(&links);
        let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
        let told = cni.add(name, &ports).granted();
        spec_rules::result(&told, list["cniVersion"].as_str().unwrap()).unwrap();
        if name != "backend" {
            let _server = tcp::Echo::serve(&netns, "0.0.0.0:80");
            answers(&outside, (scene.host.v4(), 8080));
        }
        if name == "tuned" {
            assert_eq!(scene.host.sh("ip netns exec tuned sysctl -n net.core.somaxconn").trim(), "512");
        }
        cni.del(name, &told).granted();
        assert_eq!(endpoints(&scene), 0, "{}", file.display());
    }
}

#[test]
fn one_container_on_two_networks_and_by_its_arguments() {
    needs!(root, "nft");
    let scene = Scene::new();
    let _netns = scene.host.add_netns("c1");
    let front = runtime(&scene, &list("1.0.0", "front", &dual(7))).args(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;IP=10.7.0.7;MAC=02:00:00:00:00:07",
    );
    let told = front.add("c1", &json!({})).granted();
    assert_eq!(addresses(&told)[0], "10.7.0.7".parse::<IpAddr>().unwrap());
    assert_eq!(told["interfaces"][1]["mac"], "02:00:00:00:00:07");
    let marks = scene.get("/v2/endpoints")[0]["AdditionalParams"]["Cni"].clone();
    assert_eq!(marks["Pod"], json!({"Namespace": "default", "Name": "web-0"}));
    // The name eth0 is taken in the container; what is in the way is named.
    let back = runtime(&scene, &list("1.0.0", "back", &dual(8)));
    let refused = back.add("c1", &json!({}));
    assert!(refused.message().contains("eth0"), "{}", refused.message());
    assert_eq!(refused.code(), 100);
    front.del("c1", &told).granted();
    let told = back.add("c1", &json!({})).granted();
    back.check("c1", &told).granted();
}

/// Where the network of this name is a bridge of the administrator's, pods are on its LAN. It is there before and after them.
#[test]
fn pods_are_on_a_bridge_of_the_administrators() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.host.bridge_adapter("CORP");
    eventually!(scene.hnsd.hnsctl(&["network", "ls"]).contains("CORP"));
    let netns = scene.host.add_netns("pod");
    let cni = runtime(&scene, &list("1.1.0", "CORP", &json!({"networkType": "transparent"})));
    let refused = cni.add("pod", &json!({}));
    assert!(refused.message().contains("addresses are free on its LAN"), "{refused:?}");
    let told = cni.add("pod", &json!({"ips": ["198.18.0.160/24", "fd00:198:18::160/64"]})).granted();
    let wanted: [IpAddr; 2] = [[198, 18, 0, 160].into(), [0xfd00, 0x198, 0x18, 0, 0, 0, 0, 0x160].into()];
    assert_eq!(addresses(&told), wanted);
    let _server = tcp::Echo::serve(&netns, "[::]:80");
    for to in wanted {
        answers(&scene.outside.netns(), (to, 80));
        answers(&scene.host.netns(), (to, 80));
    }
    cni.del("pod", &told);
    assert_eq!(endpoints(&scene), 0);
    assert!(scene.hnsd.hnsctl(&["network", "ls"]).contains("CORP"));
}
