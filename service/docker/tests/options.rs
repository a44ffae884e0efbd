//! Every option of `docker network create -o`: one network that shows its effect, one that shows its refusal.

mod rig;

use hns_hcn as hcn;
use hns_model::Network;
use hns_net::Family;
use rig::{Rig, id, network_body};
use serde_json::{Value, json};

/// All that Windows knows, with `com.docker.network.windowsshim.` before each.
const WINDOWS: &[&str] = &[
    "networkname",
    "hnsid",
    "hnsowned",
    "interface",
    "vlanid",
    "vsid",
    "dnsservers",
    "dnssuffix",
    "macpool",
    "enable_outboundnat",
    "outboundnat_exceptions",
    "disable_gatewaydns",
    "routingdomain",
    "sourcemac",
];

/// All that Docker knows, with `com.docker.network.` before each.
const DOCKER: &[&str] = &[
    "driver.overlay.vxlanid_list",
    "portmap",
    "endpoint.exposedports",
    "endpoint.macaddress",
    "endpoint.dnsservers",
    "endpoint.sysctls",
    "endpoint.ifname",
    "enable_ipv4",
    "enable_ipv6",
    "driver.mtu",
    "gateway",
    "internal",
    "container_iface_prefix",
    "host_ipv4",
    "host_ipv6",
    "advertise_addr_nmsgs",
    "advertise_addr_ms",
    "bridge.name",
    "bridge.enable_ip_masquerade",
    "bridge.enable_icc",
    "bridge.host_binding_ipv4",
    "bridge.inhibit_ipv4",
    "bridge.gateway_mode_ipv4",
    "bridge.gateway_mode_ipv6",
    "bridge.trusted_host_interfaces",
    "bridge.default_bridge",
];

const GUID: &str = "5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11";

type Effect = fn(&Rig, &Network) -> bool;

fn kept(network: &Network, key: &str) -> Value {
    network.document().params.others.get(key).cloned().unwrap_or(Value::Null)
}

/// Options that mean something on a nat network, with a value and what shows that it was honoured.
const EFFECTS: &[(&str, &str, Effect)] = &[
    ("networkname", "corp", |_, network| network.name() == "corp"),
    ("dnsservers", "9.9.9.9, fd00::53", |_, network| network.document().dns.servers.len() == 2),
    ("dnssuffix", "corp.example", |_, n| n.document().dns.domain.as_deref() == Some("corp.example")),
    ("macpool", "00-15-5D-52-C0-00,00-15-5D-52-C0-0F", |_, network| {
        network.document().mac_pool[0].end().to_string() == "00-15-5D-52-C0-0F"
    }),
    ("enable_outboundnat", "true", |rig, _| {
        let endpoint = rig.endpoint(&id('a'), &id('e'), "10.50.0.9/24");
        endpoint.document().policies.iter().any(|policy| policy.kind == "OutBoundNAT")
    }),
    ("outboundnat_exceptions", "10.0.0.0/8, fd00:9::/32,192.168.0.0/16", |rig, _| {
        let endpoint = rig.endpoint(&id('a'), &id('e'), "10.50.0.9/24");
        let policies = endpoint.document().policies;
        let exceptions = policies.iter().map(|policy| policy.settings["Exceptions"].clone());
        exceptions.eq([json!(["10.0.0.0/8", "192.168.0.0/16"]), json!(["fd00:9::/32"])])
    }),
    ("disable_gatewaydns", "true", |_, network| kept(network, "DisableGatewayDns") == json!(true)),
    ("routingdomain", GUID, |_, network| kept(network, "RoutingDomain") == json!(GUID)),
    ("com.docker.network.driver.mtu", "1400", |_, network| network.mtu().bytes() == 1400),
    ("com.docker.network.internal", "true", |_, n| n.kind() == hcn::NetworkType::Internal),
    ("com.docker.network.enable_ipv4", "1", |_, network| network.has_family(Family::V4)),
    ("com.docker.network.enable_ipv6", "true", |_, network| network.has_family(Family::V6)),
    ("com.docker.network.container_iface_prefix", "lan", |rig, _| {
        rig.endpoint(&id('a'), &id('e'), "10.50.0.9/24");
        let body =
            json!({ "NetworkID": id('a'), "EndpointID": id('e'), "SandboxKey": "/run/docker/netns/1" });
        rig.nat("Join", &body)["InterfaceName"]["DstPrefix"] == "lan"
    }),
    ("com.docker.network.advertise_addr_nmsgs", "3", |_, _| true),
    ("com.docker.network.advertise_addr_ms", "100", |_, _| true),
    ("com.docker.network.bridge.enable_ip_masquerade", "false", |_, network| {
        network.gateway_mode(Family::V4) == hcn::GatewayMode::Routed
    }),
    ("com.docker.network.bridge.enable_icc", "false", |rig, _| {
        rig.endpoint(&id('a'), &id('e'), "10.50.0.9/24").has_flag(hcn::EndpointFlags::DISABLE_ICC)
    }),
    ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1", |rig, _| {
        rig.endpoint(&id('a'), &id('e'), "10.50.0.9/24");
        let ports = json!([{ "Proto": 6, "Port": 80, "HostPort": 8080 }]);
        let options = json!({ "com.docker.network.portmap": ports });
        let body = json!({ "NetworkID": id('a'), "EndpointID": id('e'), "Options": options });
        rig.nat("ProgramExternalConnectivity", &body);
        rig.published(&id('e')) == ["tcp 127.0.0.1 8080 -> 80"]
    }),
    ("com.docker.network.bridge.gateway_mode_ipv4", "routed", |_, network| {
        network.gateway_mode(Family::V4) == hcn::GatewayMode::Routed
    }),
    ("com.docker.network.bridge.gateway_mode_ipv6", "routed", |_, network| {
        network.gateway_mode(Family::V6) == hcn::GatewayMode::Routed
    }),
    ("hns.acl", "in block tcp port 22; in allow", |_, network| {
        network.policies().iter().map(|policy| policy.kind).eq(["NetworkACL"; 2])
    }),
];

/// An option with a value that is refused on a nat network, and what the refusal says of it.
const REFUSALS: &[(&str, &str, &str)] = &[
    ("networkname", "", "is not a name"),
    ("hnsid", "nat", "\"nat\" is not a GUID"),
    ("hnsowned", "true", "contradicts the missing hnsid"),
    ("hnsowned", "yes", "\"yes\" is not true or false"),
    ("interface", "eth0", "has no meaning on nat networks: it has no adapter of its own"),
    ("vlanid", "100", "has no meaning on nat networks"),
    ("vsid", "5000", "has no meaning on nat networks"),
    ("dnsservers", "9.9.9.9;1.1.1.1", "is not a list of IP addresses"),
    ("dnssuffix", "", "is not a name"),
    ("macpool", "00-15-5D-52-C0-00", "is not pairs of MAC addresses"),
    ("enable_outboundnat", "on", "is not true or false"),
    ("outboundnat_exceptions", "10.0.0.0", "is not a list of prefixes"),
    ("disable_gatewaydns", "2", "is not true or false"),
    ("routingdomain", "red", "\"red\" is not a GUID"),
    ("sourcemac", "00-15-5D-52-C0-00", "has no meaning on nat networks: its packets leave with the MAC"),
    (
        "com.docker.network.driver.overlay.vxlanid_list",
        "4096",
        "has no meaning on nat networks: only hns-overlay",
    ),
    ("com.docker.network.driver.mtu", "300", "\"300\" is not an MTU"),
    ("com.docker.network.internal", "maybe", "is not true or false"),
    ("com.docker.network.enable_ipv4", "", "is not true or false"),
    ("com.docker.network.enable_ipv6", "", "is not true or false"),
    ("com.docker.network.container_iface_prefix", "a/b", "is not the beginning of an interface name"),
    ("com.docker.network.gateway", "10.50.0.1", "say it with --gateway"),
    ("com.docker.network.host_ipv4", "192.0.2.1", "is not supported: it needs the policy engine"),
    ("com.docker.network.host_ipv6", "2001:db8::1", "is not supported: it needs the policy engine"),
    ("com.docker.network.advertise_addr_nmsgs", "4", "\"4\" is not 0 to 3 messages"),
    ("com.docker.network.advertise_addr_ms", "10", "\"10\" is not 100 to 2000 milliseconds"),
    ("com.docker.network.portmap", "80", "an endpoint's option"),
    ("com.docker.network.endpoint.exposedports", "80", "an endpoint's option"),
    ("com.docker.network.endpoint.macaddress", "x", "an endpoint's option"),
    ("com.docker.network.endpoint.dnsservers", "9.9.9.9", "the network's own is dnsservers"),
    ("com.docker.network.endpoint.sysctls", "x", "an endpoint's option"),
    ("com.docker.network.endpoint.ifname", "lan0", "an endpoint's option"),
    ("com.docker.network.bridge.name", "br0", "HNS names its switches itself"),
    ("com.docker.network.bridge.enable_ip_masquerade", "no", "is not true or false"),
    ("com.docker.network.bridge.enable_icc", "no", "is not true or false"),
    ("com.docker.network.bridge.host_binding_ipv4", "lo", "is not an IP address"),
    ("com.docker.network.bridge.inhibit_ipv4", "true", "has no meaning on nat networks"),
    (
        "com.docker.network.bridge.gateway_mode_ipv4",
        "nat-unprotected",
        "ports that are not published stay closed",
    ),
    ("com.docker.network.bridge.gateway_mode_ipv6", "bridge", "is not nat, routed or isolated"),
    (
        "com.docker.network.bridge.trusted_host_interfaces",
        "eth0",
        "is not supported: it needs the policy engine",
    ),
    ("com.docker.network.bridge.default_bridge", "true", "Docker's default bridge is Docker's own"),
    ("encrypted", "", "has no meaning on nat networks: only hns-overlay"),
    ("hns.peers", "10.4.2.0/24=192.0.2.2", "has no meaning on nat networks: only hns-overlay"),
    ("hns.provider", "192.0.2.1", "has no meaning on nat networks: only hns-overlay"),
    ("hns.host-route", "true", "has no meaning on nat networks: only on hns-overlay"),
    ("hns.vxlan-port", "4789", "has no meaning on nat networks: only hns-overlay"),
    ("hns.acl", "in blok", "is not a list of rules"),
    ("hns.bandwidth-in", "1mbit", "an endpoint's option"),
    ("hns.bandwidth-out", "1mbit", "an endpoint's option"),
];

/// The names of an option: whole, and without its prefix where that is a name too.
fn names(key: &str) -> Vec<String> {
    if WINDOWS.contains(&key) {
        vec![key.to_owned(), format!("com.docker.network.windowsshim.{key}")]
    } else {
        vec![key.to_owned()]
    }
}

#[test]
fn every_option_with_a_meaning_has_its_effect() {
    for (key, value, effect) in EFFECTS {
        for name in names(key) {
            let rig = Rig::new();
            let network = rig.network(&id('a'), 50, &json!({ name.as_str(): value }));
            assert!(effect(&rig, &network), "{name}={value}: {:?}", network.document());
        }
    }
}

#[test]
fn every_option_has_a_refusal_that_names_it() {
    let rig = Rig::new();
    for (key, value, expected) in REFUSALS {
        for name in names(key) {
            let body = network_body(&id('a'), 50, &json!({ name.as_str(): value }));
            let text = rig.refusal("CreateNetwork", &body);
            assert!(text.contains(expected) && text.contains(key), "{name}={value}: {text}");
        }
    }
    assert_eq!(rig.engine.world().networks().count(), 0);
}

#[test]
fn no_option_is_left_out() {
    let docker = DOCKER.iter().map(|key| format!("com.docker.network.{key}"));
    for key in WINDOWS.iter().map(|key| (*key).to_owned()).chain(docker) {
        assert!(REFUSALS.iter().any(|(name, ..)| *name == key), "no refusal for {key}");
    }
    // hnsid and hnsowned have theirs among the bindings of networks.rs.
    for (key, ..) in REFUSALS {
        let refused_always =
            ["has no meaning", "not supported", "endpoint's option", "--gateway", "names its switches"];
        let says = |text: &str| refused_always.iter().any(|always| text.contains(always));
        let always = REFUSALS.iter().any(|(name, _, text)| name == key && says(text));
        let elsewhere = ["hnsid", "hnsowned", "encrypted"].contains(key)
            || ["vxlanid_list", "endpoint.dnsservers", "default_bridge"].iter().any(|end| key.ends_with(end));
        let shown = EFFECTS.iter().any(|(name, ..)| name == key);
        assert!(always || elsewhere || shown, "no effect for {key}");
    }
}

#[test]
fn options_of_nobody_are_refused_with_the_valid_ones_and_those_of_others_are_not() {
    let rig = Rig::new();
    for key in [
        "vlan",
        "mtus",
        "com.docker.network.windowsshim.dnsserver",
        "com.docker.network.bridge.mtu",
        "com.docker.endpoint.x",
        "hns.acls",
    ] {
        let text = rig.refusal("CreateNetwork", &network_body(&id('a'), 50, &json!({ key: "1" })));
        let begin = format!(
            "option {key} is not known; docker network create -o of nat networks takes networkname, "
        );
        assert!(
            text.starts_with(&begin) && text.contains("dnsservers") && text.contains("gateway_mode_ipv6"),
            "{text}"
        );
        assert!(!text.contains("vlanid,") && !text.contains("trusted"), "only those it takes: {text}");
    }
    rig.network(&id('a'), 50, &json!({ "com.example.mtu": "1", "org.example": "" }));
}

#[test]
fn an_option_that_is_given_twice_is_refused() {
    let rig = Rig::new();
    let twice = json!({ "mtu": "1400", "com.docker.network.driver.mtu": "1500" });
    let text = rig.refusal("CreateNetwork", &network_body(&id('a'), 50, &twice));
    assert!(text.contains("is given twice, the other time as"), "{text}");
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let rig = Rig::new();
    let cases = [
        (
            json!({ "enable_ip_masquerade": "0", "gateway_mode_ipv4": "nat" }),
            false,
            "not to translate is the mode routed",
        ),
        (json!({ "enable_outboundnat": "1" }), true, "enable_outboundnat contradicts --internal"),
        (json!({ "gateway_mode_ipv4": "routed" }), true, "gateway_mode_ipv4 contradicts --internal"),
        (json!({ "gateway_mode_ipv4": "isolated", "enable_ipv6": "1" }), true, "for both families"),
    ];
    for (options, internal, expected) in cases {
        let mut body = network_body(&id('a'), 50, &options);
        body["Options"]["com.docker.network.internal"] = json!(internal);
        let text = rig.refusal("CreateNetwork", &body);
        assert!(text.contains(expected), "{options}: {text}");
    }
}

#[test]
fn a_default_binding_to_every_address_is_no_binding() {
    let rig = Rig::new();
    let network = rig.network(&id('a'), 50, &json!({ "host_binding_ipv4": "0.0.0.0" }));
    assert_eq!(kept(&network, "DockerOptions"), Value::Null);
}
