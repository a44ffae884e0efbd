//! Containers in a subnet of their host's own, whose gateway the host is by an endpoint, under the MAC address of the host's adapter: who
//! reaches whom by routes to the hosts, and that everything passes the host in both directions.

use std::net::IpAddr;

use hns_testbed::raw::Capture;
use hns_testbed::{Answer, Hnsd, Host, eventually, needs, tcp};
use hns_tests::story_support::Container;
use hns_tests::story_support::cni::CniRuntime;

use serde_json::{Value, json};

use crate::filtered::trouble;
use crate::host::Traffic;
use crate::stage::{Party, Stage, container_at, network};

/// The host's subnets are `10.244.N.0/24` and `fd00:244:N::/64`.
fn pods(hnsd: &Hnsd, number: u8) {
    let prefixes = [format!("10.244.{number}.0/24"), format!("fd00:244:{number}::/64")];
    let gateways = [format!("--gateway=10.244.{number}.1"), format!("--gateway=fd00:244:{number}::1")];
    let mut words = vec!["--type", "l2bridge", "--interface", "eth0"];
    for (prefix, gateway) in prefixes.iter().zip(&gateways) {
        words.extend(["--subnet", prefix, gateway]);
    }
    network(hnsd, "pods", &words);
    hnsd.hnsctl(&["namespace", "create", "the-host", "--host-default"]);
}

/// The host's endpoint at `.LAST`.
fn gateway(hnsd: &Hnsd, number: u8, last: u8) -> Container {
    let ips = [format!("10.244.{number}.{last}"), format!("fd00:244:{number}::{last}")];
    let words = ["endpoint", "create", "--network", "pods", "--name", "gw", "--namespace", "the-host"];
    let words = [&words[..], &["--ip", &ips[0], "--ip", &ips[1]]].concat();
    Container::new("gw", hnsd.host().netns(), hnsd.hnsctl_json(&words))
}

/// A container whose gateway is the network's own, `.1`.
fn pod(hnsd: &Hnsd, number: u8, name: &str, last: u8) -> Container {
    let addresses = [format!("10.244.{number}.{last}"), format!("fd00:244:{number}::{last:x}")];
    container_at(hnsd, "pods", name, &addresses)
}

/// Routes to the subnet of `number` by that host.
fn route(from: &Host, by: &Host, number: u8) {
    let (v4, v6) = (by.v4(), by.v6());
    from.sh(&format!(
        "ip route add 10.244.{number}.0/24 via {v4}; ip -6 route add fd00:244:{number}::/64 via {v6}"
    ));
}

/// What belongs to no connection that a host has seen from its beginning goes no further: each host sees both directions.
const WATCHFUL: &str = "nft 'add table inet watchful
    add chain inet watchful f { type filter hook forward priority 0; policy accept; }
    add rule inet watchful f ct state invalid counter drop
    add rule inet watchful f tcp flags & (syn|ack) != syn ct state new counter drop'";

/// Two hosts with routes to each other's subnets, a client on the LAN with routes to both, and what the LAN's switch sees.
fn stage() -> (Stage, Capture) {
    let stage = Stage::bare();
    let (here, there) = (stage.here.host(), stage.there.host());
    for host in [here, there] {
        host.sh(WATCHFUL);
    }
    route(here, there, 2);
    route(there, here, 1);
    route(&stage.client, here, 1);
    route(&stage.client, there, 2);
    let wire = Capture::open(&stage.lab.router().netns());
    pods(&stage.here, 1);
    pods(&stage.there, 2);
    (stage, wire)
}

fn reaches(from: &Party, address: IpAddr) -> Result<(), String> {
    tcp::ask(&from.netns, (address, 80)).map_err(|error| format!("{} to {address}: {error}", from.name))?;
    from.netns.ping(address).then_some(()).ok_or_else(|| format!("{} hears nothing of {address}", from.name))
}

/// Everybody reaches everybody, by connections in both families.
#[track_caller]
fn all_meet(parties: &[Party]) {
    for to in parties {
        let servers: Vec<tcp::Echo> =
            to.addresses.iter().map(|address| tcp::Echo::serve(&to.netns, (*address, 80))).collect();
        for from in parties.iter().filter(|from| from.name != to.name) {
            for address in &to.addresses {
                eventually!(reaches(from, *address));
            }
        }
        drop(servers);
    }
}

#[test]
fn containers_of_routed_subnets_meet_everybody_and_the_wire_sees_the_hosts_alone() {
    needs!(root, "nft", "ping");
    let (stage, wire) = stage();
    let gateways = [gateway(&stage.here, 1, 1), gateway(&stage.there, 2, 1)];
    let web = pod(&stage.here, 1, "web", 7);
    let db = pod(&stage.here, 1, "db", 8);
    let far = pod(&stage.there, 2, "far", 7);
    all_meet(&[
        Party::container("web", &web),
        Party::container("db", &db),
        Party::container("far", &far),
        Party::host("here", stage.here.host()),
        Party::host("there", stage.there.host()),
        Party::host("client", &stage.client),
    ]);
    // The host is reached at the gateway's addresses, also from afar.
    for address in gateways[0].addresses() {
        for from in [&web.netns, &far.netns, &stage.client.netns(), &stage.there.host().netns()] {
            eventually!(from.ping(address));
        }
    }
    let frames = wire.take();
    assert!(frames.len() > 100, "{} frames", frames.len());
    for container in [&web, &db, &far, &gateways[0], &gateways[1]] {
        let mac = container.mac();
        let told = frames.iter().find(|frame| frame.windows(6).any(|six| six == mac));
        assert_eq!(told, None, "{}", container.name);
    }
    for hnsd in [&stage.here, &stage.there] {
        assert_eq!(trouble(hnsd, "pods"), None);
        assert_eq!(stopped(hnsd.host()), 0);
    }
}

/// What the firewall of a host has let go no further.
fn stopped(host: &Host) -> u64 {
    let said = host.sh("nft list chain inet watchful f");
    let counts =
        said.split("packets ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

/// The host's endpoint is `.2` beside a gateway that nobody is, and containers say where their default route leads.
fn beside(hnsd: &Hnsd, name: &str, last: u8) -> Container {
    let netns = hnsd.host().add_netns(name);
    hnsd.hnsctl(&["namespace", "create", name, "--path", &format!("/run/netns/{name}")]);
    let network = hnsd.hnsctl_json(&["network", "inspect", "pods"]);
    let namespace = hnsd.hnsctl_json(&["namespace", "inspect", name]);
    let document = json!({
        "Name": name, "HostComputeNetwork": network["ID"], "HostComputeNamespace": namespace["ID"],
        "IpConfigurations": [{ "IpAddress": format!("10.244.1.{last}") }, { "IpAddress": format!("fd00:244:1::{last:x}") }],
        "Routes": [{ "NextHop": "10.244.1.2", "DestinationPrefix": "0.0.0.0/0" },
            { "NextHop": "fd00:244:1::2", "DestinationPrefix": "::/0" }],
        "SchemaVersion": { "Major": 2, "Minor": 0 },
    });
    let made = hnsd.api().post("/v2/endpoints", &document).expect("the daemon answers").expect_success();
    Container::new(name, netns, made)
}

#[test]
fn both_directions_pass_the_host_and_a_restart_loses_nothing() {
    needs!(root, "nft", "ping");
    let (mut stage, _wire) = stage();
    let _gateways = [gateway(&stage.here, 1, 2), gateway(&stage.there, 2, 1)];
    let web = beside(&stage.here, "web", 7);
    let far = pod(&stage.there, 2, "far", 7);
    let client = stage.client.netns();
    let [client4, client6] = stage.client.addresses();
    let pairs = [
        ("out", &web.netns, &client, client4),
        ("out6", &web.netns, &client, client6),
        ("in", &client, &web.netns, web.v4().into()),
        ("in6", &client, &web.netns, web.v6().into()),
        ("to far", &web.netns, &far.netns, far.v4().into()),
        ("to far6", &web.netns, &far.netns, far.v6().into()),
    ];
    let traffic = Traffic::between(&pairs);
    let before = [&stage.here, &stage.there].map(|hnsd| stopped(hnsd.host()));
    stage.here.restart();
    stage.here.kill9();
    stage.here.start_again();
    let server = tcp::Echo::serve(&web.netns, (web.v4(), 80));
    eventually!(tcp::ask(&client, server.address()));
    traffic.all_came_back();
    assert_eq!([&stage.here, &stage.there].map(|hnsd| stopped(hnsd.host())), before);
}

#[test]
fn containers_follow_the_hosts_endpoint_that_comes_late_and_goes() {
    needs!(root, "nft", "ping");
    let (stage, _wire) = stage();
    let (web, db) = (pod(&stage.here, 1, "web", 7), pod(&stage.here, 1, "db", 8));
    let client = Party::host("client", &stage.client);
    let parties = [Party::container("web", &web), client.clone(), Party::host("here", stage.here.host())];
    // Among themselves they need no gateway, and beyond there is none.
    eventually!(web.netns.ping(db.v4()) && web.netns.ping(db.v6()));
    assert!(!client.netns.ping(web.v4()) && !web.netns.ping(stage.client.v6()));
    for _ in 0..2 {
        let gateway = gateway(&stage.here, 1, 1);
        let before = stopped(stage.here.host());
        all_meet(&parties);
        assert_eq!(stopped(stage.here.host()), before);
        stage.here.hnsctl(&["endpoint", "rm", &gateway.id]);
        assert!(!client.netns.ping(web.v4()) && !web.netns.ping(stage.client.v6()));
        eventually!(web.netns.ping(db.v4()) && web.netns.ping(db.v6()));
    }
    stage.here.hnsctl(&["network", "rm", "--force", "pods"]);
    eventually!(!stage.here.host().links().iter().any(|link| link.starts_with("hn")));
}

#[test]
fn the_host_is_no_gateway_of_its_own_lan_nor_is_a_container() {
    needs!(root, "nft");
    let (stage, _wire) = stage();
    let said = |words: &[&str]| stage.here.try_hnsctl(words).expect_failure();
    let create = ["endpoint", "create", "--network", "pods", "--ip", "10.244.1.1"];
    assert!(said(&create).contains("reserved: the gateway's"));
    gateway(&stage.here, 1, 1);
    let again = said(&[&create[..], &["--namespace", "the-host"]].concat());
    assert!(again.contains("in use by endpoint"), "{again}");
    stage.here.hnsctl(&["endpoint", "detach", "gw"]);
    let _web = stage.here.host().add_netns("web");
    stage.here.hnsctl(&["namespace", "create", "web", "--path", "/run/netns/web"]);
    let refused = said(&["endpoint", "attach", "gw", "web"]);
    assert!(refused.contains("the address of its network's gateway"), "{refused}");
    // The host comes to be in the subnet by itself.
    stage.here.host().sh("ip addr add 10.244.1.200/24 dev eth0");
    let refused = said(&["endpoint", "attach", "gw", "the-host"]);
    assert!(refused.contains("the host itself is on adapter eth0 already"), "{refused}");
}

/// As Microsoft's configurations have it: the host's endpoint is the second address of the subnet.
#[test]
fn a_container_of_cni_is_behind_the_hosts_endpoint() {
    needs!(root, "nft", "ping");
    let stage = Stage::bare();
    let here = stage.here.host();
    here.sh(WATCHFUL);
    route(&stage.client, here, 1);
    let netns = here.add_netns("web");
    let list = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [{
        "type": "hns-cni", "networkType": "l2bridge", "master": "eth0", "optionalFlags": {"forceBridgeGateway": true},
        "ipam": {"subnet": "10.244.1.0/24", "gateway": "10.244.1.1"},
        "ipamv6": {"subnet": "fd00:244:1::/64", "gateway": "fd00:244:1::1"}}]});
    let runtime = CniRuntime::new(here, stage.here.socket(), &list);
    runtime.add("web", &json!({})).granted();
    stage.here.hnsctl(&["namespace", "create", "the-host", "--host-default"]);
    let gateway = gateway(&stage.here, 1, 2);
    let endpoints = stage.here.hnsctl_json(&["endpoint", "ls"]);
    let web =
        endpoints.as_array().into_iter().flatten().find(|endpoint| endpoint["ID"] != gateway.document["ID"]);
    let web = Container::new("web", netns, web.expect("the container has an endpoint").clone());
    all_meet(&[
        Party::container("web", &web),
        Party::host("client", &stage.client),
        Party::host("here", here),
    ]);
    assert_eq!(stopped(here), 0);
}

/// Changes the policy by which a container of `here` meets others by its host's address.
fn translate(hnsd: &Hnsd, container: &Container, verb: &str, settings: &Value) -> Answer {
    let policy = json!({ "Type": "OutBoundNAT", "Settings": settings });
    let document =
        json!({ "ResourceType": "Policy", "RequestType": verb, "Settings": { "Policies": [policy] } });
    let path = format!("/v2/endpoints/{}/modify", container.id);
    hnsd.api().post(&path, &document).expect("the daemon answers")
}

#[test]
fn a_container_behind_the_host_meets_others_by_the_hosts_address_where_its_policy_says_so() {
    needs!(root, "nft", "ping");
    let (stage, _wire) = stage();
    let web = pod(&stage.here, 1, "web", 7);
    let pods = json!({ "Exceptions": ["10.244.0.0/16", "fd00:244::/32"] });
    let refused = translate(&stage.here, &web, "Add", &pods);
    assert!(
        refused.body.to_string().contains("needs the host as the endpoint's gateway"),
        "{}",
        refused.body
    );
    let _gateways = [gateway(&stage.here, 1, 1), gateway(&stage.there, 2, 1)];
    let far = pod(&stage.there, 2, "far", 7);
    let client = stage.client.netns();
    let servers = [&web, &far].map(|container| {
        let serve = |address| tcp::Echo::serve(&container.netns, (address, 80));
        container.addresses().into_iter().map(serve).collect::<Vec<_>>()
    });
    let _at_client = stage.client.addresses().map(|address| tcp::Echo::serve(&client, (address, 80)));
    let seen_by = |at: IpAddr| tcp::ask(&web.netns, (at, 80)).map(|seen| seen.ip());
    let has_chains = || stage.here.host().sh("nft list table inet hns").contains("chain postrouting");
    for (own, at) in web.addresses().into_iter().zip(stage.client.addresses()) {
        eventually!(seen_by(at).is_ok_and(|seen| seen == own));
    }
    assert!(!has_chains());
    let _granted = translate(&stage.here, &web, "Add", &pods).expect_success();
    for (hosts, at) in stage.here.host().addresses().into_iter().zip(stage.client.addresses()) {
        eventually!(seen_by(at).is_ok_and(|seen| seen == hosts));
    }
    for (own, at) in web.addresses().into_iter().zip(far.addresses()) {
        eventually!(seen_by(at).is_ok_and(|seen| seen == own));
    }
    // Who knows no way back to the container's address answers the host's, also to what has no ports.
    stage.client.sh("ip route del 10.244.1.0/24; ip -6 route del fd00:244:1::/64");
    assert!(stage.client.addresses().into_iter().all(|at| web.netns.ping(at)));
    let narrow = json!({ "Destinations": [format!("{}/32", far.v4())] });
    let _granted = translate(&stage.here, &web, "Update", &narrow).expect_success();
    eventually!(seen_by(far.v4().into()).is_ok_and(|seen| seen == IpAddr::from(stage.here.host().v4())));
    assert!(!web.netns.ping(stage.client.v4()));
    for odd in
        [json!({ "VirtualIP": "198.18.0.77" }), json!({ "MaxPortPoolUsage": 7 }), json!({ "Flags": 1 })]
    {
        let refused = translate(&stage.here, &web, "Add", &odd);
        assert!(refused.status >= 400, "{odd}: {}", refused.body);
    }
    let _granted = translate(&stage.here, &web, "Remove", &narrow).expect_success();
    eventually!(seen_by(far.v4().into()).is_ok_and(|seen| seen == IpAddr::from(web.v4())));
    eventually!(!has_chains());
    drop(servers);
}
