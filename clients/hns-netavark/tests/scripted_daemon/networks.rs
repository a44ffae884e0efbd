//! `create`.

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::{NAME_TAKEN, NETWORK, NETWORK_GUID, asked_network, body_of, made_network, refused, willing};

#[test]
fn create_makes_the_network_and_leaves_the_addresses_to_hns() {
    let daemon = willing();
    let answer = daemon.answer(&["create"], &asked_network());
    assert_eq!(
        body_of(&daemon, "POST /v2/networks"),
        json!({
            "ID": NETWORK_GUID, "Name": "hn", "Owner": "podman", "Type": "NAT",
            "AdditionalParams": {
                "IpRange": ["10.66.0.129/32", "10.66.0.130/31", "10.66.0.132/30", "10.66.0.136/29",
                    "10.66.0.144/28", "10.66.0.160/27", "10.66.0.192/26"],
                "Podman": {"NetworkId": NETWORK, "NetworkName": "hn", "Labels": {"a": "b"}}},
            "Ipams": [{"Type": "Static", "Subnets": [{"IpAddressPrefix": "10.66.0.0/24",
                "Routes": [{"NextHop": "10.66.0.1", "DestinationPrefix": "0.0.0.0/0"}]}]}],
        })
    );
    let mut expected = asked_network();
    expected["dns_enabled"] = json!(false);
    expected["network_interface"] = json!("hns017dab2f");
    expected["ipam_options"] = json!({"driver": "none"});
    assert_eq!(answer, expected);
}

#[test]
fn create_without_a_subnet_answers_the_one_hns_chose() {
    let daemon = willing();
    let asked = json!({"name": "hn", "id": NETWORK, "driver": "hns-netavark", "ipv6_enabled": true,
        "internal": false, "dns_enabled": true, "network_dns_servers": ["1.2.3.4"],
        "options": {"dnsservers": "9.9.9.9", "dnssuffix": "corp.example", "mtu": "1400", "gateway_mode_ipv6": "routed",
            "macpool": "00-15-5D-01-00-00,00-15-5D-01-0F-FF"}});
    let answer = daemon.answer(&["create"], &asked);
    let made = body_of(&daemon, "POST /v2/networks");
    assert_eq!(made.get("Ipams"), None);
    assert_eq!(made["Dns"], json!({"Domain": "corp.example", "ServerList": ["1.2.3.4", "9.9.9.9"]}));
    let range = json!({"StartMacAddress": "00-15-5D-01-00-00", "EndMacAddress": "00-15-5D-01-0F-FF"});
    assert_eq!(made["MacPool"], json!({"Ranges": [range]}));
    let params = &made["AdditionalParams"];
    assert_eq!(
        (&params["Mtu"], &params["EnableIPv4"], &params["EnableIPv6"]),
        (&json!(1400), &json!(true), &json!(true))
    );
    assert_eq!(params["GatewayMode"], json!({"IPv4": "nat", "IPv6": "routed"}));
    assert_eq!(answer["subnets"], json!([{"subnet": "10.66.0.0/24", "gateway": "10.66.0.1"}]));
    assert_eq!(answer["options"]["dnsservers"], "1.2.3.4,9.9.9.9");
    assert_eq!(answer.get("network_dns_servers"), None);
}

#[test]
fn create_of_an_internal_network_says_so_both_ways() {
    let daemon = willing();
    let mut asked = asked_network();
    asked["options"] = json!({"type": "private"});
    daemon.answer(&["create"], &asked);
    assert_eq!(body_of(&daemon, "POST /v2/networks")["Type"], "Private");
    asked["options"] = Value::Null;
    asked["internal"] = json!(true);
    daemon.answer(&["create"], &asked);
    assert_eq!(
        daemon.asked().iter().rfind(|(line, _)| line == "POST /v2/networks").unwrap().1["Type"],
        "Internal"
    );
    asked["options"] = json!({"type": "nat"});
    let said = daemon.refusal(&["create"], &asked);
    assert_eq!(
        said,
        "network \"hn\": --internal and option type=NAT: such a network has a way out; leave one of them out"
    );
}

#[test]
fn create_binds_to_a_network_that_exists_and_makes_none() {
    let daemon = willing();
    let asked = json!({"name": "lan", "id": NETWORK, "driver": "hns-netavark", "ipv6_enabled": false, "internal": false,
        "dns_enabled": true, "options": {"com.docker.network.windowsshim.hnsid": NETWORK_GUID}});
    let answer = daemon.answer(&["create"], &asked);
    assert_eq!(daemon.lines(), [format!("GET /v2/networks/{NETWORK_GUID}")]);
    assert_eq!(answer["subnets"], json!([{"subnet": "10.66.0.0/24", "gateway": "10.66.0.1"}]));
    assert_eq!(answer["ipam_options"], json!({"driver": "none"}));

    let mut contradictory = asked;
    contradictory["options"]["mtu"] = json!("1400");
    let said = daemon.refusal(&["create"], &contradictory);
    assert!(said.starts_with("network \"lan\": option mtu cannot be chosen for the HNS network"), "{said}");
}

#[test]
fn create_refuses_what_it_cannot_honour() {
    let daemon = willing();
    for (key, value, problem) in [
        ("ipam_options", json!({"driver": "dhcp"}), "--ipam-driver dhcp: addresses come from HNS (none)"),
        ("network_interface", json!("br7"), "--interface-name br7: HNS names its switches by itself"),
        ("options", json!({"bond": "7"}), "there is no option bond; known are type, network"),
        ("options", json!({"type": "bridge"}), "option type=bridge: no network type; write nat, internal"),
        ("id", json!("../../x"), "is not 64 hexadecimal digits"),
        (
            "subnets",
            json!([{"subnet": "10.66.0.0/24", "lease_range": {"start_ip": "10.66.0.9", "end_ip": "10.66.0.8"}}]),
            "lease range 10.66.0.9 to 10.66.0.8 has its end before its start",
        ),
        ("subnets", json!([{"subnet": "10.66.0.0/99"}]), "the document of create is not one of podman's"),
    ] {
        let mut asked = asked_network();
        asked[key] = value;
        let said = daemon.refusal(&["create"], &asked);
        assert!(said.contains(problem), "{said}");
    }
    assert_eq!(daemon.lines(), Vec::<String>::new());
}

#[test]
fn podmans_own_book_of_addresses_is_left_to_who_asks_for_it() {
    let daemon = willing();
    let mut asked = asked_network();
    asked["ipam_options"] = json!({"driver": "host-local"});
    assert_eq!(daemon.answer(&["create"], &asked)["ipam_options"], json!({"driver": "host-local"}));
}

#[test]
fn create_says_what_the_daemon_says() {
    let daemon = Daemon::saying(|line, _| match line {
        "POST /v2/networks" => refused(409, NAME_TAKEN, "a network named \"hn\" exists already: X"),
        _ => (200, json!([])),
    });
    assert_eq!(
        daemon.refusal(&["create"], &asked_network()),
        "network \"hn\": HNS cannot make it: a network named \"hn\" exists already: X; to use that one, pass `-o network=NAME`"
    );
}

/// A network of podman's that nobody is on, with what podman calls it.
fn idle(guid: &str, id: &str, name: &str) -> Value {
    json!({"ID": guid, "Name": name, "Owner": "podman", "AdditionalParams": {"Podman": {"NetworkId": id, "NetworkName": name}},
        "Health": {"Extra": {"CurrentEndpointCount": 0}}})
}

#[test]
fn create_removes_what_podman_has_removed() {
    let daemon = Daemon::saying(|line, _| match line {
        "GET /v2/networks" => {
            let mut busy = idle("00000000-0000-0000-0000-000000000003", "busy", "busy");
            busy["Health"]["Extra"]["CurrentEndpointCount"] = json!(1);
            let mut theirs = idle("00000000-0000-0000-0000-000000000004", "theirs", "theirs");
            theirs["Owner"] = json!("docker");
            (
                200,
                json!([
                    idle("00000000-0000-0000-0000-000000000001", "gone", "gone"),
                    idle("00000000-0000-0000-0000-000000000002", "there", "there"),
                    busy,
                    theirs
                ]),
            )
        }
        "GET /v2/endpoints" => (
            200,
            json!([
                {"ID": "E1", "Owner": "podman", "AdditionalParams": {"Podman": {"Namespace": "/nonexistent/netns"}}},
                {"ID": "E2", "Owner": "podman", "AdditionalParams": {"Podman": {"Namespace": "/proc/self/ns/net"}}},
                {"ID": "E3", "Owner": "docker", "AdditionalParams": {"Podman": {"Namespace": "/nonexistent/netns"}}},
            ]),
        ),
        "POST /v2/networks" => (201, made_network()),
        _ => (204, Value::Null),
    });
    std::fs::create_dir(daemon.networks()).unwrap();
    std::fs::write(daemon.networks().join("there.json"), json!({"name": "there", "id": "there"}).to_string())
        .unwrap();
    daemon.answer(&["create"], &asked_network());
    assert_eq!(
        daemon.lines(),
        [
            "GET /v2/endpoints",
            "DELETE /v2/endpoints/E1",
            "GET /v2/networks",
            "DELETE /v2/networks/00000000-0000-0000-0000-000000000001",
            "POST /v2/networks"
        ]
    );
}

#[test]
fn create_replaces_a_leftover_of_its_name_wherever_podman_keeps_its_networks() {
    let mut removed = false;
    let daemon = Daemon::saying(move |line, _| match line {
        "GET /v2/networks" => (200, json!([idle("00000000-0000-0000-0000-000000000001", "older", "hn")])),
        "POST /v2/networks" if removed => (201, made_network()),
        "POST /v2/networks" => refused(409, NAME_TAKEN, "a network named \"hn\" exists already"),
        _ if line.starts_with("DELETE") => {
            removed = true;
            (204, Value::Null)
        }
        _ => (200, json!([])),
    });
    daemon.answer(&["create"], &asked_network());
}
