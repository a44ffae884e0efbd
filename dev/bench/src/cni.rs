//! CNI plugins as container runtimes call them: the reference chain of bridge with host-local, portmap and firewall; and
//! ours.

use std::collections::HashMap;
use std::path::Path;

use hns_testbed::program;
use serde_json::{Value, json};

use crate::contender::{Contender, Slot};
use crate::peers::{self, Peer};

const FOLDER: &str = "/usr/lib/cni";
const PACKAGE: &str = "containernetworking-plugins";

/// The chain, and what each namespace got from it.
#[derive(Debug, Clone)]
pub struct Cni {
    chain: Vec<(Peer, Value)>,
    folder: String,
    results: HashMap<usize, Value>,
}

impl Cni {
    /// Our plugin, with the daemon on this socket. For threads outside of hosts, as is [`Cni::new`].
    pub fn ours(socket: &Path) -> Self {
        let config = json!({"type": "hns-cni", "networkType": "nat", "socket": socket,
            "capabilities": {"portMappings": true}});
        let plugin = program("hns-cni");
        let folder = plugin.parent().unwrap_or(&plugin).display().to_string();
        let peer =
            Peer { words: vec![plugin.display().to_string()], version: env!("CARGO_PKG_VERSION").to_owned() };
        Self { chain: vec![(peer, config)], folder, results: HashMap::new() }
    }

    /// Finds the plugins; their records go to `data`.
    pub fn new(data: &str) -> anyhow::Result<Self> {
        let mut chain = Vec::new();
        for config in configuration(data) {
            let kind = config["type"].as_str().expect("each has a type");
            chain.push((peers::find(PACKAGE, &format!("{FOLDER}/{kind}"))?, config));
        }
        let bridge = &chain[0].0.words[0];
        let folder = bridge.trim_end_matches("/bridge").to_owned();
        Ok(Self { chain, folder, results: HashMap::new() })
    }

    /// Of the plugins' package.
    pub fn version(&self) -> String {
        self.chain[0].0.version.clone()
    }

    fn call(
        &self,
        verb: &str,
        slot: &Slot,
        (plugin, config): &(Peer, Value),
        previous: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let mut document = config.clone();
        document["cniVersion"] = json!("1.0.0");
        document["name"] = json!("bench");
        document["runtimeConfig"] =
            json!({"portMappings": [{"hostPort": slot.port, "containerPort": 80, "protocol": "tcp"}]});
        if let Some(previous) = previous {
            document["prevResult"] = previous.clone();
        }
        let id = format!("bench{}", slot.number);
        let environment = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", id.as_str()),
            ("CNI_NETNS", slot.netns.as_str()),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", self.folder.as_str()),
        ];
        plugin.call(&[], &environment, &document)
    }
}

impl Contender for Cni {
    fn create(&mut self, slot: &Slot) -> anyhow::Result<()> {
        let mut result = None;
        for link in &self.chain {
            result = Some(self.call("ADD", slot, link, result.as_ref())?);
        }
        self.results.insert(slot.number, result.unwrap_or_default());
        Ok(())
    }

    fn delete(&mut self, slot: &Slot) -> anyhow::Result<()> {
        let result = self.results.remove(&slot.number);
        for link in self.chain.iter().rev() {
            self.call("DEL", slot, link, result.as_ref())?;
        }
        Ok(())
    }
}

/// nftables for the ports, which is the faster way; older plugins do not know the key and use iptables. The bridge
/// plugin's own nftables way fails on DEL beside Debian 12's iptables (1.9.1: "Chain .. does not exist").
fn configuration(data: &str) -> [Value; 3] {
    [
        json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "ipMasqBackend": "iptables",
            "hairpinMode": true,
            "ipam": {"type": "host-local", "dataDir": data, "ranges": [[{"subnet": "10.88.0.0/16"}]],
                "routes": [{"dst": "0.0.0.0/0"}]}}),
        json!({"type": "portmap", "backend": "nftables", "snat": true, "capabilities": {"portMappings": true}}),
        json!({"type": "firewall", "backend": "iptables"}),
    ]
}
