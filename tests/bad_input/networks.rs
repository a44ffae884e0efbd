//! Networks with values out of range, of the wrong family, or that clash.

use hns_testbed::needs;
use serde_json::{Value, json};

use super::{ENDPOINT_ID, Row, World, with};

/// So many subnets of their own.
fn subnets(count: u16) -> Value {
    let subnet =
        |number: u16| json!({"IpAddressPrefix": format!("10.{}.{}.0/24", 100 + number / 256, number % 256)});
    (0..count).map(subnet).collect()
}

#[test]
fn networks_that_cannot_be_are_refused_by_name() {
    needs!(root, "nft", "socat");
    let mut world = World::new();
    let good = world.good_network();
    let nat = world.nat.clone();
    let subnet = |value: Value| with(&good, "/Ipams/0/Subnets/0", value);
    let prefix = |value: &str| subnet(json!({"IpAddressPrefix": value}));
    let gateway = |hop: &str| with(&good, "/Ipams/0/Subnets/0/Routes/0/NextHop", json!(hop));
    let (prefix_field, routes) = ("Ipams[0].Subnets[0].IpAddressPrefix", "Ipams[0].Subnets[0].Routes");
    let table: Vec<(Value, u64, Vec<&str>)> = vec![
        (with(&good, "/Name", json!("x".repeat(300))), 0x0A, vec!["Name"]),
        (with(&good, "/Name", json!("a\u{7}b")), 0x0A, vec!["Name"]),
        (with(&good, "/Name", json!("a\u{202e}b")), 0x0A, vec!["Name"]),
        (with(&good, "/Name", json!("a\u{2066}b")), 0x0A, vec!["Name"]),
        (with(&good, "/Name", json!("nat")), 0x10, vec!["\"nat\"", &nat]),
        (with(&good, "/ID", json!(nat)), 0x10, vec![&nat]),
        (with(&good, "/ID", json!(ENDPOINT_ID)), 0x10, vec![ENDPOINT_ID]),
        (with(&good, "/ID", json!("5B1C5A0E")), 0x19, vec!["ID", "5B1C5A0E"]),
        (with(&good, "/ID", json!("{5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11}")), 0x19, vec!["ID"]),
        (with(&good, "/Type", json!("Bridge")), 0x0B, vec!["Type", "Bridge"]),
        (with(&good, "/Type", json!("Mirrored")), 0x0B, vec!["Type", "Mirrored"]),
        (with(&good, "/Flags", json!(1 << 20)), 0x0A, vec!["Flags"]),
        (with(&good, "/Flags", json!("EnableMagic")), 0x0A, vec!["Flags", "EnableMagic"]),
        (with(&good, "/Flags", json!(1024)), 0x0A, vec!["Flags"]),
        (
            with(&good, "/Policies/-", json!({"Type": "VxlanPort", "Settings": {"Port": 1}})),
            0x0E,
            vec!["Policies", "VxlanPort"],
        ),
        (with(&good, "/Policies/-", json!({"Type": "Teleport"})), 0x0E, vec!["Policies[0].Type", "Teleport"]),
        (with(&good, "/Policies/-", json!({"Settings": {}})), 0x0D, vec!["Policies[0].Type"]),
        (
            with(&good, "/MacPool/Ranges/0/StartMacAddress", json!("02-00-00-00-20-00")),
            0x0A,
            vec!["MacPool.Ranges[0]"],
        ),
        (
            with(&good, "/MacPool/Ranges/0/StartMacAddress", json!("01-00-00-00-10-00")),
            0x0A,
            vec!["MacPool.Ranges[0].StartMacAddress"],
        ),
        (
            with(&good, "/MacPool/Ranges/0/EndMacAddress", json!("02-00-00-00-10")),
            0x0A,
            vec!["MacPool.Ranges[0].EndMacAddress"],
        ),
        (with(&good, "/Dns/ServerList/0", json!("dns.test")), 0x1E, vec!["Dns.ServerList[0]", "dns.test"]),
        (with(&good, "/Dns/Colour", json!(1)), 0x0A, vec!["Dns.Colour", "unknown field"]),
        (with(&good, "/Ipams/0/Type", json!("Dhcp")), 0x0A, vec!["Ipams[0].Type"]),
        (with(&good, "/Ipams/0/Colour", json!(1)), 0x0A, vec!["Ipams[0].Colour"]),
        (
            with(&good, "/Ipams/0/Subnets/0/Gateway", json!("10.42.0.1")),
            0x32,
            vec!["Ipams[0].Subnets[0].Gateway"],
        ),
        (with(&good, "/Colour", json!("blue")), 0x0A, vec!["Colour", "unknown field", "Ipams"]),
        (prefix("10.42.0.0/33"), 0x30, vec![prefix_field, "10.42.0.0/33"]),
        (prefix("10.42.0/24"), 0x30, vec![prefix_field]),
        (prefix("somewhere"), 0x30, vec![prefix_field]),
        (prefix("224.0.0.0/24"), 0x30, vec![prefix_field]),
        (prefix("127.9.0.0/24"), 0x30, vec![prefix_field]),
        (prefix("fe80::/64"), 0x30, vec![prefix_field]),
        (prefix("0.0.0.0/8"), 0x30, vec![prefix_field]),
        (prefix("::ffff:0:0/96"), 0x30, vec![prefix_field]),
        (prefix("::ffff:10.42.0.0/120"), 0x30, vec![prefix_field]),
        (prefix("64:ff9b::/96"), 0x30, vec![prefix_field]),
        (
            with(&good, "/Ipams/0/Subnets/-", json!({"IpAddressPrefix": "10.42.0.64/26"})),
            0x32,
            vec!["Ipams[0].Subnets[2].IpAddressPrefix", "overlaps"],
        ),
        (
            with(&with(&good, "/Ipams/0/Subnets/0", json!({})), "/Ipams/0/Subnets/-", json!({})),
            0x32,
            vec!["Ipams"],
        ),
        (with(&good, "/Ipams/0/Subnets", subnets(65)), 0x32, vec!["Ipams", "65 subnets", "64 at most"]),
        (with(&good, "/Ipams/0/Subnets", subnets(5000)), 0x32, vec!["Ipams", "5000 subnets"]),
        (prefix("172.16.128.0/20"), 0x32, vec!["172.16.128.0/20", "172.16.0.0/16", "\"nat\""]),
        (prefix("198.18.0.0/16"), 0x32, vec!["198.18.0.0/16", "198.18.0.0/24", "route"]),
        (gateway("10.99.0.1"), 0x32, vec![routes, "10.99.0.1"]),
        (gateway("10.42.0.0"), 0x32, vec![routes, "10.42.0.0"]),
        (gateway("10.42.0.255"), 0x32, vec![routes, "10.42.0.255"]),
        (gateway("fd00:42::1"), 0x1E, vec!["Ipams[0].Subnets[0].Routes[0].NextHop"]),
        (gateway("224.0.0.1"), 0x1E, vec!["Ipams[0].Subnets[0].Routes[0].NextHop"]),
        (gateway("10.42.0.300"), 0x1E, vec!["Ipams[0].Subnets[0].Routes[0].NextHop"]),
        (
            with(&good, "/Ipams/0/Subnets/0/Routes/0/DestinationPrefix", json!("everything")),
            0x30,
            vec!["Routes[0].DestinationPrefix"],
        ),
        (
            with(&good, "/Ipams/0/Subnets/0/Routes/0/Metric", json!(65_536)),
            0x32,
            vec!["Ipams[0].Subnets[0].Routes[0].Metric"],
        ),
        (
            with(&good, "/Ipams/0/Subnets/0/IpSubnets/0/IpAddressPrefix", json!("10.43.0.0/24")),
            0x33,
            vec!["IpSubnets", "10.43.0.0/24"],
        ),
        (with(&good, "/Ipams/0/Subnets/0/Flags", json!(2)), 0x32, vec!["Ipams[0].Subnets[0].Flags"]),
        (
            with(
                &good,
                "/Ipams/0/Subnets/0/Policies",
                json!([{"Type": "VLAN", "Settings": {"IsolationId": 7}}]),
            ),
            0x0E,
            vec!["Policies", "VLAN"],
        ),
        (
            with(&good, "/AdditionalParams/IpRange/0", json!("10.50.0.0/24")),
            0x30,
            vec!["AdditionalParams.IpRange", "10.50.0.0/24"],
        ),
        (
            with(&good, "/AdditionalParams/IpRange/0", json!("10.42.0.9-20")),
            0x30,
            vec!["AdditionalParams.IpRange[0]"],
        ),
        (
            with(&good, "/AdditionalParams/AuxAddresses/printer", json!("10.50.0.9")),
            0x1E,
            vec!["AdditionalParams.AuxAddresses.printer"],
        ),
        (
            with(&good, "/AdditionalParams/AuxAddresses/printer", json!("hers")),
            0x1E,
            vec!["AdditionalParams.AuxAddresses.printer"],
        ),
        (with(&good, "/AdditionalParams/Mtu", json!(10)), 0x0A, vec!["AdditionalParams.Mtu", "10"]),
        (with(&good, "/AdditionalParams/Mtu", json!(70_000)), 0x0A, vec!["AdditionalParams.Mtu"]),
        (
            with(&good, "/AdditionalParams/Mtu", json!(1000)),
            0x0A,
            vec!["AdditionalParams.Mtu", "IPv6", "1280"],
        ),
        (
            with(&good, "/AdditionalParams/EnableIPv4", json!(false)),
            0x0A,
            vec!["AdditionalParams.EnableIPv4"],
        ),
        (
            with(&good, "/AdditionalParams/EnableIPv6", json!(false)),
            0x0A,
            vec!["AdditionalParams.EnableIPv6"],
        ),
        (json!({"AdditionalParams": {"EnableIPv4": false}}), 0x0A, vec!["AdditionalParams"]),
        (
            with(&good, "/AdditionalParams/GatewayMode/IPv6", json!("bridged")),
            0x0A,
            vec!["AdditionalParams.GatewayMode.IPv6"],
        ),
        (with(&good, "/Type", json!("Internal")), 0x0A, vec!["AdditionalParams.GatewayMode"]),
    ];
    let rows: Vec<Row> =
        table.iter().map(|(body, code, words)| Row::hcn("/v2/networks", body, *code, words)).collect();
    world.refuses(&rows);
}
