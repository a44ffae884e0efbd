//! Hosts with the daemon and one without, on one LAN.

use std::net::IpAddr;

use hns_testbed::{Hnsd, Host, Lab, Netns};
use hns_tests::story_support::{Container, text};
use serde_json::Value;

pub struct Stage {
    // The daemons end before their hosts, and those before the lab.
    pub here: Hnsd,
    pub there: Hnsd,
    pub client: Host,
    pub lab: Lab,
}

/// The LAN's prefixes, by the adapter of a host.
pub const ON_THE_LAN: [&str; 11] = [
    "--type",
    "transparent",
    "--interface",
    "eth0",
    "--subnet",
    "198.18.0.0/24",
    "--gateway",
    "198.18.0.254",
    "--subnet",
    "fd00:198:18::/64",
    "--gateway=fd00:198:18::fe",
];

impl Stage {
    /// With the network `corp` on both hosts.
    pub fn new() -> Self {
        let stage = Self::bare();
        network(&stage.here, "corp", &ON_THE_LAN);
        network(&stage.there, "corp", &ON_THE_LAN);
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

    /// The router's addresses on the LAN.
    pub fn gateways() -> Vec<IpAddr> {
        vec![[198, 18, 0, 254].into(), [0xfd00, 0x198, 0x18, 0, 0, 0, 0, 0xfe].into()]
    }
}

pub fn network(hnsd: &Hnsd, name: &str, options: &[&str]) -> Value {
    hnsd.hnsctl_json(&[&["network", "create", name], options].concat())
}

/// A container at `198.18.0.N` and `fd00:198:18::N`.
pub fn container(hnsd: &Hnsd, name: &str, number: u8) -> Container {
    let addresses = [format!("198.18.0.{number}"), format!("fd00:198:18::{number}")];
    container_at(hnsd, "corp", name, &addresses)
}

pub fn container_at(hnsd: &Hnsd, network: &str, name: &str, addresses: &[String]) -> Container {
    let netns = hnsd.host().add_netns(name);
    hnsd.hnsctl(&["namespace", "create", name, "--path", &format!("/run/netns/{name}")]);
    let mut words = vec!["endpoint", "create", "--network", network, "--name", name, "--namespace", name];
    addresses.iter().for_each(|address| words.extend(["--ip", address]));
    Container::new(name, netns, hnsd.hnsctl_json(&words))
}

/// Replaces the rules of a container.
pub fn rules(hnsd: &Hnsd, container: &Container, policies: &Value) {
    let document = serde_json::json!({
        "ResourceType": "Policy", "RequestType": "Update", "Settings": { "Policies": policies },
    });
    let path = format!("/v2/endpoints/{}/modify", container.id);
    let _changed = hnsd.api().post(&path, &document).expect("the daemon answers").expect_success();
}

/// How many packets of an endpoint were dropped for this reason.
pub fn dropped(hnsd: &Hnsd, endpoint: &Container, reason: &str) -> u64 {
    let drops = hnsd.api().get(&format!("/v2/drops?endpoint={}", endpoint.id)).expect("the daemon answers");
    let drops = drops.expect_success();
    let of_reason = drops.as_array().into_iter().flatten().filter(|drop| drop["Reason"] == reason);
    of_reason.filter_map(|drop| drop["Packets"].as_u64()).sum()
}

/// The bridge of a network.
pub fn switch(hnsd: &Hnsd, network: &Value) -> String {
    let path = format!("/v2/networks/{}", text(network, "ID"));
    let shown = hnsd.api().get(&path).expect("the daemon answers").expect_success();
    text(&shown["Health"]["Extra"], "Switch")
}

/// Somebody on the LAN.
#[derive(Clone)]
pub struct Party {
    pub name: &'static str,
    pub netns: Netns,
    pub addresses: Vec<IpAddr>,
}

impl Party {
    pub fn host(name: &'static str, host: &Host) -> Self {
        Self { name, netns: host.netns(), addresses: host.addresses().to_vec() }
    }

    pub fn container(name: &'static str, container: &Container) -> Self {
        Self { name, netns: container.netns.clone(), addresses: container.addresses() }
    }
}
