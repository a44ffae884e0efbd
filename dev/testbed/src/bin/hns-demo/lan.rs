//! A container on the LAN of its host, with an address of the LAN's server: everybody there reaches it, the host, too, which itself stays
//! as it is. And a bridge of another host's administrator, which is a network by itself.

use std::process::ExitCode;

use hns_testbed::{Hnsd, Host, Lab, Process, eventually};

use crate::narration::{fetch, fetch_in_vain, root_folder, run, show, step};

pub fn tell() -> ExitCode {
    step("A LAN in namespaces: its router with a DHCP server, a client, and a host for containers");
    let lab = Lab::new();
    let (host, client) = (lab.host("host"), lab.host("client"));
    let _dhcp_server = serve_dhcp(lab.router());
    println!("client  {}  {}", client.v4(), client.v6());
    println!("host    {}  {}", host.v4(), host.v6());
    let before = own(&host);
    show_own(&host);

    step("hnsd starts on the host, and makes no network by itself this time");
    let mut hnsd = Hnsd::builder(&host).arg("--default-network").arg("false").start();
    println!("$ hnsd --default-network false &");

    step("A network on the LAN of eth0");
    make_network(&hnsd);

    step("A container on it, started by crun, with an address of the LAN's server");
    start_container(&hnsd, &root_folder(&lab, "web"));
    let address = address_of(&hnsd, "web");
    let page = format!("http://{address}/");

    step("The client opens its page: no port is published, the container is on the LAN itself");
    fetch(&client, &page, "web");

    step("Its neighbours see its own MAC address, which is not the host's");
    run(&client, &["ip", "neigh", "show", &address]);
    run(&host, &["ip", "-br", "link", "show", "dev", "eth0"]);

    step("The host opens it, too; with macvlan it could not");
    fetch(&host, &page, "web");

    step("The host's own addresses and routes are what they were");
    show_own(&host);
    assert_eq!(own(&host), before);

    step("Rules: all may come but the client");
    block(&hnsd, &client);
    fetch_in_vain(&client, &page);
    fetch(&host, &page, "web");

    step("What was dropped, and what the rules decided");
    let drops = show(&hnsd, &["drops"]);
    assert!(drops.contains("acl-in"), "the rule dropped nothing: {drops}");
    show(&hnsd, &["policy", "ls", "web"]);

    step("The rules go, and the client is back");
    show(&hnsd, &["policy", "clear", "web"]);
    fetch(&client, &page, "web");

    step("Another host, whose administrator has put the adapter into a bridge: it is a network by itself");
    show_adopted(&lab);

    step("What there is now");
    for command in [&["network", "ls"][..], &["endpoint", "ls"], &["ps"]] {
        show(&hnsd, command);
    }

    step("Cleaning up: the last network gives everything back");
    show(&hnsd, &["stop", "-t", "1", "web"]);
    show(&hnsd, &["network", "rm", "corp"]);
    eventually!(!host.links().iter().any(|link| link.starts_with("hn")));
    assert_eq!(own(&host), before);
    run(&host, &["ip", "-br", "link"]);
    let status = hnsd.terminate();
    println!("hnsd ended with {status}; the namespaces end with this program");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The LAN's own, which knows nothing of HNS.
fn serve_dhcp(router: &Host) -> Process {
    let server = router.spawn(&[
        "dnsmasq",
        "--keep-in-foreground",
        "--log-facility=-",
        "--conf-file=/dev/null",
        "--user=root",
        "--pid-file=",
        "--port=0",
        "--no-ping",
        "--bind-interfaces",
        "--interface=br0",
        "--except-interface=lo",
        "--dhcp-range=198.18.0.100,198.18.0.150,1h",
        &format!("--dhcp-leasefile={}", router.folder().join("leases").display()),
    ]);
    eventually!(server.output().contains("sockets bound exclusively"));
    server
}

fn make_network(hnsd: &Hnsd) {
    show(hnsd, &["network", "create", "corp", "--type", "transparent", "--interface", "eth0", "--dhcp"]);
}

fn start_container(hnsd: &Hnsd, root: &str) {
    let serve = [root, "--", "httpd", "-f", "-p", "80", "-h", "/www"];
    show(hnsd, &[&["run", "--detach", "--name", "web", "--network", "corp"], &serve[..]].concat());
}

fn address_of(hnsd: &Hnsd, endpoint: &str) -> String {
    let document = hnsd.hnsctl_json(&["endpoint", "inspect", endpoint]);
    let address = document["IpConfigurations"][0]["IpAddress"].as_str();
    address.expect("the LAN's server has given one").to_owned()
}

fn show_adopted(lab: &Lab) {
    let office = lab.host("office");
    office.bridge_adapter("CORP");
    run(&office, &["ip", "-br", "link", "show", "master", "CORP"]);
    let hnsd = Hnsd::builder(&office).arg("--default-network").arg("false").start();
    eventually!(hnsd.hnsctl(&["network", "ls"]).contains("CORP"));
    show(&hnsd, &["network", "ls"]);
}

fn block(hnsd: &Hnsd, client: &Host) {
    let block = format!("in block from {},{} prio 100", client.v4(), client.v6());
    show(hnsd, &["policy", "add", "web", "--acl", &block, "--acl", "in allow", "--acl", "out allow"]);
}

/// What a host has of itself, for comparison.
fn own(host: &Host) -> String {
    host.sh("ip -o addr; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule")
}

fn show_own(host: &Host) {
    run(host, &["ip", "-br", "addr"]);
    run(host, &["ip", "route"]);
}
