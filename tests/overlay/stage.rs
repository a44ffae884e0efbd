//! Hosts on one underlay, each with a part of the network `blue`.

use std::net::IpAddr;
use std::process::Stdio;

use hns_testbed::{Hnsd, Host, Lab, Netns, eventually};
use hns_tests::story_support::Container;
pub use hns_tests::story_support::daemon::rules;
use hns_tests::story_support::daemon::{container_at, get};
use serde_json::Value;

pub struct Stage {
    // The daemons end before their hosts, and those before the lab.
    pub here: Hnsd,
    pub there: Hnsd,
    pub client: Host,
    pub lab: Lab,
}

/// What host N has of `blue`.
pub fn prefixes(number: u8) -> [String; 2] {
    [format!("10.244.{number}.0/24"), format!("fd00:244:{number}::/64")]
}

impl Stage {
    /// With `blue` on both hosts; `outer`: 0 for tunnels of IPv4, 1 for those of IPv6.
    pub fn new(outer: usize) -> Self {
        let stage = Self::bare();
        let ends = [stage.here.host(), stage.there.host()].map(|host| host.addresses()[outer]);
        overlay(&stage.here, "blue", 1, &[(2, ends[1])]);
        overlay(&stage.there, "blue", 2, &[(1, ends[0])]);
        stage
    }

    /// Without any network.
    pub fn bare() -> Self {
        let lab = Lab::new();
        let [here, there, client] = ["here", "there", "client"].map(|name| lab.host(name));
        let [here, there] =
            [here, there].map(|host| Hnsd::builder(&host).arg("--default-network").arg("false").start());
        Self { here, there, client, lab }
    }

    pub fn container_here(&self, name: &str, number: u8) -> Container {
        container(&self.here, "blue", name, 1, number)
    }

    pub fn container_there(&self, name: &str, number: u8) -> Container {
        container(&self.there, "blue", name, 2, number)
    }
}

/// Makes host `own`'s part of a network, whose other parts are on these hosts.
pub fn overlay(hnsd: &Hnsd, name: &str, own: u8, others: &[(u8, IpAddr)]) -> Value {
    overlay_with(hnsd, name, own, others, &[])
}

/// The same with further options.
pub fn overlay_with(hnsd: &Hnsd, name: &str, own: u8, others: &[(u8, IpAddr)], options: &[&str]) -> Value {
    let mut words: Vec<String> = ["network", "create", name, "--type", "overlay"].map(str::to_owned).into();
    words.extend(options.iter().map(|option| (*option).to_owned()));
    words.extend(prefixes(own).map(|prefix| format!("--subnet={prefix}")));
    for (number, host) in others {
        words.extend(prefixes(*number).map(|prefix| format!("--peer={prefix}={host}")));
    }
    hnsd.hnsctl_json(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// By which key other hosts know this one, if the network is encrypted.
#[track_caller]
pub fn key_of(hnsd: &Hnsd, network: &str) -> Option<String> {
    let network = hnsd.hnsctl_json(&["network", "inspect", network]);
    let policies = network["Policies"].as_array().into_iter().flatten();
    let mut encryption = policies.filter(|policy| policy["Type"] == "Encryption");
    encryption.next().map(|policy| policy["Settings"]["PublicKey"].as_str().expect("it is shown").to_owned())
}

/// Tells a host what another has of a network, by this key.
pub fn introduce(hnsd: &Hnsd, network: &str, number: u8, host: IpAddr, key: &str) {
    let peers = prefixes(number).map(|prefix| format!("{prefix}={host},key={key}"));
    hnsd.hnsctl(&["network", "peer", "add", network, &peers[0], &peers[1]]);
}

/// The number of a network.
#[track_caller]
pub fn vni_of(hnsd: &Hnsd, network: &str) -> u32 {
    let network = hnsd.hnsctl_json(&["network", "inspect", network]);
    let vni = network["Ipams"][0]["Subnets"][0]["Policies"][0]["Settings"]["IsolationId"].as_u64();
    u32::try_from(vni.expect("it has one")).expect("a VNI has 24 bits")
}

/// A container at `10.244.HOST.N` and `fd00:244:HOST::N`.
pub fn container(hnsd: &Hnsd, network: &str, name: &str, host: u8, number: u8) -> Container {
    let addresses = [format!("10.244.{host}.{number}"), format!("fd00:244:{host}::{number}")];
    container_at(hnsd, network, name, &addresses)
}

/// How many packets were dropped for this reason: of an endpoint, or where none is named.
pub fn dropped(hnsd: &Hnsd, endpoint: Option<&Container>, reason: &str) -> u64 {
    let drops = get(hnsd, "/v2/drops");
    let id = endpoint.map(|endpoint| (*endpoint.id).to_owned());
    let is_it = |drop: &&Value| {
        let of = drop["Endpoint"].as_str().map(str::to_ascii_lowercase);
        drop["Reason"] == reason && of == id.as_deref().map(str::to_ascii_lowercase)
    };
    drops.as_array().into_iter().flatten().filter(is_it).filter_map(|drop| drop["Packets"].as_u64()).sum()
}

const BYTES: usize = 4 << 20;

/// A transfer of some megabytes from one container to another.
#[track_caller]
pub fn carries(lab: &Lab, from: &Container, to: &Container, address: IpAddr, port: u16) {
    let (sent, got) = (lab.folder().join("sent"), lab.folder().join(format!("got-{port}")));
    let bytes: Vec<u8> = (0..BYTES).map(|place| u8::try_from(place * 31 % 251).unwrap_or(0)).collect();
    std::fs::write(&sent, &bytes).expect("a file can be written");
    let listen = format!("TCP{}-LISTEN:{port},reuseaddr", if address.is_ipv4() { 4 } else { 6 });
    let mut server = quiet(&to.netns, &["-u", &listen, &format!("CREATE:{}", got.display())]);
    eventually!(listens(&to.netns, port));
    let target =
        if address.is_ipv4() { format!("TCP4:{address}:{port}") } else { format!("TCP6:[{address}]:{port}") };
    let client = quiet(&from.netns, &["-u", &format!("OPEN:{}", sent.display()), &target]).wait();
    assert!(client.expect("socat runs").success(), "{address}");
    assert!(server.wait().expect("socat runs").success(), "{address}");
    assert!(std::fs::read(&got).expect("it was written") == bytes, "{address}: other bytes");
}

fn quiet(netns: &Netns, words: &[&str]) -> std::process::Child {
    let words = [&["-T", "10"], words].concat();
    netns.command("socat").args(words).stdin(Stdio::null()).spawn().expect("socat runs")
}

fn listens(netns: &Netns, port: u16) -> bool {
    let shown = netns.command("ss").args(["-Hltn", &format!("sport = :{port}")]).output().expect("ss runs");
    !shown.stdout.is_empty()
}
