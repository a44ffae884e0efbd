//! Endpoints with values out of range, of the wrong family, taken, or that refer to nothing.

use hns_testbed::needs;
use serde_json::{Value, json};

use super::{Row, UNKNOWN_ID, World, port_mapping, with};

fn many(count: u16, key: &str, start: &str) -> Value {
    let one = |number: u16| match start.matches('.').count() {
        1 => json!({"NextHop": "172.16.0.1", key: format!("{start}.{}.{}/32", number / 256, number % 256)}),
        _ => json!({key: format!("{start}.{number}")}),
    };
    (0..count).map(one).collect()
}

#[test]
fn endpoints_that_cannot_be_are_refused_by_name() {
    needs!(root, "nft", "socat");
    let mut world = World::new();
    let good = world.good_endpoint();
    let (nat, internal, private, endpoint) =
        (world.nat.clone(), world.internal.clone(), world.private.clone(), world.endpoint.clone());
    let dual = world
        .api
        .post("/v2/networks", &json!({"Name": "dual", "AdditionalParams": {"EnableIPv6": true}}))
        .unwrap()
        .id();
    let routed = json!({"Name": "routed", "AdditionalParams": {"EnableIPv6": true, "GatewayMode": {"IPv4": "nat", "IPv6": "routed"}}});
    let routed = world.api.post("/v2/networks", &routed).unwrap().id();
    let at = |address: &str| with(&port_mapping(6, 80, 8004), "/Settings/VIP", json!(address));
    let rule = json!({"Type": "ACL", "Settings": {"Action": "Block", "Direction": "In"}});
    let limit = json!({"Type": "QOS", "Settings": {"MaximumOutgoingBandwidthInBytes": 1000}});
    let address = |value: &str| with(&good, "/IpConfigurations/0", json!({"IpAddress": value}));
    let settings = |key: &str, value: Value| with(&good, &format!("/Policies/0/Settings/{key}"), value);
    let policy = |value: Value| with(&good, "/Policies", json!([value]));
    let on = |network: &str, policies: Value| json!({"HostComputeNetwork": network, "Policies": policies});
    let table: Vec<(Value, u64, Vec<&str>)> = vec![
        (with(&good, "/HostComputeNetwork", json!(null)), 0x0C, vec!["HostComputeNetwork"]),
        (with(&good, "/HostComputeNetwork", json!(UNKNOWN_ID)), 0x01, vec![UNKNOWN_ID]),
        (with(&good, "/HostComputeNetwork", json!("nat")), 0x19, vec!["HostComputeNetwork"]),
        (with(&good, "/HostComputeNamespace", json!("given")), 0x19, vec!["HostComputeNamespace"]),
        (with(&good, "/ID", json!(endpoint)), 0x10, vec![&endpoint]),
        (with(&good, "/ID", json!(nat)), 0x10, vec![&nat]),
        (with(&good, "/Name", json!("x".repeat(300))), 0x0C, vec!["Name"]),
        (with(&good, "/Name", json!("a\u{1b}[2Jb")), 0x0C, vec!["Name"]),
        (with(&good, "/Name", json!("a\u{202a}b")), 0x0C, vec!["Name"]),
        (with(&good, "/Name", json!("a\u{2069}b")), 0x0C, vec!["Name"]),
        (with(&good, "/Colour", json!("blue")), 0x0C, vec!["Colour", "unknown field"]),
        (address("10.99.0.7"), 0x1E, vec!["10.99.0.7", "\"nat\""]),
        (address("fd00::7"), 0x1E, vec!["fd00::7", "\"nat\""]),
        (address("172.16.0.1"), 0x2F, vec!["172.16.0.1", "reserved"]),
        (address("172.16.0.0"), 0x2F, vec!["172.16.0.0", "reserved"]),
        (address("172.16.255.255"), 0x2F, vec!["172.16.255.255", "reserved"]),
        (address("172.16.0.9"), 0x2F, vec!["172.16.0.9", "in use", "endpoint"]),
        (address("172.16.0.256"), 0x1E, vec!["IpConfigurations[0].IpAddress", "172.16.0.256"]),
        (
            with(&good, "/IpConfigurations/-", json!({"IpAddress": "172.16.0.7"})),
            0x1E,
            vec!["IpConfigurations[1].IpAddress", "twice"],
        ),
        (
            with(&good, "/IpConfigurations", many(65, "IpAddress", "172.16.7")),
            0x0C,
            vec!["IpConfigurations", "64 at most"],
        ),
        (with(&good, "/Routes", many(257, "DestinationPrefix", "10.9")), 0x0C, vec!["Routes", "256 at most"]),
        (
            with(&good, "/IpConfigurations/0/PrefixLength", json!(8)),
            0x1E,
            vec!["IpConfigurations[0].PrefixLength"],
        ),
        (
            with(&good, "/IpConfigurations/0/PrefixLength", json!(33)),
            0x1E,
            vec!["IpConfigurations[0].PrefixLength"],
        ),
        (
            with(&good, "/IpConfigurations/0/PrefixLength", json!(129)),
            0x0C,
            vec!["IpConfigurations[0].PrefixLength"],
        ),
        (
            with(&good, "/MacAddress", json!("01-00-5E-00-00-01")),
            0x0C,
            vec!["MacAddress", "01-00-5E-00-00-01"],
        ),
        (with(&good, "/MacAddress", json!("00-00-00-00-00-00")), 0x0C, vec!["MacAddress"]),
        (with(&good, "/MacAddress", json!("02-00-00-00-07")), 0x0C, vec!["MacAddress"]),
        (with(&good, "/MacAddress", json!("02-00-00-00-00-09")), 0x2F, vec!["02-00-00-00-00-09", &endpoint]),
        (
            with(&good, "/AdditionalParams/InterfaceName", json!("sixteen-letters!")),
            0x0C,
            vec!["AdditionalParams.InterfaceName"],
        ),
        (
            with(&good, "/AdditionalParams/InterfaceName", json!("a/b")),
            0x0C,
            vec!["AdditionalParams.InterfaceName"],
        ),
        (
            with(&good, "/AdditionalParams/InterfaceName", json!("..")),
            0x0C,
            vec!["AdditionalParams.InterfaceName"],
        ),
        (with(&good, "/AdditionalParams/InterfaceName", json!("lan0")), 0x2E, vec!["lan0"]),
        (with(&good, "/AdditionalParams/InterfaceName", json!("lo")), 0x2E, vec!["lo"]),
        (
            with(&good, "/AdditionalParams/GatewayPriority", json!(100)),
            0x0C,
            vec!["AdditionalParams.GatewayPriority"],
        ),
        (with(&good, "/Flags", json!(1)), 0x15, vec!["Flags", "RemoteEndpoint"]),
        (with(&good, "/Flags", json!("EnableMirroring")), 0x15, vec!["Flags", "EnableMirroring"]),
        (with(&good, "/Flags", json!(64)), 0x0C, vec!["Flags"]),
        (json!({"HostComputeNetwork": private, "Flags": 2}), 0x15, vec!["Flags"]),
        (with(&good, "/Routes/0/NextHop", json!("10.99.0.1")), 0x0C, vec!["Routes[0].NextHop", "10.99.0.1"]),
        (with(&good, "/Routes/0/NextHop", json!("fd00::1")), 0x1E, vec!["Routes[0].NextHop"]),
        (
            with(&good, "/Routes/0/DestinationPrefix", json!("0.0.0.0")),
            0x30,
            vec!["Routes[0].DestinationPrefix"],
        ),
        (policy(json!({"Type": "Teleport", "Settings": {}})), 0x0E, vec!["Policies[0].Type", "Teleport"]),
        (
            policy(
                json!({"Type": "ACL", "Settings": {"Action": "Block", "Direction": "In", "RemoteAddresses": "web,db"}}),
            ),
            0x0D,
            vec!["Policies[0].Settings", "web", "address set", "nat"],
        ),
        (
            policy(json!({"Type": "ACL", "Settings": {"Action": "Pass", "Direction": "In"}})),
            0x0D,
            vec!["Policies[0].Settings.Action", "TierAcl"],
        ),
        (
            policy(
                json!({"Type": "ACL", "Settings": {"Action": "Block", "Direction": "In", "LocalPorts": "80"}}),
            ),
            0x0D,
            vec!["LocalPorts", "Protocols"],
        ),
        (
            on(&nat, (0..=16_384).map(|_| rule.clone()).collect()),
            0x0D,
            vec!["Policies", "16385 rules", "16384 at most"],
        ),
        (on(&nat, json!([limit, limit])), 0x0D, vec!["Policies[1].Type", "second QOS"]),
        (
            policy(json!({"Type": "L4Proxy", "Settings": {"Destination": "10.0.0.5:3128"}})),
            0x15,
            vec!["Policies[0].Type", "L4Proxy"],
        ),
        (
            policy(
                json!({"Type": "L4WFPPROXY", "Settings": {"OutboundProxyPort": "15001", "FilterTuple": {}}}),
            ),
            0x15,
            vec!["Policies[0].Type", "L4WFPPROXY"],
        ),
        (
            with(&good, "/Policies/-", json!({"Type": "InterfaceParameters", "Settings": {"Mtu": 1300}})),
            0x36,
            vec!["Policies[2].Type"],
        ),
        (
            json!({"HostComputeNetwork": dual, "Policies": [{"Type": "InterfaceParameters", "Settings": {"Mtu": 1200}}]}),
            0x0D,
            vec!["Policies[0].Settings.Mtu", "IPv6"],
        ),
        (with(&good, "/Policies/1/Settings/Mtu", json!(10)), 0x0D, vec!["Policies[1].Settings.Mtu"]),
        (on(&internal, json!([port_mapping(6, 80, 8001)])), 0x16, vec!["Policies[0].Type", "Internal"]),
        (on(&private, json!([port_mapping(6, 80, 8001)])), 0x16, vec!["Policies[0].Type", "Private"]),
        (settings("InternalPort", json!(0)), 0x2D, vec!["Policies[0].Settings.InternalPort"]),
        (settings("InternalPort", json!(65_536)), 0x0D, vec!["Policies[0].Settings.InternalPort"]),
        (settings("InternalPort", json!(65_535)), 0x0D, vec!["Policies[0].Settings.InternalPort"]),
        (settings("ExternalPort", json!("http")), 0x0D, vec!["Policies[0].Settings.ExternalPort"]),
        (settings("ExternalPort", json!(65_535)), 0x0D, vec!["Policies[0].Settings.ExternalPort"]),
        (settings("PortCount", json!(0)), 0x0D, vec!["Policies[0].Settings.PortCount"]),
        (settings("Protocol", json!(1)), 0x0D, vec!["Policies[0].Settings.Protocol"]),
        (settings("Protocol", json!(256)), 0x0D, vec!["Policies[0].Settings.Protocol"]),
        (settings("VIP", json!("everywhere")), 0x0D, vec!["Policies[0].Settings.VIP"]),
        (settings("VIP", json!("224.0.0.1")), 0x0D, vec!["Policies[0].Settings.VIP"]),
        (settings("VIP", json!("fd00:198:18::1")), 0x0D, vec!["Policies[0].Settings.VIP"]),
        (
            on(&routed, json!([at("::1")])),
            0x0D,
            vec!["Policies[0].Settings.VIP", "\"routed\"", "own address"],
        ),
        (on(&routed, json!([at("fd00:198:18::1")])), 0x0D, vec!["Policies[0].Settings.VIP", "own address"]),
        (settings("Flags", json!(2)), 0x0D, vec!["Policies[0].Settings."]),
        (settings("Flags", json!(64)), 0x0D, vec!["Policies[0].Settings.Flags"]),
        (policy(port_mapping(6, 81, 8080)), 0x13, vec!["8080/tcp", &endpoint, "\"holder\""]),
        (
            policy(
                json!({"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 70, "ExternalPort": 8070, "PortCount": 20}}),
            ),
            0x13,
            vec!["8080/tcp", &endpoint],
        ),
        (policy(port_mapping(6, 81, 9090)), 0x13, vec!["9090/tcp", "socat", "host"]),
        (
            with(&good, "/Policies", json!([port_mapping(6, 80, 8002), port_mapping(6, 81, 8002)])),
            0x13,
            vec!["8002/tcp"],
        ),
    ];
    let mut rows: Vec<Row> =
        table.iter().map(|(body, code, words)| Row::hcn("/v2/endpoints", body, *code, words)).collect();
    let element_not_found = 0x8007_0490;
    rows.push(Row::post(
        "/v2/endpoints",
        with(&good, "/HostComputeNamespace", json!(UNKNOWN_ID)),
        element_not_found,
        &[UNKNOWN_ID],
    ));
    rows.push(Row::hcn(format!("/v2/networks/{internal}/endpoints"), &good, 0x0C, &["HostComputeNetwork"]));
    rows.push(Row::hcn(format!("/v2/networks/{UNKNOWN_ID}/endpoints"), "{}", 0x01, &[UNKNOWN_ID]));
    rows.push(Row::hcn("/v2/networks/nat/endpoints", "{}", 0x19, &["nat"]));
    world.refuses(&rows);
}
