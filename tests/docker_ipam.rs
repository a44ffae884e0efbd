//! HNS gives Docker's networks their addresses: those of our own drivers, and those of Docker's bridge and macvlan.
//!
//! IPAM-4, T-IPM-1, T-IPM-2, T-IP6-1, T-RNG-1, T-AUX-1.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hns_testbed::{eventually, needs};
use hns_tests::story_support::{DockerScene, text};

/// A host with Docker, whose networks have our IPAM.
struct Story {
    stage: DockerScene,
}

impl Story {
    fn new() -> Self {
        Self { stage: DockerScene::newest() }
    }

    /// Starts a container and gives its addresses on the network.
    #[track_caller]
    fn joins(&self, network: &str, name: &str, options: &[&str]) -> Vec<String> {
        self.stage.idle(name, &[&["--network", network], options].concat());
        self.stage.addresses(name, network).iter().map(IpAddr::to_string).collect()
    }

    /// What Docker says to a container that must not start on the network.
    #[track_caller]
    fn refused(&self, network: &str, options: &[&str]) -> String {
        self.stage.refused_container(&[&["--network", network], options].concat())
    }

    fn remove(&self, containers: &[&str]) {
        self.stage.remove(containers);
    }

    /// `docker network create` with our IPAM driver.
    #[track_caller]
    fn network(&self, driver: &str, name: &str, options: &[&str]) {
        let words = ["network", "create", "-d", driver, "--ipam-driver", "hns"];
        self.stage.docker.run(&[&words, options, &[name]].concat());
    }
}

/// A network of our IPAM gives addresses as it is told, whichever driver wires it.
fn gives_addresses_as_told(story: &Story, driver: &str, options: &[&str], number: u8) {
    let name = &format!("of-{driver}");
    let v4 = |last: u8| format!("10.{number}.0.{last}");
    let v6 = |last: u8| format!("fd00:{number}::{last}");
    let subnets = [
        "--ipv6",
        "--subnet",
        &format!("{}/24", v4(0)),
        "--gateway",
        &v4(254),
        "--ip-range",
        &format!("{}/30", v4(128)),
        "--aux-address",
        &format!("printer={}", v4(130)),
        "--subnet",
        &format!("fd00:{number}::/64"),
        "--gateway",
        &v6(1),
    ];
    story.network(driver, name, &[&subnets, options].concat());
    let shown = story.stage.docker.json(&["network", "inspect", name])[0]["IPAM"].clone();
    assert_eq!(shown["Driver"], "hns");

    // Dynamic ones of the range only, and never the auxiliary one: 128, 129 and 131 of the four (T-RNG-1, T-AUX-1).
    let mut given: BTreeSet<String> = BTreeSet::new();
    let containers = ["one", "two", "three"];
    for container in containers {
        let addresses = story.joins(name, container, &[]);
        assert_eq!(addresses.len(), 2, "{driver}: {addresses:?}");
        given.extend(addresses);
    }
    let expected: BTreeSet<String> = [v4(128), v4(129), v4(131)].into();
    let given_v4: BTreeSet<String> = given.iter().filter(|address| address.contains('.')).cloned().collect();
    assert_eq!(given_v4, expected, "{driver}");
    assert_eq!(given.len(), 6, "{driver}: an IPv6 address was given twice: {given:?}");
    let full = story.refused(name, &[]);
    assert!(full.contains(&format!("{}/30", v4(128))), "{driver}: {full}");

    // Static ones of the whole subnet; in use, refused; freed on delete (T-IP6-1).
    let fixed = ["--ip", &v4(77), "--ip6", &v6(77)];
    assert_eq!(story.joins(name, "fixed", &fixed), [v4(77), v6(77)]);
    let taken = story.refused(name, &["--ip", &v4(77)]);
    assert!(taken.contains(&v4(77)), "{driver}: {taken}");
    let taken = story.refused(name, &["--ip", &v4(78), "--ip6", &v6(77)]);
    assert!(taken.contains(&v6(77)), "{driver}: {taken}");
    for reserved in [v4(254), v4(130), v4(255)] {
        let said = story.refused(name, &["--ip", &reserved]);
        assert!(said.contains(&reserved), "{driver}: {said}");
    }
    story.remove(&["fixed"]);
    // Docker does not give an IPv4 address back when it is refused the IPv6 one. On a network of ours nobody holds it.
    let next = v4(if driver == "nat" { 78 } else { 79 });
    assert_eq!(story.joins(name, "fixed", &["--ip", &next, "--ip6", &v6(77)]), [next.clone(), v6(77)]);

    // They talk, and the place of one that leaves is the next one's.
    story.stage.docker.exec("one", &format!("ping -c1 -W2 {next}"));
    story.stage.docker.exec("one", &format!("ping -6 -c1 -W2 {}", v6(77)));
    let left = story.stage.addresses("two", name)[0].to_string();
    story.remove(&["two"]);
    assert_eq!(story.joins(name, "heir", &[])[0], left, "{driver}");
    story.remove(&["one", "three", "heir", "fixed"]);
    story.stage.docker.run(&["network", "rm", name]);
}

#[test]
fn our_ipam_serves_our_networks() {
    needs!(root, engines);
    gives_addresses_as_told(&Story::new(), "nat", &[], 60);
}

#[test]
fn our_ipam_serves_the_bridge_and_macvlan_of_docker() {
    needs!(root, engines);
    let story = Story::new();
    gives_addresses_as_told(&story, "bridge", &[], 61);
    gives_addresses_as_told(&story, "macvlan", &["-o", "parent=eth0"], 62);
    // Nothing is left of their pools: the same subnets again, for others.
    story.network("nat", "again", &["--subnet", "10.61.0.0/24", "--ip-range", "10.61.0.16/28"]);
    assert_eq!(story.joins("again", "one", &[]), ["10.61.0.16"]);
}

#[test]
fn other_ipam_drivers_serve_our_networks() {
    needs!(root, engines);
    let story = Story::new();
    let docker = &story.stage.docker;
    // Docker's own, on the range and with the auxiliary addresses that it keeps to itself.
    story.stage.network(
        "own",
        &["--subnet", "10.63.0.0/29", "--aux-address", "router=10.63.0.2", "--aux-address", "dns=10.63.0.3"],
    );
    let given: BTreeSet<String> =
        ["one", "two", "three"].iter().map(|name| story.joins("own", name, &[]).remove(0)).collect();
    assert_eq!(given, ["10.63.0.4", "10.63.0.5", "10.63.0.6"].map(str::to_owned).into());
    assert!(story.refused("own", &[]).contains("no available"), "a full subnet is full");
    // And the endpoints of others keep away from what Docker gave out.
    story.remove(&["one", "two", "three"]);

    // No IPAM at all: the addresses are of our choice, and all the same known to Docker.
    docker.run(&["network", "create", "-d", "nat", "--ipam-driver", "null", "none-of-theirs"]);
    let network = story.stage.hns_network("none-of-theirs");
    let prefix = text(&network["Ipams"][0]["Subnets"][0], "IpAddressPrefix");
    story.stage.idle("free", &["--network", "none-of-theirs"]);
    let address = text(&story.stage.endpoint("free", "none-of-theirs")["IpConfigurations"][0], "IpAddress");
    assert!(address.starts_with(&prefix[..prefix.find(".0").unwrap()]), "{address} of {prefix}");
    assert!(docker.exec("free", "ip addr show eth0").contains(&format!("inet {address}/")));
    assert!(docker.exec("free", "ip route").contains("default via"));
}

#[test]
fn no_address_is_given_to_a_container_of_docker_and_to_another_endpoint() {
    needs!(root, engines);
    let story = Story::new();
    let scene = &story.stage.scene;
    scene.hnsd.hnsctl(&["network", "create", "common", "--subnet", "10.64.0.0/28"]);
    eventually!(story.stage.docker.try_run(&["network", "inspect", "common"]).success());
    // 14 addresses, one of them the gateway's.
    let mut given = BTreeSet::new();
    for number in 0..6 {
        let ours = scene.container("common", &format!("ours{number}"), &[]);
        assert!(given.insert(ours.v4().to_string()), "twice: {}", ours.v4());
        let docker = story.joins("common", &format!("theirs{number}"), &[]).remove(0);
        assert!(given.insert(docker.clone()), "twice: {docker}");
    }
    let taken = text(&story.stage.endpoint("theirs0", "common")["IpConfigurations"][0], "IpAddress");
    let said = scene
        .hnsd
        .try_hnsctl(&["endpoint", "create", "--network", "common", "--ip", &taken])
        .expect_failure();
    assert!(said.contains(&taken), "{said}");
    let ours = scene.hnsd.hnsctl_json(&["endpoint", "inspect", "ours0"]);
    let ours = text(&ours["IpConfigurations"][0], "IpAddress");
    let said = story.refused("common", &["--ip", &ours]);
    assert!(said.contains(&ours), "{said}");
    assert_eq!(given.len(), 12);
    let last = story.joins("common", "last", &[]).remove(0);
    assert!(given.insert(last));
    let full = story.refused("common", &[]);
    assert!(full.contains("10.64.0.0/28"), "{full}");
    scene.hnsd.hnsctl(&["endpoint", "rm", "ours0"]);
    assert_eq!(story.joins("common", "heir", &[]), [ours]);
}

#[test]
fn leases_outlive_both_daemons() {
    needs!(root, engines);
    let mut story = Story::new();
    let subnet = ["--subnet", "10.65.0.0/24", "--ip-range", "10.65.0.128/30"];
    for (driver, name, number) in [("bridge", "theirs", 65), ("nat", "ours", 66)] {
        let subnet = subnet.map(|word| word.replace("10.65", &format!("10.{number}")));
        story.network(driver, name, &subnet.iter().map(String::as_str).collect::<Vec<_>>());
        story.joins(
            name,
            &format!("{name}-fixed"),
            &["--restart", "always", "--ip", &format!("10.{number}.0.77")],
        );
        assert_eq!(
            story.joins(name, &format!("{name}-one"), &["--restart", "always"]),
            [format!("10.{number}.0.128")]
        );
    }
    let check = |story: &Story, number: u32| {
        for (name, net) in [("theirs", 65), ("ours", 66)] {
            let fixed = format!("{name}-fixed");
            // Docker starts its containers again after it answers.
            eventually!(story.stage.addresses(&fixed, name) == [IpAddr::from([10, net, 0, 77])]);
            eventually!(!story.stage.addresses(&format!("{name}-one"), name).is_empty());
            let said = story.refused(name, &["--ip", &format!("10.{net}.0.77")]);
            assert!(said.contains(&format!("10.{net}.0.77")), "{name} {number}: {said}");
            let held = story.stage.addresses(&format!("{name}-one"), name)[0];
            let next = story.joins(name, "next", &[]).remove(0);
            assert_ne!(next, held.to_string(), "{name} {number}");
            story.remove(&["next"]);
        }
    };
    story.stage.scene.hnsd.kill9();
    story.stage.scene.hnsd.start_again();
    check(&story, 1);
    // Docker repeats its pools and gateways, and its containers ask anew.
    story.stage.docker.restart();
    check(&story, 2);
    story.stage.docker.kill9();
    story.stage.scene.hnsd.restart();
    story.stage.docker.start_again();
    check(&story, 3);
    // Nothing has leaked: all four of the range can be had (the first is one's).
    for name in ["theirs", "ours"] {
        for number in 0..3 {
            story.joins(name, &format!("{name}{number}"), &[]);
        }
        assert!(story.refused(name, &[]).contains("/30"), "{name}");
    }
}
