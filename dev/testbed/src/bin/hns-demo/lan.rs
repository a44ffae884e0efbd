//! A container on the LAN of its host: everybody there reaches it under its own address, the host, too, which itself stays as it is.

use std::process::ExitCode;

use hns_testbed::{Hnsd, Host, Lab, eventually};

use crate::narration::{fetch, fetch_in_vain, root_folder, run, show, step};

/// The container's page, by both of its addresses.
const PAGES: [&str; 2] = ["http://198.18.0.201/", "http://[fd00:198:18::201]/"];

pub fn tell() -> ExitCode {
    step("A LAN in namespaces: its router, a client, and a host for containers");
    let lab = Lab::new();
    let (host, client) = (lab.host("host"), lab.host("client"));
    println!("client  {}  {}", client.v4(), client.v6());
    println!("host    {}  {}", host.v4(), host.v6());
    let before = own(&host);
    show_own(&host);

    step("hnsd starts on the host, and makes no network by itself this time");
    let mut hnsd = Hnsd::builder(&host).arg("--default-network").arg("false").start();
    println!("$ hnsd --default-network false &");

    step("A network on the LAN of eth0");
    make_network(&hnsd);

    step("A container on it, started by crun, with addresses of the LAN");
    start_container(&hnsd, &root_folder(&lab, "web"));

    step("The client opens its page: no port is published, the container is on the LAN itself");
    PAGES.iter().for_each(|page| fetch(&client, page, "web"));

    step("Its neighbours see its own MAC address, which is not the host's");
    run(&client, &["ip", "neigh", "show", "198.18.0.201"]);
    run(&host, &["ip", "-br", "link", "show", "dev", "eth0"]);

    step("The host opens it, too; with macvlan it could not");
    PAGES.iter().for_each(|page| fetch(&host, page, "web"));

    step("The host's own addresses and routes are what they were");
    show_own(&host);
    assert_eq!(own(&host), before);

    step("Rules: all may come but the client");
    block(&hnsd, &client);
    fetch_in_vain(&client, PAGES[0]);
    fetch(&host, PAGES[0], "web");

    step("What was dropped, and what the rules decided");
    let drops = show(&hnsd, &["drops"]);
    assert!(drops.contains("acl-in"), "the rule dropped nothing: {drops}");
    show(&hnsd, &["policy", "ls", "web"]);

    step("The rules go, and the client is back");
    show(&hnsd, &["policy", "clear", "web"]);
    fetch(&client, PAGES[0], "web");

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

/// Both families, with the LAN's router; containers get what nobody else uses.
fn make_network(hnsd: &Hnsd) {
    let v4 = ["--subnet", "198.18.0.0/24", "--gateway", "198.18.0.254", "--ip-range", "198.18.0.128/25"];
    let v6 = ["--subnet", "fd00:198:18::/64", "--gateway", "fd00:198:18::fe"];
    let words = ["network", "create", "corp", "--type", "transparent", "--interface", "eth0"];
    show(hnsd, &[&words[..], &v4, &v6].concat());
}

fn start_container(hnsd: &Hnsd, root: &str) {
    let place = ["--network", "corp", "--ip", "198.18.0.201", "--ip", "fd00:198:18::201"];
    let serve = [root, "--", "httpd", "-f", "-p", "[::]:80", "-h", "/www"];
    show(hnsd, &[&["run", "--detach", "--name", "web"], &place[..], &serve].concat());
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
