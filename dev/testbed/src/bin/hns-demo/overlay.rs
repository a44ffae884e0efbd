//! Containers of three hosts on one network, which nobody between the hosts can read.

use std::process::ExitCode;

use hns_testbed::raw::Capture;
use hns_testbed::{Hnsd, Lab, eventually};

use crate::narration::{fetch_from_container, root_folder, run, show_at, step};

const HOSTS: [&str; 3] = ["one", "two", "three"];
/// What every page begins with.
const WORDS: &[u8] = b"Hello, this is";

pub fn tell() -> ExitCode {
    step(
        "Three hosts on a network between them, each with hnsd; there is nothing else: no store, no orchestrator",
    );
    let lab = Lab::new();
    let mut hosts =
        HOSTS.map(|name| Hnsd::builder(&lab.host(name)).arg("--default-network").arg("false").start());
    for hnsd in &hosts {
        println!("{:<6} {}", hnsd.host().name(), hnsd.host().v4());
    }

    step("On each an encrypted network with a subnet of its own, and the key by which the others know it");
    let keys = hosts.each_ref().map(make_network);

    step("Each is told of the two others: which prefix, at which address, by which key");
    for (own, hnsd) in hosts.iter().enumerate() {
        let others = (0..HOSTS.len()).filter(|other| *other != own);
        let peers: Vec<String> = others
            .map(|other| format!("{}={},key={}", prefix(other), hosts[other].host().v4(), keys[other]))
            .collect();
        let peers = peers.iter().map(String::as_str);
        show_at(hnsd, &["network", "peer", "add", "blue"].into_iter().chain(peers).collect::<Vec<_>>());
    }

    step("A container on each, started by crun, that serves a page");
    for hnsd in &hosts {
        let name = format!("web-{}", hnsd.host().name());
        let serve = [&root_folder(&lab, &name), "--", "httpd", "-f", "-p", "80", "-h", "/www"];
        show_at(hnsd, &[&["run", "--detach", "--network", "blue", "--name", &name], &serve[..]].concat());
    }

    step("Each opens the pages of the others, while somebody between the hosts reads along");
    let wire = Capture::open(&lab.router().netns());
    for (own, hnsd) in hosts.iter().enumerate() {
        for other in (0..HOSTS.len()).filter(|other| *other != own) {
            let page = format!("http://{}/", address_of(&hosts[other], HOSTS[other]));
            fetch_from_container(hnsd, &format!("web-{}", HOSTS[own]), &page, HOSTS[other]);
        }
    }
    let frames = wire.take();
    let read = frames.iter().filter(|frame| frame.windows(WORDS.len()).any(|part| part == WORDS)).count();
    println!("between the hosts: {} frames, of which {read} show a page", frames.len());
    assert!(read == 0 && frames.len() > HOSTS.len(), "{read} of {}", frames.len());

    step("Which hosts were heard, and when each pair has agreed on its keys");
    show_at(&hosts[0], &["network", "peer", "ls", "blue"]);
    show_at(
        &hosts[0],
        &["trace", "--from", "web-one", "--to", &address_of(&hosts[1], "two"), "--protocol", "icmp"],
    );

    step("Cleaning up: nothing is left");
    for hnsd in &mut hosts {
        let name = format!("web-{}", hnsd.host().name());
        show_at(hnsd, &["stop", "-t", "1", &name]);
        show_at(hnsd, &["network", "rm", "blue"]);
        eventually!(!hnsd.host().links().iter().any(|link| link.starts_with("hn")));
        run(hnsd.host(), &["ip", "-br", "link"]);
    }
    let ended = hosts.each_mut().map(|hnsd| hnsd.terminate().success());
    println!("the namespaces end with this program");
    if ended == [true; 3] { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn prefix(host: usize) -> String {
    format!("10.244.{}.0/24", host + 1)
}

/// Says by which key the others know this host.
fn make_network(hnsd: &Hnsd) -> String {
    let own = HOSTS.iter().position(|name| *name == hnsd.host().name()).expect("it is one of them");
    show_at(
        hnsd,
        &["network", "create", "blue", "--type", "overlay", "--encrypted", "--subnet", &prefix(own)],
    );
    let network = hnsd.hnsctl_json(&["network", "inspect", "blue"]);
    let policies = network["Policies"].as_array().into_iter().flatten();
    let mut keys = policies.filter_map(|policy| policy["Settings"]["PublicKey"].as_str());
    let key = keys.next().expect("an encrypted network shows it").to_owned();
    println!("{}$ hnsctl network inspect blue | grep PublicKey\n{key}", hnsd.host().name());
    key
}

fn address_of(hnsd: &Hnsd, name: &str) -> String {
    let endpoint = hnsd.hnsctl_json(&["endpoint", "inspect", &format!("web-{name}")]);
    let address = endpoint["IpConfigurations"][0]["IpAddress"].as_str();
    address.expect("it has one of its host's prefix").to_owned()
}
