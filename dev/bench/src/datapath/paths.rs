//! What lies between a client and a server: one way a function.

use std::net::Ipv4Addr;

use hns_testbed::{Api, Hnsd, Host, Lab};
use serde_json::{Value, json};

use crate::ours;
use crate::race::Line;

/// Two containers on a bridge whose frames pass no IP rules, as on a kernel without `br_netfilter`.
pub fn bridge(lab: &Lab) -> Line {
    let host = lab.island("bridge");
    let (client, server) = (host.add_netns("client"), host.add_netns("server"));
    host.sh("for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 > $f; done
         ip link add br0 type bridge; ip link set br0 up
         plug() {
             ip link add $1 master br0 type veth peer name eth0 netns $1
             ip link set $1 up; ip -n $1 addr add $2/24 dev eth0; ip -n $1 link set eth0 up; }
         plug client 10.1.0.2; plug server 10.1.0.3");
    Line { _host: host, client, server, address: Ipv4Addr::new(10, 1, 0, 3) }
}

/// Rules of an endpoint.
pub struct Rules {
    /// In each direction.
    pub count: u32,
    pub both_ends: bool,
    /// The last one lets everything pass; otherwise what none is about passes.
    pub last_matches: bool,
}

impl Rules {
    fn name(&self) -> String {
        let last = if self.last_matches { "last" } else { "none" };
        format!("r{}{last}{}", self.count, u8::from(self.both_ends))
    }

    fn policies(&self) -> Value {
        let mut policies = Vec::new();
        for direction in ["In", "Out"] {
            let others = if self.last_matches { self.count - 1 } else { self.count };
            for number in 0..others {
                let other = Ipv4Addr::from(0x0b00_0000 + number);
                policies.push(json!({"Type": "ACL", "Settings": {
                    "Action": "Block", "Direction": direction, "Priority": 100, "RemoteAddresses": other,
                }}));
            }
            if self.last_matches {
                let last = json!({"Action": "Allow", "Direction": direction, "Priority": 200});
                policies.push(json!({"Type": "ACL", "Settings": last}));
            }
        }
        json!(policies)
    }

    fn document(&self) -> Value {
        let defaults = json!({"AclDefaultIn": "Allow", "AclDefaultOut": "Allow"});
        json!({"Policies": self.policies(), "AdditionalParams": defaults})
    }
}

/// A daemon with a NAT network.
pub struct Ours {
    host: Host,
    api: Api,
    network: String,
    // The daemon ends before its host.
    _hnsd: Hnsd,
}

impl Ours {
    pub fn start(lab: &Lab) -> anyhow::Result<Self> {
        let host = lab.island("ours");
        let hnsd = Hnsd::start(&host);
        let mut api = hnsd.api();
        let network = ours::network(&mut api, "bench", "10.2.0.0/16")?;
        Ok(Self { host, api, network, _hnsd: hnsd })
    }

    /// From one endpoint to another.
    pub fn open(&mut self) -> anyhow::Result<Line> {
        self.line("open", &json!({}))
    }

    /// The client's port lets nothing in but what belongs to its own connections.
    pub fn stateful(&mut self) -> anyhow::Result<Line> {
        self.line("stateful", &json!({"AclDefaultIn": "Block"}))
    }

    /// The server has so many rules in each direction, of which the last lets everything pass, or none is about these packets; or
    /// both ends have them.
    pub fn ruled(&mut self, rules: &Rules) -> anyhow::Result<Line> {
        let document = rules.document();
        let client = if rules.both_ends { document.clone() } else { json!({}) };
        self.line_between(&rules.name(), &client, &document)
    }

    fn line(&mut self, name: &str, of_the_client: &Value) -> anyhow::Result<Line> {
        self.line_between(name, &json!({"AdditionalParams": of_the_client}), &json!({}))
    }

    fn line_between(&mut self, name: &str, client: &Value, server: &Value) -> anyhow::Result<Line> {
        let mut attach = |name: &str, document: &Value| {
            ours::attach(&self.host, &mut self.api, &self.network, name, document)
        };
        let (client, _) = attach(&format!("{name}-client"), client)?;
        let (server, address) = attach(&format!("{name}-server"), server)?;
        Ok(Line { _host: self.host.clone(), client, server, address })
    }
}
