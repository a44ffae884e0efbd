//! Whatever comes through Docker's sockets: each call is answered, and what is refused changes nothing.

mod rig;

use proptest::prelude::*;
use rig::{Rig, endpoint_body, id, network_body};
use serde_json::{Value, json};

const METHODS: [(&str, &str); 19] = [
    ("nat", "Plugin.Activate"),
    ("nat", "NetworkDriver.GetCapabilities"),
    ("nat", "NetworkDriver.GwAllocCheck"),
    ("nat", "NetworkDriver.CreateNetwork"),
    ("nat", "NetworkDriver.DeleteNetwork"),
    ("nat", "NetworkDriver.CreateEndpoint"),
    ("nat", "NetworkDriver.DeleteEndpoint"),
    ("nat", "NetworkDriver.EndpointOperInfo"),
    ("nat", "NetworkDriver.Join"),
    ("nat", "NetworkDriver.Leave"),
    ("nat", "NetworkDriver.ProgramExternalConnectivity"),
    ("nat", "NetworkDriver.RevokeExternalConnectivity"),
    ("transparent", "NetworkDriver.CreateNetwork"),
    ("hns", "IpamDriver.GetDefaultAddressSpaces"),
    ("hns", "IpamDriver.RequestPool"),
    ("hns", "IpamDriver.ReleasePool"),
    ("hns", "IpamDriver.RequestAddress"),
    ("hns", "IpamDriver.ReleaseAddress"),
    ("nat", "NetworkDriver.NoSuchMethod"),
];

/// Keys that are read somewhere, so that wrong values meet the places that read them.
const KEYS: [&str; 26] = [
    "NetworkID",
    "EndpointID",
    "Options",
    "Interface",
    "Address",
    "AddressIPv6",
    "MacAddress",
    "SandboxKey",
    "IPv4Data",
    "IPv6Data",
    "Pool",
    "PoolID",
    "SubPool",
    "V6",
    "Gateway",
    "AuxAddresses",
    "Proto",
    "Port",
    "HostIP",
    "HostPort",
    "HostPortEnd",
    "com.docker.network.generic",
    "com.docker.network.portmap",
    "com.docker.network.internal",
    "com.docker.network.endpoint.dnsservers",
    "vlanid",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(id('a')),
        Just(id('b')),
        Just("10.1.0.0/24".to_owned()),
        Just("10.1.0.5/24".to_owned()),
        Just("10.1.0.0/24,10.1.0.128/25".to_owned()),
        Just("fd00::/64".to_owned()),
        Just("02:11:22:33:44:55".to_owned()),
        ".{0,8}",
    ]
}

/// A value of any shape.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0u32..70_000).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let fields = prop::collection::vec((prop::sample::select(&KEYS[..]), inner.clone()), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..3).prop_map(Value::from),
            fields
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

/// A body as Docker sends it, with one field of it replaced by anything.
fn body() -> impl Strategy<Value = String> {
    let real = prop_oneof![
        Just(network_body(&id('a'), 1, &json!({}))),
        Just(endpoint_body(&id('a'), &id('b'), "10.1.0.9/24")),
        Just(
            json!({"NetworkID": id('a'), "EndpointID": id('b'), "SandboxKey": "/run/docker/netns/x", "Options": {}})
        ),
        Just(
            json!({"AddressSpace": "x", "Pool": "10.2.0.0/24", "SubPool": "", "Options": null, "V6": false})
        ),
        Just(json!({"PoolID": "10.2.0.0/24", "Address": "", "Options": {}})),
    ];
    let damaged = (real, prop::sample::select(&KEYS[..]), value()).prop_map(|(mut body, key, value)| {
        body[key] = value;
        body.to_string()
    });
    prop_oneof![4 => damaged, 2 => value().prop_map(|value| value.to_string()), 1 => ".{0,40}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_call_is_answered(calls in prop::collection::vec((prop::sample::select(&METHODS[..]), body()), 1..40)) {
        let rig = Rig::new();
        for ((driver, method), body) in calls {
            let before = {
                let world = rig.engine.world();
                (world.networks().count(), world.endpoints().count())
            };
            let answer = rig.send(driver, method, &body);
            prop_assert!(answer.status == 200 || answer.status == 404, "{}: {} {}", method, answer.status, answer.body);
            prop_assert!(answer.body.is_object(), "{} {}: {}", method, body, answer.head);
            let refused = ["Err", "Error"].iter().any(|key| !answer.body[key].is_null());
            let world = rig.engine.world();
            let after = (world.networks().count(), world.endpoints().count());
            prop_assert!(!refused || after == before, "{} {} was refused and changed something", method, body);
        }
    }
}
