//! The plugin's verbs against a daemon that answers from a script: what is asked for, and what podman is told.
//! Bodies of podman are those that podman 5.8 sends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]

mod containers;
mod daemon;
mod networks;

use serde_json::{Value, json};

use crate::daemon::Daemon;

const NETWORK: &str = "017dab2f6bdb4cc4a5d9f1e0c3b2a19087f6e5d4c3b2a1908f7e6d5c4b3a2910";
const NETWORK_GUID: &str = "017DAB2F-6BDB-4CC4-A5D9-F1E0C3B2A190";
const CONTAINER: &str = "e2bd7d7a861f5d60f6f9a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2";
const NETNS: &str = "/run/netns/netns-5f729e1d-98a5-8bd5-ef87-dffff92775d1";

const NAME_TAKEN: u32 = 0x803B_0010;
const PORT_TAKEN: u32 = 0x803B_0013;
const ADDRESS_TAKEN: u32 = 0x803B_002F;

/// `podman network create -d hns-netavark .. --subnet 10.66.0.0/24 --ip-range 10.66.0.128/25 --label a=b hn`
fn asked_network() -> Value {
    json!({
        "name": "hn", "id": NETWORK, "driver": "hns-netavark", "created": "0001-01-01T00:00:00Z",
        "subnets": [{"subnet": "10.66.0.0/24", "gateway": "10.66.0.1",
            "lease_range": {"start_ip": "10.66.0.129", "end_ip": "10.66.0.255"}}],
        "ipv6_enabled": false, "internal": false, "dns_enabled": true, "labels": {"a": "b"},
        "options": {"type": "nat"},
    })
}

fn made_network() -> Value {
    json!({
        "ID": NETWORK_GUID, "Name": "hn", "Type": "NAT",
        "Ipams": [{"Type": "Static", "Subnets": [{"IpAddressPrefix": "10.66.0.0/24",
            "Routes": [{"NextHop": "10.66.0.1", "DestinationPrefix": "0.0.0.0/0", "Metric": 0}]}]}],
        "Dns": {"Domain": "corp.example", "Search": ["lab.example"], "ServerList": ["1.1.1.1", "9.9.9.9"]},
        "Health": {"Data": null, "Extra": {"Switch": "hns017dab2f", "CurrentEndpointCount": 0}},
    })
}

/// `podman run --network hn:ip=10.66.0.150,mac=..,alias=zz -p 8081-8083:80-82 -p 127.0.0.1:5353:53/udp -p 99/sctp`
fn container() -> Value {
    json!({
        "container_id": CONTAINER, "container_name": "h1",
        "port_mappings": [
            {"container_port": 80, "host_ip": "", "host_port": 8081, "protocol": "tcp", "range": 3},
            {"container_port": 99, "host_ip": "", "host_port": 43647, "protocol": "sctp", "range": 1},
            {"container_port": 53, "host_ip": "127.0.0.1", "host_port": 5353, "protocol": "udp", "range": 1}],
        "network": {
            "dns_enabled": false, "driver": "hns-netavark", "id": NETWORK, "internal": false, "ipv6_enabled": false,
            "name": "hn", "network_interface": "hns017dab2f", "options": {"type": "nat"},
            "ipam_options": {"driver": "none"},
            "subnets": [{"gateway": "10.66.0.1", "lease_range": null, "subnet": "10.66.0.0/24"}],
            "routes": null, "network_dns_servers": null},
        "network_options": {"aliases": ["zz", "e2bd7d7a861f"], "interface_name": "eth0",
            "static_ips": ["10.66.0.150"], "static_mac": "02:11:22:33:44:66", "options": null},
    })
}

fn made_endpoint(asked: &Value) -> Value {
    let mut made = asked.clone();
    made["HostComputeNetwork"] = made_network();
    made["MacAddress"] = json!("02-11-22-33-44-66");
    made["IpConfigurations"] = json!([{"IpAddress": "10.66.0.150", "PrefixLength": 24}]);
    made["Routes"] = json!([{"NextHop": "10.66.0.1", "DestinationPrefix": "0.0.0.0/0", "Metric": 0}]);
    made
}

fn refused(status: u16, code: u32, text: &str) -> (u16, Value) {
    (status, json!({"Success": false, "Error": text, "ErrorCode": code, "Hint": "try another"}))
}

/// A daemon that takes everything.
fn willing() -> Daemon {
    Daemon::saying(|line, document| match line {
        "POST /v2/endpoints" => (201, made_endpoint(document)),
        "POST /v2/networks" => (201, made_network()),
        _ if line.starts_with("DELETE ") => (204, Value::Null),
        _ if line.starts_with("GET /v2/networks/") => (200, made_network()),
        _ => (200, json!([])),
    })
}

fn body_of(daemon: &Daemon, wanted: &str) -> Value {
    let asked = daemon.asked();
    asked.iter().find(|(line, _)| line == wanted).unwrap_or_else(|| panic!("{:?}", daemon.lines())).1.clone()
}
