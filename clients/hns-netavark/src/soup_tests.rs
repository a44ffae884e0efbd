//! Whatever comes in, from podman or from the daemon, is an answer or an error.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::document::{self, Moment};
use crate::podman::{Container, Network};
use crate::{options, status};

/// A setup of podman's with everything in it.
const SETUP: &str = r#"{"container_id":"e2bd","container_name":"h1",
 "port_mappings":[{"container_port":80,"host_ip":"127.0.0.1","host_port":8081,"protocol":"tcp,udp","range":3}],
 "network":{"name":"hn","id":"017dab2f6bdb4cc4a5d9f1e0c3b2a19087f6e5d4c3b2a1908f7e6d5c4b3a2910","driver":"hns-netavark",
  "network_interface":"","options":{"type":"nat","mtu":"1400","metric":"7"},"ipam_options":{"driver":"none"},
  "subnets":[{"subnet":"10.66.0.0/24","gateway":"10.66.0.1","lease_range":{"start_ip":"10.66.0.129","end_ip":"10.66.0.255"}}],
  "internal":false,"ipv6_enabled":true,"routes":[{"destination":"10.9.0.0/16","gateway":"10.66.0.9","metric":7}],
  "network_dns_servers":["9.9.9.9"]},
 "network_options":{"interface_name":"eth0","static_ips":["10.66.0.150"],"static_mac":"02:11:22:33:44:66",
  "aliases":["zz"],"options":{"gateway_priority":"-7"}}}"#;

fn swallow(input: &[u8]) {
    if let Ok(container) = serde_json::from_slice::<Container>(input) {
        drop(document::endpoint(&container, Path::new("/run/netns/x")));
        drop(document::port_mappings(&container));
    }
    if let Ok(network) = serde_json::from_slice::<Network>(input)
        && let Ok(options) = options::of_network(&network.name, &network.options)
    {
        drop(document::network(&network, &options, Moment::Creation));
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        Just(json!("10.66.0.150")),
        Just(json!("02-11-22-33-44-66")),
    ];
    let key = prop_oneof![
        Just("MacAddress"),
        Just("IpConfigurations"),
        Just("IpAddress"),
        Just("PrefixLength"),
        Just("Routes"),
        Just("NextHop"),
        Just("DestinationPrefix"),
        Just("HostComputeNetwork"),
        Just("Dns"),
        Just("ServerList"),
        Just("Ipams"),
        Just("Subnets"),
        Just("IpAddressPrefix"),
        Just("Type"),
        Just("subnets"),
        Just("lease_range"),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..512)) {
        swallow(&input);
    }

    #[test]
    fn a_damaged_document_never_panics(at in 0..SETUP.len(), bytes in prop::collection::vec(any::<u8>(), 0..4), skip in 0..4_usize) {
        let mut input = SETUP.as_bytes().to_vec();
        let end = (at + skip).min(input.len());
        input.splice(at..end, bytes);
        swallow(&input);
    }

    /// Digits and letters in place of others keep the document's form, so that the checks behind it are reached.
    #[test]
    fn a_document_with_other_words_never_panics(changes in prop::collection::vec((0..SETUP.len(), "[0-9a-z:./-]"), 1..9)) {
        let mut input = SETUP.as_bytes().to_vec();
        for (at, text) in changes {
            if input[at].is_ascii_alphanumeric() {
                input[at] = text.as_bytes()[0];
            }
        }
        swallow(&input);
    }

    #[test]
    fn no_answer_of_a_daemon_panics(answer in any_json()) {
        let container: Container = serde_json::from_str(SETUP).expect("it is one of podman's");
        drop(status::of_endpoint(&container, &answer));
        let asked = answer.as_object().cloned().unwrap_or_else(Map::new);
        drop(status::of_network(asked, "hn", &answer));
    }
}
