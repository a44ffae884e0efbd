//! netavark, as podman calls it.

use serde_json::{Value, json};

use crate::contender::{Contender, Slot};
use crate::peers::{self, Peer};

const PACKAGE: &str = "netavark";
const PROGRAM: &str = "/usr/lib/podman/netavark";

/// The program and where it keeps its records.
#[derive(Debug)]
pub struct Netavark {
    peer: Peer,
    config: String,
}

impl Netavark {
    /// Finds the program; its records go to `config`.
    pub fn new(config: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(config)?;
        Ok(Self { peer: peers::find(PACKAGE, PROGRAM)?, config: config.to_owned() })
    }

    /// Of the program's package.
    pub fn version(&self) -> String {
        self.peer.version.clone()
    }

    fn call(&self, verb: &str, slot: &Slot) -> anyhow::Result<Value> {
        // Its faster way; versions before it ignore the variable and use iptables.
        let environment = [("NETAVARK_FW", "nftables")];
        self.peer.call(&["--config", &self.config, verb, &slot.netns], &environment, &options(slot))
    }
}

impl Contender for Netavark {
    fn create(&mut self, slot: &Slot) -> anyhow::Result<()> {
        self.call("setup", slot).map(drop)
    }

    fn delete(&mut self, slot: &Slot) -> anyhow::Result<()> {
        self.call("teardown", slot).map(drop)
    }
}

fn options(slot: &Slot) -> Value {
    let id = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9";
    json!({
        "container_id": format!("{:064x}", slot.number + 1),
        "container_name": format!("bench{}", slot.number),
        "port_mappings": [{"container_port": 80, "host_ip": "", "host_port": slot.port, "protocol": "tcp", "range": 1}],
        "networks": {"podman": {
            "interface_name": "eth0", "static_ips": [format!("10.89.1.{}", slot.number + 1)]}},
        "network_info": {"podman": {
            "name": "podman", "id": id, "driver": "bridge", "network_interface": "podman0",
            "created": "2026-01-01T00:00:00Z",
            "subnets": [{"subnet": "10.89.0.0/16", "gateway": "10.89.0.1"}],
            "ipv6_enabled": false, "internal": false, "dns_enabled": false, "ipam_options": {"driver": "host-local"}}},
    })
}
