//! Hosts with the daemon and one without, on one LAN.

use std::net::IpAddr;

use hns_testbed::{Hnsd, Host, Lab, Netns};
use hns_tests::story_support::Container;
use hns_tests::story_support::daemon;
pub use hns_tests::story_support::daemon::{container_at, rules, switch};
use serde_json::Value;

pub struct Stage {
    // The daemons end before their hosts, and those before the lab.
    pub here: Hnsd,
    pub there: Hnsd,
    pub client: Host,
    pub lab: Lab,
}

/// The LAN's prefixes, by the adapter of a host.
pub const ON_THE_LAN: [&str; 10] = on_the_lan("transparent");

/// The same of a network of another type.
pub const fn on_the_lan(kind: &'static str) -> [&'static str; 10] {
    [
        "--type",
        kind,
        "--interface",
        "eth0",
        "--subnet",
        "198.18.0.0/24",
        "--gateway=198.18.0.254",
        "--subnet",
        "fd00:198:18::/64",
        "--gateway=fd00:198:18::fe",
    ]
}

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

/// How many packets of an endpoint were dropped for this reason.
pub fn dropped(hnsd: &Hnsd, endpoint: &Container, reason: &str) -> u64 {
    daemon::dropped(hnsd, &endpoint.id, reason)
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
