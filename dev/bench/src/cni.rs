//! The CNI reference plugins as container runtimes chain them: bridge with host-local, portmap, firewall.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::contender::{Contender, Slot};
use crate::peers::{self, Peer};

const FOLDER: &str = "/usr/lib/cni";
const PACKAGE: &str = "containernetworking-plugins";

/// The chain, and what each namespace got from it.
#[derive(Debug)]
pub struct Cni {
    chain: Vec<(Peer, Value)>,
    folder: String,
    results: HashMap<usize, Value>,
}

impl Cni {
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
