//! netavark, as podman calls it: with its own bridge, and with our plugin.

use std::path::Path;

use hns_testbed::program;
use serde_json::{Value, json};

use crate::contender::{Contender, Slot};
use crate::peers::{self, Peer};

const PACKAGE: &str = "netavark";
const PROGRAM: &str = "/usr/lib/podman/netavark";

/// The program and where it keeps its records.
#[derive(Debug, Clone)]
pub struct Netavark {
    peer: Peer,
    config: String,
    driver: &'static str,
    /// Where our plugin is.
    plugins: String,
    /// Where it finds the daemon.
    socket: String,
}

impl Netavark {
    /// Finds the program; its records go to `config`.
    pub fn new(config: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(config)?;
        let peer = peers::find(PACKAGE, PROGRAM)?;
        let (plugins, socket) = (String::new(), String::new());
        Ok(Self { peer, config: config.to_owned(), driver: "bridge", plugins, socket })
    }

    /// The same program, which calls our plugin.
    pub fn with_our_plugin(config: &str, socket: &Path) -> anyhow::Result<Self> {
        let plugin = program("hns-netavark");
        let plugins = plugin.parent().unwrap_or(&plugin).display().to_string();
        let socket = socket.display().to_string();
        Ok(Self { driver: "hns-netavark", plugins, socket, ..Self::new(config)? })
    }

    /// Of the program's package.
    pub fn version(&self) -> String {
        self.peer.version.clone()
    }

    fn call(&self, verb: &str, slot: &Slot) -> anyhow::Result<Value> {
        // Its faster way; versions before it ignore the variable and use iptables.
        let environment = [("NETAVARK_FW", "nftables"), ("HNS_SOCKET", self.socket.as_str())];
        let mut words = vec!["--config", &self.config];
        if !self.plugins.is_empty() {
            words.extend(["--plugin-directory", &self.plugins]);
        }
        words.extend([verb, &slot.netns]);
        self.peer.call(&words, &environment, &self.options(slot))
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

impl Netavark {
    fn options(&self, slot: &Slot) -> Value {
        let id = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9";
        json!({
            "container_id": format!("{:064x}", slot.number + 1),
            "container_name": format!("bench{}", slot.number),
            "port_mappings": [{"container_port": 80, "host_ip": "", "host_port": slot.port, "protocol": "tcp", "range": 1}],
            "networks": {"podman": {
                "interface_name": "eth0", "static_ips": [format!("10.89.{}.{}", 1 + slot.number / 250, 1 + slot.number % 250)]}},
            "network_info": {"podman": {
                "name": "podman", "id": id, "driver": self.driver, "network_interface": "podman0",
                "created": "2026-01-01T00:00:00Z",
                "subnets": [{"subnet": "10.89.0.0/16", "gateway": "10.89.0.1"}],
                "ipv6_enabled": false, "internal": false, "dns_enabled": false, "ipam_options": {"driver": "host-local"}}},
        })
    }
}
